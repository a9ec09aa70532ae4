//! What gateways say: kept as it comes, about themselves alone, and a refusal is never shown as applied.

use axum::body::Body;
use fleet::{Digest, Stream};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use service_runtime::clock::Clock;

use super::super::nodes::view;
use super::super::publish::publish_due;
use super::{Plane, send};

pub(super) fn heartbeat() -> Value {
    let now = Clock::system().now().timestamp_millis();
    json!({
        "version": "0.1.0", "boot_id": "b1", "clock_unix_ms": now, "active": [],
        "traffic": {"requests": 5, "failures": 0, "denied": 1, "latency": [5]}, "shadow": null,
    })
}

/// Where the newest statement of a stream is, and its digest.
async fn newest(plane: &Plane, stream: Stream) -> (String, String) {
    let (_, fleet) = plane.call("GET", "/internal/fleet", None).await;
    let of = fleet["streams"]
        .as_array()
        .unwrap()
        .iter()
        .find(|of| of["stream"] == stream.as_str())
        .unwrap();
    (
        of["position"].as_str().unwrap().to_owned(),
        of["digest"].as_str().unwrap().to_owned(),
    )
}

async fn acknowledge(plane: &Plane, node: &str, stream: Stream, stage: &str) -> (StatusCode, Value) {
    let (position, digest) = newest(plane, stream).await;
    let mut said = json!({"stream": stream.as_str(), "position": position, "digest": digest, "stage": stage});
    if stage == "refused" {
        said["objection"] =
            json!({"code": "compile", "path": "routes/a.yaml:3", "message": "no such upstream"});
    }
    plane
        .call_as(node, "POST", "/fleet/v1/acknowledgements", Some(said))
        .await
}

/// A heartbeat of a gateway that has the newest statements in force. `f` is the fingerprint of what was stated.
async fn in_force(plane: &Plane, fingerprint: &str) -> Value {
    let mut said = heartbeat();
    let mut active = Vec::new();
    for stream in [Stream::Keyset, Stream::Revocations, Stream::Blocks] {
        let (position, digest) = newest(plane, stream).await;
        let content = plane.newest(stream).await.content;
        let fingerprint = match fingerprint {
            "f" => Digest::of(content.get().as_bytes()).to_string(),
            other => other.to_owned(),
        };
        active.push(json!({"stream": stream.as_str(), "position": position, "digest": digest, "fingerprint": fingerprint}));
    }
    active
        .push(json!({"stream": "policy", "position": null, "digest": null, "fingerprint": "of a directory"}));
    said["active"] = active.into();
    said
}

async fn beat(plane: &Plane, node: &str, said: Value) {
    let (status, body) = plane
        .call_as(node, "POST", "/fleet/v1/heartbeats", Some(said))
        .await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{body}");
}

