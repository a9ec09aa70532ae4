//! How long a decision takes: `cargo bench -p policy --bench evaluate`. Signatures and counters are not part of it.

use http::{HeaderMap, HeaderValue, header};
use policy::{
    Charge, Decision, Evidence, IdentityProvider, LimitState, LimitStates, Plan, Principal, RequestHead,
    Scheme, SourceFile, TokenFailure,
};
use std::{
    fs,
    hint::black_box,
    io::Write as _,
    net::IpAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

const ROUNDS: u32 = 200_000;
const TURNS: usize = 9;

const TRANSFER: &[u8] = br#"{"from_account_id":"acc_01kafpwz0zfmx9tpr6z5qgyf0h","to_account_id":"acc_01kafpx3vgfd5t8y2w5m0c9b7e","amount":2500,"currency":"EUR","reference":"Rent, May"}"#;

/// A good token and room in every limit, for nothing.
struct Fine(Arc<Principal>);

impl Evidence for Fine {
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
            remaining: 1,
            reset: Duration::from_secs(1),
            retry_after: Duration::ZERO,
        };
        charges.iter().map(state).collect()
    }
}

/// The shipped policies; with the document that describes the requests of the core, or without it.
fn shipped(is_described: bool) -> Option<Plan> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
    let mut files = Vec::new();
    for folder in ["", "routes", "environments"] {
        for entry in fs::read_dir(root.join(folder)).ok()? {
            let path = entry.ok()?.path();
            let name = path.strip_prefix(&root).ok()?.to_str()?.to_owned();
            let is_policy = path.extension().is_some_and(|extension| extension == "yaml");
            if is_policy || SourceFile::is_api_document(&name) {
                let text = fs::read_to_string(&path).ok()?;
                let lines = text.lines();
                let kept = lines.filter(|line| is_described || !line.starts_with("    openapi:"));
                files.push(SourceFile::new(name, kept.collect::<Vec<_>>().join("\n") + "\n"));
            }
        }
    }
    policy::compile(&files, "production").ok()
}

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout();
    let (Some(plan), Some(undescribed)) = (shipped(true), shipped(false)) else {
        return writeln!(out, "the shipped policies do not compile");
    };
    let evidence = Fine(Arc::new(Principal {
        subject: "usr_01jdx3v9k2e8m7q4t6y1w5z0ab".to_owned(),
        session: None,
        tenant: None,
        scopes: ["accounts:read", "transfers:write"].map(str::to_owned).to_vec(),
    }));
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (header::AUTHORIZATION, "Bearer e30.e30.c2ln"),
        (header::USER_AGENT, "bench"),
        (header::ACCEPT, "application/json"),
        (header::CONTENT_TYPE, "application/json"),
        (header::ORIGIN, "https://app.bank.example"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(
        "idempotency-key",
        HeaderValue::from_static("b7c0a9d2-5a52-4c0e-9d0e-6f1f7f0e8a31"),
    );
    let entries = "/api/v1/accounts/acc_01jdx3v9k2e8m7q4t6y1w5z0ab/entries?limit=50";
    let transfers = "/api/v1/transfers";
    for (what, plan, method, target, body) in [
        ("", &plan, "GET", "/api/v1/me", None),
        ("", &plan, "GET", entries, None),
        ("with its body", &plan, "POST", transfers, Some(TRANSFER)),
        (
            "with its body, no OpenAPI",
            &undescribed,
            "POST",
            transfers,
            Some(TRANSFER),
        ),
        ("", &plan, "GET", "/no/such/path", None),
    ] {
        let head = RequestHead {
            listener: "public",
            scheme: Scheme::Https,
            method,
            target,
            host: "api.bank.example",
            headers: &headers,
            client: IpAddr::from([203, 0, 113, 7]),
            body,
            https_port: 443,
        };
        let (middle, is_permitted) = measure(plan, &head, &evidence);
        let fate = if is_permitted { "permit" } else { "deny" };
        writeln!(out, "{fate:<6} {middle:>5} ns  {method} {target} {what}")?;
    }
    Ok(())
}

/// Nanoseconds of the turn in the middle, and whether the request is permitted.
fn measure(plan: &Plan, head: &RequestHead<'_>, evidence: &Fine) -> (u128, bool) {
    let mut turns: Vec<u128> = (0..TURNS)
        .map(|_| {
            let started = Instant::now();
            for _ in 0..ROUNDS {
                black_box(plan.evaluate(black_box(head), evidence));
            }
            started.elapsed().as_nanos() / u128::from(ROUNDS)
        })
        .collect();
    turns.sort_unstable();
    let middle = turns.get(TURNS / 2).copied().unwrap_or_default();
    let is_permitted = matches!(plan.evaluate(head, evidence).decision, Decision::Permit(_));
    (middle, is_permitted)
}
