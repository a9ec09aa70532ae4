//! What the OpenAPI document of an upstream does not allow never reaches it (EDG-11).

use serde_json::{Value, json};

use crate::clients::problem;
use crate::gateway_process::{GatewayProcess, POLICY, eventually};

const OLD: &str = "    timeouts: { connect: 1s, read: 2s, total: 4s }\n";

fn policy() -> String {
    let described = format!("{OLD}    openapi: core.openapi.json\n");
    assert!(POLICY.contains(OLD));
    POLICY
        .replace(OLD, &described)
        .replace("limits: { body: 1KiB }\n", "limits: { body: 8KiB }\n")
}

/// A document that describes what these tests send; amounts are at most this.
fn document(most: u64) -> String {
    let order = json!({
        "type": "object",
        "required": ["to", "amount"],
        "properties": {
            "to": { "type": "string", "pattern": "^acc_[0-9]+$" },
            "amount": { "type": "integer", "minimum": 1, "maximum": most },
            "tags": { "type": "array", "items": { "type": "string", "maxLength": 5 } },
            "at": { "type": ["string", "null"], "format": "date" },
        },
    });
    let text = json!({ "type": "string" });
    let json =
        |schema: &Value| json!({ "required": true, "content": { "application/json": { "schema": schema } } });
    let credentials =
        json!({ "type": "object", "required": ["email"], "properties": { "email": text, "password": text } });
    let pair = json!([
        { "name": "pair", "in": "path", "required": true, "schema": { "enum": ["eur-usd", "eur-chf"] } },
        { "name": "days", "in": "query", "schema": { "type": "integer", "maximum": 30 } },
    ]);
    let key = json!([{ "name": "Idempotency-Key", "in": "header", "required": true, "schema": { "type": "string", "maxLength": 9 } }]);
    json!({
        "openapi": "3.1.0",
        "paths": {
            "/api/v1/me": { "get": {} },
            "/api/v1/transfers": { "post": { "parameters": key, "requestBody": json(&order) } },
            "/api/v1/rates/{pair}": { "get": { "parameters": pair } },
            "/api/v1/auth/login": { "post": { "requestBody": json(&credentials) } },
            "/api/v1/scarce": { "get": {} },
        },
    })
    .to_string()
}

async fn start() -> GatewayProcess {
    GatewayProcess::with_policy(&policy(), |certificates| {
        let policies = certificates.parent().unwrap().join("policies");
        std::fs::write(policies.join("core.openapi.json"), document(1_000)).unwrap();
    })
    .await
}

fn order(gateway: &GatewayProcess, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
    gateway
        .client()
        .post(gateway.url("/api/v1/transfers"))
        .bearer_auth(gateway.keys.token())
        .header("idempotency-key", "order-1")
        .header("content-type", "application/json")
        .body(body)
}

/// Where the faults are, and of which kind.
fn faults(problem: &Value) -> Vec<(&str, &str)> {
    let errors = problem["errors"].as_array().unwrap().iter();
    errors
        .map(|error| {
            (
                error["pointer"].as_str().unwrap(),
                error["code"].as_str().unwrap(),
            )
        })
        .collect()
}

const GOOD: &str = r#"{"to": "acc_7", "amount": 25, "tags": ["rent"], "at": null}"#;

#[tokio::test]
async fn what_is_described_reaches_the_core_byte_by_byte() {
    let gateway = start().await;
    let answer = order(&gateway, GOOD).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let seen = gateway.core.last();
    assert_eq!(seen.body, GOOD.as_bytes());
    assert_eq!(seen.header("idempotency-key"), Some("order-1"));

    let pieces = GOOD
        .as_bytes()
        .chunks(7)
        .map(|piece| Ok::<_, std::io::Error>(piece.to_vec()));
    let pieces: Vec<_> = pieces.collect();
    let streamed = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    assert_eq!(order(&gateway, streamed).send().await.unwrap().status(), 200);
    assert_eq!(gateway.core.last().body, GOOD.as_bytes());

    let rates = gateway.get("/api/v1/rates/eur-usd?days=30").await;
    assert_eq!(rates.status(), 200);
    assert_eq!(gateway.core.last().target, "/api/v1/rates/eur-usd?days=30");
}

