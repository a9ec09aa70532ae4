//! Back to what was in force, what went out before, and what is in memory.

use super::*;

pub(super) async fn until_done(plane: &Plane) {
    for _ in 0..6 {
        for (node, at) in plane.told(|_| true).await {
            plane
                .acknowledge(&node, if at.ends_with('~') { "active" } else { "healthy" })
                .await;
        }
        plane.step().await;
    }
    assert_eq!(plane.phase().await, "done");
}

/// The change by which gateways went back, says the refusal to go further.
async fn went_back(plane: &Plane) -> String {
    let (status, refused) = plane
        .call("POST", "/internal/policies/rollback", json!({"author": "ada"}))
        .await;
    assert_eq!(
        (status, refused["type"].as_str().unwrap().ends_with(":went-back")),
        (StatusCode::CONFLICT, true),
        "{refused}"
    );
    refused["change_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_rollback_is_a_new_position_with_old_content_for_all_at_once() {
    let plane = Plane::start().await;
    plane.join(&["edge-1", "edge-2"]).await;
    plane.first().await;
    let (status, _) = plane
        .call("POST", "/internal/policies/rollback", json!({"author": "ada"}))
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND, "nothing was in force before");
    plane
        .publish(publication("tighter", &bundle("90/min"), &[]))
        .await;
    until_done(&plane).await;

    let (status, back) = plane
        .call("POST", "/internal/policies/rollback", json!({"author": "ada"}))
        .await;
    assert_eq!(
        (status, &back["kind"], &back["position"]),
        (StatusCode::OK, &json!("rollback"), &json!("1.3")),
        "{back}"
    );
    let (status, same) = plane
        .call("POST", "/internal/policies/rollback", json!({"author": "ada"}))
        .await;
    assert_eq!(
        (status, &same["position"]),
        (StatusCode::OK, &json!("1.3")),
        "asked twice, done once: {same}"
    );
    assert_eq!(plane.told(|at| at == "1.3").await.len(), 2);
    assert_eq!(plane.content(3).await, plane.content(1).await);
    until_done(&plane).await;
    assert_eq!(plane.status().await["in_force"], "1.3");
    // Asked again when it is done, the bad one does not come back.
    assert!(went_back(&plane).await.starts_with("rollback-to-1.1"));
    assert_eq!(plane.status().await["in_force"], "1.3");

    let to = json!({"author": "ada", "to": "1.2"});
    let (status, forth) = plane.call("POST", "/internal/policies/rollback", to).await;
    assert_eq!(
        (status, &forth["position"]),
        (StatusCode::OK, &json!("1.4")),
        "{forth}"
    );
    let (_, history) = plane.call("GET", "/internal/policies/history", Value::Null).await;
    let kinds: Vec<_> = history["rollouts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["rollback", "rollback", "publish", "publish"]);
}

/// What is in force is what everybody goes back to: the halt is all that it takes, and it stays.
#[tokio::test]
async fn a_rollback_to_what_is_in_force_halts_what_is_under_way() {
    let plane = Plane::start().await;
    plane.join(&["edge-1", "edge-2"]).await;
    plane.first().await;
    let back = json!({"author": "ada", "to": "1.1"});
    let (status, _) = plane
        .call("POST", "/internal/policies/rollback", back.clone())
        .await;
    assert_eq!(
        status,
        StatusCode::CONFLICT,
        "nothing is under way, and it is in force"
    );
    plane
        .publish(publication("tighter", &bundle("90/min"), &["canary", "all"]))
        .await;
    let (status, halted) = plane
        .call("POST", "/internal/policies/rollback", back.clone())
        .await;
    assert_eq!(
        (status, &halted["change_id"], &halted["phase"]),
        (StatusCode::OK, &json!("tighter"), &json!("halted")),
        "{halted}"
    );
    assert_eq!(plane.phase().await, "halted");
    assert_eq!(plane.content(3).await, plane.content(1).await);
}

#[tokio::test]
async fn a_rollback_that_is_asked_twice_begins_once() {
    let plane = Plane::start().await;
    plane.join(&["edge-1"]).await;
    plane.first().await;
    plane
        .publish(publication("tighter", &bundle("90/min"), &["all"]))
        .await;
    until_done(&plane).await;
    let back = json!({"author": "ada", "to": "1.1"});
    for _ in 0..2 {
        let (status, begun) = plane
            .call("POST", "/internal/policies/rollback", back.clone())
            .await;
        assert_eq!(
            (status, &begun["position"]),
            (StatusCode::OK, &json!("1.3")),
            "{begun}"
        );
    }
    // Somewhere else: the one under way is halted.
    let (status, begun) = plane
        .call(
            "POST",
            "/internal/policies/rollback",
            json!({"author": "ada", "to": "1.2"}),
        )
        .await;
    assert_eq!(
        (status, &begun["phase"]),
        (StatusCode::OK, &json!("halted")),
        "what it replaced is in force again: {begun}"
    );
}

/// Somebody rolls back a moment after the roll-out was halted by itself, in whatever phase: one step back is enough.
#[tokio::test]
async fn a_rollback_that_comes_after_a_halt_goes_no_further_back() {
    for phases in [["shadow", "all"], ["canary", "all"]] {
        let plane = Plane::start().await;
        plane.join(&["edge-1", "edge-2"]).await;
        plane.first().await;
        plane
            .publish(publication("good", &bundle("90/min"), &["all"]))
            .await;
        until_done(&plane).await;
        plane
            .publish(publication("bad", &bundle("80/min"), &phases))
            .await;
        let halt = json!({"reason": "customers call"});
        plane.call("POST", "/internal/policies/halt", halt).await;
        let in_force = plane.status().await["in_force"].clone();
        assert_eq!(went_back(&plane).await, "bad");
        assert_eq!(plane.status().await["in_force"], in_force, "{phases:?}");
    }
}

/// Everything is refused while gateways go back, as before: that is why they do.
#[tokio::test]
async fn a_rollback_ends_an_incident_however_much_fails_meanwhile() {
    let plane = Plane::with(|policies| {
        policies.rules.bake_s = 300;
        policies.rules.evidence_s = 3_600;
    })
    .await;
    let nodes = ["edge-1", "edge-2", "edge-3"];
    plane.join(&nodes).await;
    in_force_after_hours(&plane, "good", &bundle("100/min")).await;
    in_force_after_hours(&plane, "bad", &bundle("90/min")).await;
    for node in nodes {
        plane.beat(node, "boot-1", [1_000, 600, 700]).await;
    }
    let rollback = json!({"author": "ada"});
    let (status, back) = plane
        .call("POST", "/internal/policies/rollback", rollback.clone())
        .await;
    assert_eq!(status, StatusCode::OK, "{back}");
    // Of two that hear of it one is slow, and the third is dead.
    plane
        .run("UPDATE control.node SET last_heartbeat_at = clock_timestamp() - interval '1 minute' WHERE name = 'edge-3'")
        .await;
    plane.acknowledge("edge-1", "healthy").await;
    for node in &nodes[..2] {
        plane.beat(node, "boot-1", [3_000, 2_500, 2_600]).await;
        plane.step().await;
    }
    let status = plane.status().await;
    assert_eq!(status["rollout"]["why"], "edge-2 is not healthy yet", "{status}");
    plane.acknowledge("edge-2", "healthy").await;
    plane
        .run("UPDATE control.rollout SET watching_since = watching_since - interval '1 minute' WHERE ended_at IS NULL")
        .await;
    plane.step().await;
    let status = plane.status().await;
    assert_eq!(
        (&status["rollout"]["phase"], &status["in_force"]),
        (&json!("done"), &json!("1.3")),
        "{status}"
    );
    assert_eq!(plane.content(3).await, plane.content(1).await);
}

/// Publishes a policy and lets it come into force, as if its phases had been watched for as long as they are.
async fn in_force_after_hours(plane: &Plane, change_id: &str, text: &str) {
    plane.publish(publication(change_id, text, &["all"])).await;
    plane.heal().await;
    plane.step().await;
    plane
        .run("UPDATE control.rollout SET watched_ms = 4000000 WHERE ended_at IS NULL")
        .await;
    plane.step().await;
    assert_eq!(plane.phase().await, "done");
}

/// What the old policy refused while the new one was on its way is not what the new one refuses.
#[tokio::test]
async fn a_policy_that_ends_an_incident_is_not_charged_with_it() {
    let plane = Plane::with(|policies| policies.rules.bake_s = 300).await;
    plane.join(&["edge-1", "edge-2"]).await;
    in_force_after_hours(&plane, "bad", &bundle("90/min")).await;
    for node in ["edge-1", "edge-2"] {
        plane.beat(node, "boot-1", [1_000, 0, 300]).await;
    }
    let mut fix = publication("fix", &bundle("100/min"), &["all"]);
    fix["denials_fall"] = json!(1_000);
    plane.publish(fix).await;
    // The incident grows until the fix is there.
    for node in ["edge-1", "edge-2"] {
        plane.beat(node, "boot-1", [3_000, 0, 2_200]).await;
    }
    plane.step().await;
    plane.heal().await;
    for requests in [3_100, 5_000] {
        for node in ["edge-1", "edge-2"] {
            plane.beat(node, "boot-1", [requests, 0, 2_300]).await;
        }
        plane.step().await;
    }
    assert_eq!(plane.phase().await, "all");
    // What it refuses itself counts.
    for node in ["edge-1", "edge-2"] {
        plane.beat(node, "boot-1", [7_000, 0, 4_300]).await;
    }
    plane.step().await;
    assert_eq!(plane.phase().await, "halted");
}

/// A rollback that somebody halts has gone nowhere, and can be asked for again.
#[tokio::test]
async fn a_rollback_that_was_halted_can_be_asked_for_again() {
    let plane = Plane::start().await;
    plane.join(&["edge-1", "edge-2"]).await;
    plane.first().await;
    plane
        .publish(publication("bad", &bundle("90/min"), &["all"]))
        .await;
    until_done(&plane).await;
    let rollback = json!({"author": "ada"});
    for _ in 0..2 {
        let (status, back) = plane
            .call("POST", "/internal/policies/rollback", rollback.clone())
            .await;
        assert_eq!(
            (status, &back["kind"]),
            (StatusCode::OK, &json!("rollback")),
            "{back}"
        );
        let halt = json!({"reason": "not yet"});
        assert_eq!(
            plane.call("POST", "/internal/policies/halt", halt).await.0,
            StatusCode::OK
        );
    }
}

#[tokio::test]
async fn an_operator_halts_what_is_under_way() {
    let plane = Plane::start().await;
    plane.join(&["edge-1", "edge-2"]).await;
    plane.first().await;
    let halt = json!({"reason": "customers call"});
    assert_eq!(
        plane
            .call("POST", "/internal/policies/halt", halt.clone())
            .await
            .0,
        StatusCode::NOT_FOUND
    );
    plane
        .publish(publication("tighter", &bundle("90/min"), &["canary", "all"]))
        .await;
    let (status, halted) = plane.call("POST", "/internal/policies/halt", halt).await;
    assert_eq!(
        (status, &halted["why"]),
        (StatusCode::OK, &json!("operator:ada: customers call")),
        "{halted}"
    );
    assert_eq!(
        (plane.told(|_| true).await, &plane.status().await["in_force"]),
        (Vec::new(), &json!("1.3"))
    );
    // History does not change, not even by its owner.
    let changed = plane
        .owner
        .execute("UPDATE control.rollout SET phase = 'done', why = NULL WHERE change_id = 'tighter'")
        .await;
    assert!(changed.is_err());
}

#[tokio::test]
async fn drift_is_what_is_in_memory_and_not_what_was_said() {
    let plane = Plane::start().await;
    plane.join(&["edge-1", "edge-2", "edge-3"]).await;
    plane.first().await;
    let row = plane
        .row("SELECT digest FROM control.statement WHERE stream = 'policy'")
        .await;
    let digest = fleet::Digest::from(<[u8; 32]>::try_from(row.get::<Vec<u8>, _>(0)).unwrap());
    let files = [
        ("bank.yaml", bundle("100/min")),
        ("environments/test.yaml", OVERLAY.to_owned()),
    ]
    .map(|(name, text)| policy::SourceFile::new(name, text));
    let right = policy::compile(&files, "test").unwrap().hash().to_owned();
    for (node, fingerprint) in [("edge-1", right.as_str()), ("edge-2", "something else")] {
        let mut beat = heartbeat("boot-1", [0, 0, 0], &Value::Null);
        beat["active"] =
            json!([{"stream": "policy", "position": "1.1", "digest": digest, "fingerprint": fingerprint}]);
        plane.say(node, "/fleet/v1/heartbeats", beat).await;
    }
    let (status, drift) = plane.call("GET", "/internal/policies/drift", Value::Null).await;
    assert_eq!(
        (status, &drift["drifted"]),
        (StatusCode::OK, &json!(1)),
        "{drift}"
    );
    let states: Vec<_> = drift["gateways"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["same", "drifted", "pending"]);
    assert_eq!(drift["gateways"][0]["expected"], right.as_str());
}
