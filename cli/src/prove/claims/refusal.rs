//! Claim `refusal`: without a valid token, no protected route answers, and nothing behind the gateway hears of it.

use ::policy::RouteAuth;
use anyhow::Context as _;
use reqwest::Method;
use trial::Service;

use super::Verdict;
use crate::prove::ground::{Edit, Ground};

/// A well-formed token that nobody signed.
const INVENTED: &str = "eyJhbGciOiJFZERTQSIsImtpZCI6ImludmVudGVkIiwidHlwIjoiYXQrand0In0.e30.\
                        AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The route that the negative control opens.
const OPENED: &str = "/api/v1/me";

pub(super) async fn check(ground: &Ground) -> anyhow::Result<Verdict> {
    call_all(ground, &protected_routes(ground)?).await
}

/// Opens one route in the policy files, and makes the same calls. The core still refuses them by itself; that they
/// reached it is what the check must see.
pub(super) async fn control(ground: &Ground) -> anyhow::Result<Verdict> {
    let promised = protected_routes(ground)?;
    let edit = open_a_route(ground).await?;
    let verdict = call_all(ground, &promised).await;
    edit.undo(ground).await?;
    verdict
}

/// Opens one route in the running policy to anyone.
pub(super) async fn open_a_route(ground: &Ground) -> anyhow::Result<Edit> {
    let plan = ground.plan()?;
    let route = plan
        .routes()
        .iter()
        .find(|route| route.path == OPENED)
        .context("the route to open does not exist")?;
    let file = ground
        .policies
        .join(route.rule.file().context("the route stands in no file")?);
    ground
        .edit_policy(&file, |text| {
            open_route(text, route.rule.line().unwrap_or_default())
        })
        .await
}

fn protected_routes(ground: &Ground) -> anyhow::Result<Vec<(Method, String)>> {
    let plan = ground.plan()?;
    let protected = plan
        .routes()
        .iter()
        .filter(|route| matches!(route.auth, RouteAuth::Provider(_)));
    protected
        .map(|route| {
            let method = Method::from_bytes(route.method.as_str().as_bytes())?;
            Ok((method, route.path.replace(['{', '}'], "")))
        })
        .collect()
}

async fn call_all(ground: &Ground, routes: &[(Method, String)]) -> anyhow::Result<Verdict> {
    let customer = ground.door.sign_up().await?;
    let changed = with_changed_signature(&customer.tokens.access)?;
    let tokens = [
        ("no token", None),
        ("an invented token", Some(INVENTED)),
        ("a changed signature", Some(&*changed)),
    ];
    let mut verdict = Verdict::default();
    let heard_before = heard_by_core(ground).await?;
    for (method, path) in routes {
        for (what, token) in tokens {
            let bearer = token.map(|token| format!("Bearer {token}"));
            let headers: Vec<_> = bearer
                .iter()
                .map(|value| ("authorization", value.as_str()))
                .collect();
            let answer = ground.door.call(method.clone(), path, &headers, None).await?;
            verdict.fail_unless(answer.status == 401, || {
                format!("{method} {path} with {what} was answered {}", answer.status)
            });
        }
    }
    let heard = heard_by_core(ground).await? - heard_before;
    verdict.fail_unless(heard == 0, || format!("{heard} of these calls reached the core"));
    let accepted = customer.get(OPENED).await?;
    verdict.fail_unless(accepted.status == 200, || {
        format!("the unchanged token was answered {}", accepted.status)
    });
    verdict.fail_unless(!routes.is_empty(), || {
        "the policy protects no route at all".to_owned()
    });
    verdict.fact(format!(
        "{} protected routes were called in {} bad ways each",
        routes.len(),
        tokens.len()
    ));
    verdict.fact(format!("{heard} of these calls reached the core"));
    verdict.fact("the same token, unchanged, was accepted");
    Ok(verdict)
}

/// How many requests core-api has answered since it started, questions about its health left out.
pub(super) async fn heard_by_core(ground: &Ground) -> anyhow::Result<u64> {
    let metrics = ground.system.metrics(Service::CoreApi).await?;
    let of_api = |line: &&str| {
        line.starts_with("portico_service_requests_total{") && !line.contains("route=\"/health")
    };
    metrics
        .lines()
        .filter(of_api)
        .map(|line| {
            line.rsplit(' ')
                .next()
                .and_then(|count| count.parse::<u64>().ok())
                .context("a count")
        })
        .sum()
}

/// Replaces the `auth` of the route that begins at this line, and drops its scopes.
fn open_route(text: &str, route_line: u32) -> anyhow::Result<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let start = usize::try_from(route_line)?;
    let end = lines
        .iter()
        .skip(start)
        .position(|line| line.trim().is_empty())
        .map_or(lines.len(), |at| start + at);
    let body = lines.get_mut(start..end).context("the route has no body")?;
    let auth = body
        .iter_mut()
        .find(|line| line.trim_start().starts_with("auth:"))
        .context("the route has no `auth`")?;
    let indent: String = auth.chars().take_while(|c| *c == ' ').collect();
    *auth =
        format!("{indent}auth: none\n{indent}because: \"opened on purpose, to see whether anybody notices\"");
    for line in body {
        if line.trim_start().starts_with("scopes:") {
            line.clear();
        }
    }
    Ok(lines.join("\n") + "\n")
}

/// The same token with another first character in its signature.
fn with_changed_signature(token: &str) -> anyhow::Result<String> {
    let (head, signature) = token.rsplit_once('.').context("a token has three parts")?;
    let mut characters: Vec<char> = signature.chars().collect();
    let changed = characters.first_mut().context("a token has a signature")?;
    *changed = if *changed == 'A' { 'B' } else { 'A' };
    Ok(format!("{head}.{}", characters.into_iter().collect::<String>()))
}
