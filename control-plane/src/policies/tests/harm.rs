//! The first sign of harm halts a roll-out: one gateway was touched, and it gets the old policy back.

use super::*;

const FIVE: [&str; 5] = ["edge-1", "edge-2", "edge-3", "edge-4", "edge-5"];

/// Five gateways of which one has the new policy, 1.2; gives its name.
async fn canary(plane: &Plane, change: Value) -> String {
    plane.join(&FIVE).await;
    plane.first().await;
    plane.publish(change).await;
    let told = plane.told(|at| at == "1.2").await;
    assert_eq!(told.len(), 1);
    told.into_iter().next().unwrap().0
}

fn change() -> Value {
    publication("tighter", &bundle("90/min"), &["canary", "all"])
}

/// The canary has the policy, and what it counts from here on is of that.
async fn serves(plane: &Plane, canary: &str) {
    plane.acknowledge(canary, "active").await;
    plane.beat(canary, "boot-1", [0, 0, 0]).await;
    plane.step().await;
    plane.acknowledge(canary, "healthy").await;
}

async fn is_taken_back(plane: &Plane, canary: &str, why: &str) {
    let status = plane.status().await;
    assert_eq!(status["rollout"]["phase"], "halted", "{status}");
    assert!(
        status["rollout"]["why"].as_str().unwrap().contains(why),
        "{status}"
    );
    let gateways = status["rollout"]["gateways"].as_array().unwrap();
    let had_it: Vec<_> = gateways
        .iter()
        .filter(|gateway| gateway["in_group"] == true)
        .map(|gateway| gateway["name"].as_str().unwrap())
        .collect();
    assert_eq!(had_it, [canary], "one gateway was touched");
    assert_eq!(
        (&status["in_force"], &status["rollout"]["back"]),
        (&json!("1.3"), &json!("1.3"))
    );
    assert_eq!(plane.told(|_| true).await, [], "and stands where all others do");
    assert_eq!(
        plane.content(3).await,
        plane.content(1).await,
        "a new position with the old content"
    );
    plane.step().await;
    assert_eq!(plane.phase().await, "halted", "it goes nowhere from there");
}

#[tokio::test]
async fn an_objection_halts_it_and_what_was_refused_is_not_sent_again() {
    let plane = Plane::start().await;
    let canary = canary(&plane, change()).await;
    plane.acknowledge(&canary, "refused").await;
    plane.step().await;
    is_taken_back(&plane, &canary, "refuses it: routes.yaml:3:1").await;

    let mut again = change();
    again["change_id"] = json!("tighter-2");
    let (status, body) = plane.call("POST", "/internal/policies", again.clone()).await;
    assert_eq!(status, StatusCode::CONFLICT, "{body}");
    again["again"] = json!(true);
    assert_eq!(plane.publish(again).await["position"], "1.4");
}

#[tokio::test]
async fn failures_of_the_canary_halt_it_and_those_of_all_do_not() {
    let plane = Plane::start().await;
    let canary = canary(&plane, change()).await;
    serves(&plane, &canary).await;
    // Everybody fails as often: the service behind is ill, not the policy.
    for node in FIVE {
        plane.beat(node, "boot-1", [1_000, 300, 20]).await;
    }
    let (status, body) = plane.call("GET", "/internal/policies/status", Value::Null).await;
    assert_eq!(
        (status, &body["rollout"]["why"]),
        (StatusCode::OK, &json!("all is next")),
        "{body}"
    );
    plane.beat(&canary, "boot-1", [2_000, 900, 40]).await;
    plane.step().await;
    is_taken_back(&plane, &canary, "450 of 1,000 requests fail, 300 before").await;
}

