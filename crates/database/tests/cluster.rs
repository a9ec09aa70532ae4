//! The life of a private cluster: made, stopped, killed, adopted, refused. Needs the host's PostgreSQL binaries.
#![cfg(test)]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use database::cluster::{Authentication, ClusterError, DATABASE, Durability, Options, PrivateCluster};
use database::process::ProcessIdentity;
use database::{roles, url};
use rustix::process::Signal;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    // Started by root, the server is another user who must pass through.
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

fn options(directory: &Path) -> Options {
    Options {
        directory: directory.join("postgres"),
        superuser_password: "first-password".to_owned(),
        authentication: Authentication::Passwords,
        durability: Durability::Full,
    }
}

async fn start(directory: &Path) -> PrivateCluster {
    PrivateCluster::start(options(directory)).await.unwrap()
}

async fn run(url: &str, sql: &str) -> Result<Option<String>, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    let row = connection
        .fetch_optional(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())))
        .await;
    drop(connection.close().await);
    Ok(row?.map(|row| row.try_get::<String, _>(0).unwrap_or_default()))
}

/// Ends a cluster's starter without ending the server, as `kill -9` of it would.
fn abandon(cluster: PrivateCluster) -> ProcessIdentity {
    let server = ProcessIdentity::of(cluster.pid()).unwrap();
    std::mem::forget(cluster);
    server
}

async fn gone(process: ProcessIdentity) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    while process.is_running() {
        assert!(Instant::now() < deadline, "process {} still runs", process.pid);
        tick.tick().await;
    }
}

