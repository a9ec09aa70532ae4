//! Claim `durability`: killing the core in the middle of transfers loses nothing and does nothing twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;
use tokio::task::JoinSet;
use trial::{Customer, Ledger, Service};
use uuid::Uuid;

use super::Verdict;
use crate::prove::ground::Ground;

/// What every account begins with: far more than any run can move.
const OPENING: i64 = 1_000_000_000;
const CURRENCY: &str = "EUR";

pub(super) async fn check(ground: &Ground) -> anyhow::Result<Verdict> {
    let bank = Bank::open(ground).await?;
    let mut verdict = Verdict::default();
    let book = bank.run(ground, ground.transfers, Retry::SameKey, 2).await?;
    verdict.fact(format!(
        "{} transfers acknowledged to {} parallel clients, core-api killed twice meanwhile",
        book.acknowledged, ground.clients
    ));
    verdict.fail_unless(book.acknowledged == i64::from(ground.transfers), || {
        format!(
            "{} of {} transfers were acknowledged",
            book.acknowledged, ground.transfers
        )
    });
    bank.audit(ground, &book, &mut verdict).await?;
    Ok(verdict)
}

/// A client that repeats a request under a new key asks twice: the same audit must notice.
pub(super) async fn control(ground: &Ground) -> anyhow::Result<Verdict> {
    let bank = Bank::open(ground).await?;
    let book = bank.run(ground, 50, Retry::NewKey, 0).await?;
    let mut verdict = Verdict::default();
    bank.audit(ground, &book, &mut verdict).await?;
    Ok(verdict)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Retry {
    SameKey,
    NewKey,
}

/// What the clients believe: how much each account moved, and how many transfers they were told of.
#[derive(Default)]
struct Book {
    acknowledged: i64,
    moved: BTreeMap<String, i64>,
}

struct Bank {
    holders: Vec<(Customer, String)>,
    booked_before: i64,
}

impl Bank {
    async fn open(ground: &Ground) -> anyhow::Result<Self> {
        let mut holders = Vec::new();
        for _ in 0..ground.clients.min(8) {
            let customer = ground.door.sign_up().await?;
            let account = customer.open_account(CURRENCY, OPENING).await?;
            holders.push((customer, account));
        }
        let booked_before = open_books(ground).await?.transfers_booked().await?;
        Ok(Self {
            holders,
            booked_before,
        })
    }

    /// Makes the transfers, and kills the core each time another part of them is done.
    async fn run(&self, ground: &Ground, transfers: u32, retry: Retry, kills: u32) -> anyhow::Result<Book> {
        let next = Arc::new(AtomicU32::new(0));
        let done = Arc::new(AtomicU32::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..ground.clients {
            clients.spawn(client(
                self.holders.clone(),
                next.clone(),
                done.clone(),
                transfers,
                retry,
            ));
        }
        for kill in 1..=kills {
            let part = transfers * kill / (kills + 1);
            ground
                .wait_until("transfers are under way", async || {
                    Ok(done.load(Ordering::Relaxed) >= part)
                })
                .await?;
            ground.system.kill_and_await(Service::CoreApi).await?;
        }
        let mut book = Book::default();
        while let Some(ended) = clients.join_next().await {
            let of_client = ended.context("a client panicked")??;
            book.acknowledged += of_client.acknowledged;
            for (account, amount) in of_client.moved {
                *book.moved.entry(account).or_default() += amount;
            }
        }
        Ok(book)
    }

    /// Compares what the clients believe with what stands in the books.
    async fn audit(&self, ground: &Ground, book: &Book, verdict: &mut Verdict) -> anyhow::Result<()> {
        let mut ledger = open_books(ground).await?;
        let booked = ledger.transfers_booked().await? - self.booked_before;
        verdict.fail_unless(booked == book.acknowledged, || {
            format!(
                "{} transfers were acknowledged, {booked} stand in the books",
                book.acknowledged
            )
        });
        for (customer, account) in &self.holders {
            let held = customer.balance(account).await?;
            let expected = OPENING + book.moved.get(account).copied().unwrap_or_default();
            verdict.fail_unless(held == expected, || {
                format!("{account} holds {held}, {expected} was acknowledged")
            });
        }
        let violations = ledger.violations().await?;
        verdict.fact(format!(
            "{booked} transfers in the books, {} balances compared, {} invariants of the ledger broken",
            self.holders.len(),
            violations.len()
        ));
        verdict
            .failures
            .extend(violations.iter().map(ToString::to_string));
        Ok(())
    }
}

async fn open_books(ground: &Ground) -> anyhow::Result<Ledger> {
    Ledger::open(&ground.system.endpoints().database_url).await
}

/// Takes numbers until none is left; each number is one transfer, from and to accounts that it decides.
async fn client(
    holders: Vec<(Customer, String)>,
    next: Arc<AtomicU32>,
    done: Arc<AtomicU32>,
    transfers: u32,
    retry: Retry,
) -> anyhow::Result<Book> {
    let mut book = Book::default();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= transfers {
            return Ok(book);
        }
        let at = usize::try_from(number)?;
        let (customer, from) = holders.get(at % holders.len()).context("no holder")?;
        let (_, to) = holders.get((at * 3 + 1) % holders.len()).context("no holder")?;
        let to = if to == from {
            &holders.get((at + 1) % holders.len()).context("no holder")?.1
        } else {
            to
        };
        let amount = i64::from(number % 97 + 1);
        let key = Uuid::now_v7().to_string();
        let answer = customer
            .transfer_for_sure((from, to), (amount, CURRENCY), &key)
            .await?;
        if retry == Retry::NewKey {
            let again = Uuid::now_v7().to_string();
            customer
                .transfer_for_sure((from, to), (amount, CURRENCY), &again)
                .await?
                .expect(201)?;
        }
        answer.expect(201)?;
        book.acknowledged += 1;
        *book.moved.entry(from.clone()).or_default() -= amount;
        *book.moved.entry(to.clone()).or_default() += amount;
        done.fetch_add(1, Ordering::Relaxed);
    }
}
