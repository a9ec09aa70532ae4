//! Many clients at once, and a database that misbehaves: the invariants hold, nothing happens twice, nothing is lost.

use futures::future::{join, join_all};

use super::bank::{Customer, TestBank};
use super::store;

async fn crowd(bank: &TestBank, currency: &str, people: usize, each: i64) -> Vec<(Customer, String)> {
    let mut crowd = Vec::new();
    for number in 0..people {
        let customer = bank.customer(&format!("person{number}")).await;
        let account = bank.funded(&customer, currency, each).await;
        crowd.push((customer, account));
    }
    crowd
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_concurrent_transfers_keep_every_invariant() {
    let bank = TestBank::new().await;
    let crowd = crowd(&bank, "EUR", 6, 1_000).await;
    // Both directions between every two accounts, one account in every third transfer, some beyond the funds.
    let transfers = (0..200_usize).map(|number| {
        let (from, to) = (
            number % 6,
            if number % 3 == 0 {
                (number % 6 + 1) % 6
            } else {
                (number * 7 + 1) % 6
            },
        );
        let to = if from == to { (to + 1) % 6 } else { to };
        let amount = if number % 20 == 0 {
            100_000
        } else {
            1 + i64::try_from(number).unwrap()
        };
        let (bank, crowd) = (&bank, &crowd);
        async move {
            let (payer, debit) = &crowd[from];
            let answer = bank
                .transfer(payer, debit, &crowd[to].1, amount, &format!("t{number}"))
                .await;
            (from, to, amount, answer)
        }
    });
    // Meanwhile an auditor looks: in no snapshot is a unit missing.
    let audit = async {
        for _ in 0..20 {
            bank.assert_invariants().await;
        }
    };
    let (results, ()) = join(join_all(transfers), audit).await;

    let mut expected = [1_000_i64; 6];
    for (from, to, amount, answer) in &results {
        if answer.status == 201 {
            expected[*from] -= amount;
            expected[*to] += amount;
        } else {
            answer.assert_problem(422, "insufficient-funds");
        }
    }
    for ((customer, account), wanted) in crowd.iter().zip(expected) {
        assert_eq!(bank.posted(customer, account).await, wanted);
        assert!(wanted >= 0);
    }
    let posted = results.iter().filter(|(.., answer)| answer.status == 201).count();
    let booked = store::number(&bank.owner, "SELECT count(*) FROM ledger.entry WHERE kind = 3").await;
    assert_eq!(i64::try_from(posted).unwrap(), booked);
    assert!(posted > 100, "{posted}");
    bank.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_cores_on_one_database_do_not_block_each_other_for_ever() {
    let bank = TestBank::new().await;
    let crowd = crowd(&bank, "EUR", 3, 10_000).await;
    // A second core-api with queues of its own, on the same database.
    let shutdown = service_runtime::shutdown::Shutdown::new();
    let clock = service_runtime::clock::Clock::system();
    let state = crate::run::state(
        &super::bank::settings(),
        bank.db.pool_as("portico_core").into(),
        clock,
        &shutdown,
    )
    .unwrap();
    let other = service_runtime::http::layers(crate::router::router(state).unwrap(), "core-api");
    let second = bank.served_by(other);
    let calls = (0..150_usize).map(|number| {
        let core = if number % 2 == 0 { &bank } else { &second };
        // Every key is used on both cores at once.
        let ((payer, debit), (_, credit)) = (&crowd[number / 2 % 3], &crowd[(number / 2 + 1) % 3]);
        async move {
            core.transfer(payer, debit, credit, 5, &format!("k{}", number / 2))
                .await
        }
    });
    let answers = join_all(calls).await;
    for pair in answers.chunks(2) {
        assert_eq!(pair[0].assert_status(201).bytes, pair[1].assert_status(201).bytes);
    }
    assert_eq!(
        store::number(&bank.owner, "SELECT count(*) FROM ledger.entry WHERE kind = 3").await,
        75
    );
    bank.assert_invariants().await;
}

#[tokio::test]
async fn a_poisoned_movement_does_not_take_others_with_it() {
    let bank = TestBank::new().await;
    let crowd = crowd(&bank, "EUR", 2, 1_000).await;
    // Stands for any error that nobody foresaw.
    store::execute(
        &bank.owner,
        "ALTER TABLE ledger.transfer ADD CONSTRAINT poison CHECK (amount <> 13)",
    )
    .await
    .unwrap();
    let ((payer, debit), (_, credit)) = (&crowd[0], &crowd[1]);
    let pay = async |amount: i64| {
        (
            amount,
            bank.transfer(payer, debit, credit, amount, &format!("k{amount}"))
                .await,
        )
    };
    let answers = join_all((1..=30).map(pay)).await;
    for (amount, answer) in answers {
        match amount {
            13 => answer.assert_problem(500, "internal"),
            _ => assert_eq!(answer.status, 201, "{}", answer.json),
        }
    }
    bank.assert_invariants().await;
}

#[tokio::test]
async fn a_broken_connection_is_no_lost_and_no_double_payment() {
    let bank = TestBank::new().await;
    let crowd = crowd(&bank, "EUR", 2, 1_000).await;
    let ((payer, debit), (_, credit)) = (&crowd[0], &crowd[1]);
    // Hold the balances, so that the posting statement waits in the middle of its work.
    let mut lock = bank.owner.begin().await.unwrap();
    store::execute_on(&mut lock, "SELECT FROM ledger.balance FOR UPDATE")
        .await
        .unwrap();
    let kill = async {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while store::number(&bank.owner, waiting).await == 0 {
            tokio::task::yield_now().await;
        }
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE datname = current_database() AND usename = 'portico_core'";
        store::execute(&bank.owner, kill).await.unwrap();
        lock.rollback().await.unwrap();
    };
    let (answer, ()) = join(bank.transfer(payer, debit, credit, 10, "k"), kill).await;
    answer.assert_status(201);
    assert!(!answer.replayed());
    assert_eq!(bank.posted(payer, debit).await, 990);
    assert!(bank.transfer(payer, debit, credit, 10, "k").await.replayed());
    assert_eq!(bank.posted(payer, debit).await, 990);
    bank.assert_invariants().await;
}

#[tokio::test]
async fn a_full_queue_is_told_at_once_and_nothing_is_done() {
    let mut settings = super::bank::settings();
    settings.posting.lanes = 1;
    settings.posting.queue = 1;
    settings.posting.max_batch = 1;
    let bank = TestBank::with(settings).await;
    bank.activate_key(&keyring::SigningKey::generate(keyring::Algorithm::EdDSA).unwrap())
        .await;
    let crowd = crowd(&bank, "EUR", 2, 1_000).await;
    let ((payer, debit), (_, credit)) = (&crowd[0], &crowd[1]);
    let pay = async |number: i64| {
        bank.transfer(payer, debit, credit, 1, &format!("k{number}"))
            .await
    };
    let answers = join_all((0..40).map(pay)).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(!refused.is_empty());
    for answer in &refused {
        answer.assert_problem(503, "unavailable");
        assert_eq!(answer.headers["retry-after"], "1");
    }
    let posted = i64::try_from(answers.len() - refused.len()).unwrap();
    assert_eq!(bank.posted(payer, debit).await, 1_000 - posted);
    bank.assert_invariants().await;
}