#[tokio::test]
async fn refusals_beyond_what_was_declared_halt_it() {
    for (denied, declared, halts) in [(60, None, true), (60, Some(40), false), (80, Some(40), true)] {
        let plane = Plane::start().await;
        let mut change = change();
        if let Some(declared) = declared {
            change["denials_rise"] = json!(declared);
        }
        let canary = canary(&plane, change).await;
        serves(&plane, &canary).await;
        for node in FIVE {
            let denied = if node == canary { denied } else { 30 };
            plane.beat(node, "boot-1", [1_000, 0, denied]).await;
        }
        plane.step().await;
        if halts {
            is_taken_back(
                &plane,
                &canary,
                &format!("{denied} of 1,000 requests are refused, 30 before"),
            )
            .await;
        } else {
            assert_eq!(plane.phase().await, "all");
        }
    }
}

#[tokio::test]
async fn a_canary_that_answers_slower_than_the_others_halts_it() {
    let plane = Plane::start().await;
    let canary = canary(&plane, change()).await;
    serves(&plane, &canary).await;
    // 30 of its 1,000 requests take a hundred times as long; of the others' 5 do.
    for node in FIVE {
        let slow = if node == canary { 30 } else { 5 };
        let mut said = heartbeat("boot-1", [1_000, 0, 0], &Value::Null);
        said["active"] = plane.active(node).await;
        said["traffic"]["latency"][3] = json!(1_000 - slow);
        said["traffic"]["latency"][10] = json!(slow);
        plane.say(node, "/fleet/v1/heartbeats", said).await;
    }
    plane.step().await;
    is_taken_back(&plane, &canary, "30 of 1000 requests take more than").await;
}

/// What one of them says is not true of the other, so nothing that is said in this name counts.
#[tokio::test]
async fn two_gateways_with_one_name_prove_nothing_and_get_nothing_new() {
    let plane = Plane::start().await;
    plane.join(&["edge-1"]).await;
    plane.first().await;
    let new = publication("tighter", &bundle("90/min"), &["canary", "all"]);
    plane.publish(new).await;
    plane.heal().await;
    for boot_id in ["boot-2", "boot-1"] {
        plane.beat("edge-1", boot_id, [1_000, 0, 0]).await;
    }
    plane.step().await;
    let status = plane.status().await;
    assert_eq!(status["rollout"]["phase"], "canary");
    assert_eq!(status["rollout"]["why"], "edge-1 is not healthy yet", "{status}");

    plane
        .run(
            "UPDATE control.node_process SET first_heard_at = first_heard_at - interval '1 minute',
                     last_heard_at = last_heard_at - interval '1 minute' WHERE boot_id = 'boot-2'",
        )
        .await;
    plane.step().await;
    assert_eq!(plane.phase().await, "all", "one is left, and it is healthy");
}

/// It is ill while another gateway speaks in its name.
#[tokio::test]
async fn the_patience_with_a_gateway_begins_when_it_stopped_being_healthy() {
    let plane = Plane::start().await;
    let canary = canary(&plane, change()).await;
    plane
        .run("UPDATE control.rollout SET rules = jsonb_set(rules, '{bake_s}', '1000') WHERE phase = 'canary'")
        .await;
    let later = async |seconds: u32, boot_ids: &[&str]| {
        for boot_id in boot_ids {
            plane.beat(&canary, boot_id, [0, 0, 0]).await;
        }
        let sql = format!(
            "UPDATE control.rollout SET watched_ms = watched_ms + {seconds}000 WHERE phase = 'canary'"
        );
        plane.run(&sql).await;
        plane.step().await;
    };
    let alone = "UPDATE control.node_process SET first_heard_at = first_heard_at - interval '1 minute',
                        last_heard_at = last_heard_at - interval '1 minute' WHERE boot_id = 'boot-2'";
    let ill = ["boot-2", "boot-1"];
    serves(&plane, &canary).await;
    later(500, &["boot-1"]).await;
    later(0, &ill).await;
    let status = plane.status().await;
    assert_eq!(
        (&status["rollout"]["phase"], &status["rollout"]["why"]),
        (&json!("canary"), &json!(format!("{canary} is not healthy yet"))),
        "late in the phase, and for a moment only: {status}"
    );
    later(100, &ill).await;
    plane.run(alone).await;
    later(100, &["boot-1"]).await;
    later(100, &ill).await;
    assert_eq!(plane.phase().await, "canary", "it counts anew each time");
    later(100, &ill).await;
    is_taken_back(&plane, &canary, "has not been healthy for 20").await;
}

