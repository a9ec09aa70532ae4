//! `portico fleet explain`: one gateway, stream by stream.

use serde_json::Value;

use super::arguments::NodeArguments;
use super::{ago, fleet, node, now};
use crate::arguments::Format;
use crate::control_plane::{list, moment, text};
use crate::{Outcome, output};

pub(super) fn run(arguments: &NodeArguments) -> anyhow::Result<Outcome> {
    let fleet = fleet(&arguments.fleet)?;
    let node = node(&fleet, &arguments.node)?;
    match arguments.fleet.format {
        Format::Json => output::line(&serde_json::to_string_pretty(node)?),
        Format::Human => output::line(&page(node, now(&fleet))),
    }
    Ok(Outcome::Done)
}

fn page(node: &Value, now: i64) -> String {
    let mut lines = vec![format!(
        "{}: version {}, seen first {}, heartbeat {}, clock {} ms off",
        text(node, "name"),
        text(node, "version"),
        moment(node, "first_seen_at"),
        moment(node, "last_heartbeat_at"),
        text(node, "clock_offset_ms"),
    )];
    if node.get("evicted_at").is_some_and(|at| !at.is_null()) {
        lines.push(format!(
            "evicted {}: it is told nothing",
            moment(node, "evicted_at")
        ));
    }
    let waiting = list(node, "waiting").iter().filter_map(Value::as_str);
    let waiting: Vec<_> = waiting.collect();
    if !waiting.is_empty() {
        lines.push(format!(
            "not open as its policy says until it is restarted or upgraded: {}",
            waiting.join(", ")
        ));
    }
    let processes = list(node, "processes");
    // One is as it should be.
    for process in processes.iter().filter(|_| processes.len() > 1) {
        lines.push(format!(
            "process {}: heard first {}, last {}",
            text(process, "boot_id"),
            moment(process, "first_heard_at"),
            moment(process, "last_heard_at"),
        ));
    }
    for stream in list(node, "streams") {
        let since = stream.get("since").and_then(Value::as_i64).unwrap_or(now);
        lines.push(format!(
            "\n{:<12} {} for {}: {}",
            text(stream, "stream"),
            text(stream, "standing"),
            ago(since, now),
            text(stream, "reason"),
        ));
        lines.push(format!("  should hold  {}", place(stream, "told", "told_digest")));
        lines.push(format!(
            "  holds        {}",
            place(stream, "active", "active_digest")
        ));
        lines.push(format!("  in memory    {}", text(stream, "fingerprint")));
        if stream.get("stage").is_some_and(|stage| !stage.is_null()) {
            lines.push(format!("  said last    {}", said(stream)));
        }
    }
    lines.join("\n")
}

fn place(stream: &Value, position: &str, digest: &str) -> String {
    match text(stream, position).as_str() {
        "-" => "nothing".to_owned(),
        position => format!("{position}  {}", text(stream, digest)),
    }
}

fn said(stream: &Value) -> String {
    let shadow = if stream.get("stage_shadow") == Some(&Value::Bool(true)) {
        ", in shadow"
    } else {
        ""
    };
    let mut said = format!(
        "{} of {}{shadow}, {}",
        text(stream, "stage"),
        text(stream, "stage_position"),
        moment(stream, "stage_at"),
    );
    if let Some(objection) = stream.get("objection").filter(|objection| !objection.is_null()) {
        said.push_str(&format!(
            "\n               {} at {}: {}",
            text(objection, "code"),
            text(objection, "path"),
            text(objection, "message"),
        ));
    }
    said
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_is_shown_with_its_place_beside_what_is_really_in_force() {
        let node = json!({
            "name": "edge-1", "version": "0.1.0", "first_seen_at": "2026-11-01T08:00:00Z",
            "last_heartbeat_at": "2026-11-26T09:59:58.123Z", "clock_offset_ms": -12, "evicted_at": null,
            "streams": [
                {"stream": "policy", "standing": "REFUSED", "since": 1_795_687_100, "reason": "compile: no such upstream",
                 "told": "1.5", "told_digest": "ab12", "active": "1.4", "active_digest": "cd34", "fingerprint": "f00d",
                 "stage": "refused", "stage_position": "1.5", "stage_shadow": false, "stage_at": "2026-11-26T09:58:20.5Z",
                 "objection": {"code": "compile", "path": "routes/pay.yaml:7", "message": "no such upstream"}},
                {"stream": "keyset", "standing": "IN_SYNC", "since": 1_795_600_000, "reason": "1.9 is in force",
                 "told": "1.9", "told_digest": "ee55", "active": "1.9", "active_digest": "ee55", "fingerprint": "beef",
                 "stage": null, "objection": null},
            ],
        });
        insta::assert_snapshot!(page(&node, 1_795_687_200));
    }

    #[test]
    fn two_processes_and_a_listener_that_waits_are_named() {
        let process = |boot_id: &str, first: &str| json!({"boot_id": boot_id, "first_heard_at": first, "last_heard_at": "2026-11-26T09:59:58.123Z"});
        let node = json!({
            "name": "edge-1", "version": "0.1.0", "first_seen_at": "2026-11-01T08:00:00Z",
            "last_heartbeat_at": "2026-11-26T09:59:58.123Z", "clock_offset_ms": -12, "evicted_at": null,
            "waiting": ["public.http", "public.https"],
            "processes": [process("4f00c2", "2026-11-20T07:00:00Z"), process("b19d03", "2026-11-26T09:40:00Z")],
            "streams": [],
        });
        insta::assert_snapshot!(page(&node, 1_795_687_200));
    }
}
