//! The gateway of Portico: every request from outside passes here, and only what the policy permits goes further.
//!
//! The way of a request: [`server`] accepts, `connection` reads the head strictly, `proxy` asks the policy and forwards.
//! The gateway decides nothing by itself: decisions are made by the `policy` crate, from which alone a `Permit` can come.
//!
//! **Invariant:** nothing is forwarded without a `Permit`, and every answer carries the headers of the policy.

#![warn(missing_docs)]

mod acme;
mod cache;
mod connection;
mod durable_file;
mod evidence;
mod fleet;
mod hand_over;
mod identity;
mod keys;
mod last_heard;
mod listen;
mod metrics;
mod pause;
mod personal_data;
mod policy_source;
mod proxy;
mod rate_limit;
mod revocations;
pub mod server;
pub mod settings;
mod since_boot;
mod standstill;
mod tls;
mod tokens;
mod upstreams;

pub use hand_over::{Predecessor, request as request_upgrade};
pub use policy_source::{
    Role as PolicyFileRole, expectations, load_last_good as read_last_good_policies, read_cases,
    read_directory as read_policies, role as policy_file_role,
};
pub use settings::Settings;
pub use tls::check_upstream_files;

use std::ffi::OsString;

use anyhow::Context as _;
use service_runtime::clock::Clock;
use service_runtime::settings::Environment;
use service_runtime::shutdown::Shutdown;
use service_runtime::{crypto, telemetry};

/// Runs a gateway until SIGTERM or SIGINT, then finishes the requests under way; or until another process has taken over
/// from it, which `program` and its arguments start. With a `predecessor` it takes over itself.
///
/// # Errors
/// When it cannot start: the message names the setting, policy line, certificate or address that is wrong.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the settings of a process are read once and end with it"
)]
pub fn run(
    settings: Settings,
    environment: Environment,
    program: Vec<OsString>,
    predecessor: Option<&Predecessor>,
) -> anyhow::Result<()> {
    crypto::install_provider();
    let _telemetry = telemetry::init(&settings.telemetry, "gateway", environment)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the control runtime")?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals().context("installing signal handlers")?;
        let clock = Clock::system();
        let mut gateway = match predecessor {
            None => server::start(&settings, environment, clock, shutdown).await?,
            Some(old) => server::take_over(&settings, environment, clock, shutdown, old).await?,
        };
        for (listener, address) in gateway.addresses() {
            tracing::info!(listener, %address, "listening");
        }
        gateway.announce(&settings, program).await;
        gateway.stopped().await;
        Ok(())
    })
}
