//! Two control planes, one that dies, one that was away: a roll-out goes on from where it was.

use super::*;

const FIVE: [&str; 5] = ["edge-1", "edge-2", "edge-3", "edge-4", "edge-5"];

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_control_planes_take_each_step_once() {
    let plane = Plane::start().await;
    plane.join(&FIVE).await;
    plane.first().await;
    let twins = [plane.twin(), plane.twin()];
    plane
        .publish(publication("tighter", &bundle("90/min"), &[]))
        .await;
    for expected in ["canary", "quarter", "all", "done"] {
        for (node, at) in plane.told(|_| true).await {
            plane
                .acknowledge(&node, if at.ends_with('~') { "active" } else { "healthy" })
                .await;
        }
        // Whoever comes second finds a phase in which nobody has said anything yet.
        let (one, two, three) = tokio::join!(once(&plane.state), once(&twins[0]), once(&twins[1]));
        one.unwrap();
        two.unwrap();
        three.unwrap();
        assert_eq!(plane.phase().await, expected);
    }
    let steps = "SELECT count(*) FROM control.fleet_event WHERE action IN ('policy.phase', 'policy.in_force') AND subject LIKE 'tighter%'";
    assert_eq!(plane.number(steps).await, 4);

    plane
        .publish(publication("tighter-still", &bundle("80/min"), &["all"]))
        .await;
    plane.acknowledge("edge-1", "refused").await;
    let (one, two) = tokio::join!(once(&twins[0]), once(&twins[1]));
    one.unwrap();
    two.unwrap();
    assert_eq!(
        plane
            .number("SELECT count(*) FROM control.fleet_event WHERE action = 'policy.halted'")
            .await,
        1
    );
    assert_eq!(
        plane
            .number("SELECT count(*) FROM control.statement WHERE stream = 'policy'")
            .await,
        4
    );
}

#[tokio::test]
async fn publications_at_the_same_time_are_one() {
    let plane = Plane::start().await;
    plane.join(&FIVE).await;
    plane.first().await;
    let publish = |change: &str, limit: &str| {
        plane.call(
            "POST",
            "/internal/policies",
            publication(change, &bundle(limit), &[]),
        )
    };
    let (one, two, three) = tokio::join!(
        publish("a", "90/min"),
        publish("b", "80/min"),
        publish("c", "70/min")
    );
    let mut codes = [one.0.as_u16(), two.0.as_u16(), three.0.as_u16()];
    codes.sort_unstable();
    assert_eq!(codes, [200, 409, 409]);
}

/// A step is one transaction: whatever fails in it, and wherever a process dies, nothing of it has happened.
#[tokio::test]
async fn a_step_that_fails_has_not_begun_and_is_taken_by_the_next() {
    let plane = Plane::start().await;
    plane.join(&FIVE).await;
    plane.first().await;
    plane
        .publish(publication("tighter", &bundle("90/min"), &["canary", "all"]))
        .await;
    let canary = plane.told(|_| true).await.remove(0).0;
    let before = plane.status().await;
    plane.acknowledge(&canary, "refused").await;
    // The process dies at each of the writes of a halt: the database refuses it there, and the connection is gone.
    for (table, event) in [
        ("statement", "INSERT"),
        ("fleet", "UPDATE"),
        ("node_stream", "UPDATE"),
        ("rollout", "UPDATE"),
        ("fleet_event", "INSERT"),
    ] {
        plane
            .run(&format!(
                "CREATE OR REPLACE FUNCTION control.die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                     PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
                 ALTER FUNCTION control.die() SECURITY DEFINER;
                 CREATE TRIGGER dies BEFORE {event} ON control.{table} FOR EACH ROW EXECUTE FUNCTION control.die();"
            ))
            .await;
        assert!(once(&plane.state).await.is_err(), "{table}");
        plane.run(&format!("DROP TRIGGER dies ON control.{table}")).await;
        let status = plane.status().await;
        assert_eq!(status["rollout"]["phase"], before["rollout"]["phase"], "{table}");
        assert_eq!(
            plane.told(|_| true).await,
            [(canary.clone(), "1.2".to_owned())],
            "{table}"
        );
        assert_eq!(
            plane
                .number("SELECT count(*) FROM control.statement WHERE stream = 'policy'")
                .await,
            2,
            "{table}"
        );
    }
    once(&plane.twin()).await.unwrap();
    assert_eq!(plane.phase().await, "halted");
    assert_eq!(plane.status().await["in_force"], "1.3");
}

#[tokio::test]
async fn while_nobody_watched_no_gateway_was_silent_late_or_proven() {
    let plane = Plane::with(|policies| policies.rules.bake_s = 600).await;
    plane.join(&FIVE).await;
    plane
        .publish(publication("first", &bundle("100/min"), &["all"]))
        .await;
    // The control plane is away for an hour, and no heartbeat is heard.
    plane
        .run(
            "UPDATE control.rollout SET looked_at = looked_at - interval '1 hour', phase_since = phase_since - interval '1 hour',
                    watching_since = watching_since - interval '1 hour';
             UPDATE control.node SET last_heartbeat_at = last_heartbeat_at - interval '1 hour';",
        )
        .await;
    plane.step().await;
    let status = plane.status().await;
    assert_eq!(status["rollout"]["phase"], "all", "{status}");
    assert!(status["rollout"]["watched_s"].as_i64().unwrap() < 60, "{status}");

    // It watches again for 31 s, and one gateway is not heard.
    plane.join(&["edge-1", "edge-2", "edge-3", "edge-4"]).await;
    plane.heal().await;
    plane.step().await;
    plane
        .run("UPDATE control.rollout SET watching_since = watching_since - interval '31 seconds'")
        .await;
    plane.step().await;
    let status = plane.status().await;
    assert_eq!(status["rollout"]["phase"], "halted", "{status}");
    assert!(
        status["rollout"]["why"]
            .as_str()
            .unwrap()
            .starts_with("edge-5 has been silent for 31 s"),
        "{status}"
    );
}
