//! Whether this gateway should get work (OPS-1): keys to verify with, a policy to enforce, upstreams to forward to, a clock that
//! is right, and a state by which it can take over what is revoked.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use policy::{Plan, Route, RouteTarget, Served, Upstream, UpstreamAddress};
use service_runtime::clock::Clock;
use service_runtime::health::Readiness;

use crate::fleet::{FleetState, FleetTime};
use crate::keys::KeySources;
use crate::policy_source::PolicySource;

/// How long an upstream may take to accept a connection.
const ACCEPT: Duration = Duration::from_secs(1);

/// The checks behind `/health/ready`, public and private alike.
///
/// A directory that does not compile is no reason to stop work, for the old policy is in force:
/// `portico_policy_directory_ok` and the log say so.
pub(super) fn checks(
    keys: &Arc<KeySources>,
    policies: &Arc<PolicySource>,
    clock: &Clock,
    time: Arc<FleetTime>,
    state: Arc<FleetState>,
) -> Readiness {
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
        .check("clock", move || {
            let off_ms = time.off_ms();
            Box::pin(async move {
                off_ms.map_or(Ok(()), |off_ms| {
                    let side = if off_ms < 0 { "behind" } else { "ahead of" };
                    let seconds = off_ms.saturating_abs() / 1_000;
                    Err(format!("it is {seconds} s {side} the control plane's: set it"))
                })
            })
        })
        .check("fleet_state", move || Box::pin(ready(state.check())))
        .check("upstreams", move || {
            let snapshot = upstreams.current();
            Box::pin(async move {
                // Those that stop and start together with this gateway.
                for pool in snapshot.pools().filter(|pool| is_behind_socket(pool.upstream())) {
                    let accepted = pool.accepts(ACCEPT).await;
                    accepted.map_err(|reason| format!("{}: {reason}", pool.upstream().name))?;
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

fn is_behind_socket(upstream: &Upstream) -> bool {
    upstream
        .addresses()
        .any(|address| matches!(address, UpstreamAddress::Unix(_)))
}
