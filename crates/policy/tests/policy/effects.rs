//! Every key of the language has an effect: another value makes another plan (POL-1).

use crate::world::plan;
use policy::SourceFile;
use std::{collections::BTreeSet, fs, path::Path};

const BASE: &str = r#"
version: 1
listeners:
  public:
    http: { bind: "0.0.0.0:80", redirect: https }
    https: { bind: "0.0.0.0:443", tls: { min: "1.2", certificate: gateway } }
hosts: [api.bank.example]
upstreams:
  core: { address: unix:core.sock, authorization: forward, timeouts: { connect: 1s, read: 15s, total: 30s } }
  other: { address: unix:other.sock, authorization: strip, timeouts: { connect: 9s, read: 39s, total: 40s } }
identity:
  customers: { issuer: https://a.example, audiences: [core-api], algorithms: [EdDSA], type: at+jwt, max_lifetime: 15min, leeway: 30s, keys: portico }
  partners: { issuer: https://b.example, audiences: [core-api], algorithms: [ES256], type: at+jwt, max_lifetime: 5min, leeway: 30s, keys: portico }
headers:
  api: { set: { X-Frame-Options: DENY }, remove: [Server] }
  docs: { set: { X-Frame-Options: SAMEORIGIN }, remove: [Server] }
cors:
  application: { origins: [https://app.example], methods: [GET, POST], headers: [Authorization], expose: [RateLimit], credentials: true, max_age: 10min }
  documentation: { origins: ["*"], methods: [GET, POST], headers: [Accept], expose: [RateLimit], max_age: 10min }
floor:
  limits: { head: 16KiB, headers: 64, target: 8KiB, body: 256KiB }
  timeouts: { head: 5s, body: 14s }
  rate: { per-address: { limit: 100/min, burst: 20, key: [address] } }
  headers: api
routes:
  pay:
    match: { method: POST, path: /pay }
    auth: customers
    scopes: ["pay:write"]
    rate: { payments: { limit: 7/min, burst: 7, key: [subject, body./to], count: failures } }
    limits: { head: 15KiB, headers: 63, target: 7KiB, body: 255KiB }
    timeouts: { connect: 900ms, read: 14s, total: 29s }
    headers: docs
    cors: application
    upstream: core
  keys:
    match: { method: GET, path: /keys }
    auth: none
    because: public keys are there to be read
    serve: jwks
  docs:
    match: { method: GET, path: /docs }
    auth: partners
    scopes: []
    cors: documentation
    upstream: other
  upload:
    match: { method: POST, path: /upload }
    auth: partners
    scopes: ["upload:write"]
    limits: { body: 1MiB }
    upstream: core
waivers:
  statements: { rule: P3006, at: routes.upload.limits.body, because: a year is sent in one piece, until: 2027-01-31 }
  pages: { rule: A1402, at: routes.docs.scopes, because: until scopes are given out, until: 2027-02-28 }
"#;

const OVERLAY: &str = r#"
version: 1
environment: development
listeners:
  public:
    http: { bind: "127.0.0.1:8080" }
    https: { bind: "127.0.0.1:8443" }
hosts: [localhost]
rates:
  payments: { limit: 5/min, burst: 6 }
"#;

/// What is replaced, by what, and the key whose effect it shows.
const CHANGES: [(&str, &str, &str); 67] = [
    (
        "listeners",
        "public:\n    http: { bind: \"0",
        "open:\n    http: { bind: \"0",
    ),
    (
        "http",
        "    http: { bind: \"0.0.0.0:80\", redirect: https }\n",
        "\n",
    ),
    (
        "https",
        "https: { bind: \"0.0.0.0:443\"",
        "https: { bind: \"[::]:443\"",
    ),
    ("bind", "0.0.0.0:80", "0.0.0.0:81"),
    ("redirect", "http: { bind: \"0.0.0.0:80\", redirect: https }", ""),
    (
        "tls",
        "tls: { min: \"1.2\", certificate: gateway }",
        "tls: { min: \"1.3\", certificate: other }",
    ),
    ("min", "min: \"1.2\"", "min: \"1.3\""),
    ("certificate", "certificate: gateway", "certificate: other"),
    ("hosts", "[api.bank.example]", "[api.example]"),
    ("upstreams", "other: { address", "third: { address"),
    ("address", "unix:core.sock", "http://127.0.0.1:1"),
    ("authorization", "authorization: forward", "authorization: strip"),
    (
        "timeouts",
        "timeouts: { connect: 900ms, read: 14s, total: 29s }",
        "",
    ),
    ("connect", "connect: 9s", "connect: 8s"),
    ("read", "read: 39s", "read: 38s"),
    ("total", "total: 40s", "total: 41s"),
    ("connect", "connect: 900ms", "connect: 800ms"),
    ("read", "read: 14s", "read: 13s"),
    ("total", "total: 29s", "total: 28s"),
    ("identity", "issuer: https://b", "issuer: https://c"),
    ("issuer", "issuer: https://a", "issuer: https://c"),
    (
        "audiences",
        "audiences: [core-api]",
        "audiences: [core-api, other]",
    ),
    ("algorithms", "[EdDSA]", "[EdDSA, ES256]"),
    ("type", "type: at+jwt", "type: jwt"),
    ("max_lifetime", "max_lifetime: 15min", "max_lifetime: 14min"),
    ("leeway", "leeway: 30s", "leeway: 29s"),
    ("headers", "headers: docs", "headers: api"),
    ("set", "X-Frame-Options: DENY", "X-Frame-Options: SAMEORIGIN"),
    (
        "remove",
        "SAMEORIGIN }, remove: [Server]",
        "SAMEORIGIN }, remove: [Server, Via]",
    ),
    ("cors", "    cors: application\n", "    cors: documentation\n"),
    ("origins", "[https://app.example]", "[https://b.example]"),
    (
        "methods",
        "methods: [GET, POST], headers: [Authorization]",
        "methods: [POST], headers: [Authorization]",
    ),
    ("headers", "headers: [Authorization]", "headers: [Accept]"),
    ("expose", "expose: [RateLimit]", "expose: [Retry-After]"),
    ("credentials", ", credentials: true", ", credentials: false"),
    ("max_age", "max_age: 10min", "max_age: 9min"),
    ("floor", "  headers: api\nroutes", "  headers: docs\nroutes"),
    (
        "limits",
        "    limits: { head: 15KiB, headers: 63, target: 7KiB, body: 255KiB }\n",
        "\n",
    ),
    ("head", "head: 15KiB", "head: 14KiB"),
    ("headers", "headers: 63", "headers: 62"),
    ("target", "target: 7KiB", "target: 6KiB"),
    ("body", "body: 255KiB", "body: 254KiB"),
    ("head", "head: 16KiB", "head: 17KiB"),
    ("headers", "headers: 64", "headers: 65"),
    ("target", "target: 8KiB", "target: 9KiB"),
    ("body", "body: 256KiB", "body: 257KiB"),
    ("head", "head: 5s", "head: 6s"),
    ("body", "body: 14s", "body: 13s"),
    ("rate", "per-address: {", "by-address: {"),
    ("limit", "limit: 100/min", "limit: 99/min"),
    ("burst", "burst: 20", "burst: 21"),
    ("key", "key: [subject, body./to]", "key: [subject]"),
    ("count", ", count: failures", ", count: requests"),
    ("routes", "  pay:\n", "  send:\n"),
    ("match", "method: POST, path: /pay", "method: POST, path: /send"),
    (
        "method",
        "method: GET, path: /keys",
        "method: DELETE, path: /keys",
    ),
    ("path", "path: /keys", "path: /jwks"),
    ("auth", "auth: customers", "auth: partners"),
    (
        "because",
        "because: public keys are there to be read",
        "because: anyone may read them",
    ),
    ("scopes", "[\"pay:write\"]", "[\"pay:write\", \"pay:more\"]"),
    ("upstream", "upstream: core", "upstream: other"),
    ("serve", "serve: jwks", "serve: live"),
    ("waivers", "  pages: {", "  documents: {"),
    ("rule", "rule: A1402", "rule: A1401"),
    ("at", "at: routes.docs.scopes", "at: routes.pages.scopes"),
    (
        "because",
        "because: until scopes",
        "because: as long as no scopes",
    ),
    ("until", "until: 2027-02-28", "until: 2027-02-27"),
];

/// The same for an overlay.
const OVERLAY_CHANGES: [(&str, &str, &str); 5] = [
    ("bind", "127.0.0.1:8080", "127.0.0.1:8081"),
    ("bind", "127.0.0.1:8443", "127.0.0.1:8444"),
    ("hosts", "[localhost]", "[127.0.0.1]"),
    ("limit", "limit: 5/min", "limit: 4/min"),
    ("burst", "burst: 6", "burst: 5"),
];

/// Keys with one legal value, and keys that only explain or name: nothing else can be written there.
const FIXED: [&str; 5] = ["version", "keys", "environment", "rates", "because"];

fn files(base: &str, overlay: &str) -> Vec<SourceFile> {
    let file = |name: &str, text: &str| SourceFile {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    vec![
        file("base.yaml", base),
        file("environments/development.yaml", overlay),
    ]
}

/// The plan in words, without the hash, which any edit changes.
fn compiled(base: &str, overlay: &str, environment: &str) -> String {
    let plan = plan(&files(base, overlay), environment);
    format!("{plan:?}").replace(plan.hash(), "")
}

fn replaced(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "{old}");
    text.replacen(old, new, 1)
}

#[test]
fn another_value_makes_another_plan() {
    let before = compiled(BASE, OVERLAY, "production");
    for (key, old, new) in CHANGES {
        // Some changes leave an overlay or a definition behind; the others keep the bundle whole.
        let overlay = if matches!(key, "http" | "redirect" | "listeners") {
            "version: 1\nenvironment: development\n"
        } else {
            OVERLAY
        };
        let mut base = replaced(BASE, old, new);
        if matches!((key, new), ("upstreams", _)) {
            base = replaced(&base, "upstream: other", "upstream: third");
        }
        let unused = [
            ("headers: api\nroutes", "  api: {"),
            ("headers: docs\n", "  docs: {"),
            ("upstream: core", "  core: {"),
            ("auth: customers", "  customers: {"),
            ("cors: application", "  application: {"),
        ];
        for (reference, definition) in unused {
            if !base.contains(reference) {
                // The line stays, empty: other lines must keep their numbers, which the plan knows.
                let keep = |line: &str| {
                    if line.starts_with(definition) {
                        String::new()
                    } else {
                        line.to_owned()
                    }
                };
                base = base.lines().map(keep).collect::<Vec<_>>().join("\n");
            }
        }
        assert_ne!(
            before,
            compiled(&base, overlay, "production"),
            "{key}: {old} → {new}"
        );
    }
}

#[test]
fn another_value_in_an_overlay_makes_another_plan_for_its_environment_only() {
    let (development, production) = (
        compiled(BASE, OVERLAY, "development"),
        compiled(BASE, OVERLAY, "production"),
    );
    assert_ne!(development, production);
    for (key, old, new) in OVERLAY_CHANGES {
        let overlay = replaced(OVERLAY, old, new);
        assert_ne!(
            development,
            compiled(BASE, &overlay, "development"),
            "{key}: {old} → {new}"
        );
        assert_eq!(
            production,
            compiled(BASE, &overlay, "production"),
            "{key}: {old} → {new}"
        );
    }
}

/// Every key that a reader asks for, taken from the readers themselves.
pub(crate) fn keys() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/document");
    let mut keys = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("the readers") {
        let text = fs::read_to_string(entry.expect("a reader").path()).expect("UTF-8");
        let compact: String = text.split_whitespace().collect();
        for call in [
            "required(\"",
            "optional(\"",
            "one(\"",
            "key(\"",
            "bind(\"",
            "&file,\"",
        ] {
            keys.extend(
                compact
                    .split(call)
                    .skip(1)
                    .filter_map(|rest| rest.split('"').next())
                    .map(str::to_owned),
            );
        }
    }
    keys
}

#[test]
fn every_key_is_changed_here() {
    let changed: BTreeSet<&str> = CHANGES
        .iter()
        .chain(&OVERLAY_CHANGES)
        .map(|(key, ..)| *key)
        .collect();
    let missing: Vec<String> = keys()
        .into_iter()
        .filter(|key| !changed.contains(key.as_str()) && !FIXED.contains(&key.as_str()))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(keys().len() >= 35);
}
