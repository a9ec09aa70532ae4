//! Whether this gateway should get work (OPS-1): keys to verify with, a policy to enforce, upstreams to forward to.

use std::sync::Arc;
use std::time::Duration;

use policy::{KeySource, Plan, Route, RouteTarget, Served, Upstream, UpstreamAddress};
use service_runtime::health::Readiness;

use crate::keys::{KeyFiles, KeyStore};
use crate::policy_source::PolicySource;

/// How long an upstream may take to accept a connection.
const ACCEPT: Duration = Duration::from_secs(1);

/// The checks behind `/health/ready`, public and private alike.
///
/// A directory that does not compile is no reason to stop work, for the old policy is in force:
/// `portico_policy_directory_ok` and the log say so.
pub(super) fn checks(
    keys: &Arc<KeyStore>,
    key_files: &Arc<KeyFiles>,
    policies: &Arc<PolicySource>,
) -> Readiness {
    let (keys, key_files) = (keys.clone(), key_files.clone());
    let (needed, in_force, upstreams) = (policies.clone(), policies.clone(), policies.clone());
    Readiness::new()
        .check("keys", move || {
            let missing = missing_keys(&needed.current().plan, &keys, &key_files);
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
fn missing_keys(plan: &Plan, keys: &KeyStore, key_files: &KeyFiles) -> Vec<String> {
    let no_key_set = || {
        let is_missing = keys.current().is_none();
        is_missing.then(|| "no key set yet".to_owned())
    };
    let mut missing: Vec<String> = plan
        .identity_providers()
        .iter()
        .filter_map(|provider| {
            let reason = match &provider.keys {
                KeySource::Portico => no_key_set()?,
                KeySource::File(name) => key_files.missing(name)?,
            };
            Some(format!("{}: {reason}", provider.name))
        })
        .collect();
    if missing.is_empty() && plan.routes().iter().any(serves_jwks) {
        missing.extend(no_key_set());
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
