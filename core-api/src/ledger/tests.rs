//! The posting function against a pure model: the same answers, the same balances, whatever comes in whatever order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use test_support::TestDatabase;
use uuid::Uuid;

use crate::tests::store::{self, LedgerAccount};

/// One leg, in terms of places in the list of accounts.
#[derive(Debug, Clone)]
pub(crate) struct Leg {
    pub(crate) debit: usize,
    pub(crate) credit: usize,
    pub(crate) amount: i64,
    pub(crate) pending: i64,
    /// Which of the case's holds; 0 is none.
    pub(crate) hold: usize,
    pub(crate) force: bool,
}

/// One entry: its number (equal numbers are the same entry again), its tenant, its legs.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) number: u8,
    pub(crate) tenant: i64,
    pub(crate) legs: Vec<Leg>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Counters {
    dr: i64,
    cr: i64,
    dr_pending: i64,
    cr_pending: i64,
    forced: i64,
}

#[derive(Debug, Clone, Default)]
struct Hold {
    sides: Option<(usize, usize)>,
    remaining: i64,
}

/// The ledger as it should be.
#[derive(Debug, Clone)]
struct Model {
    accounts: Vec<LedgerAccount>,
    counters: Vec<Counters>,
    holds: BTreeMap<usize, Hold>,
    entries: BTreeSet<u8>,
}

impl Model {
    fn new(accounts: Vec<LedgerAccount>) -> Self {
        let counters = vec![Counters::default(); accounts.len()];
        Self {
            accounts,
            counters,
            holds: BTreeMap::new(),
            entries: BTreeSet::new(),
        }
    }

    fn post(&mut self, batch: &[Entry]) -> Vec<i16> {
        let mut touched: BTreeMap<usize, bool> = BTreeMap::new();
        let mut codes = Vec::new();
        for entry in batch {
            let mut next = self.clone();
            let code = if self.entries.contains(&entry.number) {
                1
            } else {
                entry
                    .legs
                    .iter()
                    .map(|leg| next.apply(leg, entry.tenant))
                    .find(|code| *code != 0)
                    .unwrap_or(0)
            };
            if code == 0 {
                next.entries.insert(entry.number);
                *self = next;
                for leg in &entry.legs {
                    for side in [leg.debit, leg.credit] {
                        *touched.entry(side).or_default() |= leg.force;
                    }
                }
            }
            codes.push(code);
        }
        for (place, forced) in touched {
            let over = self.over(place);
            let counters = &mut self.counters[place];
            counters.forced = if forced { over } else { counters.forced.min(over) };
        }
        codes
    }

    fn over(&self, place: usize) -> i64 {
        let (account, c) = (&self.accounts[place], &self.counters[place]);
        let debit = account
            .debit_cap
            .map_or(0, |cap| c.dr + c.dr_pending - c.cr - cap);
        let credit = account
            .credit_cap
            .map_or(0, |cap| c.cr + c.cr_pending - c.dr - cap);
        debit.max(credit).max(0)
    }

    fn apply(&mut self, leg: &Leg, tenant: i64) -> i16 {
        let (debit, credit) = (
            self.accounts[leg.debit].clone(),
            self.accounts[leg.credit].clone(),
        );
        if leg.amount < 0 || (leg.amount == 0 && leg.pending == 0) || leg.debit == leg.credit {
            return 6;
        }
        if !debit.exists || !credit.exists {
            return 2;
        }
        if debit.tenant != tenant || credit.tenant != tenant || debit.currency != credit.currency {
            return 3;
        }
        if !leg.force && leg.pending >= 0 && (debit.status > 0 || credit.status > 1) {
            return 5;
        }
        let sides = (leg.debit, leg.credit);
        if leg.pending != 0 {
            let hold = self.holds.get(&leg.hold).cloned().unwrap_or_default();
            let foreign = hold.sides.is_some_and(|own| own != sides);
            let short = leg.pending < 0 && (hold.sides.is_none() || hold.remaining < -leg.pending);
            if leg.hold == 0 || foreign || short {
                return 7;
            }
        }
        self.counters[leg.debit].dr += leg.amount;
        self.counters[leg.credit].cr += leg.amount;
        self.counters[leg.debit].dr_pending += leg.pending;
        self.counters[leg.credit].cr_pending += leg.pending;
        if leg.hold > 0 {
            let hold = self.holds.entry(leg.hold).or_default();
            hold.sides.get_or_insert(sides);
            hold.remaining += leg.pending;
        }
        if !leg.force && leg.amount + leg.pending > 0 {
            let (d, c) = (&self.counters[leg.debit], &self.counters[leg.credit]);
            if debit
                .debit_cap
                .is_some_and(|cap| d.dr + d.dr_pending - d.cr > cap)
            {
                return 4;
            }
            if credit
                .credit_cap
                .is_some_and(|cap| c.cr + c.cr_pending - c.dr > cap)
            {
                return 8;
            }
        }
        0
    }
}

/// A house account, customers with and without overdraft, one that is full soon, other currency, other tenant, every
/// status, and one that does not exist.
fn accounts() -> Vec<LedgerAccount> {
    let customer = LedgerAccount {
        exists: true,
        tenant: 1,
        currency: 978,
        status: 0,
        debit_cap: Some(0),
        credit_cap: Some(9_000_000_000_000_000),
    };
    vec![
        LedgerAccount {
            debit_cap: None,
            credit_cap: None,
            ..customer.clone()
        },
        customer.clone(),
        customer.clone(),
        LedgerAccount {
            debit_cap: Some(50),
            ..customer.clone()
        },
        LedgerAccount {
            credit_cap: Some(60),
            ..customer.clone()
        },
        LedgerAccount {
            currency: 392,
            ..customer.clone()
        },
        LedgerAccount {
            tenant: 2,
            ..customer.clone()
        },
        LedgerAccount {
            status: 1,
            ..customer.clone()
        },
        LedgerAccount {
            status: 2,
            ..customer.clone()
        },
        LedgerAccount {
            status: 3,
            ..customer.clone()
        },
        LedgerAccount {
            exists: false,
            ..customer
        },
    ]
}

