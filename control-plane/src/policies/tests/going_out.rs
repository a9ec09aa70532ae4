//! A good policy goes out, phase by phase, and only a good one.

use super::*;

const FIVE: [&str; 5] = ["edge-1", "edge-2", "edge-3", "edge-4", "edge-5"];

#[tokio::test]
async fn a_good_policy_is_tried_then_goes_to_one_to_a_quarter_and_to_all() {
    let plane = Plane::start().await;
    plane.join(&FIVE).await;
    plane.first().await;
    let begun = plane
        .publish(publication("tighter", &bundle("90/min"), &[]))
        .await;
    assert_eq!(
        (&begun["phase"], &begun["position"]),
        (&json!("shadow"), &json!("1.2"))
    );
    let tried = plane.told(|_| true).await;
    assert!(tried.len() == 1 && tried[0].1 == "1.2~", "{tried:?}");

    plane.step().await;
    assert_eq!(plane.phase().await, "shadow", "it has not said that it tries it");
    plane.acknowledge(&tried[0].0, "active").await;
    plane.step().await;
    let canary = plane.told(|_| true).await;
    assert_eq!(canary, [(tried[0].0.clone(), "1.2".to_owned())]);
    plane.acknowledge(&tried[0].0, "active").await;
    plane.step().await;
    assert_eq!(plane.phase().await, "canary", "in force is not proven");
    assert_eq!(
        plane.status().await["rollout"]["why"],
        format!("{} is not healthy yet", tried[0].0)
    );

    for (phase, gateways) in [("quarter", 2), ("all", 5)] {
        plane.heal().await;
        plane.step().await;
        assert_eq!(
            (
                plane.phase().await.as_str(),
                plane.told(|at| at == "1.2").await.len()
            ),
            (phase, gateways)
        );
        assert_eq!(plane.status().await["in_force"], "1.1", "not for whoever joins");
    }
    plane.heal().await;
    plane.step().await;
    let status = plane.status().await;
    assert_eq!(
        (&status["in_force"], &status["rollout"]["phase"]),
        (&json!("1.2"), &json!("done"))
    );
    assert_eq!(
        plane.told(|_| true).await,
        [],
        "nobody is told anything of its own"
    );
    let events = "SELECT count(*) FROM control.fleet_event WHERE subject LIKE 'tighter at 1.2%'";
    assert_eq!(plane.number(events).await, 5, "published, three phases, in force");
}

#[tokio::test]
async fn a_phase_is_watched_for_its_time() {
    let plane = Plane::with(|policies| policies.rules.bake_s = 300).await;
    plane.join(&["edge-1"]).await;
    plane
        .publish(publication("first", &bundle("100/min"), &["all"]))
        .await;
    plane.heal().await;
    plane.step().await;
    let why = plane.status().await["rollout"]["why"].clone();
    assert!(why.as_str().unwrap().ends_with("s of watching are left"), "{why}");
    plane.run("UPDATE control.rollout SET watched_ms = 300000").await;
    plane.step().await;
    assert_eq!(plane.phase().await, "done");
}

#[tokio::test]
async fn a_phase_that_has_seen_nobody_is_watched_longer_and_goes_on_without() {
    let plane = Plane::with(|policies| policies.rules.evidence_s = 3_600).await;
    plane.join(&["edge-1", "edge-2"]).await;
    plane
        .publish(publication("first", &bundle("100/min"), &["canary", "all"]))
        .await;
    plane.heal().await;
    plane.join(&["edge-1", "edge-2"]).await;
    plane.step().await;
    let why = plane.status().await["rollout"]["why"].clone();
    let why = why.as_str().unwrap();
    assert!(why.starts_with("0 of 200 requests were seen"), "{why}");
    for node in ["edge-1", "edge-2"] {
        plane.beat(node, "boot-1", [200, 0, 0]).await;
    }
    plane.step().await;
    assert_eq!(plane.phase().await, "all", "enough was seen");
    plane.heal().await;
    plane.step().await;
    assert_eq!(plane.phase().await, "all");
    plane.run("UPDATE control.rollout SET watched_ms = 3600000").await;
    plane.step().await;
    assert_eq!(plane.phase().await, "done", "nobody came");
}

