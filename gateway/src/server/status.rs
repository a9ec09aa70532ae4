//! What a gateway says of itself to operators, on its private listener: what is in force, and whom it can reach.

use std::sync::Arc;

use serde_json::{Value, json};
use service_runtime::private::Status;

use super::Shared;

/// The answer to `/status`.
pub(super) fn of(shared: &Arc<Shared>) -> Status {
    let shared = shared.clone();
    Arc::new(move || {
        let snapshot = shared.policies.current();
        let plan = &snapshot.plan;
        let mut upstreams: Vec<(&str, Value)> = snapshot
            .pools()
            .map(|pool| (pool.upstream().name.as_str(), pool.status()))
            .collect();
        upstreams.sort_by_key(|(name, _)| *name);
        let upstreams: serde_json::Map<String, Value> = upstreams
            .into_iter()
            .map(|(name, status)| (name.to_owned(), status))
            .collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "policy": { "hash": plan.hash(), "routes": plan.routes().len() },
            "keys": shared.keys.current().map(|keys| keys.etag().trim_matches('"').to_owned()),
            "upstreams": upstreams,
            "is_stopping": shared.shutdown.is_triggered(),
        })
    })
}
