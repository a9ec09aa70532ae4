//! What the control plane revokes is refused at the front door, also what was let in before.

use keyring::Revocation;
use serde_json::json;

use crate::clients::{assert_dressed, problem};
use crate::gateway_process::{GatewayProcess, POLICY, eventually, now};

const ISSUER: &str = "https://api.bank.example";

pub(crate) fn lock_out(sub: &str) -> Revocation {
    Revocation::Subject {
        issuer: ISSUER.to_owned(),
        sub: sub.to_owned(),
        issued_until: now().timestamp(),
        until: now().timestamp() + 900,
    }
}

async fn is_refused(gateway: &GatewayProcess, token: &str) -> bool {
    gateway.get_with("/api/v1/me", token).await.status() == 401
}

#[tokio::test]
async fn j42_a_lock_out_reaches_the_gateway_and_the_next_token_is_good() {
    let gateway = GatewayProcess::start().await;
    let token = gateway.keys.token();
    for _ in 0..3 {
        assert_eq!(gateway.get_with("/api/v1/me", &token).await.status(), 200);
    }
    gateway.keys.revoke(vec![lock_out("usr_alice")]);
    eventually("the lock-out is known", || is_refused(&gateway, &token)).await;
    let after = gateway.keys.token_with(&json!({"iat": now().timestamp() + 1}));
    assert_eq!(gateway.get_with("/api/v1/me", &after).await.status(), 200);
    let counted = r#"portico_tokens_total{issuer="customers",reason="revoked_subject",result="refused"}"#;
    assert!(gateway.metric(counted).await.unwrap() >= 1);
    assert_eq!(gateway.metric("portico_revocations").await, Some(1));

    gateway.keys.revoke(Vec::new());
    eventually("the lock-out is over", || async {
        !is_refused(&gateway, &token).await
    })
    .await;
}

#[tokio::test]
async fn j41_each_kind_of_revocation_is_told_apart_in_metrics_and_to_no_client() {
    let gateway = GatewayProcess::start().await;
    let token = gateway.keys.token_with(&json!({"client_id": "app"}));
    assert_eq!(gateway.get_with("/api/v1/me", &token).await.status(), 200);
    let (issuer, until) = (ISSUER.to_owned(), now().timestamp() + 900);
    let entries = [
        (
            "revoked_token",
            Revocation::Token {
                issuer: issuer.clone(),
                jti: "jti_1".to_owned(),
                until,
            },
        ),
        (
            "revoked_session",
            Revocation::Session {
                issuer: issuer.clone(),
                sid: "ses_1".to_owned(),
                until,
            },
        ),
        (
            "revoked_client",
            Revocation::Client {
                issuer: issuer.clone(),
                client_id: "app".to_owned(),
                issued_until: now().timestamp(),
                until,
            },
        ),
        (
            "revoked_key",
            Revocation::Key {
                issuer,
                kid: gateway.keys.key.kid().to_owned(),
                until,
            },
        ),
    ];
    for (reason, entry) in entries {
        gateway.keys.revoke(vec![entry]);
        let counted =
            format!("portico_tokens_total{{issuer=\"customers\",reason=\"{reason}\",result=\"refused\"}}");
        eventually(reason, || async {
            is_refused(&gateway, &token).await && gateway.metric(&counted).await >= Some(1)
        })
        .await;
        let answer = gateway.get_with("/api/v1/me", &token).await;
        assert_eq!(
            answer.headers()["www-authenticate"],
            "Bearer error=\"invalid_token\""
        );
        let document = problem(answer, 401, "unauthenticated").await;
        assert_eq!(document["detail"], "the bearer token is not accepted");
    }
}

#[tokio::test]
async fn j41_a_blocked_network_is_refused_everything_also_on_connections_that_are_open() {
    let gateway = GatewayProcess::start().await;
    let client = gateway.client();
    let ask = || client.get(gateway.url("/api/v1/rates/EUR-USD")).send();
    assert_eq!(ask().await.unwrap().status(), 200);
    let until = now().timestamp() + 60;
    gateway.keys.revoke(vec![Revocation::Network {
        address: "127.0.0.0".parse().unwrap(),
        prefix: 8,
        until,
    }]);
    eventually("the block is known", || async {
        ask().await.unwrap().status() == 403
    })
    .await;
    let answer = ask().await.unwrap();
    assert_dressed(&answer);
    problem(answer, 403, "address-refused").await;
    let seen = gateway.core.seen().len();
    assert_eq!(ask().await.unwrap().status(), 403);
    assert_eq!(gateway.core.seen().len(), seen);

    gateway.clock.advance(chrono::TimeDelta::seconds(61));
    assert_eq!(ask().await.unwrap().status(), 200, "a block ends by itself");
}

