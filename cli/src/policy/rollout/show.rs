//! `portico policy status|history|drift`: how far a roll-out is, what went out before, and what is in memory.

use ::policy::render;
use http::Method;
use serde_json::Value;

use super::arguments::RolloutArguments;
use crate::arguments::Format;
use crate::control_plane::{ControlPlane, aligned, list, moment, text};
use crate::{Outcome, output};

/// Exit 1 when the newest roll-out was halted.
pub(crate) fn status(arguments: &RolloutArguments) -> anyhow::Result<Outcome> {
    let status = ask(arguments, "/internal/policies/status")?;
    let newest = status.get("rollout").filter(|rollout| !rollout.is_null());
    let page = || {
        let in_force = format!("in force for all: {}", text(&status, "in_force"));
        match newest {
            Some(newest) => format!("{in_force}\n{}", rollout(newest)),
            None => format!("{in_force}\nnothing was ever published"),
        }
    };
    print(&status, arguments.format, page)?;
    let is_halted = newest.is_some_and(|newest| text(newest, "phase") == "halted");
    Ok(if is_halted {
        Outcome::Findings
    } else {
        Outcome::Done
    })
}

pub(crate) fn history(arguments: &RolloutArguments) -> anyhow::Result<Outcome> {
    let history = ask(arguments, "/internal/policies/history")?;
    print(&history, arguments.format, || past(&history))?;
    Ok(Outcome::Done)
}

/// Exit 1 when a gateway has something else in memory than it should.
pub(crate) fn drift(arguments: &RolloutArguments) -> anyhow::Result<Outcome> {
    let drift = ask(arguments, "/internal/policies/drift")?;
    print(&drift, arguments.format, || memory(&drift))?;
    let has_drifted = drift.get("drifted").and_then(Value::as_u64) != Some(0);
    Ok(if has_drifted {
        Outcome::Findings
    } else {
        Outcome::Done
    })
}

fn ask(arguments: &RolloutArguments, path: &str) -> anyhow::Result<Value> {
    ControlPlane::of(&arguments.control_plane)?.ask(Method::GET, path, None)
}

fn print(document: &Value, format: Format, page: impl FnOnce() -> String) -> anyhow::Result<()> {
    match format {
        Format::Json => output::line(&serde_json::to_string_pretty(document)?),
        Format::Human => output::line(
            &page()
                .split('\n')
                .map(render::visible)
                .collect::<Vec<_>>()
                .join("\n"),
        ),
    }
    Ok(())
}

