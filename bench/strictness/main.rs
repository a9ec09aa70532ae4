//! The same bytes to the gateway, nginx and haproxy, each in front of an upstream that keeps every byte: who refuses, who
//! passes on. The pages in `docs/` that show the tables say how to read them, and which `make` target prints them.

mod candidate;
mod conformance;
mod table;
mod tls;
mod tokens;

use std::path::{Path, PathBuf};

use candidate::{Candidate, Site};
use clap::{Parser, ValueEnum};

/// Compares how strict servers are.
#[derive(Debug, Parser)]
struct Arguments {
    /// What is tried
    #[arg(value_enum, default_value = "http")]
    suite: Suite,
    /// The portico binary
    #[arg(long, default_value = "target/release/portico")]
    binary: PathBuf,
    /// Name every case that a server takes, passes on or refuses against the table
    #[arg(long)]
    details: bool,
    /// The scanner of `tls`
    #[arg(long, default_value = "sslyze")]
    sslyze: PathBuf,
    /// The other scanner of `tls` (Debian: testssl.sh)
    #[arg(long, default_value = "testssl")]
    testssl: PathBuf,
    /// The suite of `conformance` (github.com/summerwind/h2spec)
    #[arg(long, default_value = "h2spec")]
    h2spec: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Suite {
    /// The requests and conversations of `crates/strictness/`, and the corpus of HTTP Desync Guardian
    Http,
    /// HTTP/2 by h2spec
    Conformance,
    /// The tokens of `crates/strictness/`
    Tokens,
    /// TLS by sslyze and testssl.sh
    Tls,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    service_runtime::crypto::install_provider();
    let arguments = Arguments::parse();
    let site = Site::make()?;
    match arguments.suite {
        Suite::Http => {
            let candidates = with_defaults(&site, &arguments.binary).await?;
            table::requests(&candidates, arguments.details).await?;
            table::corpus(&candidates, arguments.details).await?;
            table::frames(&candidates, arguments.details).await
        }
        Suite::Conformance => {
            let candidates = with_defaults(&site, &arguments.binary).await?;
            conformance::run(&candidates, &site, &arguments.h2spec).await
        }
        Suite::Tokens => tokens::run(&site, &arguments.binary, arguments.details).await,
        Suite::Tls => tls::run(&site, &arguments).await,
    }
}

async fn with_defaults(site: &Site, binary: &Path) -> anyhow::Result<[Candidate; 3]> {
    Ok([
        Candidate::portico("Portico", site, binary, "1.3", None).await?,
        Candidate::nginx("nginx", site, "").await?,
        Candidate::haproxy("haproxy", site, "", "").await?,
    ])
}
