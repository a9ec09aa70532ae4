//! The drill of key rotation (T-K1 to T-K6): run it through `make rotation-drill`; bench/README.md says how to read it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Parser;
use trial::rotation::{Control, Invariant, Report, Rotations, Storm, Terms, Turn};

/// Rotates keys under load, with wrong clocks and dying processes; no valid token may be refused, no ended key accepted.
#[derive(Debug, Parser)]
struct Arguments {
    /// The portico binary
    #[arg(long, default_value = "target/release/portico")]
    binary: PathBuf,
    /// Verifications a second
    #[arg(long, default_value_t = 2_000)]
    rate: u32,
    /// Connections to each gateway, kept alive
    #[arg(long, default_value_t = 16)]
    connections: u32,
    /// Log-ins a second
    #[arg(long, default_value_t = 50)]
    log_ins: u32,
    /// Seconds without a rotation at first, to compare with
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    quiet: u64,
    /// Seconds between two turns
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    every: u64,
    /// Rounds of turns: three plain rotations, and one with each fault
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Tokens a second of keys that nobody knows
    #[arg(long, default_value_t = 10_000)]
    unknown_keys: u32,
    /// Private keys that are brought to the next key-encryption key (T-X4)
    #[arg(long, default_value_t = 20_000)]
    rewrap: usize,
    /// Where the report is written
    #[arg(long, value_name = "FILE", default_value = "target/rotation-drill.md")]
    out: PathBuf,
}

/// Nobody reads more.
const MOST_FAULTS: usize = 20;
/// From a revocation until no gateway accepts the key, microseconds: the p99 of T-K4.
const LONGEST_REVOCATION: i64 = 2_000_000;
/// A gateway hears of every key late.
const LATE: usize = 2;
/// The address behind which this gateway and another one take turns.
const WORKERS: usize = 3;

impl Arguments {
    fn rotations(&self) -> Rotations {
        Rotations {
            binary: self.binary.clone(),
            terms: Terms {
                lifetime_s: 20,
                skew_s: 1,
                overlap_s: 1,
                revocation_s: 5,
                max_age_s: 90,
                rollback_s: 10,
            },
            cache_s: 5,
            rate: self.rate,
            connections: self.connections,
            log_ins: self.log_ins,
            quiet: Duration::from_secs(self.quiet),
            every: Duration::from_secs(self.every),
            turns: self.turns(),
            control: None,
            provider: None,
        }
    }

    /// Plain rotations first: they are compared with the time in which nothing turns.
    fn turns(&self) -> Vec<Turn> {
        let faults = [
            Turn::TwoSchedulers,
            Turn::Crashes,
            Turn::CrashAfterCommit,
            Turn::Stopped(Duration::from_secs(15)),
            Turn::DatabaseRestart,
            Turn::DatabaseCrash,
            Turn::GatewayCrashes,
            Turn::GatewayAway,
            Turn::Revocation,
            Turn::Reinstatement,
            Turn::UnknownKeys(self.unknown_keys, Duration::from_secs(20)),
        ];
        let plain = vec![Turn::Plain; 3 * self.rounds];
        let once = [Turn::Rewrap(self.rewrap)];
        plain
            .into_iter()
            .chain(faults.repeat(self.rounds))
            .chain(once)
            .collect()
    }

