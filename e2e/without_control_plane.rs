//! The control plane is in no request path: while it is away, everything that customers do works, also at gateways that start.

use std::path::PathBuf;

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use trial::edge::eventually;
use trial::{Customer, FrontDoor, Service, System};
use uuid::Uuid;

use crate::member;
use crate::stage::Stage;
use crate::told::{gone, leave};

#[tokio::test(flavor = "multi_thread")]
async fn without_a_control_plane_log_ins_transfers_restarts_and_new_gateways_work() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let (payer, payee) = (door.sign_up().await.unwrap(), door.sign_up().await.unwrap());
    let leaver = door.sign_up().await.unwrap();
    let from = payer.open_account("EUR", 1_000).await.unwrap();
    let to = payee.open_account("EUR", 0).await.unwrap();
    leave(&door, &leaver).await;
    gone(&door, &leaver).await;
    let begin_with = export(&stage, &system).await;

    let away = Away::begin(&stage, &system).await;
    pays(&door, &payer, (&from, &to)).await;
    system.kill_and_await(Service::Gateway).await.unwrap();
    pays(&door, &payer, (&from, &to)).await;
    gone(&door, &leaver).await;

    let given = json!({"begin_with": begin_with});
    let (_gateway, new) = member::start(&stage, &system, "edge-9", given).await;
    pays(&new, &payer, (&from, &to)).await;
    gone(&new, &leaver).await;
    let registered = new.sign_up().await.unwrap();
    registered.open_account("EUR", 5).await.unwrap();
    assert_eq!(payee.balance(&to).await.unwrap(), 3);
    assert!(
        system.metrics(Service::ControlPlane).await.is_err(),
        "it was away until now"
    );

    // And both are of the fleet again when it is back.
    away.end();
    let data_dir = stage.data_dir().display().to_string();
    let in_sync = eventually("every gateway is in sync", async || {
        let arguments = ["fleet", "status", "--format", "json", "--data-dir", &data_dir];
        let (code, said) = system.portico(&arguments).await.unwrap();
        code == Some(0) && said.contains("edge-9")
    });
    in_sync.await.unwrap();
    system.stop().await.unwrap();
}

/// Logs in anew, and pays one cent.
async fn pays(door: &FrontDoor, payer: &Customer, accounts: (&str, &str)) {
    let payer = door.log_in(&payer.email, &payer.password).await.unwrap();
    let key = Uuid::now_v7().to_string();
    let paid = payer.transfer_for_sure(accounts, (1, "EUR"), &key);
    paid.await.unwrap().expect(201).unwrap();
}

/// What a new gateway is given.
async fn export(stage: &Stage, system: &System) -> PathBuf {
    let data_dir = stage.data_dir().display().to_string();
    let arguments = ["fleet", "export", "--data-dir", &data_dir];
    let (code, exported) = system.portico(&arguments).await.unwrap();
    assert_eq!(code, Some(0), "{exported}");
    let streams: Value = serde_json::from_str(&exported).unwrap();
    assert_eq!(streams["statements"].as_array().unwrap().len(), 3, "{exported}");
    let file = stage.path().join("begin.json");
    std::fs::write(&file, exported).unwrap();
    file
}

/// A control plane that is killed, and cannot start again while its settings are away.
struct Away {
    settings: PathBuf,
    hidden: PathBuf,
}

impl Away {
    async fn begin(stage: &Stage, system: &System) -> Self {
        let settings = stage.data_dir().join("settings/control-plane.yaml");
        let hidden = settings.with_extension("hidden");
        std::fs::rename(&settings, &hidden).unwrap();
        kill_process(system.pid_of(Service::ControlPlane).unwrap(), Signal::KILL).unwrap();
        let ended = eventually("it is gone", async || {
            system.metrics(Service::ControlPlane).await.is_err()
        });
        ended.await.unwrap();
        Self { settings, hidden }
    }

    fn end(self) {
        std::fs::rename(&self.hidden, &self.settings).unwrap();
    }
}
