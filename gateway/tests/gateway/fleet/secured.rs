//! A store over TLS, for a user who may do only what limits need.

use std::net::TcpListener;
use std::path::Path;
use std::process::Child;

use gateway::settings::LimitStoreSettings;
use tempfile::TempDir;

use super::redis_server::launch;
use super::{Fleet, member};
use super::{PATIENT_MS, count, flood, member_without_store, sign_in, wait_for_store};
use crate::access_log::Log;
use crate::clients::problem;
use crate::gateway_process::{eventually, write_certificates};

/// The user that the deployment notes make.
const NOTES: &str = include_str!("../../../../deploy/README.md");

struct SecuredRedis {
    directory: TempDir,
    port: u16,
    child: Child,
}

impl SecuredRedis {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ca = write_certificates(directory.path());
        std::fs::write(directory.path().join("ca.pem"), ca).unwrap();
        std::fs::write(directory.path().join("password"), "of the store\n").unwrap();
        std::fs::write(directory.path().join("wrong"), "of another store\n").unwrap();
        let rules = NOTES
            .split("ACL SETUSER portico ")
            .nth(1)
            .unwrap()
            .lines()
            .next()
            .unwrap();
        let rules = rules.replace(">PASSWORD", "");
        let users = format!(
            "user default off\nuser portico {rules} #{}\n",
            sha256_of("of the store")
        );
        std::fs::write(directory.path().join("users.acl"), users).unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let child = launch(
            directory.path(),
            &[
                "--port",
                "0",
                "--tls-port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--tls-cert-file",
                &file("gateway.pem"),
                "--tls-key-file",
                &file("gateway.key"),
                "--tls-ca-cert-file",
                &file("ca.pem"),
                "--tls-auth-clients",
                "no",
                "--aclfile",
                &file("users.acl"),
            ],
        );
        Self {
            directory,
            port,
            child,
        }
    }

    fn store(&self, password: &str, ca: &str) -> LimitStoreSettings {
        LimitStoreSettings {
            addresses: vec![format!("rediss://localhost:{}", self.port)],
            username: "portico".to_owned(),
            password_file: self.file(password),
            ca_file: self.file(ca),
            timeout_ms: PATIENT_MS,
            ..LimitStoreSettings::default()
        }
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        Path::join(self.directory.path(), name)
    }
}

impl Drop for SecuredRedis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sha256_of(text: &str) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn the_user_of_the_notes_may_do_all_that_limits_need() {
    let redis = SecuredRedis::start();
    let fleet = Fleet {
        gateways: vec![member(&redis.store("password", "ca.pem")).await],
    };
    assert_eq!(count(&flood(&fleet, "/exact", 61).await, 200), 60);
    for _ in 0..8 {
        assert_eq!(
            sign_in(&fleet.gateways[0], "alice@bank.example").await.status(),
            200
        );
    }
}

#[tokio::test]
async fn a_store_with_another_password_or_certificate_is_down() {
    let log = Log::capture();
    let tried = || log.text().matches("the limit store is down").count();
    let redis = SecuredRedis::start();
    let other = tempfile::tempdir().unwrap();
    let ca = write_certificates(other.path());
    std::fs::write(redis.file("other.pem"), ca).unwrap();
    // One that works shows that the server is there.
    let good = member(&redis.store("password", "ca.pem")).await;
    wait_for_store(&good, true).await;
    for (password, ca) in [("wrong", "ca.pem"), ("password", "other.pem"), ("none", "ca.pem")] {
        let before = tried();
        let gateway = member_without_store(&redis.store(password, ca)).await;
        eventually("it was tried", || async { tried() > before }).await;
        problem(gateway.get("/exact").await, 503, "temporary-reduced-capacity").await;
    }
}
