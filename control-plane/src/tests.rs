//! The whole process, but for its signals: real sockets, a real database, readiness, and an orderly end.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use database::DatabaseSettings;
use serde_json::Value;
use service_runtime::settings::{Secret, WrappingKey, load};
use sqlx::{AssertSqlSafe, Executor as _, PgPool, Row as _};
use stand_ins::{Fake, Leases, TOKEN, Terms, Vault};
use test_support::TestDatabase;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::*;

/// Nothing here takes this long; it only ends a test that would hang.
const DEADLINE: Duration = Duration::from_secs(20);

fn settings(database: &TestDatabase, dir: &Path) -> Settings {
    Settings {
        socket: dir.join("control-plane.sock"),
        endpoints_file: Some(dir.join("endpoints.json")),
        database: DatabaseSettings {
            url: Secret::from(database.url_as("portico_control")),
            ..DatabaseSettings::default()
        },
        kek: WrappingKey::from(vec![7; 32]),
        ..Settings::default()
    }
}

/// Sends one request and reads the answer to its end: status and JSON body.
async fn call<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, method: &str, path: &str) -> (u16, Value) {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: control-plane\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

/// Waits until the process is ready, and gives the address of its private listener.
async fn ready(dir: &Path) -> String {
    loop {
        tokio::task::yield_now().await;
        let Ok(text) = std::fs::read_to_string(dir.join("endpoints.json")) else {
            continue;
        };
        let endpoints: Value = serde_json::from_str(&text).unwrap();
        let private = endpoints["private"].as_str().unwrap().to_owned();
        let (status, report) = call(
            TcpStream::connect(&private).await.unwrap(),
            "GET",
            "/health/ready",
        )
        .await;
        if status == 200 && UnixStream::connect(dir.join("control-plane.sock")).await.is_ok() {
            assert_eq!(report["checks"]["signing_keys"], "ok", "{report}");
            return private;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_serves_its_socket_says_when_it_is_ready_and_stops_in_order() {
    let database = TestDatabase::create().await;
    let dir = tempfile::tempdir().unwrap();
    let shutdown = Shutdown::new();
    // Not one of the tasks that `serve` itself waits for.
    let mut process = tokio::task::JoinSet::new();
    process.spawn(serve(settings(&database, dir.path()), shutdown.clone()));

    let private = tokio::time::timeout(DEADLINE, ready(dir.path())).await.unwrap();
    let socket = dir.path().join("control-plane.sock");
    assert_eq!(
        std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let (status, keys) = call(
        UnixStream::connect(&socket).await.unwrap(),
        "GET",
        "/internal/keys",
    )
    .await;
    assert_eq!((status, keys["keys"].as_array().unwrap().len()), (200, 2));
    let (status, _) = call(
        TcpStream::connect(&private).await.unwrap(),
        "GET",
        "/internal/keys",
    )
    .await;
    assert_eq!(status, 404, "the private listener is not the admin socket");

    // The gauges follow the ring in the background.
    let expected = [
        r#"portico_signing_key_state{ring="access",state="active"} 1"#,
        r#"portico_signing_key_state{ring="access",state="published"} 1"#,
        r#"portico_signing_key_rotations_total{ring="access"} 0"#,
        r#"portico_keyset_seq{ring="access"} 1"#,
        r#"portico_fleet_nodes{standing="IN_SYNC"} 0"#,
        "portico_fleet_clocks_off 0",
        "portico_fleet_trust_version 0",
    ];
    let shown = async {
        loop {
            let mut metrics = TcpStream::connect(&private).await.unwrap();
            metrics
                .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                .await
                .unwrap();
            let mut text = String::new();
            metrics.read_to_string(&mut text).await.unwrap();
            if expected.iter().all(|line| text.contains(line)) {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, shown)
        .await
        .expect("the metrics tell the ring");

    // A gateway that listens must not hold the process up.
    let mut listening = UnixStream::connect(&socket).await.unwrap();
    listening
        .write_all(b"GET /fleet/v1/stream HTTP/1.1\r\nhost: control-plane\r\nx-node: edge-1\r\n\r\n")
        .await
        .unwrap();
    let mut heard = [0; 12];
    listening.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"HTTP/1.1 200");
    shutdown.trigger();
    let mut rest = Vec::new();
    let read = listening.read_to_end(&mut rest);
    tokio::time::timeout(DEADLINE, read).await.unwrap().unwrap();
    let ended = tokio::time::timeout(DEADLINE, process.join_next()).await.unwrap();
    ended.unwrap().unwrap().unwrap();
    assert!(UnixStream::connect(&socket).await.is_err());
}

#[tokio::test]
async fn a_wrong_key_encryption_key_is_seen_before_work_is_taken() {
    let database = TestDatabase::create().await;
    let dir = tempfile::tempdir().unwrap();
    let right = settings(&database, dir.path());
    let db = database.pool_as("portico_control");
    let state = AppState::new(&right, db.clone(), Shutdown::new()).unwrap();
    signing_keys::complete(&state).await;
    assert!(signing_keys::readiness(&state).report().await.is_ready());

    let wrong = Settings {
        kek: WrappingKey::from(vec![8; 32]),
        ..right
    };
    let state = AppState::new(&wrong, db, Shutdown::new()).unwrap();
    let report = signing_keys::readiness(&state).report().await;
    assert!(
        !report.is_ready() && report.checks["database"] == "ok",
        "{report:?}"
    );
}

/// A file of settings whose login to the database Vault lends, and of which this is the rest.
fn lends(database: &TestDatabase, dir: &Path, fake: &Fake, rest: &str) -> PathBuf {
    let token = dir.join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let address = database.url_as("nobody").replace("user=nobody", "");
    let text = format!(
        "secrets: {{vault: {{address: '{}', ca_file: '{}', auth: {{token_file: '{}'}}}}}}
database: {{url: 'vault-lease://database/creds/{}', address: '{address}', role: portico_control, acquire_timeout_ms: 60000}}
{rest}",
        fake.url(),
        fake.ca.path().display(),
        token.display(),
        database.name(),
    );
    let file = dir.join("settings.yaml");
    std::fs::write(&file, text).unwrap();
    file
}

/// Settings whose login to the database Vault lends, for an hour and once more for a short time.
async fn lent(database: &TestDatabase, dir: &Path, fake: &Fake) -> Settings {
    let file = lends(database, dir, fake, "");
    let read = tokio::task::spawn_blocking(move || load::<Settings>("control-plane", Some(&file)).unwrap());
    Settings {
        database: read.await.unwrap().database,
        ..settings(database, dir)
    }
}

/// Who listens for announcements.
async fn listeners(owner: &PgPool) -> Vec<String> {
    let listening = "SELECT usename::text FROM pg_stat_activity
                      WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'LISTEN %'";
    let rows = owner.fetch_all(listening).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Vault ends a user of the database with its lease, and not the connections that were opened with it.
#[tokio::test(flavor = "multi_thread")]
async fn what_listens_changes_over_to_the_login_of_today_which_is_given_back_in_the_end() {
    let database = TestDatabase::create().await;
    let owner = database.owner_pool();
    let users = [0, 1].map(|number| Leases::login(database.name(), number));
    for (user, password) in &users {
        let made = format!("CREATE ROLE \"{user}\" LOGIN PASSWORD '{password}' IN ROLE portico_control");
        owner.execute(sqlx::raw_sql(AssertSqlSafe(made))).await.unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let (vault, fake) = Vault::start().await;
    vault.leases.set(Terms {
        seconds: 3_600,
        is_renewable: true,
        renewed: Some(600),
    });
    let settings = lent(&database, dir.path(), &fake).await;
    let source = settings.database.url.source().unwrap().clone();
    let shutdown = Shutdown::new();
    let mut process = tokio::task::JoinSet::new();
    process.spawn(serve(settings, shutdown.clone()));
    let listens = async |user: &String| {
        while listeners(&owner).await != [user.clone()] {
            tokio::task::yield_now().await;
        }
    };
    let listening = tokio::time::timeout(DEADLINE, listens(&users[0].0)).await;
    listening.expect("it listens");

    while !source.status().is_followed {
        tokio::task::yield_now().await;
    }
    let later = Clock::system().now() + chrono::TimeDelta::seconds(1_300);
    assert_eq!(source.refresh(later).await, Ok(true));
    let listening = tokio::time::timeout(DEADLINE, listens(&users[1].0)).await;
    listening.expect("it listens with the login of today");

    shutdown.trigger();
    let ended = tokio::time::timeout(DEADLINE, process.join_next()).await.unwrap();
    ended.unwrap().unwrap().unwrap();
    assert_eq!(given_back(&vault), [false, true], "the first ends by itself");
}

/// Of everything that was lent.
fn given_back(vault: &Vault) -> Vec<bool> {
    vault
        .leases
        .lent()
        .iter()
        .map(|lent| lent.is_given_back)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_lent_for_a_start_that_fails_is_given_back() {
    let database = TestDatabase::create().await;
    let dir = tempfile::tempdir().unwrap();
    let (vault, fake) = Vault::start().await;
    vault.leases.set(Terms {
        seconds: 3_600,
        is_renewable: true,
        renewed: None,
    });
    let file = lends(&database, dir.path(), &fake, "kek: env:PORTICO_NOT_SET\n");
    let read =
        tokio::task::spawn_blocking(move || load::<Settings>("control-plane", Some(&file)).unwrap_err());
    let refused = read.await.unwrap().to_string();
    assert!(refused.contains("PORTICO_NOT_SET: is not set"), "{refused}");
    assert_eq!(given_back(&vault), [true], "another secret is missing");

    let wrong = Settings {
        kek: WrappingKey::default(),
        ..lent(&database, dir.path(), &fake).await
    };
    let ran = tokio::task::spawn_blocking(|| run(wrong, Environment::Test));
    assert!(ran.await.unwrap().is_err());
    assert_eq!(
        given_back(&vault),
        [true, true],
        "the settings are wrong together"
    );
}
