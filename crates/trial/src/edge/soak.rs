//! A soak: one gateway under a constant load for a long time, and whether its memory stays flat.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, interval};

use super::client::Door;
use super::load::{Load, Tally};
use super::process::Gateway;
use super::site::{Place, Site};
use super::sockets::{SocketTally, Sockets};
use super::upstream::Upstream;

/// One request of so many comes on a connection of its own: handshakes must not leave anything behind either.
const CHURN: u32 = 100;

/// How long, and under what load.
#[derive(Debug, Clone)]
pub struct Soak {
    /// The portico binary.
    pub binary: PathBuf,
    /// Requests a second on kept connections; a hundredth of it comes on new ones besides.
    pub rate: u32,
    /// Kept connections.
    pub connections: u32,
    /// WebSockets that stay open.
    pub sockets: usize,
    /// How long it lasts.
    pub lasts: Duration,
    /// How often memory is looked at.
    pub sample_every: Duration,
}

/// Resident memory at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Since the load began.
    pub at: Duration,
    /// In KiB.
    pub resident_kib: u64,
}

/// What a soak has shown.
#[derive(Debug)]
pub struct Soaked {
    /// In their order.
    pub samples: Vec<Sample>,
    /// What became of the requests on kept connections.
    pub kept: Tally,
    /// What became of those on new ones.
    pub churn: Tally,
    /// What became of the WebSockets.
    pub sockets: SocketTally,
}

impl Soak {
    /// Runs it; each sample is shown as soon as it is taken.
    ///
    /// # Errors
    /// When something cannot be started, or the gateway ends.
    pub async fn run(&self, mut show: impl FnMut(&Sample)) -> anyhow::Result<Soaked> {
        let upstream = Upstream::start().await?;
        let site = Site::new(upstream.address())?;
        let gateway = Gateway::start(&site, &Place::anywhere("gateway"), &self.binary, &[]).await?;
        let door = Door::new(vec![gateway.https()?], site.client_config()?);
        let sockets = Sockets::open(&door, "/live", self.sockets).await;
        let kept = Load::start(&door, "/fast", self.rate, self.connections);
        let churn = Load::start_anew(&door, "/fast", self.rate.div_ceil(CHURN), self.connections);
        let started = Instant::now();
        let mut ticks = interval(self.sample_every);
        let mut samples = Vec::new();
        while started.elapsed() < self.lasts {
            ticks.tick().await;
            let sample = Sample {
                at: started.elapsed(),
                resident_kib: gateway.resident_kib().context("the gateway has ended")?,
            };
            show(&sample);
            samples.push(sample);
        }
        Ok(Soaked {
            samples,
            kept: kept.stop().await,
            churn: churn.stop().await,
            sockets: sockets.stop().await,
        })
    }
}

impl Soaked {
    /// By how much memory grew over the second half, in KiB: what the straight line says that fits its samples best
    /// (least squares). One sample more or less in a step of the allocator moves it little. `None` with fewer than three.
    #[must_use]
    pub fn growth_kib(&self) -> Option<i128> {
        let half = self.samples.get(self.samples.len() / 2..)?;
        let [first, _, .., last] = half else { return None };
        let millis = |time: Duration| i128::try_from(time.as_millis()).unwrap_or(i128::MAX);
        let (mut n, mut x, mut y, mut xx, mut xy) = (0, 0, 0, 0, 0);
        for sample in half {
            let (at, kib) = (millis(sample.at), i128::from(sample.resident_kib));
            n += 1;
            x += at;
            y += kib;
            xx += at * at;
            xy += at * kib;
        }
        let lasted = millis(last.at) - millis(first.at);
        (lasted * (n * xy - x * y)).checked_div(n * xx - x * x)
    }

    /// What is wrong: somebody missed something, there was less load than this, or memory grew by more than this over the
    /// second half.
    #[must_use]
    pub fn fault(&self, most_growth_kib: u64, least_rate: u128) -> Option<String> {
        let missed = self.kept.failures() + self.churn.failures() + self.sockets.failures();
        if missed > 0 {
            return Some(format!("{missed} failed"));
        }
        if self.kept.answered == 0 || self.kept.rate() < least_rate {
            return Some(format!(
                "{} requests/s came about, not {least_rate}",
                self.kept.rate()
            ));
        }
        match self.growth_kib() {
            None => Some("too short: there are not three samples in its second half".to_owned()),
            Some(growth) if growth > i128::from(most_growth_kib) => {
                Some(format!("memory grew by {growth} KiB over the second half"))
            }
            Some(_) => None,
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {:>6} | {:>8} |", self.at.as_secs(), self.resident_kib)
    }
}

impl fmt::Display for Soaked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "kept connections: {}", self.kept)?;
        writeln!(f, "new connections: {}", self.churn)?;
        writeln!(f, "{}", self.sockets)?;
        match self.growth_kib() {
            Some(growth) => write!(f, "memory over the second half: {growth:+} KiB"),
            None => write!(f, "memory over the second half: too few samples"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soaked(resident_kib: impl IntoIterator<Item = u64>) -> Soaked {
        let sample = |(at, resident_kib)| Sample {
            at: Duration::from_secs(at),
            resident_kib,
        };
        let mut kept = Tally::default();
        (kept.sent, kept.answered, kept.lasted) = (1, 1, Duration::from_secs(1));
        Soaked {
            samples: (0..).step_by(10).zip(resident_kib).map(sample).collect(),
            kept,
            churn: Tally::default(),
            sockets: SocketTally::default(),
        }
    }

    #[test]
    fn what_grows_while_it_warms_up_is_flat_and_what_goes_on_growing_is_not() {
        let warm = soaked((0..40).map(|number| 40_000 + 500 * number.min(19)));
        assert_eq!(warm.growth_kib(), Some(0));
        assert_eq!(warm.fault(0, 1), None);
        let leaking = soaked((0..40).map(|number| 40_000 + 100 * number));
        // Twenty samples are nineteen steps.
        assert_eq!(leaking.growth_kib(), Some(1_900));
        assert_eq!(leaking.fault(1_900, 1), None);
        let fault = leaking.fault(1_899, 1).unwrap();
        assert_eq!(fault, "memory grew by 1900 KiB over the second half");
        let shrinking = soaked((0..40).map(|number| 40_000 - 100 * number));
        assert_eq!(shrinking.growth_kib(), Some(-1_900));
    }

    #[test]
    fn a_failed_request_too_little_load_and_too_few_samples_are_faults() {
        let mut failed = soaked([1; 10]);
        failed.churn.failed.insert("status 502".to_owned(), 2);
        assert_eq!(failed.fault(0, 1).unwrap(), "2 failed");
        let fault = soaked([1; 10]).fault(0, 2).unwrap();
        assert_eq!(fault, "1 requests/s came about, not 2");
        let fault = soaked([1; 4]).fault(0, 1).unwrap();
        assert!(fault.starts_with("too short"), "{fault}");
    }
}
