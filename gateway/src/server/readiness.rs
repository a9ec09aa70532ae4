//! Whether this gateway should get work (OPS-1): keys to verify with, a policy to enforce, upstreams to forward to.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use policy::{Plan, Route, RouteTarget, Served};
use service_runtime::clock::Clock;
use service_runtime::health::Readiness;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::keys::KeySources;
use crate::policy_source::PolicySource;

/// How long an upstream may take to accept a connection.
const ACCEPT: Duration = Duration::from_secs(1);

/// The checks behind `/health/ready`, public and private alike.
///
/// A directory that does not compile is no reason to stop work, for the old policy is in force:
/// `portico_policy_directory_ok` and the log say so.
pub(super) fn checks(keys: &Arc<KeySources>, policies: &Arc<PolicySource>, clock: &Clock) -> Readiness {
    let (keys, clock) = (keys.clone(), clock.clone());
    let (needed, in_force, upstreams) = (policies.clone(), policies.clone(), policies.clone());
    Readiness::new()
        .check("keys", move || {
            let missing = missing_keys(&needed.current().plan, &keys, clock.now().timestamp());
            Box::pin(async move {
                match missing.is_empty() {
                    true => Ok(()),
                    false => Err(missing.join("; ")),
                }
            })
        })
        .check("policy", move || {
            let is_empty = in_force.current().plan.routes().is_empty();
            Box::pin(async move {
                match is_empty {
                    true => Err("the policy in force has no route".to_owned()),
                    false => Ok(()),
                }
            })
        })
        .check("upstreams", move || {
            let snapshot = upstreams.current();
            Box::pin(async move {
                for (name, path) in snapshot.sockets() {
                    accepts(path)
                        .await
                        .map_err(|reason| format!("{name}: {reason}"))?;
                }
                Ok(())
            })
        })
}

/// Who cannot be verified, and why, one sentence each (J40). Without a use for Portico's own keys they are not missed.
fn missing_keys(plan: &Plan, keys: &KeySources, now_unix: i64) -> Vec<String> {
    let mut missing: Vec<String> = plan
        .identity_providers()
        .iter()
        .filter_map(|provider| {
            let reason = keys.missing(&provider.keys, now_unix)?;
            Some(format!("{}: {reason}", provider.name))
        })
        .collect();
    if missing.is_empty() && plan.routes().iter().any(serves_jwks) {
        missing.extend(keys.portico.missing());
    }
    missing
}

fn serves_jwks(route: &Arc<Route>) -> bool {
    matches!(route.target, RouteTarget::Serve(Served::Jwks))
}

async fn accepts(socket: &Path) -> Result<(), String> {
    match timeout(ACCEPT, UnixStream::connect(socket)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no connection within {} s", ACCEPT.as_secs())),
    }
}
