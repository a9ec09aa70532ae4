//! `portico up`: everything on one machine, as child processes of this one.
//!
//! **Invariant:** whatever goes wrong on the way up, nothing is left running; on the way down, the gateway stops first,
//! so that no request is cut, and the database last.

mod certificates;
mod child;
mod endpoints;
mod fleet;
mod logs;
mod ports;
mod prepare;
mod readiness;
mod secrets;
mod settings;
mod store;
mod survivors;
mod system;
mod tour;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use service_runtime::settings::{Environment, variable};
use service_runtime::shutdown::Shutdown;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::arguments::UpArguments;
use crate::{Outcome, Unreadable};
pub(crate) use certificates::{RENEW_BEFORE_DAYS, not_after};
pub(crate) use endpoints::Endpoints;
use logs::Terminal;
use system::System;

/// The services, in the order in which they start. They stop in the reverse.
const SERVICES: [&str; 3] = ["control-plane", "core-api", "gateway"];

/// What stops a system: the first signal, and what hurries it: the second.
#[derive(Debug, Clone, Default)]
struct Stop {
    begin: CancellationToken,
    hurry: CancellationToken,
}

pub(crate) fn run(arguments: &UpArguments) -> anyhow::Result<Outcome> {
    let filter = arguments
        .tail
        .parse()
        .map_err(|error: anyhow::Error| Unreadable(error.to_string()))?;
    // Here, unlike in a service, nothing said means development.
    let environment = match variable("APP_ENV").as_deref() {
        None | Some("") => Environment::Development,
        Some(name) => name.parse().map_err(Unreadable)?,
    };
    let terminal = Terminal::open(filter)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let runtime = runtime.context("cannot start")?;
    let outcome = runtime.block_on(serve(arguments, environment, &terminal));
    terminal.flush();
    outcome.map(|()| Outcome::Done)
}

async fn serve(arguments: &UpArguments, environment: Environment, terminal: &Terminal) -> anyhow::Result<()> {
    let begun = Instant::now();
    let stop = Stop::default();
    let background = Shutdown::new();
    listen_for_signals(&background, &stop, terminal)?;

    let prepared = prepare::prepare(arguments, environment, terminal).await?;
    let mut system = System::new(&prepared, terminal, &stop);
    let started = system.start().await;
    let outcome = started.and_then(|()| system.announce(begun.elapsed()));
    if outcome.is_ok() {
        stop.begin.cancelled().await;
    }
    system.stop().await;
    background.trigger();
    background.wait_for_tasks(Duration::from_secs(1)).await;
    match outcome {
        Err(_) if stop.begin.is_cancelled() => terminal.say("stopped before everything was ready"),
        Ok(()) => terminal.say("everything is stopped"),
        // The error is the one line to read.
        Err(error) => return Err(error),
    }
    Ok(())
}

fn listen_for_signals(background: &Shutdown, stop: &Stop, terminal: &Terminal) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let (stop, terminal, over) = (stop.clone(), terminal.clone(), background.clone());
    background.spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
                () = over.cancelled() => return,
            }
            if stop.begin.is_cancelled() {
                terminal.say("hurrying: what is under way is cut");
                stop.hurry.cancel();
            } else {
                terminal.say("stopping; once more to hurry");
                stop.begin.cancel();
            }
        }
    });
    Ok(())
}
