//! Secrets and personal data stay where they belong: after log-ins, refusals and a crash, no trace of one is anywhere else.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use trial::{Service, System};

use crate::canary::{Canary, hits, hits_below, key_files, made, private_key};
use crate::collector::Collector;
use crate::stage::Stage;

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

/// What a person is known by, which is in the database and in mails alone, and what a mail says to that person only.
struct Personal {
    data: Vec<Canary>,
    mailed: Canary,
}

/// Somebody registers, is refused, is mistaken for nobody, begins to add a second factor and forgets a password.
async fn somebody(door: &trial::FrontDoor, mails: &Path, canaries: &mut Vec<Canary>) -> Personal {
    let (email, name) = ("canary.person@customers.example", "Canary von Personenname");
    let password = "seventeen quiet herons over glass";
    let form = json!({"email": email, "password": password, "full_name": name});
    let post = async |path: &str, body: &Value, status: u16| {
        door.post(path, body).await.unwrap().expect(status).unwrap()
    };
    post("/api/v1/auth/register", &form, 202).await;
    post("/api/v1/auth/register", &form, 202).await;
    let wrong = json!({"email": email, "password": "canary person's wrong password"});
    post("/api/v1/auth/login", &wrong, 401).await;
    let customer = door.log_in(email, password).await.unwrap();
    let proof = json!({"password": password});
    let begun = customer
        .post("/api/v1/me/factors/totp", None, &proof)
        .await
        .unwrap();
    let secret = begun.expect(200).unwrap().text("/secret").unwrap().to_owned();
    canaries.push(Canary::new("the secret of an authenticator", secret.as_bytes()));
    post("/api/v1/auth/password/forgot", &json!({"email": email}), 202).await;
    let mut token = None;
    until(async || {
        let files = std::fs::read_dir(mails).unwrap();
        let texts = files.filter_map(|file| std::fs::read_to_string(file.unwrap().path()).ok());
        // Long lines are broken (RFC 2045 §6.7).
        let texts: Vec<String> = texts.map(|text| text.replace("=\r\n", "")).collect();
        let links = texts.iter().flat_map(|text| text.split('#').skip(1));
        let is_part = |letter: &char| letter.is_ascii_alphanumeric() || "-_".contains(*letter);
        let mut tokens = links.map(|link| link.chars().take_while(is_part).collect::<String>());
        token = tokens.find(|token| token.len() == 43);
        token.is_some()
    })
    .await;
    Personal {
        data: vec![
            Canary::new("an e-mail address", email.as_bytes()),
            Canary::new("a name", name.as_bytes()),
        ],
        mailed: Canary::new("the token of a mail", token.unwrap().as_bytes()),
    }
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

/// What `up` and everything that it has started, the database too, were told when they began.
fn hits_in_family(system: &System, canaries: &[Canary]) -> Vec<String> {
    let of = |pid: i32, file: &str| std::fs::read(format!("/proc/{pid}/{file}"));
    let parent = |pid: i32| {
        let stat = String::from_utf8_lossy(&of(pid, "stat").ok()?).into_owned();
        let behind_the_name = stat.rsplit_once(") ")?.1.to_owned();
        behind_the_name.split(' ').nth(1)?.parse::<i32>().ok()
    };
    let up = system.up_pid().unwrap().as_raw_nonzero().get();
    let descends = |mut pid: i32| {
        while pid > 1 && pid != up {
            pid = parent(pid).unwrap_or(0);
        }
        pid == up
    };
    let entries = std::fs::read_dir("/proc").unwrap();
    let all = entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<i32>().ok());
    let family: Vec<i32> = all.filter(|pid| descends(*pid)).collect();
    let mut found = Vec::new();
    let mut names = String::new();
    for pid in &family {
        // Processes of the database come and go.
        let (Ok(environment), Ok(command)) = (of(*pid, "environ"), of(*pid, "cmdline")) else {
            continue;
        };
        names.push_str(&String::from_utf8_lossy(&command));
        for (file, text) in [("environ", environment), ("cmdline", command)] {
            found.extend(hits(canaries, &format!("{file} of process {pid}"), &text));
        }
    }
    for member in ["postgres", "gateway", "core-api", "control-plane"] {
        assert!(names.contains(member), "{member} is looked at: {names}");
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

/// What each command that looks at a running system prints.
async fn hits_in_commands(system: &System, canaries: &[Canary]) -> Vec<String> {
    let data = system.launch().data_dir.display().to_string();
    let core = format!("{data}/settings/core-api.yaml");
    let mut found = Vec::new();
    for (command, shows) in [
        ("doctor", "certificates"),
        ("fleet status", "gateway"),
        ("fleet explain gateway", "keyset"),
        ("fleet diff gateway", "gateway"),
        ("fleet export", "statements"),
        ("keys status", "access"),
        ("keys list", "active"),
        ("keys history", "generated"),
        ("kek status", "active"),
        ("policy history", "position"),
        ("policy drift", "gateway"),
        ("revoke list", "revoked"),
        ("block list", "blocked"),
        ("secrets status", "core-api"),
    ] {
        let arguments: Vec<&str> = command.split(' ').chain(["--data-dir", &data]).collect();
        found.extend(hits_in_command(system, canaries, &arguments, shows).await);
    }
    let check = ["secrets", "check", "--settings", &core, "--service", "core-api"];
    found.extend(hits_in_command(system, canaries, &check, "database.url").await);
    found
}

async fn hits_in_command(
    system: &System,
    canaries: &[Canary],
    arguments: &[&str],
    shows: &str,
) -> Vec<String> {
    let (code, said) = system.portico(arguments).await.unwrap();
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
    assert!(said.contains(shows), "{arguments:?}: {said}");
    hits(
        canaries,
        &format!("`portico {}`", arguments.join(" ")),
        said.as_bytes(),
    )
}

/// Somebody spoils the gateway's private key, and takes it back: an error line, and a report of it.
async fn spoil_a_key(data: &Path, collector: &Collector) -> Canary {
    let file = data.join("tls/gateway.key");
    let right = std::fs::read_to_string(&file).unwrap();
    let (label, wrong) = ("PRIVATE KEY", "canary-in-the-place-of-a-key");
    std::fs::write(
        &file,
        format!("-----BEGIN {label}-----\n{wrong}\n-----END {label}-----\n"),
    )
    .unwrap();
    until(async || collector.has("the new files are wrong: the old ones stay")).await;
    std::fs::write(&file, right).unwrap();
    Canary::new("what was in the place of a key", wrong.as_bytes())
}

/// Every service sends its traces and its error reports to the collector.
fn observed_by(collector: &Collector, dsn: &Path) -> Vec<(&'static str, String)> {
    let mut variables = Vec::new();
    for (endpoint, tracked) in [
        (
            "GATEWAY__TELEMETRY__OTLP_ENDPOINT",
            "GATEWAY__TELEMETRY__SENTRY_DSN",
        ),
        (
            "CORE_API__TELEMETRY__OTLP_ENDPOINT",
            "CORE_API__TELEMETRY__SENTRY_DSN",
        ),
        (
            "CONTROL_PLANE__TELEMETRY__OTLP_ENDPOINT",
            "CONTROL_PLANE__TELEMETRY__SENTRY_DSN",
        ),
    ] {
        variables.push((endpoint, format!("http://{}", collector.address)));
        variables.push((tracked, format!("file:{}", dsn.display())));
    }
    variables
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_personal_datum_is_found_outside_its_store() {
    let stage = Stage::new();
    let collector = Collector::start();
    let tracker = stage.path().join("tracker");
    let dsn = "0123456789abcdef-canary-of-the-tracker";
    std::fs::create_dir(&tracker).unwrap();
    std::fs::write(
        tracker.join("dsn"),
        format!("http://{dsn}@{}/1", collector.address),
    )
    .unwrap();
    let variables = observed_by(&collector, &tracker.join("dsn"));
    let (system, door) = stage.start_with(variables).await;
    let data = stage.data_dir();
    let secrets = data.join("secrets");
    let stored = made(&secrets);
    let key_files = key_files(&data);
    assert!(
        key_files.len() >= 6,
        "of two authorities, three members and the root: {key_files:?}"
    );
    let mut canaries: Vec<Canary> = key_files.iter().flat_map(|file| private_key(file)).collect();
    canaries.extend(made(&secrets));
    canaries.push(Canary::new("the key of the tracker", dsn.as_bytes()));
    let mails = data.join("mail");
    let personal = somebody(&door, &mails, &mut canaries).await;
    canaries.extend(traffic(&system, &door).await);
    canaries.push(spoil_a_key(&data, &collector).await);
    let mut found = hits(&canaries, "pg_dump", &dump(&secrets));
    found.extend(hits(
        std::slice::from_ref(&personal.mailed),
        "pg_dump",
        &dump(&secrets),
    ));
    let stores = [key_files.clone(), vec![secrets.clone(), tracker]].concat();
    found.extend(hits_below(&canaries, stage.path(), &stores));
    let beside_mails = [&stores[..], std::slice::from_ref(&mails)].concat();
    found.extend(hits_below(
        std::slice::from_ref(&personal.mailed),
        stage.path(),
        &beside_mails,
    ));
    let beside_both = [beside_mails, vec![data.join("postgres")]].concat();
    found.extend(hits_below(&personal.data, stage.path(), &beside_both));
    canaries.extend(personal.data);
    canaries.push(personal.mailed);
    found.extend(hits_in_commands(&system, &canaries).await);
    found.extend(hits_in_processes(&system, &canaries).await);
    found.extend(hits_in_family(&system, &canaries));
    let spans = ["POST login", "core-api", "control-plane"];
    until(async || spans.iter().all(|span| collector.has(span))).await;
    found.extend(hits(
        &canaries,
        "what `up` printed",
        system.printed().unwrap().as_bytes(),
    ));
    found.extend(hits(&canaries, "traces and error reports", &collector.kept()));
    assert_eq!(found, Vec::<String>::new());

    // The same search finds each where it is, and one that is planted in each of its forms.
    for canary in &stored {
        let of_one = std::slice::from_ref(canary);
        assert!(!hits_below(of_one, &secrets, &[]).is_empty(), "{}", canary.name);
    }
    for canary in &canaries {
        for form in &canary.forms {
            let planted = data.join("logs/planted.log");
            std::fs::write(&planted, [b"{\"message\":\"", form.as_slice(), b"\"}\n"].concat()).unwrap();
            let found = hits_below(std::slice::from_ref(canary), &data.join("logs"), &stores);
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
