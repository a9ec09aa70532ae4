//! Sessions through the router: what a person sees of his own, and how they end.

use std::time::Duration;

use serde_json::{Value, json};

use crate::tests::bank::{Answer, Customer, PASSWORD, TestBank};
use crate::tests::store;

const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64)";

/// One more log-in of the same person.
async fn log_in_from(bank: &TestBank, customer: &Customer, agent: &str, address: &str) -> Customer {
    let login = bank
        .post("/api/v1/auth/login")
        .header("user-agent", agent)
        .header("x-forwarded-for", address)
        .json(&json!({"email": customer.email, "password": PASSWORD}))
        .send()
        .await;
    login.assert_status(200);
    Customer {
        email: customer.email.clone(),
        access: login.text("access_token"),
        refresh: login.text("refresh_token"),
    }
}

async fn list(bank: &TestBank, customer: &Customer) -> Vec<Value> {
    let answer = bank.get("/api/v1/me/sessions").by(customer).send().await;
    answer.assert_status(200).json["data"].as_array().unwrap().clone()
}

async fn end(bank: &TestBank, customer: &Customer, which: &str) -> Answer {
    let path = format!("/api/v1/me/sessions{which}");
    bank.call(http::Method::DELETE, &path).by(customer).send().await
}

async fn name(bank: &TestBank, customer: &Customer, id: &str, name: &str) -> Answer {
    bank.call(http::Method::PATCH, &format!("/api/v1/me/sessions/{id}"))
        .by(customer)
        .json(&json!({"name": name}))
        .send()
        .await
}

/// Whether the access token and the refresh token still work.
async fn works(bank: &TestBank, customer: &Customer) -> (bool, bool) {
    let me = bank.get("/api/v1/me").by(customer).send().await.status;
    let body = json!({"refresh_token": customer.refresh});
    let refresh = bank.post("/api/v1/auth/refresh").json(&body).send().await.status;
    (me == 200, refresh == 200)
}

fn id(bank: &TestBank, customer: &Customer) -> String {
    bank.claims(customer).sid.unwrap()
}

async fn told_to_gateways(bank: &TestBank) -> Vec<String> {
    store::texts(
        &bank.owner,
        "SELECT name FROM control.revocation WHERE kind = 'session' ORDER BY name",
    )
    .await
}

#[tokio::test]
async fn one_sees_where_one_is_logged_in() {
    let bank = TestBank::new().await;
    let phone = bank.customer("alice").await;
    let laptop = log_in_from(&bank, &phone, AGENT, "192.0.2.77").await;
    let tablet = log_in_from(&bank, &phone, "", "2001:db8:1:2:3::4").await;
    bank.customer("bob").await;

    let sessions = list(&bank, &laptop).await;
    let ids: Vec<_> = sessions
        .iter()
        .map(|session| session["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, [id(&bank, &tablet), id(&bank, &laptop), id(&bank, &phone)]);
    let seen: Vec<_> = sessions
        .iter()
        .map(|session| {
            (
                &session["user_agent"],
                &session["network"],
                session["current"].as_bool().unwrap(),
            )
        })
        .collect();
    let null = Value::Null;
    assert_eq!(
        seen,
        [
            (&null, &json!("2001:db8:1::/48"), false),
            (&json!(AGENT), &json!("192.0.2.0/24"), true),
            (&null, &null, false)
        ]
    );
    assert!(
        sessions
            .iter()
            .all(|session| session["expires_at"].as_str() > session["last_used_at"].as_str())
    );
    let addresses =
        "SELECT count(*) FROM core.session WHERE network::text LIKE '%.77%' OR network::text LIKE '%::4%'";
    assert_eq!(store::number(&bank.owner, addresses).await, 0);
}

#[tokio::test]
async fn what_is_over_is_not_listed() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    for past in [
        "absolute_expires_at = now()",
        "revoked_at = now(), revoked_reason = 'logout'",
    ] {
        let other = log_in_from(&bank, &alice, AGENT, "192.0.2.77").await;
        assert_eq!(list(&bank, &alice).await.len(), 2);
        let session = bank.claims(&other).sid.unwrap();
        let sql = format!("UPDATE core.session SET {past} WHERE user_agent IS NOT NULL");
        store::execute(&bank.owner, &sql).await.unwrap();
        assert_eq!(list(&bank, &alice).await.len(), 1, "{past}");
        name(&bank, &alice, &session, "Old")
            .await
            .assert_problem(404, "session-not-found");
    }
    log_in_from(&bank, &alice, AGENT, "192.0.2.77").await;
    store::execute(&bank.owner, "UPDATE core.refresh_token SET expires_at = now()")
        .await
        .unwrap();
    assert_eq!(
        list(&bank, &alice).await,
        Vec::<Value>::new(),
        "nobody can refresh them"
    );
}

#[tokio::test]
async fn a_refresh_keeps_the_session_and_its_name() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    name(&bank, &alice, &id(&bank, &alice), "  My phone ")
        .await
        .assert_status(204);
    let body = json!({"refresh_token": alice.refresh});
    bank.post("/api/v1/auth/refresh")
        .json(&body)
        .send()
        .await
        .assert_status(200);
    let sessions = list(&bank, &alice).await;
    assert_eq!((sessions.len(), &sessions[0]["name"]), (1, &json!("My phone")));
    for wrong in ["", "  ", "a\u{7}b", &"x".repeat(65)] {
        let answer = name(&bank, &alice, &id(&bank, &alice), wrong).await;
        answer.assert_problem(422, "validation-failed");
        assert_eq!(
            answer.faults(),
            [("/name".to_owned(), "invalid_value".to_owned())]
        );
    }
}

