//! The counters of one attempt: read, advanced by one step of `lockout`, and written, in one transaction with what that brings
//! about.

use chrono::DateTime;
use database::Pool;
use lockout::{
    Client, Counters, DeviceCounter, Event, Happened, Kept, Millis, NameCounter, NetworkCounter, PairCounter,
    Rules, Step, Verdict, next_state,
};
use problem::{Problem, catalogue};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::super::profile::Email;
use super::Gate;
use super::keys::{Key, Keys};
use super::store::{self, Distrust, Row};
use crate::mail::{Addressee, Kind, Language, Mail, MailToken};
use crate::{database_problem, metrics};

/// An attempt, and under which keys it is counted.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) keys: Keys,
    pub(super) shown: Shown,
    pub(super) id: u64,
    /// None: what was typed can be nobody's name.
    pub(super) email: Option<Email>,
    pub(super) request_id: String,
}

/// The device that was shown.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shown {
    /// One that is trusted for this name, and the key of its counter.
    Trusted(Uuid, Key),
    /// None, or one that is not.
    Nothing,
}

impl Shown {
    pub(super) const fn client(self) -> Client {
        match self {
            Self::Trusted(..) => Client::Device,
            Self::Nothing => Client::Untrusted,
        }
    }
}

/// Which counters an event changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Those of the name, and of the device.
    Name,
    /// Those of the address, too.
    All,
}

impl Gate {
    /// What a reservation would come to; changes nothing.
    pub(super) async fn look(&self, db: &Pool, attempt: &Attempt) -> Result<Step, Problem> {
        let keys: Vec<_> = attempt.counted(Part::All).map(|(_, key)| key.to_vec()).collect();
        let rows = store::peek(db, &keys).await.map_err(database_problem)?;
        let counters = attempt.read(&rows).map_err(Problem::internal)?;
        Ok(next_state(
            &self.rules.load(),
            counters,
            attempt.reservation(),
            now(&rows),
        ))
    }

    /// Reserves a place, when there is one. The counters of the address are only looked at: what is under way elsewhere from
    /// the same address is not held up for it.
    pub(super) async fn reserve(&self, db: &Pool, attempt: &Attempt) -> Result<Verdict, Problem> {
        let looked = self.look(db, attempt).await?;
        if looked.verdict != Verdict::Verify {
            return Ok(looked.verdict);
        }
        let mut tx = db.begin().await.map_err(database_problem)?;
        let event = attempt.reservation();
        let around = Some(looked.counters);
        let (step, _) = self.advance(&mut tx, attempt, Part::Name, event, around).await?;
        tx.commit().await.map_err(database_problem)?;
        Ok(step.verdict)
    }

    pub(super) async fn settle(&self, db: &Pool, attempt: &Attempt, event: Event) -> Result<(), Problem> {
        let part = match (event, attempt.shown) {
            (Event::Fail { .. }, Shown::Nothing) => Part::All,
            _ => Part::Name,
        };
        let mut tx = db.begin().await.map_err(database_problem)?;
        let (step, now) = self.advance(&mut tx, attempt, part, event, None).await?;
        let mut is_written_to = false;
        for happened in &step.happened {
            let brought = bring_about(&mut tx, attempt, *happened).await;
            brought.map_err(database_problem)?;
            if matches!(happened, Happened::Locked { .. } | Happened::Shut) {
                is_written_to |= self.write_to_owner(&mut tx, attempt, now).await?;
            }
        }
        tx.commit().await.map_err(database_problem)?;
        if is_written_to {
            self.post.wake();
        }
        step.happened.iter().for_each(|happened| tell(*happened));
        if step.verdict == Verdict::Late {
            tracing::warn!("a password took too long to verify: nobody is told how it ended");
            return Err(Problem::new(catalogue::UNAVAILABLE)
                .detail("too many passwords are being checked")
                .retry_after(1));
        }
        Ok(())
    }

