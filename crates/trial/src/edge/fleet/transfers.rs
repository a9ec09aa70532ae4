//! Transfers that run through every gateway while something is lost, and what the books say of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;
use uuid::Uuid;

use super::super::flood::Statuses;
use super::super::process::eventually;
use super::{Finding, Fleet};
use crate::Customer;

/// Clients at each gateway, and how many transfers each of them asks for.
const CLIENTS: usize = 4;
const EACH: usize = 20;
const CURRENCY: &str = "EUR";

/// What is lost while transfers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    Nothing,
    /// The process of a core.
    Core,
    /// The link of a core: what it has booked, nobody hears of.
    CoreLink,
    /// The process of a gateway, which comes back.
    Gateway,
}

/// The key with which each transfer is asked for a second time, whatever became of the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    SameKey,
    AnotherKey,
}

/// A client, with the gateway that it asks first and the one that it asks again.
struct Client {
    first: Customer,
    again: Customer,
    from: String,
    to: String,
    repeat: Repeat,
    done: Arc<AtomicUsize>,
}

impl Client {
    /// What the first requests were answered; the second ones all succeed.
    async fn run(self) -> anyhow::Result<Statuses> {
        let mut statuses = Statuses::new();
        let (accounts, money) = ((self.from.as_str(), self.to.as_str()), (1, CURRENCY));
        for _ in 0..EACH {
            let key = Uuid::now_v7().to_string();
            let first = self.first.transfer(accounts, money, &key).await;
            let status = first.map_or(0, |answer| answer.status.as_u16());
            *statuses.entry(status).or_default() += 1;
            let key = match self.repeat {
                Repeat::SameKey => key,
                Repeat::AnotherKey => Uuid::now_v7().to_string(),
            };
            let again = self.again.transfer_for_sure(accounts, money, &key).await?;
            again.expect(201)?;
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(statuses)
    }
}

impl Fleet {
    /// Loses something when a third of the transfers is done. In the end each must be in the books once, and no money may have
    /// come or gone.
    pub(super) async fn transfers_during(
        &mut self,
        what: &'static str,
        customer: &Customer,
        (loss, repeat): (Loss, Repeat),
    ) -> anyhow::Result<Finding> {
        let all = self.doors.len() * CLIENTS * EACH;
        let count = i64::try_from(all)?;
        let money = 10 * count;
        let from = customer.open_account(CURRENCY, money).await?;
        let to = customer.open_account(CURRENCY, 0).await?;
        let mut ledger = self.bank.ledger().await?;
        let before = ledger.transfers_booked().await?;
        let done = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        for turn in 0..self.doors.len() * CLIENTS {
            let client = Client {
                first: customer.through(self.door(turn)?),
                again: customer.through(self.door(turn + 1)?),
                from: from.clone(),
                to: to.clone(),
                repeat,
                done: done.clone(),
            };
            clients.spawn(client.run());
        }
        eventually("a third of the transfers is done", async || {
            done.load(Ordering::Relaxed) >= all / 3
        })
        .await?;
        self.lose(loss).await?;
        let mut seen = Statuses::new();
        while let Some(statuses) = clients.join_next().await {
            for (status, count) in statuses?? {
                *seen.entry(status).or_default() += count;
            }
        }
        self.give_back(loss).await?;
        let booked = ledger.transfers_booked().await? - before;
        let (left, moved) = (customer.balance(&from).await?, customer.balance(&to).await?);
        let violations = ledger.violations().await?.len();
        Ok(Finding {
            what,
            seen,
            note: format!(
                "all asked again: {booked} of {all} booked, {left} + {moved} of {money} there, {violations} violations"
            ),
            holds: booked == count && moved == count && left + moved == money && violations == 0,
            is_control: false,
        })
    }

    async fn lose(&mut self, loss: Loss) -> anyhow::Result<()> {
        match loss {
            Loss::Nothing => Ok(()),
            Loss::Core => self.bank.core(0)?.kill().await,
            Loss::CoreLink => self.network.cut("core2"),
            Loss::Gateway => {
                self.kill_gateway(0).await?;
                self.revive_gateway(0).await
            }
        }
    }

    async fn give_back(&mut self, loss: Loss) -> anyhow::Result<()> {
        match loss {
            Loss::Nothing | Loss::Gateway => Ok(()),
            Loss::Core => self.bank.core(0)?.again().await,
            Loss::CoreLink => self.network.mend("core2"),
        }
    }
}
