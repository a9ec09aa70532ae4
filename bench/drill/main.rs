//! The drill of reload, drain and upgrade (EDG-16): run it through `make edge-drill`; bench/README.md says how to read it.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::bail;
use clap::Parser;
use trial::edge::{Bounds, Drill, Phase};

/// Replaces policies, certificates and processes under load; no request may fail.
#[derive(Debug, Parser)]
struct Arguments {
    /// The portico binary
    #[arg(long, default_value = "target/release/portico")]
    binary: PathBuf,
    /// Requests a second
    #[arg(long, default_value_t = 2_000)]
    rate: u32,
    /// Connections, kept alive
    #[arg(long, default_value_t = 64)]
    connections: u32,
    /// WebSockets that stay open
    #[arg(long, default_value_t = 200)]
    sockets: usize,
    /// Swaps of a policy and a certificate
    #[arg(long, default_value_t = 1_000)]
    swaps: usize,
    /// Upgrades of the process
    #[arg(long, default_value_t = 10)]
    upgrades: usize,
    /// Gateways that are stopped by SIGTERM
    #[arg(long, default_value_t = 10)]
    drains: usize,
    /// Resident memory may grow by this much in a phase
    #[arg(long, value_name = "MIB", default_value_t = 16)]
    most_growth: u64,
}

/// Of the rate that is asked for, so many hundredths must come about.
const LEAST_OF_RATE: u128 = 95;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let drill = Drill {
        binary: arguments.binary,
        rate: arguments.rate,
        connections: arguments.connections,
        sockets: arguments.sockets,
        swaps: arguments.swaps,
        upgrades: arguments.upgrades,
        drains: arguments.drains,
    };
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{} requests/s asked for on {} connections, HTTP/1.1 over TLS 1.3, open loop; {} WebSockets; gateway, upstream and clients on one machine\n",
        drill.rate, drill.connections, drill.sockets
    )?;
    writeln!(out, "{}", Phase::head())?;
    let show = |phase: &Phase| drop(writeln!(std::io::stdout(), "{phase}"));
    let phases = drill.run(show).await?;
    let bounds = Bounds {
        most_growth_kib: arguments.most_growth * 1_024,
        least_rate: u128::from(drill.rate) * LEAST_OF_RATE / 100,
    };
    let faults: Vec<String> = phases.iter().filter_map(|phase| phase.fault(bounds)).collect();
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    writeln!(
        out,
        "\nno request failed, no socket was cut, memory grew by at most {} MiB in a phase, and the controls were seen",
        arguments.most_growth
    )?;
    Ok(())
}
