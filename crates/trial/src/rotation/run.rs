//! A stage with load on it: who logs in, who verifies, who forges, who looks, and what they bring home.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use database::roles;
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::clients::{Beat, Client};
use super::clock::now;
use super::drill::{Control, Rotations};
use super::evidence::{Absence, Evidence, Key, LogIn, Micros, Request, SECOND, Snapshot, Terms};
use super::lag::Turns;
use super::pool::Pool;
use super::report::{Report, Span, Spell};
use super::stage::Stage;
use super::store;
use super::storm::Storm;
use super::thief::Thief;
use crate::edge::{Door, eventually};

/// Customers that log in, one after the other, at each gateway.
const CUSTOMERS: usize = 2;
/// For so many seconds after it has ended, a key is still tried.
const TAIL_S: i64 = 3;
/// Between two looks at the ring.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// How late every answer is in the control: of a key set there are two, that there is one, and the bytes.
const LAG: Duration = Duration::from_secs(4);

/// A stage with load on it.
pub(super) struct Run {
    pub(super) stage: Stage,
    pub(super) pool: Arc<Pool>,
    pub(super) thief: Thief,
    stop: CancellationToken,
    verifying: JoinSet<Vec<Request>>,
    logging_in: JoinSet<Vec<LogIn>>,
    looking: JoinSet<Vec<Snapshot>>,
    pub(super) auditor_url: String,
    pub(super) every: Duration,
    pub(super) last_turn: Instant,
    pub(super) crashes: usize,
    /// When gateways were dead.
    pub(super) absences: Vec<Absence>,
    /// What became of the first requests to those that came back.
    pub(super) visits: Vec<Request>,
    /// Keys that were called back, as they were before.
    pub(super) called_back: Vec<Key>,
    pub(super) storms: Vec<Storm>,
    pub(super) spells: Vec<Spell>,
    turns: Option<Turns>,
}

impl Run {
    /// Puts load on a stage.
    pub(super) async fn start(rotations: &Rotations, stage: Stage) -> anyhow::Result<Self> {
        if let Some(lag) = &stage.lag {
            lag.set(LAG);
        }
        let cluster = stage.cluster.as_ref().context("no database")?;
        let pool = Arc::new(Pool::default());
        let mut run = Self {
            thief: Thief::new(&stage.keks, cluster.owner_url(), pool.clone())?,
            auditor_url: cluster.url_for(roles::AUDITOR, None),
            stage,
            pool,
            stop: CancellationToken::new(),
            verifying: JoinSet::new(),
            logging_in: JoinSet::new(),
            looking: JoinSet::new(),
            every: rotations.every,
            last_turn: Instant::now(),
            crashes: 0,
            absences: Vec::new(),
            visits: Vec::new(),
            called_back: Vec::new(),
            storms: Vec::new(),
            spells: Vec::new(),
            turns: None,
        };
        run.log_in(rotations).await?;
        run.verify(rotations).await?;
        let clients: anyhow::Result<Vec<Client>> = (0..run.stage.gateways.len())
            .map(|gateway| run.client(gateway))
            .collect();
        run.verifying
            .spawn(run.thief.clone().forge(clients?, run.stop.clone()));
        run.looking.spawn(look(run.auditor_url.clone(), run.stop.clone()));
        run.thief.steal().await?;
        Ok(run)
    }

    pub(super) fn client(&self, gateway: usize) -> anyhow::Result<Client> {
        Ok(Client::new(gateway, self.stage.door(gateway)?, self.pool.clone()))
    }

    async fn log_in(&mut self, rotations: &Rotations) -> anyhow::Result<()> {
        let gateways = self.stage.gateways.len();
        let clients = u32::try_from(gateways * CUSTOMERS)?;
        let period = Duration::from_secs(1) * clients / rotations.log_ins.max(1);
        for gateway in 0..gateways {
            for number in 0..CUSTOMERS {
                let customer = format!("customer-{gateway}-{number}");
                let mut client = self.client(gateway)?;
                client.register(&customer).await?;
                let beat = Beat {
                    first: Instant::now(),
                    period,
                };
                self.logging_in
                    .spawn(client.log_in(customer, beat, self.stop.clone()));
            }
        }
        let pool = self.pool.clone();
        eventually("somebody has logged in", async || pool.pick(0).is_some()).await
    }

    async fn verify(&mut self, rotations: &Rotations) -> anyhow::Result<()> {
        let gateways = self.stage.gateways.len();
        let mut clients = Vec::new();
        for gateway in 0..gateways {
            for _ in 0..rotations.connections {
                clients.push(self.client(gateway)?);
            }
        }
        if rotations.control == Some(Control::NoBarrier) {
            clients.extend(self.turn_about(rotations.connections).await?);
        }
        let count = u32::try_from(clients.len())?;
        let period = Duration::from_secs(1) * count / rotations.rate.max(1);
        let started = Instant::now();
        for (number, client) in (0..count).zip(clients) {
            let beat = Beat {
                first: started + period * number / count,
                period,
            };
            let seed = usize::try_from(number)?;
            self.verifying.spawn(client.verify(beat, seed, self.stop.clone()));
        }
        Ok(())
    }

