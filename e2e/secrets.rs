//! Secrets stay where they belong: after log-ins, refusals and a crash, no trace of one is anywhere else.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use regex::bytes::Regex;
use rustix::process::Signal;
use serde_json::{Value, json};
use trial::{Service, System};

use crate::stage::Stage;

/// A secret that must not be found.
struct Canary {
    name: String,
    /// Itself, and what it becomes in hexadecimal and base64.
    forms: Vec<Vec<u8>>,
    pattern: Regex,
}

impl Canary {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        // The last characters of base64 depend on what follows.
        let whole = bytes.len() / 3 * 3;
        let forms = [
            bytes.to_vec(),
            hex.to_uppercase().into_bytes(),
            hex.into_bytes(),
            STANDARD_NO_PAD.encode(&bytes[..whole]).into_bytes(),
            URL_SAFE_NO_PAD.encode(&bytes[..whole]).into_bytes(),
        ];
        assert!(bytes.len() >= 12, "{name} is too short to be found by accident");
        let form = |form: &Vec<u8>| {
            form.iter()
                .map(|byte| format!("\\x{byte:02x}"))
                .collect::<String>()
        };
        let either = forms.iter().map(form).collect::<Vec<_>>().join("|");
        Self {
            name: name.to_owned(),
            forms: forms.into(),
            pattern: Regex::new(&format!("(?s-u:{either})")).unwrap(),
        }
    }

    fn is_in(&self, text: &[u8]) -> bool {
        self.pattern.is_match(text)
    }
}

/// Every place where one of them is.
fn hits(canaries: &[Canary], place: &str, text: &[u8]) -> Vec<String> {
    canaries
        .iter()
        .filter(|canary| canary.is_in(text))
        .map(|canary| format!("{} in {place}", canary.name))
        .collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files.extend(files_below(&entry.path()));
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files
}

fn hits_below(canaries: &[Canary], folder: &Path, but: &Path) -> Vec<String> {
    files_below(folder)
        .into_iter()
        .filter(|file| !file.starts_with(but))
        .flat_map(|file| match std::fs::read(&file) {
            Ok(text) => hits(canaries, &file.display().to_string(), &text),
            // Gone since it was listed, as PostgreSQL's files are now and then.
            Err(_) => Vec::new(),
        })
        .collect()
}

/// The secrets that `portico up` made: each is in a file of this folder and in no other place.
fn made(secrets: &Path) -> Vec<Canary> {
    [
        "kek",
        "pepper",
        "db_owner_password",
        "db_core_password",
        "db_control_password",
    ]
    .map(|name| Canary::new(name, &std::fs::read(secrets.join(name)).unwrap()))
    .into()
}

async fn traffic(system: &System, door: &trial::FrontDoor) -> Vec<Canary> {
    let customer = door.sign_up().await.unwrap();
    let again = door.log_in(&customer.email, &customer.password).await.unwrap();
    let account = again.open_account("EUR", 100).await.unwrap();
    assert_eq!(again.balance(&account).await.unwrap(), 100);
    let wrong = json!({"email": customer.email, "password": "canary-wrong-password"});
    door.post("/api/v1/auth/login", &wrong)
        .await
        .unwrap()
        .expect(401)
        .unwrap();
    let unreadable = json!({"email": 1, "password": "canary-unreadable-password"});
    assert!(
        door.post("/api/v1/auth/login", &unreadable)
            .await
            .unwrap()
            .status
            .is_client_error()
    );
    door.get("/api/v1/me").await.unwrap().expect(401).unwrap();
    assert_eq!(
        door.get("/none?token=canary-in-the-query").await.unwrap().status,
        404
    );

    // A crash in the middle: what would leave a core file leaves none, and requests fail meanwhile.
    let core = system.pid_of(Service::CoreApi).unwrap();
    rustix::process::kill_process(core, Signal::ABORT).unwrap();
    until(async || {
        let answer = again.get("/api/v1/me").await;
        system.pid_of(Service::CoreApi).is_ok_and(|pid| pid != core)
            && answer.is_ok_and(|answer| answer.status == 200)
    })
    .await;
    vec![
        Canary::new("the customer's password", customer.password.as_bytes()),
        Canary::new("a wrong password", b"canary-wrong-password"),
        Canary::new("a password in an unreadable body", b"canary-unreadable-password"),
        Canary::new("an access token", again.tokens.access.as_bytes()),
        Canary::new("a refresh token", again.tokens.refresh.as_bytes()),
    ]
}

