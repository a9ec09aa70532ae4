//! One phase of a drill: what was seen in it, and whether that is good.

use std::fmt;

use super::super::load::Tally;
use super::super::sockets::SocketTally;

/// One phase of a drill.
#[derive(Debug)]
pub struct Phase {
    /// What was done.
    pub name: &'static str,
    /// How often.
    pub times: usize,
    /// What became of the requests.
    pub load: Tally,
    /// What became of the WebSockets.
    pub sockets: SocketTally,
    /// Resident memory of the process that served before and after, in KiB.
    pub resident_kib: (u64, u64),
    /// Whether clients must have missed something: then it is a control.
    pub is_control: bool,
}

/// What a phase that is no control must keep to.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Resident memory may grow by so much, in KiB.
    pub most_growth_kib: u64,
    /// Requests a second that must have come about: what fails under a load says nothing of a smaller one.
    pub least_rate: u128,
}

impl Phase {
    /// Requests without a whole answer, and sockets that were cut.
    #[must_use]
    pub fn missed(&self) -> usize {
        self.load.failures() + self.sockets.failures()
    }

    /// What is wrong with this phase: somebody missed something, nobody saw the damage of a control, or it was outside
    /// these bounds.
    #[must_use]
    pub fn fault(&self, bounds: Bounds) -> Option<String> {
        let (before, after) = self.resident_kib;
        let fault = match (self.is_control, self.missed()) {
            (true, 0) => "nobody saw it".to_owned(),
            (true, _) => return None,
            (false, missed @ 1..) => format!("{missed} failed"),
            (false, 0) if self.load.answered == 0 => "there was no load".to_owned(),
            (false, 0) if self.load.rate() < bounds.least_rate => {
                format!(
                    "{} requests/s came about, not {}",
                    self.load.rate(),
                    bounds.least_rate
                )
            }
            (false, 0) if after.saturating_sub(before) > bounds.most_growth_kib => {
                format!("memory grew from {before} to {after} KiB")
            }
            (false, 0) => return None,
        };
        Some(format!("{}: {fault}", self.name))
    }

    /// The names of the columns.
    #[must_use]
    pub fn head() -> String {
        format!(
            "{:<29} {:>6} {:>9} {:>6} {:>7} {:>8} {:>8} {:>9} {:>8} {:>6} {:>15}",
            "phase",
            "times",
            "requests",
            "per s",
            "failed",
            "p50 µs",
            "p99 µs",
            "longest",
            "sockets",
            "cut",
            "RSS MiB"
        )
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (load, sockets) = (&self.load, &self.sockets);
        let (before, after) = self.resident_kib;
        let memory = format!("{} → {}", before / 1_024, after / 1_024);
        write!(
            f,
            "{:<29} {:>6} {:>9} {:>6} {:>7} {:>8} {:>8} {:>9} {:>8} {:>6} {:>15}",
            self.name,
            self.times,
            load.sent,
            load.rate(),
            load.failures(),
            load.percentile(500),
            load.percentile(990),
            load.percentile(1_000),
            sockets.opened,
            sockets.failures(),
            memory,
        )?;
        for (reason, count) in load.failed.iter().chain(&sockets.failed) {
            write!(f, "\n    {count} × {}", reason.lines().next().unwrap_or_default())?;
        }
        Ok(())
    }
}
