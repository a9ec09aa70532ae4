//! A gateway of the fleet beside the one of `portico up`, with a state and ports of its own.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::{Child, Command};
use trial::edge::eventually;
use trial::{Endpoints, FrontDoor, System};

use crate::stage::{PORTICO, Stage};

/// Starts one with the policies of the stage, which dials the socket of the control plane; `more` is added to its `fleet`.
/// It is killed when the child is dropped.
pub(crate) async fn start(stage: &Stage, system: &System, node: &str, more: Value) -> (Child, FrontDoor) {
    let text = std::fs::read_to_string(stage.data_dir().join("settings/gateway.yaml")).unwrap();
    let mut settings: Value = serde_yaml::from_str(&text).unwrap();
    let folder = stage.path().join(node);
    std::fs::create_dir(&folder).unwrap();
    let endpoints_file = folder.join("endpoints.json");
    settings["state_dir"] = json!(folder);
    settings["endpoints_file"] = json!(endpoints_file);
    settings["private_listen"] = json!("127.0.0.1:0");
    for address in settings["listen"].as_object_mut().unwrap().values_mut() {
        *address = json!("127.0.0.1:0");
    }
    let sockets = settings["socket_dir"].as_str().unwrap();
    settings["fleet"] = json!({
        "name": settings["fleet"]["name"],
        "node": node,
        "control_plane": format!("unix:{sockets}/control-plane.sock"),
        "roots": settings["fleet"]["roots"],
    });
    let members = settings["fleet"].as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
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
    let listens = eventually("it listens", async || endpoints_file.exists());
    listens.await.unwrap();
    let endpoints: Value = serde_json::from_slice(&std::fs::read(&endpoints_file).unwrap()).unwrap();
    let endpoints = endpoints.as_object().unwrap();
    let https = endpoints.iter().find(|(name, _)| name.ends_with(".https"));
    let port = https.unwrap().1.as_str().unwrap().rsplit_once(':').unwrap().1;
    let second = Endpoints {
        gateway_https: format!("https://localhost:{port}"),
        ..system.endpoints().clone()
    };
    (child, FrontDoor::of(&second).unwrap())
}
