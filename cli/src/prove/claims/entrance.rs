//! Claim `entrance`: who asks for a name that is not ours gets no certificate, and nothing is served in clear.

use ::policy::Plan;
use anyhow::Context as _;
use reqwest::Method;
use trial::{Answer, Customer};

use super::Verdict;
use crate::prove::ground::Ground;

/// Names that the gateway has no certificate for.
const STRANGE: [&str; 3] = ["unknown.example", "localhost.evil.example", "xn--bnk-0na.example"];
/// What is asked for in clear.
const PATHS: [&str; 3] = ["/api/v1/me", "/.well-known/jwks.json", "/health/live?x=1"];

pub(super) async fn check(ground: &Ground) -> anyhow::Result<Verdict> {
    look(ground, &STRANGE, async |method, path, headers| {
        Ok(ground.door.call_in_clear(method, path, headers).await?)
    })
    .await
}

/// Asks for a name that the gateway has, and over TLS where it should be in clear: the same eyes must see that it is
/// let in and served.
pub(super) async fn control(ground: &Ground) -> anyhow::Result<Verdict> {
    let ours = host(ground)?;
    look(ground, &[&ours], async |method, path, headers| {
        Ok(ground.door.call(method, path, headers, None).await?)
    })
    .await
}

fn host(ground: &Ground) -> anyhow::Result<String> {
    let authority = ground.door.authority();
    let (host, _) = authority.rsplit_once(':').context("an address with a port")?;
    Ok(host.to_owned())
}

async fn look(
    ground: &Ground,
    names: &[&str],
    ask: impl AsyncFn(Method, &str, &[(&str, &str)]) -> anyhow::Result<Answer>,
) -> anyhow::Result<Verdict> {
    let mut verdict = Verdict::default();
    for name in names {
        let shaken = ground.door.handshake(name).await?;
        let refused = shaken
            .as_ref()
            .is_err_and(|error| error.contains("UnrecognisedName"));
        verdict.fail_unless(refused, || format!("a handshake for {name} came to {shaken:?}"));
    }
    verdict.fact(format!(
        "{} names that are not ours were refused in the handshake, with `unrecognized_name`",
        names.len()
    ));

    let plan = ground.plan()?;
    let customer = ground.door.sign_up().await?;
    for path in PATHS {
        redirected(&mut verdict, &plan, path, &ask(Method::GET, path, &[]).await?);
        refused(&mut verdict, &customer, path, &ask).await?;
    }
    verdict.fact(format!(
        "{} paths were asked for in clear: each was redirected to https, and refused with a token or another method",
        PATHS.len()
    ));
    Ok(verdict)
}

/// RD-1, RD-2, RD-4.
fn redirected(verdict: &mut Verdict, plan: &Plan, path: &str, answer: &Answer) {
    let location = answer
        .headers
        .get("location")
        .and_then(|value| value.to_str().ok());
    let target = location.and_then(|location| location.strip_prefix("https://"));
    let is_ours = target.is_some_and(|target| {
        target.ends_with(path) && plan.hosts().iter().any(|host| target.starts_with(host.as_str()))
    });
    verdict.fail_unless(answer.status == 308 && is_ours, || {
        format!("{path} in clear was answered {} to {location:?}", answer.status)
    });
    verdict.fail_unless(!answer.headers.contains_key("strict-transport-security"), || {
        format!("{path} in clear was answered with Strict-Transport-Security")
    });
}

async fn refused(
    verdict: &mut Verdict,
    customer: &Customer,
    path: &str,
    ask: &impl AsyncFn(Method, &str, &[(&str, &str)]) -> anyhow::Result<Answer>,
) -> anyhow::Result<()> {
    let bearer = format!("Bearer {}", customer.tokens.access);
    let with_token = ask(Method::GET, path, &[("authorization", &bearer)]).await?;
    let changing = ask(Method::POST, path, &[]).await?;
    for (what, answer) in [("with a token", with_token), ("by POST", changing)] {
        verdict.fail_unless(answer.status == 403, || {
            format!("{path} in clear {what} was answered {}", answer.status)
        });
    }
    Ok(())
}
