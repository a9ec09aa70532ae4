//! What mails are for, through the router and the mailbox: verification, a new password, another address.

use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::mail::MailSettings;
use crate::mail::tests::{Sending, hurried, mails_in, plain_body, token_in, until_settled};
use crate::tests::bank::{Answer, Customer, PASSWORD, TestBank, settings};
use crate::tests::store;
use keyring::{Algorithm, SigningKey};

const NEW_PASSWORD: &str = "a wholly different horse";

/// A bank where people must verify their address, and the mailbox of all of them.
struct Office {
    bank: TestBank,
    mailbox: TempDir,
    _sending: Sending,
}

impl Office {
    async fn open() -> Self {
        let mut settings = settings();
        settings.auto_activate = false;
        let bank = TestBank::with(settings).await;
        bank.activate_key(&SigningKey::generate(Algorithm::EdDSA).unwrap())
            .await;
        let mailbox = tempfile::tempdir().unwrap();
        let mail = MailSettings {
            directory: Some(mailbox.path().to_owned()),
            ..hurried()
        };
        let sending = Sending::begin(&bank, &mail);
        Self {
            bank,
            mailbox,
            _sending: sending,
        }
    }

    /// All mails once the queue is empty, the oldest first.
    async fn mails(&self) -> Vec<String> {
        until_settled(&self.bank).await;
        mails_in(self.mailbox.path())
    }

    /// The newest mail to an address.
    async fn newest(&self, to: &str) -> String {
        let header = format!("\r\nTo: {to}\r\n");
        let mails = self.mails().await;
        let newest = mails.into_iter().rfind(|mail| mail.contains(&header));
        newest.unwrap_or_else(|| panic!("no mail to {to}"))
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.bank
            .post(&format!("/api/v1/auth/{path}"))
            .json(body)
            .send()
            .await
    }

    async fn forgot(&self, email: &str) -> Answer {
        self.post("password/forgot", &json!({"email": email})).await
    }

    async fn reset(&self, token: &str, password: &str) -> Answer {
        let body = json!({"token": token, "password": password});
        self.post("password/reset", &body).await
    }

    async fn keep(&self, token: &str) -> Answer {
        self.post("email/keep", &json!({"token": token})).await
    }

    async fn verify(&self, token: &str) -> Answer {
        self.post("email/verify", &json!({"token": token})).await
    }

    /// Somebody with a verified address, logged in.
    async fn customer(&self, name: &str) -> Customer {
        let email = format!("{name}@example.com");
        self.bank.register(&email).await.assert_status(202);
        let token = token_in(&self.newest(&email).await);
        self.verify(&token).await.assert_status(204);
        let login = self.bank.login(&email, PASSWORD).await;
        login.assert_status(200);
        Customer {
            email,
            access: login.text("access_token"),
            refresh: login.text("refresh_token"),
        }
    }

    async fn me(&self, customer: &Customer) -> Answer {
        self.bank.get("/api/v1/me").by(customer).send().await
    }

    async fn change(&self, customer: &Customer, email: &str, password: &str) -> Answer {
        let body = json!({"email": email, "password": password});
        self.bank
            .post("/api/v1/me/email")
            .by(customer)
            .json(&body)
            .send()
            .await
    }

    /// Lets another mail of each kind be asked for.
    async fn later(&self) {
        let sql = "UPDATE core.mail_job SET created_at = created_at - interval '11 min'";
        store::execute(&self.bank.owner, sql).await.unwrap();
        let sql = "UPDATE core.ticket SET requested_at = requested_at - interval '11 min'";
        store::execute(&self.bank.owner, sql).await.unwrap();
    }
}

