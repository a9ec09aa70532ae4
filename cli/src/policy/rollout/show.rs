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
        text(rollout, "author"),
        text(rollout, "phase"),
        moment(rollout, "phase_since"),
    )];
    if let Some(why) = rollout.get("why").and_then(Value::as_str) {
        lines.push(format!("  {why}"));
    }
    if let Some(back) = rollout.get("back").and_then(Value::as_str) {
        lines.push(format!("  its gateways were given the old policy at {back}"));
    }
    let mut rows = vec![
        [
            "gateway", "policy", "stage", "requests", "failed", "refused", "why",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    rows.extend(list(rollout, "gateways").iter().map(gateway));
    if rows.len() > 1 {
        lines.push(aligned(&rows));
    }
    lines.join("\n")
}

fn gateway(gateway: &Value) -> Vec<String> {
    let is = |name: &str| gateway.get(name) == Some(&Value::Bool(true));
    let policy = match (is("is_live"), is("in_group")) {
        (false, _) => "silent",
        (true, true) => "new",
        (true, false) => "old",
    };
    vec![
        text(gateway, "name"),
        policy.to_owned(),
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
            text(one, "author"),
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

    #[test]
    fn a_halted_roll_out_says_why_and_what_its_gateways_have_now() {
        let halted = json!({
            "kind": "publish", "change_id": "BANK-471", "position": "1.5", "author": "ada", "phase": "halted",
            "phase_since": "2026-01-31T10:15:00.123456Z", "why": "edge-2 refuses it: routes.yaml:3:1: unknown key", "back": "1.6",
            "risk": "low", "approvers": ["grace"], "ended_at": "2026-01-31T10:15:00.123456Z",
            "gateways": [
                {"name": "edge-1", "in_group": false, "is_live": true, "stage": null, "objection": null, "requests": 900,
                 "failures": 0, "denied": 3},
                {"name": "edge-2", "in_group": true, "is_live": true, "stage": "refused", "objection": "compile: unknown key",
                 "requests": 870, "failures": 2, "denied": 4},
            ],
        });
        let page = rollout(&halted);
        for words in [
            "publish BANK-471 at 1.5 by ada: halted since 2026-01-31T10:15:00Z",
            "  edge-2 refuses it: routes.yaml:3:1: unknown key",
            "  its gateways were given the old policy at 1.6",
            "compile: unknown key",
        ] {
            assert!(page.contains(words), "{words} is missing in\n{page}");
        }
        let history = json!({"in_force": "1.4", "rollouts": [halted]});
        let page = past(&history);
        for words in [
            "in force for all: 1.4",
            "BANK-471",
            "grace",
            "2026-01-31T10:15:00Z",
        ] {
            assert!(page.contains(words), "{words} is missing in\n{page}");
        }
    }

    #[test]
    fn drift_is_shown_by_what_is_in_memory() {
        let drift = json!({"drifted": 1, "gateways": [
            {"name": "edge-1", "state": "same", "told": "1.4", "active": "1.4", "expected": "0123456789abcdef", "found": "0123456789abcdef"},
            {"name": "edge-2", "state": "drifted", "told": "1.4", "active": "1.4", "expected": "0123456789abcdef", "found": "fedcba9876543210"},
            {"name": "edge-3", "state": "own_directory", "told": "1.4", "active": null, "expected": "0123456789abcdef", "found": "aaaa"},
        ]});
        let page = memory(&drift);
        for words in ["0123456789ab", "own directory", "fedcba987654"] {
            assert!(page.contains(words), "{words} is missing in\n{page}");
        }
        assert!(!page.contains("0123456789abc"), "{page}");
    }
}
