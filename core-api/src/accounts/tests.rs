//! Accounts through the router.

use serde_json::json;

use crate::tests::bank::TestBank;
use crate::tests::store;

#[tokio::test]
async fn an_account_is_opened_shown_and_listed() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let order = json!({"product": "savings", "currency": "KWD", "name": " Holidays "});
    let opened = bank.post("/api/v1/accounts").by(&alice).json(&order).send().await;
    opened.assert_status(201);
    let id = opened.text("id");
    assert!(id.starts_with("acc_"));
    assert_eq!(opened.headers["location"], format!("/api/v1/accounts/{id}"));
    let facts = |json: &serde_json::Value| {
        (
            json["product"].clone(),
            json["currency"].clone(),
            json["name"].clone(),
            json["status"].clone(),
            json["balance"].clone(),
        )
    };
    let zero = json!({"posted": 0, "pending": 0, "available": 0});
    assert_eq!(
        facts(&opened.json),
        (
            json!("savings"),
            json!("KWD"),
            json!("Holidays"),
            json!("active"),
            zero
        )
    );

    let shown = bank
        .get(&format!("/api/v1/accounts/{id}"))
        .by(&alice)
        .send()
        .await;
    assert_eq!(shown.assert_status(200).json, opened.json);
    let listed = bank.get("/api/v1/accounts").by(&alice).send().await;
    assert_eq!(
        listed.assert_status(200).json,
        json!({"data": [opened.json], "has_more": false, "next_cursor": null})
    );
}

#[tokio::test]
async fn an_account_without_a_name_has_none() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let id = bank.account(&alice, "JPY").await;
    let shown = bank
        .get(&format!("/api/v1/accounts/{id}"))
        .by(&alice)
        .send()
        .await;
    assert_eq!(shown.json["name"], json!(null));
}

#[tokio::test]
async fn orders_that_make_no_sense_are_refused_with_their_place() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    for (order, pointer, code) in [
        (
            json!({"product": "gold", "currency": "EUR"}),
            "/product",
            "invalid_value",
        ),
        (
            json!({"product": "checking", "currency": "eur"}),
            "/currency",
            "invalid_value",
        ),
        (
            json!({"product": "checking", "currency": 978}),
            "/currency",
            "invalid_type",
        ),
        (json!({"product": "checking"}), "/currency", "missing_field"),
        (
            json!({"product": "checking", "currency": "EUR", "owner": "x"}),
            "/owner",
            "unknown_field",
        ),
        (
            json!({"product": "checking", "currency": "EUR", "name": ""}),
            "/name",
            "invalid_value",
        ),
        (
            json!({"product": "checking", "currency": "EUR", "name": "x".repeat(101)}),
            "/name",
            "invalid_value",
        ),
        (
            json!({"product": "checking", "currency": "EUR", "name": "a\u{0}b"}),
            "/name",
            "invalid_value",
        ),
    ] {
        let answer = bank.post("/api/v1/accounts").by(&alice).json(&order).send().await;
        answer.assert_problem(422, "validation-failed");
        assert_eq!(
            answer.faults(),
            [(pointer.to_owned(), code.to_owned())],
            "{order}"
        );
    }
    let order = json!({"product": "checking", "currency": "XXX"});
    bank.post("/api/v1/accounts")
        .by(&alice)
        .json(&order)
        .send()
        .await
        .assert_problem(422, "unknown-currency");
    assert_eq!(
        store::number(&bank.owner, "SELECT count(*) FROM ledger.account").await,
        0
    );
}

