//! Active health checks: every address is asked, again and again, whether it can serve.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use policy::HealthCheck;
use service_runtime::shutdown::Shutdown;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::endpoint::Endpoint;
use super::{Pool, lookup};

/// `HTTP/1.1 200`: what has to be read of an answer.
const STATUS_LINE: usize = 12;
/// How often metrics of addresses are brought up to date that nobody asks.
const LOOK: Duration = Duration::from_secs(1);

impl Pool {
    /// Starts to watch the addresses, once; the watch ends with the pool.
    pub(crate) fn watch(self: &Arc<Self>, shutdown: &Shutdown) {
        if self.is_watched.swap(true, Ordering::Relaxed) {
            return;
        }
        match &self.upstream.health {
            Some(check) => {
                shutdown.spawn(ask(Arc::downgrade(self), check.clone(), shutdown.clone()));
            }
            None => {
                for endpoint in self.endpoints.load().iter() {
                    endpoint.trust();
                }
                shutdown.spawn(report(Arc::downgrade(self), shutdown.clone()));
            }
        }
        lookup::follow(self, shutdown);
    }
}

async fn ask(pool: Weak<Pool>, check: HealthCheck, shutdown: Shutdown) {
    let mut ticks = interval(check.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let Some(endpoints) = pool.upgrade().map(|pool| pool.endpoints.load_full()) else {
            return;
        };
        let mut questions = JoinSet::new();
        for endpoint in endpoints.iter() {
            let (endpoint, check) = (Arc::clone(endpoint), check.clone());
            questions.spawn(async move {
                let answer = timeout(check.timeout, get(&endpoint, &check.path)).await;
                let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
                endpoint.observe(answer, &check);
            });
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = questions.join_all() => {}
        }
    }
}

/// An ejection ends by itself, without anybody who notices.
async fn report(pool: Weak<Pool>, shutdown: Shutdown) {
    let mut ticks = interval(LOOK);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let Some(endpoints) = pool.upgrade().map(|pool| pool.endpoints.load_full()) else {
            return;
        };
        for endpoint in endpoints.iter() {
            endpoint.report();
        }
    }
}

/// Whether an address takes a connection.
///
/// # Errors
/// Why not.
pub(super) async fn accepts(endpoint: &Endpoint, at_most: Duration) -> Result<(), String> {
    match timeout(at_most, endpoint.connect()).await {
        Ok(connected) => connected.map(drop).map_err(|error| error.to_string()),
        Err(_) => Err(format!("no connection within {} s", at_most.as_secs())),
    }
}

/// 200 to 299 is good.
async fn get(endpoint: &Endpoint, path: &str) -> Result<(), String> {
    let answer = exchange(endpoint, path)
        .await
        .map_err(|error| error.to_string())?;
    let answer = String::from_utf8_lossy(&answer);
    let is_good = answer
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| answer.strip_prefix("HTTP/1.0 "))
        .is_some_and(|status| status.len() == 3 && status.starts_with('2'));
    if is_good {
        return Ok(());
    }
    Err(format!("it answers {answer:?}"))
}

async fn exchange(endpoint: &Endpoint, path: &str) -> std::io::Result<[u8; STATUS_LINE]> {
    let mut stream = endpoint.connect().await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: portico\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0; STATUS_LINE];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
