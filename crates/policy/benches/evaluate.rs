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

fn shipped() -> Option<Plan> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
    let mut files = Vec::new();
    for folder in ["", "routes", "environments"] {
        for entry in fs::read_dir(root.join(folder)).ok()? {
            let path = entry.ok()?.path();
            let name = path.strip_prefix(&root).ok()?.to_str()?.to_owned();
            let is_policy = path.extension().is_some_and(|extension| extension == "yaml");
            if is_policy || SourceFile::is_api_document(&name) {
                let text = fs::read_to_string(&path).ok()?;
                files.push(SourceFile::new(name, text));
            }
        }
    }
    policy::compile(&files, "production").ok()
}

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout();
    let Some(plan) = shipped() else {
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
    for (method, target) in [
        ("GET", "/api/v1/me"),
        (
            "GET",
            "/api/v1/accounts/acc_01jdx3v9k2e8m7q4t6y1w5z0ab/entries?limit=50",
        ),
        ("POST", "/api/v1/transfers"),
        ("GET", "/no/such/path"),
    ] {
        let head = RequestHead {
            listener: "public",
            scheme: Scheme::Https,
            method,
            target,
            host: "api.bank.example",
            headers: &headers,
            client: IpAddr::from([203, 0, 113, 7]),
            body: None,
            https_port: 443,
        };
        let mut turns: Vec<u128> = (0..TURNS)
            .map(|_| {
                let started = Instant::now();
                for _ in 0..ROUNDS {
                    black_box(plan.evaluate(black_box(&head), &evidence));
                }
                started.elapsed().as_nanos() / u128::from(ROUNDS)
            })
            .collect();
        turns.sort_unstable();
        let is_permitted = matches!(plan.evaluate(&head, &evidence).decision, Decision::Permit(_));
        let middle = turns.get(TURNS / 2).copied().unwrap_or_default();
        let fate = if is_permitted { "permit" } else { "deny" };
        writeln!(out, "{fate:<6} {middle:>5} ns  {method} {target}")?;
    }
    Ok(())
}