    /// Clients of an address behind which the first and the last gateway take turns; it has the next number.
    async fn turn_about(&mut self, connections: u32) -> anyhow::Result<Vec<Client>> {
        let last = self.stage.gateways.len().saturating_sub(1);
        let turns = Turns::start(vec![self.stage.address(0)?, self.stage.address(last)?]).await?;
        let door = Door::new(vec![turns.address()], self.stage.client_config()?);
        self.turns = Some(turns);
        let client = || Client::new(last + 1, door.clone(), self.pool.clone()).that_reconnects();
        Ok((0..connections).map(|_| client()).collect())
    }

    /// Waits.
    pub(super) async fn until(&mut self, time: Duration) -> Span {
        let from = now();
        sleep_until(Instant::now() + time).await;
        self.last_turn = Instant::now();
        Span { from, to: now() }
    }

    /// Something that began at this moment is over, and no request may have failed meanwhile.
    pub(super) fn note_spell(&mut self, row: &'static str, from: Micros) {
        let span = Span { from, to: now() };
        self.spells.push(Spell {
            row,
            span,
            ..Spell::default()
        });
    }

    /// The text of a token that an issuer has made.
    pub(super) fn a_live_token(&self) -> anyhow::Result<Arc<str>> {
        Ok(self.pool.pick(0).context("no token was made")?.text)
    }

    /// Waits until the first key that was replaced, if any, has been past its bound for a while.
    pub(super) async fn tail(&self, terms: &Terms) -> anyhow::Result<()> {
        let mut auditor = PgConnection::connect(&self.auditor_url).await?;
        let keys = store::keys(&mut auditor).await?;
        let Some(first) = keys.iter().filter_map(|key| key.verify_until_s).min() else {
            return Ok(());
        };
        let ends = first + 2 * terms.skew_s + TAIL_S;
        let left = u64::try_from(ends * SECOND - now()).unwrap_or_default();
        sleep_until(Instant::now() + Duration::from_micros(left)).await;
        Ok(())
    }

    /// Ends the load, searches a dump, and judges.
    pub(super) async fn finish(
        self,
        rotations: &Rotations,
        quiet: Span,
        rotating: Span,
    ) -> anyhow::Result<Report> {
        let dump = self.thief.search_dump().await?;
        let kid_reuse_refused = self.kid_reuse_is_refused().await?;
        self.stop.cancel();
        let mut requests = self.verifying.join_all().await.concat();
        requests.extend(self.visits);
        let snapshots = self.looking.join_all().await.concat();
        let mut auditor = PgConnection::connect(&self.auditor_url).await?;
        let keys = store::keys(&mut auditor).await?;
        drop(auditor);
        let (tokens, ended_sessions) = self.pool.written();
        let evidence = Evidence {
            terms: rotations.terms,
            tokens,
            requests,
            log_ins: self.logging_in.join_all().await.concat(),
            keys,
            called_back: self.called_back,
            held: self.stage.held()?,
            // Nothing that is done here cuts a gateway off for longer than it may be.
            cut_off: Vec::new(),
            absences: self.absences,
            ended_sessions,
            snapshots,
            dump,
        };
        let (crashes, storms, spells) = (self.crashes, self.storms, self.spells);
        self.stage.stop().await?;
        Ok(Report::new(
            &evidence,
            crashes,
            kid_reuse_refused,
            storms,
            spells,
            (quiet, rotating),
        ))
    }

    /// Tries to put another key under a name that is taken, with the rights of a control plane.
    async fn kid_reuse_is_refused(&self) -> anyhow::Result<bool> {
        let kid = store::active_key(&mut self.stage.superuser().await?).await?.kid;
        let mut control = self.stage.connection_as(roles::CONTROL).await?;
        let inserted = store::reuse_kid(&mut control, &kid).await;
        let replaced = store::replace_material(&mut control, &kid).await;
        Ok(inserted.is_err() && replaced.is_err())
    }
}

/// Looks at the ring as others see it, until told to stop.
async fn look(auditor_url: String, stop: CancellationToken) -> Vec<Snapshot> {
    let mut seen = Vec::new();
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut open: Option<PgConnection> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return seen,
            _ = ticks.tick() => {}
        }
        // The database may be down for a moment.
        let mut auditor = match open.take() {
            Some(auditor) => auditor,
            None => match PgConnection::connect(&auditor_url).await {
                Ok(auditor) => auditor,
                Err(_) => continue,
            },
        };
        if let Ok(snapshot) = store::snapshot(&mut auditor).await {
            seen.extend(snapshot);
            open = Some(auditor);
        }
    }
}