    /// Forgets the failures at a name. False when there were none.
    pub(super) async fn forget(&self, tx: &mut PgConnection, attempt: &Attempt) -> Result<bool, Problem> {
        let keys = [attempt.keys.name.to_vec()];
        let rows = store::peek(&mut *tx, &keys).await.map_err(database_problem)?;
        let before = attempt.read(&rows).map_err(Problem::internal)?.name;
        let (step, _) = self.advance(tx, attempt, Part::Name, Event::Unlock, None).await?;
        Ok(before.untrusted > 0 || before.trusted > 0 || before.locks > step.counters.name.locks)
    }

    /// One step of the counters of this part, which are locked until the transaction ends. The others are those of `around`.
    pub(super) async fn advance(
        &self,
        tx: &mut PgConnection,
        attempt: &Attempt,
        part: Part,
        event: Event,
        around: Option<Counters>,
    ) -> Result<(Step, Millis), Problem> {
        let rules = self.rules.load_full();
        let (kinds, keys): (Vec<_>, Vec<_>) = attempt
            .counted(part)
            .map(|(kind, key)| (kind.to_owned(), key.to_vec()))
            .unzip();
        let rows = store::hold(tx, &keys, &kinds).await.map_err(database_problem)?;
        let mut counters = attempt.read(&rows).map_err(Problem::internal)?;
        if let Some(around) = around {
            (counters.pair, counters.networks) = (around.pair, around.networks);
        }
        let now = now(&rows);
        let step = next_state(&rules, counters, event, now);
        let (states, kept_s): (Vec<_>, Vec<_>) = attempt
            .written(part, &step.counters, &rules)
            .map_err(Problem::internal)?
            .into_iter()
            .unzip();
        store::keep(tx, &keys, &states, &kept_s)
            .await
            .map_err(database_problem)?;
        Ok((step, now))
    }

    /// Queues a mail that a name is locked, which lifts that: to whoever has the name when it is sent, and once a day at most.
    /// False when none is queued.
    async fn write_to_owner(
        &self,
        tx: &mut PgConnection,
        attempt: &Attempt,
        now: Millis,
    ) -> Result<bool, Problem> {
        let token = MailToken::generate();
        let (Some(email), Some(token)) = (&attempt.email, token) else {
            return Ok(false);
        };
        let mail = Mail {
            kind: Kind::Locked,
            to: email.as_str().to_owned(),
            addressee: Addressee::Address,
            // Not that of whoever guesses.
            language: Language::default(),
            token: Some(token),
            new_address: None,
        };
        let now = DateTime::from_timestamp_millis(now).unwrap_or_default();
        Ok(self.post.enqueue(tx, &mail, now).await?)
    }
}

/// The time of the database, after every lock was had.
pub(super) fn now(rows: &[Row]) -> i64 {
    rows.iter().map(|row| row.now_ms).max().unwrap_or_default()
}

impl Attempt {
    const fn reservation(&self) -> Event {
        Event::Reserve {
            id: self.id,
            client: self.shown.client(),
        }
    }

    /// The kinds and keys of its counters.
    fn counted(&self, part: Part) -> impl Iterator<Item = (&'static str, Key)> {
        let device = match self.shown {
            Shown::Trusted(_, key) => Some(("device", key)),
            Shown::Nothing => None,
        };
        let networks = self.keys.networks.iter().map(|network| ("network", network.key));
        let of_address = std::iter::once(("pair", self.keys.pair)).chain(networks);
        std::iter::once(("name", self.keys.name))
            .chain(device)
            .chain(of_address.filter(move |_| part == Part::All))
    }

