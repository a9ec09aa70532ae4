//! What the control plane says of keys, as people read it.

use keyring::RingName;
use serde_json::Value;

use crate::control_plane::{moment, text};

/// A ring and its keys.
pub(super) fn ring(ring: &Value) -> String {
    let mut lines = vec![
        format!("ring {}, sequence {}", text(ring, "ring"), text(ring, "seq")),
        format!(
            "{:<10} {:<8} {:<21} {:<21} {:<21} kid",
            "state", "alg", "published", "activated", "verifies until"
        ),
    ];
    for key in members(ring, "keys") {
        lines.push(format!(
            "{:<10} {:<8} {:<21} {:<21} {:<21} {}",
            text(key, "state"),
            text(key, "algorithm"),
            moment(key, "published_at"),
            moment(key, "activated_at"),
            moment(key, "verify_until"),
            text(key, "kid"),
        ));
    }
    lines.join("\n")
}

/// Every ring in a line.
pub(super) fn status(status: &Value) -> String {
    let mut lines = vec![format!(
        "{:<8} {:>6}  {:<21} {:<30} kid that signs",
        "ring", "seq", "signs since", "a rotation"
    )];
    for ring in members(status, "rings") {
        let active = members(ring, "keys").find(|key| text(key, "state") == "active");
        let active = active.unwrap_or(&Value::Null);
        lines.push(format!(
            "{:<8} {:>6}  {:<21} {:<30} {}",
            text(ring, "ring"),
            text(ring, "seq"),
            moment(active, "activated_at"),
            readiness(ring),
            text(active, "kid"),
        ));
    }
    lines.push(String::new());
    for ring in RingName::ALL {
        lines.push(format!("{:<8} signs {}", ring.as_str(), ring.purpose()));
    }
    lines.join("\n")
}

/// What a rotation of the ring would wait for.
fn readiness(ring: &Value) -> String {
    let behind: Vec<&str> = members(ring, "gateways_behind")
        .filter_map(Value::as_str)
        .collect();
    match ring.get("rotatable_in_s").and_then(Value::as_u64) {
        None => "has no standby".to_owned(),
        Some(0) if behind.is_empty() => "is possible".to_owned(),
        Some(0) => format!("waits for {}", behind.join(", ")),
        Some(seconds) => format!("is possible in {seconds} s"),
    }
}

/// What was done to a ring.
pub(super) fn history(history: &Value) -> String {
    let mut lines = vec![format!("{:<21} {:<24} {:<22} kid", "when", "who", "what")];
    for event in members(history, "events") {
        let action = text(event, "action");
        let mut line = format!(
            "{:<21} {:<24} {:<22} {}",
            moment(event, "at"),
            text(event, "actor"),
            action
                .trim_start_matches("signing_key.")
                .trim_start_matches("kek."),
            text(event, "kid"),
        );
        if let Some(reason) = event.get("reason").and_then(Value::as_str) {
            line.push_str("  because: ");
            line.push_str(reason);
        }
        lines.push(line);
    }
    lines.join("\n")
}

/// A rotation that has happened.
pub(super) fn rotation(rotation: &Value) -> String {
    format!(
        "rotated ring {} to sequence {}\n  signs now     {}\n  verifies for {} s more  {}\n  signs next    {}",
        text(rotation, "ring"),
        text(rotation, "seq"),
        text(rotation, "active"),
        text(rotation, "verifies_for_s"),
        text(rotation, "retiring"),
        text(rotation, "standby"),
    )
}

/// A key that was revoked or aborted.
pub(super) fn ended(ended: &Value) -> String {
    let is_new = ended.get("changed") == Some(&Value::Bool(true));
    format!(
        "{} of ring {} {} {}\n  signs now     {}\n  signs next    {}",
        text(ended, "kid"),
        text(ended, "ring"),
        if is_new { "is" } else { "was already" },
        text(ended, "state"),
        text(ended, "active"),
        ended
            .get("standby")
            .and_then(Value::as_str)
            .unwrap_or("no key yet: one is made as soon as what keeps the key-encryption key answers"),
    )
}

