//! `portico policy plan` and `portico policy publish`: a bundle goes out to a fleet, or what would happen if it did.

use std::fs;
use std::path::Path;

use ::policy::{SourceFile, compile, environments, render};
use fleet::{Approval, Envelope, PolicyContent, PolicyFile};
use http::Method;
use serde_json::{Value, json};
use service_runtime::settings::variable;

use super::arguments::{ChangeArguments, PolicyPublishArguments, Share, WayArguments};
use super::{approve, show};
use crate::arguments::Format;
use crate::control_plane::{ControlPlane, list, text};
use crate::policy::files;
use crate::trust::RootFile;
use crate::{Outcome, Unreadable, output};

pub(crate) fn plan(arguments: &PolicyPublishArguments) -> anyhow::Result<Outcome> {
    let Some(asked) = request(arguments)? else {
        return Ok(Outcome::Findings);
    };
    let plan = ControlPlane::of(&arguments.control_plane)?.ask(
        Method::POST,
        "/internal/policies/plan",
        Some(asked),
    )?;
    match arguments.format {
        Format::Json => output::line(&serde_json::to_string_pretty(&plan)?),
        Format::Human => output::line(&page(&plan)),
    }
    Ok(Outcome::Done)
}

pub(crate) fn publish(arguments: &PolicyPublishArguments) -> anyhow::Result<Outcome> {
    let Some(asked) = request(arguments)? else {
        return Ok(Outcome::Findings);
    };
    let begun =
        ControlPlane::of(&arguments.control_plane)?.ask(Method::POST, "/internal/policies", Some(asked))?;
    let is_halted = text(&begun, "phase") == "halted";
    match arguments.format {
        Format::Json => output::line(&serde_json::to_string_pretty(&begun)?),
        Format::Human => output::line(&answer(&begun, is_halted)),
    }
    Ok(if is_halted {
        Outcome::Findings
    } else {
        Outcome::Done
    })
}

/// What became of it. Asked twice it goes out once, so a change whose roll-out was halted goes out no more.
fn answer(begun: &Value, is_halted: bool) -> String {
    let next = match is_halted {
        true => format!(
            "IT DOES NOT GO OUT: its roll-out was halted: {}\nwhen the cause is gone, publish it with another --change-id and with --again",
            render::visible(&text(begun, "why"))
        ),
        false => "follow it with `portico policy status`".to_owned(),
    };
    format!("{}\n{next}", show::rollout(begun))
}

/// What to send; none when the bundle does not compile here already, which has been said then.
fn request(arguments: &PolicyPublishArguments) -> anyhow::Result<Option<Vec<u8>>> {
    let ChangeArguments {
        directory,
        environment,
        change_id,
        author,
    } = &arguments.change;
    let Some(content) = content(directory, environment)? else {
        return Ok(None);
    };
    let WayArguments {
        phases,
        at_once,
        expect_denials,
        emergency,
        again,
        ..
    } = &arguments.way;
    let phases: Vec<&str> = match at_once {
        true => vec!["all"],
        false => phases.iter().map(|phase| phase.as_str()).collect(),
    };
    let declared = |wanted: &dyn Fn(&Share) -> Option<u32>| expect_denials.iter().filter_map(wanted).max();
    let rise = declared(&|share| match share {
        Share::Rise(thousandths) => Some(*thousandths),
        Share::Fall(_) => None,
    });
    let fall = declared(&|share| match share {
        Share::Fall(thousandths) => Some(*thousandths),
        Share::Rise(_) => None,
    });
    let change = Approval {
        content: content.digest(),
        change_id: change_id.clone(),
        environment: environment.clone(),
        author: author_or_operator(author.as_deref())?,
        approver: String::new(),
    };
    let asked = json!({
        "change_id": change_id, "environment": environment, "author": change.author,
        "signature": signature(&change, arguments.way.key.as_deref())?, "files": content.files, "cases": content.cases, "approvals": approvals(&arguments.way.approvals)?,
        "phases": phases, "denials_rise": rise, "denials_fall": fall, "emergency": emergency, "again": again,
    });
    Ok(Some(serde_json::to_vec(&asked)?))
}

/// The envelope in which the author signs; none without a key.
fn signature(change: &Approval, key: Option<&Path>) -> anyhow::Result<Option<Envelope>> {
    let Some(key) = key else { return Ok(None) };
    let own = Approval {
        approver: change.author.clone(),
        ..change.clone()
    };
    approve::signed(&own, Approval::AUTHORSHIP_TYPE, &RootFile::open(key)?).map(Some)
}

/// The bundle in a directory; none when it does not compile, which has been said then.
pub(super) fn content(directory: &Path, environment: &str) -> anyhow::Result<Option<PolicyContent>> {
    let policies = files::read(directory)?;
    let known = environments(&policies);
    if !known.contains(&environment) {
        return Err(Unreadable(format!(
            "there is no environment `{environment}`, only {}",
            known.join(", ")
        ))
        .into());
    }
    if let Err(findings) = compile(&policies, environment) {
        output::line(render::human(&findings, &policies).trim_end());
        return Ok(None);
    }
    let stated = |files: Vec<SourceFile>| {
        let stated = files.into_iter().map(|file| PolicyFile {
            name: file.name,
            text: file.text,
        });
        stated.collect()
    };
    let mut content = PolicyContent {
        cases: stated(files::read_cases(directory)?),
        files: stated(policies),
    };
    content.sort();
    Ok(Some(content))
}

