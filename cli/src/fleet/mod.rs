//! `portico fleet`: how the gateways stand, and letting one out or in.

mod arguments;
mod diff;
mod explain;
mod status;

pub(crate) use arguments::FleetCommand;

use anyhow::Context as _;
use http::Method;
use serde_json::Value;

use crate::arguments::Format;
use crate::control_plane::{AskArguments, ControlPlane, ControlPlaneArguments, list, text};
use crate::{Outcome, Unreadable, output};
use arguments::NodeArguments;

pub(crate) fn run(command: &FleetCommand) -> anyhow::Result<Outcome> {
    match command {
        FleetCommand::Status(arguments) => status::run(arguments),
        FleetCommand::Explain(arguments) => explain::run(arguments),
        FleetCommand::Diff(arguments) => diff::run(arguments),
        FleetCommand::Evict(arguments) => change(arguments, "evict", "is told nothing more"),
        FleetCommand::Admit(arguments) => change(arguments, "admit", "is let in"),
        FleetCommand::NewEpoch(arguments) => new_epoch(arguments),
        FleetCommand::Export(arguments) => export(arguments),
    }
}

/// The fleet as the control plane sees it.
fn fleet(arguments: &AskArguments) -> anyhow::Result<Value> {
    ControlPlane::of(&arguments.control_plane)?.ask(Method::GET, "/internal/fleet", None)
}

/// One gateway of the fleet.
fn node<'f>(fleet: &'f Value, name: &str) -> anyhow::Result<&'f Value> {
    let nodes = list(fleet, "nodes");
    nodes
        .iter()
        .find(|node| text(node, "name") == name)
        .with_context(|| {
            let names: Vec<_> = nodes.iter().map(|node| text(node, "name")).collect();
            match names.as_slice() {
                [] => format!("no gateway `{name}`: none has ever dialled in"),
                names => format!(
                    "no gateway `{name}`: those that have dialled in are {}",
                    names.join(", ")
                ),
            }
        })
}

fn change(arguments: &NodeArguments, verb: &str, done: &str) -> anyhow::Result<Outcome> {
    let name = &arguments.node;
    let is_plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    if !name.bytes().all(is_plain) {
        return Err(Unreadable(format!("`{name}` is no name of a gateway: a-z, 0-9, `-` and `.`")).into());
    }
    let path = format!("/internal/fleet/nodes/{name}/{verb}");
    ControlPlane::of(&arguments.fleet.control_plane)?.ask(Method::POST, &path, None)?;
    output::line(&format!("{name} {done}"));
    Ok(Outcome::Done)
}

fn new_epoch(arguments: &AskArguments) -> anyhow::Result<Outcome> {
    let epoch =
        ControlPlane::of(&arguments.control_plane)?.ask(Method::POST, "/internal/fleet/epoch", None)?;
    match arguments.format {
        Format::Json => output::line(&serde_json::to_string_pretty(&epoch)?),
        Format::Human => output::line(&format!("epoch {} begins", text(&epoch, "epoch"))),
    }
    Ok(Outcome::Done)
}

fn export(arguments: &ControlPlaneArguments) -> anyhow::Result<Outcome> {
    let exported = ControlPlane::of(arguments)?.ask(Method::GET, "/internal/fleet/export", None)?;
    output::line(&exported.to_string());
    Ok(Outcome::Done)
}

/// `12 s`, `5 min`, `3 h`, `2 days`: how long ago a moment was, both in Unix seconds.
fn ago(since: i64, now: i64) -> String {
    let seconds = now.saturating_sub(since).max(0);
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// The database's time when the fleet was read, Unix seconds.
fn now(fleet: &Value) -> i64 {
    let now = chrono::DateTime::parse_from_rfc3339(&text(fleet, "now"));
    now.map_or(0, |now| now.timestamp())
}
