//! Entries through the router.

use serde_json::{Value, json};

use crate::tests::bank::TestBank;

#[tokio::test]
async fn entries_tell_the_whole_story_of_an_account() {
    let bank = TestBank::new().await;
    let (alice, bob) = (bank.customer("alice").await, bank.customer("bob").await);
    let (hers, his) = (
        bank.funded(&alice, "EUR", 10_000).await,
        bank.account(&bob, "EUR").await,
    );
    let made = bank.transfer(&alice, &hers, &his, 2_500, "t").await;

    let entries = bank
        .get(&format!("/api/v1/accounts/{hers}/entries"))
        .by(&alice)
        .send()
        .await;
    let lines = entries.assert_status(200).json["data"]
        .as_array()
        .unwrap()
        .clone();
    let facts = |line: &Value| {
        [
            "kind",
            "direction",
            "amount",
            "balance_after",
            "counterparty_account_id",
        ]
        .map(|name| line[name].clone())
    };
    assert_eq!(
        facts(&lines[0]),
        [
            json!("transfer"),
            json!("debit"),
            json!(2_500),
            json!(7_500),
            json!(his)
        ]
    );
    assert_eq!(
        facts(&lines[1]),
        [
            json!("deposit"),
            json!("credit"),
            json!(10_000),
            json!(10_000),
            json!(null)
        ]
    );
    assert_eq!((lines.len(), &lines[0]["id"]), (2, &made.json["id"]));

    let theirs = bank
        .get(&format!("/api/v1/accounts/{his}/entries"))
        .by(&bob)
        .send()
        .await;
    assert_eq!(
        facts(&theirs.json["data"][0]),
        [
            json!("transfer"),
            json!("credit"),
            json!(2_500),
            json!(2_500),
            json!(hers)
        ]
    );
}

#[tokio::test]
async fn pages_join_without_gap_or_overlap_while_money_moves() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let account = bank.account(&alice, "EUR").await;
    for number in 0..25 {
        bank.deposit(&alice, &account, "EUR", 1 + number, &format!("d{number}"))
            .await
            .assert_status(201);
    }
    let (mut amounts, mut cursor, mut late) = (Vec::new(), String::new(), 0);
    loop {
        let path = format!("/api/v1/accounts/{account}/entries?limit=4{cursor}");
        let page = bank.get(&path).by(&alice).send().await;
        let lines = page.assert_status(200).json["data"].as_array().unwrap().clone();
        amounts.extend(lines.iter().map(|line| line["amount"].as_i64().unwrap()));
        assert_eq!(
            page.json["has_more"].as_bool().unwrap(),
            page.json["next_cursor"].is_string()
        );
        // What is booked meanwhile is newer than every page to come.
        late += 1;
        bank.deposit(&alice, &account, "EUR", 1_000, &format!("late{late}"))
            .await
            .assert_status(201);
        match page.json["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(amounts, (1..=25).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_cursor_is_good_for_its_own_list_only() {
    let bank = TestBank::new().await;
    let (alice, bob) = (bank.customer("alice").await, bank.customer("bob").await);
    let (hers, his) = (
        bank.funded(&alice, "EUR", 10).await,
        bank.funded(&bob, "EUR", 10).await,
    );
    bank.deposit(&alice, &hers, "EUR", 1, "d")
        .await
        .assert_status(201);
    let page = bank
        .get(&format!("/api/v1/accounts/{hers}/entries?limit=1"))
        .by(&alice)
        .send()
        .await;
    let cursor = page.text("next_cursor");
    let mut changed = cursor.clone();
    changed.replace_range(
        3..4,
        if cursor.chars().nth(3) == Some('A') {
            "B"
        } else {
            "A"
        },
    );
    for (who, path) in [
        (&bob, format!("/api/v1/accounts/{his}/entries?cursor={cursor}")),
        (&alice, format!("/api/v1/transfers?cursor={cursor}")),
        (
            &alice,
            format!("/api/v1/accounts/{hers}/entries?cursor={changed}"),
        ),
        (&alice, format!("/api/v1/accounts/{hers}/entries?cursor=")),
    ] {
        let answer = bank.get(&path).by(who).send().await;
        answer.assert_problem(422, "validation-failed");
        assert_eq!(
            answer.faults(),
            [("/query/cursor".to_owned(), "invalid".to_owned())]
        );
    }
    let path = format!("/api/v1/accounts/{hers}/entries?limit=0&offset=3");
    let answer = bank.get(&path).by(&alice).send().await;
    let wanted = [
        ("/query/limit", "out_of_range"),
        ("/query/offset", "unknown_parameter"),
    ];
    assert_eq!(
        answer.faults(),
        wanted.map(|(pointer, code)| (pointer.to_owned(), code.to_owned()))
    );
}
