//! `portico up` where starting goes another way than usual: on a database of somebody else's, and into a failure after
//! its services have started. Needs the host's PostgreSQL binaries.
#![cfg(test)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use database::cluster::{Authentication, Durability, Options, PrivateCluster};
use database::process::ProcessIdentity;
use rustix::process::Signal;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use tokio::process::{Child, Command};

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// A directory that the database server, another user when started by root, can pass through.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
    directory
}

fn up(data: &Path, database_url: Option<&str>) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portico"));
    command
        .args([
            "up",
            "--https-port",
            "0",
            "--http-port",
            "0",
            "--tail=none",
            "--data-dir",
        ])
        .arg(data)
        .env("APP_ENV", "development")
        .env_remove("DATABASE_URL")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(url) = database_url {
        command.env("DATABASE_URL", url);
    }
    command.spawn().unwrap()
}

/// What `up` said on standard error, and its exit code.
async fn failed(child: Child) -> (Option<i32>, String) {
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Starts a system, waits until all of it is ready, and stops it. Returns all that it said.
async fn up_and_down(data: &Path, database_url: Option<&str>) -> String {
    let child = ready(up(data, database_url), data).await;
    down(child, data).await
}

/// Waits until all of a system is ready, or it has ended.
async fn ready(mut child: Child, data: &Path) -> Child {
    let deadline = Instant::now() + PATIENCE;
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    while !data.join("endpoints.json").exists()
        && child.try_wait().unwrap().is_none()
        && Instant::now() < deadline
    {
        tick.tick().await;
    }
    child
}

/// Stops a system. Returns all that it said.
async fn down(child: Child, data: &Path) -> String {
    let pid = i32::try_from(child.id().unwrap_or_default()).unwrap();
    let endpoints = fs::read_to_string(data.join("endpoints.json")).unwrap_or_default();
    if let Some(identity) = ProcessIdentity::of(pid) {
        assert!(identity.signal(Signal::TERM));
    }
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{said}");
    format!("{said}\n{endpoints}")
}

async fn ask(url: &str, sql: &str) -> Result<String, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    let row = connection
        .fetch_one(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())))
        .await;
    drop(connection.close().await);
    row?.try_get(0)
}

/// The processes whose arguments name a file of this directory, and those that work in it: services and database.
fn processes_of(data: &Path) -> Vec<PathBuf> {
    let needle = data.to_string_lossy().into_owned();
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let process = entry.ok()?.path();
            let arguments = fs::read(process.join("cmdline")).ok()?;
            let works_in = fs::read_link(process.join("cwd")).unwrap_or_default();
            let is_its = String::from_utf8_lossy(&arguments).contains(&needle) || works_in.starts_with(data);
            is_its.then_some(process)
        })
        .collect()
}

#[tokio::test]
async fn services_log_in_to_a_given_database_as_their_roles_and_can_be_nobody_else() {
    let root = directory();
    let cluster = PrivateCluster::start(Options {
        directory: root.path().join("server"),
        superuser_password: "hunter2".to_owned(),
        authentication: Authentication::Passwords,
        durability: Durability::None,
    })
    .await
    .unwrap();
    let admin = cluster.owner_url();

    let data = root.path().join("data");
    let said = up_and_down(&data, Some(&admin)).await;
    assert!(!said.contains("hunter2"), "{said}");
    assert!(said.contains("user=portico_auditor"), "{said}");
    assert!(said.contains("portico_core has a new password"), "{said}");
    for (file, role) in [("db_core", "portico_core"), ("db_control", "portico_control")] {
        let url = fs::read_to_string(data.join("secrets").join(file)).unwrap();
        assert!(!url.contains("hunter2"));
        for sql in ["RESET ROLE", "RESET SESSION AUTHORIZATION", "SET ROLE NONE"] {
            let who = format!("{sql}; SELECT session_user || ' ' || current_user");
            assert_eq!(ask(&url, &who).await.unwrap(), format!("{role} {role}"), "{sql}");
        }
        let others = "SELECT coalesce(string_agg(rolname, ', '), '') FROM pg_roles
                       WHERE rolname <> current_user AND pg_has_role(current_user, oid, 'MEMBER')";
        assert_eq!(
            ask(&url, others).await.unwrap(),
            "",
            "{role} may become nobody else"
        );
    }

    // The password that works is left alone. Meanwhile nobody else is let in, be it a copy of the same system.
    let running = ready(up(&data, Some(&admin)), &data).await;
    let (copy, stranger) = (root.path().join("copy"), root.path().join("stranger"));
    fs::create_dir_all(copy.join("secrets")).unwrap();
    for secret in fs::read_dir(data.join("secrets")).unwrap().map(Result::unwrap) {
        fs::copy(secret.path(), copy.join("secrets").join(secret.file_name())).unwrap();
    }
    let (code, said) = failed(up(&copy, Some(&admin))).await;
    assert_eq!((code, said.trim().lines().count()), (Some(1), 1), "{said}");
    assert!(
        said.contains("another `portico up` runs on this database"),
        "{said}"
    );
    let said = down(running, &data).await;
    assert!(!said.contains("new password"), "{said}");

    // Nor is the system of another data directory, also while this one is down; no password is lost by that.
    let (code, said) = failed(up(&stranger, Some(&admin))).await;
    assert_eq!((code, said.trim().lines().count()), (Some(1), 1), "{said}");
    assert!(
        said.contains("has another root than this data directory"),
        "{said}"
    );
    let core = fs::read_to_string(data.join("secrets/db_core")).unwrap();
    assert_eq!(
        ask(&core, "SELECT current_user::text").await.unwrap(),
        "portico_core"
    );
    let said = up_and_down(&copy, Some(&admin)).await;
    assert!(
        !said.contains("new password"),
        "the same system, elsewhere: {said}"
    );
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_failure_after_services_have_started_is_one_line_and_leaves_nothing_running() {
    let root = directory();
    let data = root.path().join("data");
    up_and_down(&data, None).await;
    assert_eq!(processes_of(&data), Vec::<PathBuf>::new());

    let key = data.join("tls/gateway.key");
    fs::write(&key, "this is no key").unwrap();
    let (code, said) = failed(up(&data, None)).await;
    assert_eq!((code, said.trim().lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("certificate gateway: the key"), "{said}");
    assert_eq!(processes_of(&data), Vec::<PathBuf>::new());
    assert!(!data.join("endpoints.json").exists());
}

#[tokio::test]
async fn another_key_encryption_key_ends_the_start_at_once_and_harms_nothing() {
    let root = directory();
    let data = root.path().join("data");
    up_and_down(&data, None).await;

    let kek = data.join("secrets/kek");
    let right = fs::read(&kek).unwrap();
    fs::write(&kek, [7; 32]).unwrap();
    let (code, said) = failed(up(&data, None)).await;
    assert_eq!((code, said.trim().lines().count()), (Some(1), 1), "{said}");
    assert!(
        said.contains("kek: not the key-encryption key that the signing keys were sealed under"),
        "{said}"
    );
    assert_eq!(processes_of(&data), Vec::<PathBuf>::new());

    fs::write(&kek, right).unwrap();
    up_and_down(&data, None).await;
}
