//! What the control plane states reaches the gateways, which are seen by operators.

use std::time::{Duration, Instant};

use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use trial::edge::eventually;
use trial::{Customer, FrontDoor, Service};

use crate::member;
use crate::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn gateways_of_the_fleet_are_told_by_signed_statements_and_seen_in_sync() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let (_gateway, second) = member::start(&stage, &system, "edge-2", json!({})).await;
    let portico = async |arguments: &[&str]| {
        let data_dir = stage.data_dir().display().to_string();
        let arguments = [arguments, &["--data-dir", &data_dir]].concat();
        system.portico(&arguments).await.unwrap()
    };
    let nodes = async || {
        let (_, text) = portico(&["fleet", "status", "--format", "json"]).await;
        let fleet: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        fleet["nodes"].as_array().cloned().unwrap_or_default()
    };
    let in_sync = eventually("both are in sync", async || {
        let nodes = nodes().await;
        nodes.len() == 2 && nodes.iter().all(|node| node["standing"] == "IN_SYNC")
    });
    in_sync.await.unwrap();
    for node in nodes().await {
        for stream in node["streams"].as_array().unwrap() {
            let is_told = stream["stream"] != "policy";
            assert_eq!(stream["active"].is_string(), is_told, "{stream}");
        }
    }

    let customer = door.sign_up().await.unwrap();
    let answered = async |status: u16| {
        for door in [&door, &second] {
            let answered = eventually("it answers so", async || {
                me(door, &customer)
                    .await
                    .is_some_and(|(found, _)| found == status)
            });
            answered.await.unwrap();
        }
    };
    answered(200).await;
    let (code, blocked) = portico(&["block", "add", "127.0.0.1", "--for", "10m"]).await;
    assert_eq!(code, Some(0), "{blocked}");
    answered(403).await;
    assert_eq!(portico(&["block", "remove", "127.0.0.1/32"]).await.0, Some(0));
    answered(200).await;

    assert_eq!(
        portico(&["fleet", "diff", "edge-2"]).await.1.trim(),
        "edge-2 holds what it should hold"
    );
    assert_eq!(portico(&["fleet", "evict", "edge-2"]).await.0, Some(0));
    let (_, explained) = portico(&["fleet", "explain", "edge-2"]).await;
    assert!(explained.contains("evicted"), "{explained}");
    system.stop().await.unwrap();
}

