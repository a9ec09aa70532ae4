//! EDG-12: several addresses of one service, of which some die, hang, reset or answer half.

mod addresses;
mod breaker;
mod dripping;
mod early;
mod health;
mod killed;
mod resting;
mod retries;
mod tls;

use reqwest::Response;
use serde_json::json;

use crate::gateway_process::{GatewayProcess, POLICY, eventually};
use crate::raw_upstream::RawUpstream;

const RATES: &str = "/api/v1/rates/eur-usd";

/// A gateway whose core has these addresses, and more to its definition.
async fn in_front_of(upstreams: &[&RawUpstream], more: &str) -> GatewayProcess {
    let gateway = GatewayProcess::start().await;
    let addresses: Vec<String> = upstreams
        .iter()
        .map(|upstream| format!("http://{}", upstream.address))
        .collect();
    put_behind(&gateway, &addresses, more).await;
    gateway
}

async fn put_behind(gateway: &GatewayProcess, addresses: &[String], more: &str) {
    let (first, others) = addresses.split_first().unwrap();
    let also_at = match others {
        [] => String::new(),
        others => format!("    also_at: [{}]\n", quoted(others)),
    };
    let timeouts = match more.contains("timeouts:") {
        true => "",
        false => "    timeouts: { connect: 500ms, read: 1s, total: 3s }\n",
    };
    let core = format!("    address: {first}\n{also_at}    authorization: strip\n{timeouts}{more}\n");
    let old = "    address: unix:core.sock\n    authorization: forward\n    timeouts: { connect: 1s, read: 2s, total: 4s }\n";
    assert!(POLICY.contains(old));
    let loaded = gateway
        .metric(r#"portico_policy_reloads_total{outcome="loaded"}"#)
        .await;
    gateway.policy_file("base.yaml", &POLICY.replace(old, &core));
    eventually("the edit takes effect", || async {
        gateway
            .metric(r#"portico_policy_reloads_total{outcome="loaded"}"#)
            .await
            > loaded
    })
    .await;
}

fn quoted(addresses: &[String]) -> String {
    let quoted: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
    quoted.join(", ")
}

async fn post(gateway: &GatewayProcess) -> Response {
    let token = gateway.keys.token();
    let url = gateway.url("/api/v1/transfers");
    let body = json!({"amount": 1});
    let request = gateway.client().post(url).bearer_auth(token).json(&body);
    request.send().await.unwrap()
}

async fn up(gateway: &GatewayProcess, upstream: &RawUpstream) -> Option<i64> {
    let address = upstream.address;
    let line = format!(r#"portico_upstream_up{{address="http://{address}",upstream="core"}}"#);
    gateway.metric(&line).await
}

async fn retries(gateway: &GatewayProcess, reason: &str) -> i64 {
    let line = format!(r#"portico_upstream_retries_total{{reason="{reason}",upstream="core"}}"#);
    gateway.metric(&line).await.unwrap_or(0)
}
