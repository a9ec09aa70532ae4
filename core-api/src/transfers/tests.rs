//! Transfers through the router: the story, every refusal, the idempotency table.

use futures::future::join_all;
use serde_json::json;

use crate::tests::bank::TestBank;
use crate::tests::store;

#[tokio::test]
async fn money_goes_from_one_customer_to_another_and_both_see_it() {
    let bank = TestBank::new().await;
    let (alice, bob, eve) = (
        bank.customer("alice").await,
        bank.customer("bob").await,
        bank.customer("eve").await,
    );
    let (from, to) = (
        bank.funded(&alice, "EUR", 10_000).await,
        bank.account(&bob, "EUR").await,
    );
    let order = json!({"from_account_id": from, "to_account_id": to, "amount": 2_500, "currency": "EUR", "reference": "Rent, März 🏠"});
    let made = bank
        .post("/api/v1/transfers")
        .by(&alice)
        .key("rent")
        .json(&order)
        .send()
        .await;
    made.assert_status(201);
    let path = format!("/api/v1/transfers/{}", made.text("id"));
    assert_eq!(made.headers["location"], path);
    assert_eq!(
        (bank.posted(&alice, &from).await, bank.posted(&bob, &to).await),
        (7_500, 2_500)
    );

    for side in [&alice, &bob] {
        assert_eq!(
            bank.get(&path).by(side).send().await.assert_status(200).json,
            made.json
        );
        let list = bank.get("/api/v1/transfers").by(side).send().await;
        assert_eq!(list.assert_status(200).json["data"], json!([made.json]));
    }
    bank.get(&path)
        .by(&eve)
        .send()
        .await
        .assert_problem(404, "transfer-not-found");
    assert_eq!(
        bank.get("/api/v1/transfers").by(&eve).send().await.json["data"],
        json!([])
    );
    bank.get("/api/v1/transfers/txn_x")
        .by(&alice)
        .send()
        .await
        .assert_problem(404, "not-found");
    bank.assert_invariants().await;
}

#[tokio::test]
async fn a_transfer_from_a_strangers_account_moves_nothing() {
    let bank = TestBank::new().await;
    let (alice, mallory) = (bank.customer("alice").await, bank.customer("mallory").await);
    let (hers, his) = (
        bank.funded(&alice, "EUR", 10_000).await,
        bank.account(&mallory, "EUR").await,
    );
    bank.transfer(&mallory, &hers, &his, 1, "steal")
        .await
        .assert_problem(404, "account-not-found");
    // Nor does it tell whether the account is there, or what is in it.
    let unknown = "acc_01kafpwz0zfmx9tpr6z5qgyf0h";
    let (real, none) = (
        bank.transfer(&mallory, &hers, &his, 99_999, "s2").await,
        bank.transfer(&mallory, unknown, &his, 99_999, "s3").await,
    );
    assert_eq!(
        (real.json["detail"].clone(), real.json["type"].clone()),
        (none.json["detail"].clone(), none.json["type"].clone())
    );
    assert_eq!(
        (
            bank.posted(&alice, &hers).await,
            bank.posted(&mallory, &his).await
        ),
        (10_000, 0)
    );
    // Paying to a stranger is what transfers are for; paying to nobody is not.
    bank.transfer(&alice, &hers, &his, 1, "gift")
        .await
        .assert_status(201);
    let answer = bank.transfer(&alice, &hers, unknown, 1, "void").await;
    answer.assert_problem(404, "account-not-found");
    assert_eq!(
        answer.faults(),
        [("/to_account_id".to_owned(), "not_found".to_owned())]
    );
}

#[tokio::test]
async fn a_house_account_cannot_be_paid_to() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let from = bank.funded(&alice, "EUR", 10_000).await;
    let house = store::texts(
        &bank.owner,
        "SELECT public_id::text FROM ledger.account WHERE house_role = 'cash'",
    )
    .await;
    let house = crate::ids::AccountId::from_uuid(house[0].parse().unwrap()).to_string();
    bank.transfer(&alice, &from, &house, 1, "k1")
        .await
        .assert_problem(404, "account-not-found");
    bank.transfer(&alice, &house, &from, 1, "k2")
        .await
        .assert_problem(404, "account-not-found");
    bank.assert_invariants().await;
}

