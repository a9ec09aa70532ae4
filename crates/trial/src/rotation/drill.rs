//! The rotation drill: keys change under load, whatever fails meanwhile, and the invariants are judged by what was seen.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use super::clock::{can_be_skewed, now};
use super::evidence::Terms;
use super::provider::Provider;
use super::report::{Report, Span};
use super::run::Run;
use super::stage::{Setting, Stage};

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
    /// A process of PostgreSQL is killed behind the rotation: it drops everybody, and recovers.
    DatabaseCrash,
    /// A gateway is killed at each step of a rotation, and at a revocation, and started again; the ring turns at each of the eight.
    GatewayCrashes,
    /// A gateway is killed, and started again when the ring has turned three times without it.
    GatewayAway,
    /// The active key is revoked; the ring turns by that.
    Revocation,
    /// The rotation is taken back: the ring turns twice.
    Reinstatement,
    /// A gateway is shown so many tokens a second of keys that nobody knows, for so long; the ring does not turn.
    UnknownKeys(u32, Duration),
    /// So many private keys are brought to the next key-encryption key, and a control plane dies meanwhile; the ring does not
    /// turn. Once in a run.
    Rewrap(usize),
    /// Who keeps the secrets answers nobody for so long; the ring does not turn.
    Outage(Duration),
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
    /// Who keeps the secrets; none where they are in files.
    pub provider: Option<Provider>,
}

/// What is done wrong on purpose, to see that it is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Keys are activated a second after they were published, whoever holds them: the database forgets that gateways live, so
    /// that none is waited for. Every answer reaches one gateway 4 s late, and an address leads to this gateway and another in
    /// turn, as to workers with caches of their own.
    NoBarrier,
    /// Keys are retired as if tokens lived for a second.
    ShortVerification,
    /// A gateway that was killed comes back with its disk alone: where its control plane should be is nobody.
    Deaf,
}

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
            comes_back_deaf: self.control == Some(Control::Deaf),
            provider: self.provider.clone(),
        }
    }
}
