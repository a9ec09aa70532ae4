//! Checks of a running system.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::Method;
use serde_json::Value;

use super::Finding;
use crate::data_directory::DataDirectory;
use crate::http_client::{self, Address};
use crate::keys;
use crate::up::Endpoints;

const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A key that has signed for longer than this should be rotated.
const OLD_KEY_DAYS: i64 = 90;

pub(super) async fn look_at(directory: &DataDirectory, endpoints: &Endpoints) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (service, metrics) in &endpoints.metrics {
        findings.push(service_is_ready(service, metrics).await);
    }
    findings.push(signing_keys(directory).await);
    findings
}

async fn service_is_ready(service: &str, metrics: &str) -> Finding {
    let what = "services";
    let restart = "look into its log in logs/ of the data directory, or start `portico up` again";
    let address = metrics
        .trim_start_matches("http://")
        .trim_end_matches("/metrics")
        .parse();
    let Ok(address) = address else {
        return Finding::fail(what, format!("{service}: {metrics} is no address"), restart);
    };
    match http_client::request(
        &Address::Port(address),
        Method::GET,
        "/health/ready",
        ANSWER_WITHIN,
    )
    .await
    {
        Ok(answer) if answer.status.is_success() => Finding::ok(what, format!("{service} is ready")),
        Ok(answer) => Finding::fail(
            what,
            format!(
                "{service} is not ready: {}",
                String::from_utf8_lossy(&answer.body)
            ),
            restart,
        ),
        Err(error) => Finding::fail(what, format!("{service}: {error:#}"), restart),
    }
}

async fn signing_keys(directory: &DataDirectory) -> Finding {
    let what = "keys";
    match keys::ring(directory).await {
        Ok(ring) => age_of_the_active_key(&ring),
        Err(error) => Finding::fail(what, format!("{error:#}"), "is the control plane running?"),
    }
}

fn age_of_the_active_key(ring: &Value) -> Finding {
    let what = "keys";
    let moment = |document: &Value, name: &str| -> Option<DateTime<Utc>> {
        document.get(name).and_then(Value::as_str)?.parse().ok()
    };
    let of_state = |state: &str| {
        let keys = ring.get("keys").and_then(Value::as_array).into_iter().flatten();
        keys.filter(|key| key.get("state").and_then(Value::as_str) == Some(state))
            .collect::<Vec<_>>()
    };
    let active = of_state("active");
    let age = active
        .first()
        .and_then(|key| Some(moment(ring, "now")? - moment(key, "activated_at")?));
    let Some(age) = age else {
        return Finding::fail(
            what,
            "no key is active, so nobody can log in",
            "portico keys list",
        );
    };
    if of_state("published").is_empty() {
        return Finding::fail(
            what,
            "no standby is published, so no rotation is possible",
            "portico keys list",
        );
    }
    let detail = format!(
        "the active key has signed for {} days, a standby is published",
        age.num_days()
    );
    if age.num_days() > OLD_KEY_DAYS {
        Finding::warn(what, detail, "portico keys rotate")
    } else {
        Finding::ok(what, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Grade;
    use serde_json::json;

    fn ring(activated_at: &str, states: &[&str]) -> Value {
        let keys: Vec<Value> = states
            .iter()
            .map(|state| json!({"state": state, "activated_at": activated_at}))
            .collect();
        json!({"now": "2026-06-01T00:00:00Z", "keys": keys})
    }

    #[test]
    fn keys_are_graded_by_what_an_operator_should_do() {
        let grade = |at: &str, states: &[&str]| age_of_the_active_key(&ring(at, states)).grade;
        assert_eq!(grade("2026-05-30T00:00:00Z", &["published", "active"]), Grade::Ok);
        assert_eq!(
            grade("2026-01-01T00:00:00Z", &["published", "active"]),
            Grade::Warn
        );
        assert_eq!(grade("2026-05-30T00:00:00Z", &["active"]), Grade::Fail);
        assert_eq!(grade("2026-05-30T00:00:00Z", &["published"]), Grade::Fail);
    }
}