#[tokio::test]
async fn counters_go_on_when_a_gateway_starts_anew() {
    let plane = Plane::start().await;
    let canary = canary(&plane, change()).await;
    plane.acknowledge(&canary, "active").await;
    for (boot_id, requests) in [("boot-1", 0), ("boot-1", 150), ("boot-2", 20), ("boot-2", 50)] {
        plane.beat(&canary, boot_id, [requests, 0, 0]).await;
        plane.step().await;
    }
    let status = plane.status().await;
    let gateways = status["rollout"]["gateways"].as_array().unwrap();
    let served = gateways
        .iter()
        .find(|gateway| gateway["name"] == canary.as_str())
        .unwrap();
    assert_eq!(served["requests"], 200, "{status}");
}

#[tokio::test]
async fn in_shadow_what_it_would_refuse_halts_it_before_it_decides_anything() {
    let plane = Plane::start().await;
    plane.join(&FIVE).await;
    plane.first().await;
    plane
        .publish(publication("tighter", &bundle("90/min"), &[]))
        .await;
    let tried = plane.told(|at| at == "1.2~").await.remove(0).0;
    plane.acknowledge(&tried, "active").await;
    let counts = |position: &str| json!({"position": position, "judged": 1_000, "newly_denied": 200, "newly_permitted": 0});
    plane
        .say(
            &tried,
            "/fleet/v1/heartbeats",
            heartbeat("boot-1", [1_000, 0, 0], &counts("1.1")),
        )
        .await;
    let why = plane.status().await["rollout"]["why"].clone();
    assert_eq!(
        why, "canary is next",
        "what another policy would have done is nothing against this one"
    );
    plane
        .say(
            &tried,
            "/fleet/v1/heartbeats",
            heartbeat("boot-1", [1_000, 0, 0], &counts("1.2")),
        )
        .await;
    plane.step().await;
    let status = plane.status().await;
    assert_eq!(
        (
            &status["rollout"]["phase"],
            &status["rollout"]["back"],
            &status["in_force"]
        ),
        (&json!("halted"), &Value::Null, &json!("1.1")),
        "nothing is to be taken back: {status}"
    );
    let why = status["rollout"]["why"].as_str().unwrap();
    assert!(why.contains("in shadow it would refuse 200 of 1000"), "{why}");
    assert_eq!(plane.told(|_| true).await, [], "it is tried no more");
}

#[tokio::test]
async fn after_a_halt_no_gateway_drifts_whatever_is_tried_on_it_next() {
    let plane = Plane::start().await;
    let canary = canary(&plane, change()).await;
    plane.acknowledge(&canary, "refused").await;
    plane.step().await;
    // Every gateway is the shadow of something, one after the other.
    for number in 0..8 {
        let mut next = publication(&format!("next-{number}"), &bundle("80/min"), &[]);
        next["again"] = json!(true);
        plane.publish(next).await;
        let told: Vec<_> = plane.told(|at| !at.ends_with('~')).await;
        assert_eq!(told, [], "everybody's policy is the one in force");
        let why = json!({"reason": "the next one"});
        assert_eq!(
            plane.call("POST", "/internal/policies/halt", why).await.0,
            StatusCode::OK
        );
    }
}

#[tokio::test]
async fn of_a_first_policy_there_is_none_to_go_back_to_and_nobody_else_gets_it() {
    let plane = Plane::start().await;
    plane.join(&FIVE).await;
    plane
        .publish(publication("first", &bundle("100/min"), &["canary", "all"]))
        .await;
    let canary = plane.told(|_| true).await.remove(0).0;
    plane.acknowledge(&canary, "refused").await;
    plane.step().await;
    let status = plane.status().await;
    assert_eq!(
        (&status["rollout"]["phase"], &status["in_force"]),
        (&json!("halted"), &Value::Null)
    );
    assert_eq!(plane.told(|_| true).await, []);
}