#[tokio::test]
async fn what_does_not_compile_fails_its_cases_or_is_weak_goes_nowhere() {
    let plane = Plane::with(|policies| policies.audit_fail_on = AuditSeverity::High).await;
    plane.join(&["edge-1"]).await;
    let good = bundle("100/min");
    let failing = CASES.replace("permit, serve: live", "deny, status: 403");
    let mut with_failing_cases = publication("two", &good, &[]);
    with_failing_cases["cases"][0]["text"] = json!(failing);
    for (change, check) in [
        (
            publication("one", &good.replace("burst", "brust"), &[]),
            "compiler",
        ),
        (with_failing_cases, "cases"),
        (publication("three", &good, &[]), "audit"),
    ] {
        let (status, body) = plane.call("POST", "/internal/policies", change).await;
        assert_eq!(
            (status, &body["check"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!(check)),
            "{body}"
        );
        let finding = &body["findings"][0];
        assert!(
            finding["line"].as_u64().unwrap() > 0 && finding["file"].is_string(),
            "{body}"
        );
    }
    assert_eq!(
        plane
            .number("SELECT count(*) FROM control.statement WHERE stream = 'policy'")
            .await,
        0
    );
    assert_eq!(plane.told(|_| true).await, []);
}

#[tokio::test]
async fn a_change_goes_out_once_and_one_change_at_a_time() {
    let plane = Plane::start().await;
    plane.join(&FIVE).await;
    plane.first().await;
    let change = publication("tighter", &bundle("90/min"), &[]);
    let begun = plane.publish(change.clone()).await;
    assert_eq!(
        plane.publish(change).await["position"],
        begun["position"],
        "the same answer"
    );
    let (status, body) = plane
        .call(
            "POST",
            "/internal/policies",
            publication("tighter", &bundle("80/min"), &[]),
        )
        .await;
    assert_eq!(
        (status, body["type"].as_str().unwrap().ends_with("change-taken")),
        (StatusCode::CONFLICT, true),
        "{body}"
    );
    let (status, body) = plane
        .call(
            "POST",
            "/internal/policies",
            publication("other", &bundle("80/min"), &[]),
        )
        .await;
    assert_eq!(
        (status, &body["change_id"]),
        (StatusCode::CONFLICT, &json!("tighter")),
        "{body}"
    );
    assert_eq!(
        plane
            .number("SELECT count(*) FROM control.statement WHERE stream = 'policy'")
            .await,
        2
    );

    for (edit, word) in [("environment", "production"), ("change_id", "-x"), ("author", "")] {
        let mut wrong = publication("other", &bundle("80/min"), &[]);
        wrong[edit] = json!(word);
        assert_eq!(
            plane.call("POST", "/internal/policies", wrong).await.0,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{edit}"
        );
    }
    for phases in [
        &["canary"][..],
        &["all", "canary"],
        &["canary", "canary", "all"],
        &["done"],
    ] {
        let wrong = publication("other", &bundle("80/min"), phases);
        assert_eq!(
            plane.call("POST", "/internal/policies", wrong).await.0,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{phases:?}"
        );
    }
}

#[tokio::test]
async fn a_plan_says_what_would_happen_and_does_nothing() {
    let plane = Plane::with(|policies| policies.approval_from = Some(policy::diff::Risk::Medium)).await;
    plane.join(&FIVE).await;
    let (status, plan) = plane
        .call(
            "POST",
            "/internal/policies/plan",
            publication("first", &bundle("100/min"), &[]),
        )
        .await;
    assert_eq!(status, StatusCode::OK, "{plan}");
    assert_eq!(
        (&plan["risk"], &plan["cases"], &plan["in_force"]),
        (&json!("critical"), &json!(1), &Value::Null)
    );
    assert_eq!(plan["approval_because"], "it is the first policy of this fleet");
    let sizes: Vec<usize> = plan["phases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|phase| phase["gateways"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [1, 1, 2, 5]);
    assert_eq!(
        plane
            .number("SELECT count(*) FROM control.statement WHERE stream = 'policy'")
            .await,
        0
    );
}

#[tokio::test]
async fn who_joins_in_the_middle_gets_the_old_policy_until_all_get_the_new_one() {
    let plane = Plane::start().await;
    plane.join(&FIVE).await;
    plane.first().await;
    plane
        .publish(publication("tighter", &bundle("90/min"), &["canary", "all"]))
        .await;
    plane.join(&["edge-6"]).await;
    plane.step().await;
    let told = plane.told(|_| true).await;
    assert!(told.len() == 1 && told[0].0 != "edge-6", "{told:?}");
    plane.heal().await;
    plane.step().await;
    assert_eq!(plane.told(|at| at == "1.2").await.len(), 6);
    plane.join(&["edge-7"]).await;
    plane.step().await;
    assert_eq!(
        plane.told(|at| at == "1.2").await.len(),
        7,
        "in the last phase it is told as well"
    );
    plane.heal().await;
    plane.step().await;
    assert_eq!(plane.phase().await, "done");
}

#[tokio::test]
async fn a_gateway_with_a_directory_of_its_own_is_in_no_phase() {
    let plane = Plane::start().await;
    plane.join(&["edge-1"]).await;
    let mut own = heartbeat("boot-1", [0, 0, 0], &Value::Null);
    own["active"] =
        json!([{"stream": "policy", "position": null, "digest": null, "fingerprint": "from-a-directory"}]);
    plane.say("edge-2", "/fleet/v1/heartbeats", own).await;
    plane
        .publish(publication("first", &bundle("100/min"), &["all"]))
        .await;
    assert_eq!(
        plane.told(|_| true).await,
        [("edge-1".to_owned(), "1.1".to_owned())]
    );
    plane.heal().await;
    plane.step().await;
    assert_eq!(plane.phase().await, "done");
}

#[tokio::test]
async fn without_a_gateway_the_first_policy_waits_for_the_first() {
    let plane = Plane::start().await;
    plane.publish(publication("first", &bundle("100/min"), &[])).await;
    plane.step().await;
    assert_eq!(plane.status().await["in_force"], "1.1");
}

#[tokio::test]
async fn the_policy_in_force_is_signed_anew_before_it_expires() {
    let plane = Plane::start().await;
    plane.join(&["edge-1"]).await;
    plane.first().await;
    plane.step().await;
    assert_eq!(plane.status().await["in_force"], "1.1");
    plane.half_of_its_time_passes(1).await;
    plane.step().await;
    assert_eq!(plane.status().await["in_force"], "1.2");
    assert_eq!(plane.content(2).await, plane.content(1).await);
    plane.step().await;
    assert_eq!(plane.status().await["in_force"], "1.2", "once");
}

impl Plane {
    /// Statements cannot be changed, so the validity of this one is moved as the database's owner.
    async fn half_of_its_time_passes(&self, seq: i64) {
        self.run(&format!(
            "ALTER TABLE control.statement DISABLE TRIGGER statement_no_change;
             UPDATE control.statement SET created_at = created_at - interval '4 days', expires_at = expires_at - interval '4 days'
              WHERE seq = {seq};
             ALTER TABLE control.statement ENABLE ALWAYS TRIGGER statement_no_change;"
        ))
        .await;
    }
}

/// What was halted in shadow is the newest that was stated, and in force nowhere.
#[tokio::test]
async fn the_age_of_the_policy_in_force_counts_and_not_that_of_a_newer_one_that_was_halted() {
    let plane = Plane::start().await;
    plane.join(&["edge-1"]).await;
    plane.first().await;
    plane
        .publish(publication("tighter", &bundle("90/min"), &["shadow", "all"]))
        .await;
    let halt = json!({"reason": "to see"});
    let (status, halted) = plane.call("POST", "/internal/policies/halt", halt).await;
    assert_eq!(status, StatusCode::OK, "{halted}");
    plane.half_of_its_time_passes(2).await;
    plane.step().await;
    assert_eq!(
        plane.status().await["in_force"],
        "1.1",
        "it is as young as it was"
    );

    plane.half_of_its_time_passes(1).await;
    plane.step().await;
    assert_eq!(plane.status().await["in_force"], "1.3");
    assert_eq!(plane.content(3).await, plane.content(1).await);
    plane.step().await;
    assert_eq!(plane.status().await["in_force"], "1.3", "once");
}