    fn read(&self, rows: &[Row]) -> serde_json::Result<Counters> {
        let networks = self.keys.networks.iter();
        let networks =
            networks.map(|network| Ok((network.times, read::<NetworkCounter>(rows, network.key)?)));
        Ok(Counters {
            name: read::<NameCounter>(rows, self.keys.name)?,
            pair: read::<PairCounter>(rows, self.keys.pair)?,
            device: match self.shown {
                Shown::Trusted(_, key) => read::<DeviceCounter>(rows, key)?,
                Shown::Nothing => DeviceCounter::default(),
            },
            networks: networks.collect::<serde_json::Result<_>>()?,
        })
    }

    /// What is to be kept of its counters, in the order of [`Attempt::counted`], and for how many seconds.
    fn written(
        &self,
        part: Part,
        counters: &Counters,
        rules: &Rules,
    ) -> serde_json::Result<Vec<(Option<String>, i64)>> {
        let mut written = vec![write(&counters.name, rules)?];
        if let Shown::Trusted(..) = self.shown {
            written.push(write(&counters.device, rules)?);
        }
        if part == Part::All {
            written.push(write(&counters.pair, rules)?);
            for (_, network) in &counters.networks {
                written.push(write(network, rules)?);
            }
        }
        Ok(written)
    }
}

/// A counter that cannot be read stops the attempt: whoever could damage one must not get guesses for it.
pub(super) fn read<C: Kept + DeserializeOwned>(rows: &[Row], key: Key) -> serde_json::Result<C> {
    let row = rows.iter().find(|row| key.is(&row.key));
    match row.and_then(|row| row.state.as_deref()) {
        Some(state) => serde_json::from_str(state),
        None => Ok(C::default()),
    }
}

pub(super) fn write<C: Kept + Serialize>(
    counter: &C,
    rules: &Rules,
) -> serde_json::Result<(Option<String>, i64)> {
    if counter.is_empty() {
        return Ok((None, 0));
    }
    let state = serde_json::to_string(counter)?;
    Ok((Some(state), i64::from(counter.kept_s(rules))))
}

async fn bring_about(tx: &mut PgConnection, attempt: &Attempt, happened: Happened) -> sqlx::Result<()> {
    let request_id = attempt.request_id.as_str();
    match happened {
        Happened::Locked { for_s } => {
            let (email, until) = (attempt.email.as_ref().map(Email::as_str), json!({"for_s": for_s}));
            store::record(tx, email, "account.locked", "failures", until, request_id).await?;
        }
        Happened::Shut => {
            let email = attempt.email.as_ref().map(Email::as_str);
            store::record(tx, email, "account.locked", "shut", json!({}), request_id).await?;
        }
        Happened::DeviceDistrusted => {
            if let Shown::Trusted(device, _) = attempt.shown {
                let distrust = Distrust {
                    device,
                    owner: None,
                    outcome: "failures",
                };
                store::distrust_device(tx, &distrust, request_id).await?;
            }
        }
        Happened::NetworkBlocked { network, for_s } => {
            let network = attempt.keys.networks.get(network);
            if let Some(network) = network.and_then(|network| network.network.as_deref()) {
                store::block_sign_in(tx, network, i64::from(for_s), request_id).await?;
            }
        }
        Happened::SucceededAfterFailures { .. } => {}
    }
    Ok(())
}

/// What is seen in the log and in the metrics; neither has a name or an address.
fn tell(happened: Happened) {
    let (what, event, for_s) = match happened {
        Happened::Locked { for_s } => ("locked", "auth.account.locked", Some(for_s)),
        // Until a reset or an unlock.
        Happened::Shut => ("shut", "auth.account.locked", None),
        Happened::DeviceDistrusted => ("device_distrusted", "auth.device.untrusted", None),
        Happened::NetworkBlocked { for_s, .. } => ("network_blocked", "auth.ip.blocked", Some(for_s)),
        Happened::SucceededAfterFailures { failures } => {
            let event = "auth.login.succeeded_after_failures";
            tracing::info!(event, failures, "signed in after failures");
            return;
        }
    };
    metrics::lockout(what);
    tracing::warn!(event, what, for_s, "failed log-ins had a consequence");
}
