//! `portico keys`: the rings of signing keys, through the control plane's unix socket.

mod arguments;
pub(crate) mod kek;
mod table;

use keyring::RingName;
use serde_json::{Value, json};

pub(crate) use arguments::{KekCommand, KeysCommand};

use self::arguments::{KeyArguments, RingArguments};
use crate::arguments::Format;
use crate::control_plane::{self, ControlPlaneArguments, encoded};
use crate::data_directory::DataDirectory;
use crate::{Outcome, output};

pub(crate) fn run(command: &KeysCommand) -> anyhow::Result<Outcome> {
    match command {
        KeysCommand::List(arguments) => {
            let path = format!("/internal/keys?ring={}", arguments.ring);
            show(&arguments.control_plane, &get(arguments, &path)?, table::ring)
        }
        KeysCommand::Status(arguments) => status(arguments),
        KeysCommand::History(arguments) => {
            let path = format!("/internal/keys/history?ring={}", arguments.ring);
            show(&arguments.control_plane, &get(arguments, &path)?, table::history)
        }
        KeysCommand::Rotate(arguments) => {
            let path = format!("/internal/keys/rotate?ring={}", arguments.ring);
            let rotation = control_plane::post(&arguments.control_plane, &path)?;
            show(&arguments.control_plane, &rotation, table::rotation)
        }
        KeysCommand::Revoke(arguments) => one_key(arguments, "revoke", table::ended),
        KeysCommand::Abort(arguments) => one_key(arguments, "abort", table::ended),
        KeysCommand::Reinstate(arguments) => one_key(arguments, "reinstate", table::reinstatement),
    }
}

/// The ring of access tokens in a running system, for `doctor`.
pub(crate) async fn ring(data_directory: &DataDirectory) -> anyhow::Result<Value> {
    control_plane::document(data_directory, "/internal/keys").await
}

fn get(arguments: &RingArguments, path: &str) -> anyhow::Result<Value> {
    control_plane::get(&arguments.control_plane, path)
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
    let done = control_plane::post(&arguments.control_plane, &path)?;
    show(&arguments.control_plane, &done, words)
}

fn status(arguments: &ControlPlaneArguments) -> anyhow::Result<Outcome> {
    let rings = RingName::ALL
        .into_iter()
        .map(|ring| control_plane::get(arguments, &format!("/internal/keys?ring={ring}")))
        .collect::<anyhow::Result<Vec<Value>>>()?;
    show(arguments, &json!({ "rings": rings }), table::status)
}

fn show(
    arguments: &ControlPlaneArguments,
    document: &Value,
    words: impl Fn(&Value) -> String,
) -> anyhow::Result<Outcome> {
    match arguments.format {
        Format::Json => output::line(&serde_json::to_string_pretty(document)?),
        Format::Human => output::line(&words(document)),
    }
    Ok(Outcome::Done)
}