#[tokio::test]
async fn a_cluster_is_made_stopped_and_found_again() {
    let directory = directory();
    let cluster = start(directory.path()).await;
    assert!(!cluster.was_adopted());
    run(
        &cluster.owner_url(),
        "CREATE TABLE kept AS SELECT 'yes' AS answer",
    )
    .await
    .unwrap();
    assert_eq!(
        run(&cluster.owner_url(), "SHOW data_checksums")
            .await
            .unwrap()
            .as_deref(),
        Some("on")
    );
    assert_eq!(
        run(&cluster.owner_url(), "SHOW listen_addresses")
            .await
            .unwrap()
            .as_deref(),
        Some("")
    );
    assert_eq!(
        run(&cluster.owner_url(), "SHOW fsync").await.unwrap().as_deref(),
        Some("on")
    );
    assert_eq!(
        run(&cluster.owner_url(), "SHOW server_encoding")
            .await
            .unwrap()
            .as_deref(),
        Some("UTF8")
    );
    assert_eq!(
        fs::metadata(cluster.socket_directory()).unwrap().mode() & 0o777,
        0o700
    );
    assert_eq!(fs::metadata(cluster.data()).unwrap().mode() & 0o777, 0o700);
    let server = ProcessIdentity::of(cluster.pid()).unwrap();
    cluster.stop().await.unwrap();
    assert!(!server.is_running());

    let again = start(directory.path()).await;
    assert_eq!(
        run(&again.owner_url(), "SELECT answer FROM kept")
            .await
            .unwrap()
            .as_deref(),
        Some("yes")
    );
    again.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_server_recovers_what_was_committed() {
    let directory = directory();
    let mut cluster = start(directory.path()).await;
    run(
        &cluster.owner_url(),
        "CREATE TABLE kept AS SELECT 'yes' AS answer",
    )
    .await
    .unwrap();
    let server = ProcessIdentity::of(cluster.pid()).unwrap();
    assert!(server.signal(Signal::KILL));
    cluster.ended().await;

    let cluster = PrivateCluster::start(cluster.options().clone()).await.unwrap();
    assert!(!cluster.was_adopted());
    assert_eq!(
        run(&cluster.owner_url(), "SELECT answer FROM kept")
            .await
            .unwrap()
            .as_deref(),
        Some("yes")
    );
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_outlived_its_starter_is_adopted() {
    let directory = directory();
    let survivor = abandon(start(directory.path()).await);

    let cluster = start(directory.path()).await;
    assert!(cluster.was_adopted());
    assert_eq!(cluster.pid(), survivor.pid);
    run(&cluster.owner_url(), "SELECT 1").await.unwrap();
    cluster.stop().await.unwrap();
    gone(survivor).await;
}

#[tokio::test]
async fn a_pid_file_that_names_a_stranger_is_stale() {
    let directory = directory();
    let cluster = start(directory.path()).await;
    let pid_file = cluster.data().join("postmaster.pid");
    let content = fs::read_to_string(&pid_file).unwrap();
    let owner = fs::metadata(&pid_file).unwrap();
    cluster.stop().await.unwrap();
    // This test itself runs, and is no PostgreSQL.
    let me = std::process::id().to_string();
    let stale = content
        .split_once('\n')
        .map(|(_, rest)| format!("{me}\n{rest}"))
        .unwrap();
    fs::write(&pid_file, stale).unwrap();
    std::os::unix::fs::chown(&pid_file, Some(owner.uid()), Some(owner.gid())).unwrap();

    let cluster = start(directory.path()).await;
    assert!(!cluster.was_adopted());
    assert_ne!(cluster.pid().to_string(), me);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn two_starters_at_once_share_one_server() {
    let directory = directory();
    let (one, two) = tokio::join!(start(directory.path()), start(directory.path()));
    assert_eq!(one.pid(), two.pid());
    assert_ne!(one.was_adopted(), two.was_adopted());
    let _one = abandon(one);
    two.stop().await.unwrap();
}

#[tokio::test]
async fn a_cluster_of_another_major_version_is_refused_and_untouched() {
    let directory = directory();
    let cluster = start(directory.path()).await;
    let version = cluster.data().join("PG_VERSION");
    cluster.stop().await.unwrap();
    fs::write(&version, "9\n").unwrap();

    let error = PrivateCluster::start(options(directory.path()))
        .await
        .unwrap_err();
    assert!(matches!(error, ClusterError::OtherVersion { .. }), "{error}");
    assert!(error.to_string().contains("was made by PostgreSQL 9"), "{error}");
    assert_eq!(fs::read_to_string(version).unwrap(), "9\n");
}

#[tokio::test]
async fn a_half_finished_cluster_is_made_anew() {
    let directory = directory();
    let unfinished = directory.path().join("postgres").join("data.unfinished");
    fs::create_dir_all(unfinished.join("base")).unwrap();
    fs::write(unfinished.join("PG_VERSION"), "15\n").unwrap();

    let cluster = start(directory.path()).await;
    run(&cluster.owner_url(), "SELECT 1").await.unwrap();
    assert!(!unfinished.exists());
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn another_password_is_refused_and_nothing_stays_running() {
    let directory = directory();
    let cluster = start(directory.path()).await;
    let data = cluster.data().to_owned();
    cluster.stop().await.unwrap();

    let wrong = Options {
        superuser_password: "second-password".to_owned(),
        ..options(directory.path())
    };
    let error = PrivateCluster::start(wrong).await.unwrap_err();
    assert!(matches!(error, ClusterError::Login { .. }), "{error}");
    assert!(!data.join("postmaster.pid").exists());
}

#[tokio::test]
async fn a_data_directory_that_the_server_cannot_reach_is_elsewhere() {
    if !rustix::process::geteuid().is_root() {
        skips::skip(
            "without root the server runs as the user who owns the directory, so nothing is ever out of reach",
        );
        return;
    }
    let root = directory();
    let home = root.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();

    let cluster = start(&home).await;
    let location = fs::read_to_string(home.join("postgres").join("location")).unwrap();
    let elsewhere = PathBuf::from(location.trim());
    assert!(
        cluster.data().starts_with(&elsewhere),
        "{}",
        cluster.data().display()
    );
    run(
        &cluster.owner_url(),
        "CREATE TABLE kept AS SELECT 'yes' AS answer",
    )
    .await
    .unwrap();
    cluster.stop().await.unwrap();

    let again = start(&home).await;
    assert_eq!(
        run(&again.owner_url(), "SELECT answer FROM kept")
            .await
            .unwrap()
            .as_deref(),
        Some("yes")
    );
    again.stop().await.unwrap();
    fs::remove_dir_all(elsewhere).unwrap();
}

#[tokio::test]
async fn migrations_run_twice_and_at_once_and_roles_keep_apart() {
    let directory = directory();
    let cluster = start(directory.path()).await;
    let url = cluster.owner_url();
    let (one, two) = tokio::join!(database::migrate(&url), database::migrate(&url));
    one.unwrap();
    two.unwrap();
    database::migrate(&cluster.owner_url()).await.unwrap();
    cluster
        .allow_logins(&[(roles::CORE, "core-pw"), (roles::CONTROL, "control-pw")])
        .await
        .unwrap();

    let core = cluster.url_for(roles::CORE, Some("core-pw"));
    assert_eq!(
        run(&core, "SELECT current_user::text").await.unwrap().as_deref(),
        Some(roles::CORE)
    );
    run(&cluster.url_for(roles::CORE, Some("wrong")), "SELECT 1")
        .await
        .unwrap_err();
    run(&cluster.url_for(roles::CORE, None), "SELECT 1")
        .await
        .unwrap_err();
    run(&core, "CREATE TABLE core.mine (a int)").await.unwrap_err();
    run(&core, "CREATE TABLE public.mine (a int)").await.unwrap_err();
    run(&core, "SET ROLE portico_owner").await.unwrap_err();

    // The auditor needs no password and cannot write, not even where a grant would let it.
    let auditor = cluster.url_for(roles::AUDITOR, None);
    assert!(!auditor.contains("password"), "{auditor}");
    run(&auditor, "CREATE TEMPORARY TABLE mine (a int)")
        .await
        .unwrap_err();
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn the_auditor_reads_no_secret_column() {
    let directory = directory();
    let cluster = start(directory.path()).await;
    database::migrate(&cluster.owner_url()).await.unwrap();
    let secrets = run(
        &cluster.owner_url(),
        "SELECT coalesce(string_agg(format('%I.%I.%I', n.nspname, c.relname, a.attname), ', '), '')
           FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE n.nspname IN ('core', 'ledger', 'control') AND a.attnum > 0 AND NOT a.attisdropped
            AND c.relkind IN ('r', 'v', 'm', 'p')
            AND a.attname ~ '(password|secret|private|sealed|token_hash|email|full_name|response_body)'
            AND has_column_privilege('portico_auditor', c.oid, a.attnum, 'SELECT')",
    )
    .await
    .unwrap();
    assert_eq!(secrets.as_deref(), Some(""));
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_user_who_may_create_roles_can_migrate_without_being_superuser() {
    let directory = directory();
    let cluster = start(directory.path()).await;
    run(
        &cluster.owner_url(),
        "CREATE ROLE tenant LOGIN CREATEROLE PASSWORD 'pw'",
    )
    .await
    .unwrap();
    run(
        &cluster.owner_url(),
        &format!("ALTER DATABASE {DATABASE} OWNER TO tenant"),
    )
    .await
    .unwrap();

    let url = url::over_socket(cluster.socket_directory(), "tenant", Some("pw"), DATABASE);
    database::migrate(&url).await.unwrap();
    let owner = run(
        &url,
        "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'ledger'",
    )
    .await
    .unwrap();
    assert_eq!(owner.as_deref(), Some(roles::OWNER));

    let settings = database::DatabaseSettings {
        url: url.into(),
        role: Some(roles::CORE.to_owned()),
        ..database::DatabaseSettings::default()
    };
    let pool = database::connect(&settings, "test").await.unwrap();
    let row = pool
        .fetch_one(sqlx::raw_sql(
            "SELECT current_user::text, current_setting('statement_timeout')",
        ))
        .await
        .unwrap();
    assert_eq!(row.get::<String, _>(0), roles::CORE);
    assert_eq!(row.get::<String, _>(1), "5s");
    pool.close().await;
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_service_is_let_in_once_and_again_only_when_its_password_does_not_work() {
    let directory = directory();
    let cluster = start(directory.path()).await;
    run(
        &cluster.owner_url(),
        "CREATE ROLE tenant LOGIN CREATEROLE PASSWORD 'pw'",
    )
    .await
    .unwrap();
    run(
        &cluster.owner_url(),
        &format!("ALTER DATABASE {DATABASE} OWNER TO tenant"),
    )
    .await
    .unwrap();
    let admin = url::over_socket(cluster.socket_directory(), "tenant", Some("pw"), DATABASE);
    database::migrate(&admin).await.unwrap();

    let (core, login) = roles::let_in(&admin, roles::CORE, "first").await.unwrap();
    assert_eq!(login, roles::Login::PasswordSet);
    assert_eq!(
        run(&core, "SELECT session_user::text").await.unwrap().as_deref(),
        Some(roles::CORE)
    );
    let (same, login) = roles::let_in(&admin, roles::CORE, "first").await.unwrap();
    assert_eq!((same.as_str(), login), (core.as_str(), roles::Login::Possible));
    let (_, login) = roles::let_in(&admin, roles::CORE, "second").await.unwrap();
    assert_eq!(login, roles::Login::PasswordSet);
    assert!(
        !roles::can_log_in(&core).await.unwrap(),
        "the first password is gone"
    );
    cluster.stop().await.unwrap();
}
