//! `portico argon2 calibrate`: what a password hash may cost on this machine.

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::{Outcome, output};

/// What can be done with Argon2id.
#[derive(Debug, Subcommand)]
pub(crate) enum Argon2Command {
    /// Find the settings with which a hash takes about as long as it may.
    Calibrate(CalibrateArguments),
}

/// Options of `portico argon2 calibrate`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  portico argon2 calibrate --target 200ms

Run it on the machine that will serve, when it is quiet. What it prints belongs into the settings of core-api; hashes that
were made with other settings are renewed as people log in. It never goes below the floor of OWASP.

Exit codes: 0 found; 1 even the floor takes longer than the target; 2 wrong usage.")]
pub(crate) struct CalibrateArguments {
    /// How long a hash may take, such as 200ms or 1s.
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = duration)]
    pub(crate) target: Duration,
}

pub(crate) fn run(command: &Argon2Command) -> anyhow::Result<Outcome> {
    let Argon2Command::Calibrate(arguments) = command;
    let found = core_api::calibrate(arguments.target)?;
    let took = found.took.as_millis().max(1);
    output::line(&format!(
        "password:\n  memory_kib: {}\n  iterations: {}\n# {took} ms for a hash; each thread answers {} log-ins in a minute",
        found.memory_kib,
        found.iterations,
        60_000 / took
    ));
    if found.took > arguments.target {
        output::fault("portico: even the floor of OWASP takes longer than the target on this machine");
        return Ok(Outcome::Findings);
    }
    Ok(Outcome::Done)
}

/// Whole milliseconds or seconds, from 1 ms to 10 s.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed = match text.strip_suffix("ms") {
        Some(number) => number.parse().map(Duration::from_millis),
        None => text
            .strip_suffix('s')
            .unwrap_or_default()
            .parse()
            .map(Duration::from_secs),
    };
    parsed
        .ok()
        .filter(|time| (Duration::from_millis(1)..=Duration::from_secs(10)).contains(time))
        .ok_or_else(|| "a time from 1ms to 10s, such as 200ms".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_and_bounds() {
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("1s"), Ok(Duration::from_secs(1)));
        for bad in [
            "",
            "s",
            "200",
            "0ms",
            "11s",
            "-1s",
            "1.5s",
            "1m",
            "99999999999999999999s",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
