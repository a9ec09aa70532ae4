//! `portico keys`: the rings of signing keys, through the control plane's unix socket.

mod arguments;
pub(crate) mod kek;
mod table;

use http::Method;
use keyring::RingName;
use serde_json::{Value, json};

pub(crate) use arguments::{KekCommand, KeysCommand};

use self::arguments::KeyArguments;
use crate::arguments::Format;
use crate::control_plane::{AskArguments, ControlPlane, encoded};
use crate::data_directory::DataDirectory;
use crate::{Outcome, output};

pub(crate) fn run(command: &KeysCommand) -> anyhow::Result<Outcome> {
    match command {
        KeysCommand::List(arguments) => {
            let path = format!("/internal/keys?ring={}", arguments.ring);
            show(&arguments.ask, &get(&arguments.ask, &path)?, table::ring)
        }
        KeysCommand::Status(arguments) => status(arguments),
        KeysCommand::History(arguments) => {
            let path = format!("/internal/keys/history?ring={}", arguments.ring);
            show(&arguments.ask, &get(&arguments.ask, &path)?, table::history)
        }
        KeysCommand::Rotate(arguments) => {
            let path = format!("/internal/keys/rotate?ring={}", arguments.ring);
            let rotation = post(&arguments.ask, &path)?;
            show(&arguments.ask, &rotation, table::rotation)
        }
        KeysCommand::Revoke(arguments) => one_key(arguments, "revoke", table::ended),
        KeysCommand::Abort(arguments) => one_key(arguments, "abort", table::ended),
        KeysCommand::Reinstate(arguments) => one_key(arguments, "reinstate", table::reinstatement),
    }
}

/// The ring of access tokens in a running system, for `doctor`.
pub(crate) async fn ring(data_directory: &DataDirectory) -> anyhow::Result<Value> {
    let control_plane = ControlPlane::with_settings(&data_directory.settings_of("control-plane"))?;
    control_plane.send(Method::GET, "/internal/keys", None).await?
}

fn get(arguments: &AskArguments, path: &str) -> anyhow::Result<Value> {
    ControlPlane::of(&arguments.control_plane)?.ask(Method::GET, path, None)
}

fn post(arguments: &AskArguments, path: &str) -> anyhow::Result<Value> {
    ControlPlane::of(&arguments.control_plane)?.ask(Method::POST, path, None)
}

fn one_key(
    arguments: &KeyArguments,
    verb: &str,
    words: impl Fn(&Value) -> String,
) -> anyhow::Result<Outcome> {
    let mut path = format!(
        "/internal/keys/{verb}?ring={}&kid={}",
        arguments.ring,
        encoded(&arguments.kid)
    );
    if let Some(reason) = &arguments.reason {
        path.push_str("&reason=");
        path.push_str(&encoded(reason));
    }
    let done = post(&arguments.ask, &path)?;
    show(&arguments.ask, &done, words)
}

fn status(arguments: &AskArguments) -> anyhow::Result<Outcome> {
    let rings = RingName::ALL
        .into_iter()
        .map(|ring| get(arguments, &format!("/internal/keys?ring={ring}")))
        .collect::<anyhow::Result<Vec<Value>>>()?;
    show(arguments, &json!({ "rings": rings }), table::status)
}

fn show(
    arguments: &AskArguments,
    document: &Value,
    words: impl Fn(&Value) -> String,
) -> anyhow::Result<Outcome> {
    match arguments.format {
        Format::Json => output::line(&serde_json::to_string_pretty(document)?),
        Format::Human => output::line(&words(document)),
    }
    Ok(Outcome::Done)
}
