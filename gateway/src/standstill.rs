//! A process that stood still (SIGSTOP, a frozen container, a machine without processor time or one that was suspended)
//! wakes with old knowledge: what was revoked or retired meanwhile is not known yet. So does one that starts with what is on
//! the disk. It decides nothing until the control plane has spoken, and waits no longer than a moment for that.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::metrics::METRICS;
use crate::since_boot::since_boot;

/// Between two signs of life.
const TICK: Duration = Duration::from_millis(250);
/// A longer time without a sign of life is a standstill: less than an issuer may go on with an old key.
const LONGEST: Duration = Duration::from_secs(1);
/// The control plane may be away: after this time the gateway goes on with what it knows, as it does whenever nobody answers.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same at a start, which is to take no more than a second in all.
const PATIENCE_AT_START: Duration = Duration::from_millis(700);
/// In place of the last sign of life, while nobody watches.
const UNWATCHED: u64 = u64::MAX;

/// Whether this process stood still, and has not heard the control plane since.
#[derive(Debug)]
pub(crate) struct Standstill {
    /// Milliseconds from the boot of the machine to the last sign of life.
    alive_ms: AtomicU64,
    is_in_doubt: AtomicBool,
    doubt: Mutex<Doubt>,
    begun: Notify,
    settled: Notify,
}

#[derive(Debug, Default)]
struct Doubt {
    /// How many there have been.
    number: u64,
    /// The one after which the control plane was dialled and has said everything.
    told: u64,
    /// When it ends by itself, since the boot of the machine.
    until: Option<Duration>,
    is_of_start: bool,
}

impl Standstill {
    /// Nobody watches yet, so nothing is in doubt.
    pub(crate) fn unwatched() -> Self {
        Self {
            alive_ms: AtomicU64::new(UNWATCHED),
            is_in_doubt: AtomicBool::new(false),
            doubt: Mutex::default(),
            begun: Notify::new(),
            settled: Notify::new(),
        }
    }

    /// What is known is of before this start, however short ago that was.
    pub(crate) fn starts(&self) {
        let mut doubt = self.lock();
        doubt.number = doubt.number.saturating_add(1);
        doubt.until = Some(since_boot() + PATIENCE_AT_START);
        doubt.is_of_start = true;
        self.is_in_doubt.store(true, Ordering::Relaxed);
    }

    /// The control plane does not answer: a start goes on with what it knows. Whoever wakes dials again, for its first connection
    /// may be one that had died.
    pub(crate) fn is_alone(&self) {
        let mut doubt = self.lock();
        if doubt.is_of_start {
            self.settle(&mut doubt);
        }
    }

    /// Gives signs of life until `stop`, from a thread of its own: one that compiles a policy or waits for a disk does not
    /// stand for all.
    ///
    /// # Errors
    /// When there can be no thread; nothing is ever in doubt then.
    pub(crate) fn watch(self: Arc<Self>, stop: CancellationToken) -> io::Result<()> {
        let watching = move || {
            while !stop.is_cancelled() {
                self.look(since_boot());
                thread::park_timeout(TICK);
            }
            self.unwatch();
        };
        thread::Builder::new()
            .name("standstill".to_owned())
            .spawn(watching)
            .map(drop)
    }

    fn unwatch(&self) {
        self.alive_ms.store(UNWATCHED, Ordering::Relaxed);
        self.settle(&mut self.lock());
    }

    /// Whether what is known may be old, so long after the boot of the machine.
    pub(crate) fn is_in_doubt(&self, now: Duration) -> bool {
        self.is_in_doubt.load(Ordering::Relaxed) || self.has_stood_still(now)
    }

    /// Waits until it is not; a second at most.
    pub(crate) async fn over(&self) {
        let settled = self.settled.notified();
        let now = since_boot();
        self.look(now);
        if self.is_in_doubt.load(Ordering::Relaxed) {
            let until = self.lock().until.unwrap_or(now);
            // Elapsed when nobody answers, and the watch has not noticed yet.
            drop(timeout(until.saturating_sub(now), settled).await);
        }
    }

    /// Completes after each standstill: the connection to the control plane may be dead, and what comes out of it old.
    pub(crate) async fn begins(&self) {
        self.begun.notified().await;
    }

    /// How many standstills there were: what is said on connections that are dialled after the last of them is new.
    pub(crate) fn number(&self) -> u64 {
        self.lock().number
    }

    /// The control plane has said everything on a connection that was dialled after so many standstills.
    pub(crate) fn told(&self, number: u64) {
        self.lock().told = number;
    }

    /// What the control plane has named is in force.
    pub(crate) fn is_current(&self) {
        if !self.is_in_doubt.load(Ordering::Relaxed) {
            return;
        }
        let mut doubt = self.lock();
        if doubt.told == doubt.number {
            self.settle(&mut doubt);
        }
    }

    fn has_stood_still(&self, now: Duration) -> bool {
        let alive = Duration::from_millis(self.alive_ms.load(Ordering::Relaxed));
        now.saturating_sub(alive) > LONGEST
    }

