//! `portico fleet status`: one line for each gateway.

use ::fleet::Trust;
use serde_json::Value;

use super::{ago, fleet, now};
use crate::arguments::Format;
use crate::control_plane::{AskArguments, aligned, list, text};
use crate::{Outcome, output};

pub(super) fn run(arguments: &AskArguments) -> anyhow::Result<Outcome> {
    let fleet = fleet(arguments)?;
    match arguments.format {
        Format::Json => output::line(&serde_json::to_string_pretty(&fleet)?),
        Format::Human => output::line(&page(&fleet)),
    }
    let is_well = |node: &Value| matches!(text(node, "standing").as_str(), "IN_SYNC" | "PENDING" | "-");
    let is_trust_well = !trust_ends_soon(&fleet) && list(&fleet, "trusted_too_long").is_empty();
    let is_all_well = list(&fleet, "nodes").iter().all(is_well) && is_trust_well;
    Ok(match is_all_well {
        true => Outcome::Done,
        false => Outcome::Findings,
    })
}

fn page(fleet: &Value) -> String {
    let mut lines = vec![format!(
        "fleet {}, environment {}, epoch {}, trust document {}",
        text(fleet, "fleet"),
        text(fleet, "environment"),
        text(fleet, "epoch"),
        match text(fleet, "trust_version").as_str() {
            "0" => "missing: `portico trust sign`".to_owned(),
            version => format!("{version}{}", trust_end(fleet)),
        }
    )];
    let streams = list(fleet, "streams").iter();
    let streams: Vec<_> = streams
        .map(|of| format!("{} {}", text(of, "stream"), text(of, "position")))
        .collect();
    if !streams.is_empty() {
        lines.push(format!("stated: {}", streams.join(", ")));
    }
    let nodes = list(fleet, "nodes");
    if nodes.is_empty() {
        lines.push("no gateway has ever dialled in".to_owned());
        return lines.join("\n");
    }
    let now = now(fleet);
    let mut rows = vec![
        ["gateway", "standing", "since", "version", "clock", "why"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(nodes.iter().map(|node| row(node, now)));
    lines.push(aligned(&rows));
    lines.join("\n")
}

fn trust_left_s(fleet: &Value) -> Option<i64> {
    Some(fleet.get("trust_until")?.as_i64()?.saturating_sub(now(fleet)))
}

fn trust_ends_soon(fleet: &Value) -> bool {
    let is_there = text(fleet, "trust_version") != "0";
    is_there && trust_left_s(fleet).is_none_or(|left_s| left_s < Trust::NOTICE_S)
}

/// Until when the key that signs now may do so, where that is soon.
fn trust_end(fleet: &Value) -> String {
    if !trust_ends_soon(fleet) {
        return match list(fleet, "trusted_too_long").len() {
            0 => String::new(),
            1 => ", which trusts a key for too long: `portico trust sign`".to_owned(),
            keys => format!(", which trusts {keys} keys for too long: `portico trust sign`"),
        };
    }
    match trust_left_s(fleet) {
        None => ", which does not name the key that signs: `portico trust sign`".to_owned(),
        Some(..0) => ", WHICH HAS ENDED, SO NOTHING NEW IS STATED: `portico trust sign`".to_owned(),
        Some(left_s) => format!(
            ", which ends in {} days and {} hours: `portico trust sign`",
            left_s / 86_400,
            left_s % 86_400 / 3_600
        ),
    }
}

fn row(node: &Value, now: i64) -> Vec<String> {
    let name = text(node, "name");
    let Some(since) = node.get("since").and_then(Value::as_i64) else {
        return vec![
            name,
            "evicted".to_owned(),
            "-".to_owned(),
            text(node, "version"),
            "-".to_owned(),
            String::new(),
        ];
    };
    let offset = node.get("clock_offset_ms").and_then(Value::as_i64);
    vec![
        name,
        text(node, "standing"),
        ago(since, now),
        text(node, "version"),
        offset.map_or_else(|| "-".to_owned(), |offset| format!("{offset:+} ms")),
        text(node, "reason"),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_gateway_has_a_line_with_since_when_and_why() {
        let fleet = json!({
            "fleet": "bank", "environment": "production", "epoch": 1, "trust_version": 3, "trust_until": 1_800_000_000,
            "now": "2026-11-26T10:00:00.5Z",
            "streams": [{"stream": "keyset", "position": "1.4"}],
            "nodes": [
                {"name": "edge-1", "standing": "IN_SYNC", "since": 1_795_687_140, "reason": "1.4 is in force",
                 "version": "0.1.0", "clock_offset_ms": -12},
                {"name": "edge-2", "standing": "REFUSED", "since": 1_795_683_600, "reason": "compile: no such upstream",
                 "version": "0.1.0", "clock_offset_ms": 3},
                {"name": "edge-3", "standing": null, "since": null, "reason": null, "version": null},
            ],
        });
        insta::assert_snapshot!(page(&fleet));
    }

    #[test]
    fn that_the_trust_document_ends_is_said_two_weeks_before() {
        let now = 1_795_687_200;
        let first_line = |left_s: Option<i64>| {
            let fleet = json!({
                "fleet": "bank", "environment": "production", "epoch": 1, "trust_version": 3,
                "trust_until": left_s.map(|left_s| now + left_s), "now": "2026-11-26T10:00:00.5Z", "nodes": [],
            });
            let page = page(&fleet);
            (trust_ends_soon(&fleet), page.lines().next().unwrap().to_owned())
        };
        let begins = "fleet bank, environment production, epoch 1, trust document 3";
        assert_eq!(first_line(Some(Trust::NOTICE_S)), (false, begins.to_owned()));
        for (left_s, ends) in [
            (
                Some(Trust::NOTICE_S - 1),
                ", which ends in 13 days and 23 hours: `portico trust sign`",
            ),
            (
                Some(-1),
                ", WHICH HAS ENDED, SO NOTHING NEW IS STATED: `portico trust sign`",
            ),
            (
                None,
                ", which does not name the key that signs: `portico trust sign`",
            ),
        ] {
            assert_eq!(first_line(left_s), (true, format!("{begins}{ends}")));
        }
    }
}
