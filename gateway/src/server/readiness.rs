//! Whether this gateway should get work (OPS-1): keys to verify with, a policy to enforce, upstreams to forward to.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use service_runtime::health::Readiness;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::keys::KeyStore;
use crate::policy_source::PolicySource;

/// How long an upstream may take to accept a connection.
const ACCEPT: Duration = Duration::from_secs(1);

/// The checks behind `/health/ready`, public and private alike.
///
/// A directory that does not compile is no reason to stop work, for the old policy is in force:
/// `portico_policy_directory_ok` and the log say so.
pub(super) fn checks(keys: &Arc<KeyStore>, policies: &Arc<PolicySource>) -> Readiness {
    let (keys, in_force, upstreams) = (keys.clone(), policies.clone(), policies.clone());
    Readiness::new()
        .check("keys", move || {
            let found = keys.current().map(drop);
            Box::pin(async move { found.ok_or_else(|| "no key set yet".to_owned()) })
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

async fn accepts(socket: &Path) -> Result<(), String> {
    match timeout(ACCEPT, UnixStream::connect(socket)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no connection within {} s", ACCEPT.as_secs())),
    }
}
