//! An answer is for one person, for as long as nothing has changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;
use tokio::sync::Semaphore;

use super::service::{Asked, Reply, Service};
use super::{BALANCE, in_front_of, policy, status, text, token};
use crate::clients::problem;
use crate::gateway_process::{GatewayProcess, eventually};
use crate::revocations::lock_out;

fn whose(asked: &Asked) -> Reply {
    let whose = [
        "x-auth-subject",
        "x-auth-session",
        "x-auth-tenant",
        "x-auth-scopes",
    ]
    .map(|name| asked.header(name).unwrap_or("-").to_owned());
    Reply::good("", whose.join("/"))
}

#[tokio::test]
async fn nobody_is_ever_given_anothers_answer() {
    let service = Service::start(whose).await;
    let gateway = in_front_of(&service).await;
    let people = [
        (
            "usr_alice",
            json!({}),
            "usr_alice/ses_1/ten_1/accounts:read transfers:write",
        ),
        (
            "usr_bob",
            json!({}),
            "usr_bob/ses_1/ten_1/accounts:read transfers:write",
        ),
        (
            "usr_alice",
            json!({"sid": "ses_2"}),
            "usr_alice/ses_2/ten_1/accounts:read transfers:write",
        ),
        (
            "usr_alice",
            json!({"tid": "ten_2"}),
            "usr_alice/ses_1/ten_2/accounts:read transfers:write",
        ),
        (
            "usr_alice",
            json!({"tid": null}),
            "usr_alice/ses_1/-/accounts:read transfers:write",
        ),
        (
            "usr_alice",
            json!({"scope": "accounts:read"}),
            "usr_alice/ses_1/ten_1/accounts:read",
        ),
    ];
    for round in 0..3 {
        for (subject, changes, answer) in &people {
            let token = token(&gateway, subject, changes.clone());
            let got = gateway.get_with(BALANCE, &token).await;
            let outcome = if round == 0 {
                "portico; fwd=miss"
            } else {
                "portico; hit"
            };
            assert_eq!(status(&got), outcome, "{answer}");
            assert_eq!(text(got).await, *answer);
        }
    }
    assert_eq!(service.count(), people.len());
    problem(gateway.get(BALANCE).await, 401, "unauthenticated").await;
}

#[tokio::test]
async fn an_upstream_that_is_sent_the_token_has_an_answer_for_each_token() {
    let service = Service::start(|asked| Reply::good("", asked.header("authorization").unwrap())).await;
    let text_of_policy = policy(&service, "").replace("authorization: strip", "authorization: forward");
    let gateway = GatewayProcess::with(&text_of_policy, |_| ()).await;
    for _ in 0..2 {
        for jti in ["jti_1", "jti_2"] {
            let token = token(&gateway, "usr_alice", json!({"jti": jti}));
            let got = text(gateway.get_with(BALANCE, &token).await).await;
            assert_eq!(got, format!("Bearer {token}"));
        }
    }
    assert_eq!(service.count(), 2);
}

#[tokio::test]
async fn a_revoked_token_gets_401_whatever_is_kept() {
    let service = Service::start(whose).await;
    let gateway = in_front_of(&service).await;
    let token = token(&gateway, "usr_alice", json!({}));
    for _ in 0..2 {
        assert_eq!(gateway.get_with(BALANCE, &token).await.status(), 200);
    }
    gateway.keys.revoke(vec![lock_out("usr_alice")]);
    eventually("the lock-out is known", || async {
        gateway.get_with(BALANCE, &token).await.status() == 401
    })
    .await;
    let refused = gateway.get_with(BALANCE, &token).await;
    assert!(!refused.headers().contains_key("cache-status"));
    assert_eq!(service.count(), 1);
}

