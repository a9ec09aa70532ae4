//! Claim `agreement`: what `portico policy explain` says of a request is what the gateway does with it, to the very line.

use std::sync::Arc;
use std::time::Duration;

use ::policy::{
    Charge, Decision, Evidence, IdentityProvider, LimitState, LimitStates, Plan, Principal, RequestHead,
    Scheme, TokenFailure,
};
use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Verdict, refusal};
use crate::prove::ground::Ground;

pub(super) async fn check(ground: &Ground) -> anyhow::Result<Verdict> {
    let plan = ground.plan()?;
    compare(ground, &plan).await
}

/// Opens one route in the running policy, and expects of it what the original files say.
pub(super) async fn control(ground: &Ground) -> anyhow::Result<Verdict> {
    let promised = ground.plan()?;
    let edit = refusal::open_a_route(ground).await?;
    let verdict = compare(ground, &promised).await;
    edit.undo(ground).await?;
    verdict
}

/// A request to make, and to ask the policy about.
struct Probe {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    has_token: bool,
}

impl Probe {
    /// Whether it may end the session of its own token.
    fn may_end_sessions(&self) -> bool {
        self.has_token && self.method == Method::DELETE
    }

    /// Whether it is sent with an empty JSON object.
    fn has_body(&self) -> bool {
        matches!(self.method, Method::POST | Method::PUT | Method::PATCH)
    }
}

/// What became of it: the words of the gateway's own log.
#[derive(Debug, PartialEq, Eq)]
struct Fate {
    decision: String,
    route: String,
    rule: String,
    /// Of a refusal; what is permitted is answered by the service behind.
    status: Option<u64>,
}

async fn compare(ground: &Ground, plan: &Plan) -> anyhow::Result<Verdict> {
    let mut customer = ground.door.sign_up().await?;
    let principal = Arc::new(principal_of(&customer.tokens.access)?);
    let mut verdict = Verdict::default();
    let (mut permits, mut denials, mut answers) = (0_u32, 0_u32, 0_u32);
    for mut probe in probes(plan)? {
        if probe.has_token {
            let bearer = format!("Bearer {}", customer.tokens.access);
            probe.headers.push(("authorization", bearer));
        }
        let headers: Vec<(&str, &str)> = probe
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let body = probe.has_body().then(|| json!({}));
        let answer = ground
            .door
            .call(probe.method.clone(), &probe.path, &headers, body.as_ref())
            .await?;
        let id = answer.headers.get("x-request-id").and_then(|id| id.to_str().ok());
        let done = logged(ground, id.context("an answer without X-Request-ID")?).await?;
        let said = explained(plan, &probe, &principal)?;
        match said.decision.as_str() {
            "permit" => permits += 1,
            "answer" => answers += 1,
            _ => denials += 1,
        }
        verdict.fail_unless(said == done, || {
            format!(
                "{} {}: explain says {said:?}, the gateway did {done:?}",
                probe.method, probe.path
            )
        });
        if probe.may_end_sessions() && done.decision == "permit" {
            customer = ground.door.sign_up().await?;
        }
    }
    verdict.fail_unless(permits > 0 && denials > 0 && answers > 0, || {
        format!("a kind of answer is missing: {permits} permits, {denials} refusals, {answers} preflights")
    });
    verdict.fact(format!(
        "{permits} permits, {denials} refusals and {answers} answered preflights stand in the gateway's log with the route and the policy line that explain names"
    ));
    Ok(verdict)
}

/// Each route with a token, without one and as a preflight, and some requests that belong to none.
fn probes(plan: &Plan) -> anyhow::Result<Vec<Probe>> {
    let probe = |method: Method, path: &str| Probe {
        method,
        path: path.to_owned(),
        headers: Vec::new(),
        has_token: false,
    };
    let mut probes = Vec::new();
    for route in plan.routes() {
        let method = Method::from_bytes(route.method.as_str().as_bytes())?;
        let path = route.path.replace(['{', '}'], "");
        probes.push(probe(method.clone(), &path));
        probes.push(Probe {
            has_token: true,
            ..probe(method, &path)
        });
        let mut preflight = probe(Method::OPTIONS, &path);
        preflight.headers = vec![
            ("origin", "https://app.bank.example".to_owned()),
            ("access-control-request-method", route.method.to_string()),
        ];
        probes.push(preflight);
    }
    probes.push(probe(Method::DELETE, "/api/v1/me"));
    probes.push(probe(Method::GET, "/no/such/path"));
    probes.push(probe(Method::GET, "/api/v1/%6De"));
    Ok(probes)
}

