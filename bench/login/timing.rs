//! Whether the time of a refused log-in tells who has an account (L10): run it through `make login-timing`.

#[expect(dead_code, reason = "the flood looks at the heads of answers")]
mod client;

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::ensure;
use clap::Parser;
use serde_json::json;
use tokio::time::Instant;
use trial::{Launch, System};

use client::{Client, Door};

/// Asks a bank in vain, for people it knows and for others, and compares how long it takes to say no.
#[derive(Debug, Parser)]
struct Arguments {
    /// The portico binary
    #[arg(long, default_value = "target/release/portico")]
    binary: PathBuf,
    /// The policy files
    #[arg(long, value_name = "DIR", default_value = "policies")]
    policies: PathBuf,
    /// Log-ins of each kind
    #[arg(long, default_value_t = 2_000)]
    samples: u32,
    /// Where the report is written
    #[arg(long, value_name = "FILE", default_value = "target/login-timing.md")]
    out: PathBuf,
}

/// The floor of OWASP: the shorter a hash, the more shows what is done besides.
const HASH: [(&str, &str); 2] = [
    ("CORE_API__PASSWORD__MEMORY_KIB", "19456"),
    ("CORE_API__PASSWORD__ITERATIONS", "2"),
];
/// Failures at one name before it is locked, less one.
const MOST_AT_A_NAME: u32 = 4;
/// Turns from one address before it is blocked: three failures at three names each.
const MOST_TURNS: u32 = 3;
const LOGIN: &str = "/api/v1/auth/login";
const MEDIANS_DIFFER_BY: u64 = 2_000;
const MOST_AUC: u64 = 550;

/// What is asked in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Somebody whom the bank knows, with a wrong password.
    Known,
    /// Somebody whom it does not know.
    Unknown,
    /// No password, every other time for somebody whom it knows.
    Empty,
}

const ORDERS: [[Kind; 3]; 6] = [
    [Kind::Known, Kind::Unknown, Kind::Empty],
    [Kind::Unknown, Kind::Empty, Kind::Known],
    [Kind::Empty, Kind::Known, Kind::Unknown],
    [Kind::Empty, Kind::Unknown, Kind::Known],
    [Kind::Unknown, Kind::Known, Kind::Empty],
    [Kind::Known, Kind::Empty, Kind::Unknown],
];

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Unknown => "unknown",
            Self::Empty => "empty",
        }
    }

    /// Whose log-in is the one of this turn.
    fn email(self, turn: u32) -> String {
        let name = turn / MOST_AT_A_NAME;
        match self {
            Self::Known => known(name, self),
            Self::Empty if name.is_multiple_of(2) => known(name, self),
            Self::Unknown | Self::Empty => format!("nobody-{}-{name:06}@customers.example", self.as_str()),
        }
    }
}

/// As long as the others.
fn known(name: u32, kind: Kind) -> String {
    format!("person-{}-{name:06}@customers.example", kind.as_str())
}

/// Microseconds of each kind.
#[derive(Debug, Default)]
struct Times {
    known: Vec<u64>,
    unknown: Vec<u64>,
    empty: Vec<u64>,
}