    async fn control(&self, control: Control) -> anyhow::Result<Report> {
        let rotations = Rotations {
            rate: 300,
            connections: 4,
            quiet: Duration::ZERO,
            every: Duration::from_secs(3),
            turns: match control {
                Control::Deaf => vec![Turn::GatewayAway],
                _ => vec![Turn::Plain; 3],
            },
            control: Some(control),
            ..self.rotations()
        };
        rotations.run(|_| {}).await
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut out = std::io::stdout();
    let show = |line: &str| drop(writeln!(std::io::stdout(), "{line}"));
    let report = arguments.rotations().run(show).await?;
    let mut faults = report.faults();
    faults.extend(missed(&report));
    let text = format!(
        "# Rotation drill\n\n{} verifications/s and {} log-ins/s asked for; days are compressed: a key signs for {} s instead of 30 days, \
         and A = 20 s, C = 5 s, S = 1 s, N = 1 s instead of 600, 300, 30 and 5 s\n\n{report}\n{}{}",
        arguments.rate,
        arguments.log_ins,
        arguments.every,
        targets(&report),
        controls(&arguments, &report, &mut faults).await?
    );
    writeln!(out, "\n{text}")?;
    std::fs::write(&arguments.out, &text)?;
    faults.truncate(MOST_FAULTS);
    if !faults.is_empty() {
        bail!("at most {MOST_FAULTS} faults are shown:\n{}", faults.join("\n"));
    }
    Ok(())
}

/// The rows of T-K3: what is done wrong on purpose must be seen.
async fn controls(
    arguments: &Arguments,
    report: &Report,
    faults: &mut Vec<String>,
) -> anyhow::Result<String> {
    let lagging = arguments.control(Control::NoBarrier).await?;
    let short = arguments.control(Control::ShortVerification).await?;
    let deaf = arguments.control(Control::Deaf).await?;
    let late = "no barrier, and a gateway that hears 10 s late";
    let mut rows = String::new();
    for (name, broken) in [
        (late, lagging.broken_at(LATE)),
        ("workers with key sets of their own", lagging.broken_at(WORKERS)),
        ("keys that retire before their tokens end", short.broken()),
        ("a gateway that comes back with its disk alone", deaf.broken()),
    ] {
        if !broken.contains(&Invariant::NoValidTokenRefused) {
            faults.push(format!("control not seen: {name}"));
        }
        let ids: Vec<&str> = broken.iter().map(|invariant| invariant.id()).collect();
        let ids = ids.join(", ");
        writeln!(rows, "| T-K3 control: {name} | breaks INV-1 | breaks {ids} |")?;
    }
    let is_refused = report.kid_reuse_refused;
    writeln!(
        rows,
        "| T-K3 control: other material under a kid that is taken | refused | refused: {is_refused} |"
    )?;
    Ok(rows)
}

/// Targets of time that the run has missed. A p99 of so few revocations is their longest.
fn missed(report: &Report) -> Vec<String> {
    let mut missed = Vec::new();
    let longest = report.revocations.iter().max().copied().unwrap_or_default();
    if longest > LONGEST_REVOCATION {
        missed.push(format!("T-K4: a revoked key was accepted for {longest} µs"));
    }
    let (quiet, rotating) = report.p99;
    if quiet > 0 && rotating.saturating_mul(10) > quiet.saturating_mul(11) {
        missed.push(format!(
            "T-K5: p99 is {quiet} µs without rotations and {rotating} µs with them"
        ));
    }
    missed
}

/// The rows of the targets that one run can tell.
fn targets(report: &Report) -> String {
    let of = |wanted: &[Invariant]| {
        let violations = report
            .violations
            .iter()
            .filter(|violation| wanted.contains(&violation.invariant));
        violations.count()
    };
    let refused = of(&[Invariant::NoValidTokenRefused]);
    let accepted = of(&[Invariant::NoRetiredKeyAccepted, Invariant::NoForgedTokenAccepted]);
    let longest = report
        .revocations
        .iter()
        .max()
        .map_or(0, |latency| latency / 1_000);
    let (quiet, rotating) = report.p99;
    let of_storms = |count: fn(&Storm) -> usize| report.storms.iter().map(count).sum::<usize>();
    format!(
        "| target | bound | measured |\n| --- | --- | --- |\n\
         | T-K1 valid tokens answered 401, over {} rotations and {} requests | 0 | {refused} |\n\
         | T-K2 tokens of retired or revoked keys accepted after the bound | 0 | {accepted} |\n\
         | T-K4 revocation until no gateway accepts the key | p99 2,000 ms, 5,000 ms at most | {longest} ms |\n\
         | T-K5 p99 of verification without and with rotations | ≤ 1.1 × | {quiet} µs, {rotating} µs |\n\
         | T-K6 times that a gateway asked for keys in {} ms, for {} tokens of keys that nobody knows | 0.2/s | {} |\n",
        report.rotations,
        report.requests,
        of_storms(|storm| usize::try_from(storm.lasted.as_millis()).unwrap_or(usize::MAX)),
        of_storms(Storm::tokens),
        of_storms(|storm| storm.asked_issuer + storm.asked_control_plane),
    )
}
