//! `portico fleet diff`: where what a gateway holds differs from what it should hold.

use std::collections::BTreeMap;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};
use similar::TextDiff;

use super::arguments::NodeArguments;
use super::{fleet, node};
use crate::arguments::Format;
use crate::control_plane::{ControlPlane, list, text};
use crate::{Outcome, output};

pub(super) fn run(arguments: &NodeArguments) -> anyhow::Result<Outcome> {
    let control_plane = ControlPlane::of(&arguments.fleet.control_plane)?;
    let fleet = fleet(&arguments.fleet)?;
    let node = node(&fleet, &arguments.node)?;
    let mut differences = Vec::new();
    for stream in list(node, "streams") {
        let (told, active) = (text(stream, "told_digest"), text(stream, "active_digest"));
        if told == active {
            continue;
        }
        differences.push(json!({
            "stream": text(stream, "stream"),
            "holds": text(stream, "active"),
            "should_hold": text(stream, "told"),
            "difference": difference(
                content(&control_plane, &active)?.as_ref(),
                content(&control_plane, &told)?.as_ref(),
            ),
        }));
    }
    match arguments.fleet.format {
        Format::Json => output::line(&serde_json::to_string_pretty(&differences)?),
        Format::Human => output::line(&page(&arguments.node, &differences)),
    }
    Ok(if differences.is_empty() {
        Outcome::Done
    } else {
        Outcome::Findings
    })
}

/// The content of a statement as files of text; none of one that nobody knows any more.
fn content(control_plane: &ControlPlane, digest: &str) -> anyhow::Result<Option<BTreeMap<String, String>>> {
    if digest == "-" {
        return Ok(None);
    }
    let Ok(envelope) = control_plane.ask(Method::GET, &format!("/internal/statements/{digest}"), None) else {
        return Ok(None);
    };
    let payload = STANDARD
        .decode(text(&envelope, "payload"))
        .context("an envelope without a payload")?;
    let statement: Value = serde_json::from_slice(&payload).context("a payload that is no statement")?;
    let content = statement.get("content").cloned().unwrap_or_default();
    let files: BTreeMap<_, _> = ["files", "cases"]
        .into_iter()
        .flat_map(|part| list(&content, part))
        .map(|file| (text(file, "name"), text(file, "text")))
        .collect();
    if files.is_empty() {
        let whole = serde_json::to_string_pretty(&content)? + "\n";
        return Ok(Some(BTreeMap::from([("content".to_owned(), whole)])));
    }
    Ok(Some(files))
}

/// What changes from one to the other, as a unified diff.
fn difference(
    held: Option<&BTreeMap<String, String>>,
    wanted: Option<&BTreeMap<String, String>>,
) -> Option<String> {
    let (held, wanted) = (held?, wanted?);
    let names: std::collections::BTreeSet<_> = held.keys().chain(wanted.keys()).collect();
    let empty = String::new();
    let changed = names.into_iter().filter_map(|name| {
        let (before, after) = (
            held.get(name).unwrap_or(&empty),
            wanted.get(name).unwrap_or(&empty),
        );
        let diff = TextDiff::from_lines(before, after);
        (before != after).then(|| {
            diff.unified_diff()
                .header(&format!("holds/{name}"), &format!("should hold/{name}"))
                .to_string()
        })
    });
    Some(changed.collect())
}

fn page(node: &str, differences: &[Value]) -> String {
    if differences.is_empty() {
        return format!("{node} holds what it should hold");
    }
    let part = |difference: &Value| {
        let head = format!(
            "{}: holds {}, should hold {}",
            text(difference, "stream"),
            text(difference, "holds"),
            text(difference, "should_hold"),
        );
        match text(difference, "difference").as_str() {
            "-" => format!("{head}\n  nobody knows any more what it holds"),
            "" => format!("{head}\n  of the same content"),
            lines => format!("{head}\n{}", lines.trim_end()),
        }
    };
    differences.iter().map(part).collect::<Vec<_>>().join("\n\n")
}
