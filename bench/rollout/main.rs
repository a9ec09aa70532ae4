//! The drill of roll-outs (T-P1 to T-P7): run it through `make rollout-drill`; bench/README.md says how to read it.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Parser;
use trial::rollout::RolloutDrill;

/// Rolls policies out to a fleet, forges some, kills who takes them over, and takes the control plane away.
#[derive(Debug, Parser)]
struct Arguments {
    /// The portico binary
    #[arg(long, default_value = "target/release/portico")]
    binary: PathBuf,
    /// Gateways
    #[arg(long, default_value_t = 10)]
    gateways: usize,
    /// Policies that go to all at once: each is a swap in every gateway
    #[arg(long, default_value_t = 100)]
    policies: usize,
    /// Revocations, and as many rotations
    #[arg(long, default_value_t = 10)]
    lists: usize,
    /// Requests a second, over all gateways
    #[arg(long, default_value_t = 2_000)]
    rate: u32,
    /// Connections that carry them
    #[arg(long, default_value_t = 64)]
    connections: u32,
    /// Routes of the policy that gateways start with
    #[arg(long, default_value_t = 1_000)]
    routes: usize,
    /// Gateways that are killed while they take a policy over
    #[arg(long, default_value_t = 400)]
    kills: usize,
    /// Seconds without a control plane
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    outage: u64,
    /// Where the report is written
    #[arg(long, value_name = "FILE", default_value = "target/rollout-drill.md")]
    out: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let drill = RolloutDrill {
        binary: arguments.binary,
        gateways: arguments.gateways,
        policies: arguments.policies,
        lists: arguments.lists,
        rate: arguments.rate,
        connections: arguments.connections,
        routes: arguments.routes,
        kills: arguments.kills,
        outage: Duration::from_secs(arguments.outage),
    };
    let report = drill
        .run(|line| drop(writeln!(std::io::stdout(), "{line}")))
        .await?;
    let text = format!(
        "# Roll-out drill\n\n{} gateways, {} requests/s asked for on {} connections\n\n{report}",
        drill.gateways, drill.rate, drill.connections
    );
    writeln!(std::io::stdout(), "\n{text}")?;
    std::fs::write(&arguments.out, &text)?;
    let missed = report.missed().count();
    if missed > 0 {
        bail!("{missed} rows were missed");
    }
    Ok(())
}
