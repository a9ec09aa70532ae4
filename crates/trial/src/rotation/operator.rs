//! Who asks a control plane, over its socket, as an operator does.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::StatusCode;
use serde_json::Value;

/// How long an answer may take: a transition may wait for a lock.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of a request for a transition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It happened.
    Done(Value),
    /// It was refused.
    Refused {
        /// The status, and the reason.
        reason: String,
        /// The gateways that were waited for.
        gateways: Vec<String>,
    },
    /// No answer came: nobody listens, or whoever did has died.
    Silence(String),
}

impl Outcome {
    /// Whether it happened.
    pub(super) const fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }

    /// Whether it was refused for the sake of this gateway.
    pub(super) fn waits_for(&self, gateway: &str) -> bool {
        matches!(self, Self::Refused { gateways, .. } if gateways.iter().any(|name| name == gateway))
    }
}

/// Rotates the ring `access`.
pub(super) async fn rotate(socket: &Path) -> Outcome {
    ask(socket, "/internal/keys/rotate?ring=access").await
}

/// Revokes a key of the ring `access`.
pub(super) async fn revoke(socket: &Path, kid: &str) -> Outcome {
    ask(socket, &format!("/internal/keys/revoke?ring=access&kid={kid}")).await
}

/// Calls a retiring key of the ring `access` back.
pub(super) async fn reinstate(socket: &Path, kid: &str) -> Outcome {
    ask(socket, &format!("/internal/keys/reinstate?ring=access&kid={kid}")).await
}

/// Lets the newest version of the key-encryption key seal.
pub(super) async fn rotate_kek(socket: &Path) -> Outcome {
    ask(socket, "/internal/kek/rotate").await
}

/// Brings a batch of private keys to that version: the keys behind this one.
pub(super) async fn rewrap(socket: &Path, after: &str, batch: usize) -> Outcome {
    ask(
        socket,
        &format!("/internal/kek/rewrap?batch={batch}&after={after}"),
    )
    .await
}

/// Ends a version of the key-encryption key.
pub(super) async fn retire_kek(socket: &Path, version: i32) -> Outcome {
    ask(socket, &format!("/internal/kek/retire?version={version}")).await
}

async fn ask(socket: &Path, path: &str) -> Outcome {
    match answer(socket, path).await {
        Ok((status, body)) if status.is_success() => Outcome::Done(body),
        Ok((status, body)) => {
            let slug = body.get("type").and_then(Value::as_str).unwrap_or_default();
            let slug = slug.rsplit(':').next().unwrap_or_default();
            let gateways = body
                .get("gateways")
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            Outcome::Refused {
                reason: format!("{} {slug}", status.as_u16()),
                gateways: gateways.filter_map(Value::as_str).map(str::to_owned).collect(),
            }
        }
        Err(error) => Outcome::Silence(format!("{error:#}")),
    }
}

async fn answer(socket: &Path, path: &str) -> anyhow::Result<(StatusCode, Value)> {
    let client = reqwest::Client::builder()
        .unix_socket(socket)
        .timeout(PATIENCE)
        .no_proxy()
        .build()?;
    let answer = client.post(format!("http://control-plane{path}")).send().await?;
    let (status, body) = (answer.status(), answer.bytes().await.context("the answer")?);
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}