#[tokio::test]
async fn with_a_key_an_account_is_opened_once() {
    let bank = TestBank::new().await;
    let (alice, bob) = (bank.customer("alice").await, bank.customer("bob").await);
    let order = json!({"product": "checking", "currency": "EUR"});
    let open = |who, order| {
        bank.post("/api/v1/accounts")
            .by(who)
            .key("open-1")
            .json(order)
            .send()
    };
    let first = open(&alice, &order).await;
    let second = open(&alice, &order).await;
    assert_eq!(
        (second.status, &second.bytes, second.replayed()),
        (201, &first.bytes, true)
    );
    assert!(!first.replayed());
    let savings = json!({"product": "savings", "currency": "EUR"});
    open(&alice, &savings)
        .await
        .assert_problem(422, "idempotency-key-reused");
    // The key of another user is another key.
    let other = open(&bob, &order).await;
    assert_ne!(other.assert_status(201).text("id"), first.text("id"));

    store::execute(
        &bank.owner,
        "UPDATE core.idempotency_record SET expires_at = now() - interval '1 s'",
    )
    .await
    .unwrap();
    let late = open(&alice, &order).await;
    late.assert_problem(409, "already-processed");
    assert_eq!(
        late.json["location"],
        format!("/api/v1/accounts/{}", first.text("id"))
    );
    assert_eq!(
        store::number(&bank.owner, "SELECT count(*) FROM core.account").await,
        2
    );
}

#[tokio::test]
async fn racing_copies_of_one_order_open_one_account() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let order = json!({"product": "checking", "currency": "EUR"});
    let open = || {
        bank.post("/api/v1/accounts")
            .by(&alice)
            .key("k")
            .json(&order)
            .send()
    };
    let answers = futures::future::join_all((0..20).map(|_| open())).await;
    for answer in &answers {
        assert_eq!(answer.assert_status(201).bytes, answers[0].bytes);
    }
    assert_eq!(answers.iter().filter(|answer| !answer.replayed()).count(), 1);
    // And different orders share one cash account per currency.
    futures::future::join_all((0..20).map(|_| bank.account(&alice, "USD"))).await;
    assert_eq!(
        store::number(
            &bank.owner,
            "SELECT count(*) FROM ledger.account WHERE house_role = 'cash'"
        )
        .await,
        2
    );
}

#[tokio::test]
async fn a_customer_has_at_most_a_hundred_accounts() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    for _ in 0..10 {
        futures::future::join_all((0..10).map(|_| bank.account(&alice, "EUR"))).await;
    }
    let order = json!({"product": "checking", "currency": "EUR"});
    bank.post("/api/v1/accounts")
        .by(&alice)
        .json(&order)
        .send()
        .await
        .assert_problem(422, "too-many-accounts");

    let mut seen = Vec::new();
    let mut path = "/api/v1/accounts?limit=40".to_owned();
    loop {
        let page = bank.get(&path).by(&alice).send().await;
        seen.extend(
            page.assert_status(200).json["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|account| account["id"].to_string()),
        );
        let Some(cursor) = page.json["next_cursor"].as_str() else {
            break;
        };
        path = format!("/api/v1/accounts?limit=40&cursor={cursor}");
    }
    assert_eq!(seen.len(), 100);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 100);
}

#[tokio::test]
async fn a_strangers_account_is_one_that_does_not_exist() {
    let bank = TestBank::new().await;
    let (alice, mallory) = (bank.customer("alice").await, bank.customer("mallory").await);
    let account = bank.funded(&alice, "EUR", 1_000).await;
    let unknown = "acc_01kafpwz0zfmx9tpr6z5qgyf0h";
    let mut bodies = Vec::new();
    for id in [account.as_str(), unknown] {
        for path in [
            format!("/api/v1/accounts/{id}"),
            format!("/api/v1/accounts/{id}/entries"),
        ] {
            let answer = bank.get(&path).by(&mallory).send().await;
            answer.assert_problem(404, "account-not-found");
            bodies.push(answer.bytes.len());
        }
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "the answers differ");
    bank.get("/api/v1/accounts/1")
        .by(&mallory)
        .send()
        .await
        .assert_problem(404, "not-found");
    bank.get("/api/v1/accounts/acc_1%00")
        .by(&mallory)
        .send()
        .await
        .assert_problem(404, "not-found");
    assert_eq!(
        bank.get("/api/v1/accounts").by(&mallory).send().await.json["data"],
        json!([])
    );
}