/// What each service says of itself, and what the kernel says of it.
async fn hits_in_processes(system: &System, canaries: &[Canary]) -> Vec<String> {
    let mut found = Vec::new();
    for service in Service::ALL {
        let name = service.name();
        found.extend(hits(
            canaries,
            &format!("metrics of {name}"),
            system.metrics(service).await.unwrap().as_bytes(),
        ));
        let pid = system.pid_of(service).unwrap().as_raw_nonzero();
        for file in ["environ", "cmdline"] {
            let text = std::fs::read(format!("/proc/{pid}/{file}")).unwrap();
            assert!(!text.is_empty(), "{file} of {name} can be read here");
            found.extend(hits(canaries, &format!("{file} of {name}"), &text));
        }
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"))
            .unwrap();
        assert_eq!(
            core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(),
            ["0", "0"],
            "{name}: {core}"
        );
    }
    found
}

fn dump(secrets: &Path) -> Vec<u8> {
    let url = std::fs::read_to_string(secrets.join("db_owner")).unwrap();
    let binaries = database::cluster::find_binaries().unwrap();
    let newest = binaries.iter().max_by_key(|binaries| binaries.major).unwrap();
    let output = std::process::Command::new(newest.program("pg_dump"))
        .arg(format!("--dbname={url}"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.stdout.len() > 10_000);
    output.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_found_outside_its_store() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let data = stage.data_dir();
    let secrets = data.join("secrets");
    let mut canaries = made(&secrets);
    canaries.extend(traffic(&system, &door).await);

    let mut found = hits_in_processes(&system, &canaries).await;
    found.extend(hits(&canaries, "pg_dump", &dump(&secrets)));
    found.extend(hits(
        &canaries,
        "what `up` printed",
        system.printed().unwrap().as_bytes(),
    ));
    found.extend(hits_below(&canaries, stage.path(), &secrets));
    assert_eq!(found, Vec::<String>::new());

    // The same search finds each where it is, and one that is planted in each of its forms.
    let nowhere = stage.path().join("nowhere");
    for canary in made(&secrets) {
        assert!(
            !hits_below(std::slice::from_ref(&canary), &secrets, &nowhere).is_empty(),
            "{}",
            canary.name
        );
    }
    for canary in &canaries {
        for form in &canary.forms {
            let planted = data.join("logs/planted.log");
            std::fs::write(&planted, [b"{\"message\":\"", form.as_slice(), b"\"}\n"].concat()).unwrap();
            let found = hits_below(std::slice::from_ref(canary), &data.join("logs"), &secrets);
            assert_eq!(found.len(), 1, "{}: {found:?}", canary.name);
        }
    }
    system.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_status_says_where_they_are_and_rotated_logins_need_no_restart() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let customer = door.sign_up().await.unwrap();
    let data = stage.data_dir().display().to_string();
    let status = ["secrets", "status", "--data-dir", &data, "--format", "json"];
    let (code, said) = system.portico(&status).await.unwrap();
    assert_eq!(code, Some(0), "{said}");
    let rows: Value = serde_json::from_str(&said).unwrap();
    let url = &rows
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["secret"]["consumers"] == json!(["core-api: database.url"]))
        .unwrap()["secret"];
    assert_eq!(
        (&url["provider"], &url["is_followed"]),
        (&json!("file"), &json!(true)),
        "{said}"
    );
    assert_eq!(
        rows.as_array().unwrap().len(),
        5,
        "url, kek and pepper of the core, url and kek of the control plane: {said}"
    );
    for canary in made(&stage.data_dir().join("secrets")) {
        assert!(!canary.is_in(said.as_bytes()), "{}", canary.name);
    }

    let core = system.pid_of(Service::CoreApi).unwrap();
    // The password changes, then the file; then every connection is cut, so that each must log in anew.
    let secret = stage.data_dir().join("secrets/db_core");
    let old = std::fs::read_to_string(&secret).unwrap();
    let owner = std::fs::read_to_string(stage.data_dir().join("secrets/db_owner")).unwrap();
    sql(&owner, "ALTER ROLE portico_core PASSWORD 'rotated-password'").await;
    let (before, _) = old.split_once("password=").unwrap();
    std::fs::write(&secret, format!("{before}password=rotated-password")).unwrap();
    sql(
        &owner,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'portico_core' AND state = 'idle'",
    )
    .await;
    // Connections that were cut may each cost one answer; then none does.
    let mut in_a_row = 0;
    until(async || {
        let good = customer
            .get("/api/v1/me")
            .await
            .is_ok_and(|answer| answer.status == 200);
        in_a_row = if good { in_a_row + 1 } else { 0 };
        in_a_row == 40
    })
    .await;
    assert_eq!(
        system.pid_of(Service::CoreApi).unwrap(),
        core,
        "it was not started again"
    );
    rotate_the_login_of_the_control_plane(&stage, &system).await;
    system.stop().await.unwrap();
}

