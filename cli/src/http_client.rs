//! One HTTP request to a service on this machine: over its unix socket or its private port, with a deadline.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Where a service listens.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    Socket(PathBuf),
    Port(SocketAddr),
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// Sends one request and reads the whole answer, within `deadline`.
pub(crate) async fn request(
    address: &Address,
    method: Method,
    path: &str,
    deadline: Duration,
) -> anyhow::Result<Answer> {
    request_with(address, method, path, None, deadline).await
}

/// [`request`] with one more header, a name and its value.
pub(crate) async fn request_with(
    address: &Address,
    method: Method,
    path: &str,
    header: Option<(&str, &str)>,
    deadline: Duration,
) -> anyhow::Result<Answer> {
    let exchange = async {
        match address {
            Address::Socket(socket) => {
                let stream = UnixStream::connect(socket)
                    .await
                    .with_context(|| format!("nothing answers on {}", socket.display()))?;
                exchange(stream, method, path, header).await
            }
            Address::Port(port) => {
                let stream = TcpStream::connect(port)
                    .await
                    .with_context(|| format!("nothing answers on {port}"))?;
                exchange(stream, method, path, header).await
            }
        }
    };
    tokio::time::timeout(deadline, exchange)
        .await
        .with_context(|| format!("no answer within {} s", deadline.as_secs()))?
}

async fn exchange<S>(
    stream: S,
    method: Method,
    path: &str,
    header: Option<(&str, &str)>,
) -> anyhow::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("connection", "close");
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new())?;
    let answer = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        anyhow::Ok(Answer { status, body })
    };
    // The connection ends when the answer is read and its sender is gone.
    let (_, answer) = tokio::join!(connection, answer);
    answer
}
