//! `portico policy rollback` and `portico policy halt`: back to the policy before.

use http::Method;
use serde_json::{Value, json};

use super::arguments::{PolicyHaltArguments, PolicyRollbackArguments};
use super::publish::author_or_operator;
use super::show;
use crate::arguments::Format;
use crate::control_plane::ControlPlane;
use crate::{Outcome, output};

pub(crate) fn rollback(arguments: &PolicyRollbackArguments) -> anyhow::Result<Outcome> {
    let asked = json!({ "to": arguments.to, "author": author_or_operator(arguments.author.as_deref())? });
    let control_plane = ControlPlane::of(&arguments.control_plane)?;
    let begun = control_plane.ask(
        Method::POST,
        "/internal/policies/rollback",
        Some(serde_json::to_vec(&asked)?),
    )?;
    print(&begun, arguments.format)
}

pub(crate) fn halt(arguments: &PolicyHaltArguments) -> anyhow::Result<Outcome> {
    let asked = serde_json::to_vec(&json!({ "reason": arguments.reason }))?;
    let control_plane = ControlPlane::of(&arguments.control_plane)?;
    let halted = control_plane.ask(Method::POST, "/internal/policies/halt", Some(asked))?;
    print(&halted, arguments.format)
}

fn print(rollout: &Value, format: Format) -> anyhow::Result<Outcome> {
    match format {
        Format::Json => output::line(&serde_json::to_string_pretty(rollout)?),
        Format::Human => output::line(&show::rollout(rollout)),
    }
    Ok(Outcome::Done)
}
