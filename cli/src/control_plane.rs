//! Asking the control plane over its socket: whoever may open the socket may ask.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::Value;
use service_runtime::settings::variable;

use crate::Unreadable;
use crate::arguments::Format;
use crate::data_directory::DataDirectory;
use crate::http_client::{self, Address};

const DEADLINE: Duration = Duration::from_secs(15);

/// Which control plane.
#[derive(Debug, Args)]
pub(crate) struct ControlPlaneArguments {
    /// Data directory of the running system.
    #[arg(long, value_name = "DIR", default_value = ".portico")]
    pub(crate) data_dir: PathBuf,
    /// Settings file of the control plane, instead of the one in the data directory.
    #[arg(long, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
}

/// Which control plane, and how to print what it says.
#[derive(Debug, Args)]
pub(crate) struct AskArguments {
    #[command(flatten)]
    pub(crate) control_plane: ControlPlaneArguments,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

/// A control plane that can be asked.
#[derive(Debug, Clone)]
pub(crate) struct ControlPlane {
    socket: PathBuf,
}

impl ControlPlane {
    /// The one that the arguments name.
    pub(crate) fn of(arguments: &ControlPlaneArguments) -> anyhow::Result<Self> {
        let settings = match &arguments.settings {
            Some(settings) => settings.clone(),
            None => DataDirectory::open(&arguments.data_dir)?.settings_of("control-plane"),
        };
        Self::with_settings(&settings)
    }

    /// The one with these settings.
    pub(crate) fn with_settings(settings: &Path) -> anyhow::Result<Self> {
        let unreadable = |why: String| Unreadable(format!("{}: {why}", settings.display()));
        let text = std::fs::read_to_string(settings).map_err(|error| unreadable(error.to_string()))?;
        let document: serde_yaml::Value =
            serde_yaml::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
        let socket = document.get("socket").and_then(serde_yaml::Value::as_str);
        Ok(Self {
            socket: PathBuf::from(socket.ok_or_else(|| unreadable("names no `socket`".to_owned()))?),
        })
    }

    /// Sends a request and waits; `None` when the answer has no body.
    pub(crate) fn ask(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> anyhow::Result<Value> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start")?;
        runtime
            .block_on(self.send(method, path, body))
            .context("is the control plane running?")?
    }

    /// The same, where there is a runtime already. The inner result is the answer.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> anyhow::Result<anyhow::Result<Value>> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(operator) = operator() {
            request = request.header("x-operator", operator);
        }
        let request = request.body(Full::new(Bytes::from(body.unwrap_or_default())))?;
        let answer = http_client::send(&Address::Socket(self.socket.clone()), request, DEADLINE).await?;
        Ok(document(answer.status, &answer.body))
    }
}

/// Who is at the keyboard, for the record.
fn operator() -> Option<HeaderValue> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'@' | b'-');
    let name = variable("SUDO_USER").or_else(|| variable("USER"))?;
    let is_name = (1..=64).contains(&name.len()) && name.bytes().all(is_plain);
    HeaderValue::try_from(name).ok().filter(|_| is_name)
}

/// The document of a success, or the problem as an error (RFC 9457).
fn document(status: StatusCode, body: &[u8]) -> anyhow::Result<Value> {
    let document: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    if status.is_success() {
        return Ok(document);
    }
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    let title = text("title").unwrap_or("the control plane refuses");
    match (
        text("detail"),
        document.get("retry_after").and_then(Value::as_u64),
    ) {
        (Some(detail), Some(seconds)) => bail!("{title}: {detail} (try again in {seconds} s)"),
        (Some(detail), None) => bail!("{title}: {detail}{}", findings(&document)),
        (None, _) => bail!("{title} ({})", status.as_u16()),
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

/// What is wrong where, one line each.
fn findings(problem: &Value) -> String {
    let line = |finding: &Value| {
        let [file, line, column, code, message] =
            ["file", "line", "column", "code", "message"].map(|name| text(finding, name));
        format!("\n{file}:{line}:{column}: {code}: {message}")
    };
    list(problem, "findings").iter().map(line).collect()
}

/// A member of a document for people: `-` when it is not there.
pub(crate) fn text(document: &Value, name: &str) -> String {
    match document.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    }
}

/// The members of a list in a document.
pub(crate) fn list<'d>(document: &'d Value, name: &str) -> &'d [Value] {
    document
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// A time to the second: `2026-01-31T10:15:00Z`.
pub(crate) fn moment(document: &Value, name: &str) -> String {
    let text = text(document, name);
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}

/// Lines whose columns are as wide as their widest cell.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let line = |row: &Vec<String>| {
        let cells = row
            .iter()
            .enumerate()
            .map(|(column, cell)| format!("{cell:<0$}", width(column)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_an_error_with_its_words() {
        let body = br#"{"title":"Too early","detail":"the standby is young","retry_after":12}"#;
        let error = document(StatusCode::CONFLICT, body).unwrap_err().to_string();
        assert_eq!(error, "Too early: the standby is young (try again in 12 s)");
        let body = br#"{"title":"Refused","detail":"no","findings":[{"code":"P1","file":"a.yaml","line":3,"column":1,"message":"bad"}]}"#;
        let error = document(StatusCode::UNPROCESSABLE_ENTITY, body)
            .unwrap_err()
            .to_string();
        assert_eq!(error, "Refused: no\na.yaml:3:1: P1: bad");
        let error = document(StatusCode::BAD_GATEWAY, b"").unwrap_err().to_string();
        assert_eq!(error, "the control plane refuses (502)");
    }

    #[test]
    fn a_reason_travels_whole_in_a_query() {
        assert_eq!(
            encoded("found in a dump & more"),
            "found%20in%20a%20dump%20%26%20more"
        );
        assert_eq!(encoded("ü-1.2_~"), "%C3%BC-1.2_~");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [
            vec!["a".to_owned(), "b".to_owned()],
            vec!["long".to_owned(), "c".to_owned()],
        ];
        assert_eq!(aligned(&rows), "a     b\nlong  c");
    }
}
