//! What the gateway costs: the same request to core-api directly, through the gateway and through haproxy, at a fixed
//! rate, in turns.
//!
//! Open loop: every request has its moment, and its latency counts from that moment, so that a stall is felt by every
//! request that had to wait for it. Run it through `make bench`; `bench/README.md` says how to read it.

mod connection;
mod load;
mod peer;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use connection::Target;
use load::{Latencies, Plan};
use peer::Peer;
use trial::{FrontDoor, Launch, System};

const CORE: &str = "core alone";
const GATEWAY: &str = "through the gateway";
const HAPROXY: &str = "through haproxy";

/// Measures what the gateway adds to a request.
#[derive(Debug, Parser)]
struct Arguments {
    /// The portico binary
    #[arg(long, default_value = "target/release/portico")]
    binary: PathBuf,
    /// Policy files
    #[arg(long, default_value = "policies")]
    policies: PathBuf,
    /// Requests a second
    #[arg(long, default_value_t = 1_000)]
    rate: u32,
    /// Seconds of each turn
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Turns of each side
    #[arg(long, default_value_t = 5)]
    turns: u32,
    /// Connections, opened and used before a turn is measured
    #[arg(long, default_value_t = 16)]
    connections: u32,
    /// The path to fetch with a customer's token
    #[arg(long, default_value = "/api/v1/me")]
    path: String,
}

fn main() -> anyhow::Result<()> {
    service_runtime::crypto::install_provider();
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let directory = tempfile::tempdir()?;
    let launch = Launch {
        binary: arguments.binary.clone(),
        data_dir: directory.path().join("data"),
        policies: std::path::absolute(&arguments.policies)?,
        environment: "development",
        variables: Vec::new(),
    };
    let system = runtime.block_on(System::start(launch))?;
    let outcome = measure(&arguments, &runtime, &system);
    runtime.block_on(system.stop())?;
    outcome
}

fn measure(arguments: &Arguments, runtime: &tokio::runtime::Runtime, system: &System) -> anyhow::Result<()> {
    let endpoints = system.endpoints();
    let customer = runtime.block_on(async { FrontDoor::of(endpoints)?.sign_up().await })?;
    let socket = system.launch().data_dir.join("run/core-api.sock");
    let gateway = Target::gateway(&endpoints.gateway_https, &endpoints.ca_cert)?;
    let certificates = system.launch().data_dir.join("tls");
    let directory = tempfile::tempdir()?;
    let peer = Peer::start(
        directory.path(),
        &socket,
        &certificates.join("gateway.pem"),
        &certificates.join("gateway.key"),
    )?;
    let mut sides = vec![
        ("nothing", Target::Nothing),
        (CORE, Target::Socket(socket)),
        (GATEWAY, gateway),
    ];
    if let Some(peer) = &peer {
        sides.push((HAPROXY, Target::gateway(&peer.url(), &endpoints.ca_cert)?));
    }
    let plan = Plan {
        request: format!(
            "GET {} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n",
            arguments.path, customer.tokens.access
        ),
        rate: arguments.rate,
        seconds: arguments.seconds,
        connections: arguments.connections,
    };

    let mut out = std::io::stdout();
    writeln!(
        out,
        "GET {} at {} requests/s on {} warm connections, {} turns of {} s each, taken in turns",
        arguments.path, arguments.rate, arguments.connections, arguments.turns, arguments.seconds
    )?;
    let mut results: Vec<Vec<Latencies>> = sides.iter().map(|_| Vec::new()).collect();
    for turn in 1..=arguments.turns {
        for ((name, target), results) in sides.iter().zip(&mut results) {
            let latencies = load::run(target, &plan).with_context(|| (*name).to_owned())?;
            writeln!(out, "turn {turn}  {name:<20} {latencies}")?;
            results.push(latencies);
        }
    }
    for (name, of) in [("p50", 500_u32), ("p99", 990), ("p99.9", 999)] {
        let mut line = format!("{name:<6} median of turns:");
        let mut alone = 0;
        for ((side, _), results) in sides.iter().zip(&results) {
            let here = median(results, of)?;
            match *side {
                GATEWAY | HAPROXY => {
                    let added = i64::try_from(here)? - i64::try_from(alone)?;
                    write!(line, " {side} {here} µs, added {added} µs;")?;
                }
                _ => write!(line, " {side} {here} µs;")?,
            }
            if *side == CORE {
                alone = here;
            }
        }
        writeln!(out, "{}", line.trim_end_matches(';'))?;
    }
    if peer.is_none() {
        writeln!(out, "haproxy is not installed: there is nothing to compare with")?;
    }
    Ok(())
}

/// The middle one of a percentile (in thousandths) over all turns.
fn median(turns: &[Latencies], thousandths: u32) -> anyhow::Result<u64> {
    let mut values: Vec<u64> = turns
        .iter()
        .filter_map(|latencies| latencies.percentile(thousandths))
        .collect();
    values.sort_unstable();
    values
        .get(values.len() / 2)
        .copied()
        .context("nothing was measured")
}