/// A key that was called back.
pub(super) fn reinstatement(reinstatement: &Value) -> String {
    format!(
        "{} of ring {} is published again, and takes over by itself when it has been for {} s and every live gateway knows",
        text(reinstatement, "kid"),
        text(reinstatement, "ring"),
        text(reinstatement, "takes_over_in_s"),
    )
}

/// The versions of the key-encryption key.
pub(super) fn keks(keks: &Value) -> String {
    let mut lines = vec![format!(
        "{:>7}  {:<9} {:<12} {:>12}  {:<21} retired",
        "version", "state", "in settings", "sealed keys", "made"
    )];
    for kek in members(keks, "keks") {
        let in_settings = kek.get("in_settings") == Some(&Value::Bool(true));
        lines.push(format!(
            "{:>7}  {:<9} {:<12} {:>12}  {:<21} {}",
            text(kek, "version"),
            text(kek, "state"),
            if in_settings { "yes" } else { "no" },
            text(kek, "sealed_keys"),
            moment(kek, "created_at"),
            moment(kek, "retired_at"),
        ));
        if let Some(place) = kek.get("place").and_then(Value::as_str) {
            lines.push(format!("{:>7}  stays at {place}", ""));
        }
    }
    lines.join("\n")
}

fn members<'d>(document: &'d Value, name: &str) -> impl Iterator<Item = &'d Value> + use<'d> {
    document.get(name).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn access() -> Value {
        json!({"ring": "access", "seq": 3, "rotatable_in_s": 0, "gateways_behind": ["edge-1", "edge-2"], "keys": [
            {"kid": "k1", "state": "active", "algorithm": "EdDSA", "published_at": "2026-01-31T10:15:00.123456Z",
             "activated_at": "2026-01-31T10:15:00Z", "verify_until": null}]})
    }

    #[test]
    fn a_key_without_a_time_shows_a_dash() {
        let table = ring(&access());
        assert!(
            table.contains("active     EdDSA    2026-01-31T10:15:00Z  2026-01-31T10:15:00Z  -"),
            "{table}"
        );
    }

    #[test]
    fn a_ring_says_what_its_rotation_waits_for() {
        let table = status(&json!({"rings": [access()]}));
        assert!(table.contains("waits for edge-1, edge-2"), "{table}");
        for (seconds, words) in [
            (json!(12), "is possible in 12 s"),
            (json!(null), "has no standby"),
        ] {
            let mut ring = access();
            ring["rotatable_in_s"] = seconds;
            assert_eq!(readiness(&ring), words);
        }
    }

    #[test]
    fn an_event_shows_its_reason_where_there_is_one() {
        let event = |reason: Value| {
            json!({"events": [{"at": "2026-01-31T10:15:00.5Z", "actor": "operator:ada",
                               "action": "signing_key.revoked", "kid": "k1", "reason": reason}]})
        };
        let told = history(&event(json!("found in a dump")));
        assert!(
            told.ends_with("2026-01-31T10:15:00Z  operator:ada             revoked                k1  because: found in a dump"),
            "{told}"
        );
        assert!(history(&event(Value::Null)).ends_with("k1"));
    }

    #[test]
    fn doing_it_twice_reads_otherwise() {
        let said = |changed: bool| {
            ended(
                &json!({"ring": "access", "kid": "k1", "state": "revoked", "changed": changed, "active": "k2", "standby": "k3"}),
            )
        };
        assert!(said(true).starts_with("k1 of ring access is revoked\n"));
        assert!(said(false).starts_with("k1 of ring access was already revoked\n"));
        let alone = ended(&json!({"ring": "access", "kid": "k1", "active": "k2", "standby": null}));
        assert!(alone.contains("signs next    no key yet"), "{alone}");
    }
}