/// A roll-out in words.
pub(super) fn rollout(rollout: &Value) -> String {
    let mut lines = vec![format!(
        "{} {} at {} by {}: {} since {}",
        text(rollout, "kind"),
        text(rollout, "change_id"),
        text(rollout, "position"),
        author(rollout),
        text(rollout, "phase"),
        moment(rollout, "phase_since"),
    )];
    if let Some(why) = rollout.get("why").and_then(Value::as_str) {
        lines.push(format!("  {why}"));
    }
    if let Some(back) = rollout.get("back").and_then(Value::as_str) {
        lines.push(format!("  the old policy is in force for all, at {back}"));
    }
    let mut rows = vec![
        ["gateway", "told", "stage", "requests", "failed", "refused", "why"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let is_halted = text(rollout, "phase") == "halted";
    rows.extend(
        list(rollout, "gateways")
            .iter()
            .map(|one| gateway(one, is_halted)),
    );
    if rows.len() > 1 {
        lines.push(aligned(&rows));
    }
    lines.join("\n")
}

/// A name that was only given is not shown like one that was proven.
fn author(rollout: &Value) -> String {
    let name = text(rollout, "author");
    match rollout.get("author_signed") {
        Some(Value::Bool(true)) => format!("{name} (signed)"),
        _ => name,
    }
}

fn gateway(gateway: &Value, is_halted: bool) -> Vec<String> {
    let is = |name: &str| gateway.get(name) == Some(&Value::Bool(true));
    let told = match (is("is_live"), is("in_group")) {
        (false, _) => "silent",
        (true, true) if is_halted => "back",
        (true, true) => "new",
        (true, false) => "old",
    };
    vec![
        text(gateway, "name"),
        told.to_owned(),
        text(gateway, "stage"),
        text(gateway, "requests"),
        text(gateway, "failures"),
        text(gateway, "denied"),
        gateway
            .get("objection")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
    ]
}

fn past(history: &Value) -> String {
    let mut rows = vec![
        [
            "position", "change", "phase", "risk", "author", "agreed", "ended", "why",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for one in list(history, "rollouts") {
        let approvers: Vec<&str> = list(one, "approvers").iter().filter_map(Value::as_str).collect();
        rows.push(vec![
            text(one, "position"),
            text(one, "change_id"),
            text(one, "phase"),
            text(one, "risk"),
            author(one),
            if approvers.is_empty() {
                "-".to_owned()
            } else {
                approvers.join(",")
            },
            moment(one, "ended_at"),
            one.get("why")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
        ]);
    }
    format!(
        "in force for all: {}\n{}",
        text(history, "in_force"),
        aligned(&rows)
    )
}

fn memory(drift: &Value) -> String {
    let short = |value: String| value.chars().take(12).collect::<String>();
    let mut rows = vec![
        ["gateway", "memory", "told", "has", "expected", "found"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for one in list(drift, "gateways") {
        rows.push(vec![
            text(one, "name"),
            text(one, "state").replace('_', " "),
            text(one, "told"),
            text(one, "active"),
            short(text(one, "expected")),
            short(text(one, "found")),
        ]);
    }
    aligned(&rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn roll_out() -> Value {
        json!({
            "kind": "publish", "change_id": "BANK-471", "position": "1.5", "author": "ada", "author_signed": true,
            "phase": "canary", "phase_since": "2026-01-31T10:15:00.123456Z", "why": "112 s of watching are left", "back": null,
            "risk": "high", "approvers": ["grace"], "ended_at": null,
            "gateways": [
                {"name": "edge-1", "in_group": false, "is_live": true, "stage": null, "objection": null, "requests": 900,
                 "failures": 0, "denied": 3},
                {"name": "edge-2", "in_group": true, "is_live": true, "stage": "healthy", "objection": null, "requests": 870,
                 "failures": 2, "denied": 4},
                {"name": "edge-3", "in_group": false, "is_live": false, "stage": null, "objection": null, "requests": 0,
                 "failures": 0, "denied": 0},
            ],
        })
    }

    fn halted() -> Value {
        let mut halted = roll_out();
        for (name, value) in [
            ("phase", json!("halted")),
            ("why", json!("edge-2 refuses it: routes.yaml:3:1: unknown key")),
            ("back", json!("1.6")),
            ("ended_at", json!("2026-01-31T10:15:00.123456Z")),
        ] {
            halted[name] = value;
        }
        halted["gateways"][1]["stage"] = json!("refused");
        halted["gateways"][1]["objection"] = json!("compile: unknown key");
        halted
    }

    #[test]
    fn a_roll_out_under_way_says_who_has_it_and_why_it_waits() {
        insta::assert_snapshot!(rollout(&roll_out()));
    }

    #[test]
    fn a_halted_roll_out_says_why_and_that_the_old_policy_is_in_force() {
        insta::assert_snapshot!(rollout(&halted()));
    }

    #[test]
    fn the_history_says_what_went_out_who_signed_and_how_it_ended() {
        let mut unsigned = roll_out();
        for (name, value) in [
            ("change_id", json!("BANK-470")),
            ("position", json!("1.4")),
            ("author_signed", json!(false)),
            ("approvers", json!([])),
            ("risk", json!("low")),
            ("phase", json!("done")),
            ("why", Value::Null),
            ("ended_at", json!("2026-01-30T09:00:00.000001Z")),
        ] {
            unsigned[name] = value;
        }
        insta::assert_snapshot!(past(
            &json!({"in_force": "1.6", "rollouts": [halted(), unsigned]})
        ));
    }

    #[test]
    fn drift_is_shown_by_what_is_in_memory() {
        let (right, wrong) = ("0123456789abcdef", "fedcba9876543210");
        let drift = json!({"drifted": 1, "gateways": [
            {"name": "edge-1", "state": "same", "told": "1.4", "active": "1.4", "expected": right, "found": right},
            {"name": "edge-2", "state": "drifted", "told": "1.4", "active": "1.4", "expected": right, "found": wrong},
            {"name": "edge-3", "state": "own_directory", "told": "1.4", "active": null, "expected": right, "found": "aaaa"},
        ]});
        insta::assert_snapshot!(memory(&drift));
    }
}
