//! Logins that change under load: no statement fails, whoever changes what first.
#![cfg(test)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use database::cluster::{Authentication, Durability, Options, PrivateCluster};
use database::{DatabaseSettings, Pool};
use service_runtime::shutdown::Shutdown;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection, Row as _};
use stand_ins::{Fake, Leases, Terms, Vault};

const CLIENTS: usize = 8;
/// Statements that every client must get through after each change.
const ENOUGH: u64 = 10;

/// A database of the test, with a user whose address is in a secret file.
struct Bank {
    folder: tempfile::TempDir,
    cluster: PrivateCluster,
    owner: PgConnection,
}

impl Bank {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
        let cluster = PrivateCluster::start(Options {
            directory: folder.path().join("postgres"),
            superuser_password: "pw".to_owned(),
            authentication: Authentication::Passwords,
            durability: Durability::None,
        })
        .await
        .unwrap();
        let owner: sqlx::postgres::PgConnectOptions = cluster.owner_url().parse().unwrap();
        let owner = owner.connect().await.unwrap();
        Self {
            folder,
            cluster,
            owner,
        }
    }

    async fn run(&mut self, sql: &str) {
        self.owner
            .execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())))
            .await
            .unwrap();
    }

    /// Puts another address into the secret file, as a whole.
    fn write(&self, user: &str, password: &str) {
        let draft = self.folder.path().join("draft");
        std::fs::write(&draft, self.cluster.url_for(user, Some(password))).unwrap();
        std::fs::rename(draft, self.secret()).unwrap();
    }

    fn secret(&self) -> std::path::PathBuf {
        self.folder.path().join("url")
    }

    async fn pool(&self) -> Pool {
        let settings = settings(&self.secret());
        Pool::connect(&settings, "test").await.unwrap()
    }

    async fn close(self) {
        self.owner.close().await.unwrap();
        self.cluster.stop().await.unwrap();
    }
}

fn settings(secret: &Path) -> DatabaseSettings {
    // As long as a loaded machine needs: how long a rotation takes is not what is tested.
    let yaml = format!(
        "{{url: 'file:{}', max_connections: 4, acquire_timeout_ms: 60000}}",
        secret.display()
    );
    serde_yaml::from_str(&yaml).unwrap()
}

/// Clients that log in anew for every statement, which no pool that works well would: each meets every change.
struct Clients {
    done: Arc<[AtomicU64; CLIENTS]>,
    failed: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    shutdown: Shutdown,
}

