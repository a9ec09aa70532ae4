//! The control plane: it makes, publishes, rotates and retires the keys that sign Portico's tokens.
//!
//! It is in no request path: gateways and core-api go on with what they have while it is down. It owns the schema
//! `control`, listens on a unix socket of mode 0600 for operators and gateways, and on a private address for metrics and
//! health.
//!
//! **Invariant:** every transition of a key is one transaction on database time; a crash between any two statements leaves
//! the ring as it was.

#![warn(missing_docs)]

mod announcements;
mod database_problem;
mod extract;
mod fleet;
mod keks;
mod lease;
mod policies;
mod router;
mod settings;
mod signing_keys;
mod state;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use service_runtime::clock::Clock;
use service_runtime::secrets::ServiceSecrets;
use service_runtime::settings::{Environment, SettingsError};
use service_runtime::shutdown::Shutdown;
use service_runtime::{crypto, http, private, telemetry};

pub use fleet::FleetSettings;
pub use policies::PolicySettings;
pub use settings::{RotationSettings, Settings, TokenSettings};

use crate::state::AppState;

/// The name of this service in logs, metrics and settings.
const SERVICE: &str = "control-plane";
/// How long background work may take to end after the last request.
const DRAIN: Duration = Duration::from_secs(5);

/// Runs the control plane until SIGTERM or SIGINT.
///
/// # Errors
///
/// When a setting is wrong, the database refuses the login, the key-encryption key is not the one that the ring was sealed
/// under, or a listener cannot be made. A database that is down is no
/// error: the process waits for it and says so in its readiness.
pub fn run(settings: Settings, environment: Environment) -> anyhow::Result<()> {
    let secrets = settings.secrets();
    let ran = run_with(settings, environment);
    // Where it could not begin, nobody has.
    secrets.give_back_now();
    ran
}

fn run_with(settings: Settings, environment: Environment) -> anyhow::Result<()> {
    let faults = settings.faults(environment);
    if !faults.is_empty() {
        return Err(SettingsError(faults).into());
    }
    let _telemetry = telemetry::init(&settings.telemetry, SERVICE, environment)?;
    crypto::install_provider();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(async { serve(settings, Shutdown::on_signals()?).await })
}

/// Serves until `shutdown`, then gives back what was lent; also when it cannot serve.
async fn serve(settings: Settings, shutdown: Shutdown) -> anyhow::Result<()> {
    let secrets = settings.secrets();
    let served = serve_with(settings, secrets.clone(), shutdown).await;
    secrets.give_back().await;
    served
}

/// Serves until `shutdown`, then ends what is under way.
async fn serve_with(settings: Settings, secrets: ServiceSecrets, shutdown: Shutdown) -> anyhow::Result<()> {
    let db = database::Pool::connect(&settings.database, SERVICE).await?;
    secrets.keep_fresh(&Clock::system(), &shutdown);
    shutdown.spawn(db.clone().follow(shutdown.clone()));
    let state = AppState::new(&settings, db.clone(), shutdown.clone())?;
    signing_keys::refuse_wrong_kek(&state).await?;
    shutdown.spawn(signing_keys::maintain(
        state.clone(),
        settings.rotation.maintenance_interval(),
    ));

    shutdown.spawn(fleet::follow(state.clone()));
    shutdown.spawn(policies::drive(state.clone()));

    let readiness = signing_keys::readiness(&state);
    let (private_address, _) =
        private::serve(settings.private_listen, readiness, secrets, shutdown.clone()).await?;
    let members = http::layers(fleet::for_members(state.clone()), SERVICE);
    let members = fleet::serve_members(&state.fleet, members, &shutdown).await?;
    if let Some(file) = &settings.endpoints_file {
        write_endpoints(file, &settings.socket, private_address, members)?;
    }
    let router = http::layers(router::router(state), SERVICE);
    http::serve_unix(&settings.socket, router, shutdown.clone()).await?;
    // Also when the listener ended by itself: nothing must outlive it.
    shutdown.trigger();
    if !shutdown.wait_for_tasks(DRAIN).await {
        tracing::warn!("background work did not end in time");
    }
    db.close().await;
    Ok(())
}

/// Says where this process really listens. Written beside and renamed, so that a reader never sees half of it.
fn write_endpoints(
    file: &Path,
    socket: &Path,
    private: SocketAddr,
    members: Option<SocketAddr>,
) -> anyhow::Result<()> {
    let members = members.map(|address| address.to_string());
    let text =
        serde_json::json!({ "private": private.to_string(), "socket": socket, "fleet": members }).to_string();
    let draft = file.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&draft, text).with_context(|| format!("endpoints file {}", draft.display()))?;
    std::fs::rename(&draft, file).with_context(|| format!("endpoints file {}", file.display()))
}