/// A bank with one balance, which a transfer halves.
async fn bank() -> (Service, Arc<AtomicU32>) {
    let balance = Arc::new(AtomicU32::new(1024));
    let held = balance.clone();
    let service = Service::start(move |asked| {
        if asked.head.starts_with("POST") {
            let before = held.load(Ordering::SeqCst);
            held.store(before / 2, Ordering::SeqCst);
        }
        Reply::good("", held.load(Ordering::SeqCst).to_string())
    })
    .await;
    (service, balance)
}

async fn transfer(gateway: &GatewayProcess, path: &str, token: &str) -> reqwest::Response {
    let request = gateway.client().post(gateway.url(path)).bearer_auth(token);
    request.body("{}").send().await.unwrap()
}

#[tokio::test]
async fn whoever_transfers_money_never_reads_an_older_balance() {
    let (service, balance) = bank().await;
    let gateway = in_front_of(&service).await;
    let [alice, again, bob] = [
        ("usr_alice", "ses_1"),
        ("usr_alice", "ses_2"),
        ("usr_bob", "ses_3"),
    ]
    .map(|(subject, session)| token(&gateway, subject, json!({"sid": session})));
    for _ in 0..5 {
        for token in [&alice, &again] {
            let is = balance.load(Ordering::SeqCst).to_string();
            assert_eq!(text(gateway.get_with(BALANCE, token).await).await, is);
            let kept = gateway.get_with(BALANCE, token).await;
            assert_eq!(status(&kept), "portico; hit");
            assert_eq!(text(kept).await, is);
        }
        assert_eq!(
            transfer(&gateway, "/api/v1/transfers", &alice).await.status(),
            200
        );
    }
    text(gateway.get_with(BALANCE, &bob).await).await;
    transfer(&gateway, "/api/v1/transfers", &alice).await;
    let kept = gateway.get_with(BALANCE, &bob).await;
    assert_eq!(
        status(&kept),
        "portico; hit",
        "another person's transfer elsewhere"
    );
    transfer(&gateway, BALANCE, &alice).await;
    let changed = gateway.get_with(BALANCE, &bob).await;
    assert_eq!(status(&changed), "portico; fwd=miss", "a change at the very path");
}

#[tokio::test]
async fn an_answer_that_was_asked_for_before_a_transfer_is_not_kept_behind_it() {
    let (service, balance) = bank().await;
    let gateway = in_front_of(&service).await;
    let token = token(&gateway, "usr_alice", json!({}));
    let gate = Arc::new(Semaphore::new(0));
    let (held, read) = (gate.clone(), balance.clone());
    service.answer(move |_| Reply::good("", read.load(Ordering::SeqCst).to_string()).behind(&held));
    let early = tokio::spawn(
        gateway
            .client()
            .get(gateway.url(BALANCE))
            .bearer_auth(&token)
            .send(),
    );
    eventually("it is under way", || async { service.count() == 1 }).await;
    let moved = balance.clone();
    service.answer(move |_| Reply::good("", moved.swap(7, Ordering::SeqCst).to_string()));
    assert_eq!(
        transfer(&gateway, "/api/v1/transfers", &token).await.status(),
        200
    );
    gate.add_permits(1);
    assert_eq!(text(early.await.unwrap().unwrap()).await, "1024");
    service.answer(move |_| Reply::good("", balance.load(Ordering::SeqCst).to_string()));
    assert_eq!(text(gateway.get_with(BALANCE, &token).await).await, "7");
}

#[tokio::test]
async fn while_a_transfer_is_under_way_nothing_is_kept_and_nothing_given_again() {
    let (service, _balance) = bank().await;
    let gateway = in_front_of(&service).await;
    let token = token(&gateway, "usr_alice", json!({}));
    assert_eq!(text(gateway.get_with(BALANCE, &token).await).await, "1024");
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    service.answer(move |asked| {
        let reply = Reply::good("", asked.before.to_string());
        if asked.head.starts_with("POST") {
            reply.behind(&held)
        } else {
            reply
        }
    });
    let client = gateway.client();
    let url = gateway.url("/api/v1/transfers");
    let under_way = tokio::spawn(client.post(url).bearer_auth(&token).body("{}").send());
    eventually("it is under way", || async { service.count() == 2 }).await;
    for before in ["2", "3"] {
        assert_eq!(text(gateway.get_with(BALANCE, &token).await).await, before);
    }
    gate.add_permits(1);
    assert_eq!(under_way.await.unwrap().unwrap().status(), 200);
    for before in ["4", "4"] {
        assert_eq!(text(gateway.get_with(BALANCE, &token).await).await, before);
    }
}

