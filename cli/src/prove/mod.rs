//! `portico prove`: runs Portico's claims on a system of its own and writes down what happened.
//!
//! **Invariant:** a claim counts as proved only when its check is green *and* its negative control is red: the same
//! check, on a system that was damaged on purpose, must find the damage.

mod claims;
mod ground;
mod report;
mod signature;
mod store;

use std::io::Write as _;
use std::time::Instant;

use anyhow::Context as _;
use claims::Claim;
use ground::Ground;
use report::{ClaimResult, Report, Status};
use service_runtime::clock::Clock;

use crate::arguments::ProveArguments;
use crate::{Outcome, Unreadable};

/// Runs the claims, and writes the report whatever it says.
pub(crate) fn run(arguments: &ProveArguments) -> anyhow::Result<Outcome> {
    let mut screen = std::io::stderr();
    if let Some(file) = &arguments.verify {
        let signed_by = signature::verify(file, arguments.trusted_key.as_deref())?;
        let report = file.display();
        if arguments.trusted_key.is_some() {
            writeln!(screen, "{report}: signed by the trusted key {signed_by}")?;
        } else {
            writeln!(
                screen,
                "{report}: the signature fits the key that lies beside the report, which anyone could have put there.\n\
                 Compare its fingerprint with the one you trust, or give that one as --trusted-key: {signed_by}"
            )?;
        }
        return Ok(Outcome::Done);
    }
    if arguments.list {
        for claim in Claim::ALL {
            writeln!(screen, "{:<22} {}", claim.id(), claim.statement())?;
        }
        return Ok(Outcome::Done);
    }
    let chosen = choose(&arguments.claims)
        .ok_or_else(|| Unreadable("no such claim; `portico prove --list` names them".to_owned()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(prove(arguments, &chosen))?;
    let files = report::write(&report, &arguments.out, &arguments.signing_key)?;
    writeln!(screen, "\n{}\nreport: {}", report.summary(), files.html.display())?;
    Ok(if report.is_proved() {
        Outcome::Done
    } else {
        Outcome::Findings
    })
}

fn choose(ids: &[String]) -> Option<Vec<Claim>> {
    if ids.is_empty() {
        return Some(Claim::ALL.to_vec());
    }
    ids.iter()
        .map(|id| Claim::ALL.into_iter().find(|claim| claim.id() == id))
        .collect()
}

async fn prove(arguments: &ProveArguments, chosen: &[Claim]) -> anyhow::Result<Report> {
    let mut screen = std::io::stderr();
    let clock = Clock::system();
    let started_at = clock.now();
    writeln!(
        screen,
        "starting a Portico of its own, with a PostgreSQL of its own …"
    )?;
    let ground = Ground::prepare(
        arguments.policies.as_deref(),
        arguments.transfers,
        arguments.clients,
    )
    .await
    .context("the system under proof does not start")?;
    let mut results = Vec::new();
    for (index, claim) in chosen.iter().enumerate() {
        writeln!(
            screen,
            "\n[{}/{}] {}  {}",
            index + 1,
            chosen.len(),
            claim.id(),
            claim.statement()
        )?;
        let result = prove_one(*claim, &ground).await?;
        writeln!(screen, "      {}", result.status.sentence())?;
        results.push(result);
    }
    let policy_hash = ground.policy_hash().await?;
    ground.remove().await?;
    Ok(Report {
        portico_version: env!("CARGO_PKG_VERSION").to_owned(),
        policy_hash,
        started_at,
        finished_at: clock.now(),
        processors: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        results,
    })
}

/// Runs a check and its control. A check that cannot be carried out is a failure, never a pass.
async fn prove_one(claim: Claim, ground: &Ground) -> anyhow::Result<ClaimResult> {
    let mut screen = std::io::stderr();
    let started = Instant::now();
    write!(screen, "      check … ")?;
    let check = claim
        .check(ground)
        .await
        .unwrap_or_else(|error| claims::Verdict::impossible(&error));
    writeln!(screen, "{}", if check.is_green() { "green" } else { "RED" })?;
    for failure in &check.failures {
        writeln!(screen, "        - {failure}")?;
    }
    write!(screen, "      negative control: {} … ", claim.damage())?;
    // A control that could not be carried out has not been seen to turn red.
    let control = claim.control(ground).await;
    let status = match (&check, &control) {
        (check, _) if !check.is_green() => Status::Refuted,
        (_, Ok(control)) if control.is_green() => Status::CheckIsBlind,
        (_, Err(_)) => Status::ControlImpossible,
        (_, Ok(_)) => Status::Proved,
    };
    let control = match control {
        Ok(verdict) => verdict,
        Err(error) => claims::Verdict::impossible(&error),
    };
    writeln!(
        screen,
        "{}",
        if status == Status::Proved {
            "red, as it must be"
        } else {
            "not shown to be red"
        }
    )?;
    if status == Status::ControlImpossible {
        for failure in &control.failures {
            writeln!(screen, "        - {failure}")?;
        }
    }
    Ok(ClaimResult {
        id: claim.id(),
        statement: claim.statement(),
        rests_on: claim.rests_on(),
        method: claim.method(),
        damage: claim.damage(),
        check,
        control,
        status,
        seconds: started.elapsed().as_secs(),
    })
}
