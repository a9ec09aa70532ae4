//! Whatever PostgreSQL says or leaves unsaid in the middle of a request, nobody is told 500 for it, and the same request goes
//! through afterwards.

use std::time::Duration;

use http::header;
use keyring::{Algorithm, SigningKey};
use serde_json::json;
use service_runtime::clock::Clock;
use service_runtime::shutdown::Shutdown;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::bank::{Answer, Customer, PASSWORD, TestBank, settings};
use super::store;

/// What a request is about, and the table in which the database fails under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    LogIn,
    /// The session is opened, and the key that is to sign cannot be read.
    Signing,
    Refresh,
    Register,
    Me,
    Accounts,
    OpenAccount,
    Deposit,
}

impl Door {
    const ALL: [Self; 8] = [
        Self::LogIn,
        Self::Signing,
        Self::Refresh,
        Self::Register,
        Self::Me,
        Self::Accounts,
        Self::OpenAccount,
        Self::Deposit,
    ];

    const fn table(self) -> &'static str {
        match self {
            Self::LogIn => "core.session",
            Self::Signing => "control.signing_key",
            Self::Refresh => "core.refresh_token",
            Self::Register | Self::Me => "core.user",
            Self::Accounts | Self::OpenAccount => "core.account",
            Self::Deposit => "ledger.entry",
        }
    }

    const fn good(self) -> u16 {
        match self {
            Self::Register => 202,
            Self::OpenAccount | Self::Deposit => 201,
            _ => 200,
        }
    }
}

/// How the database fails: the administrator ends the session, or it says one of these.
const CODES: [&str; 16] = [
    "ended", "57P01", "57P02", "57P03", "57P05", "57014", "08006", "53300", "53200", "58030", "26000",
    "25P02", "25P03", "40001", "40P01", "55P03",
];

/// A bank whose database fails at a table when it is told to.
struct Failing {
    bank: TestBank,
    alice: Customer,
    account: String,
}

impl Failing {
    async fn start() -> Self {
        let bank = TestBank::new().await;
        let alice = bank.customer("alice").await;
        let account = bank.account(&alice, "EUR").await;
        for sql in [
            "CREATE SCHEMA trial",
            "CREATE TABLE trial.failure (place text, code text)",
            // A session that is ended by its administrator says 57P01 by itself.
            "CREATE FUNCTION trial.fail(p_place text) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
             DECLARE
                 v_code text := (SELECT code FROM trial.failure WHERE place = p_place);
             BEGIN
                 IF v_code = 'ended' THEN
                     PERFORM pg_terminate_backend(pg_backend_pid());
                 ELSIF v_code IS NOT NULL THEN
                     RAISE EXCEPTION USING ERRCODE = v_code, MESSAGE = 'as the test has it';
                 END IF;
                 RETURN true;
             END $$",
            "CREATE FUNCTION trial.fail() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
             BEGIN
                 PERFORM trial.fail(TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME);
                 RETURN NEW;
             END $$",
            "GRANT USAGE ON SCHEMA trial TO portico_core",
            "ALTER TABLE control.signing_key ENABLE ROW LEVEL SECURITY",
            "CREATE POLICY readable ON control.signing_key USING (true)",
        ] {
            store::execute(&bank.owner, sql).await.unwrap();
        }
        for table in [
            "core.session",
            "core.refresh_token",
            "core.user",
            "core.account",
            "ledger.entry",
        ] {
            let sql = format!(
                "CREATE TRIGGER failing BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION trial.fail()"
            );
            store::execute(&bank.owner, &sql).await.unwrap();
        }
        for table in ["core.user", "core.account", "control.signing_key"] {
            let sql = format!(
                "CREATE POLICY failing ON {table} AS RESTRICTIVE FOR SELECT TO portico_core USING (trial.fail('{table}'))"
            );
            store::execute(&bank.owner, &sql).await.unwrap();
        }
        Self { bank, alice, account }
    }

    /// From now on the database fails with this code at this table; with none it is well again.
    async fn fails(&self, failure: Option<(&str, &str)>) {
        store::execute(&self.bank.owner, "DELETE FROM trial.failure")
            .await
            .unwrap();
        if let Some((place, code)) = failure {
            let sql = format!("INSERT INTO trial.failure VALUES ('{place}', '{code}')");
            store::execute(&self.bank.owner, &sql).await.unwrap();
        }
    }

    /// The same request for the same `name`.
    async fn ask(&self, door: Door, name: &str) -> Answer {
        let bank = &self.bank;
        match door {
            Door::LogIn | Door::Signing => bank.login(&self.alice.email, PASSWORD).await,
            Door::Refresh => {
                let body = json!({"refresh_token": self.alice.refresh});
                let call = bank.post("/api/v1/auth/refresh").key(name).json(&body);
                call.send().await
            }
            Door::Register => bank.register(&format!("{name}@example.com")).await,
            Door::Me => bank.get("/api/v1/me").by(&self.alice).send().await,
            Door::Accounts => bank.get("/api/v1/accounts").by(&self.alice).send().await,
            Door::OpenAccount => self.open_account(Some(name)).await,
            Door::Deposit => bank.deposit(&self.alice, &self.account, "EUR", 1, name).await,
        }
    }

