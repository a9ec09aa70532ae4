//! pingora alone, for `make bench-edge`: TLS 1.3 in, HTTP/1.1 to one upstream, nothing else.
//!
//! `bare_proxy PORT UPSTREAM_PORT CERTIFICATE KEY`

#![expect(clippy::expect_used, reason = "a measuring stick: it runs or it does not")]

use async_trait::async_trait;
use pingora::Result;
use pingora::listeners::tls::TlsSettings;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Server;
use pingora::server::configuration::{Opt, ServerConf};
use pingora::upstreams::peer::HttpPeer;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Bare(u16);

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(
            ("127.0.0.1", self.0),
            false,
            String::new(),
        )))
    }
}

fn main() {
    service_runtime::crypto::install_provider();
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().expect("PORT UPSTREAM_PORT CERTIFICATE KEY");
    let (port, upstream, certificate, key) = (next(), next(), next(), next());
    let configuration = ServerConf {
        threads: std::thread::available_parallelism().map_or(2, |count| count.get() * 2),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(Opt::default(), configuration);
    server.bootstrap();
    let bare = Bare(upstream.parse().expect("a port"));
    let mut service = http_proxy_service(&server.configuration, bare);
    let tls = TlsSettings::intermediate(&certificate, &key).expect("a certificate");
    service.add_tls_with_settings(&format!("127.0.0.1:{port}"), None, tls);
    server.add_service(service);
    server.run_forever();
}