#[tokio::test]
async fn one_session_ends_and_the_others_go_on() {
    let bank = TestBank::new().await;
    let phone = bank.customer("alice").await;
    let laptop = log_in_from(&bank, &phone, AGENT, "192.0.2.77").await;
    let stolen = id(&bank, &laptop);
    end(&bank, &phone, &format!("/{stolen}")).await.assert_status(204);
    assert_eq!(works(&bank, &laptop).await, (false, false));
    assert_eq!(works(&bank, &phone).await, (true, true));
    end(&bank, &phone, &format!("/{stolen}"))
        .await
        .assert_problem(404, "session-not-found");
    assert_eq!(told_to_gateways(&bank).await, [stolen]);
    let trail = "SELECT outcome FROM core.audit_event WHERE action = 'session.revoked'";
    assert_eq!(store::texts(&bank.owner, trail).await, ["ended_by_owner"]);
}

#[tokio::test]
async fn all_other_sessions_end_or_all_of_them() {
    let bank = TestBank::new().await;
    let phone = bank.customer("alice").await;
    let laptop = log_in_from(&bank, &phone, AGENT, "192.0.2.77").await;
    let tablet = log_in_from(&bank, &phone, AGENT, "192.0.2.78").await;
    let bob = bank.customer("bob").await;
    let others = end(&bank, &phone, "?keep=current").await;
    assert_eq!(others.assert_status(200).json, json!({"ended": 2}));
    assert_eq!(
        end(&bank, &phone, "?keep=current").await.json,
        json!({"ended": 0})
    );
    for ended in [&laptop, &tablet] {
        assert_eq!(works(&bank, ended).await, (false, false));
    }
    assert_eq!(
        end(&bank, &phone, "").await.assert_status(200).json,
        json!({"ended": 1})
    );
    assert_eq!(works(&bank, &phone).await, (false, false));
    end(&bank, &phone, "").await.assert_problem(401, "session-ended");
    assert_eq!(works(&bank, &bob).await, (true, true));
    assert_eq!(told_to_gateways(&bank).await.len(), 3);
}

/// A session that nobody used for longer than an access token lives has none that a gateway could take.
#[tokio::test]
async fn gateways_are_told_only_of_sessions_that_have_tokens() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    store::execute(
        &bank.owner,
        "UPDATE core.session SET last_used_at = now() - interval '601 s'",
    )
    .await
    .unwrap();
    let laptop = log_in_from(&bank, &alice, AGENT, "192.0.2.77").await;
    assert_eq!(end(&bank, &laptop, "").await.json, json!({"ended": 2}));
    assert_eq!(told_to_gateways(&bank).await, [id(&bank, &laptop)]);
}

/// Whichever of the two comes first: no access token is left that gateways were not told of.
#[tokio::test]
async fn a_refresh_of_a_session_that_ends_is_too_late_or_told_to_gateways() {
    let bank = TestBank::new().await;
    let phone = bank.customer("alice").await;
    let laptop = log_in_from(&bank, &phone, AGENT, "192.0.2.77").await;
    let unused = "UPDATE core.session SET last_used_at = now() - interval '601 s'";
    store::execute(&bank.owner, unused).await.unwrap();
    let mut held = bank.owner.begin().await.unwrap();
    store::execute_on(&mut held, "SELECT FROM core.refresh_token FOR UPDATE")
        .await
        .unwrap();
    let body = json!({"refresh_token": laptop.refresh});
    let refresh = bank.post("/api/v1/auth/refresh").json(&body).send();
    let ends = async {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while store::number(&bank.owner, waiting).await == 0 {
            tokio::task::yield_now().await;
        }
        let ending = end(&bank, &phone, "?keep=current");
        tokio::pin!(ending);
        // Time for it to pass the refresh, where it could.
        let passed = tokio::time::timeout(Duration::from_millis(300), &mut ending).await;
        held.rollback().await.unwrap();
        match passed {
            Ok(ended) => ended,
            Err(_) => ending.await,
        }
    };
    let (refreshed, ended) = tokio::join!(refresh, ends);
    assert_eq!(ended.json, json!({"ended": 1}));
    let was_told = told_to_gateways(&bank).await == [id(&bank, &laptop)];
    assert!(was_told || refreshed.status == 401, "{}", refreshed.status);
    assert_eq!(works(&bank, &laptop).await, (false, false));
}

#[tokio::test]
async fn somebody_elses_session_is_none() {
    let bank = TestBank::new().await;
    let (alice, bob) = (bank.customer("alice").await, bank.customer("bob").await);
    let his = id(&bank, &bob);
    end(&bank, &alice, &format!("/{his}"))
        .await
        .assert_problem(404, "session-not-found");
    name(&bank, &alice, &his, "Mine")
        .await
        .assert_problem(404, "session-not-found");
    end(&bank, &alice, "").await.assert_status(200);
    assert_eq!(works(&bank, &bob).await, (true, true));
    assert_eq!(list(&bank, &bob).await[0]["name"], Value::Null);
}

#[tokio::test]
async fn a_misspelt_parameter_ends_nothing() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    for query in ["?keep=all", "?kep=current", "?keep=current&keep=current"] {
        end(&bank, &alice, query)
            .await
            .assert_problem(422, "validation-failed");
    }
    end(&bank, &alice, "/ses_nonsense")
        .await
        .assert_problem(404, "not-found");
    assert_eq!(works(&bank, &alice).await, (true, true));
}