    async fn open_account(&self, key: Option<&str>) -> Answer {
        let order = json!({"product": "checking", "currency": "EUR"});
        let call = self.bank.post("/api/v1/accounts").by(&self.alice).json(&order);
        match key {
            Some(key) => call.key(key).send().await,
            None => call.send().await,
        }
    }

    /// Asks while the database fails with this code, and again when it is well.
    async fn try_at(&mut self, door: Door, code: &str) -> Answer {
        let name = format!("{door:?}-{code}").to_lowercase();
        if door == Door::Signing {
            // No process has opened this key yet.
            let key = SigningKey::generate(Algorithm::EdDSA).unwrap();
            self.bank.activate_key(&key).await;
        }
        self.fails(Some((door.table(), code))).await;
        let failed = self.ask(door, &name).await;
        self.fails(None).await;
        let again = self.ask(door, &name).await;
        assert_eq!(again.status, door.good(), "{door:?} after {code}: {}", again.json);
        if door == Door::Refresh {
            self.alice.refresh = again.text("refresh_token");
        }
        failed
    }
}

#[tokio::test]
async fn a_database_that_fails_in_the_middle_is_a_503_and_the_same_request_goes_through_afterwards() {
    let mut failing = Failing::start().await;
    for code in CODES {
        for door in Door::ALL {
            let failed = failing.try_at(door, code).await;
            failed.assert_problem(503, "unavailable");
            assert_eq!(failed.headers[header::RETRY_AFTER], "1", "{door:?}, {code}");
        }
    }
    // Each was posted once, although it was asked for twice.
    let posted = failing.bank.posted(&failing.alice, &failing.account).await;
    assert_eq!(posted, i64::try_from(CODES.len()).unwrap());
    failing.bank.assert_invariants().await;
}

#[tokio::test]
async fn what_is_wrong_however_often_it_is_asked_for_stays_a_500() {
    let mut failing = Failing::start().await;
    for door in Door::ALL {
        let failed = failing.try_at(door, "22012").await;
        failed.assert_problem(500, "internal");
        assert!(!failed.headers.contains_key(header::RETRY_AFTER), "{door:?}");
    }
}

#[tokio::test]
async fn an_account_that_may_have_been_opened_without_a_key_is_not_asked_for_again_blindly() {
    let failing = Failing::start().await;
    let table = Door::OpenAccount.table();
    for (code, may_repeat) in [("ended", false), ("57P03", true), ("40001", true)] {
        failing.fails(Some((table, code))).await;
        let failed = failing.open_account(None).await;
        failed.assert_problem(503, "unavailable");
        let invited = failed.headers.contains_key(header::RETRY_AFTER);
        assert_eq!(invited, may_repeat, "{code}: {}", failed.json);
    }
}

#[tokio::test]
async fn while_the_key_ring_cannot_be_read_a_token_of_an_unknown_key_is_no_401() {
    let failing = Failing::start().await;
    let (bank, alice) = (&failing.bank, &failing.alice);
    let key = SigningKey::generate(Algorithm::EdDSA).unwrap();
    bank.activate_key(&key).await;
    let token = key.sign(&bank.claims(alice)).unwrap();
    let ask = || bank.get("/api/v1/me").bearer(&token).send();
    failing.fails(Some((Door::Signing.table(), "57P03"))).await;
    for _ in 0..2 {
        let answer = ask().await;
        answer.assert_problem(503, "unavailable");
        assert_eq!(answer.headers[header::RETRY_AFTER], "1");
    }
    failing.fails(None).await;
    let goes_on = async {
        loop {
            let answer = ask().await;
            if answer.status != 503 {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(20), goes_on)
        .await
        .unwrap();
    answer.assert_status(200);
}

/// What is found where the database should be.
#[derive(Debug, Clone, Copy)]
enum Found {
    /// Nobody listens.
    Nobody,
    /// Connections are closed at once.
    Closed,
    /// What answers is no PostgreSQL.
    Nonsense,
    /// Nothing is ever said.
    Silence,
}

/// Where a client connects to, and who is there.
async fn place(found: Found) -> (u16, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut serving = JoinSet::new();
    if !matches!(found, Found::Nobody) {
        serving.spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                match found {
                    Found::Nobody | Found::Closed => drop(stream),
                    Found::Nonsense => drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await),
                    Found::Silence => open.push(stream),
                }
            }
        });
    }
    (port, serving)
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_a_503() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    for found in [Found::Nobody, Found::Closed, Found::Nonsense, Found::Silence] {
        let (port, _serving) = place(found).await;
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(port)
            .username("portico_core")
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .acquire_timeout(Duration::from_millis(300))
            .connect_lazy_with(options);
        let state = crate::run::state(&settings(), pool.into(), Clock::system(), &Shutdown::new()).unwrap();
        let router = service_runtime::http::layers(crate::router::router(state).unwrap(), "core-api");
        let bank = bank.served_by(router);
        let refresh = json!({"refresh_token": alice.refresh});
        for answer in [
            bank.login(&alice.email, PASSWORD).await,
            bank.post("/api/v1/auth/refresh").json(&refresh).send().await,
            bank.register("bob@example.com").await,
            bank.get("/api/v1/me").by(&alice).send().await,
        ] {
            answer.assert_problem(503, "unavailable");
            assert_eq!(answer.headers[header::RETRY_AFTER], "1", "{found:?}");
        }
    }
}
