//! FR-1 to FR-14, PA-1 to PA-7, AD-1 to AD-9: tables of requests against a running gateway, whose upstream keeps every byte.

mod answers;
mod clear;
mod desync;
mod http1;
mod http2;
mod slow;

use std::sync::Arc;

use strictness::{Recorder, Server};

use crate::gateway_process::{GatewayProcess, POLICY};

/// A gateway in front of a recorder.
struct Edge {
    gateway: GatewayProcess,
    upstream: Recorder,
}

impl Edge {
    async fn start() -> Self {
        let upstream = Recorder::start().await.unwrap();
        let core = "    address: unix:core.sock\n    authorization: forward\n";
        assert!(POLICY.contains(core));
        let address = format!(
            "    address: http://{}\n    authorization: strip\n",
            upstream.address
        );
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
        let gateway = GatewayProcess::with(&policy, |_| ()).await;
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
