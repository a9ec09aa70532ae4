//! The rotation drill: keys change under load, whatever fails meanwhile, and the invariants are judged by what was seen.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use database::roles;
use rustix::process::Signal;
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::clients::{Beat, Client};
use super::clock::{can_be_skewed, now};
use super::evidence::{Evidence, Request, SECOND, Snapshot, Terms};
use super::faults::{Failpoint, crash};
use super::lag::Turns;
use super::operator::{self, Outcome};
use super::pool::Pool;
use super::report::{Report, Span};
use super::stage::{Setting, Stage};
use super::store;
use super::thief::Thief;
use crate::edge::{Door, eventually};

/// Customers that log in, one after the other, at each gateway.
const CUSTOMERS: usize = 2;
/// For so many seconds after it has ended, a key is still tried.
const TAIL_S: i64 = 3;
/// Between two looks at the ring.
const LOOK: Duration = Duration::from_millis(100);

/// What happens at one turn of a drill. At each of them the ring turns once, unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing fails.
    Plain,
    /// Both control planes try at the same moment.
    TwoSchedulers,
    /// A control plane is killed at each failpoint before the commit, and the ring turns after that.
    Crashes,
    /// A control plane is killed after the commit, before anybody is told.
    CrashAfterCommit,
    /// A gateway stands still for so long behind the rotation.
    Stopped(Duration),
    /// PostgreSQL is restarted behind the rotation.
    DatabaseRestart,
    /// The active key is revoked; the ring turns by that.
    Revocation,
}

/// A run.
#[derive(Debug, Clone)]
pub struct Rotations {
    /// The portico binary.
    pub binary: PathBuf,
    /// The durations.
    pub terms: Terms,
    /// How long third parties may keep a key set (C), seconds.
    pub cache_s: i64,
    /// Verifications a second, over all gateways.
    pub rate: u32,
    /// Connections of each gateway that carry them.
    pub connections: u32,
    /// Log-ins a second, over all issuers.
    pub log_ins: u32,
    /// How long nothing turns at first.
    pub quiet: Duration,
    /// Between two turns.
    pub every: Duration,
    /// What happens.
    pub turns: Vec<Turn>,
    /// What is done wrong on purpose.
    pub control: Option<Control>,
}

/// What is done wrong on purpose, to see that it is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Keys are activated a second after they were published, whoever holds them; one gateway hears of them 10 s late, and an
    /// address leads to this gateway and another in turn, as to workers with caches of their own.
    NoBarrier,
    /// Keys are retired as if tokens lived for a second.
    ShortVerification,
}

/// How late the news are in the control.
const LAG: Duration = Duration::from_secs(10);

impl Rotations {
    /// Runs it; each turn is shown when it is over.
    ///
    /// # Errors
    /// When clocks cannot be skewed, something cannot be started, or a turn does not come about.
    pub async fn run(&self, mut show: impl FnMut(&str)) -> anyhow::Result<Report> {
        service_runtime::crypto::install_provider();
        can_be_skewed()?;
        let setting = self.setting();
        let stage = Stage::start(&setting).await?;
        let mut run = Run::start(self, stage).await?;
        let quiet = run.until(self.quiet).await;
        let mut rotating = Span {
            from: quiet.to,
            to: quiet.to,
        };
        for (number, turn) in self.turns.iter().enumerate() {
            let said = run
                .turn(*turn, number)
                .await
                .with_context(|| format!("{turn:?}"))?;
            show(&format!("turn {number}: {said}"));
            // Until the first fault, only keys change.
            if self
                .turns
                .iter()
                .take(number + 1)
                .all(|turn| *turn == Turn::Plain)
            {
                rotating.to = now();
            }
        }
        run.tail(&self.terms).await?;
        run.finish(self, quiet, rotating).await
    }

    fn setting(&self) -> Setting {
        let is_open = self.control == Some(Control::NoBarrier);
        Setting {
            binary: self.binary.clone(),
            terms: self.terms,
            dwell_s: if is_open {
                1
            } else {
                self.cache_s + self.terms.skew_s
            },
            control_plane_believes: match self.control {
                Some(Control::ShortVerification) => (1, 0),
                _ => (self.terms.lifetime_s, self.terms.skew_s),
            },
            lag: is_open,
        }
    }
}

