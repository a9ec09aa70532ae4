//! Several gateways that count together in one store.

mod cluster;
mod redis_cluster;
mod redis_server;
mod script;
mod secured;
mod shared_limits;
mod store_outage;

use gateway::settings::LimitStoreSettings;
use reqwest::{Client, Response};

use crate::gateway_process::{GatewayProcess, POLICY, eventually};
pub(crate) use redis_server::RedisServer;

/// Routes with shared limits, added to the policy of most tests. No unit comes back while a test runs.
const SHARED: &str = r"
  exact:
    match: { method: GET, path: /exact }
    auth: none
    because: shows a limit that all gateways share
    rate:
      exact: { limit: 1/h, burst: 60, key: [address], count_in: store, on_store_down: deny }
    upstream: core
  several:
    match: { method: GET, path: /several }
    auth: none
    because: shows several limits of one request
    rate:
      wide: { limit: 1/h, burst: 50, key: [address], count_in: store, on_store_down: deny }
      narrow: { limit: 1/h, burst: 3, key: [address], count_in: store, on_store_down: deny }
      own: { limit: 1/h, burst: 40, key: [address] }
    upstream: core
  wide_only:
    match: { method: GET, path: /local }
    auth: none
    because: shows a limit that goes on without its store
    rate:
      local: { limit: 1/h, burst: 10, key: [address], count_in: store, on_store_down: local }
    upstream: core
  few:
    match: { method: GET, path: /few }
    auth: none
    because: shows a limit that has less than one request for each gateway
    rate:
      few: { limit: 1/h, burst: 2, key: [address], count_in: store, on_store_down: local }
    upstream: core
  open:
    match: { method: GET, path: /open }
    auth: none
    because: shows a limit that opens without its store
    rate:
      open: { limit: 1/h, burst: 4, key: [address], count_in: store, on_store_down: allow }
    upstream: core
  watched:
    match: { method: GET, path: /watched }
    auth: none
    because: shows a limit that only watches
    rate:
      watched: { limit: 1/h, burst: 2, key: [address], count_in: store, on_store_down: deny, mode: shadow }
    upstream: core
  sign_up:
    match: { method: POST, path: /sign-up }
    auth: none
    because: shows limits that count by different things
    limits: { body: 4KiB }
    rate:
      sign-ups: { limit: 1/h, burst: 50, key: [address], count_in: store, on_store_down: deny }
      sign-ups-of-one: { limit: 1/h, burst: 3, key: [body./email], count_in: store, on_store_down: deny }
    upstream: core
  probe:
    match: { method: GET, path: /probe }
    auth: none
    because: shows whether this gateway has its store
    rate:
      probe: { limit: 100000/s, burst: 100000, key: [address], count_in: store, on_store_down: deny }
    serve: live
  sign_in:
    match: { method: POST, path: /sign-in }
    auth: none
    because: the credentials are in the body
    limits: { body: 4KiB }
    rate:
      sign-in-failures: { limit: 1/h, burst: 5, key: [address, body./email], count: failures, count_in: store, on_store_down: deny }
    upstream: core
  sign_in_here:
    match: { method: POST, path: /sign-in-here }
    auth: none
    because: shows how failures are counted without the store
    limits: { body: 4KiB }
    rate:
      failures-here: { limit: 1/h, burst: 6, key: [address, body./email], count: failures, count_in: store, on_store_down: local }
    upstream: core
";

/// Long enough that a busy machine does not make the store look slow.
const PATIENT_MS: u64 = 5_000;

/// Gateways with one store.
pub(crate) struct Fleet {
    pub(crate) gateways: Vec<GatewayProcess>,
}

impl Fleet {
    pub(crate) async fn start(size: usize, store: &LimitStoreSettings) -> Self {
        let mut gateways = Vec::new();
        for _ in 0..size {
            gateways.push(member(store).await);
        }
        Self { gateways }
    }
}

/// One gateway, once its store is up.
pub(crate) async fn member(store: &LimitStoreSettings) -> GatewayProcess {
    let gateway = member_without_store(store).await;
    wait_for_store(&gateway, true).await;
    gateway
}

/// One gateway that serves whether its store is up or not.
pub(crate) async fn member_without_store(store: &LimitStoreSettings) -> GatewayProcess {
    // Held requests wait for stores that die and come back.
    let base = POLICY.replace("read: 2s, total: 4s", "read: 30s, total: 30s");
    let policy = format!("{base}{SHARED}");
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), [b'k'; 32]).unwrap();
    GatewayProcess::with(&policy, |settings| {
        settings.limit_store = LimitStoreSettings {
            hash_key_file: keys.path().to_owned(),
            ..store.clone()
        };
    })
    .await
}

/// Waits until the gateway has its store, or knows that it has none. Its metrics are those of the whole test.
pub(crate) async fn wait_for_store(gateway: &GatewayProcess, is_up: bool) {
    let wanted = if is_up { 200 } else { 503 };
    eventually(&format!("the store is up: {is_up}"), || async {
        gateway.get("/probe").await.status() == wanted
    })
    .await;
}

/// A store that may be slow.
pub(crate) fn patient(redis: &RedisServer) -> LimitStoreSettings {
    LimitStoreSettings {
        addresses: vec![redis.address()],
        timeout_ms: PATIENT_MS,
        ..LimitStoreSettings::default()
    }
}

/// So many requests to each gateway, all at once; the statuses.
pub(crate) async fn flood(fleet: &Fleet, target: &str, each: usize) -> Vec<u16> {
    let clients: Vec<(Client, String)> = fleet
        .gateways
        .iter()
        .map(|gateway| (gateway.client(), gateway.url(target)))
        .collect();
    let requests = (0..each).flat_map(|_| &clients).map(|(client, url)| async move {
        let answer = client.get(url).send().await.unwrap();
        answer.status().as_u16()
    });
    futures::future::join_all(requests).await
}

pub(crate) fn count(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|seen| **seen == status).count()
}

/// Posts somebody's address.
pub(crate) async fn post(gateway: &GatewayProcess, target: &str, email: &str) -> Response {
    let body = serde_json::json!({"email": email, "password": "x"});
    let request = gateway.client().post(gateway.url(target)).json(&body);
    request.send().await.unwrap()
}

/// A log-in with a wrong or right password, as the core is told to answer.
pub(crate) async fn sign_in(gateway: &GatewayProcess, email: &str) -> Response {
    post(gateway, "/sign-in", email).await
}
