//! `with-postgres` itself: what its command finds, which exit code comes back, and that nothing stays behind.
#![cfg(test)]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use database::process::ProcessIdentity;
use rustix::process::Signal;
use sqlx::{Executor as _, Row as _};
use test_support::TestDatabase;

const WITH_POSTGRES: &str = env!("CARGO_BIN_EXE_with-postgres");

/// The pid of the server whose data directory is beside this socket directory.
const SERVER: &str =
    r#"head -n 1 "$(echo "$TEST_DATABASE_URL" | sed 's/.*host=\([^&]*\).*/\1/')/../data/postmaster.pid""#;

fn gone(server: ProcessIdentity) -> bool {
    let deadline = Instant::now() + Duration::from_secs(30);
    while server.is_running() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

#[test]
fn the_exit_code_of_the_command_comes_back_and_the_server_is_gone() {
    let output = Command::new(WITH_POSTGRES)
        .args(["--", "sh", "-c", &format!("{SERVER}; exit 7")])
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(7),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let pid: i32 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    assert!(ProcessIdentity::of(pid).is_none());
}

#[test]
fn a_signal_reaches_the_command_and_the_server_is_gone() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut running = Command::new(WITH_POSTGRES)
            .args(["--", "sh", "-c", &format!("{SERVER}; exec sleep 600")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(running.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let server = ProcessIdentity::of(line.trim().parse().unwrap()).unwrap();
        let me = ProcessIdentity::of(i32::try_from(running.id()).unwrap()).unwrap();
        assert!(me.signal(signal));
        assert_eq!(
            running.wait().unwrap().code(),
            Some(128 + 15),
            "the command was ended by SIGTERM"
        );
        assert!(gone(server), "the server outlived {signal:?}");
    }
}

#[test]
fn without_a_command_it_says_how_it_is_used() {
    let output = Command::new(WITH_POSTGRES).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("usage:"));
}

#[tokio::test]
async fn a_test_database_is_migrated_private_and_gone_afterwards() {
    let database = TestDatabase::create().await;
    let other = TestDatabase::create().await;
    let owner = database.owner_pool();
    owner
        .execute(sqlx::raw_sql("CREATE TABLE public.mine (a int)"))
        .await
        .unwrap();
    let count = "SELECT count(*) FROM pg_tables WHERE tablename = 'mine'";
    let row = other.owner_pool().fetch_one(sqlx::raw_sql(count)).await.unwrap();
    assert_eq!(row.get::<i64, _>(0), 0, "each test has a database of its own");

    let core = database.pool_as("portico_core");
    let row = core
        .fetch_one(sqlx::raw_sql("SELECT session_user::text"))
        .await
        .unwrap();
    assert_eq!(row.get::<String, _>(0), "portico_core");
    assert!(
        core.fetch_one(sqlx::raw_sql("SELECT a FROM public.mine"))
            .await
            .is_err()
    );

    let name = database.name().to_owned();
    drop(database);
    let still_there = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
    let row = other
        .owner_pool()
        .fetch_one(sqlx::raw_sql(sqlx::AssertSqlSafe(still_there)))
        .await
        .unwrap();
    assert_eq!(row.get::<i64, _>(0), 0);
}