/// No command fails meanwhile, and the control plane is not started again.
async fn rotate_the_login_of_the_control_plane(stage: &Stage, system: &System) {
    let data = stage.data_dir().display().to_string();
    let before = system.pid_of(Service::ControlPlane).unwrap();
    let secret = stage.data_dir().join("secrets/db_control");
    let old = std::fs::read_to_string(&secret).unwrap();
    let owner = std::fs::read_to_string(stage.data_dir().join("secrets/db_owner")).unwrap();
    let asks = async || {
        let status = ["keys", "status", "--data-dir", &data];
        let (code, said) = system.portico(&status).await.unwrap();
        assert_eq!(code, Some(0), "{said}");
    };
    asks().await;
    sql(&owner, "ALTER ROLE portico_control PASSWORD 'rotated-password'").await;
    let (address, _) = old.split_once("password=").unwrap();
    std::fs::write(&secret, format!("{address}password=rotated-password")).unwrap();
    // Connections of before end while they rest; those that never do go on, as they may. Commands log in anew meanwhile.
    let since = number(&owner, "SELECT extract(epoch FROM clock_timestamp())::bigint").await;
    let of_control =
        "FROM pg_stat_activity WHERE usename = 'portico_control' AND extract(epoch FROM backend_start)";
    let resting = "state = 'idle' AND state_change < clock_timestamp() - interval '2 seconds'";
    until(async || {
        let end = format!("SELECT count(pg_terminate_backend(pid)) {of_control} < {since} AND {resting}");
        number(&owner, &end).await;
        tokio::join!(asks(), asks(), asks(), asks());
        number(&owner, &format!("SELECT count(*) {of_control} > {since}")).await > 0
    })
    .await;
    for _ in 0..10 {
        asks().await;
    }
    assert_eq!(system.pid_of(Service::ControlPlane).unwrap(), before);
}

async fn number(url: &str, statement: &str) -> i64 {
    use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _};
    let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
    let number = connection.fetch_one(statement).await.unwrap().get(0);
    connection.close().await.unwrap();
    number
}

async fn sql(url: &str, statement: &'static str) {
    use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
    let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    connection.execute(sqlx::raw_sql(statement)).await.unwrap();
    connection.close().await.unwrap();
}

/// Waits for a condition; two minutes are the end of patience.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        loop {
            tick.tick().await;
            if holds().await {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), wait)
        .await
        .expect("the condition holds within two minutes");
}
