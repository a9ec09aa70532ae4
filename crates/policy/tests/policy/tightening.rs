//! A rule that is added can only close: no request that was denied is permitted by one rule more (POL-4).

use crate::world::{Request, World, plan};
use policy::{
    Charge, Decision, Evidence, IdentityProvider, LimitState, LimitStates, Principal, SourceFile,
    TokenFailure,
};
use proptest::prelude::*;
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// A bundle in which every `@…` is a rule that may be left out: by its mark, and what it says when it is there.
const BUNDLE: &str = r#"
version: 1
listeners: { public: { https: { bind: "[::]:443", tls: { min: "1.3", certificate: a } } } }
hosts: [api.bank.example]
addresses: { office: [203.0.113.0/24], blocked: [203.0.113.7], others: [198.51.100.0/24] }
upstreams: { core: { address: unix:a.sock, authorization: forward, timeouts: { connect: 1s, read: 1s, total: 1s } } }
identity: { customers: { issuer: https://a.example, audiences: [a], algorithms: [EdDSA], type: at+jwt, max_lifetime: 1min, leeway: 1s, keys: portico } }
headers: { api: { set: { X-Frame-Options: DENY }, remove: [Server] } }
floor:
  limits: { head: @head, headers: @lines, target: @target, body: @body }
  timeouts: { head: 5s, body: 15s }
  deny_from: [others@blocked]
  rate: { per-address: { limit: 100/min, burst: 20, key: [address] }@floor_rate }
  headers: api
routes:
  pay:
    match: { method: POST, path: "/pay/{id}" }
    auth: customers
    scopes: ["pay:write"@scope]
    limits: { @route_limits }
    rate: { payments: { limit: 7/min, burst: 7, key: [subject] }@route_rate }
    upstream: core
  office:
    match: { method: POST, path: /pay/office }
    auth: customers
    scopes: []
    @allow_from
    upstream: core
  all: { match: { method: GET, path: /all }, auth: none, because: it uses every list, allow_from: [office, blocked, others], serve: live }
"#;

/// Mark, text without the rule, text with it.
const RULES: [(&str, &str, &str); 10] = [
    ("@head", "16KiB", "1KiB"),
    ("@lines", "64", "3"),
    ("@target", "1000B", "128B"),
    ("@body", "64KiB", "9B"),
    ("@blocked", "", ", blocked"),
    (
        "@floor_rate",
        "",
        ", more: { limit: 1/s, burst: 1, key: [address] }",
    ),
    ("@scope", "", ", \"pay:more\""),
    ("@route_limits", "headers: 3", "headers: 3, body: 5B, target: 10B"),
    (
        "@route_rate",
        "",
        ", fewer: { limit: 1/s, burst: 1, key: [subject, body./to] }",
    ),
    ("@allow_from", "", "allow_from: [office]"),
];

/// A target of more than 128 bytes.
const LONG: &str = concat!(
    "/pay/office?query=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
);

fn bundle(rules: &BTreeSet<usize>) -> Vec<SourceFile> {
    let text = RULES
        .iter()
        .enumerate()
        .fold(BUNDLE.to_owned(), |text, (index, (mark, without, with))| {
            assert!(text.contains(mark), "{mark}");
            text.replace(mark, if rules.contains(&index) { with } else { without })
        });
    vec![SourceFile::new("all.yaml", text)]
}

/// Counters in which these limits have no room.
struct Exhausted<'a>(&'a World, &'a [&'a str]);

impl Evidence for Exhausted<'_> {
    fn authenticate(&self, provider: &IdentityProvider, token: &str) -> Result<Arc<Principal>, TokenFailure> {
        self.0.authenticate(provider, token)
    }

    fn knows_revocations(&self, _: Duration) -> bool {
        true
    }

    fn charge(&self, charges: &[Charge]) -> LimitStates {
        let state = |charge: &Charge| LimitState {
            limit: charge.limit.clone(),
            granted: !self.1.contains(&charge.limit.name.as_str()),
            remaining: 1,
            reset: Duration::ZERO,
            retry_after: Duration::ZERO,
        };
        charges.iter().map(state).collect()
    }
}

#[test]
fn every_rule_closes_something() {
    let permitted = |rules: &BTreeSet<usize>, request: &Request, exhausted: &[&str]| {
        let world = World::with_scopes(&["pay:write"]);
        let outcome = request.ask(&plan(&bundle(rules), "production"), &Exhausted(&world, exhausted));
        matches!(outcome.decision, Decision::Permit(_))
    };
    let pay = || Request::new("POST", "/pay/1").token("good").body("{}");
    let office = || Request::new("POST", "/pay/office").token("good").body("{}");
    let large = |request: Request| {
        request
            .header("content-length", "8")
            .header("x-a", &"a".repeat(1_100))
    };
    let closed = [
        large(pay()),
        large(office()).header("x-b", "b"),
        Request::new("POST", LONG).token("good").body("{}"),
        pay().header("content-length", "10"),
        pay().client("203.0.113.7"),
        pay(),
        pay(),
        large(pay()),
        pay(),
        office().client("192.0.2.1"),
    ];
    for (index, (mark, ..)) in RULES.iter().enumerate() {
        let exhausted: &[&str] = match *mark {
            "@floor_rate" => &["more"],
            "@route_rate" => &["fewer"],
            _ => &[],
        };
        let request = &closed[index];
        assert!(permitted(&BTreeSet::new(), request, exhausted), "{mark}");
        assert!(!permitted(&BTreeSet::from([index]), request, exhausted), "{mark}");
    }
}

proptest! {
    // Each case compiles two bundles.
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_rule_more_never_permits_what_was_denied(
        before in proptest::collection::btree_set(0..RULES.len(), 0..5),
        more in 0..RULES.len(),
        path in proptest::sample::select(vec!["/pay/1", "/pay/office", LONG, "/pay/12345678", "/pay", "/other"]),
        length in proptest::option::of(0_u32..20),
        lines in 0_usize..5,
        padding in 0_usize..600,
        client in proptest::sample::select(vec!["203.0.113.9", "203.0.113.7", "198.51.100.1", "192.0.2.1"]),
        held in proptest::sample::subsequence(vec!["pay:write", "pay:more"], 0..=2),
        has_token: bool,
        exhausted in proptest::sample::subsequence(vec!["more", "fewer", "payments", "per-address"], 0..2),
    ) {
        let mut request = Request::new("POST", path).client(client).body("{\"to\":1}");
        if has_token {
            request = request.token("good");
        }
        if let Some(length) = length {
            request = request.header("content-length", &length.to_string());
        }
        for line in 0..lines {
            request = request.header(&format!("x-{line}"), &"a".repeat(padding));
        }
        let world = World::with_scopes(&held);
        let is_permitted = |rules: &BTreeSet<usize>| {
            let outcome = request.ask(&plan(&bundle(rules), "production"), &Exhausted(&world, &exhausted));
            matches!(outcome.decision, Decision::Permit(_))
        };
        let mut after = before.clone();
        after.insert(more);
        prop_assert!(is_permitted(&before) || !is_permitted(&after), "{:?} and {}", before, RULES[more].0);
    }
}
