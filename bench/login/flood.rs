//! The drill of the log-in flood (T-H1 to T-H4): run it through `make login-flood`; bench/README.md says how to read it.

mod client;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use trial::{Launch, Service, System};

use client::{Answer, Client, Door};

/// Floods a bank with log-ins of strangers while customers go on; they must not notice.
#[derive(Debug, Parser)]
struct Arguments {
    /// The portico binary
    #[arg(long, default_value = "target/release/portico")]
    binary: PathBuf,
    /// The policy files
    #[arg(long, value_name = "DIR", default_value = "policies")]
    policies: PathBuf,
    /// Ordinary requests a second
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Log-ins a second of strangers
    #[arg(long, default_value_t = 500)]
    flood: u32,
    /// Addresses that they come from
    #[arg(long, default_value_t = 250)]
    addresses: u32,
    /// Log-ins a second of a known person meanwhile
    #[arg(long, default_value_t = 1)]
    known: u32,
    /// Turns, each once quiet and once flooded
    #[arg(long, default_value_t = 5)]
    turns: u32,
    /// Seconds of each half of a turn
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    seconds: u64,
    /// What a hash may cost, calibrated on this machine
    #[arg(long, value_name = "TIME", default_value = "200ms")]
    target: String,
    /// Where the report is written
    #[arg(long, value_name = "FILE", default_value = "target/login-flood.md")]
    out: PathBuf,
}

/// Connections of ordinary requests.
const CUSTOMERS: u32 = 8;
const PASSWORD: &str = "correct horse battery staple 9!";
const EMAIL: &str = "owner@customers.example";

/// What became of the requests of one kind.
#[derive(Debug, Default)]
struct Tally {
    /// From the moment a request was due, in microseconds.
    latencies: Vec<u64>,
    statuses: BTreeMap<u16, usize>,
    broken: usize,
}

impl Tally {
    fn note(&mut self, due: Instant, answer: &anyhow::Result<Answer>) {
        match answer {
            Ok(answer) => {
                let took = due.elapsed().as_micros();
                self.latencies.push(u64::try_from(took).unwrap_or(u64::MAX));
                *self.statuses.entry(answer.status).or_default() += 1;
            }
            Err(_) => self.broken += 1,
        }
    }

    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.broken += other.broken;
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
    }

    fn count(&self) -> usize {
        self.statuses.values().sum::<usize>() + self.broken
    }

    fn with(&self, status: u16) -> usize {
        self.statuses.get(&status).copied().unwrap_or_default()
    }

    fn percentile(&mut self, hundredths: usize) -> u64 {
        self.latencies.sort_unstable();
        let rank = (self.latencies.len() * hundredths).div_ceil(100);
        self.latencies
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }
}

/// What one half of a turn asks for, and when.
#[derive(Clone)]
struct Plan {
    door: Door,
    rate: u32,
    clients: u32,
    start: Instant,
    lasts: Duration,
}

