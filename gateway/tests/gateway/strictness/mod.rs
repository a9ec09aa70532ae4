//! FR-1 to FR-14, PA-1 to PA-7, AD-1 to AD-9: tables of requests against a running gateway, whose upstream keeps every byte.

mod answers;
mod clear;
mod desync;
mod http1;
mod http2;
mod slow;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use strictness::{Recorder, Server};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};

use crate::authority::Authority;
use crate::gateway_process::{GatewayProcess, POLICY};
use crate::tls_upstream::acceptor;

/// A gateway in front of a recorder.
struct Edge {
    gateway: GatewayProcess,
    upstream: Recorder,
}

impl Edge {
    async fn start() -> Self {
        let upstream = Recorder::start().await.unwrap();
        let address = format!("    address: http://{}\n", upstream.address);
        Self::reaching(upstream, &address, |_| ()).await
    }

    /// The recorder is reached over TLS.
    async fn over_tls() -> Self {
        service_runtime::crypto::install_provider();
        let authority = Authority::new("authority of the core");
        let upstream = Recorder::start().await.unwrap();
        let address = before(upstream.address, &authority).await;
        let tls = "{ min: \"1.3\", authority: core, server_name: core.bank.internal }";
        let address = format!("    address: \"https://{address}\"\n    tls: {tls}\n");
        let write =
            |directory: &Path| std::fs::write(directory.join("core.ca.pem"), authority.pem()).unwrap();
        Self::reaching(upstream, &address, write).await
    }

    async fn reaching(upstream: Recorder, address: &str, prepare: impl FnOnce(&Path)) -> Self {
        let core = "    address: unix:core.sock\n    authorization: forward\n";
        assert!(POLICY.contains(core));
        let address = format!("{address}    authorization: strip\n");
        let routes: String = [("GET", "/v1/items/{id}"), ("DELETE", "/v1/items/{id}"), ("POST", "/v1/items")]
            .into_iter()
            .map(|(method, path)| {
                format!(
                    "  {}_item:\n    match: {{ method: {method}, path: \"{path}\" }}\n    auth: none\n    because: what is tried here is HTTP\n    upstream: core\n",
                    method.to_lowercase()
                )
            })
            .collect();
        let policy = format!("{}{routes}", POLICY.replace(core, &address));
        let gateway = GatewayProcess::with_policy(&policy, prepare).await;
        Self { gateway, upstream }
    }

    fn server(&self, protocol: &[u8]) -> Server {
        let mut tls = self.gateway.tls_config();
        tls.alpn_protocols = vec![protocol.to_vec()];
        Server {
            address: self.gateway.https,
            tls: Arc::new(tls),
        }
    }
}

/// An answer and what is behind it go on together: bytes that come once the next request is under way are a broken answer.
const RELAYED: usize = 64 * 1024;

/// TLS in front of a server in clear.
async fn before(server: SocketAddr, authority: &Authority) -> SocketAddr {
    let acceptor = acceptor(authority);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut client = acceptor.accept(client).await?;
                let mut server = TcpStream::connect(server).await?;
                copy_bidirectional_with_sizes(&mut client, &mut server, RELAYED, RELAYED).await
            });
        }
    });
    address
}
