//! `portico kek`: one key-encryption key follows another.

use anyhow::bail;
use serde_json::{Value, json};

use super::arguments::{KekCommand, RewrapArguments};
use super::{get, post, show, table};
use crate::arguments::Format;
use crate::control_plane::{encoded, text};
use crate::{Outcome, output};

pub(crate) fn run(command: &KekCommand) -> anyhow::Result<Outcome> {
    match command {
        KekCommand::Status(arguments) => {
            let keks = get(arguments, "/internal/kek")?;
            show(arguments, &keks, table::keks)
        }
        KekCommand::Rotate(arguments) => {
            let rotation = post(arguments, "/internal/kek/rotate")?;
            show(arguments, &rotation, |rotation| {
                format!(
                    "version {} seals now; {} private keys need version {} until they are rewrapped: portico kek rewrap",
                    text(rotation, "active"),
                    text(rotation, "to_rewrap"),
                    text(rotation, "retiring"),
                )
            })
        }
        KekCommand::Rewrap(arguments) => rewrap(arguments),
        KekCommand::History(arguments) => {
            let history = get(arguments, "/internal/kek/history")?;
            show(arguments, &history, table::history)
        }
        KekCommand::Retire(arguments) => {
            let path = format!("/internal/kek/retire?version={}", arguments.retired);
            let retired = post(&arguments.ask, &path)?;
            show(&arguments.ask, &retired, |retired| {
                format!(
                    "version {} is retired: remove it from the settings, and destroy it when no backup needs it",
                    text(retired, "version")
                )
            })
        }
    }
}

/// Batch after batch, until there is none.
fn rewrap(arguments: &RewrapArguments) -> anyhow::Result<Outcome> {
    let is_human = matches!(arguments.ask.format, Format::Human);
    let (mut rewrapped, mut failed) = (0, Vec::new());
    let mut after: Option<String> = None;
    let last = loop {
        let from = after.as_deref().map(encoded).unwrap_or_default();
        let path = format!("/internal/kek/rewrap?batch={}&after={from}", arguments.batch);
        let batch = post(&arguments.ask, &path)?;
        rewrapped += number(&batch, "rewrapped");
        let names = batch.get("failed").and_then(Value::as_array);
        failed.extend(names.into_iter().flatten().cloned());
        match batch.get("next").and_then(Value::as_str) {
            Some(next) => after = Some(next.to_owned()),
            None => break batch,
        }
        if is_human {
            output::line(&format!(
                "{rewrapped} rewrapped, {} left",
                text(&batch, "remaining")
            ));
        }
    };
    let remaining = number(&last, "remaining");
    let version = last.get("version");
    let report =
        json!({"version": version, "rewrapped": rewrapped, "failed": failed, "remaining": remaining});
    show(&arguments.ask, &report, |report| {
        format!(
            "{rewrapped} private keys were brought to version {}",
            text(report, "version")
        )
    })?;
    if remaining > 0 {
        bail!(
            "{remaining} private keys need an older version still: {}",
            if failed.is_empty() {
                "somebody else works on them, so try again".to_owned()
            } else {
                format!(
                    "{} do not open; the log of the control plane says why",
                    failed.len()
                )
            }
        );
    }
    Ok(Outcome::Done)
}

fn number(document: &Value, name: &str) -> u64 {
    document.get(name).and_then(Value::as_u64).unwrap_or_default()
}
