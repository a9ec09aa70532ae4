//! Gateways of other versions: nothing is published that a live one could not read.

use http::StatusCode;
use serde_json::{Value, json};

use super::{Plane, bundle, heartbeat, publication};

impl Plane {
    /// A gateway of this version lives.
    async fn join_as(&self, node: &str, version: &str) {
        let mut said = heartbeat("boot-1", [0, 0, 0], &Value::Null);
        said["version"] = version.into();
        self.say(node, "/fleet/v1/heartbeats", said).await;
    }
}

#[tokio::test]
async fn a_policy_waits_until_every_live_gateway_can_read_it() {
    let plane = Plane::start().await;
    plane.first().await;
    plane.join_as("edge-1", "0.1.0").await;
    plane.join_as("edge-2", "0.0.9").await;
    let change = || publication("second", &bundle("200/min"), &["canary", "all"]);
    let (status, plan) = plane.call("POST", "/internal/policies/plan", change()).await;
    assert_eq!(status, StatusCode::OK, "{plan}");
    assert_eq!(plan["min_version"], "0.1.0");
    assert_eq!(plan["too_old"], json!([{"name": "edge-2", "version": "0.0.9"}]));

    let (status, refused) = plane.call("POST", "/internal/policies", change()).await;
    assert_eq!(
        (status, &refused["type"]),
        (
            StatusCode::CONFLICT,
            &json!("urn:portico:problem:gateway-too-old")
        )
    );
    let detail = refused["detail"].as_str().unwrap();
    assert!(
        detail.contains("edge-2 (0.0.9)") && !detail.contains("edge-1"),
        "{detail}"
    );
    let stated = "SELECT count(*) FROM control.statement WHERE stream = 'policy'";
    assert_eq!(plane.number(stated).await, 1, "nothing was signed");

    plane.join_as("edge-2", "0.1.0").await;
    plane.publish(change()).await;
    let row = plane.envelope(2).await;
    let envelope = fleet::Envelope::parse(&row).unwrap();
    let statement: fleet::Statement = serde_json::from_slice(&envelope.payload).unwrap();
    assert_eq!(statement.min_version, fleet::Version::FIRST);
}

#[tokio::test]
async fn what_does_harm_is_taken_back_whoever_is_too_old_for_what_was_before() {
    let plane = Plane::start().await;
    plane.first().await;
    plane.join(&["edge-1"]).await;
    plane
        .publish(publication("second", &bundle("200/min"), &["canary", "all"]))
        .await;
    plane.join_as("edge-2", "0.0.9").await;
    let (status, halted) = plane
        .call("POST", "/internal/policies/rollback", json!({"author": "ada"}))
        .await;
    assert_eq!(
        (status, &halted["phase"]),
        (StatusCode::OK, &json!("halted")),
        "{halted}"
    );
    let (status, refused) = plane
        .call(
            "POST",
            "/internal/policies/rollback",
            json!({"author": "ada", "to": "1.2"}),
        )
        .await;
    assert_eq!(
        (status, &refused["type"]),
        (
            StatusCode::CONFLICT,
            &json!("urn:portico:problem:gateway-too-old")
        ),
        "{refused}"
    );
}
