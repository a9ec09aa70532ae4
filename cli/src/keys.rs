//! `portico keys list|rotate`: asks the control plane over its socket; whoever may open the socket may ask.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::Method;
use serde_json::Value;

use crate::arguments::{Format, KeysArguments, KeysCommand};
use crate::data_directory::DataDirectory;
use crate::http_client::{self, Address, Answer};
use crate::{Outcome, Unreadable, output};

const DEADLINE: Duration = Duration::from_secs(15);

pub(crate) fn run(command: &KeysCommand) -> anyhow::Result<Outcome> {
    match command {
        KeysCommand::List(arguments) => list(arguments),
        KeysCommand::Rotate(arguments) => rotate(arguments),
    }
}

fn list(arguments: &KeysArguments) -> anyhow::Result<Outcome> {
    let answer = ask(arguments, Method::GET, "/internal/keys")?;
    let ring = accepted(&answer)?;
    match arguments.format {
        Format::Json => output::line(&serde_json::to_string_pretty(&ring)?),
        Format::Human => output::line(&table(&ring)),
    }
    Ok(Outcome::Done)
}

fn rotate(arguments: &KeysArguments) -> anyhow::Result<Outcome> {
    let answer = ask(arguments, Method::POST, "/internal/keys/rotate")?;
    let rotation = accepted(&answer)?;
    match arguments.format {
        Format::Json => output::line(&serde_json::to_string_pretty(&rotation)?),
        Format::Human => output::line(&format!(
            "rotated ring {} to sequence {}\n  signs now     {}\n  verifies for {} s more  {}\n  signs next    {}",
            text(&rotation, "ring"),
            text(&rotation, "seq"),
            text(&rotation, "active"),
            text(&rotation, "verifies_for_s"),
            text(&rotation, "retiring"),
            text(&rotation, "standby"),
        )),
    }
    Ok(Outcome::Done)
}

/// The list of keys from a running system, for `doctor`.
pub(crate) async fn ring(data_directory: &DataDirectory) -> anyhow::Result<Value> {
    let socket = socket_of(&data_directory.settings_of("control-plane"))?;
    let answer =
        http_client::request(&Address::Socket(socket), Method::GET, "/internal/keys", DEADLINE).await?;
    accepted(&answer)
}

fn ask(arguments: &KeysArguments, method: Method, path: &str) -> anyhow::Result<Answer> {
    let settings = match &arguments.settings {
        Some(settings) => settings.clone(),
        None => DataDirectory::open(&arguments.data_dir)?.settings_of("control-plane"),
    };
    let socket = socket_of(&settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime
        .block_on(http_client::request(
            &Address::Socket(socket),
            method,
            path,
            DEADLINE,
        ))
        .context("is the control plane running?")
}

/// The socket that a control plane's settings name; a relative one counts from the working directory, as in the service.
fn socket_of(settings: &Path) -> anyhow::Result<PathBuf> {
    let unreadable = |why: String| Unreadable(format!("{}: {why}", settings.display()));
    let text = std::fs::read_to_string(settings).map_err(|error| unreadable(error.to_string()))?;
    let document: serde_yaml::Value =
        serde_yaml::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    let socket = document.get("socket").and_then(serde_yaml::Value::as_str);
    Ok(PathBuf::from(
        socket.ok_or_else(|| unreadable("names no `socket`".to_owned()))?,
    ))
}

/// The document of a success, or the problem as an error (RFC 9457).
fn accepted(answer: &Answer) -> anyhow::Result<Value> {
    let document: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    if answer.status.is_success() {
        return Ok(document);
    }
    let title = document
        .get("title")
        .and_then(Value::as_str)
        .unwrap_or("the control plane refuses");
    let detail = document.get("detail").and_then(Value::as_str).unwrap_or_default();
    match document.get("retry_after").and_then(Value::as_u64) {
        Some(seconds) => bail!("{title}: {detail} (try again in {seconds} s)"),
        None => bail!("{} {title} {detail}", answer.status.as_u16()),
    }
}

fn table(ring: &Value) -> String {
    let mut lines = vec![
        format!("ring {}, sequence {}", text(ring, "ring"), text(ring, "seq")),
        format!(
            "{:<10} {:<8} {:<21} {:<21} {:<21} kid",
            "state", "alg", "published", "activated", "verifies until"
        ),
    ];
    for key in ring.get("keys").and_then(Value::as_array).into_iter().flatten() {
        lines.push(format!(
            "{:<10} {:<8} {:<21} {:<21} {:<21} {}",
            text(key, "state"),
            text(key, "algorithm"),
            moment(key, "published_at"),
            moment(key, "activated_at"),
            moment(key, "verify_until"),
            text(key, "kid"),
        ));
    }
    lines.join("\n")
}

fn text(document: &Value, name: &str) -> String {
    match document.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    }
}

/// A time to the second: `2026-01-31T10:15:00Z`.
fn moment(document: &Value, name: &str) -> String {
    let text = text(document, name);
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    #[test]
    fn a_refusal_is_an_error_with_its_words() {
        let answer = Answer {
            status: StatusCode::CONFLICT,
            body: r#"{"title":"Too early","detail":"the standby is young","retry_after":12}"#.into(),
        };
        let error = accepted(&answer).unwrap_err().to_string();
        assert_eq!(error, "Too early: the standby is young (try again in 12 s)");
    }

    #[test]
    fn a_key_without_a_time_shows_a_dash() {
        let ring = serde_json::json!({"ring": "access", "seq": 3, "keys": [
            {"kid": "k1", "state": "active", "algorithm": "EdDSA", "published_at": "2026-01-31T10:15:00.123456Z",
             "activated_at": "2026-01-31T10:15:00Z", "verify_until": null}]});
        let table = table(&ring);
        assert!(
            table.contains("active     EdDSA    2026-01-31T10:15:00Z  2026-01-31T10:15:00Z  -"),
            "{table}"
        );
    }
}