#[tokio::test]
async fn a_transfer_whose_end_nobody_saw_may_still_happen() {
    let service = Service::start(|asked| Reply::good("", asked.before.to_string())).await;
    let gateway = in_front_of(&service).await;
    let token = token(&gateway, "usr_alice", json!({}));
    text(gateway.get_with(BALANCE, &token).await).await;
    service.answer(|asked| match asked.head.starts_with("POST") {
        true => Reply::raw("").closing(),
        false => Reply::good("", asked.before.to_string()),
    });
    assert_eq!(
        transfer(&gateway, "/api/v1/transfers", &token).await.status(),
        502
    );
    for before in ["2", "3"] {
        assert_eq!(text(gateway.get_with(BALANCE, &token).await).await, before);
    }
}

#[tokio::test]
async fn whoever_has_been_given_an_answer_is_given_no_older_one() {
    let service = Service::start(|asked| Reply::good("", asked.before.to_string())).await;
    let gateway = in_front_of(&service).await;
    let token = token(&gateway, "usr_alice", json!({}));
    let read = |line: Option<(&'static str, &'static str)>| {
        let mut request = gateway.client().get(gateway.url(BALANCE)).bearer_auth(&token);
        if let Some((name, value)) = line {
            request = request.header(name, value);
        }
        async move { text(request.send().await.unwrap()).await }
    };
    assert_eq!((read(None).await, read(None).await), ("0".into(), "0".into()));
    assert_eq!(read(Some(("cache-control", "no-store"))).await, "1");
    assert_eq!((read(None).await, read(None).await), ("2".into(), "2".into()));
    assert_eq!(read(Some(("range", "bytes=0-"))).await, "3");
    assert_eq!(read(None).await, "4");
    service.answer(|asked| Reply::good("Cache-Control: no-store\r\n", asked.before.to_string()));
    assert_eq!(read(Some(("cache-control", "no-cache"))).await, "5");
    service.answer(|asked| Reply::good("", asked.before.to_string()));
    assert_ne!(read(None).await, "4");

    // Two that want a new answer: what was asked for first comes last.
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    service.answer(move |_| Reply::good("", "old").behind(&held));
    let count = service.count();
    let client = gateway.client();
    let slow = client.get(gateway.url(BALANCE)).bearer_auth(&token);
    let slow = tokio::spawn(slow.header("cache-control", "no-cache").send());
    eventually("it is under way", || async { service.count() == count + 1 }).await;
    service.answer(|_| Reply::good("", "new"));
    assert_eq!(read(Some(("cache-control", "no-cache"))).await, "new");
    gate.add_permits(1);
    assert_eq!(text(slow.await.unwrap().unwrap()).await, "old");
    assert_eq!(read(None).await, "new");
}

#[tokio::test]
async fn another_policy_begins_with_nothing() {
    let service = Service::start(whose).await;
    let gateway = in_front_of(&service).await;
    let token = token(&gateway, "usr_alice", json!({}));
    for _ in 0..2 {
        assert_eq!(gateway.get_with(BALANCE, &token).await.status(), 200);
    }
    assert!(gateway.metric("portico_cache_bytes").await.unwrap() > 0);
    let edited = policy(&service, "").replace("burst: 6000", "burst: 5999");
    gateway.policy_file("base.yaml", &edited);
    gateway.counts("portico_cache_bytes", 0).await;
    let got = gateway.get_with(BALANCE, &token).await;
    assert_eq!(status(&got), "portico; fwd=miss");
    assert_eq!(service.count(), 2);
}
