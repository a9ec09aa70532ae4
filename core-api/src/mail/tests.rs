//! The queue on real PostgreSQL, and mails to a real mail server (aiosmtpd).

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use chrono::DateTime;
use database::Pool;
use futures::future::join_all;
use service_runtime::clock::Clock;
use service_runtime::settings::Secret;
use service_runtime::shutdown::Shutdown;
use stand_ins::{MailCertificate, MailServer, Protection};
use uuid::Uuid;

use super::*;
use crate::tests::bank::{TestBank, settings};
use crate::tests::store as db;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// Settings under which nobody waits for long, and no transport.
pub(crate) fn hurried() -> MailSettings {
    MailSettings {
        poll_ms: 5,
        backoff_ms: 5,
        ..MailSettings::default()
    }
}

/// Sends the mails of a bank until this is dropped.
pub(crate) struct Sending(Shutdown);

impl Sending {
    pub(crate) fn begin(bank: &TestBank, mail: &MailSettings) -> Self {
        let (shutdown, settings) = (Shutdown::new(), settings());
        let post = Post::new(settings.derivation_secrets());
        send_all(mail, &pool(bank), &post, &shutdown).unwrap();
        Self(shutdown)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.trigger();
    }
}

fn pool(bank: &TestBank) -> Pool {
    bank.db.pool_as("portico_core").into()
}

/// Waits until there is such a job.
pub(crate) async fn until(bank: &TestBank, condition: &str) {
    until_true(
        bank,
        &format!("EXISTS (SELECT FROM core.mail_job WHERE {condition})"),
    )
    .await;
}

/// Waits until no mail waits.
pub(crate) async fn until_settled(bank: &TestBank) {
    until_true(
        bank,
        "NOT EXISTS (SELECT FROM core.mail_job WHERE state = 'waiting')",
    )
    .await;
}

async fn until_true(bank: &TestBank, expression: &str) {
    let sql = format!("SELECT ({expression})::int::bigint");
    let happens = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        while db::number(&bank.owner, &sql).await == 0 {
            ticks.tick().await;
        }
    };
    if tokio::time::timeout(PATIENCE, happens).await.is_err() {
        let jobs = "SELECT row_to_json(j)::text FROM core.mail_job j";
        panic!("not {expression}: {:?}", db::texts(&bank.owner, jobs).await);
    }
}

/// The plain body of a mail, as its reader sees it.
pub(crate) fn plain_body(content: &str) -> String {
    let mail = mail_parser::MessageParser::default().parse(content).unwrap();
    mail.body_text(0).unwrap().into_owned()
}

/// The token behind the `#` of a mail's link.
pub(crate) fn token_in(content: &str) -> String {
    let body = plain_body(content);
    let (_, token) = body
        .split_once('#')
        .unwrap_or_else(|| panic!("no link in {body}"));
    token.lines().next().unwrap().trim().to_owned()
}

/// Sends to a server at this port.
fn smtp(port: u16, protection: Protection, authority: &MailCertificate) -> MailSettings {
    let tls = match protection {
        Protection::Clear => SmtpTls::Clear,
        Protection::Starttls => SmtpTls::Starttls,
        Protection::Implicit => SmtpTls::Implicit,
    };
    MailSettings {
        smtp: Some(SmtpSettings {
            host: "localhost".to_owned(),
            port: Some(port),
            tls,
            ca_file: Some(authority.file()),
            ..SmtpSettings::default()
        }),
        ..hurried()
    }
}

/// Queues a mail with a new password for somebody who has an account; gives its job.
async fn queue_for(bank: &TestBank, local: &str) -> Uuid {
    let address = format!("{local}@example.com");
    bank.register(&address).await.assert_status(202);
    let forget = "DELETE FROM core.mail_job WHERE kind = 'registration'";
    db::execute(&bank.owner, forget).await.unwrap();
    let asked = bank
        .post("/api/v1/auth/password/forgot")
        .json(&serde_json::json!({"email": address}));
    asked.send().await.assert_status(202);
    let newest = "SELECT mail_job_id::text FROM core.mail_job ORDER BY created_at DESC LIMIT 1";
    db::texts(&bank.owner, newest).await[0].parse().unwrap()
}