/// The evaluator's own answer, with a good token and room in every limit supposed.
fn explained(plan: &Plan, probe: &Probe, principal: &Arc<Principal>) -> anyhow::Result<Fate> {
    let mut headers = HeaderMap::new();
    for (name, value) in &probe.headers {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value)?);
    }
    if probe.has_body() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let listener = plan.listeners().first().context("the policy has no listener")?;
    // The front door is called by the first name of the policy.
    let host = plan.hosts().first().context("the policy names no host")?;
    let mut head = RequestHead {
        listener: &listener.name,
        scheme: Scheme::Https,
        method: probe.method.as_str(),
        target: &probe.path,
        host,
        headers: &headers,
        client: std::net::Ipv4Addr::LOCALHOST.into(),
        body: None,
        https_port: listener.https.bind.port(),
    };
    if plan.body_needed(&head).is_some() {
        head.body = Some(b"{}");
    }
    let outcome = plan.explain(&head, &Supposed(Arc::clone(principal)));
    let route = outcome
        .route
        .as_ref()
        .map_or("none", |route| &route.name)
        .to_owned();
    Ok(match outcome.decision {
        Decision::Permit(permit) => Fate {
            decision: "permit".to_owned(),
            route,
            rule: permit.route().rule.to_string(),
            status: None,
        },
        Decision::Deny(denial) => Fate {
            decision: "deny".to_owned(),
            route,
            rule: denial.rule.to_string(),
            status: Some(denial.kind.status().into()),
        },
        Decision::Respond(answer) => Fate {
            decision: "answer".to_owned(),
            route,
            rule: answer.rule.to_string(),
            status: Some(answer.status.into()),
        },
    })
}

/// What the gateway's access log says of a request.
async fn logged(ground: &Ground, request_id: &str) -> anyhow::Result<Fate> {
    let log = ground.system.launch().data_dir.join("logs/gateway.log");
    let mut line = Value::Null;
    ground
        .wait_until("the gateway has logged the request", async || {
            let text = std::fs::read_to_string(&log)?;
            let lines = text.lines().rev().filter(|line| line.contains(request_id));
            let access = lines
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find(|line| line.get("decision").is_some());
            line = access.unwrap_or_default();
            Ok(!line.is_null())
        })
        .await?;
    let text = |name: &str| {
        line.get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let decision = text("decision");
    Ok(Fate {
        route: text("route"),
        rule: text("rule"),
        status: line
            .get("status")
            .and_then(Value::as_u64)
            .filter(|_| decision != "permit"),
        decision,
    })
}

struct Supposed(Arc<Principal>);

impl Evidence for Supposed {
    fn authenticate(&self, _: &IdentityProvider, _: &str) -> Result<Arc<Principal>, TokenFailure> {
        Ok(Arc::clone(&self.0))
    }

    fn knows_revocations(&self, _: Duration) -> bool {
        true
    }

    fn charge(&self, charges: &[Charge]) -> LimitStates {
        let state = |charge: &Charge| LimitState {
            limit: Arc::clone(&charge.limit),
            granted: true,
            remaining: charge.limit.burst,
            reset: Duration::ZERO,
            retry_after: Duration::ZERO,
        };
        charges.iter().map(state).collect()
    }
}

/// Whom a token speaks for, as it says itself.
fn principal_of(token: &str) -> anyhow::Result<Principal> {
    let payload = token.split('.').nth(1).context("a token has three parts")?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload)?)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    Ok(Principal {
        subject: text("sub").to_owned(),
        session: None,
        tenant: None,
        scopes: text("scope").split(' ').map(str::to_owned).collect(),
    })
}