pub(super) fn author_or_operator(author: Option<&str>) -> anyhow::Result<String> {
    let operator = || variable("SUDO_USER").or_else(|| variable("USER"));
    let author = author.map(str::to_owned).or_else(operator);
    author.ok_or_else(|| Unreadable("who are you? give --author".to_owned()).into())
}

/// The envelopes in these files.
fn approvals(paths: &[std::path::PathBuf]) -> anyhow::Result<Vec<Value>> {
    let read = |path: &std::path::PathBuf| {
        let unreadable = |why: String| Unreadable(format!("{}: {why}", path.display()));
        let bytes = fs::read(path).map_err(|error| unreadable(error.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()).into())
    };
    paths.iter().map(read).collect()
}

fn page(plan: &Value) -> String {
    let mut lines = Vec::new();
    for change in list(plan, "changes") {
        lines.push(format!(
            "{:<8}  {}  {} → {}  {}\n          {}",
            text(change, "risk"),
            text(change, "key"),
            text(change, "old"),
            text(change, "new"),
            text(change, "consequence"),
            text(change, "place"),
        ));
    }
    if lines.is_empty() {
        lines.push(match text(plan, "in_force").as_str() {
            "-" => "it is the first policy of this fleet".to_owned(),
            _ => "no difference: both enforce the same".to_owned(),
        });
    }
    lines.push(String::new());
    lines.push(format!("content   {}", text(plan, "content")));
    lines.push(format!(
        "checks    {} cases pass, the audit grades it {}",
        text(plan, "cases"),
        text(plan, "grade")
    ));
    lines.push(match text(plan, "approval_because").as_str() {
        "-" => "approval  nobody must agree".to_owned(),
        because => format!(
            "approval  somebody else must agree: {because}; agreed: {}; the author {}",
            names(list(plan, "approvers")),
            if plan.get("author_signed") == Some(&Value::Bool(true)) {
                "has signed"
            } else {
                "must sign as well, with --key"
            }
        ),
    });
    for phase in list(plan, "phases") {
        let gateways = list(phase, "gateways");
        lines.push(format!(
            "{:<8}  {} gateways: {}",
            text(phase, "phase"),
            gateways.len(),
            names(gateways)
        ));
    }
    lines.extend(too_old(plan));
    if let Some(change) = plan.get("under_way").and_then(Value::as_str) {
        lines.push(format!(
            "it would be refused now: the roll-out of {change} is under way"
        ));
    }
    lines
        .iter()
        .map(|line| {
            line.split('\n')
                .map(render::visible)
                .collect::<Vec<_>>()
                .join("\n")
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Gateways that do not know a key of the policy.
fn too_old(plan: &Value) -> Option<String> {
    let too_old = list(plan, "too_old").iter();
    let too_old: Vec<_> = too_old
        .map(|old| format!("{} ({})", text(old, "name"), text(old, "version")))
        .collect();
    (!too_old.is_empty()).then(|| {
        format!(
            "it would be refused now: it has a key that came with {}, and these gateways are older: {}",
            text(plan, "min_version"),
            too_old.join(", ")
        )
    })
}

fn names(names: &[Value]) -> String {
    let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_says_what_changes_who_must_agree_and_where_it_goes() {
        let plan = json!({
            "in_force": "1.4", "content": "ab".repeat(32), "cases": 41, "grade": "A",
            "changes": [{"risk": "high", "key": "routes.rates", "old": null, "new": "GET /rates, auth none",
                         "consequence": "anyone may call GET /rates", "place": "routes/rates.yaml:3 routes.rates"}],
            "approval_because": "its risk is high", "approvers": ["grace"], "author_signed": false,
            "under_way": "BANK-470", "min_version": "0.2.0", "too_old": [{"name": "edge-2", "version": "0.1.0"}],
            "phases": [{"phase": "canary", "gateways": ["edge-2"]}, {"phase": "all", "gateways": ["edge-1", "edge-2"]}],
        });
        insta::assert_snapshot!(page(&plan));
    }

    #[test]
    fn a_change_that_was_halted_is_said_to_go_out_no_more_and_what_to_do() {
        let rollout = |phase: &str, why: &str| {
            json!({
                "kind": "publish", "change_id": "BANK-471", "position": "1.5", "author": "ada", "author_signed": true,
                "phase": phase, "phase_since": "2026-01-31T10:15:00.123456Z", "why": why, "back": "1.6", "gateways": [],
            })
        };
        let halted = answer(&rollout("halted", "edge-2 refuses it: unknown key"), true);
        let says = "\nIT DOES NOT GO OUT: its roll-out was halted: edge-2 refuses it: unknown key\n\
                    when the cause is gone, publish it with another --change-id and with --again";
        assert!(halted.ends_with(says), "{halted}");
        let under_way = answer(&rollout("canary", "112 s of watching are left"), false);
        let says = "\nfollow it with `portico policy status`";
        assert!(under_way.ends_with(says), "{under_way}");
    }
}
