//! The soak of a gateway: run it through `make edge-soak`; bench/README.md says how to read it.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Parser;
use trial::edge::Soak;

/// A constant load for a long time; memory must stay flat and no request may fail.
#[derive(Debug, Parser)]
struct Arguments {
    /// The portico binary
    #[arg(long, default_value = "target/release/portico")]
    binary: PathBuf,
    /// How long
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Requests a second on kept connections; a hundredth of it comes on new ones besides
    #[arg(long, default_value_t = 2_000)]
    rate: u32,
    /// Connections, kept alive
    #[arg(long, default_value_t = 64)]
    connections: u32,
    /// WebSockets that stay open
    #[arg(long, default_value_t = 200)]
    sockets: usize,
    /// Resident memory may grow by this much over the second half
    #[arg(long, value_name = "KIB", default_value_t = 2_048)]
    most_growth: u64,
}

/// How often memory is looked at.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// How many of the samples are shown.
const ROWS: u64 = 12;
/// Of the rate that is asked for, so many hundredths must come about.
const LEAST_OF_RATE: u128 = 95;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let soak = Soak {
        binary: arguments.binary,
        rate: arguments.rate,
        connections: arguments.connections,
        sockets: arguments.sockets,
        lasts: Duration::from_secs(arguments.minutes * 60),
        sample_every: SAMPLE_EVERY,
    };
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{} minutes at {} requests/s on {} connections, HTTP/1.1 over TLS 1.3, open loop; {} WebSockets; gateway, upstream and clients on one machine\n",
        arguments.minutes, soak.rate, soak.connections, soak.sockets
    )?;
    writeln!(out, "| second | RSS KiB |\n| ---: | ---: |")?;
    let row = Duration::from_secs(arguments.minutes * 60 / ROWS);
    let mut next = Duration::ZERO;
    let soaked = soak
        .run(|sample| {
            if sample.at >= next {
                next += row;
                drop(writeln!(std::io::stdout(), "{sample}"));
            }
        })
        .await?;
    writeln!(out, "\n{soaked}")?;
    let least_rate = u128::from(soak.rate) * LEAST_OF_RATE / 100;
    if let Some(fault) = soaked.fault(arguments.most_growth, least_rate) {
        bail!(fault);
    }
    writeln!(
        out,
        "no request failed, no socket was cut, and memory grew by at most {} KiB over the second half",
        arguments.most_growth
    )?;
    Ok(())
}