/// A gateway that stands still takes nothing over: what it lacks is shown, line by line, until it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_gateway_does_not_hold_yet_is_shown_line_by_line() {
    let stage = Stage::new();
    let (system, _) = stage.start().await;
    let (gateway, _) = member::start(&stage, &system, "edge-2", json!({})).await;
    let data_dir = stage.data_dir().display().to_string();
    let portico = async |arguments: &[&str]| {
        let arguments = [arguments, &["--data-dir", &data_dir]].concat();
        system.portico(&arguments).await.unwrap()
    };
    let holds_all = async || portico(&["fleet", "diff", "edge-2"]).await.0 == Some(0);
    eventually("it holds all", holds_all).await.unwrap();

    let process = Pid::from_raw(i32::try_from(gateway.id().unwrap()).unwrap()).unwrap();
    kill_process(process, Signal::STOP).unwrap();
    let (code, said) = portico(&["block", "add", "192.0.2.7", "--for", "10m"]).await;
    assert_eq!(code, Some(0), "{said}");
    let lacks = async || portico(&["fleet", "diff", "edge-2"]).await.0 == Some(1);
    eventually("it lacks what is stated", lacks).await.unwrap();
    let (_, differs) = portico(&["fleet", "diff", "edge-2"]).await;
    assert!(differs.starts_with("blocks: holds 1."), "{differs}");
    let added: Vec<&str> = differs.lines().filter(|line| line.starts_with('+')).collect();
    assert!(added.iter().any(|line| line.contains("192.0.2.7")), "{differs}");
    kill_process(process, Signal::CONT).unwrap();
    eventually("it holds all again", holds_all).await.unwrap();
    system.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_has_ended_is_refused_at_once_and_soon_by_the_gateway_itself() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let (leaver, stayer) = (door.sign_up().await.unwrap(), door.sign_up().await.unwrap());
    leave(&door, &leaver).await;
    // Whoever is asked first: nothing is accepted behind the answer to a log-out.
    let (status, _) = me(&door, &leaver).await.unwrap();
    assert_eq!(status, 401);
    gone(&door, &leaver).await;
    let metrics = system.metrics(Service::Gateway).await.unwrap();
    assert!(
        metrics.contains(r#"reason="revoked_session",result="refused""#),
        "{metrics}"
    );
    assert_eq!(me(&door, &stayer).await.unwrap().0, 200);
    system.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_ended_from_another_device_are_refused_by_the_core_at_once_and_by_every_gateway_soon() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let (_gateway, second) = member::start(&stage, &system, "edge-2", json!({})).await;
    let phone = door.sign_up().await.unwrap();
    let again = async |door: &FrontDoor| door.log_in(&phone.email, &phone.password).await.unwrap();
    let (laptop, tablet) = (again(&second).await, again(&door).await);
    for device in [&phone, &laptop, &tablet] {
        assert_eq!(me(&second, device).await.unwrap().0, 200);
    }

    let seen = phone
        .get("/api/v1/me/sessions")
        .await
        .unwrap()
        .expect(200)
        .unwrap();
    let seen = seen.body["data"].as_array().unwrap().clone();
    let current: Vec<_> = seen.iter().map(|session| &session["current"]).collect();
    assert_eq!(current, [false, false, true], "the last used first");
    for session in &seen {
        assert_eq!(session["network"], "127.0.0.0/24", "as the gateway says");
    }

    let laptops = format!("/{}", seen[1]["id"].as_str().unwrap());
    for (ended, which) in [(&laptop, laptops.as_str()), (&tablet, "?keep=current")] {
        let path = format!("/api/v1/me/sessions{which}");
        let bearer = format!("Bearer {}", phone.tokens.access);
        let headers = [("authorization", bearer.as_str())];
        let answer = door.call(Method::DELETE, &path, &headers, None).await.unwrap();
        let answered = Instant::now();
        assert!(answer.status.is_success(), "{}", answer.body);
        // Whoever is asked first: nothing is accepted behind the answer.
        assert_eq!(me(&second, ended).await.unwrap().0, 401);
        tokio::join!(gone(&door, ended), gone(&second, ended));
        let took = answered.elapsed();
        assert!(took < Duration::from_secs(1), "it took {took:?}");
        let body = json!({"refresh_token": ended.tokens.refresh});
        let refreshed = door.post("/api/v1/auth/refresh", &body).await.unwrap();
        assert_eq!(refreshed.status, 401, "{}", refreshed.body);
    }
    let laptop = again(&second).await;
    let form = json!({"current_password": phone.password, "new_password": "a quartz lagoon at noon"});
    let changed = phone.post("/api/v1/me/password", None, &form).await.unwrap();
    changed.expect(204).unwrap();
    assert_eq!(me(&second, &laptop).await.unwrap().0, 401);
    tokio::join!(gone(&door, &laptop), gone(&second, &laptop));
    for door in [&door, &second] {
        assert_eq!(me(door, &phone).await.unwrap().0, 200);
    }
    system.stop().await.unwrap();
}

/// Logs out.
pub(crate) async fn leave(door: &FrontDoor, customer: &Customer) {
    let bearer = format!("Bearer {}", customer.tokens.access);
    let headers = [("authorization", bearer.as_str())];
    let left = door.call(Method::POST, "/api/v1/auth/logout", &headers, None);
    left.await.unwrap().expect(204).unwrap();
}

/// Waits until the gateway refuses the session by itself: the core would call it ended.
pub(crate) async fn gone(door: &FrontDoor, customer: &Customer) {
    let gone = eventually("the gateway knows that the session has ended", async || {
        let answer = me(door, customer).await;
        answer == Some((401, "urn:portico:problem:unauthenticated".to_owned()))
    });
    gone.await.unwrap();
}

/// Asks who the customer is: the status, and the kind of the problem.
async fn me(door: &FrontDoor, customer: &Customer) -> Option<(u16, String)> {
    let bearer = format!("Bearer {}", customer.tokens.access);
    let headers = [("authorization", bearer.as_str())];
    let answer = door.call(Method::GET, "/api/v1/me", &headers, None).await.ok()?;
    let kind = answer.body["type"].as_str().unwrap_or_default();
    Some((answer.status.as_u16(), kind.to_owned()))
}
