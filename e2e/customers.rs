//! What customers live through: strangers' accounts, wrong passwords, plain HTTP, tokens that were used up.

use reqwest::Method;
use serde_json::json;
use trial::Ledger;
use uuid::Uuid;

use crate::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_account_does_not_exist_and_cannot_pay() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let (alice, mallory) = (door.sign_up().await.unwrap(), door.sign_up().await.unwrap());
    let purse = alice.open_account("EUR", 10_000).await.unwrap();
    let own = mallory.open_account("EUR", 0).await.unwrap();

    for path in [
        format!("/api/v1/accounts/{purse}"),
        format!("/api/v1/accounts/{purse}/entries"),
    ] {
        assert_eq!(mallory.get(&path).await.unwrap().status, 404, "{path}");
    }
    let theft = mallory
        .transfer((&purse, &own), (1, "EUR"), &Uuid::now_v7().to_string())
        .await
        .unwrap();
    assert_eq!(theft.status, 404, "{}", theft.body);
    let absent = format!("/api/v1/accounts/{}", purse.chars().rev().collect::<String>());
    assert!([400, 404].contains(&mallory.get(&absent).await.unwrap().status.as_u16()));

    assert_eq!(alice.balance(&purse).await.unwrap(), 10_000);
    assert_eq!(mallory.balance(&own).await.unwrap(), 0);
    let mut books = Ledger::open(&system.endpoints().database_url).await.unwrap();
    assert_eq!(books.transfers_booked().await.unwrap(), 0);
    assert_eq!(books.violations().await.unwrap(), []);
    system.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sixth_wrong_password_is_refused_without_a_look_at_it() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let owner = door.sign_up().await.unwrap();
    let wrong = json!({"email": owner.email, "password": "not the password at all 1"});

    for attempt in 1..=5 {
        let answer = door.post("/api/v1/auth/login", &wrong).await.unwrap();
        assert_eq!(answer.status, 401, "attempt {attempt}: {}", answer.body);
    }
    let sixth = door.post("/api/v1/auth/login", &wrong).await.unwrap();
    assert_eq!(sixth.status, 429, "{}", sixth.body);
    let wait = sixth.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse::<u64>()
        .unwrap();
    assert_eq!(sixth.body["retry_after"], wait);
    assert!((1..=60).contains(&wait), "{wait}");
    assert!(sixth.headers.contains_key("ratelimit") && sixth.headers.contains_key("ratelimit-policy"));

    let right = json!({"email": owner.email, "password": owner.password});
    assert_eq!(
        door.post("/api/v1/auth/login", &right).await.unwrap().status,
        429,
        "the right one has to wait, too"
    );
    assert!(
        door.sign_up().await.is_ok(),
        "somebody else at the same address does not"
    );
    assert_eq!(
        owner.get("/api/v1/me").await.unwrap().status,
        200,
        "and a session goes on"
    );
    system.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_sent_to_https_and_credentials_in_clear_are_refused() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;

    let sent_on = door
        .call_in_clear(Method::GET, "/api/v1/me?x=1", &[])
        .await
        .unwrap();
    assert_eq!(sent_on.status, 308);
    let https = system.endpoints().gateway_https.clone();
    assert_eq!(sent_on.headers["location"], format!("{https}/api/v1/me?x=1"));
    assert!(!sent_on.headers.contains_key("strict-transport-security"), "RD-4");

    let exposed = door
        .call_in_clear(Method::GET, "/api/v1/me", &[("authorization", "Bearer abc")])
        .await
        .unwrap();
    assert_eq!(exposed.status, 403, "{}", exposed.body);
    let posted = door
        .call_in_clear(Method::POST, "/api/v1/auth/login", &[])
        .await
        .unwrap();
    assert_eq!(posted.status, 403, "{}", posted.body);
    system.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_is_good_once_and_a_session_ends_with_its_logout() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let customer = door.sign_up().await.unwrap();
    let form = json!({"refresh_token": customer.tokens.refresh});
    let key = Uuid::now_v7().to_string();
    let with_key = [("idempotency-key", key.as_str())];

    let refreshed = door
        .call(Method::POST, "/api/v1/auth/refresh", &with_key, Some(&form))
        .await
        .unwrap();
    let refreshed = refreshed.expect(200).unwrap();
    let repeated = door
        .call(Method::POST, "/api/v1/auth/refresh", &with_key, Some(&form))
        .await
        .unwrap();
    assert_eq!(
        repeated.status, 200,
        "the very same request again: {}",
        repeated.body
    );
    assert_eq!(repeated.body["refresh_token"], refreshed.body["refresh_token"]);

    let other = door.post("/api/v1/auth/refresh", &form).await.unwrap();
    assert_eq!(other.status, 401, "without the key: {}", other.body);

    // It takes no body, and the gateway lets none through.
    let bearer = format!("Bearer {}", customer.tokens.access);
    let left = door
        .call(
            Method::POST,
            "/api/v1/auth/logout",
            &[("authorization", &bearer)],
            None,
        )
        .await
        .unwrap();
    assert!(left.status.is_success(), "{} {}", left.status, left.body);
    let form = json!({"product": "checking", "currency": "EUR"});
    let afterwards = customer.post("/api/v1/accounts", None, &form).await.unwrap();
    assert_eq!(
        afterwards.status, 401,
        "the core refuses a session that has ended: {}",
        afterwards.body
    );
    system.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_wears_the_security_headers() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let customer = door.sign_up().await.unwrap();
    let answers = [
        ("200", customer.get("/api/v1/me").await.unwrap()),
        ("401", door.get("/api/v1/me").await.unwrap()),
        ("404", door.get("/nowhere").await.unwrap()),
        ("400", door.get("/api/v1/%2e%2e/me").await.unwrap()),
        (
            "405",
            door.call(Method::DELETE, "/api/v1/me", &[], None).await.unwrap(),
        ),
        ("jwks", door.get("/.well-known/jwks.json").await.unwrap()),
    ];
    for (what, answer) in answers {
        for name in [
            "strict-transport-security",
            "content-security-policy",
            "x-frame-options",
            "x-content-type-options",
            "referrer-policy",
            "permissions-policy",
            "cross-origin-opener-policy",
            "cross-origin-resource-policy",
            "x-request-id",
        ] {
            assert!(
                answer.headers.contains_key(name),
                "{what} ({}) lacks {name}",
                answer.status
            );
        }
        assert!(
            !answer.headers.contains_key("server") && !answer.headers.contains_key("x-powered-by"),
            "{what}"
        );
    }
    system.stop().await.unwrap();
}
