//! The drill of a fleet (EDG-15): run it through `make fleet-drill`; bench/README.md says how to read it.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::bail;
use clap::Parser;
use trial::edge::{Finding, Fleet, Network};

/// Loses a gateway, a core, the store and links of a fleet of three, one after the other.
#[derive(Debug, Parser)]
struct Arguments {
    /// The portico binary
    #[arg(long, default_value = "target/release/portico")]
    binary: PathBuf,
}

// One thread, because a network namespace belongs to a thread.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(reason) = Network::impossible() {
        bail!("no network namespaces here, so nothing was tried: {reason}");
    }
    if let Some(part) = Fleet::leaves_out() {
        writeln!(std::io::stdout(), "{part}")?;
    }
    let mut fleet = Fleet::start(&arguments.binary).await?;
    let show = |finding: &Finding| drop(writeln!(std::io::stdout(), "{finding}"));
    let mut findings = fleet.lose_everything_once(show).await?;
    findings.extend(fleet.lose_the_bank(show).await?);
    fleet.stop().await?;
    let unexpected = |finding: &&Finding| !finding.is_as_expected();
    let unexpected = findings.iter().filter(unexpected).count();
    if unexpected > 0 {
        bail!("{unexpected} of {} are not what the policy says", findings.len());
    }
    let controls = findings.iter().filter(|finding| finding.is_control).count();
    writeln!(
        std::io::stdout(),
        "\nall of {} are what the policy says, and {controls} controls are not",
        findings.len() - controls
    )?;
    Ok(())
}