impl Plan {
    /// Runs `clients` that take turns at the rate; each gets its number and the number of its request.
    async fn run<F>(&self, from: u8, request: F) -> Tally
    where
        F: Fn(u32, u32) -> (&'static str, String, Option<String>) + Clone + Send + 'static,
    {
        let mut clients = JoinSet::new();
        let period = Duration::from_secs(1) * self.clients / self.rate.max(1);
        for number in 0..self.clients {
            let (plan, request) = (self.clone(), request.clone());
            clients.spawn(async move {
                let [.., high, low] = (number + 1).to_be_bytes();
                let mut client = Client::new(plan.door.clone(), Ipv4Addr::new(127, from, high, low));
                let mut tally = Tally::default();
                let mut due = interval_at(plan.start + period * number / plan.clients, period);
                // A stall is felt by every request behind it.
                due.set_missed_tick_behavior(MissedTickBehavior::Burst);
                for turn in 0.. {
                    let moment = due.tick().await;
                    if moment >= plan.start + plan.lasts {
                        break;
                    }
                    let (path, lines, body) = request(number, turn);
                    let answer = client.ask(path, &lines, body.as_deref()).await;
                    tally.note(moment, &answer);
                }
                tally
            });
        }
        let mut all = Tally::default();
        for tally in clients.join_all().await {
            all.add(tally);
        }
        all
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let cost = calibrated(&arguments)?;
    let directory = tempfile::tempdir()?;
    let launch = Launch {
        binary: std::path::absolute(&arguments.binary)?,
        data_dir: directory.path().join("bank"),
        policies: std::path::absolute(&arguments.policies)?,
        environment: "development",
        // What production has; development is made for tests on busy machines.
        variables: vec![
            ("CORE_API__PASSWORD__MEMORY_KIB", cost.memory_kib.to_string()),
            ("CORE_API__PASSWORD__ITERATIONS", cost.iterations.to_string()),
            ("CORE_API__PASSWORD__MAX_PER_ADDRESS", "2".to_owned()),
            ("CORE_API__PASSWORD__DEADLINE_MS", "2000".to_owned()),
        ],
    };
    let system = System::start(launch).await?;
    let measured = measure(&arguments, &system).await;
    system.stop().await?;
    let (text, missed) = measured?.report(&arguments, &cost);
    writeln!(std::io::stdout(), "{text}")?;
    std::fs::write(&arguments.out, &text)?;
    ensure!(missed == 0, "{missed} rows were missed");
    Ok(())
}

/// What a hash costs.
struct Cost {
    memory_kib: u64,
    iterations: u64,
}

impl Cost {
    fn is_at_the_floor(&self) -> bool {
        [(19_456, 2), (47_104, 1)]
            .iter()
            .any(|(memory, passes)| self.memory_kib >= *memory && self.iterations >= *passes)
    }
}

/// What `portico argon2 calibrate` says.
fn calibrated(arguments: &Arguments) -> anyhow::Result<Cost> {
    let said = Command::new(&arguments.binary)
        .args(["argon2", "calibrate", "--target", &arguments.target])
        .output()
        .with_context(|| arguments.binary.display().to_string())?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let number = |name: &str| {
        let mut lines = said.lines().filter_map(|line| line.trim().split_once(": "));
        lines
            .find(|line| line.0 == name)
            .and_then(|line| line.1.parse().ok())
            .with_context(|| format!("no {name} in {said}"))
    };
    Ok(Cost {
        memory_kib: number("memory_kib")?,
        iterations: number("iterations")?,
    })
}

/// What was seen.
#[derive(Default)]
struct Measured {
    quiet: Vec<Tally>,
    flooded: Vec<Tally>,
    strangers: Tally,
    known: Tally,
    /// Whether a log-in gives something by which the device is known again.
    knows_devices: bool,
    /// KiB.
    resident: (u64, u64),
    threads: u64,
    /// Of a hash while nobody floods, microseconds.
    hash: u64,
}

async fn measure(arguments: &Arguments, system: &System) -> anyhow::Result<Measured> {
    let door = Door::of(system)?;
    let mut owner = Client::new(door.clone(), Ipv4Addr::new(127, 1, 0, 1));
    let form = json!({"email": EMAIL, "password": PASSWORD, "full_name": "Robin Example"}).to_string();
    let registered = owner.ask("/api/v1/auth/register", "", Some(&form)).await?;
    ensure!(registered.status == 202, "registration: {}", registered.body);
    let credentials = json!({"email": EMAIL, "password": PASSWORD}).to_string();
    let mut opened = owner.ask("/api/v1/auth/login", "", Some(&credentials)).await?;
    for _ in 0..9 {
        opened = owner.ask("/api/v1/auth/login", "", Some(&credentials)).await?;
        ensure!(opened.status == 200, "log-in: {}", opened.body);
    }
    let tokens: Value = serde_json::from_str(&opened.body)?;
    let bearer = format!(
        "Authorization: Bearer {}\r\n",
        tokens
            .get("access_token")
            .and_then(Value::as_str)
            .context("a log-in without a token")?
    );
    let device = device_lines(&opened);
    let mut measured = Measured {
        knows_devices: !device.is_empty(),
        hash: hash_micros(&system.metrics(Service::CoreApi).await?)?,
        threads: threads(system)?,
        ..Measured::default()
    };
    let resident = resident_kib(system)?;
    measured.resident = (resident, resident);
    for _ in 0..arguments.turns {
        let quiet = plan(arguments, &door, arguments.rate, CUSTOMERS);
        measured.quiet.push(quiet.run(2, ordinary(&bearer)).await);
        let ordinary_plan = plan(arguments, &door, arguments.rate, CUSTOMERS);
        let flood = plan(arguments, &door, arguments.flood, arguments.addresses);
        let known = plan(arguments, &door, arguments.known, 1);
        let (lines, body) = (device.clone(), credentials.clone());
        let log_in = move |_: u32, _: u32| ("/api/v1/auth/login", lines.clone(), Some(body.clone()));
        let (customers, strangers, owner, resident) = tokio::join!(
            ordinary_plan.run(2, ordinary(&bearer)),
            flood.run(3, guess),
            known.run(4, log_in),
            most_resident(system, arguments.seconds),
        );
        measured.flooded.push(customers);
        measured.strangers.add(strangers);
        measured.known.add(owner);
        measured.resident.1 = measured.resident.1.max(resident?);
    }
    Ok(measured)
}

fn plan(arguments: &Arguments, door: &Door, rate: u32, clients: u32) -> Plan {
    Plan {
        door: door.clone(),
        rate,
        clients,
        start: Instant::now() + Duration::from_millis(500),
        lasts: Duration::from_secs(arguments.seconds),
    }
}

fn ordinary(
    bearer: &str,
) -> impl Fn(u32, u32) -> (&'static str, String, Option<String>) + Clone + Send + 'static {
    let bearer = bearer.to_owned();
    move |_, turn| {
        let path = if turn.is_multiple_of(2) {
            "/api/v1/me"
        } else {
            "/api/v1/accounts"
        };
        (path, bearer.clone(), None)
    }
}

/// Nobody's address, another one each time: no limit by name answers in place of the core.
fn guess(client: u32, turn: u32) -> (&'static str, String, Option<String>) {
    let body = json!({"email": format!("guess-{client}-{turn}@customers.example"), "password": "a guess at nothing"});
    ("/api/v1/auth/login", String::new(), Some(body.to_string()))
}

/// What a log-in gave, as the next one shows it: a cookie of the device.
fn device_lines(opened: &Answer) -> String {
    let cookies = opened
        .head
        .lines()
        .filter_map(|line| line.strip_prefix("set-cookie:"));
    let pairs: Vec<&str> = cookies.filter_map(|line| line.trim().split(';').next()).collect();
    if pairs.is_empty() {
        String::new()
    } else {
        format!("Cookie: {}\r\n", pairs.join("; "))
    }
}

/// The mean time of a hash, in microseconds, from the sum and the count of its histogram.
fn hash_micros(metrics: &str) -> anyhow::Result<u64> {
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim).with_context(|| format!("no {name}"))
    };
    let count: u64 = value("portico_hash_seconds_count ")?.parse()?;
    let sum = value("portico_hash_seconds_sum ")?;
    let (whole, part) = sum.split_once('.').unwrap_or((sum, "0"));
    let part: String = part.chars().chain("000000".chars()).take(6).collect();
    let micros = whole.parse::<u64>()? * 1_000_000 + part.parse::<u64>()?;
    Ok(micros / count.max(1))
}

fn proc(system: &System, file: &str) -> anyhow::Result<PathBuf> {
    let pid = system.pid_of(Service::CoreApi)?.as_raw_nonzero();
    Ok(Path::new("/proc").join(pid.to_string()).join(file))
}

fn resident_kib(system: &System) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(proc(system, "status")?)?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
    number.context("no VmRSS")
}

