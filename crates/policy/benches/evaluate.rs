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
/// What a body of many transfers is long in: about 32 KiB.
const MANY: usize = 200;

/// A route for many transfers at once, and what the document says of it.
const BATCH: &str = r#"version: 1
routes:
  create_batch:
    match: { method: POST, path: /api/v1/batches }
    auth: customers
    scopes: ["transfers:write"]
    limits: { body: 64KiB }
    cors: application
    upstream: core
"#;
const BATCH_DESCRIBED: &str = r##""/api/v1/batches": { "post": { "requestBody": { "required": true, "content": { "application/json": {
    "schema": { "type": "array", "maxItems": 500, "items": { "$ref": "#/components/schemas/NewTransfer" } } } } } } },"##;

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

/// The shipped policies and the route for batches; with the document that describes the requests of the core, or without
/// it.
fn shipped(is_described: bool) -> Option<Plan> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
    let mut files = vec![SourceFile::new("routes/batch.yaml", BATCH)];
    for folder in ["", "routes", "environments"] {
        for entry in fs::read_dir(root.join(folder)).ok()? {
            let path = entry.ok()?.path();
            let name = path.strip_prefix(&root).ok()?.to_str()?.to_owned();
            let is_policy = path.extension().is_some_and(|extension| extension == "yaml");
            if is_policy || (is_described && SourceFile::is_api_document(&name)) {
                let text = fs::read_to_string(&path).ok()?;
                let paths = format!("\"paths\": {{ {BATCH_DESCRIBED}");
                let text = text.replacen("\"paths\": {", &paths, 1);
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
    for (what, plan, method, target, body) in rows(&plan, &undescribed) {
        let head = RequestHead {
            listener: "public",
            scheme: Scheme::Https,
            method,
            target,
            host: "api.bank.example",
            headers: &headers,
            client: IpAddr::from([203, 0, 113, 7]),
            body: body.as_deref(),
            https_port: 443,
        };
        let (middle, is_permitted) = measure(plan, &head, &evidence);
        let fate = if is_permitted { "permit" } else { "deny" };
        writeln!(out, "{fate:<6} {middle:>5} ns  {method} {target} {what}")?;
    }
    Ok(())
}

/// What it is, the policies, and the request with its body.
type Row<'p> = (
    &'static str,
    &'p Plan,
    &'static str,
    &'static str,
    Option<Vec<u8>>,
);

fn rows<'p>(plan: &'p Plan, undescribed: &'p Plan) -> Vec<Row<'p>> {
    let entries = "/api/v1/accounts/acc_01jdx3v9k2e8m7q4t6y1w5z0ab/entries?limit=50";
    let (transfers, batches) = ("/api/v1/transfers", "/api/v1/batches");
    let good = String::from_utf8_lossy(TRANSFER).into_owned();
    let negative = good.replace("2500", "-2500");
    let batch = |one: &str| vec![one; MANY].join(",");
    let many = format!("[{}]", batch(&good));
    let late = format!("[{},{negative}]", batch(&good));
    let wrong = format!("[{}]", batch(&negative));
    let post = |what, plan, target, body: &String| -> Row<'p> {
        (what, plan, "POST", target, Some(body.clone().into_bytes()))
    };
    vec![
        ("", plan, "GET", "/api/v1/me", None),
        ("", plan, "GET", entries, None),
        post("with its body", plan, transfers, &good),
        post("with its body, no OpenAPI", undescribed, transfers, &good),
        post("with a negative amount", plan, transfers, &negative),
        post("with 200 transfers", plan, batches, &many),
        post("with 200 transfers, no OpenAPI", undescribed, batches, &many),
        post("with 200 and a negative one", plan, batches, &late),
        post("with 200 negative ones", plan, batches, &wrong),
        ("", plan, "GET", "/no/such/path", None),
    ]
}

/// Nanoseconds of the turn in the middle, and whether the request is permitted.
fn measure(plan: &Plan, head: &RequestHead<'_>, evidence: &Fine) -> (u128, bool) {
    // A body is read in every round: a long one in fewer of them.
    let size = head.body.map_or(0, <[u8]>::len);
    let rounds = ROUNDS / u32::try_from(size / 256).map_or(1, |part| part.max(1));
    let mut turns: Vec<u128> = (0..TURNS)
        .map(|_| {
            let started = Instant::now();
            for _ in 0..rounds {
                black_box(plan.evaluate(black_box(head), evidence));
            }
            started.elapsed().as_nanos() / u128::from(rounds)
        })
        .collect();
    turns.sort_unstable();
    let middle = turns.get(TURNS / 2).copied().unwrap_or_default();
    let is_permitted = matches!(plan.evaluate(head, evidence).decision, Decision::Permit(_));
    (middle, is_permitted)
}
