//! `portico block`: networks whose clients no gateway serves for a time.

use http::Method;
use serde_json::{Value, json};

use super::FOLLOWED;
use super::arguments::{BlockArguments, BlockCommand, UnblockArguments};
use crate::arguments::Format;
use crate::control_plane::{AskArguments, ControlPlane, aligned, list, moment, text};
use crate::{Outcome, Unreadable, output};

pub(crate) fn run(command: &BlockCommand) -> anyhow::Result<Outcome> {
    match command {
        BlockCommand::Add(arguments) => add(arguments),
        BlockCommand::Remove(arguments) => remove(arguments),
        BlockCommand::List(arguments) => show(arguments),
    }
}

fn add(arguments: &BlockArguments) -> anyhow::Result<Outcome> {
    let new = json!({"network": arguments.network, "for_s": arguments.for_s, "reason": arguments.reason});
    let control_plane = ControlPlane::of(&arguments.control_plane)?;
    let blocked = control_plane.ask(
        Method::POST,
        "/internal/blocks",
        Some(new.to_string().into_bytes()),
    )?;
    match arguments.format {
        Format::Json => output::line(&serde_json::to_string_pretty(&blocked)?),
        Format::Human => output::line(&format!(
            "blocked {} for {} s; {FOLLOWED}",
            text(&blocked, "network"),
            arguments.for_s,
        )),
    }
    Ok(Outcome::Done)
}

fn remove(arguments: &UnblockArguments) -> anyhow::Result<Outcome> {
    let network = &arguments.network;
    let is_plain = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':' | b'/');
    if !network.bytes().all(is_plain) {
        return Err(Unreadable(format!("`{network}` is no network: write 203.0.113.0/24")).into());
    }
    let path = format!("/internal/blocks?network={network}");
    ControlPlane::of(&arguments.control_plane)?.ask(Method::DELETE, &path, None)?;
    output::line(&format!("{network} is not blocked any more"));
    Ok(Outcome::Done)
}

fn show(arguments: &AskArguments) -> anyhow::Result<Outcome> {
    let blocked = ControlPlane::of(&arguments.control_plane)?.ask(Method::GET, "/internal/blocks", None)?;
    match arguments.format {
        Format::Json => output::line(&serde_json::to_string_pretty(&blocked)?),
        Format::Human => output::line(&table(&blocked)),
    }
    Ok(Outcome::Done)
}

fn table(blocked: &Value) -> String {
    let entries = list(blocked, "blocks");
    if entries.is_empty() {
        return "nothing is blocked".to_owned();
    }
    let mut rows = vec![
        ["network", "what", "until", "by", "reason"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for entry in entries {
        let cell = |name: &str| text(entry, name);
        rows.push(vec![
            cell("network"),
            cell("scope"),
            moment(entry, "until"),
            cell("author"),
            cell("reason"),
        ]);
    }
    aligned(&rows)
}