/// All that an answer tells, but for what names it.
fn told(answer: &Answer) -> (u16, Vec<(String, String)>, Bytes) {
    let headers = answer.headers.iter().filter(|(name, _)| *name != "x-request-id");
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    (answer.status, headers.collect(), answer.bytes.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_ready_once_its_address_is_verified_and_a_ticket_is_used_once() {
    let office = Office::open().await;
    office.bank.register("alice@example.com").await.assert_status(202);
    let refused = office.bank.login("alice@example.com", PASSWORD).await;
    refused.assert_problem(401, "invalid-credentials");
    let token = token_in(&office.newest("alice@example.com").await);
    assert_eq!(token.len(), 43);
    for bad in ["", "x", &"A".repeat(43)] {
        office.verify(bad).await.assert_problem(403, "invalid-ticket");
    }
    office.verify(&token).await.assert_status(204);
    office.verify(&token).await.assert_problem(403, "invalid-ticket");
    office
        .bank
        .login("alice@example.com", PASSWORD)
        .await
        .assert_status(200);
    let trail = "SELECT action || ' ' || outcome FROM core.audit_event WHERE action LIKE 'user.%' ORDER BY audit_event_id";
    let trail = store::texts(&office.bank.owner, trail).await;
    assert_eq!(trail, ["user.registered done", "user.verified done"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_use_a_ticket_at_once_one_does() {
    let office = Office::open().await;
    office.bank.register("alice@example.com").await.assert_status(202);
    let token = token_in(&office.newest("alice@example.com").await);
    let answers = futures::future::join_all((0..20).map(|_| office.verify(&token))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 204).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_set_a_password_with_one_ticket_at_once_one_does() {
    let office = Office::open().await;
    let alice = office.customer("alice").await;
    let ask = json!({"email": alice.email});
    office.post("password/forgot", &ask).await.assert_status(202);
    let token = token_in(&office.newest(&alice.email).await);
    let passwords: Vec<_> = (0..8).map(|number| format!("{NEW_PASSWORD} {number}")).collect();
    let bodies: Vec<_> = passwords
        .iter()
        .map(|password| json!({"token": token, "password": password}))
        .collect();
    let answers = bodies.iter().map(|body| office.post("password/reset", body));
    let answers = futures::future::join_all(answers).await;
    let mut good = Vec::new();
    for (answer, password) in answers.iter().zip(&passwords) {
        if answer.status == 204 {
            good.push(password);
        } else {
            answer.assert_problem(403, "invalid-ticket");
        }
    }
    assert_eq!(good.len(), 1);
    for password in &passwords {
        let status = office.bank.login(&alice.email, password).await.status;
        assert_eq!(status == 200, password == good[0], "{password}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_for_a_password_is_over_after_an_hour() {
    let office = Office::open().await;
    let alice = office.customer("alice").await;
    let ask = json!({"email": alice.email});
    office.post("password/forgot", &ask).await.assert_status(202);
    let token = token_in(&office.newest(&alice.email).await);
    let later = "UPDATE core.ticket SET expires_at = expires_at - interval '1 hour'";
    store::execute(&office.bank.owner, later).await.unwrap();
    let reset = json!({"token": token, "password": NEW_PASSWORD});
    let answer = office.post("password/reset", &reset).await;
    answer.assert_problem(403, "invalid-ticket");
    office.bank.login(&alice.email, PASSWORD).await.assert_status(200);
    office.me(&alice).await.assert_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_leads_where_the_settings_say_whatever_host_a_request_names() {
    let office = Office::open().await;
    let alice = office.customer("alice").await;
    let ask = office
        .bank
        .post("/api/v1/auth/password/forgot")
        .header("host", "evil.example")
        .header("x-forwarded-host", "evil.example")
        .header("forwarded", "host=evil.example;proto=http")
        .header("origin", "https://evil.example");
    let ask = ask.json(&json!({"email": alice.email})).send().await;
    ask.assert_status(202);
    let mail = office.newest(&alice.email).await;
    let body = plain_body(&mail);
    assert!(body.contains("https://bank.example/reset-password#"), "{body}");
    assert!(!mail.contains("evil"), "{mail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_tokens_nor_addresses_are_in_the_database_where_an_auditor_or_the_service_looks() {
    let office = Office::open().await;
    let alice = office.customer("alice").await;
    let ask = json!({"email": alice.email});
    office.post("password/forgot", &ask).await.assert_status(202);
    let token = token_in(&office.newest(&alice.email).await);
    let everything = "SELECT row_to_json(t)::text FROM core.ticket t
        UNION ALL SELECT row_to_json(j)::text FROM core.mail_job j
        UNION ALL SELECT row_to_json(a)::text FROM core.audit_event a
        UNION ALL SELECT row_to_json(o)::text FROM core.outbox_event o";
    let rows = store::texts(&office.bank.owner, everything).await;
    assert!(rows.len() > 6, "{rows:?}");
    assert!(rows.iter().all(|row| !row.contains(&token)), "{rows:?}");
    for role in ["portico_core", "portico_auditor"] {
        let pool = office.bank.db.pool_as(role);
        for secret in ["token_hash", "email"] {
            let look = format!("SELECT {secret}::text FROM core.ticket");
            let refused = store::execute(&pool, &look).await.unwrap_err();
            assert!(
                refused.to_string().contains("permission denied"),
                "{role}: {refused}"
            );
        }
        for secret in ["sealed", "recipient_key"] {
            let look = format!("SELECT {secret}::text FROM core.mail_job");
            let refused = store::execute(&pool, &look).await.unwrap_err();
            assert!(
                refused.to_string().contains("permission denied"),
                "{role}: {refused}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_for_a_mail_takes_no_longer_for_an_address_that_has_an_account() {
    const OF_EACH: usize = 400;
    let bank = TestBank::new().await;
    bank.register("alice@example.com").await.assert_status(202);
    let known = format!(
        "INSERT INTO core.user (user_id, tenant_id, email, full_name, password_hash, status, created_at)
         SELECT gen_random_uuid(), tenant_id, 'known' || number || '@example.com', full_name, password_hash, status, created_at
           FROM core.user, generate_series(1, {OF_EACH}) number"
    );
    store::execute(&bank.owner, &known).await.unwrap();
    for path in ["/api/v1/auth/password/forgot", "/api/v1/auth/email/resend"] {
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for number in 1..=OF_EACH {
            for (times, whose) in [(&mut known, "known"), (&mut unknown, "never")] {
                let ask = json!({"email": format!("{whose}{number}@example.com")});
                let begin = Instant::now();
                bank.post(path).json(&ask).send().await.assert_status(202);
                times.push(begin.elapsed());
            }
        }
        // How often an account takes longer: half of the time, when its time tells nothing (10 % is five standard deviations).
        let longer = known
            .iter()
            .flat_map(|time| unknown.iter().map(move |other| time > other));
        let per_mille = longer.filter(|is_longer| *is_longer).count() * 1_000 / (OF_EACH * OF_EACH);
        assert!((400..=600).contains(&per_mille), "{path}: {per_mille} of 1000");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_ends_by_itself() {
    let office = Office::open().await;
    office.bank.register("alice@example.com").await.assert_status(202);
    let token = token_in(&office.newest("alice@example.com").await);
    let life = "SELECT count(*) FROM core.ticket WHERE expires_at BETWEEN now() + interval '23 h' AND now() + interval '25 h'";
    assert_eq!(store::number(&office.bank.owner, life).await, 1);
    let over = "UPDATE core.ticket SET expires_at = now() - interval '1 s'";
    store::execute(&office.bank.owner, over).await.unwrap();
    office.verify(&token).await.assert_problem(403, "invalid-ticket");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_an_account_is_told_by_mail_and_the_answer_tells_nobody() {
    let office = Office::open().await;
    let alice = office.customer("alice").await;
    let known = office.bank.register(&alice.email).await;
    let unknown = office.bank.register("nobody@example.com").await;
    assert_eq!(told(&known), told(&unknown));
    let told = office.newest(&alice.email).await;
    assert!(told.contains("Subject: You already have an account"), "{told}");
    assert!(!plain_body(&told).contains('#'), "{told}");
    office.bank.login(&alice.email, PASSWORD).await.assert_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_that_becomes_good_is_the_one_of_the_registration_whose_mail_is_answered() {
    let office = Office::open().await;
    // Somebody registers with an address that is not his; its owner does so later.
    let body = json!({"email": "alice@example.com", "full_name": "Mallory", "password": "a quartz lagoon at midnight"});
    office.post("register", &body).await.assert_status(202);
    let first = token_in(&office.newest("alice@example.com").await);
    office.bank.register("alice@example.com").await.assert_status(202);
    let second = token_in(&office.newest("alice@example.com").await);
    office.verify(&first).await.assert_problem(403, "invalid-ticket");
    office.verify(&second).await.assert_status(204);
    let refused = office
        .bank
        .login("alice@example.com", "a quartz lagoon at midnight")
        .await;
    refused.assert_problem(401, "invalid-credentials");
    office
        .bank
        .login("alice@example.com", PASSWORD)
        .await
        .assert_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verification_is_sent_again_in_place_of_the_first_to_whoever_waits_for_it_alone() {
    let office = Office::open().await;
    let alice = office.customer("alice").await;
    office.bank.register("bob@example.com").await.assert_status(202);
    let first = token_in(&office.newest("bob@example.com").await);
    let count = office.mails().await.len();
    let mut answers = Vec::new();
    for email in [alice.email.as_str(), "bob@example.com", "nobody@example.com"] {
        let answer = office.post("email/resend", &json!({"email": email})).await;
        answers.push(told(&answer));
    }
    assert!(
        answers
            .iter()
            .all(|answer| answer == &answers[0] && answer.0 == 202)
    );
    assert_eq!(office.mails().await.len(), count + 1);
    let second = token_in(&office.newest("bob@example.com").await);
    office.verify(&first).await.assert_problem(403, "invalid-ticket");
    office.verify(&second).await.assert_status(204);
    let dropped = "SELECT count(*) FROM core.mail_job WHERE state = 'dropped' AND sealed IS NULL";
    assert_eq!(store::number(&office.bank.owner, dropped).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_every_session_is_told_to_the_owner_and_can_be_set_once() {
    let office = Office::open().await;
    let alice = office.customer("alice").await;
    let mut answers = Vec::new();
    for email in [alice.email.as_str(), "nobody@example.com"] {
        let answer = office.forgot(email).await;
        answers.push(told(&answer));
    }
    assert_eq!(answers[0], answers[1]);
    let token = token_in(&office.newest(&alice.email).await);
    let life = "SELECT count(*) FROM core.ticket
                 WHERE kind = 'reset_password' AND expires_at BETWEEN now() + interval '59 min' AND now() + interval '61 min'";
    assert_eq!(store::number(&office.bank.owner, life).await, 1);
    // A password that the rules refuse leaves the ticket good.
    let reset = async |password: &str| office.reset(&token, password).await;
    let weak = reset("alice alice alice").await;
    weak.assert_problem(422, "validation-failed");
    assert!(
        weak.faults()
            .contains(&("/password".to_owned(), "contains_context".to_owned()))
    );
    reset(NEW_PASSWORD).await.assert_status(204);
    reset(NEW_PASSWORD).await.assert_problem(403, "invalid-ticket");

    office.me(&alice).await.assert_problem(401, "session-ended");
    let gateways = "SELECT count(*) FROM control.revocation WHERE kind = 'session'";
    assert_eq!(store::number(&office.bank.owner, gateways).await, 1);
    let old = office.bank.login(&alice.email, PASSWORD).await;
    old.assert_problem(401, "invalid-credentials");
    office
        .bank
        .login(&alice.email, NEW_PASSWORD)
        .await
        .assert_status(200);
    let told = office.newest(&alice.email).await;
    assert!(told.contains("Subject: Your password was changed"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_by_mail_goes_around_no_second_factor() {
    let office = Office::open().await;
    let alice = office.customer("alice").await;
    let adds = "INSERT INTO core.totp_factor (user_id, session_id, sealed, created_at, expires_at, confirmed_at, last_used_at)
                SELECT user_id, session_id, '\\x00', now(), now() + interval '1 hour', now(), now() FROM core.session";
    store::execute(&office.bank.owner, adds).await.unwrap();
    office.forgot(&alice.email).await.assert_status(202);
    let token = token_in(&office.newest(&alice.email).await);
    office.reset(&token, NEW_PASSWORD).await.assert_status(204);
    let login = office.bank.login(&alice.email, NEW_PASSWORD).await;
    login.assert_problem(401, "mfa-required");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_changed_is_told_to_its_owner_and_forgets_what_waits_for_a_mailbox() {
    let office = Office::open().await;
    let alice = office.customer("alice").await;
    // A thief who knows the password wants the account at his address.
    let thief = "mallory@example.com";
    office.change(&alice, thief, PASSWORD).await.assert_status(202);
    let change = token_in(&office.newest(thief).await);
    let keep = token_in(&office.newest(&alice.email).await);
    office.forgot(&alice.email).await.assert_status(202);
    let reset = token_in(&office.newest(&alice.email).await);
    office
        .bank
        .post("/api/v1/me/password")
        .by(&alice)
        .json(&json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD}))
        .send()
        .await
        .assert_status(204);
    let told = office.newest(&alice.email).await;
    assert!(told.contains("Subject: Your password was changed"), "{told}");
    office.verify(&change).await.assert_problem(403, "invalid-ticket");
    office
        .reset(&reset, "another lagoon of quartz")
        .await
        .assert_problem(403, "invalid-ticket");
    assert_eq!(office.me(&alice).await.json["email"], alice.email);
    // The notice of the change is still good: it ends every session, whoever has it.
    office.keep(&keep).await.assert_status(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_ticket_for_a_password_is_the_only_one() {
    let office = Office::open().await;
    let alice = office.customer("alice").await;
    let ask = json!({"email": alice.email});
    office.post("password/forgot", &ask).await.assert_status(202);
    let first = token_in(&office.newest(&alice.email).await);
    office.later().await;
    office.post("password/forgot", &ask).await.assert_status(202);
    let second = token_in(&office.newest(&alice.email).await);
    let reset = async |token: &str| office.reset(token, NEW_PASSWORD).await;
    reset(&first).await.assert_problem(403, "invalid-ticket");
    reset(&second).await.assert_status(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_the_mailbox_of_a_pending_account_may_set_its_password_and_one_that_is_disabled_gets_no_mail()
 {
    let office = Office::open().await;
    office.bank.register("bob@example.com").await.assert_status(202);
    office.forgot("bob@example.com").await.assert_status(202);
    let token = token_in(&office.newest("bob@example.com").await);
    office.reset(&token, NEW_PASSWORD).await.assert_status(204);
    office
        .bank
        .login("bob@example.com", NEW_PASSWORD)
        .await
        .assert_status(200);

    let alice = office.customer("alice").await;
    store::execute(
        &office.bank.owner,
        "UPDATE core.user SET status = 'disabled' WHERE email LIKE 'alice%'",
    )
    .await
    .unwrap();
    let count = office.mails().await.len();
    office.forgot(&alice.email).await.assert_status(202);
    assert_eq!(office.mails().await.len(), count);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_changes_when_the_new_mailbox_agrees() {
    let office = Office::open().await;
    let alice = office.customer("alice").await;
    let new = "alice@new.example";
    office
        .change(&alice, new, "not the password")
        .await
        .assert_problem(403, "wrong-password");
    let guesses = "SELECT action || ' ' || outcome FROM core.audit_event WHERE outcome = 'wrong_password'";
    assert_eq!(
        store::texts(&office.bank.owner, guesses).await,
        ["user.email_change_requested wrong_password"]
    );
    office
        .change(&alice, "nonsense", PASSWORD)
        .await
        .assert_problem(422, "validation-failed");
    office
        .change(&alice, "ALICE@example.com", PASSWORD)
        .await
        .assert_problem(422, "validation-failed");
    office
        .change(&alice, "Alice@new.example", PASSWORD)
        .await
        .assert_status(202);
    assert_eq!(office.me(&alice).await.json["email"], alice.email);
    let notice = office.newest(&alice.email).await;
    assert!(plain_body(&notice).contains("a…@new.example"), "{notice}");
    office
        .verify(&token_in(&office.newest(new).await))
        .await
        .assert_status(204);
    assert_eq!(office.me(&alice).await.json["email"], new);
    office.bank.login(new, PASSWORD).await.assert_status(200);
    office
        .bank
        .login(&alice.email, PASSWORD)
        .await
        .assert_problem(401, "invalid-credentials");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_mailbox_takes_its_address_back_before_and_after_the_change_and_nobody_takes_it_meanwhile() {
    for is_changed in [false, true] {
        let office = Office::open().await;
        // A thief who knows the password.
        let thief = office.customer("alice").await;
        office
            .change(&thief, "mallory@example.com", PASSWORD)
            .await
            .assert_status(202);
        let keep = token_in(&office.newest(&thief.email).await);
        let verify = token_in(&office.newest("mallory@example.com").await);
        if is_changed {
            office.verify(&verify).await.assert_status(204);
            // He hides better, and registers the old address.
            office
                .change(&thief, "mallory2@example.com", PASSWORD)
                .await
                .assert_status(202);
            let hide = token_in(&office.newest("mallory2@example.com").await);
            office.verify(&hide).await.assert_status(204);
            office.bank.register(&thief.email).await.assert_status(202);
        }
        office.keep(&keep).await.assert_status(204);
        office.keep(&keep).await.assert_problem(403, "invalid-ticket");
        office.verify(&verify).await.assert_problem(403, "invalid-ticket");
        office.me(&thief).await.assert_problem(401, "session-ended");
        // The owner sets a new password with the mail that follows.
        let token = token_in(&office.newest(&thief.email).await);
        office.reset(&token, NEW_PASSWORD).await.assert_status(204);
        office
            .bank
            .login(&thief.email, NEW_PASSWORD)
            .await
            .assert_status(200);
        let addresses = "SELECT email FROM core.user";
        assert_eq!(store::texts(&office.bank.owner, addresses).await, [thief.email]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_was_the_owners_earlier_outranks_that_of_a_thief() {
    let office = Office::open().await;
    let thief = office.customer("alice").await;
    let (first, second) = ("mallory@example.com", "mallory2@example.com");
    office.change(&thief, first, PASSWORD).await.assert_status(202);
    let keep = token_in(&office.newest(&thief.email).await);
    office
        .verify(&token_in(&office.newest(first).await))
        .await
        .assert_status(204);
    // His own mailbox stops a second change, which takes nothing from the owner.
    office.change(&thief, second, PASSWORD).await.assert_status(202);
    let his = token_in(&office.newest(first).await);
    office.keep(&his).await.assert_status(204);
    office.keep(&keep).await.assert_status(204);
    let addresses = "SELECT email FROM core.user";
    assert_eq!(store::texts(&office.bank.owner, addresses).await, [thief.email]);
    // What was sent to his mailbox sets no password any more.
    let lost = token_in(&office.newest(first).await);
    office
        .reset(&lost, NEW_PASSWORD)
        .await
        .assert_problem(403, "invalid-ticket");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_address_that_is_kept_the_password_ends_and_a_new_one_can_be_set_whatever_was_sent_before() {
    let office = Office::open().await;
    let thief = office.customer("alice").await;
    office
        .change(&thief, "mallory@example.com", PASSWORD)
        .await
        .assert_status(202);
    let keep = token_in(&office.newest(&thief.email).await);
    // So many were asked for that there is none to be had today.
    for _ in 0..5 {
        office.forgot(&thief.email).await.assert_status(202);
        office.later().await;
    }
    let count = office.mails().await.len();
    office.keep(&keep).await.assert_status(204);
    assert_eq!(office.mails().await.len(), count + 1);
    let needed = office.newest(&thief.email).await;
    assert!(
        needed.contains("Subject: Your account needs a new password") && needed.contains("/reset-password#"),
        "{needed}"
    );
    let known = office.bank.login(&thief.email, PASSWORD).await;
    known.assert_problem(401, "invalid-credentials");
    office
        .reset(&token_in(&needed), NEW_PASSWORD)
        .await
        .assert_status(204);
    let new = office.bank.login(&thief.email, NEW_PASSWORD).await;
    new.assert_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_address_that_is_overtaken_by_a_new_password_is_none() {
    let office = Office::open().await;
    let thief = office.customer("alice").await;
    let mut owner = office.bank.owner.begin().await.unwrap();
    let hold = "UPDATE core.user SET password_version = password_version + 1";
    store::execute_on(&mut owner, hold).await.unwrap();
    let waits = async {
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        let tuple = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        while store::number(&office.bank.owner, waiting).await
            + store::number(&office.bank.owner, tuple).await
            == 0
        {
            tokio::task::yield_now().await;
        }
        owner.commit().await.unwrap();
    };
    let (answer, ()) = tokio::join!(office.change(&thief, "mallory@example.com", PASSWORD), waits);
    answer.assert_problem(401, "session-ended");
    let tickets = "SELECT count(*) FROM core.ticket WHERE kind = 'change_email'";
    assert_eq!(store::number(&office.bank.owner, tickets).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_who_register_with_an_address_nobodys_password_becomes_good_but_the_one_of_its_mailbox() {
    let office = Office::open().await;
    let (email, his) = ("alice@example.com", "a quartz lagoon at midnight");
    let mallory = json!({"email": email, "full_name": "Mallory", "password": his});
    for _ in 0..5 {
        office.post("register", &mallory).await.assert_status(202);
    }
    let first = token_in(&office.newest(email).await);
    let count = office.mails().await.len();
    office.bank.register(email).await.assert_status(202);
    assert_eq!(office.mails().await.len(), count, "no more today");
    office.verify(&first).await.assert_problem(403, "invalid-ticket");
    office
        .post("email/resend", &json!({"email": email}))
        .await
        .assert_status(202);
    let needed = office.newest(email).await;
    assert!(needed.contains("/reset-password#"), "{needed}");
    office
        .verify(&token_in(&needed))
        .await
        .assert_problem(403, "invalid-ticket");
    office
        .reset(&token_in(&needed), NEW_PASSWORD)
        .await
        .assert_status(204);
    let refused = office.bank.login(email, his).await;
    refused.assert_problem(401, "invalid-credentials");
    office.bank.login(email, NEW_PASSWORD).await.assert_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_the_address_of_another_and_an_unverified_one_does_not_stand_in_the_way() {
    let office = Office::open().await;
    let (alice, bob) = (office.customer("alice").await, office.customer("bob").await);
    office
        .bank
        .register("squatted@example.com")
        .await
        .assert_status(202);
    let free = office.change(&alice, "free@example.com", PASSWORD).await;
    let taken = office.change(&alice, &bob.email, PASSWORD).await;
    assert_eq!(told(&free), told(&taken));
    office
        .verify(&token_in(&office.newest(&bob.email).await))
        .await
        .assert_problem(403, "invalid-ticket");
    assert_eq!(office.me(&alice).await.json["email"], alice.email);

    office
        .change(&alice, "squatted@example.com", PASSWORD)
        .await
        .assert_status(202);
    office
        .verify(&token_in(&office.newest("squatted@example.com").await))
        .await
        .assert_status(204);
    assert_eq!(office.me(&alice).await.json["email"], "squatted@example.com");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_in_the_language_of_the_registration_or_of_the_request() {
    let office = Office::open().await;
    let body = json!({"email": "jean@example.com", "full_name": "Jean", "password": PASSWORD});
    let register = office
        .bank
        .post("/api/v1/auth/register")
        .header("accept-language", "fr-CH, en;q=0.5");
    register.json(&body).send().await.assert_status(202);
    let mail = plain_body(&office.newest("jean@example.com").await);
    assert!(mail.contains("Bonjour Jean,"), "{mail}");
    // The preference of the account comes first.
    let forgot = office
        .bank
        .post("/api/v1/auth/password/forgot")
        .header("accept-language", "de");
    forgot
        .json(&json!({"email": "jean@example.com"}))
        .send()
        .await
        .assert_status(202);
    let mail = plain_body(&office.newest("jean@example.com").await);
    assert!(mail.contains("Choisir un nouveau mot de passe"), "{mail}");
    // Without one the request decides.
    office.bank.register("eva@example.com").await.assert_status(202);
    let forgot = office
        .bank
        .post("/api/v1/auth/password/forgot")
        .header("accept-language", "de");
    forgot
        .json(&json!({"email": "eva@example.com"}))
        .send()
        .await
        .assert_status(202);
    let mail = plain_body(&office.newest("eva@example.com").await);
    assert!(mail.contains("Guten Tag Test Person,"), "{mail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_are_for_their_reader_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let office = Office::open().await;
    office.customer("alice").await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for entry in std::fs::read_dir(office.mailbox.path()).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

/// Five wrong passwords, each from elsewhere.
async fn lock(office: &Office, email: &str) {
    for number in 0..5 {
        let guess = office
            .bank
            .post("/api/v1/auth/login")
            .header("x-forwarded-for", &format!("198.51.100.{number}"))
            .json(&json!({"email": email, "password": "not the password at all"}));
        guess.send().await.assert_problem(401, "invalid-credentials");
    }
    let locked = office.bank.login(email, PASSWORD).await;
    locked.assert_problem(429, "too-many-attempts");
}

/// The cookie that an answer sets.
fn cookie_of(answer: &Answer) -> String {
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

async fn login_with_cookie(office: &Office, cookie: &str, email: &str, password: &str) -> Answer {
    let login = office.bank.post("/api/v1/auth/login").header("cookie", cookie);
    let body = json!({"email": email, "password": password});
    login.json(&body).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_lock_begins_its_owner_is_written_to_once_a_day_with_a_link_that_lifts_it() {
    let office = Office::open().await;
    let alice = office.customer("alice").await;
    lock(&office, &alice.email).await;
    let mail = office.newest(&alice.email).await;
    assert!(mail.contains("Subject: Logging in is locked"), "{mail}");
    let token = json!({"token": token_in(&mail)});
    office.post("unlock", &token).await.assert_status(204);
    office.bank.login(&alice.email, PASSWORD).await.assert_status(200);

    let before = office.mails().await.len();
    lock(&office, &alice.email).await;
    assert_eq!(office.mails().await.len(), before, "the second lock of a day");
    let sql = "UPDATE core.mail_job SET created_at = created_at - interval '1 day'";
    store::execute(&office.bank.owner, sql).await.unwrap();
    forget(&office).await;
    lock(&office, &alice.email).await;
    assert_eq!(office.mails().await.len(), before + 1, "the next day");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_a_name_that_nobody_has_queues_the_same_mail_and_sends_none() {
    let office = Office::open().await;
    lock(&office, "nobody@example.com").await;
    assert_eq!(office.mails().await, Vec::<String>::new());
    let queued = "SELECT kind || ' ' || state FROM core.mail_job";
    assert_eq!(store::texts(&office.bank.owner, queued).await, ["locked dropped"]);
}

/// Lets every lock be over.
async fn forget(office: &Office) {
    let sql = "DELETE FROM core.gate_counter";
    store::execute(&office.bank.owner, sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn l4_the_link_of_a_mail_lifts_the_lock_once_and_its_browser_is_locked_out_no_more() {
    let office = Office::open().await;
    let alice = office.customer("alice").await;
    lock(&office, &alice.email).await;
    let ask = json!({"email": alice.email});
    office.post("unlock/send", &ask).await.assert_status(202);
    let mail = office.newest(&alice.email).await;
    assert!(plain_body(&mail).contains("/unlock#"), "{mail}");
    let token = json!({"token": token_in(&mail)});
    let unlocked = office.post("unlock", &token).await;
    let cookie = cookie_of(unlocked.assert_status(204));
    office
        .post("unlock", &token)
        .await
        .assert_problem(403, "invalid-ticket");
    office.bank.login(&alice.email, PASSWORD).await.assert_status(200);
    lock(&office, &alice.email).await;
    let trusted = login_with_cookie(&office, &cookie, &alice.email, PASSWORD).await;
    trusted.assert_status(200);
    let trail = "SELECT outcome FROM core.audit_event WHERE action = 'account.unlocked'";
    assert_eq!(store::texts(&office.bank.owner, trail).await, ["mail"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_for_a_mail_that_unlocks_learns_nothing_and_its_ticket_opens_nothing_else() {
    let office = Office::open().await;
    let alice = office.customer("alice").await;
    let known = office.post("unlock/send", &json!({"email": alice.email})).await;
    let nobody = office
        .post("unlock/send", &json!({"email": "nobody@example.com"}))
        .await;
    assert_eq!(told(&known), told(&nobody));
    let token = token_in(&office.newest(&alice.email).await);
    office.verify(&token).await.assert_problem(403, "invalid-ticket");
    let reset = json!({"token": token, "password": NEW_PASSWORD});
    office
        .post("password/reset", &reset)
        .await
        .assert_problem(403, "invalid-ticket");
    office
        .post("password/forgot", &json!({"email": alice.email}))
        .await
        .assert_status(202);
    let reset = token_in(&office.newest(&alice.email).await);
    office
        .post("unlock", &json!({"token": reset}))
        .await
        .assert_problem(403, "invalid-ticket");
    // Nothing was locked: nothing is said of it.
    office
        .post("unlock", &json!({"token": token}))
        .await
        .assert_status(204);
    let trail = "SELECT count(*) FROM core.audit_event WHERE action = 'account.unlocked'";
    assert_eq!(store::number(&office.bank.owner, trail).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_by_mail_lifts_the_lock_and_no_device_is_trusted_any_more() {
    let office = Office::open().await;
    let alice = office.customer("alice").await;
    let cookie = cookie_of(&office.bank.login(&alice.email, PASSWORD).await);
    lock(&office, &alice.email).await;
    login_with_cookie(&office, &cookie, &alice.email, PASSWORD)
        .await
        .assert_status(200);
    office
        .post("password/forgot", &json!({"email": alice.email}))
        .await
        .assert_status(202);
    let token = token_in(&office.newest(&alice.email).await);
    let reset = json!({"token": token, "password": NEW_PASSWORD});
    office.post("password/reset", &reset).await.assert_status(204);
    office
        .bank
        .login(&alice.email, NEW_PASSWORD)
        .await
        .assert_status(200);
    lock(&office, &alice.email).await;
    let thief = login_with_cookie(&office, &cookie, &alice.email, NEW_PASSWORD).await;
    thief.assert_problem(429, "too-many-attempts");
    let trail = "SELECT DISTINCT action || ' ' || outcome FROM core.audit_event
                  WHERE outcome = 'password_reset' AND action NOT LIKE 'session.%' ORDER BY 1";
    assert_eq!(
        store::texts(&office.bank.owner, trail).await,
        [
            "account.unlocked password_reset",
            "device.distrusted password_reset"
        ]
    );
}
