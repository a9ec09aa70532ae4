//! `portico up` as a supervisor: it starts again, it refuses clearly, it cleans up after its own death.

use std::net::TcpListener;
use std::process::Stdio;

use reqwest::Method;
use serde_json::Value;
use tokio::process::Command;
use trial::edge::eventually;
use trial::{Service, System};

use crate::stage::{PORTICO, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_finds_everything() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let customer = door.sign_up().await.unwrap();
    let account = customer.open_account("EUR", 4_200).await.unwrap();
    let authority = std::fs::read(&system.endpoints().ca_cert).unwrap();
    assert!(system.stop().await.unwrap().success());

    let (system, door) = stage.start().await;
    assert_eq!(
        std::fs::read(&system.endpoints().ca_cert).unwrap(),
        authority,
        "secrets are made once"
    );
    let again = door.log_in(&customer.email, &customer.password).await.unwrap();
    assert_eq!(again.balance(&account).await.unwrap(), 4_200);
    let bearer = format!("Bearer {}", customer.tokens.access);
    let old = door
        .call(Method::GET, "/api/v1/me", &[("authorization", &bearer)], None)
        .await
        .unwrap();
    assert_eq!(
        old.status, 200,
        "and the old session's token is still good: {}",
        old.body
    );
    system.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_survives_the_supervisor_is_taken_over_by_the_next() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let customer = door.sign_up().await.unwrap();
    let account = customer.open_account("EUR", 77).await.unwrap();
    let survivors = Service::ALL.map(|service| system.pid_of(service).unwrap());
    system.kill_supervisor().await.unwrap();

    let (system, door) = stage.start().await;
    let again = door.log_in(&customer.email, &customer.password).await.unwrap();
    assert_eq!(again.balance(&account).await.unwrap(), 77);
    let now = Service::ALL.map(|service| system.pid_of(service).unwrap());
    for (old, new) in survivors.into_iter().zip(now) {
        let reaped = !std::path::Path::new(&format!("/proc/{}/exe", old.as_raw_nonzero())).exists();
        assert!(
            old == new || reaped,
            "process {} was neither adopted nor ended",
            old.as_raw_nonzero()
        );
    }
    system.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_gateway_is_followed_started_again_and_stopped() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    eventually("the fleet knows it", async || spokesman(&system).await.is_some())
        .await
        .unwrap();
    let first_boot = spokesman(&system).await;
    let first = system.pid_of(Service::Gateway).unwrap();
    let said = upgrade(&system).await;
    eventually("`up` follows the new process", async || {
        system.pid_of(Service::Gateway).unwrap() != first
    })
    .await
    .unwrap();
    let second = system.pid_of(Service::Gateway).unwrap();
    assert!(
        said.contains(&format!("process {} serves", second.as_raw_nonzero())),
        "{said}"
    );
    door.get("/health/ready").await.unwrap().expect(200).unwrap();
    eventually("the new process speaks for the gateway", async || {
        let boot = spokesman(&system).await;
        boot.is_some() && boot != first_boot
    })
    .await
    .unwrap();

    rustix::process::kill_process(second, rustix::process::Signal::KILL).unwrap();
    eventually("it is started again where it was", async || {
        system.pid_of(Service::Gateway).unwrap() != second
            && door
                .get("/health/ready")
                .await
                .is_ok_and(|answer| answer.status == 200)
    })
    .await
    .unwrap();

    let said = upgrade(&system).await;
    let last = said
        .split_whitespace()
        .find_map(|word| word.parse().ok())
        .unwrap();
    assert!(system.stop().await.unwrap().success());
    let last = rustix::process::Pid::from_raw(last).unwrap();
    assert!(
        !trial::edge::Gateway::is_running(last),
        "`up` stops the process that took over, too"
    );
}

/// The process that speaks for the gateway, once the fleet finds it in order.
async fn spokesman(system: &System) -> Option<String> {
    let data_dir = system.launch().data_dir.display().to_string();
    let arguments = ["fleet", "status", "--format", "json", "--data-dir", &data_dir];
    let (_, text) = system.portico(&arguments).await.unwrap();
    let fleet: Value = serde_json::from_str(&text).ok()?;
    let node = &fleet["nodes"][0];
    let boot = node["boot_id"].as_str().map(str::to_owned);
    boot.filter(|_| node["standing"] == "IN_SYNC")
}

/// Has the gateway replaced; what was said.
async fn upgrade(system: &System) -> String {
    let settings = system.launch().data_dir.join("settings/gateway.yaml");
    let settings = settings.display().to_string();
    let arguments = ["gateway", "upgrade", "--settings", &settings];
    let (code, said) = system.portico(&arguments).await.unwrap();
    assert_eq!(code, Some(0), "{said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_one_clear_line_and_leaves_nothing() {
    let stage = Stage::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, said) = up(
        &stage,
        &["--https-port", &port, "--http-port", "0", "--console-port", "0"],
    )
    .await;

    assert_eq!(code, Some(1), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    assert!(said.contains(&port), "{said}");
    assert!(!stage.data_dir().join("endpoints.json").exists());
    for service in Service::ALL {
        assert!(
            !stage
                .data_dir()
                .join("run")
                .join(format!("{}.pid", service.name()))
                .exists()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_in_use_is_refused() {
    let stage = Stage::new();
    let (system, _) = stage.start().await;
    let (code, said) = up(
        &stage,
        &["--https-port", "0", "--http-port", "0", "--console-port", "0"],
    )
    .await;
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    assert!(system.stop().await.unwrap().success());
}

async fn up(stage: &Stage, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(PORTICO)
        .arg("up")
        .args(arguments)
        .arg("--data-dir")
        .arg(stage.data_dir())
        .arg("--policies")
        .arg(stage.policies())
        .env("APP_ENV", "development")
        .env_remove("DATABASE_URL")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}