/// How many threads hash.
fn threads(system: &System) -> anyhow::Result<u64> {
    let mut threads = 0;
    for task in std::fs::read_dir(proc(system, "task")?)? {
        let name = std::fs::read_to_string(task?.path().join("comm")).unwrap_or_default();
        threads += u64::from(name.starts_with("password-"));
    }
    ensure!(threads > 0, "no thread hashes passwords");
    Ok(threads)
}

async fn most_resident(system: &System, seconds: u64) -> anyhow::Result<u64> {
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    let (started, mut most) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(seconds) {
        ticks.tick().await;
        most = most.max(resident_kib(system)?);
    }
    Ok(most)
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// What, its bound, what was measured, and whether that holds.
type Row = (String, String, String, Option<bool>);

impl Measured {
    /// What was measured, its bound, and whether it holds; None where it could not be measured.
    fn rows(mut self, arguments: &Arguments, cost: &Cost) -> [Row; 6] {
        let known = self.known_row();
        let p99 =
            |tallies: &mut Vec<Tally>| median(tallies.iter_mut().map(|tally| tally.percentile(99)).collect());
        let (quiet, flooded) = (p99(&mut self.quiet), p99(&mut self.flooded));
        let failed: usize = self
            .quiet
            .iter()
            .chain(&self.flooded)
            .map(|tally| tally.count() - tally.with(200))
            .sum();
        let asked: usize = self.quiet.iter().chain(&self.flooded).map(Tally::count).sum();
        let grown = self.resident.1.saturating_sub(self.resident.0);
        let bound = self.threads * cost.memory_kib + 50 * 1_024;
        let wanted = u64::from(arguments.flood) * arguments.seconds * u64::from(arguments.turns);
        let came = u64::try_from(self.strangers.count()).unwrap_or_default();
        [
            (
                "the flood came about: log-ins of strangers, of those asked for".to_owned(),
                "95 %".to_owned(),
                format!(
                    "{came} of {wanted}, by status {:?}, {} without an answer",
                    self.strangers.statuses, self.strangers.broken
                ),
                Some(came * 100 >= wanted * 95),
            ),
            (
                format!("ordinary requests that failed, of {asked}"),
                "0".to_owned(),
                failed.to_string(),
                Some(failed == 0),
            ),
            (
                "T-H1 p99 of ordinary requests, quiet and flooded".to_owned(),
                "1.2 ×".to_owned(),
                format!(
                    "{quiet} µs, {flooded} µs: {}.{:02} ×",
                    flooded / quiet.max(1),
                    flooded * 100 / quiet.max(1) % 100
                ),
                Some(flooded * 10 <= quiet * 12),
            ),
            (
                format!("T-H2 growth of memory of core-api with {} threads", self.threads),
                format!("{bound} KiB"),
                format!("{grown} KiB"),
                Some(grown <= bound),
            ),
            known,
            (
                format!(
                    "T-H4 a hash of {} KiB and {} passes, nobody floods",
                    cost.memory_kib, cost.iterations
                ),
                "150 to 250 ms, the floor of OWASP".to_owned(),
                format!("{} ms", self.hash / 1_000),
                Some((150_000..=250_000).contains(&self.hash) && cost.is_at_the_floor()),
            ),
        ]
    }

    fn known_row(&mut self) -> Row {
        let (known, let_in) = (self.known.count(), self.known.with(200));
        let p99 = self.known.percentile(99);
        let seen = format!("{let_in} of {known}, {} ms", p99 / 1_000);
        (
            "T-H3 log-ins from a device that is known, p99".to_owned(),
            "99 %, 2 s".to_owned(),
            if self.knows_devices {
                seen
            } else {
                format!("not measured, a log-in gives no device; without one {seen}")
            },
            self.knows_devices
                .then_some(let_in * 100 >= known * 99 && p99 <= 2_000_000),
        )
    }

    /// The table, and how many rows were missed.
    fn report(self, arguments: &Arguments, cost: &Cost) -> (String, usize) {
        let rows = self.rows(arguments, cost);
        let mut text = format!(
            "# Log-in flood\n\n{} ordinary requests/s, {} log-ins/s of strangers from {} addresses, {} turns of {} s quiet and {} s flooded\n\n\
             | what | bound | measured | |\n| --- | --- | --- | --- |\n",
            arguments.rate,
            arguments.flood,
            arguments.addresses,
            arguments.turns,
            arguments.seconds,
            arguments.seconds
        );
        let mut missed = 0;
        for (what, bound, seen, holds) in rows {
            let verdict = match holds {
                Some(true) => "holds",
                Some(false) => "missed",
                None => "open",
            };
            missed += usize::from(holds == Some(false));
            text.push_str(&format!("| {what} | {bound} | {seen} | {verdict} |\n"));
        }
        (text, missed)
    }
}
