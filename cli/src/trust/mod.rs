//! `portico trust`: the offline root, and the documents that it signs: which keys of the bundle ring may sign for gateways.

mod arguments;
mod document;
mod root_file;

pub(crate) use arguments::TrustCommand;
pub(crate) use document::{next, sign};
pub(crate) use root_file::RootFile;

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use fleet::Envelope;
use http::Method;
use serde_json::Value;
use service_runtime::clock::Clock;

use crate::arguments::Format;
use crate::control_plane::{AskArguments, ControlPlane, aligned, list, moment, text};
use crate::{Outcome, Unreadable, output};
use arguments::{AcceptArguments, InitArguments, SignArguments};

pub(crate) fn run(command: &TrustCommand) -> anyhow::Result<Outcome> {
    match command {
        TrustCommand::Init(arguments) => init(arguments),
        TrustCommand::Sign(arguments) => sign_document(arguments),
        TrustCommand::Accept(arguments) => accept(arguments),
        TrustCommand::Show(arguments) => show(arguments),
    }
}

fn init(arguments: &InitArguments) -> anyhow::Result<Outcome> {
    let root = RootFile::make(&arguments.root)?;
    output::line(&format!(
        "a root key is in {}: keep it offline, and a copy in another place\nits public part is for `fleet.roots` of the control plane and of every gateway:\n  {}",
        arguments.root.display(),
        root.public(),
    ));
    Ok(Outcome::Done)
}

fn sign_document(arguments: &SignArguments) -> anyhow::Result<Outcome> {
    let root = RootFile::open(&arguments.root)?;
    let envelope = match &arguments.add_to {
        Some(document) => {
            let mut envelope = Envelope::parse(&read(document)?)
                .map_err(|error| Unreadable(format!("{}: {error}", document.display())))?;
            let signature = root.sign(&envelope.signed_bytes())?;
            envelope.signatures.retain(|other| other.keyid != signature.keyid);
            envelope.signatures.push(signature);
            envelope
        }
        None => {
            let standing = match &arguments.request {
                Some(file) => serde_json::from_slice(&read(file)?)
                    .map_err(|error| Unreadable(format!("{}: {error}", file.display())))?,
                None => {
                    ControlPlane::of(&arguments.control_plane)?.ask(Method::GET, "/internal/trust", None)?
                }
            };
            sign(&next(&standing, Clock::system().now(), arguments.days)?, &root)?
        }
    };
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&arguments.out);
    let file = file.as_mut().map_err(|error| {
        anyhow::anyhow!(
            "{}: {error}; a document is never overwritten",
            arguments.out.display()
        )
    })?;
    file.write_all(&envelope.to_bytes())?;
    file.sync_all()?;
    output::line(&format!(
        "signed by {} of the roots; hand it over with `portico trust accept {}`",
        envelope.signatures.len(),
        arguments.out.display(),
    ));
    Ok(Outcome::Done)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).map_err(|error| Unreadable(format!("{}: {error}", path.display())).into())
}

fn accept(arguments: &AcceptArguments) -> anyhow::Result<Outcome> {
    let document = read(&arguments.document)?;
    let trust =
        ControlPlane::of(&arguments.control_plane)?.ask(Method::POST, "/internal/trust", Some(document))?;
    output::line(&format!(
        "version {} is in force: {} keys may sign for gateways",
        text(&trust, "version"),
        list(&trust, "keys").len(),
    ));
    Ok(Outcome::Done)
}

fn show(arguments: &AskArguments) -> anyhow::Result<Outcome> {
    let standing = ControlPlane::of(&arguments.control_plane)?.ask(Method::GET, "/internal/trust", None)?;
    match arguments.format {
        Format::Json => output::line(&serde_json::to_string_pretty(&standing)?),
        Format::Human => output::line(&page(&standing)?),
    }
    Ok(match needs_another(&standing) {
        true => Outcome::Findings,
        false => Outcome::Done,
    })
}

/// Whether the roots must sign another document.
pub(crate) fn needs_another(standing: &Value) -> bool {
    standing.get("needs_another") == Some(&Value::Bool(true))
}

fn page(standing: &Value) -> anyhow::Result<String> {
    let mut lines = Vec::new();
    let trust = standing.get("trust").filter(|trust| !trust.is_null());
    lines.push(match trust {
        None => format!(
            "fleet {}: no trust document is in force, so nothing is stated",
            text(standing, "fleet")
        ),
        Some(trust) => format!(
            "fleet {}: version {} of the trust document, accepted {} from {}",
            text(standing, "fleet"),
            text(trust, "version"),
            moment(standing, "accepted_at"),
            text(standing, "author"),
        ),
    });
    let mut rows = vec![["state", "trusted", "until", "key"].map(str::to_owned).to_vec()];
    for key in list(standing, "bundle_keys") {
        let keyid = text(key, "keyid");
        let entry = trust.and_then(|trust| {
            list(trust, "keys")
                .iter()
                .find(|entry| text(entry, "keyid") == keyid)
        });
        let until = entry
            .and_then(|entry| entry.get("not_after")?.as_i64())
            .map(|until| {
                chrono::DateTime::from_timestamp(until, 0).map(|until| until.format("%Y-%m-%d").to_string())
            });
        let until = until
            .map_or(Some("-".to_owned()), |until| until)
            .context("a date that no clock can show")?;
        let is_set = |name: &str| text(key, name) == "true";
        let is_trusted = match (is_set("is_trusted"), text(key, "state") == "retiring") {
            (true, _) if is_set("outlives") => "TOO LONG",
            (true, _) => "yes",
            (false, true) => "no more",
            (false, false) => "NO",
        };
        rows.push(vec![text(key, "state"), is_trusted.to_owned(), until, keyid]);
    }
    for former in list(standing, "former_keys") {
        let keyid = former.as_str().unwrap_or_default().to_owned();
        rows.push(vec![
            "former".to_owned(),
            "STILL".to_owned(),
            "-".to_owned(),
            keyid,
        ]);
    }
    lines.push(aligned(&rows));
    if needs_another(standing) {
        lines
            .push("another document is wanted: `portico trust sign`, then `portico trust accept`".to_owned());
    }
    Ok(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_that_the_next_rotation_wants_and_nobody_has_named_is_seen() {
        let standing = json!({
            "fleet": "bank", "author": "operator:ada", "accepted_at": "2026-11-26T10:00:00.5Z",
            "trust": {"version": 3, "fleet": "bank", "created_at": 0, "keys": [{"keyid": "k1", "public": "p", "not_before": 0, "not_after": 1_800_000_000}]},
            "bundle_keys": [
                {"keyid": "k1", "public": "p", "state": "active", "is_trusted": true},
                {"keyid": "k2", "public": "q", "state": "published", "is_trusted": false},
                {"keyid": "k3", "public": "r", "state": "retiring", "is_trusted": true, "outlives": true},
                {"keyid": "k4", "public": "r", "state": "retiring", "is_trusted": false, "outlives": false},
            ],
            "former_keys": ["k5"], "needs_another": true,
        });
        insta::assert_snapshot!(page(&standing).unwrap());
    }
}
