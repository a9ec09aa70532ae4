//! The listener that gateways on other machines dial: TLS 1.3, for certificates of one authority.

use std::net::SocketAddr;

use axum::Router;
use service_runtime::clock::Clock;
use service_runtime::shutdown::Shutdown;
use service_runtime::tls::{TlsService, serve_tls};

use super::Fleet;

/// Binds the listener, if there is one in the settings, and serves `router` there until shutdown. Gives its address.
///
/// # Errors
///
/// When a file is wrong or the address is taken.
pub(crate) async fn serve_members(
    fleet: &Fleet,
    router: Router,
    shutdown: &Shutdown,
) -> anyhow::Result<Option<SocketAddr>> {
    let Some(tls) = fleet.settings.as_ref().and_then(super::FleetSettings::tls) else {
        return Ok(None);
    };
    let service = TlsService::bind_for_any_client(&tls, Clock::system()).await?;
    let address = service.address();
    let stop = shutdown.clone();
    shutdown.spawn(async move {
        if let Err(error) = serve_tls(service, router, stop.clone()).await {
            tracing::error!(error = format!("{error:#}"), "the listener for gateways failed");
            // Without it a fleet hears nothing: better that somebody starts the process again.
            stop.trigger();
        }
    });
    Ok(Some(address))
}
