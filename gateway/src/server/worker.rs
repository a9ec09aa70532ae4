//! Worker threads: a runtime of one thread, sockets, and a proxy of its own each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use pingora::server::configuration::ServerConf;
use service_runtime::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::entrance::{Entrance, Opening};
use crate::connection::{self, caps::ConnectionCaps};
use crate::metrics::METRICS;
use crate::proxy::Gateway;
use crate::settings::Settings;

/// Attempts to send one request upstream: the first, one when a kept connection had died, and those of the policy
/// (see `proxy::upstream`).
const UPSTREAM_ATTEMPTS: usize = 4;
/// Idle connections to upstreams that each worker keeps.
const UPSTREAM_POOL: usize = 128;
/// Waiting after `accept` fails, which it does when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
    let caps = ConnectionCaps::new(settings.connections.max, settings.connections.max_per_address);
    let (stop, stopping) = watch::channel(false);
    let drain = shared.drain.clone();
    shared.shutdown.spawn(async move {
        drain.begun().await;
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
                    let accepting = accept(worker.clone(), entrance, socket, caps.clone());
                    worker.shared.drain.spawn(accepting);
                }
                finished.cancelled().await;
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

async fn accept(
    worker: Arc<Worker>,
    entrance: Arc<Entrance>,
    socket: std::net::TcpListener,
    caps: Arc<ConnectionCaps>,
) {
    let listener = match TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, listener = entrance.label, "the listener cannot be used");
            worker.shutdown.trigger();
            return;
        }
    };
    let take = |accepted: std::io::Result<(tokio::net::TcpStream, SocketAddr)>| match accepted {
        Ok((socket, peer)) => {
            match caps.admit(peer.ip()) {
                Ok(permit) => {
                    let serving = connection::serve(worker.clone(), entrance.clone(), socket, peer, permit);
                    worker.shared.drain.spawn(serving);
                }
                Err(reason) => METRICS
                    .connections_refused
                    .with_label_values(&[reason.as_str()])
                    .inc(),
            }
            true
        }
        Err(error) => {
            tracing::warn!(%error, listener = entrance.label, "a connection could not be accepted");
            false
        }
    };
    loop {
        let accepted = tokio::select! {
            biased;
            () = worker.shared.drain.begun() => break,
            accepted = listener.accept() => accepted,
        };
        if !take(accepted) {
            #[expect(
                clippy::disallowed_methods,
                reason = "without file descriptors, accepting at once would spin"
            )]
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
    worker.shared.drain.sockets().forget();
    // Connections that the kernel has accepted already would be reset with the socket.
    while let Ok(accepted) = tokio::time::timeout(Duration::ZERO, listener.accept()).await {
        if !take(accepted) {
            break;
        }
    }
}
