//! Text that is code somewhere (EDG-11), in every place that takes text: it is refused, or it stays text.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Row as _};
use trial::{Answer, Customer, FrontDoor, Ledger};
use uuid::Uuid;

use crate::stage::Stage;

fn injections() -> Vec<String> {
    let kinds: BTreeMap<String, Vec<String>> =
        serde_json::from_str(include_str!("data/injections.json")).unwrap();
    kinds.into_values().flatten().collect()
}

/// What is in the database: each table with its columns, and the functions, roles and settings of the server.
async fn schema(database: &str) -> Vec<String> {
    let options: sqlx::postgres::PgConnectOptions = database.parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    let all = "SELECT table_schema || '.' || table_name || '.' || column_name || ' ' || data_type
                 FROM information_schema.columns
                UNION ALL SELECT oid::regprocedure::text FROM pg_proc
                UNION ALL SELECT 'role ' || rolname || rolsuper::text FROM pg_roles
                UNION ALL SELECT 'trigger ' || tgname || tgenabled::text FROM pg_trigger
                ORDER BY 1";
    let rows = connection.fetch_all(sqlx::raw_sql(all)).await.unwrap();
    connection.close().await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Everything that a customer can see of what is their own.
async fn belongings(customer: &Customer, account: &str) -> Vec<Value> {
    let mut seen = Vec::new();
    for path in [
        "/api/v1/me",
        "/api/v1/accounts",
        "/api/v1/transfers",
        "/api/v1/me/factors",
        &format!("/api/v1/accounts/{account}"),
        &format!("/api/v1/accounts/{account}/entries"),
    ] {
        seen.push(customer.get(path).await.unwrap().expect(200).unwrap().body);
    }
    seen
}

/// No answer may be a page, say that something broke, or carry a header that came out of the text.
fn is_sound(answer: &Answer, place: &str, text: &str) {
    assert!(
        answer.status.as_u16() < 500,
        "{place} {text:?}: {} {}",
        answer.status,
        answer.body
    );
    for name in ["set-cookie", "x-injected"] {
        assert!(!answer.headers.contains_key(name), "{place} {text:?}: {name}");
    }
    assert_eq!(
        answer.headers["x-content-type-options"], "nosniff",
        "{place} {text:?}"
    );
    if let Some(kind) = answer.headers.get("content-type") {
        let kind = kind.to_str().unwrap();
        assert!(
            kind == "application/json" || kind == "application/problem+json",
            "{place} {text:?}: {kind}"
        );
    }
}

/// Somebody who writes such text wherever text goes, and owns an account and a session.
struct Mallory<'a> {
    door: &'a FrontDoor,
    customer: &'a Customer,
    account: String,
    session: String,
}

impl Mallory<'_> {
    async fn call(&self, method: Method, path: &str, more: &[(&str, &str)], body: Option<&Value>) -> Answer {
        let bearer = format!("Bearer {}", self.customer.tokens.access);
        let headers = [&[("authorization", bearer.as_str())], more].concat();
        self.door.call(method, path, &headers, body).await.unwrap()
    }

    /// The three texts that the bank keeps for a customer, each read back: as it was, or not at all.
    async fn keeps(&self, text: &str) -> usize {
        let key = Uuid::now_v7().to_string();
        let key = [("idempotency-key", key.as_str())];
        let mut kept = 0;

        let form = json!({"product": "checking", "currency": "EUR", "name": text});
        let opened = self
            .call(Method::POST, "/api/v1/accounts", &key, Some(&form))
            .await;
        is_sound(&opened, "name of an account", text);
        if opened.status == 201 {
            let path = format!("/api/v1/accounts/{}", opened.text("/id").unwrap());
            let shown = self.call(Method::GET, &path, &[], None).await;
            is_sound(&shown, "an account", text);
            assert_eq!(shown.text("/name").unwrap(), text);
            kept += 1;
        }

        let form = json!({"amount": 1, "currency": "EUR", "reference": text});
        let path = format!("/api/v1/accounts/{}/deposits", self.account);
        let paid = self.call(Method::POST, &path, &key, Some(&form)).await;
        is_sound(&paid, "reference of a deposit", text);
        if paid.status == 201 {
            let path = format!("/api/v1/accounts/{}/entries", self.account);
            let entries = self.call(Method::GET, &path, &[], None).await;
            is_sound(&entries, "entries", text);
            assert_eq!(
                entries.text("/data/0/reference").unwrap(),
                text,
                "{}",
                entries.body
            );
            kept += 1;
        }

        let path = format!("/api/v1/me/sessions/{}", self.session);
        let named = self
            .call(Method::PATCH, &path, &[], Some(&json!({"name": text})))
            .await;
        is_sound(&named, "name of a session", text);
        if named.status.is_success() {
            let sessions = self.call(Method::GET, "/api/v1/me/sessions", &[], None).await;
            is_sound(&sessions, "sessions", text);
            assert_eq!(sessions.text("/data/0/name").unwrap(), text, "{}", sessions.body);
            kept += 1;
        }
        kept
    }

    /// Every other place: paths, queries, header fields, and members that must have a form.
    async fn is_refused(&self, text: &str) {
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for path in [
            format!("/api/v1/accounts/{encoded}"),
            format!("/api/v1/accounts/{encoded}/entries"),
            format!("/api/v1/transfers/{encoded}"),
            format!("/api/v1/accounts?cursor={encoded}"),
            format!("/api/v1/transfers?cursor={encoded}"),
            format!("/api/v1/accounts?limit={encoded}"),
            format!("/api/v1/accounts?{encoded}=1"),
        ] {
            let answer = self.call(Method::GET, &path, &[], None).await;
            is_sound(&answer, &path, text);
            assert!(
                answer.status.is_client_error(),
                "{path}: {} {}",
                answer.status,
                answer.body
            );
        }
        let transfer = |from: &str, to: &str, currency: &str| json!({"from_account_id": from, "to_account_id": to, "amount": 1, "currency": currency});
        for body in [
            transfer(text, &self.account, "EUR"),
            transfer(&self.account, text, "EUR"),
            transfer(&self.account, &self.account, text),
        ] {
            let key = Uuid::now_v7().to_string();
            let answer = self
                .call(
                    Method::POST,
                    "/api/v1/transfers",
                    &[("idempotency-key", &key)],
                    Some(&body),
                )
                .await;
            is_sound(&answer, "transfer", text);
            assert!(
                answer.status.is_client_error(),
                "{body}: {} {}",
                answer.status,
                answer.body
            );
        }
        // A header field cannot hold every text; what it can, is sent.
        if reqwest::header::HeaderValue::from_str(text).is_ok() {
            for name in [
                "idempotency-key",
                "x-step-up",
                "x-request-id",
                "accept-language",
                "user-agent",
                "traceparent",
            ] {
                let body = transfer(&self.account, &self.account, "EUR");
                let answer = self
                    .call(Method::POST, "/api/v1/transfers", &[(name, text)], Some(&body))
                    .await;
                is_sound(&answer, name, text);
                assert!(
                    answer.status.is_client_error(),
                    "{name}: {} {}",
                    answer.status,
                    answer.body
                );
            }
        }
    }
}

