//! The same bytes to the gateway, nginx and haproxy, each in front of an upstream that keeps every byte: who refuses, who
//! passes on. Run it through `make bench-strictness`; `docs/http-strictness.md` says how to read it.

mod candidate;
mod table;

use std::path::PathBuf;

use candidate::{Candidate, Site};
use clap::Parser;

/// Compares how strictly servers read HTTP.
#[derive(Debug, Parser)]
struct Arguments {
    /// The portico binary
    #[arg(long, default_value = "target/release/portico")]
    binary: PathBuf,
    /// Name every case that a server passes on or refuses against the table
    #[arg(long)]
    details: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    service_runtime::crypto::install_provider();
    let arguments = Arguments::parse();
    let site = Site::make()?;
    let candidates = [
        Candidate::portico(&site, &arguments.binary).await?,
        Candidate::nginx(&site).await?,
        Candidate::haproxy(&site).await?,
    ];
    table::requests(&candidates, arguments.details).await?;
    table::frames(&candidates, arguments.details).await
}
