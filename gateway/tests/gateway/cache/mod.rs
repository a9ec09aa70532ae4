//! EDG-13: good answers are given again, to whom they were made for, and never when they could be old.

mod answers;
mod bounds;
mod people;
mod public;
mod requests;
pub(crate) mod service;
mod stale;
mod stampede;

use reqwest::Response;
use serde_json::{Value, json};

use crate::gateway_process::{GatewayProcess, POLICY, now};
use service::Service;

const BALANCE: &str = "/api/v1/balance";
const PRICES: &str = "/api/v1/prices";

const ROUTES: &str = r#"
  balance:
    match: { method: GET, path: /api/v1/balance }
    auth: customers
    scopes: []
    cache: { for: 1h, key: principal, largest: 64KiB }
    cors: web
    upstream: core
  move_balance:
    match: { method: POST, path: /api/v1/balance }
    auth: customers
    scopes: []
    upstream: core
  prices:
    match: { method: GET, path: /api/v1/prices }
    auth: none
    because: prices are for everyone
    cache: { for: 1h, key: public, largest: 64KiB }
    cors: web
    upstream: core
  set_prices:
    match: { method: POST, path: /api/v1/prices }
    auth: none
    because: who may set prices is none of this test's business
    upstream: core
"#;

/// The policy of most tests with routes that keep answers, in front of this service.
fn policy(service: &Service, more: &str) -> String {
    let old = "    address: unix:core.sock\n    authorization: forward\n    timeouts: { connect: 1s, read: 2s, total: 4s }\n";
    assert!(POLICY.contains(old));
    let new = format!(
        "    address: http://{}\n    authorization: strip\n    timeouts: {{ connect: 10s, read: 4min, total: 5min }}\n{more}",
        service.address
    );
    format!("{}{ROUTES}", POLICY.replace(old, &new))
}

async fn in_front_of(service: &Service) -> GatewayProcess {
    GatewayProcess::with(&policy(service, ""), |_| ()).await
}

/// A good token of this person, with some claims changed.
fn token(gateway: &GatewayProcess, subject: &str, mut changes: Value) -> String {
    changes["sub"] = json!(subject);
    changes["exp"] = json!(now().timestamp() + 540);
    gateway.keys.token_with(&changes)
}

async fn text(answer: Response) -> String {
    assert_eq!(answer.status(), 200, "{answer:?}");
    answer.text().await.unwrap()
}

fn status(answer: &Response) -> &str {
    let mut values = answer.headers().get_all("cache-status").iter();
    let value = values.next().expect("what became of it").to_str().unwrap();
    assert!(values.next().is_none());
    value
}