/// A stage with load on it.
struct Run {
    stage: Stage,
    pool: Arc<Pool>,
    thief: Thief,
    stop: CancellationToken,
    verifying: JoinSet<Vec<Request>>,
    logging_in: JoinSet<BTreeMap<u16, usize>>,
    looking: JoinSet<Vec<Snapshot>>,
    auditor_url: String,
    every: Duration,
    has_barrier: bool,
    last_turn: Instant,
    crashes: usize,
    turns: Option<Turns>,
}

impl Run {
    async fn start(rotations: &Rotations, stage: Stage) -> anyhow::Result<Self> {
        if let Some(lag) = &stage.lag {
            lag.set(LAG);
        }
        let cluster = stage.cluster.as_ref().context("no database")?;
        let pool = Arc::new(Pool::default());
        let mut run = Self {
            thief: Thief::new(&stage.kek, cluster.owner_url(), pool.clone())?,
            auditor_url: cluster.url_for(roles::AUDITOR, None),
            stage,
            pool,
            stop: CancellationToken::new(),
            verifying: JoinSet::new(),
            logging_in: JoinSet::new(),
            looking: JoinSet::new(),
            every: rotations.every,
            has_barrier: rotations.control != Some(Control::NoBarrier),
            last_turn: Instant::now(),
            crashes: 0,
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

    fn client(&self, gateway: usize) -> anyhow::Result<Client> {
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
    async fn until(&mut self, time: Duration) -> Span {
        let from = now();
        sleep_until(Instant::now() + time).await;
        self.last_turn = Instant::now();
        Span { from, to: now() }
    }

    /// Waits until the first key that was replaced has been past its bound for a while.
    async fn tail(&self, terms: &Terms) -> anyhow::Result<()> {
        let mut auditor = PgConnection::connect(&self.auditor_url).await?;
        let keys = store::keys(&mut auditor).await?;
        let first = keys.iter().filter_map(|key| key.verify_until_s).min();
        let ends = first.context("no key was replaced")? + 2 * terms.skew_s + TAIL_S;
        let left = u64::try_from(ends * SECOND - now()).unwrap_or_default();
        sleep_until(Instant::now() + Duration::from_micros(left)).await;
        Ok(())
    }

    async fn turn(&mut self, turn: Turn, number: usize) -> anyhow::Result<String> {
        sleep_until(self.last_turn + self.every).await;
        if self.has_barrier {
            self.until_all_hold().await?;
        }
        self.last_turn = Instant::now();
        let control_plane = number % self.stage.control_planes.len();
        let said = match turn {
            Turn::Plain => self.rotate(control_plane).await?,
            Turn::TwoSchedulers => self.rotate_twice().await?,
            Turn::Crashes => self.crash_everywhere(control_plane).await?,
            Turn::CrashAfterCommit => {
                self.crash_at(control_plane, Failpoint::Committing).await?;
                "a control plane was killed after the commit".to_owned()
            }
            Turn::Stopped(time) => {
                self.rotate(control_plane).await?;
                self.stop_gateway(number, time).await?
            }
            Turn::DatabaseRestart => {
                self.rotate(control_plane).await?;
                self.stage.restart_database().await?;
                "PostgreSQL was restarted".to_owned()
            }
            Turn::Revocation => self.revoke(control_plane).await?,
        };
        self.last_turn = Instant::now();
        self.thief.steal().await?;
        Ok(said)
    }

    /// Waits until every gateway holds the key set of now. Gateways do not tell the control plane yet what they hold, so it
    /// is the harness that looks before it asks for a rotation.
    async fn until_all_hold(&self) -> anyhow::Result<()> {
        let mut auditor = PgConnection::connect(&self.auditor_url).await?;
        let seq = store::seq(&mut auditor).await?;
        eventually(&format!("every gateway holds seq {seq}"), async || {
            let Ok(held) = self.stage.held() else { return false };
            (0..self.stage.gateways.len())
                .all(|gateway| held.iter().any(|held| held.gateway == gateway && held.seq >= seq))
        })
        .await
    }

    /// Asks until the ring turns: a standby may be young for a moment, and a control plane may be gone.
    async fn rotate(&self, control_plane: usize) -> anyhow::Result<String> {
        let socket = self.stage.socket(control_plane);
        let mut last = None;
        let turned = eventually("the ring turns", async || {
            let outcome = operator::rotate(&socket).await;
            let is_done = outcome.is_done();
            last = Some(outcome);
            is_done
        });
        turned.await.with_context(|| format!("{last:?}"))?;
        Ok("the ring turned".to_owned())
    }

    async fn rotate_twice(&self) -> anyhow::Result<String> {
        let (first, second) = (self.stage.socket(0), self.stage.socket(1));
        let mut outcomes = Vec::new();
        let turned = eventually("one of two schedulers turns the ring", async || {
            let (one, other) = tokio::join!(operator::rotate(&first), operator::rotate(&second));
            outcomes = vec![one, other];
            outcomes.iter().any(Outcome::is_done)
        });
        turned.await?;
        let done = outcomes.iter().filter(|outcome| outcome.is_done()).count();
        ensure!(
            done == 1,
            "two schedulers turned the ring {done} times: {outcomes:?}"
        );
        Ok("of two schedulers one turned the ring".to_owned())
    }

    async fn crash_at(&mut self, control_plane: usize, failpoint: Failpoint) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut ticks = interval(LOOK);
        while !crash(&mut self.stage, control_plane, failpoint).await? {
            ensure!(
                started.elapsed() < Duration::from_secs(60),
                "nothing came to {failpoint:?}"
            );
            ticks.tick().await;
        }
        self.crashes += 1;
        Ok(())
    }

    async fn crash_everywhere(&mut self, first: usize) -> anyhow::Result<String> {
        for (number, failpoint) in Failpoint::UNDONE.into_iter().enumerate() {
            let control_plane = (first + number) % self.stage.control_planes.len();
            self.crash_at(control_plane, failpoint).await?;
        }
        self.rotate(first).await?;
        Ok(format!(
            "a control plane was killed at each of {:?}; then the ring turned",
            Failpoint::UNDONE
        ))
    }

    async fn stop_gateway(&self, number: usize, time: Duration) -> anyhow::Result<String> {
        let index = number % self.stage.gateways.len().max(1);
        let gateway = self.stage.gateways.get(index).context("no gateway")?;
        gateway.signal(Signal::STOP)?;
        sleep_until(Instant::now() + time).await;
        gateway.signal(Signal::CONT)?;
        Ok(format!("gateway {index} stood still for {} s", time.as_secs()))
    }

    async fn revoke(&self, control_plane: usize) -> anyhow::Result<String> {
        let mut superuser = self.stage.superuser().await?;
        let kid = store::active_key(&mut superuser).await?.kid;
        let outcome = operator::revoke(&self.stage.socket(control_plane), &kid).await;
        ensure!(outcome.is_done(), "{outcome:?}");
        Ok(format!("{kid} was revoked"))
    }

    async fn finish(self, rotations: &Rotations, quiet: Span, rotating: Span) -> anyhow::Result<Report> {
        let dump = self.thief.search_dump().await?;
        let kid_reuse_refused = self.kid_reuse_is_refused().await?;
        self.stop.cancel();
        let requests = self.verifying.join_all().await.concat();
        let mut log_ins: BTreeMap<u16, usize> = BTreeMap::new();
        for statuses in self.logging_in.join_all().await {
            for (status, count) in statuses {
                *log_ins.entry(status).or_default() += count;
            }
        }
        let snapshots = self.looking.join_all().await.concat();
        let mut auditor = PgConnection::connect(&self.auditor_url).await?;
        let keys = store::keys(&mut auditor).await?;
        drop(auditor);
        let (tokens, ended_sessions) = self.pool.written();
        let evidence = Evidence {
            terms: rotations.terms,
            tokens,
            requests,
            keys,
            held: self.stage.held()?,
            // Nothing that is done here cuts a gateway off for longer than it may be.
            cut_off: Vec::new(),
            ended_sessions,
            snapshots,
            dump,
        };
        let crashes = self.crashes;
        self.stage.stop().await?;
        Ok(Report::new(
            evidence,
            log_ins,
            crashes,
            kid_reuse_refused,
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