/// Strangers who have no account try the doors that need none.
async fn strangers(door: &FrontDoor, text: &str) {
    let password = "correct horse battery staple 9!";
    for (path, body) in [
        ("/api/v1/auth/login", json!({"email": text, "password": password})),
        (
            "/api/v1/auth/register",
            json!({"email": text, "password": password, "full_name": "Robin"}),
        ),
        ("/api/v1/auth/password/forgot", json!({"email": text})),
        ("/api/v1/auth/email/verify", json!({"token": text})),
        ("/api/v1/auth/refresh", json!({"refresh_token": text})),
        (
            "/api/v1/auth/login/factor",
            json!({"challenge": text, "code": "000000"}),
        ),
    ] {
        let answer = door.post(path, &body).await.unwrap();
        is_sound(&answer, path, text);
        assert!(
            answer.status.is_client_error(),
            "{path} {text:?}: {} {}",
            answer.status,
            answer.body
        );
    }
}

/// The HTML of the mail to this address, as soon as it is there.
async fn mail_to(folder: &Path, address: &str) -> String {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let find = async {
        loop {
            ticks.tick().await;
            for file in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                // A mail has another name while it is written.
                let Ok(bytes) = std::fs::read(file.path()) else {
                    continue;
                };
                let Some(mail) = mail_parser::MessageParser::default().parse(&bytes) else {
                    continue;
                };
                let is_theirs = mail
                    .to()
                    .and_then(mail_parser::Address::first)
                    .is_some_and(|to| to.address() == Some(address));
                if is_theirs {
                    return mail.body_html(0).unwrap().into_owned();
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), find).await.unwrap()
}

/// A line of a log is one object, whatever text is in it.
fn lines_are_whole(logs: &Path) {
    for service in ["gateway", "core-api", "control-plane"] {
        let log = std::fs::read_to_string(logs.join(format!("{service}.log"))).unwrap();
        for line in log.lines() {
            let read = serde_json::from_str::<Value>(line);
            assert!(read.is_ok_and(|line| line.is_object()), "{service}: {line:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_code_somewhere_stays_text_and_changes_nothing() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let (alice, customer) = (door.sign_up().await.unwrap(), door.sign_up().await.unwrap());
    let purse = alice.open_account("EUR", 10_000).await.unwrap();
    let account = customer.open_account("EUR", 1).await.unwrap();
    let sessions = customer.get("/api/v1/me/sessions").await.unwrap();
    let session = sessions.text("/data/0/id").unwrap().to_owned();
    let mallory = Mallory {
        door: &door,
        customer: &customer,
        account,
        session,
    };
    let database = system.endpoints().database_url.clone();
    let before = (belongings(&alice, &purse).await, schema(&database).await);

    let (mut kept, injections) = (0, injections());
    for text in &injections {
        kept += mallory.keeps(text).await;
        mallory.is_refused(text).await;
        strangers(&door, text).await;
    }
    assert!(
        kept > injections.len(),
        "only {kept} texts were kept: the rest of this shows little"
    );
    let name = "<script>alert(1)</script>\"><img src=x onerror=alert(1)>{{7*7}}${7*7}";
    let form = json!({"email": "markup@customers.example", "password": "correct horse battery staple 9!", "full_name": name});
    let registered = door.post("/api/v1/auth/register", &form).await.unwrap();
    is_sound(&registered.expect(202).unwrap(), "register", name);
    let mail = mail_to(&stage.data_dir().join("mail"), "markup@customers.example").await;
    // What does not look like a name greets nobody.
    assert!(mail.contains("<p>Hello,</p>"), "{mail}");
    let marks = ["<script", "alert(1)", "<img", "7*7"];
    assert!(marks.iter().all(|mark| !mail.contains(mark)), "{mail}");

    assert_eq!(
        (belongings(&alice, &purse).await, schema(&database).await),
        before
    );
    let mut books = Ledger::open(&database).await.unwrap();
    assert_eq!(books.violations().await.unwrap(), []);
    assert!(door.sign_up().await.is_ok());
    system.stop().await.unwrap();
    lines_are_whole(&stage.data_dir().join("logs"));
}
