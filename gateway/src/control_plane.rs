//! Asking the control plane over its unix socket, by long polls.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How much longer than it may wait an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The control plane is of a version that does not know what it was asked for.
#[derive(Debug)]
pub(crate) struct NotOffered;

impl fmt::Display for NotOffered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the control plane does not offer this")
    }
}

impl std::error::Error for NotOffered {}

/// Asks for `target`, which may be held open for `wait`; `None` when nothing is newer.
///
/// # Errors
/// What failed, for the log; [`NotOffered`] when asking again is of no use.
pub(crate) async fn get(
    socket: &Path,
    target: &str,
    wait: Duration,
    max_bytes: usize,
) -> anyhow::Result<Option<Bytes>> {
    let answer = timeout(wait.saturating_add(PATIENCE), ask(socket, target, max_bytes)).await;
    answer.context("no answer in time")?
}

async fn ask(socket: &Path, target: &str, max_bytes: usize) -> anyhow::Result<Option<Bytes>> {
    let stream = UnixStream::connect(socket)
        .await
        .with_context(|| format!("connecting to {}", socket.display()))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(target)
        .header(header::HOST, "control-plane")
        .body(Empty::<Bytes>::new())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        match response.status() {
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Ok(None),
            StatusCode::OK => {
                let body = Limited::new(response.into_body(), max_bytes)
                    .collect()
                    .await
                    .map_err(|error| anyhow::anyhow!("reading the answer: {error}"))?;
                Ok(Some(body.to_bytes()))
            }
            StatusCode::NOT_FOUND => Err(NotOffered.into()),
            status => bail!("the control plane answers {status}"),
        }
    };
    tokio::pin!(exchange, connection);
    tokio::select! {
        result = &mut exchange => result,
        closed = &mut connection => {
            closed?;
            // The connection may end in the same moment as the answer is complete.
            exchange.await
        }
    }
}

/// A back-off between attempts to reach a process that is away.
pub(crate) async fn pause(time: Duration) {
    #[expect(
        clippy::disallowed_methods,
        reason = "a back-off between attempts to reach a process that is away"
    )]
    tokio::time::sleep(time).await;
}
