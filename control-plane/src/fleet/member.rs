//! Who is speaking: a gateway, by the DNS name in its certificate, or by `x-node` on the unix socket.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::request::Parts;
use problem::Problem;
use service_runtime::tls::ClientNames;

use super::error::FleetError;
use super::store;
use crate::state::AppState;

/// The header that names a gateway on the unix socket, whose mode is the authorisation.
const NODE: &str = "x-node";
/// The header of an acknowledgement that names the process, as its heartbeats do.
const BOOT: &str = "x-boot";
/// Longest name.
const MAX_NAME_BYTES: usize = 63;

/// By which door a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// TLS with a client certificate, whose name counts and nothing else.
    Tls,
    /// The unix socket.
    Socket,
}

/// A gateway that is of the fleet; it is written down when it is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member(pub(super) String);

impl FromRequestParts<AppState> for Member {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let name = match parts.extensions.get::<Door>() {
            Some(Door::Tls) => certified(parts.extensions.get::<ClientNames>())?,
            Some(Door::Socket) => named(parts)?,
            None => return Err(Problem::internal("a request that came in by no door")),
        };
        let mut conn = state.db.acquire().await.map_err(FleetError::from)?;
        if store::meet(&mut conn, &name).await.map_err(FleetError::from)? {
            return Err(FleetError::Evicted.into());
        }
        Ok(Self(name))
    }
}

/// Which process of a gateway is speaking; none where it does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Boot(pub(super) Option<String>);

impl<S: Sync> FromRequestParts<S> for Boot {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let boot_id = parts.headers.get(BOOT).and_then(|boot_id| boot_id.to_str().ok());
        Ok(Self(boot_id.map(str::to_owned)))
    }
}

/// The one DNS name of a certificate. With two, a gateway could choose who it is.
fn certified(names: Option<&ClientNames>) -> Result<String, FleetError> {
    let mut dns = names
        .into_iter()
        .flat_map(ClientNames::iter)
        .filter(|name| !name.contains(':'));
    match (dns.next(), dns.next()) {
        (Some(name), None) if is_name(name) => Ok(name.to_owned()),
        _ => Err(FleetError::UnnamedCertificate),
    }
}

fn named(parts: &Parts) -> Result<String, FleetError> {
    let name = parts.headers.get(NODE).and_then(|name| name.to_str().ok());
    name.filter(|name| is_name(name))
        .map(str::to_owned)
        .ok_or(FleetError::Unnamed)
}

/// The form of a name, as the table has it.
pub(super) fn is_name(name: &str) -> bool {
    let is_end = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    (1..=MAX_NAME_BYTES).contains(&bytes.len())
        && bytes
            .iter()
            .all(|byte| is_end(*byte) || matches!(byte, b'-' | b'.'))
        && bytes.first().is_some_and(|byte| is_end(*byte))
        && bytes.last().is_some_and(|byte| is_end(*byte))
}