#[tokio::test]
async fn no_body_that_is_not_described_reaches_the_core() {
    let gateway = start().await;
    let deep = "[".repeat(4_000);
    let bodies = [
        ("", "", "missing_field"),
        ("{", "", "malformed"),
        (&deep, "", "malformed"),
        ("null", "", "invalid_type"),
        (r#"[{"to":"acc_7","amount":1}]"#, "", "invalid_type"),
        (r#"{"to":"acc_7"}"#, "/amount", "missing_field"),
        (r#"{"to":"acc_7","amount":0}"#, "/amount", "out_of_range"),
        (r#"{"to":"acc_7","amount":-1}"#, "/amount", "out_of_range"),
        (r#"{"to":"acc_7","amount":1001}"#, "/amount", "out_of_range"),
        (r#"{"to":"acc_7","amount":1e2}"#, "/amount", "invalid_type"),
        (r#"{"to":"acc_7","amount":"1"}"#, "/amount", "invalid_type"),
        (
            r#"{"to":"acc_7","amount":99999999999999999999999}"#,
            "/amount",
            "invalid_type",
        ),
        (r#"{"to":"acc_7' OR '1'='1","amount":1}"#, "/to", "invalid_format"),
        (r#"{"to":"acc_7\u0000","amount":1}"#, "/to", "invalid_format"),
        (r#"{"to":"acc_7\n","amount":1}"#, "/to", "invalid_format"),
        (r#"{"to":{"$ne":null},"amount":1}"#, "/to", "invalid_type"),
        (
            r#"{"to":"acc_7","amount":1,"is_admin":true}"#,
            "/is_admin",
            "unknown_field",
        ),
        (
            r#"{"to":"acc_7","amount":1,"__proto__":{"x":1}}"#,
            "/__proto__",
            "unknown_field",
        ),
        (r#"{"to":"acc_7","amount":1,"amount":2}"#, "", "malformed"),
        (r#"{"to":"acc_7","amount":1,"Amount":2}"#, "", "malformed"),
        (r#"{"to":"acc_7","amount":1,"amo\u0075nt":2}"#, "", "malformed"),
        (
            r#"{"to":"acc_7","amount":1,"tags":["<script>alert(1)</script>"]}"#,
            "/tags/0",
            "too_long",
        ),
        (
            r#"{"to":"acc_7","amount":1,"at":"2027-02-30"}"#,
            "/at",
            "invalid_format",
        ),
    ];
    for (body, pointer, code) in bodies {
        let answer = order(&gateway, body.to_owned()).send().await.unwrap();
        let refused = problem(answer, 400, "invalid-request").await;
        assert_eq!(faults(&refused), [(pointer, code)], "{body}");
    }
    for bytes in [
        &b"\xff\xfe{\0}\0"[..],
        b"{\"to\":\"\xc3\x28\"}",
        b"\xef\xbb\xbf{}",
    ] {
        let answer = order(&gateway, bytes).send().await.unwrap();
        problem(answer, 400, "invalid-request").await;
    }
    assert_eq!(gateway.core.seen().len(), 0);
}

#[tokio::test]
async fn no_head_that_is_not_described_reaches_the_core_and_its_body_is_not_waited_for() {
    let gateway = start().await;
    for (target, pointer, code) in [
        ("/api/v1/rates/eur-gbp", "/path/pair", "invalid_value"),
        ("/api/v1/rates/eur-usd?days=31", "/query/days", "out_of_range"),
        ("/api/v1/rates/eur-usd?days=1&days=2", "/query/days", "repeated"),
        ("/api/v1/rates/eur-usd?days=1&d%61ys=2", "/query/days", "repeated"),
        ("/api/v1/rates/eur-usd?day=1", "/query/day", "unknown_parameter"),
        ("/api/v1/rates/eur-usd?days=1%00", "/query/days", "invalid_type"),
    ] {
        let refused = problem(gateway.get(target).await, 400, "invalid-request").await;
        assert_eq!(faults(&refused), [(pointer, code)], "{target}");
    }
    // The body of these never ends.
    let endless = || reqwest::Body::wrap_stream(futures::stream::pending::<std::io::Result<Vec<u8>>>());
    let post = || {
        gateway
            .client()
            .post(gateway.url("/api/v1/transfers"))
            .bearer_auth(gateway.keys.token())
            .body(endless())
    };
    let untyped = post()
        .header("content-type", "text/plain")
        .header("idempotency-key", "order-1");
    problem(untyped.send().await.unwrap(), 415, "unsupported-media-type").await;
    let packed = post()
        .header("content-type", "application/json")
        .header("content-encoding", "gzip")
        .header("idempotency-key", "order-1");
    problem(packed.send().await.unwrap(), 415, "unsupported-media-type").await;
    let keyless = post()
        .header("content-type", "application/json")
        .send()
        .await
        .unwrap();
    let refused = problem(keyless, 400, "invalid-request").await;
    assert_eq!(
        faults(&refused),
        [("/header/Idempotency-Key", "missing_parameter")]
    );
    assert_eq!(gateway.core.seen().len(), 0);
}

#[tokio::test]
async fn whoever_may_not_do_it_learns_nothing_of_the_form() {
    let gateway = start().await;
    let post = || {
        gateway
            .client()
            .post(gateway.url("/api/v1/transfers"))
            .json(&json!({ "nothing": "right" }))
    };
    problem(post().send().await.unwrap(), 401, "unauthenticated").await;
    let reader = gateway.keys.token_with(&json!({ "scope": "accounts:read" }));
    problem(post().bearer_auth(reader).send().await.unwrap(), 403, "forbidden").await;
    assert_eq!(gateway.core.seen().len(), 0);
}

#[tokio::test]
async fn a_refusal_repeats_nothing_that_was_sent() {
    let gateway = start().await;
    let body = r#"{"email":4711,"password":{"hunter2":"hunter3"}}"#;
    let login = gateway
        .client()
        .post(gateway.url("/api/v1/auth/login"))
        .header("content-type", "application/json")
        .body(body);
    let answer = login.send().await.unwrap();
    let text = answer.text().await.unwrap();
    assert!(text.contains("/password"), "{text}");
    assert!(!text.contains("hunter") && !text.contains("4711"), "{text}");
}

#[tokio::test]
async fn a_wrong_form_is_no_wrong_password() {
    let gateway = start().await;
    let login = |body: Value| {
        gateway
            .client()
            .post(gateway.url("/api/v1/auth/login"))
            .json(&body)
    };
    for _ in 0..20 {
        let answer = login(json!({ "email": "a@b.example", "x": 1 }))
            .send()
            .await
            .unwrap();
        problem(answer, 400, "invalid-request").await;
    }
    let answer = login(json!({ "email": "a@b.example", "password": "x" }))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn another_document_is_another_policy_and_a_broken_one_changes_nothing() {
    let gateway = start().await;
    let status = |amount: u64| {
        let body = json!({ "to": "acc_7", "amount": amount }).to_string();
        let order = order(&gateway, body);
        async move { order.send().await.unwrap().status().as_u16() }
    };
    assert_eq!((status(1_000).await, status(1_001).await), (200, 400));
    gateway.policy_file("core.openapi.json", &document(2_000));
    eventually("the new document is in force", || async {
        status(1_001).await == 200
    })
    .await;
    gateway.policy_file(
        "core.openapi.json",
        &document(3_000).replace("\"maximum\"", "\"maximal\""),
    );
    gateway
        .counts("portico_policy_reloads_total{outcome=\"refused\"}", 1)
        .await;
    assert_eq!((status(2_000).await, status(2_001).await), (200, 400));
}

/// Bytes that look like the real thing and are damaged in one place each: the answer is a problem, never a failure.
#[tokio::test]
async fn damage_anywhere_is_answered_and_never_with_a_server_error() {
    let gateway = start().await;
    let mut before = gateway.core.seen().len();
    for (position, damage) in
        (0..GOOD.len()).flat_map(|position| [0x00, 0x22, 0x7d, 0xff].map(|byte| (position, byte)))
    {
        let mut body = GOOD.as_bytes().to_vec();
        body[position] = damage;
        let is_json = serde_json::from_slice::<Value>(&body).is_ok();
        let status = order(&gateway, body.clone())
            .send()
            .await
            .unwrap()
            .status()
            .as_u16();
        assert!(
            status == 400 || (status == 200 && is_json),
            "{status}: {}",
            String::from_utf8_lossy(&body)
        );
        let seen = gateway.core.seen().len();
        assert_eq!(seen > before, status == 200, "{}", String::from_utf8_lossy(&body));
        before = seen;
    }
}
