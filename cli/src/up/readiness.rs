//! Waiting until a service is ready, by asking it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use http::Method;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::child::Running;
use crate::http_client::{self, Address};

/// How long a service may take to be ready.
const DEADLINE: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_millis(25);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Waits until the service says that it is ready; returns the addresses it wrote down.
pub(super) async fn wait(running: &mut Running, stop: &CancellationToken) -> anyhow::Result<Value> {
    let name = running.service.name;
    let file = running.service.endpoints_file.clone();
    let mut missing = "it has not begun to listen".to_owned();
    let deadline = Instant::now() + DEADLINE;
    let mut tick = tokio::time::interval(ASK_EVERY);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => bail!("stopped before {name} was ready"),
            how = running.ended() => match running.last_words() {
                Some(words) => bail!("{name} {how}: {words}"),
                None => bail!("{name} {how}; its log is {name}.log in logs/ of the data directory"),
            },
            _ = tick.tick() => {}
        }
        match ask(&file).await {
            Ok(endpoints) => return Ok(endpoints),
            Err(Some(reason)) => missing = reason,
            Err(None) => {}
        }
        if Instant::now() >= deadline {
            bail!("{name} is not ready after {} s: {missing}", DEADLINE.as_secs());
        }
    }
}

/// The private address that a service wrote down.
pub(super) fn private_address(endpoints: &Value) -> Option<SocketAddr> {
    endpoints.get("private").and_then(Value::as_str)?.parse().ok()
}

async fn ask(endpoints_file: &Path) -> Result<Value, Option<String>> {
    let text = std::fs::read_to_string(endpoints_file).map_err(|_| None)?;
    let endpoints: Value = serde_json::from_str(&text).map_err(|_| None)?;
    let private = private_address(&endpoints).ok_or(None)?;
    let answer = http_client::request(
        &Address::Port(private),
        Method::GET,
        "/health/ready",
        ANSWER_WITHIN,
    )
    .await
    .map_err(|_| None)?;
    if answer.status.is_success() {
        return Ok(endpoints);
    }
    let report: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    let checks = report.get("checks").and_then(Value::as_object);
    let failing: Vec<String> = checks
        .into_iter()
        .flatten()
        .filter(|(_, result)| result.as_str() != Some("ok"))
        .map(|(name, result)| format!("{name}: {}", result.as_str().unwrap_or_default()))
        .collect();
    Err(Some(failing.join("; ")))
}
