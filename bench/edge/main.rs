//! The gateway beside nginx, haproxy and a bare pingora proxy: the same machine, the same upstream, the same load, in
//! turns. Run it through `make bench-edge`; `docs/performance.md` says how to read it.

mod candidate;
mod client;
mod idle;
mod load;
mod process;
mod proof;
mod site;

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use candidate::{Candidate, Features, Row};
use clap::Parser;
use load::{Load, Result as Measured};
use site::Site;

/// Measures what a request costs at the edge.
#[derive(Debug, Parser)]
struct Arguments {
    /// The portico binary
    #[arg(long, default_value = "target/release/portico")]
    binary: PathBuf,
    /// The proxy that is pingora alone
    #[arg(long, default_value = "target/release/bare_proxy")]
    bare: PathBuf,
    /// Seconds of each turn
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Turns of each row; the median counts
    #[arg(long, default_value_t = 3)]
    turns: u32,
    /// Connections, kept alive
    #[arg(long, default_value_t = 64)]
    connections: u32,
    /// Different tokens where every token is new
    #[arg(long, default_value_t = 200_000)]
    tokens: u32,
    /// Measure memory instead: so many TLS connections that are open and at rest
    #[arg(long, default_value_t = 0)]
    idle: u32,
    /// Measure only rows whose name holds this
    #[arg(long, default_value = "")]
    only: String,
    /// Measure instead what each feature costs, one at a time (needs redis-server, too)
    #[arg(long)]
    features: bool,
    /// Leave out nginx, haproxy and pingora alone
    #[arg(long)]
    alone: bool,
}

fn main() -> anyhow::Result<()> {
    service_runtime::crypto::install_provider();
    let arguments = Arguments::parse();
    let site = Site::make(arguments.tokens)?;
    let _upstream = site.upstream()?;
    let mut out = std::io::stdout();
    let candidates = candidates(&site, &arguments)?;
    if arguments.idle > 0 {
        return rest(&site, &candidates, &arguments);
    }
    writeln!(
        out,
        "{} connections kept alive, {} turns of {} s, TLS 1.3, HTTP/1.1 to a small JSON of nginx on loopback; CPU of the proxy alone\n",
        arguments.connections, arguments.turns, arguments.seconds
    )?;
    writeln!(
        out,
        "{:<44} {:>9} {:>10} {:>8} {:>8} {:>8} {:>8}",
        "row", "CPU µs", "requests/s", "p50 µs", "p99 µs", "p99.9 µs", "RSS MiB"
    )?;
    for (candidate, row) in rows(&candidates, &arguments) {
        let load = Load {
            port: candidate.port_of(row),
            path: row.path,
            client: &row.client,
            is_refused: row.is_refused,
            notes: site.path("h2load.notes"),
            seconds: arguments.seconds,
            connections: arguments.connections,
        };
        if let Some(proof) = &row.proof {
            proof.check(&load).with_context(|| row.name.clone())?;
        }
        let measured = measure(candidate, &load, arguments.turns).with_context(|| row.name.clone())?;
        writeln!(out, "{:<44} {measured}", row.name)?;
    }
    Ok(())
}

/// What is measured: candidate by candidate, or feature by feature.
fn rows<'c>(candidates: &'c [Candidate], arguments: &Arguments) -> Vec<(&'c Candidate, &'c Row)> {
    let of = |candidate: &'c Candidate| candidate.rows().iter().map(move |row| (candidate, row));
    let mut rows: Vec<_> = candidates
        .iter()
        .flat_map(of)
        .filter(|(_, row)| row.name.contains(&arguments.only))
        .collect();
    // The gateway is the last, and has every feature.
    if let Some(all) = candidates.last().filter(|_| arguments.features) {
        rows.sort_by_key(|(_, row)| {
            all.rows()
                .iter()
                .position(|other| other.feature() == row.feature())
        });
    }
    rows
}

/// Who is measured.
fn candidates(site: &Site, arguments: &Arguments) -> anyhow::Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    if arguments.features {
        if !arguments.alone {
            candidates.extend([
                Candidate::nginx_features(site)?,
                Candidate::haproxy_features(site)?,
            ]);
        }
        candidates.push(Candidate::portico_features(site, &arguments.binary)?);
        return Ok(candidates);
    }
    if !arguments.alone {
        candidates.extend([Candidate::nginx(site)?, Candidate::haproxy(site)?]);
        if arguments.bare.exists() {
            candidates.push(Candidate::bare(site, &arguments.bare)?);
        } else {
            let said = format!("no bare proxy at {}: left out\n", arguments.bare.display());
            writeln!(std::io::stdout(), "{said}")?;
        }
    }
    for features in Features::EACH {
        candidates.push(Candidate::portico(site, &arguments.binary, features)?);
    }
    Ok(candidates)
}

/// The memory of connections at rest.
fn rest(site: &Site, candidates: &[Candidate], arguments: &Arguments) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    for candidate in candidates {
        if candidate.name().contains(&arguments.only) {
            let bytes = idle::bytes_each(site, candidate, arguments.idle)?;
            writeln!(
                out,
                "{:<44} {bytes} bytes for each of {} connections at rest",
                candidate.name(),
                arguments.idle
            )?;
        }
    }
    Ok(())
}

/// The turn with the median cost; the first one warms up and does not count.
fn measure(candidate: &Candidate, load: &Load<'_>, turns: u32) -> anyhow::Result<Measured> {
    let mut results = Vec::new();
    for turn in 0..=turns {
        let result = load.run(candidate.processes())?;
        if turn > 0 {
            results.push(result);
        }
    }
    results.sort_by_key(|result| result.cpu_ns_per_request);
    results
        .into_iter()
        .nth(usize::try_from(turns / 2)?)
        .context("nothing was measured")
}