impl Times {
    const fn of(&mut self, kind: Kind) -> &mut Vec<u64> {
        match kind {
            Kind::Known => &mut self.known,
            Kind::Unknown => &mut self.unknown,
            Kind::Empty => &mut self.empty,
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let directory = tempfile::tempdir()?;
    let launch = Launch {
        binary: std::path::absolute(&arguments.binary)?,
        data_dir: directory.path().join("bank"),
        policies: std::path::absolute(&arguments.policies)?,
        environment: "development",
        variables: HASH.map(|(name, value)| (name, value.to_owned())).to_vec(),
    };
    let system = System::start(launch).await?;
    let measured = measure(&arguments, &system).await;
    system.stop().await?;
    let (text, missed) = report(measured?);
    writeln!(std::io::stdout(), "{text}")?;
    std::fs::write(&arguments.out, &text)?;
    ensure!(missed == 0, "{missed} rows were missed");
    Ok(())
}

async fn measure(arguments: &Arguments, system: &System) -> anyhow::Result<Times> {
    let door = Door::of(system)?;
    let mut clerk = Client::new(door.clone(), Ipv4Addr::new(127, 2, 0, 1));
    for name in 0..=arguments.samples / MOST_AT_A_NAME {
        for kind in [Kind::Known, Kind::Empty] {
            let form = json!({"email": known(name, kind), "password": "correct horse battery staple 9!", "full_name": "Robin Example"});
            let answer = clerk
                .ask("/api/v1/auth/register", "", Some(&form.to_string()))
                .await?;
            ensure!(
                answer.status == 202,
                "registration: {} {}",
                answer.status,
                answer.body
            );
        }
    }
    let mut times = Times::default();
    let mut client = clerk;
    for turn in 0..arguments.samples {
        if turn.is_multiple_of(MOST_TURNS) {
            let [.., high, low] = (turn / MOST_TURNS + 1).to_be_bytes();
            client = Client::new(door.clone(), Ipv4Addr::new(127, 3, high, low));
            // What opens the connection is not measured.
            client.ask("/api/v1/me", "", None).await?;
        }
        let orders = ORDERS.iter().cycle();
        let order = orders.skip(usize::try_from(turn % 6)?).take(1).flatten();
        for kind in order {
            let password = if *kind == Kind::Empty {
                ""
            } else {
                "a guess at nothing"
            };
            let body = json!({"email": kind.email(turn), "password": password}).to_string();
            let started = Instant::now();
            let answer = client.ask(LOGIN, "", Some(&body)).await?;
            let took = started.elapsed().as_micros();
            ensure!(answer.status == 401, "a guess: {} {}", answer.status, answer.body);
            times.of(*kind).push(u64::try_from(took)?);
        }
    }
    Ok(times)
}

fn report(mut times: Times) -> (String, usize) {
    for kind in [Kind::Known, Kind::Unknown, Kind::Empty] {
        times.of(kind).sort_unstable();
    }
    let mut text = format!(
        "# Time of a refused log-in\n\n{} of each kind, through the gateway, one after the other in changing order\n\n\
         | kinds | medians | apart: 2 ms at most | told apart by a threshold (AUC): 0.55 at most | |\n\
         | --- | --- | --- | --- | --- |\n",
        times.known.len()
    );
    let mut missed = 0;
    let pairs = [
        ("known, unknown", &times.known, &times.unknown),
        ("known, empty", &times.known, &times.empty),
        ("unknown, empty", &times.unknown, &times.empty),
    ];
    for (kinds, one, other) in pairs {
        let (first, second) = (median(one), median(other));
        let apart = first.abs_diff(second);
        let auc = auc(one, other);
        let holds = apart <= MEDIANS_DIFFER_BY && auc <= MOST_AUC;
        missed += usize::from(!holds);
        text.push_str(&format!(
            "| {kinds} | {first} µs, {second} µs | {apart} µs | 0.{auc:03} | {} |\n",
            if holds { "holds" } else { "missed" }
        ));
    }
    (text, missed)
}

/// Of sorted values.
fn median(values: &[u64]) -> u64 {
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// How well the best threshold tells one from the other, in thousandths: 500 is not at all (Mann and Whitney's U over all
/// pairs). Both are sorted.
fn auc(one: &[u64], other: &[u64]) -> u64 {
    let mut twice = 0_u64;
    for value in one {
        let below = other.partition_point(|known| known < value);
        let not_above = other.partition_point(|known| known <= value);
        twice += u64::try_from(below + not_above).unwrap_or(u64::MAX);
    }
    let pairs = u64::try_from(one.len() * other.len()).unwrap_or(u64::MAX).max(1);
    let auc = twice * 500 / pairs;
    auc.max(1_000 - auc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alike_is_not_told_apart_and_what_differs_is() {
        assert_eq!(auc(&[1, 2, 3], &[1, 2, 3]), 500);
        assert_eq!(auc(&[1, 2, 3], &[4, 5, 6]), 1_000);
        assert_eq!(auc(&[4, 5, 6], &[1, 2, 3]), 1_000);
        assert_eq!(auc(&[1, 4], &[2, 3]), 500);
        assert_eq!(auc(&[1, 3, 5, 7], &[2, 4, 6, 8]), 625);
    }
}