/// Standing and reason of a stream of a gateway.
async fn standing(plane: &Plane, node: &str, stream: &str) -> (String, String) {
    let (_, fleet) = plane.call("GET", "/internal/fleet", None).await;
    let node = fleet["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|found| found["name"] == node)
        .unwrap();
    let of = match stream {
        "" => node,
        stream => node["streams"]
            .as_array()
            .unwrap()
            .iter()
            .find(|of| of["stream"] == stream)
            .unwrap(),
    };
    (
        of["standing"].as_str().unwrap().to_owned(),
        of["reason"].as_str().unwrap().to_owned(),
    )
}

#[tokio::test]
async fn a_gateway_that_holds_what_it_should_is_in_sync_and_one_that_is_silent_unreachable() {
    let plane = Plane::start().await;
    publish_due(&plane.state).await.unwrap();
    beat(&plane, "edge-1", in_force(&plane, "f").await).await;
    assert_eq!(standing(&plane, "edge-1", "").await.0, "IN_SYNC");
    plane.revoke("tok_1").await;
    publish_due(&plane.state).await.unwrap();
    assert_eq!(standing(&plane, "edge-1", "revocations").await.0, "PENDING");
    assert_eq!(standing(&plane, "edge-1", "keyset").await.0, "IN_SYNC");
    acknowledge(&plane, "edge-1", Stream::Revocations, "active").await;
    assert_eq!(
        standing(&plane, "edge-1", "").await.0,
        "IN_SYNC",
        "before its next heartbeat"
    );
    assert_eq!(plane.number("SELECT count(*) FROM control.live_node").await, 1);

    plane
        .run("UPDATE control.node SET last_heartbeat_at = last_heartbeat_at - interval '20 s'")
        .await;
    assert_eq!(standing(&plane, "edge-1", "").await.0, "UNREACHABLE");
    assert_eq!(plane.number("SELECT count(*) FROM control.live_node").await, 0);
}

/// The allowance is 30 s on each side: a gateway that is further off refuses what is fresh, or takes what has expired.
#[tokio::test]
async fn a_gateway_whose_clock_is_wrong_is_named_and_is_not_in_order_beyond_what_it_allows_for() {
    let plane = Plane::start().await;
    publish_due(&plane.state).await.unwrap();
    for (off_s, expected, is_alarm) in [
        (0, "IN_SYNC", false),
        (-20, "IN_SYNC", true),
        (20, "IN_SYNC", true),
        (-60, "DRIFTED", true),
        (60, "DRIFTED", true),
    ] {
        let mut said = in_force(&plane, "f").await;
        said["clock_unix_ms"] = json!(Clock::system().now().timestamp_millis() + off_s * 1_000);
        beat(&plane, "edge-1", said).await;
        let (found, reason) = standing(&plane, "edge-1", "").await;
        assert_eq!(found, expected, "{off_s}: {reason}");
        assert_eq!(reason.contains("its clock is"), found == "DRIFTED", "{reason}");
        let fleet = view(&plane.state).await.unwrap();
        let named: Vec<_> = fleet.clocks_off().collect();
        assert_eq!(named.len(), usize::from(is_alarm), "{off_s}: {named:?}");
    }
    // Nobody knows what the clock of one shows that is not heard of.
    plane
        .run("UPDATE control.node SET last_heartbeat_at = last_heartbeat_at - interval '20 s'")
        .await;
    assert_eq!(view(&plane.state).await.unwrap().clocks_off().count(), 0);
}

#[tokio::test]
async fn a_refusal_is_kept_and_shown_until_it_is_really_lifted() {
    let plane = Plane::start().await;
    publish_due(&plane.state).await.unwrap();
    beat(&plane, "edge-1", in_force(&plane, "f").await).await;
    plane.revoke("tok_1").await;
    publish_due(&plane.state).await.unwrap();
    for stage in ["received", "verified", "refused", "received", "verified"] {
        assert_eq!(
            acknowledge(&plane, "edge-1", Stream::Revocations, stage).await.0,
            StatusCode::NO_CONTENT
        );
    }
    let (found, reason) = standing(&plane, "edge-1", "").await;
    assert_eq!(
        (found.as_str(), reason.as_str()),
        ("REFUSED", "revocations: compile: no such upstream")
    );
    beat(&plane, "edge-1", heartbeat()).await;
    assert_eq!(
        standing(&plane, "edge-1", "revocations").await.0,
        "REFUSED",
        "a heartbeat lifts nothing"
    );
    // It comes again after the gateway was mended, and this time goes through; then it is given up in probation.
    for (stage, expected) in [
        ("active", "IN_SYNC"),
        ("refused", "REFUSED"),
        ("active", "IN_SYNC"),
        ("healthy", "IN_SYNC"),
    ] {
        acknowledge(&plane, "edge-1", Stream::Revocations, stage).await;
        assert_eq!(
            standing(&plane, "edge-1", "revocations").await.0,
            expected,
            "{stage}"
        );
    }
    plane.revoke("tok_2").await;
    publish_due(&plane.state).await.unwrap();
    assert_eq!(
        standing(&plane, "edge-1", "revocations").await.0,
        "PENDING",
        "an old stage says nothing of what is new"
    );
}

#[tokio::test]
async fn memory_that_differs_from_most_others_is_drift() {
    let plane = Plane::start().await;
    publish_due(&plane.state).await.unwrap();
    for (node, fingerprint) in [("edge-1", "f"), ("edge-2", "f"), ("edge-3", "g")] {
        beat(&plane, node, in_force(&plane, fingerprint).await).await;
    }
    assert_eq!(standing(&plane, "edge-1", "").await.0, "IN_SYNC");
    assert_eq!(standing(&plane, "edge-3", "").await.0, "DRIFTED");
    // Whatever most others have: what was stated of a list is known.
    for node in ["edge-1", "edge-2", "edge-3"] {
        beat(&plane, node, in_force(&plane, "g").await).await;
    }
    assert_eq!(standing(&plane, "edge-1", "keyset").await.0, "IN_SYNC");
    for list in ["revocations", "blocks"] {
        assert_eq!(standing(&plane, "edge-1", list).await.0, "DRIFTED");
    }
    for node in ["edge-1", "edge-2"] {
        beat(&plane, node, in_force(&plane, "f").await).await;
    }
    let mut half_open = in_force(&plane, "f").await;
    half_open["waiting"] = json!(["public.http"]);
    beat(&plane, "edge-1", half_open).await;
    let (found, reason) = standing(&plane, "edge-1", "").await;
    assert_eq!(found, "DRIFTED");
    assert!(reason.contains("public.http of a listener"), "{reason}");
    let mut other = in_force(&plane, "f").await;
    other["active"][0]["digest"] = "0".repeat(64).into();
    beat(&plane, "edge-2", other).await;
    assert_eq!(standing(&plane, "edge-2", "keyset").await.0, "DRIFTED");
}

/// A heartbeat of a process that has the newest statements in force.
async fn alive(plane: &Plane, boot_id: &str) {
    let mut said = in_force(plane, "f").await;
    said["boot_id"] = boot_id.into();
    beat(plane, "edge-1", said).await;
}

/// Time passes in which nothing is heard of a process.
async fn silent_for(plane: &Plane, boot_id: &str, seconds: u8) {
    plane
        .run(&format!(
            "UPDATE control.node_process SET first_heard_at = first_heard_at - interval '{seconds} s',
                    last_heard_at = last_heard_at - interval '{seconds} s' WHERE boot_id = '{boot_id}'"
        ))
        .await;
}

#[tokio::test]
async fn two_gateways_with_one_name_are_a_conflict_and_one_that_was_restarted_is_none() {
    let plane = Plane::start().await;
    publish_due(&plane.state).await.unwrap();
    for boot_id in ["a", "a", "b", "b"] {
        alive(&plane, boot_id).await;
        assert_eq!(standing(&plane, "edge-1", "").await.0, "IN_SYNC", "{boot_id}");
    }
    alive(&plane, "a").await;
    let (found, reason) = standing(&plane, "edge-1", "").await;
    assert_eq!(found, "CONFLICT");
    assert!(reason.starts_with("2 processes speak as it"), "{reason}");
    let (_, fleet) = plane.call("GET", "/internal/fleet", None).await;
    let processes = fleet["nodes"][0]["processes"].as_array().unwrap();
    let boots: Vec<_> = processes.iter().map(|process| &process["boot_id"]).collect();
    assert_eq!(boots, ["a", "b"]);

    // One of them is stopped, and nobody needs to say so.
    silent_for(&plane, "a", 16).await;
    assert_eq!(standing(&plane, "edge-1", "").await.0, "IN_SYNC");
    // One that names itself anew in each heartbeat takes no more room than this.
    for number in 0..20 {
        alive(&plane, &format!("c{number}")).await;
    }
    assert_eq!(plane.number("SELECT count(*) FROM control.node_process").await, 8);
}

/// T-K: a key that one of two processes does not know must not sign, whatever the other one has acknowledged.
#[tokio::test]
async fn a_rotation_waits_for_each_of_two_gateways_with_one_name() {
    let plane = Plane::start().await;
    let rotate = async || {
        plane
            .run("UPDATE control.signing_key SET published_at = published_at - interval '1 day' WHERE state = 'published'")
            .await;
        let path = "/internal/keys/rotate?ring=access";
        let rotated = plane.call("POST", path, None).await;
        publish_due(&plane.state).await.unwrap();
        rotated
    };
    let acknowledge = async |boot_id: &str| {
        let (position, digest) = newest(&plane, Stream::Keyset).await;
        let said = json!({"stream": "keyset", "position": position, "digest": digest, "stage": "active"})
            .to_string();
        let request = Request::post("/fleet/v1/acknowledgements")
            .header("x-node", "edge-1")
            .header("x-boot", boot_id)
            .body(Body::from(said))
            .unwrap();
        assert_eq!(send(plane.router(), request).await.0, StatusCode::NO_CONTENT);
    };
    publish_due(&plane.state).await.unwrap();
    for boot_id in ["a", "b", "a"] {
        alive(&plane, boot_id).await;
    }
    assert_eq!(rotate().await.0, StatusCode::OK);
    acknowledge("a").await;
    let (status, said) = rotate().await;
    assert_eq!(
        (status, &said["gateways"]),
        (StatusCode::CONFLICT, &json!(["edge-1"])),
        "{said}"
    );
    alive(&plane, "a").await;
    assert_eq!(rotate().await.0, StatusCode::CONFLICT);
    acknowledge("b").await;
    assert_eq!(rotate().await.0, StatusCode::OK);

    // In the place of a process that ended comes another one: the old one is waited for until it has missed two heartbeats.
    silent_for(&plane, "a", 16).await;
    silent_for(&plane, "b", 5).await;
    alive(&plane, "c").await;
    assert_eq!(rotate().await.0, StatusCode::CONFLICT);
    silent_for(&plane, "b", 2).await;
    assert_eq!(rotate().await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_gateway_speaks_of_itself_alone_and_within_bounds() {
    let plane = Plane::start().await;
    publish_due(&plane.state).await.unwrap();
    beat(&plane, "edge-1", in_force(&plane, "f").await).await;
    let before = standing(&plane, "edge-1", "").await;
    acknowledge(&plane, "edge-2", Stream::Keyset, "refused").await;
    assert_eq!(standing(&plane, "edge-1", "").await, before);

    let wrong = |change: &dyn Fn(&mut Value)| {
        let mut said = heartbeat();
        change(&mut said);
        said
    };
    let twice = json!({"stream": "keyset", "position": null, "digest": null, "fingerprint": "f"});
    for said in [
        wrong(&|said| said["node"] = "edge-1".into()),
        wrong(&|said| said["boot_id"] = "".into()),
        wrong(&|said| said["boot_id"] = "b".repeat(129).into()),
        wrong(&|said| said["active"] = json!([twice, twice])),
        wrong(&|said| {
            said["active"] =
                json!([{"stream": "keyset", "position": "1.1", "digest": null, "fingerprint": "f"}]);
        }),
        wrong(&|said| said["traffic"]["latency"] = vec![1; 17].into()),
        wrong(&|said| said["waiting"] = json!([""])),
        wrong(&|said| said["waiting"] = vec!["public.http"; 257].into()),
        wrong(&|said| said["boot_id"] = "b".repeat(70_000).into()),
    ] {
        let (status, body) = plane
            .call_as("edge-2", "POST", "/fleet/v1/heartbeats", Some(said))
            .await;
        assert!(status.is_client_error(), "{status} {body}");
    }
    assert_eq!(
        plane.number("SELECT count(*) FROM control.live_node").await,
        1,
        "none of them was a heartbeat"
    );

    let (position, digest) = newest(&plane, Stream::Keyset).await;
    let said = json!({"stream": "keyset", "position": position, "digest": digest, "stage": "active"});
    for (change, value) in [
        ("digest", json!("0".repeat(64))),
        ("position", json!("1.7")),
        ("stage", json!("refused")),
        ("objection", json!({"code": "c", "path": null, "message": "m"})),
        ("shadow", json!(true)),
    ] {
        let mut said = said.clone();
        said[change] = value;
        let (status, body) = plane
            .call_as("edge-2", "POST", "/fleet/v1/acknowledgements", Some(said))
            .await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{change}: {body}");
    }
    for name in ["", "Edge-1", "-edge", "edge_1", "a".repeat(64).as_str()] {
        let (status, _) = plane.call_as(name, "GET", "/fleet/v1/trust", None).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{name}");
    }
}
