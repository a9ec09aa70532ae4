//! The shell scripts of `deploy/`, run.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use serde_yaml::Value;
use tidy::tree::root;

use crate::portico::read;

/// Runs the health check against a server that answers one request with `status`.
fn health(status: &'static str) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("address").port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the check connects");
        // The whole request: closing with bytes unread would reset the connection before the answer is read.
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).expect("request") > 0 {
            request.extend(byte);
        }
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}");
        stream.write_all(answer.as_bytes()).expect("answer");
        String::from_utf8_lossy(&request).into_owned()
    });
    let code = Command::new(root().join("deploy/healthcheck"))
        .env("PORTICO_PRIVATE_PORT", port.to_string())
        .status()
        .expect("bash runs the check");
    assert!(
        server
            .join()
            .expect("server")
            .starts_with("GET /health/ready HTTP/1.1\r\n")
    );
    code.success()
}

#[test]
fn the_health_check_tells_ready_from_not_ready() {
    assert!(health("200 OK"));
    assert!(!health("503 Service Unavailable"));
}

#[test]
fn the_health_check_fails_when_nobody_listens() {
    let free = TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("address")
        .port();
    let output = Command::new(root().join("deploy/healthcheck"))
        .env("PORTICO_PRIVATE_PORT", free.to_string())
        .output()
        .expect("bash runs the check");
    assert!(!output.status.success());
}

fn make_secrets(directory: &std::path::Path) -> Output {
    Command::new(root().join("deploy/make-secrets"))
        .arg(directory)
        .output()
        .expect("bash runs the script")
}

#[test]
fn secrets_are_made_once_and_only_for_their_owner() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let directory = folder.path().join("secrets");
    let first = make_secrets(&directory);
    assert_eq!(
        first.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&first.stderr)
    );

    let made: BTreeSet<String> = std::fs::read_dir(&directory)
        .expect("directory")
        .map(|entry| {
            let entry = entry.expect("entry");
            let mode = entry.metadata().expect("metadata").permissions().mode();
            assert_eq!(mode & 0o077, 0, "{:?} is readable by others", entry.file_name());
            entry.file_name().to_string_lossy().into_owned()
        })
        .collect();
    let compose: Value = serde_yaml::from_str(&read("compose.yaml")).expect("compose.yaml is YAML");
    let mut wanted: BTreeSet<String> = compose["secrets"]
        .as_mapping()
        .expect("secrets")
        .keys()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    assert!(
        wanted.remove("gateway.pem") && wanted.remove("gateway.key"),
        "the certificate is the operator's"
    );
    assert_eq!(made, wanted);
    assert_eq!(std::fs::read(directory.join("kek")).expect("kek").len(), 32);

    let before = std::fs::read(directory.join("kek")).expect("kek");
    assert_eq!(
        make_secrets(&directory).status.code(),
        Some(1),
        "a second run must not overwrite"
    );
    assert_eq!(std::fs::read(directory.join("kek")).expect("kek"), before);
}

#[test]
fn secrets_are_not_made_inside_the_repository() {
    let directory = root().join("deploy/settings");
    let output = make_secrets(&directory);
    assert_eq!(output.status.code(), Some(2));
    assert!(!directory.join("kek").exists());
}

/// On the test cluster: the roles log in afterwards, with exactly the passwords of the secrets.
#[test]
fn services_are_let_in_with_the_passwords_of_their_secrets() {
    #[expect(clippy::disallowed_methods, reason = "the contract of `with-postgres`, read as every test does")]
    let server = std::env::var("TEST_DATABASE_URL").unwrap_or_else(|_| {
        panic!("TEST_DATABASE_URL is not set: cargo run -q -p test-support --bin with-postgres -- cargo nextest run -p tidy")
    });
    let folder = tempfile::tempdir().expect("temporary directory");
    let directory = folder.path().join("secrets");
    assert!(make_secrets(&directory).status.success());
    std::fs::write(directory.join("db_owner"), &server).expect("address of the test server");

    for _ in 0..2 {
        let output = Command::new(root().join("deploy/allow-logins"))
            .arg(&directory)
            .output()
            .expect("bash runs it");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    let query = "SELECT string_agg(rolname || ' ' || rolcanlogin || ' ' || (rolpassword LIKE 'SCRAM-SHA-256$%'), ', ' \
                 ORDER BY rolname) FROM pg_authid WHERE rolname IN ('portico_core', 'portico_control')";
    let seen = Command::new("psql")
        .args([
            "--no-psqlrc",
            "--tuples-only",
            "--no-align",
            "--dbname",
            &server,
            "--command",
            query,
        ])
        .output()
        .expect("psql is installed with PostgreSQL");
    assert_eq!(
        String::from_utf8_lossy(&seen.stdout).trim(),
        "portico_control true true, portico_core true true",
        "{}",
        String::from_utf8_lossy(&seen.stderr)
    );
}

#[test]
fn letting_in_without_secrets_fails() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let output = Command::new(root().join("deploy/allow-logins"))
        .arg(folder.path())
        .output()
        .expect("bash runs it");
    assert!(!output.status.success());
}
