//! `portico revoke`: tokens that no gateway takes any more.

use http::Method;
use serde_json::{Value, json};

use super::FOLLOWED;
use super::arguments::{RevokeArguments, RevokeCommand, UndoArguments};
use crate::arguments::Format;
use crate::control_plane::{AskArguments, ControlPlane, aligned, list, moment, text};
use crate::{Outcome, output};

pub(crate) fn run(command: &RevokeCommand) -> anyhow::Result<Outcome> {
    match command {
        RevokeCommand::Token(arguments) => revoke("token", arguments),
        RevokeCommand::Session(arguments) => revoke("session", arguments),
        RevokeCommand::Subject(arguments) => revoke("subject", arguments),
        RevokeCommand::Client(arguments) => revoke("client", arguments),
        RevokeCommand::Key(arguments) => revoke("key", arguments),
        RevokeCommand::List(arguments) => show(arguments),
        RevokeCommand::Undo(arguments) => undo(arguments),
    }
}

fn revoke(kind: &str, arguments: &RevokeArguments) -> anyhow::Result<Outcome> {
    let new = json!({
        "kind": kind,
        "issuer": arguments.issuer,
        "name": arguments.name,
        "issued_until": arguments.issued_until,
        "for_s": arguments.for_s,
        "reason": arguments.reason,
    });
    let control_plane = ControlPlane::of(&arguments.control_plane)?;
    let revoked = control_plane.ask(
        Method::POST,
        "/internal/revocations",
        Some(new.to_string().into_bytes()),
    )?;
    match arguments.format {
        Format::Json => output::line(&serde_json::to_string_pretty(&revoked)?),
        Format::Human => output::line(&format!(
            "revoked {kind} {} of {}\n  taken back with `portico revoke undo {}`; {FOLLOWED}",
            arguments.name,
            arguments.issuer,
            text(&revoked, "id"),
        )),
    }
    Ok(Outcome::Done)
}

fn undo(arguments: &UndoArguments) -> anyhow::Result<Outcome> {
    let path = format!("/internal/revocations/{}", arguments.id);
    ControlPlane::of(&arguments.control_plane)?.ask(Method::DELETE, &path, None)?;
    output::line(&format!("revocation {} is taken back", arguments.id));
    Ok(Outcome::Done)
}

fn show(arguments: &AskArguments) -> anyhow::Result<Outcome> {
    let control_plane = ControlPlane::of(&arguments.control_plane)?;
    let revoked = control_plane.ask(Method::GET, "/internal/revocations/entries", None)?;
    match arguments.format {
        Format::Json => output::line(&serde_json::to_string_pretty(&revoked)?),
        Format::Human => output::line(&table(&revoked)),
    }
    Ok(Outcome::Done)
}

fn table(revoked: &Value) -> String {
    let entries = list(revoked, "revocations");
    if entries.is_empty() {
        return "nothing is revoked".to_owned();
    }
    let head = ["id", "kind", "name", "issuer", "until", "by", "reason"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for entry in entries {
        let until = moment(entry, "until");
        let cell = |name: &str| text(entry, name);
        rows.push(vec![
            cell("id"),
            cell("kind"),
            cell("name"),
            cell("issuer"),
            until,
            cell("author"),
            cell("reason"),
        ]);
    }
    aligned(&rows)
}
