//! The ledger's invariants, checked by an auditor who can only read.

mod store;

use std::fmt;

use anyhow::Context as _;
use sqlx::{Connection as _, PgConnection};

/// An auditor's connection to the books.
#[derive(Debug)]
pub struct Ledger(PgConnection);

/// An invariant that does not hold, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The invariant: `I1` to `I20`, as `docs/architecture.md` lists them.
    pub invariant: &'static str,
    /// What is wrong.
    pub finding: &'static str,
    /// In how many rows.
    pub rows: i64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({} rows)", self.invariant, self.finding, self.rows)
    }
}

impl Ledger {
    /// Opens the books.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn open(database_url: &str) -> anyhow::Result<Self> {
        Ok(Self(
            PgConnection::connect(database_url)
                .await
                .context("the auditor cannot open the books")?,
        ))
    }

    /// Checks every invariant that the ledger's own rows can show, in one snapshot.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn violations(&mut self) -> anyhow::Result<Vec<Violation>> {
        let mut snapshot = self
            .0
            .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await?;
        let findings = [
            (
                "I1",
                "a currency whose postings do not sum to zero",
                store::unbalanced(&mut snapshot).await?,
            ),
            (
                "I2",
                "a balance that is not the sum of its transfers",
                store::wrong_balances(&mut snapshot).await?,
            ),
            (
                "I3",
                "a break in an account's running balance",
                store::broken_chains(&mut snapshot).await?,
            ),
            (
                "I5",
                "a cap exceeded without a forced entry",
                store::broken_caps(&mut snapshot).await?,
            ),
            (
                "I6",
                "an entry without a transfer, or the reverse",
                store::orphans(&mut snapshot).await?,
            ),
        ];
        snapshot.rollback().await?;
        let violations = findings
            .into_iter()
            .filter(|(_, _, rows)| *rows > 0)
            .map(|(invariant, finding, rows)| Violation {
                invariant,
                finding,
                rows,
            })
            .collect();
        Ok(violations)
    }

    /// How many transfers between customers are in the books.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn transfers_booked(&mut self) -> anyhow::Result<i64> {
        Ok(store::transfers_booked(&mut self.0).await?)
    }
}