    /// A sign of life; whoever wakes first notices the standstill.
    fn look(&self, now: Duration) {
        if self.has_stood_still(now) {
            let mut doubt = self.lock();
            // Another one may have noticed it meanwhile.
            if self.has_stood_still(now) {
                tracing::warn!("this process stood still: it asks the control plane before it goes on");
                METRICS.standstills.inc();
                doubt.number = doubt.number.saturating_add(1);
                doubt.until = Some(now + PATIENCE);
                doubt.is_of_start = false;
                self.is_in_doubt.store(true, Ordering::Relaxed);
                self.begun.notify_one();
                self.live(now);
            }
            return;
        }
        self.live(now);
        if self.is_in_doubt.load(Ordering::Relaxed) {
            let mut doubt = self.lock();
            if doubt.until.is_some_and(|until| now >= until) {
                tracing::warn!("the control plane does not answer: what is known stays");
                self.settle(&mut doubt);
            }
        }
    }

    fn live(&self, now: Duration) {
        let alive = u64::try_from(now.as_millis()).unwrap_or(UNWATCHED);
        self.alive_ms.store(alive, Ordering::Relaxed);
    }

    fn settle(&self, doubt: &mut Doubt) {
        doubt.until = None;
        doubt.is_of_start = false;
        self.is_in_doubt.store(false, Ordering::Relaxed);
        self.settled.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Doubt> {
        self.doubt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn is_over(over: &mut std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
        over.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    /// Later than any look of the code itself.
    const STARTED: Duration = Duration::from_secs(1 << 33);

    /// Watched, and alive until [`STARTED`].
    fn watched() -> Standstill {
        let standstill = Standstill::unwatched();
        standstill.look(STARTED);
        standstill
    }

    #[test]
    fn nothing_is_in_doubt_while_nobody_watches_or_signs_of_life_come_in_time() {
        let unwatched = Standstill::unwatched();
        assert!(!unwatched.is_in_doubt(STARTED + 100 * LONGEST));
        let watched = watched();
        for tick in 1..20_u32 {
            assert!(!watched.is_in_doubt(STARTED + tick * LONGEST));
            watched.look(STARTED + tick * LONGEST);
        }
        assert_eq!(watched.number(), 0);
    }

    #[tokio::test]
    async fn what_is_known_is_in_doubt_until_the_control_plane_has_said_everything_anew() {
        let standstill = watched();
        let woken = STARTED + 2 * LONGEST;
        assert!(standstill.is_in_doubt(woken), "before anybody has noticed it");
        standstill.look(woken);
        assert!(standstill.is_in_doubt(woken));
        standstill.begins().await;

        let mut over = pin!(standstill.over());
        assert!(!is_over(&mut over));
        standstill.told(0);
        standstill.is_current();
        assert!(!is_over(&mut over), "that was said on an old connection");
        standstill.told(standstill.number());
        assert!(!is_over(&mut over), "what was said is not in force yet");
        standstill.is_current();
        assert!(is_over(&mut over));
        assert!(!standstill.is_in_doubt(since_boot()));
    }

    #[test]
    fn a_control_plane_that_is_away_is_not_waited_for() {
        let standstill = watched();
        let woken = STARTED + 2 * LONGEST;
        standstill.look(woken);
        let almost = woken + PATIENCE - Duration::from_millis(1);
        standstill.look(almost);
        assert!(standstill.is_in_doubt(almost));
        standstill.look(woken + PATIENCE);
        assert!(!standstill.is_in_doubt(woken + PATIENCE));
    }

    #[tokio::test]
    async fn what_a_process_starts_with_is_in_doubt_until_the_control_plane_has_said_everything() {
        let standstill = watched();
        standstill.starts();
        let mut over = pin!(standstill.over());
        assert!(!is_over(&mut over));
        standstill.told(standstill.number());
        assert!(!is_over(&mut over), "what was said is not in force yet");
        standstill.is_current();
        assert!(is_over(&mut over));
    }

    #[test]
    fn a_start_waits_for_nobody_who_does_not_answer() {
        let refused = watched();
        refused.starts();
        refused.is_alone();
        assert!(!refused.is_in_doubt(since_boot()));

        let silent = watched();
        let before = since_boot();
        silent.starts();
        let after = since_boot();
        silent.look(before + PATIENCE_AT_START - Duration::from_millis(1));
        assert!(silent.is_in_doubt(before));
        silent.look(after + PATIENCE_AT_START);
        assert!(!silent.is_in_doubt(after));
    }

    #[test]
    fn a_standstill_is_not_over_because_one_connection_has_died() {
        let standstill = watched();
        standstill.starts();
        let woken = STARTED + 2 * LONGEST;
        standstill.look(woken);
        standstill.is_alone();
        assert!(standstill.is_in_doubt(woken));
    }

    #[test]
    fn a_gateway_that_stops_watching_leaves_nobody_waiting() {
        let standstill = watched();
        standstill.look(STARTED + 2 * LONGEST);
        standstill.unwatch();
        assert!(!standstill.is_in_doubt(STARTED + 100 * LONGEST));
    }
}