#[tokio::test]
async fn what_the_accounts_do_not_allow_is_refused() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let (euro, other, yen) = (
        bank.funded(&alice, "EUR", 100).await,
        bank.account(&alice, "EUR").await,
        bank.account(&alice, "JPY").await,
    );
    bank.transfer(&alice, &euro, &other, 101, "k1")
        .await
        .assert_problem(422, "insufficient-funds");
    bank.transfer(&alice, &euro, &yen, 1, "k2")
        .await
        .assert_problem(422, "currency-mismatch");
    let same = bank.transfer(&alice, &euro, &euro, 1, "k3").await;
    same.assert_problem(422, "validation-failed");
    assert_eq!(
        same.faults(),
        [("/to_account_id".to_owned(), "same_account".to_owned())]
    );
    for (status, from_blocked, to_blocked) in [(1, true, false), (2, true, true), (3, true, true)] {
        let set = |account: &str, status: i32| {
            let id = account.parse::<crate::ids::AccountId>().unwrap().uuid();
            format!(
                "UPDATE ledger.balance SET status = {status} WHERE account_id = (SELECT account_id FROM ledger.account WHERE public_id = '{id}')"
            )
        };
        for (account, blocked, side) in [(&euro, from_blocked, "from"), (&other, to_blocked, "to")] {
            store::execute(&bank.owner, &set(account, status)).await.unwrap();
            let answer = bank
                .transfer(&alice, &euro, &other, 1, &format!("{side}{status}"))
                .await;
            match blocked {
                true => answer.assert_problem(422, "account-blocked"),
                false => assert_eq!(answer.status, 201, "{}", answer.json),
            }
            store::execute(&bank.owner, &set(account, 0)).await.unwrap();
        }
    }
    bank.assert_invariants().await;
}

#[tokio::test]
async fn a_request_without_a_good_key_is_not_executed() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let (from, to) = (
        bank.funded(&alice, "EUR", 100).await,
        bank.account(&alice, "EUR").await,
    );
    let order = json!({"from_account_id": from, "to_account_id": to, "amount": 1, "currency": "EUR"});
    let call = || bank.post("/api/v1/transfers").by(&alice).json(&order);
    call()
        .send()
        .await
        .assert_problem(400, "idempotency-key-required");
    for bad in ["", "a b", "\"unclosed", &"k".repeat(256)] {
        call()
            .key(bad)
            .send()
            .await
            .assert_problem(400, "idempotency-key-malformed");
    }
    call()
        .key("one")
        .key("two")
        .send()
        .await
        .assert_problem(400, "idempotency-key-malformed");
    assert_eq!(bank.posted(&alice, &to).await, 0);
    // The quoted and the bare spelling are one key.
    call().key("same").send().await.assert_status(201);
    assert!(call().key("\"same\"").send().await.replayed());
    assert_eq!(bank.posted(&alice, &to).await, 1);
}

#[tokio::test]
async fn a_repeated_request_gets_its_first_answer_byte_for_byte() {
    let bank = TestBank::new().await;
    let (alice, bob) = (bank.customer("alice").await, bank.customer("bob").await);
    let (from, to) = (
        bank.funded(&alice, "EUR", 100).await,
        bank.account(&bob, "EUR").await,
    );
    let first = bank.transfer(&alice, &from, &to, 60, "pay").await;
    let again = bank.transfer(&alice, &from, &to, 60, "pay").await;
    assert_eq!(
        (first.status, again.status, &again.bytes),
        (201, 201, &first.bytes)
    );
    assert_eq!((first.replayed(), again.replayed()), (false, true));
    assert_eq!(first.headers["location"], again.headers["location"]);

    // A refusal is kept too: new money does not change it, a new key does.
    let refused = bank.transfer(&alice, &from, &to, 60, "pay-2").await;
    refused.assert_problem(422, "insufficient-funds");
    bank.deposit(&alice, &from, "EUR", 100, "more")
        .await
        .assert_status(201);
    let still = bank.transfer(&alice, &from, &to, 60, "pay-2").await;
    assert_eq!(
        (still.status, &still.bytes, still.replayed()),
        (422, &refused.bytes, true)
    );
    bank.transfer(&alice, &from, &to, 60, "pay-3")
        .await
        .assert_status(201);

    // The same key for anything else is a mistake, also on another route, and it changes nothing.
    for (amount, key) in [(61, "pay"), (59, "pay-2")] {
        bank.transfer(&alice, &from, &to, amount, key)
            .await
            .assert_problem(422, "idempotency-key-reused");
    }
    bank.deposit(&alice, &from, "EUR", 60, "pay")
        .await
        .assert_problem(422, "idempotency-key-reused");
    let open = json!({"product": "checking", "currency": "EUR"});
    bank.post("/api/v1/accounts")
        .by(&alice)
        .key("pay")
        .json(&open)
        .send()
        .await
        .assert_problem(422, "idempotency-key-reused");
    // Bob's keys are Bob's.
    bank.transfer(&bob, &to, &from, 1, "pay").await.assert_status(201);
    assert_eq!(bank.posted(&alice, &from).await, 100 - 60 + 100 - 60 + 1);
    bank.assert_invariants().await;
}