impl Clients {
    fn start(pool: &Pool) -> Self {
        let clients = Self {
            done: Arc::default(),
            failed: Arc::default(),
            stop: Arc::default(),
            shutdown: Shutdown::new(),
        };
        for number in 0..CLIENTS {
            let (pool, done, failed, stop) = (
                pool.clone(),
                clients.done.clone(),
                clients.failed.clone(),
                clients.stop.clone(),
            );
            clients.shutdown.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    if let Err(error) = one(&pool).await {
                        eprintln!("client {number}: {error}");
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    done[number].fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        clients
    }

    /// Waits until every client has got through enough.
    async fn work(&self) {
        let before: Vec<u64> = self
            .done
            .iter()
            .map(|done| done.load(Ordering::Relaxed))
            .collect();
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        while self
            .done
            .iter()
            .zip(&before)
            .any(|(done, before)| done.load(Ordering::Relaxed) < before + ENOUGH)
        {
            tick.tick().await;
        }
    }

    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        assert!(self.shutdown.wait_for_tasks(Duration::from_secs(120)).await);
        self.failed.load(Ordering::Relaxed)
    }
}

async fn one(pool: &Pool) -> sqlx::Result<()> {
    let mut connection = pool.acquire().await?;
    connection.execute("SELECT 1").await?;
    connection.detach().close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_fails_while_a_password_is_rotated_five_times() {
    let mut bank = Bank::open().await;
    bank.run("CREATE ROLE app LOGIN PASSWORD 'p0'").await;
    bank.write("app", "p0");
    let pool = bank.pool().await;
    let clients = Clients::start(&pool);
    clients.work().await;
    for number in 1..=5 {
        let password = format!("p{number}");
        // Either may come first: the one that rotates, or the place that is told of it.
        if number % 2 == 0 {
            bank.write("app", &password);
            clients.work().await;
        }
        bank.run(&format!("ALTER ROLE app PASSWORD '{password}'")).await;
        bank.write("app", &password);
        clients.work().await;
    }
    assert_eq!(clients.end().await, 0);
    pool.close().await;
    bank.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_fails_while_two_users_take_turns() {
    let mut bank = Bank::open().await;
    bank.run("CREATE ROLE app_a LOGIN PASSWORD 'a0'; CREATE ROLE app_b NOLOGIN")
        .await;
    bank.write("app_a", "a0");
    let pool = bank.pool().await;
    let clients = Clients::start(&pool);
    clients.work().await;
    for number in 1..=4 {
        let (next, last) = if number % 2 == 0 {
            ("app_a", "app_b")
        } else {
            ("app_b", "app_a")
        };
        bank.run(&format!("ALTER ROLE {next} LOGIN PASSWORD 'p{number}'"))
            .await;
        bank.write(next, &format!("p{number}"));
        clients.work().await;
        bank.run(&format!("ALTER ROLE {last} NOLOGIN")).await;
        clients.work().await;
    }
    assert_eq!(clients.end().await, 0);
    pool.close().await;
    bank.close().await;
}

#[tokio::test]
async fn a_pool_that_follows_takes_the_new_user_before_the_old_one_is_refused() {
    let mut bank = Bank::open().await;
    bank.run("CREATE ROLE app_a LOGIN PASSWORD 'a'; CREATE ROLE app_b LOGIN PASSWORD 'b'")
        .await;
    bank.write("app_a", "a");
    let settings = settings(&bank.secret());
    let pool = Pool::connect(&settings, "test").await.unwrap();
    let shutdown = Shutdown::new();
    shutdown.spawn(pool.clone().follow(shutdown.clone()));
    let source = settings.url.source().unwrap();
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while !source.status().is_followed {
        tick.tick().await;
    }

    bank.write("app_b", "b");
    assert_eq!(
        source
            .refresh(service_runtime::clock::Clock::system().now())
            .await,
        Ok(true)
    );
    loop {
        let mut connection = pool.acquire().await.unwrap();
        let row = connection.fetch_one("SELECT current_user::text").await.unwrap();
        let user: String = row.get(0);
        connection.detach().close().await.unwrap();
        if user == "app_b" {
            break;
        }
        tick.tick().await;
    }
    shutdown.trigger();
    assert!(shutdown.wait_for_tasks(Duration::from_secs(60)).await);
    pool.close().await;
    bank.close().await;
}

#[tokio::test]
async fn a_login_that_nobody_accepts_is_an_error_in_the_end() {
    let mut bank = Bank::open().await;
    bank.run("CREATE ROLE app LOGIN PASSWORD 'right'").await;
    bank.write("app", "wrong");
    let mut settings = settings(&bank.secret());
    settings.acquire_timeout_ms = 300;
    let error = Pool::connect(&settings, "test").await.unwrap_err();
    let said = format!("{error:#}");
    assert!(
        said.contains("refuses the login") && !said.contains("wrong"),
        "{said}"
    );
    bank.close().await;
}

/// Settings whose login Vault lends, and the source of it.
async fn lent_settings(bank: &Bank, fake: &Fake) -> DatabaseSettings {
    let token = bank.folder.path().join("token");
    std::fs::write(&token, stand_ins::TOKEN).unwrap();
    let providers = format!(
        "vault: {{address: '{}', ca_file: {}, auth: {{token_file: {}}}}}",
        fake.url(),
        fake.ca.path().display(),
        token.display()
    );
    let reference = "vault-lease://database/creds/app";
    let address = bank.cluster.url_for("nobody", None).replace("user=nobody", "");
    let yaml = format!(
        "{{url: '{reference}', address: '{address}', max_connections: 4, acquire_timeout_ms: 60000}}"
    );
    let read = move || {
        let wanted = [(reference.to_owned(), Vec::new())].into();
        let providers = serde_yaml::from_str(&providers).unwrap();
        let now = service_runtime::clock::Clock::system().now();
        let resolved = secrets::resolve(&wanted, &providers, now);
        resolved.within(|| serde_yaml::from_str::<DatabaseSettings>(&yaml).unwrap())
    };
    let settings = tokio::task::spawn_blocking(read).await.unwrap();
    assert_eq!(settings.faults(), Vec::<String>::new());
    settings
}

/// Who the connections of a pool are that are used now.
async fn users(pool: &Pool) -> Vec<String> {
    let mut connections = Vec::new();
    for _ in 0..4 {
        connections.push(pool.acquire().await.unwrap());
    }
    let mut users = Vec::new();
    for connection in &mut connections {
        let row = connection.fetch_one("SELECT current_user::text").await.unwrap();
        users.push(row.get(0));
    }
    users
}

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_fails_while_a_lent_login_is_renewed_replaced_and_taken_back() {
    let mut bank = Bank::open().await;
    for number in 0..3 {
        let (user, password) = Leases::login("app", number);
        bank.run(&format!("CREATE ROLE \"{user}\" LOGIN PASSWORD '{password}'"))
            .await;
    }
    let (vault, fake) = Vault::start().await;
    let terms = |renewed| Terms {
        seconds: 3_600,
        is_renewable: true,
        renewed: Some(renewed),
    };
    vault.leases.set(terms(3_600));
    let settings = lent_settings(&bank, &fake).await;
    let pool = Pool::connect(&settings, "test").await.unwrap();
    let shutdown = Shutdown::new();
    shutdown.spawn(pool.clone().follow(shutdown.clone()));
    let source = settings.url.source().unwrap().clone();
    let started = service_runtime::clock::Clock::system().now();
    let after = |seconds| started + chrono::TimeDelta::seconds(seconds);
    assert_eq!(users(&pool).await, ["v-app-0"; 4]);
    let clients = Clients::start(&pool);
    clients.work().await;

    assert_eq!(source.refresh(after(1_300)).await, Ok(false));
    assert_eq!(vault.leases.lent()[0].renewals, 1);
    clients.work().await;
    assert_eq!(vault.leases.lent().len(), 1, "renewed, and no other was lent");

    // It can be renewed for a short time only: another one takes its place, and Vault ends the first.
    vault.leases.set(terms(600));
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while !source.status().is_followed {
        tick.tick().await;
    }
    assert_eq!(source.refresh(after(2_600)).await, Ok(true));
    while users(&pool).await != ["v-app-1"; 4] {
        tick.tick().await;
    }
    bank.run("DROP ROLE \"v-app-0\"").await;
    clients.work().await;

    // Somebody takes it back before its time.
    bank.run("DROP ROLE \"v-app-1\"").await;
    clients.work().await;
    assert_eq!(users(&pool).await, ["v-app-2"; 4]);
    assert_eq!(vault.leases.lent().len(), 3);
    assert_eq!(clients.end().await, 0);
    shutdown.trigger();
    assert!(shutdown.wait_for_tasks(Duration::from_secs(60)).await);
    pool.close().await;
    bank.close().await;
}
