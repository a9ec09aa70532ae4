//! Asking the control plane over its unix socket, and what it refuses in words.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use http::Method;
use serde_json::Value;
use service_runtime::settings::variable;

use crate::Unreadable;
use crate::arguments::Format;
use crate::data_directory::DataDirectory;
use crate::http_client::{self, Address, Answer};

const DEADLINE: Duration = Duration::from_secs(15);

/// Where the control plane is, and how to print what it says.
#[derive(Debug, Args)]
pub(crate) struct ControlPlaneArguments {
    /// Data directory of the running system.
    #[arg(long, value_name = "DIR", default_value = ".portico")]
    pub(crate) data_dir: PathBuf,
    /// Settings file of the control plane, instead of the one in the data directory.
    #[arg(long, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

/// Reads a document of the control plane.
pub(crate) fn get(arguments: &ControlPlaneArguments, path: &str) -> anyhow::Result<Value> {
    ask(arguments, Method::GET, path)
}

/// Has the control plane do something, in the name of whoever is logged in.
pub(crate) fn post(arguments: &ControlPlaneArguments, path: &str) -> anyhow::Result<Value> {
    ask(arguments, Method::POST, path)
}

fn ask(arguments: &ControlPlaneArguments, method: Method, path: &str) -> anyhow::Result<Value> {
    let settings = match &arguments.settings {
        Some(settings) => settings.clone(),
        None => DataDirectory::open(&arguments.data_dir)?.settings_of("control-plane"),
    };
    let socket = Address::Socket(socket_of(&settings)?);
    let operator = ["SUDO_USER", "USER"]
        .into_iter()
        .filter_map(variable)
        .find(|name| is_operator_name(name));
    let headers = operator.as_deref().map(|name| ("x-operator", name));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let request = http_client::request_with(&socket, method, path, headers, DEADLINE);
    let answer = runtime
        .block_on(request)
        .context("is the control plane running?")?;
    accepted(&answer)
}

/// What the control plane takes for the record; it is no proof of who it was, the socket's mode is.
fn is_operator_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'@' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

/// The document at a path of a running system's control plane.
pub(crate) async fn document(data_directory: &DataDirectory, path: &str) -> anyhow::Result<Value> {
    let socket = Address::Socket(socket_of(&data_directory.settings_of("control-plane"))?);
    accepted(&http_client::request(&socket, Method::GET, path, DEADLINE).await?)
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
        None if detail.is_empty() => bail!("{title}"),
        None => bail!("{title}: {detail}"),
    }
}

/// A text as the value of a query parameter.
pub(crate) fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| match byte {
            plain if is_plain(plain) => char::from(plain).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    fn refused(status: StatusCode, body: &'static str) -> String {
        let answer = Answer {
            status,
            body: body.into(),
        };
        accepted(&answer).unwrap_err().to_string()
    }

    #[test]
    fn a_refusal_is_an_error_with_its_words() {
        let too_early = r#"{"title":"Too early","detail":"the standby is young","retry_after":12}"#;
        let said = refused(StatusCode::CONFLICT, too_early);
        assert_eq!(said, "Too early: the standby is young (try again in 12 s)");
        let in_use = r#"{"title":"In use","detail":"rewrap first"}"#;
        assert_eq!(refused(StatusCode::CONFLICT, in_use), "In use: rewrap first");
        assert_eq!(
            refused(StatusCode::BAD_GATEWAY, "<html>"),
            "the control plane refuses"
        );
    }

    #[test]
    fn a_reason_travels_whole_in_a_query() {
        assert_eq!(
            encoded("found in a dump & more"),
            "found%20in%20a%20dump%20%26%20more"
        );
        assert_eq!(encoded("ü-1.2_~"), "%C3%BC-1.2_~");
    }
}