#[tokio::test]
async fn l7_a_network_that_guessed_too_much_signs_in_nowhere_and_does_everything_else() {
    let gateway = GatewayProcess::start().await;
    let client = gateway.client();
    let log_in = || {
        let body = json!({"email": "alice@example.com", "password": "secret"});
        client.post(gateway.url("/api/v1/auth/login")).json(&body)
    };
    assert_eq!(log_in().send().await.unwrap().status(), 200);
    let until = now().timestamp() + 60;
    gateway.keys.revoke(vec![Revocation::SignIn {
        address: "127.0.0.1".parse().unwrap(),
        prefix: 32,
        until,
    }]);
    eventually("the block is known", || async {
        log_in().send().await.unwrap().status() == 429
    })
    .await;
    let answer = log_in().send().await.unwrap();
    assert_dressed(&answer);
    let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let document = problem(answer, 429, "too-many-attempts").await;
    assert_eq!(document["retry_after"], wait);
    let seen = gateway.core.seen().len();
    assert_eq!(log_in().send().await.unwrap().status(), 429);
    assert_eq!(gateway.core.seen().len(), seen, "the core is not asked");

    let rates = client.get(gateway.url("/api/v1/rates/EUR-USD"));
    assert_eq!(
        rates.send().await.unwrap().status(),
        200,
        "everything else is open"
    );
    // Whether a device is trusted, the core knows.
    for (name, value) in [
        ("cookie", "a=b; __Host-dev=1.2.3.4"),
        ("x-device-token", "1.2.3.4"),
    ] {
        let answer = log_in().header(name, value).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{name}");
    }
    gateway.clock.advance(chrono::TimeDelta::seconds(61));
    assert_eq!(
        log_in().send().await.unwrap().status(),
        200,
        "a block ends by itself"
    );
}

#[tokio::test]
async fn j41_a_route_for_money_closes_when_nobody_says_what_is_revoked_and_others_stay_open() {
    let mut gateway = GatewayProcess::start().await;
    let strict = POLICY.replace(
        "scopes: [transfers:write]\n",
        "scopes: [transfers:write]\n    revocations_within: 5s\n",
    );
    gateway.policy_file("base.yaml", &strict);
    gateway.keys.revoke(vec![lock_out("usr_mallory")]);
    let (alice, mallory) = (
        gateway.keys.token(),
        gateway.keys.token_with(&json!({"sub": "usr_mallory"})),
    );
    let client = gateway.client();
    let pay = async |gateway: &GatewayProcess, token: &str| {
        let post = client
            .post(gateway.url("/api/v1/transfers"))
            .bearer_auth(token)
            .json(&json!({}));
        post.send().await.unwrap()
    };
    eventually("the list is known", || is_refused(&gateway, &mallory)).await;
    assert_eq!(pay(&gateway, &alice).await.status(), 200);

    gateway.keys.kill();
    eventually("the silence is too long", || async {
        pay(&gateway, &alice).await.status() == 503
    })
    .await;
    let closed = pay(&gateway, &alice).await;
    assert!(closed.headers().contains_key("retry-after"));
    problem(closed, 503, "unavailable").await;
    let counted =
        r#"portico_tokens_total{issuer="customers",reason="stale_revocations",result="unavailable"}"#;
    assert!(gateway.metric(counted).await.unwrap() >= 1);
    assert_eq!(gateway.get_with("/api/v1/me", &alice).await.status(), 200);
    assert!(is_refused(&gateway, &mallory).await, "what was heard holds on");

    // Across a restart without a control plane too.
    gateway.restart().await.unwrap();
    assert!(is_refused(&gateway, &mallory).await);
    assert_eq!(pay(&gateway, &alice).await.status(), 503);
    eventually("the metric says that nothing was heard", || async {
        gateway.metric("portico_revocations_age_seconds").await == Some(-1)
    })
    .await;
    gateway.keys.revive();
    eventually("money moves again", || async {
        pay(&gateway, &alice).await.status() == 200
    })
    .await;
}

#[tokio::test]
async fn j45_a_token_is_verified_once_and_a_hit_gets_the_same_answer() {
    let gateway = GatewayProcess::start().await;
    let token = gateway.keys.token();
    let count = async |name: &str| {
        gateway
            .metric(&format!("portico_token_cache_{name}_total"))
            .await
            .unwrap()
    };
    let before = (count("hits").await, count("misses").await);
    for _ in 0..5 {
        let answer = gateway.get_with("/api/v1/me", &token).await;
        assert_eq!(answer.status(), 200);
    }
    // Other tests of this process count too.
    assert!(count("hits").await >= before.0 + 4);
    assert!(count("misses").await > before.1);
    let seen = gateway.core.seen();
    let identities: Vec<_> = seen
        .iter()
        .map(|request| {
            let field = |name: &str| request.headers.get(name).cloned();
            [
                field("x-auth-subject"),
                field("x-auth-session"),
                field("x-auth-tenant"),
                field("x-auth-scopes"),
            ]
        })
        .collect();
    assert_eq!(identities.len(), 5);
    assert!(identities[0].iter().all(Option::is_some), "{:?}", identities[0]);
    assert!(identities.iter().all(|identity| *identity == identities[0]));
}