async fn jobs(bank: &TestBank) -> Vec<String> {
    let sql =
        "SELECT state || ' ' || tries || ' ' || coalesce(fault, '-') FROM core.mail_job ORDER BY created_at";
    db::texts(&bank.owner, sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_goes_over_tls_to_a_server_that_was_checked_after_a_log_in() {
    for tls in [Protection::Starttls, Protection::Implicit] {
        let certificate = MailCertificate::generate();
        let server = MailServer::start(tls, &certificate);
        let bank = TestBank::new().await;
        let job = queue_for(&bank, "alice").await;
        let mut settings = smtp(server.port(), tls, &certificate);
        let account = settings.smtp.as_mut().unwrap();
        account.username = "bank".to_owned();
        account.password = Secret::from(MailServer::PASSWORD.to_owned());
        let _sending = Sending::begin(&bank, &settings);
        until_settled(&bank).await;
        assert_eq!(jobs(&bank).await, ["sent 1 -"], "{tls:?}");
        let mails = server.mails();
        assert_eq!(mails.len(), 1);
        let mail = &mails[0];
        assert_eq!(mail["from"], "no-reply@bank.example");
        assert_eq!(mail["to"], serde_json::json!(["alice@example.com"]));
        assert_eq!(mail["greeted_by"], "bank.example");
        assert!(
            mail["is_encrypted"] == true && mail["is_logged_in"] == true,
            "{mail}"
        );
        let content = mail["content"].as_str().unwrap();
        assert!(
            content.contains(&format!("Message-ID: <{job}@bank.example>")),
            "{content}"
        );
        assert_eq!(token_in(content).len(), 43);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_to_a_server_that_cannot_be_checked_or_has_no_tls_or_refuses_the_log_in() {
    let (certificate, other) = (MailCertificate::generate(), MailCertificate::generate());
    for (server_tls, tls, authority, password, fault) in [
        (Protection::Starttls, Protection::Starttls, &other, "", "tls"),
        (Protection::Implicit, Protection::Implicit, &other, "", "tls"),
        (
            Protection::Clear,
            Protection::Starttls,
            &certificate,
            "",
            "protocol",
        ),
        (
            Protection::Starttls,
            Protection::Starttls,
            &certificate,
            "wrong",
            "smtp_535",
        ),
    ] {
        let server = MailServer::start(server_tls, &certificate);
        let bank = TestBank::new().await;
        queue_for(&bank, "alice").await;
        let mut settings = smtp(server.port(), tls, authority);
        settings.max_tries = 2;
        let account = settings.smtp.as_mut().unwrap();
        account.password = Secret::from(password.to_owned());
        account.username = if password.is_empty() {
            String::new()
        } else {
            "bank".to_owned()
        };
        let _sending = Sending::begin(&bank, &settings);
        until_settled(&bank).await;
        assert_eq!(jobs(&bank).await, [format!("dead 2 {fault}")]);
        assert_eq!(server.mails().len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_later_is_asked_again_and_one_that_says_never_is_not() {
    let certificate = MailCertificate::generate();
    let server = MailServer::start(Protection::Starttls, &certificate);
    let bank = TestBank::new().await;
    for local in ["later2.alice", "never.bob"] {
        queue_for(&bank, local).await;
    }
    let _sending = Sending::begin(&bank, &smtp(server.port(), Protection::Starttls, &certificate));
    until_settled(&bank).await;
    assert_eq!(jobs(&bank).await, ["sent 3 -", "dead 1 smtp_550"]);
    assert_eq!(server.mails().len(), 1);
    // What was sent is not kept; a dead letter is, for whoever wants to try again.
    let kept = "SELECT state || ' ' || (sealed IS NOT NULL) FROM core.mail_job ORDER BY created_at";
    assert_eq!(db::texts(&bank.owner, kept).await, ["sent false", "dead true"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_nothing_from_anybody_loses_no_mail() {
    let certificate = MailCertificate::generate();
    let server = MailServer::start(Protection::Implicit, &certificate);
    server.close_the_door(true);
    let bank = TestBank::new().await;
    queue_for(&bank, "alice").await;
    let mut settings = smtp(server.port(), Protection::Implicit, &certificate);
    settings.max_tries = 100;
    settings.backoff_ms = 1;
    let _sending = Sending::begin(&bank, &settings);
    until(&bank, "tries >= 3 AND fault = 'smtp_554'").await;
    server.close_the_door(false);
    let now = "UPDATE core.mail_job SET due_at = now() WHERE lease IS NULL";
    db::execute(&bank.owner, now).await.unwrap();
    until(&bank, "state = 'sent'").await;
    assert_eq!(server.mails().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_was_taken_is_sent_also_when_the_server_says_no_goodbye() {
    let certificate = MailCertificate::generate();
    let server = MailServer::start(Protection::Implicit, &certificate);
    let bank = TestBank::new().await;
    queue_for(&bank, "mute.alice").await;
    let mut settings = smtp(server.port(), Protection::Implicit, &certificate);
    settings.deadline_s = 2;
    let _sending = Sending::begin(&bank, &settings);
    until_settled(&bank).await;
    assert_eq!(jobs(&bank).await, ["sent 1 -"]);
    assert_eq!(server.mails().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_send_is_a_dead_letter_and_holds_up_no_other() {
    let certificate = MailCertificate::generate();
    let server = MailServer::start(Protection::Implicit, &certificate);
    let bank = TestBank::new().await;
    for local in ["alice", "bob", "carol"] {
        queue_for(&bank, local).await;
    }
    // Sealed under a secret that is gone, and put there by another version.
    let poison = [
        "UPDATE core.mail_job SET sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1)
          WHERE mail_job_id = (SELECT mail_job_id FROM core.mail_job ORDER BY created_at LIMIT 1)",
        "UPDATE core.mail_job SET kind = 'telegram'
          WHERE mail_job_id = (SELECT mail_job_id FROM core.mail_job ORDER BY created_at LIMIT 1 OFFSET 1)",
    ];
    for change in poison {
        db::execute(&bank.owner, change).await.unwrap();
    }
    let mut settings = smtp(server.port(), Protection::Implicit, &certificate);
    settings.max_tries = 2;
    settings.parallel = 1;
    let _sending = Sending::begin(&bank, &settings);
    until_settled(&bank).await;
    assert_eq!(
        jobs(&bank).await,
        ["dead 2 sealed", "dead 2 unknown_kind", "sent 1 -"]
    );
    assert_eq!(server.recipients(), ["carol@example.com"]);
    // Once the cause is mended, the owner of the database lets them be tried again.
    let mend = "UPDATE core.mail_job SET kind = 'password_reset' WHERE kind = 'telegram'";
    db::execute(&bank.owner, mend).await.unwrap();
    let again = "SELECT core.retry_dead_mail(interval '1 hour')";
    assert_eq!(db::number(&bank.owner, again).await, 2);
    until_settled(&bank).await;
    assert_eq!(jobs(&bank).await, ["dead 2 sealed", "sent 1 -", "sent 1 -"]);
    assert_eq!(server.recipients(), ["carol@example.com", "bob@example.com"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_wait_for_a_server_that_is_away() {
    let certificate = MailCertificate::generate();
    let port = MailServer::start(Protection::Starttls, &certificate).port(); // gone at once
    let bank = TestBank::new().await;
    queue_for(&bank, "alice").await;
    let mut settings = smtp(port, Protection::Starttls, &certificate);
    settings.max_tries = 100;
    settings.backoff_ms = 1;
    let _sending = Sending::begin(&bank, &settings);
    until(&bank, "tries >= 3 AND fault = 'network'").await;
    let server = MailServer::start_at(port, Protection::Starttls, &certificate);
    db::execute(
        &bank.owner,
        "UPDATE core.mail_job SET due_at = now() WHERE lease IS NULL",
    )
    .await
    .unwrap();
    until(&bank, "state = 'sent'").await;
    assert_eq!(server.mails().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_holds_up_one_mail_and_no_other() {
    let certificate = MailCertificate::generate();
    let server = MailServer::start(Protection::Starttls, &certificate);
    let bank = TestBank::new().await;
    for local in ["slow.alice", "bob"] {
        queue_for(&bank, local).await;
    }
    let mut settings = smtp(server.port(), Protection::Starttls, &certificate);
    settings.deadline_s = 1;
    settings.max_tries = 1;
    settings.parallel = 2;
    let _sending = Sending::begin(&bank, &settings);
    until(&bank, "state = 'sent'").await;
    until_settled(&bank).await;
    assert_eq!(jobs(&bank).await, ["dead 1 timeout", "sent 1 -"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_whose_acceptance_was_lost_comes_twice_as_the_same() {
    let certificate = MailCertificate::generate();
    let server = MailServer::start(Protection::Starttls, &certificate);
    let bank = TestBank::new().await;
    let job = queue_for(&bank, "lost.alice").await;
    let _sending = Sending::begin(&bank, &smtp(server.port(), Protection::Starttls, &certificate));
    until(&bank, "state = 'sent' AND tries = 2").await;
    let mails = server.mails();
    assert_eq!(mails.len(), 2);
    let contents: Vec<_> = mails
        .iter()
        .map(|mail| mail["content"].as_str().unwrap())
        .collect();
    let id = format!("Message-ID: <{job}@bank.example>");
    assert!(
        contents.iter().all(|content| content.contains(&id)),
        "{contents:?}"
    );
    assert_eq!(token_in(contents[0]), token_in(contents[1]));
}

/// The mails in a directory, in the order of their names.
pub(crate) fn mails_in(directory: &Path) -> Vec<String> {
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .iter()
        .filter(|file| file.extension().is_some_and(|end| end == "eml"))
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_send_each_of_many_mails_once() {
    let directory = tempfile::tempdir().unwrap();
    let bank = TestBank::new().await;
    let mut conn = pool(&bank).begin().await.unwrap();
    let post = Post::new(settings().derivation_secrets());
    bank.register("alice@example.com").await.assert_status(202);
    let user = db::texts(&bank.owner, "SELECT user_id::text FROM core.user").await[0]
        .parse()
        .unwrap();
    db::execute(&bank.owner, "DELETE FROM core.mail_job")
        .await
        .unwrap();
    for number in 0..200 {
        let mail = notice(user, &format!("n{number}@example.com"));
        assert!(
            post.enqueue(&mut conn, &mail, Clock::system().now())
                .await
                .unwrap()
        );
    }
    let settings = MailSettings {
        directory: Some(directory.path().to_owned()),
        ..hurried()
    };
    let processes = [(); 3].map(|()| Sending::begin(&bank, &settings));
    // Nothing leaves before the transaction that it speaks of is there.
    assert_eq!(mails_in(directory.path()).len(), 0);
    conn.commit().await.unwrap();
    until(
        &bank,
        "(SELECT count(*) FROM core.mail_job WHERE state = 'sent') = 200",
    )
    .await;
    drop(processes);
    let tries = "SELECT count(*) FROM core.mail_job WHERE tries <> 1";
    assert_eq!(db::number(&bank.owner, tries).await, 0);
    let mails = mails_in(directory.path());
    let recipients: BTreeSet<_> = mails
        .iter()
        .filter_map(|mail| mail.lines().find(|line| line.starts_with("To: ")))
        .collect();
    assert_eq!((mails.len(), recipients.len()), (200, 200));
}

fn notice(user: Uuid, to: &str) -> Mail {
    Mail {
        kind: Kind::PasswordChanged,
        to: to.to_owned(),
        addressee: Addressee::User(user),
        language: Language::English,
        token: None,
        new_address: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_of_a_transaction_that_did_not_happen_is_never_sent() {
    let bank = TestBank::new().await;
    let mut tx = pool(&bank).begin().await.unwrap();
    let post = Post::new(settings().derivation_secrets());
    let mail = notice(Uuid::from_u128(1), "alice@example.com");
    assert!(post.enqueue(&mut tx, &mail, DateTime::UNIX_EPOCH).await.unwrap());
    tx.rollback().await.unwrap();
    assert_eq!(jobs(&bank).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_had_taken_is_taken_again_and_given_up_in_the_end() {
    let bank = TestBank::new().await;
    queue_for(&bank, "alice").await;
    let pool = pool(&bank);
    let over = "UPDATE core.mail_job SET due_at = now()";
    for attempt in 1..=3 {
        let lease = Uuid::new_v4();
        let taken = store::take(&pool, lease, 60, 3).await.unwrap().unwrap();
        assert_eq!(taken.tries, attempt);
        // Nobody else has it while the lease lasts, and the lease of another settles nothing.
        assert!(store::take(&pool, Uuid::new_v4(), 60, 3).await.unwrap().is_none());
        assert!(
            !store::settle(&pool, taken.id, Uuid::new_v4(), "sent", None)
                .await
                .unwrap()
        );
        assert!(
            !store::defer(&pool, taken.id, Uuid::new_v4(), 0, "network")
                .await
                .unwrap()
        );
        db::execute(&bank.owner, over).await.unwrap();
    }
    assert!(store::take(&pool, Uuid::new_v4(), 60, 3).await.unwrap().is_none());
    assert_eq!(jobs(&bank).await, ["dead 3 abandoned"]);
    let backlog = store::backlog(&pool).await.unwrap();
    assert_eq!((backlog.waiting, backlog.dead), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_is_sent_once_more_makes_no_used_ticket_good_again() {
    let bank = TestBank::new().await;
    bank.register("alice@example.com").await.assert_status(202);
    let (pool, token) = (pool(&bank), MailToken::generate().unwrap());
    let (ticket, asked) = (Kind::PasswordReset.ticket().unwrap(), Clock::system().now());
    let send = async || {
        store::ticket_by_mail(&pool, "alice@example.com", (ticket, false), &token.hash(), asked)
            .await
            .unwrap()
    };
    assert!(send().await.is_some());
    assert!(send().await.is_some(), "another try before it was used");
    let body = serde_json::json!({"token": *token.to_text(), "password": "a wholly different horse"});
    let reset = async || bank.post("/api/v1/auth/password/reset").json(&body).send().await;
    reset().await.assert_status(204);
    assert!(send().await.is_none());
    reset().await.assert_problem(403, "invalid-ticket");
    // Nor one that was asked for before the password changed, and waited.
    let waited = MailToken::generate().unwrap().hash();
    db::execute(&bank.owner, "DELETE FROM core.ticket").await.unwrap();
    let late = store::ticket_by_mail(&pool, "alice@example.com", (ticket, false), &waited, asked).await;
    assert!(late.unwrap().is_none());
    // Nor does one that was asked for before another, or days ago.
    let other = MailToken::generate().unwrap().hash();
    for age in [1, 2 * 86_400] {
        let before = asked - chrono::TimeDelta::seconds(age);
        let late = store::ticket_by_mail(&pool, "alice@example.com", (ticket, false), &other, before)
            .await
            .unwrap();
        assert!(late.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_alone_tells_neither_whom_a_mail_is_for_nor_its_token() {
    let bank = TestBank::new().await;
    queue_for(&bank, "alice").await;
    let rows = "SELECT encode(sealed, 'escape') || row_to_json(j)::text FROM core.mail_job j";
    let row = db::texts(&bank.owner, rows).await.remove(0);
    assert!(
        !row.contains("alice") && !row.contains("example.com") && !row.contains("token"),
        "{row}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_gets_no_more_than_it_may_also_when_it_is_asked_for_at_once() {
    let bank = TestBank::new().await;
    let ask = async |path: &str| {
        let asked = bank
            .post(path)
            .json(&serde_json::json!({"email": "Alice@example.com"}))
            .send()
            .await;
        (asked.status, asked.bytes)
    };
    let answers = join_all((0..10).map(|_| ask("/api/v1/auth/password/forgot"))).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer == &answers[0] && answer.0 == 202)
    );
    assert_eq!(jobs(&bank).await.len(), 1, "one in ten minutes");
    let earlier = "UPDATE core.mail_job SET created_at = created_at - interval '11 min'";
    for wanted in [2, 3, 4, 5, 5] {
        db::execute(&bank.owner, earlier).await.unwrap();
        ask("/api/v1/auth/password/forgot").await;
        assert_eq!(jobs(&bank).await.len(), wanted, "five in a day");
    }
    // Another kind has its own count.
    ask("/api/v1/auth/email/resend").await;
    assert_eq!(jobs(&bank).await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_ask_for_one_address_at_once_take_turns() {
    let bank = TestBank::new().await;
    let post = Post::new(settings().derivation_secrets());
    let mail = Mail {
        kind: Kind::PasswordReset,
        to: "alice@example.com".to_owned(),
        addressee: Addressee::Address,
        language: Language::English,
        token: MailToken::generate(),
        new_address: None,
    };
    let mut first = pool(&bank).begin().await.unwrap();
    assert!(
        post.enqueue(&mut first, &mail, Clock::system().now())
            .await
            .unwrap()
    );
    let second = bank
        .post("/api/v1/auth/password/forgot")
        .json(&serde_json::json!({"email": mail.to}));
    let first_ends = async {
        let second_waits = "EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                                     AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";
        until_true(&bank, second_waits).await;
        first.commit().await.unwrap();
    };
    let (answer, ()) = tokio::join!(second.send(), first_ends);
    answer.assert_status(202);
    assert_eq!(jobs(&bank).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_is_removed_and_what_waits_is_not() {
    let bank = TestBank::new().await;
    queue_for(&bank, "alice").await;
    bank.register("bob@example.com").await.assert_status(202);
    let lease = Uuid::new_v4();
    let job = store::take(&pool(&bank), lease, 60, 3).await.unwrap().unwrap();
    assert!(
        store::settle(&pool(&bank), job.id, lease, "sent", None)
            .await
            .unwrap()
    );
    let (pool, shutdown) = (pool(&bank), Shutdown::new());
    assert_eq!(upkeep::purge_once(&pool, &shutdown).await.unwrap(), 0);
    let old = "UPDATE core.mail_job SET settled_at = settled_at - interval '8 days', created_at = created_at - interval '8 days'";
    db::execute(&bank.owner, old).await.unwrap();
    db::execute(
        &bank.owner,
        "UPDATE core.ticket SET expires_at = now() - interval '2 days'",
    )
    .await
    .unwrap();
    let tickets = db::number(&bank.owner, "SELECT count(*) FROM core.ticket").await;
    assert_eq!(
        upkeep::purge_once(&pool, &shutdown).await.unwrap(),
        1 + tickets.unsigned_abs()
    );
    assert_eq!(jobs(&bank).await, ["waiting 0 -"]);
}
