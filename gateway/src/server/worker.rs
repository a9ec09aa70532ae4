//! Worker threads: a runtime of one thread, sockets, and a proxy of its own each.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use pingora::server::configuration::ServerConf;
use service_runtime::shutdown::Shutdown;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::accept::Door;
use super::entrance::{Entrance, Opening};
use crate::connection::caps::ConnectionCaps;
use crate::proxy::Gateway;
use crate::settings::Settings;
use crate::upstreams;

/// Attempts to send one request upstream: the first, one when a kept connection had died, and those of the policy
/// (see `proxy::upstream`).
const UPSTREAM_ATTEMPTS: usize = 4;
/// Idle connections to upstreams over TLS that each worker keeps.
const UPSTREAM_POOL: usize = 128;

/// What one worker thread works with: a proxy of its own, so that upstream connections stay on its runtime.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) proxy: Arc<HttpProxy<Gateway>>,
    pub(crate) shutdown: Shutdown,
    pub(crate) stopping: ShutdownWatch,
}

/// Starts the threads. They accept at once, and end when `finished` is cancelled.
pub(super) fn start(
    settings: &Settings,
    shared: &Arc<Shared>,
    openings: Vec<Opening>,
    finished: &CancellationToken,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let caps = ConnectionCaps::new(settings.connections);
    let (stop, stopping) = watch::channel(false);
    let drain = shared.drain.clone();
    shared.shutdown.spawn(async move {
        drain.close().await;
        // Fails when no worker is left to hear it, which is what it is for.
        let _ = stop.send(true);
    });

    let mut per_worker: Vec<Vec<(Arc<Entrance>, std::net::TcpListener)>> = Vec::new();
    per_worker.resize_with(settings.worker_threads(), Vec::new);
    for opening in openings {
        // More than workers when another process has handed them over: each of them is accepted from.
        for (index, socket) in opening.sockets.into_iter().enumerate() {
            if let Some(entrances) = per_worker.get_mut(index % settings.worker_threads().max(1)) {
                entrances.push((opening.entrance.clone(), socket));
            }
        }
    }
    let mut workers = Vec::new();
    for (index, entrances) in per_worker.into_iter().enumerate() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (shared, caps, stopping, finished) =
            (shared.clone(), caps.clone(), stopping.clone(), finished.clone());
        let work = move || {
            runtime.block_on(async {
                let worker = Arc::new(Worker {
                    proxy: Arc::new(new_proxy(&shared)),
                    shutdown: shared.shutdown.clone(),
                    shared,
                    stopping,
                });
                for (entrance, socket) in entrances {
                    let door = Door {
                        worker: worker.clone(),
                        entrance,
                        caps: caps.clone(),
                    };
                    worker.shared.drain.spawn_door(door.accept(socket));
                }
                tokio::select! {
                    () = finished.cancelled() => {}
                    () = upstreams::look_after_resting() => {}
                }
            });
            // Requests that outlived the grace end here.
            runtime.shutdown_timeout(Duration::ZERO);
        };
        workers.push(
            std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(work)?,
        );
    }
    Ok(workers)
}

fn new_proxy(shared: &Arc<Shared>) -> HttpProxy<Gateway> {
    let conf = ServerConf {
        threads: 1,
        max_retries: UPSTREAM_ATTEMPTS,
        upstream_keepalive_pool_size: UPSTREAM_POOL,
        ..ServerConf::default()
    };
    pingora::proxy::http_proxy(&Arc::new(conf), Gateway::new(shared.clone()))
}