#[tokio::test]
async fn an_expired_answer_leaves_the_identity_below_it() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let (from, to) = (
        bank.funded(&alice, "EUR", 100).await,
        bank.account(&alice, "EUR").await,
    );
    let first = bank.transfer(&alice, &from, &to, 60, "pay").await;
    bank.transfer(&alice, &from, &to, 60, "refused")
        .await
        .assert_problem(422, "insufficient-funds");
    store::execute(
        &bank.owner,
        "UPDATE core.idempotency_record SET expires_at = now() - interval '1 s'",
    )
    .await
    .unwrap();
    let late = bank.transfer(&alice, &from, &to, 60, "pay").await;
    late.assert_problem(409, "already-processed");
    assert_eq!(
        late.json["location"],
        format!("/api/v1/transfers/{}", first.text("id"))
    );
    assert_eq!(bank.posted(&alice, &to).await, 60);
    // A refusal moved nothing, so its key may be used again.
    bank.transfer(&alice, &from, &to, 40, "refused")
        .await
        .assert_status(201);
    // The job removes what nobody asks for any more.
    assert!(store::number(&bank.owner, "SELECT core.purge_idempotency_records(100)").await >= 1);
    bank.transfer(&alice, &from, &to, 60, "pay")
        .await
        .assert_problem(409, "already-processed");
    bank.assert_invariants().await;
}

#[tokio::test]
async fn racing_copies_of_one_transfer_move_money_once() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let (from, to) = (
        bank.funded(&alice, "EUR", 1_000).await,
        bank.account(&alice, "EUR").await,
    );
    let answers = join_all((0..50).map(|_| bank.transfer(&alice, &from, &to, 7, "once"))).await;
    for answer in &answers {
        assert_eq!(answer.assert_status(201).bytes, answers[0].bytes);
    }
    assert_eq!(answers.iter().filter(|answer| !answer.replayed()).count(), 1);
    // Two different requests with one key: one is executed, the others learn that the key is taken.
    let mixed =
        join_all((0..50).map(|number| bank.transfer(&alice, &from, &to, 1 + number % 2, "mixed"))).await;
    let won: Vec<_> = mixed.iter().filter(|answer| answer.status == 201).collect();
    assert_eq!(won.len(), 25);
    for lost in mixed.iter().filter(|answer| answer.status != 201) {
        lost.assert_problem(422, "idempotency-key-reused");
    }
    let amount = won[0].json["amount"].as_i64().unwrap();
    assert_eq!(bank.posted(&alice, &to).await, 7 + amount);
    bank.assert_invariants().await;
}

#[tokio::test]
async fn an_ended_session_moves_and_replays_nothing() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let (from, to) = (
        bank.funded(&alice, "EUR", 100).await,
        bank.account(&alice, "EUR").await,
    );
    bank.transfer(&alice, &from, &to, 1, "before")
        .await
        .assert_status(201);
    bank.post("/api/v1/auth/logout")
        .by(&alice)
        .send()
        .await
        .assert_status(204);
    for key in ["before", "after"] {
        bank.transfer(&alice, &from, &to, 1, key)
            .await
            .assert_problem(401, "session-ended");
    }
    bank.deposit(&alice, &from, "EUR", 1, "cash")
        .await
        .assert_problem(401, "session-ended");
    let open = json!({"product": "checking", "currency": "EUR"});
    bank.post("/api/v1/accounts")
        .by(&alice)
        .json(&open)
        .send()
        .await
        .assert_problem(401, "session-ended");
    for path in ["/api/v1/accounts", "/api/v1/transfers"] {
        bank.get(path)
            .by(&alice)
            .send()
            .await
            .assert_problem(401, "session-ended");
    }
    let moved = store::number(&bank.owner, "SELECT count(*) FROM ledger.entry").await;
    assert_eq!(moved, 2);
}

#[tokio::test]
async fn transfers_are_paged_newest_first() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let (from, to) = (
        bank.funded(&alice, "EUR", 100).await,
        bank.account(&alice, "EUR").await,
    );
    for number in 0..7 {
        bank.transfer(&alice, &from, &to, 1 + number, &format!("t{number}"))
            .await
            .assert_status(201);
    }
    let (mut amounts, mut path, mut pages) = (Vec::new(), "/api/v1/transfers?limit=3".to_owned(), 0);
    loop {
        let page = bank.get(&path).by(&alice).send().await;
        amounts.extend(
            page.assert_status(200).json["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|transfer| transfer["amount"].as_i64().unwrap()),
        );
        pages += 1;
        let Some(cursor) = page.json["next_cursor"].as_str() else {
            break;
        };
        path = format!("/api/v1/transfers?limit=3&cursor={cursor}");
    }
    assert_eq!((amounts, pages), (vec![7, 6, 5, 4, 3, 2, 1], 3));
}
