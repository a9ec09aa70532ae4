//! A gateway of a fleet beside the one of `portico up`: told by signed statements, and seen by operators.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::{Child, Command};
use trial::{Endpoints, FrontDoor, System};

use crate::stage::{PORTICO, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_of_the_fleet_is_told_by_signed_statements_and_seen_in_sync() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let (_gateway, second) = start_gateway(&stage, &system).await;
    let portico = async |arguments: &[&str]| {
        let data_dir = stage.data_dir().display().to_string();
        let arguments = [arguments, &["--data-dir", &data_dir]].concat();
        system.portico(&arguments).await.unwrap()
    };
    let standing = async || {
        let (_, text) = portico(&["fleet", "status", "--format", "json"]).await;
        let fleet: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        fleet["nodes"][0].clone()
    };
    until("it is in sync", async || {
        standing().await["standing"] == "IN_SYNC"
    })
    .await;
    let node = standing().await;
    for stream in node["streams"].as_array().unwrap() {
        let is_told = stream["stream"] != "policy";
        assert_eq!(stream["active"].is_string(), is_told, "{stream}");
    }

    let customer = door.sign_up().await.unwrap();
    let bearer = format!("Bearer {}", customer.tokens.access);
    let answered = async |status: u16| {
        let headers = [("authorization", bearer.as_str())];
        let ask = || second.call(reqwest::Method::GET, "/api/v1/me", &headers, None);
        until("it answers so", async || {
            ask().await.is_ok_and(|answer| answer.status == status)
        })
        .await;
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

/// Starts a gateway with the policies of the stage, whose keys, revocations and blocks are stated by its control plane.
async fn start_gateway(stage: &Stage, system: &System) -> (Child, FrontDoor) {
    let read =
        |file: &Path| -> Value { serde_yaml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap() };
    let files = stage.data_dir().join("settings");
    let (control_plane, mut settings) = (
        read(&files.join("control-plane.yaml")),
        read(&files.join("gateway.yaml")),
    );
    let folder = stage.path().join("edge-2");
    std::fs::create_dir(&folder).unwrap();
    let endpoints_file = folder.join("endpoints.json");
    let members = settings.as_object_mut().unwrap();
    members.remove("control_plane_socket");
    members.insert("state_dir".to_owned(), json!(folder));
    members.insert("endpoints_file".to_owned(), json!(endpoints_file));
    members.insert("private_listen".to_owned(), json!("127.0.0.1:0"));
    for address in members["listen"].as_object_mut().unwrap().values_mut() {
        *address = json!("127.0.0.1:0");
    }
    let socket = control_plane["socket"].as_str().unwrap();
    let fleet = json!({
        "control_plane": format!("unix:{socket}"),
        "name": control_plane["fleet"]["name"],
        "node": "edge-2",
        "roots": control_plane["fleet"]["roots"],
    });
    members.insert("fleet".to_owned(), fleet);
    let file = folder.join("gateway.yaml");
    std::fs::write(&file, serde_yaml::to_string(&settings).unwrap()).unwrap();
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let child = Command::new(PORTICO)
        .args(["gateway", "--settings"])
        .arg(&file)
        .env("APP_ENV", system.launch().environment)
        .stdout(log.try_clone().unwrap())
        .stderr(Stdio::from(log))
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut endpoints = Value::Null;
    until("it listens", async || {
        let text = std::fs::read_to_string(&endpoints_file).unwrap_or_default();
        endpoints = serde_json::from_str(&text).unwrap_or(Value::Null);
        !endpoints.is_null()
    })
    .await;
    let https = endpoints
        .as_object()
        .unwrap()
        .iter()
        .find(|(name, _)| name.ends_with(".https"))
        .unwrap()
        .1;
    let port = https.as_str().unwrap().rsplit_once(':').unwrap().1;
    let second = Endpoints {
        gateway_https: format!("https://localhost:{port}"),
        ..system.endpoints().clone()
    };
    (child, FrontDoor::of(&second).unwrap())
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        loop {
            tick.tick().await;
            if holds().await {
                return;
            }
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
    waited.unwrap_or_else(|_| panic!("not within a minute: {what}"));
}