fn any_leg() -> impl Strategy<Value = Leg> {
    // Mostly the first accounts, so that most entries have a chance.
    let place = prop_oneof![8 => 0..5_usize, 1 => 5..11_usize];
    let pending = prop_oneof![6 => Just(0_i64), 2 => 1..40_i64, 2 => -40..0_i64];
    (
        place.clone(),
        place,
        prop_oneof![1 => Just(0_i64), 9 => 1..80_i64],
        pending,
        0..4_usize,
        prop::bool::weighted(0.1),
    )
        .prop_map(|(debit, credit, amount, pending, hold, force)| Leg {
            debit,
            credit,
            amount,
            pending,
            hold: if pending == 0 && hold < 3 { 0 } else { hold },
            force,
        })
}

fn any_entry() -> impl Strategy<Value = Entry> {
    (
        0..40_u8,
        prop_oneof![9 => Just(1_i64), 1 => Just(2_i64)],
        prop::collection::vec(any_leg(), 1..4),
    )
        .prop_map(|(number, tenant, legs)| Entry { number, tenant, legs })
}

/// Batches in which no entry stands twice: that is the caller's part of the contract.
fn any_batches() -> impl Strategy<Value = Vec<Vec<Entry>>> {
    let batch = prop::collection::vec(any_entry(), 1..8).prop_map(|mut entries| {
        let mut seen = BTreeSet::new();
        entries.retain(|entry| seen.insert(entry.number));
        entries
    });
    prop::collection::vec(batch, 1..5)
}

/// Accounts and identities of one run in the database.
struct Run {
    ids: Vec<i64>,
    salt: u128,
}

impl Run {
    fn entry_id(&self, entry: &Entry) -> Uuid {
        Uuid::from_u128(self.salt + u128::from(entry.number))
    }

    fn hold_id(&self, hold: usize) -> Uuid {
        Uuid::from_u128(self.salt + 1_000 + u128::try_from(hold).unwrap())
    }

    async fn post(&self, owner: &sqlx::PgPool, batch: &[Entry]) -> Vec<i16> {
        let holds: Vec<Uuid> = (1..4).map(|hold| self.hold_id(hold)).collect();
        let ids: Vec<Uuid> = batch.iter().map(|entry| self.entry_id(entry)).collect();
        store::post_batch(owner, batch, &ids, &self.ids, &holds).await
    }

    async fn counters(&self, owner: &sqlx::PgPool) -> Vec<Counters> {
        let rows = store::counters(owner, &self.ids).await;
        rows.into_iter()
            .map(|[dr, cr, dr_pending, cr_pending, forced]| Counters {
                dr,
                cr,
                dr_pending,
                cr_pending,
                forced,
            })
            .collect()
    }
}

async fn compare(owner: &sqlx::PgPool, batches: &[Vec<Entry>]) -> Result<(), TestCaseError> {
    let mut model = Model::new(accounts());
    let mut runs = Vec::new();
    for _ in 0..2 {
        let ids = store::open_ledger_accounts(owner, &accounts()).await;
        runs.push(Run {
            ids,
            salt: Uuid::new_v4().as_u128() >> 1,
        });
    }
    for batch in batches {
        let wanted = model.post(batch);
        prop_assert_eq!(
            &runs[0].post(owner, batch).await,
            &wanted,
            "as a batch: {:?}",
            batch
        );
        let mut single = Vec::new();
        for entry in batch {
            single.extend(runs[1].post(owner, std::slice::from_ref(entry)).await);
        }
        prop_assert_eq!(&single, &wanted, "one by one: {:?}", batch);
    }
    for run in &runs {
        prop_assert_eq!(&run.counters(owner).await, &model.counters);
    }
    Ok(())
}

#[test]
fn the_posting_function_does_what_the_model_does() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (db, owner) = runtime.block_on(async {
        let db = TestDatabase::create().await;
        let owner = db.owner_pool();
        (db, owner)
    });
    let mut runner = TestRunner::new(Config {
        cases: 96,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&any_batches(), |batches| {
            runtime.block_on(compare(&owner, &batches))
        })
        .unwrap();
    let broken = runtime.block_on(store::broken_invariants(&owner));
    assert_eq!(broken, Vec::<String>::new());
    runtime.block_on(owner.close());
    drop(db);
}

#[tokio::test]
async fn a_malformed_batch_is_refused_whole() {
    let db = TestDatabase::create().await;
    let owner = db.owner_pool();
    let ids = store::open_ledger_accounts(&owner, &accounts()).await;
    let leg = Leg {
        debit: 0,
        credit: 1,
        amount: 1,
        pending: 0,
        hold: 0,
        force: false,
    };
    let entry = Entry {
        number: 1,
        tenant: 1,
        legs: vec![leg.clone()],
    };
    let outside = Entry {
        number: 2,
        tenant: 1,
        legs: vec![Leg { credit: 99, ..leg }],
    };
    let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
    for (batch, entry_ids) in [
        (vec![entry.clone(), entry.clone()], vec![one, one]),
        (vec![entry, outside], vec![one, two]),
    ] {
        let error = store::try_post_batch(&owner, &batch, &entry_ids, &ids, &[])
            .await
            .unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), "22023");
    }
    assert_eq!(
        store::number(&owner, "SELECT count(*) FROM ledger.entry").await,
        0
    );
}
