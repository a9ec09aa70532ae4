//! The servers that are compared, each with its defaults and an upstream of its own.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use strictness::{Recorder, Server};

const START_WITHIN: Duration = Duration::from_secs(20);

/// A directory with a certificate for `localhost`.
pub(crate) struct Site {
    directory: tempfile::TempDir,
    certificate: String,
}

impl Site {
    pub(crate) fn make() -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
        let site = Self {
            directory: tempfile::tempdir()?,
            certificate: made.cert.pem(),
        };
        let key = made.signing_key.serialize_pem();
        site.write("tls/gateway.pem", &site.certificate)?;
        site.write("tls/gateway.key", &key)?;
        site.write("both.pem", &format!("{}{key}", site.certificate))?;
        Ok(site)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap_or_else(|| Path::new("/")))?;
        fs::write(&path, text)?;
        Ok(path)
    }
}

/// A server under test; it ends with this.
pub(crate) struct Candidate {
    pub(crate) name: &'static str,
    pub(crate) upstream: Recorder,
    address: SocketAddr,
    certificate: String,
    process: Child,
}

impl Drop for Candidate {
    fn drop(&mut self) {
        // nginx and haproxy take their children with them on SIGTERM only.
        let id = i32::try_from(self.process.id()).ok();
        if let Some(id) = id.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
        let _ = self.process.wait();
    }
}

impl Candidate {
    async fn start(
        name: &'static str,
        site: &Site,
        port: u16,
        upstream: Recorder,
        command: &mut Command,
    ) -> anyhow::Result<Self> {
        let log = fs::File::create(site.path(&format!("{name}.err")))?;
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let mut candidate = Self {
            name,
            upstream,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            certificate: site.certificate.clone(),
            process,
        };
        let deadline = Instant::now() + START_WITHIN;
        while tokio::net::TcpStream::connect(candidate.address).await.is_err() {
            if candidate.process.try_wait()?.is_some() || Instant::now() > deadline {
                let said = fs::read_to_string(site.path(&format!("{name}.err")))?;
                bail!("{name} does not listen: {said}");
            }
            tokio::task::yield_now().await;
        }
        Ok(candidate)
    }

    /// A client that speaks this protocol.
    pub(crate) fn server(&self, protocol: &[u8]) -> anyhow::Result<Server> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.certificate.as_bytes())?)?;
        let mut tls = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![protocol.to_vec()];
        Ok(Server {
            address: self.address,
            tls: Arc::new(tls),
        })
    }

    pub(crate) async fn nginx(site: &Site) -> anyhow::Result<Self> {
        let (port, upstream) = (free_port()?, Recorder::start().await?);
        let text = format!(
            "daemon off; pid {0}/nginx.pid; error_log stderr crit;
events {{ }}
http {{
  access_log off; client_header_timeout 1s; client_body_timeout 1s;
  upstream core {{ server {1}; keepalive 8; }}
  server {{
    listen 127.0.0.1:{port} ssl http2; server_name localhost;
    ssl_certificate {0}/tls/gateway.pem; ssl_certificate_key {0}/tls/gateway.key;
    location / {{ proxy_pass http://core; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host; }}
  }}
}}
",
            site.directory.path().display(),
            upstream.address
        );
        let file = site.write("nginx.conf", &text)?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(site.directory.path()).arg("-c").arg(file);
        Self::start("nginx", site, port, upstream, &mut command).await
    }

    pub(crate) async fn haproxy(site: &Site) -> anyhow::Result<Self> {
        let (port, upstream) = (free_port()?, Recorder::start().await?);
        let text = format!(
            "defaults
  mode http
  timeout http-request 1s
  timeout client 2s
  timeout server 2s
  timeout connect 1s
frontend edge
  bind 127.0.0.1:{port} ssl crt {} alpn h2,http/1.1
  default_backend core
backend core
  server core {}
",
            site.path("both.pem").display(),
            upstream.address
        );
        let file = site.write("haproxy.cfg", &text)?;
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-q").arg("-f").arg(file);
        Self::start("haproxy", site, port, upstream, &mut command).await
    }

    pub(crate) async fn portico(site: &Site, binary: &Path) -> anyhow::Result<Self> {
        let (port, upstream) = (free_port()?, Recorder::start().await?);
        site.write("policies/all.yaml", &policy(port, upstream.address))?;
        let overlay = "version: 1\nenvironment: development\nhosts: [localhost]\n";
        site.write("policies/environments/development.yaml", overlay)?;
        let settings = format!(
            "policies_dir: {0}/policies\ncertificate_dir: {0}/tls\nstate_dir: {0}/state\nprivate_listen: 127.0.0.1:{1}\n",
            site.directory.path().display(),
            free_port()?
        );
        let file = site.write("gateway.yaml", &settings)?;
        let mut command = Command::new(binary);
        command
            .arg("gateway")
            .arg("--settings")
            .arg(file)
            .env("APP_ENV", "development");
        Self::start("portico", site, port, upstream, &mut command).await
    }
}

fn policy(port: u16, upstream: SocketAddr) -> String {
    let routes: String = [("GET", "/v1/items/{id}"), ("DELETE", "/v1/items/{id}"), ("POST", "/v1/items")]
        .into_iter()
        .map(|(method, path)| {
            format!(
                "  {}_item: {{ match: {{ method: {method}, path: \"{path}\" }}, auth: none, because: \"HTTP is tried here\", upstream: core }}\n",
                method.to_lowercase()
            )
        })
        .collect();
    format!(
        "version: 1
listeners: {{ edge: {{ https: {{ bind: \"127.0.0.1:{port}\", tls: {{ min: \"1.3\", certificate: gateway }} }} }} }}
hosts: [edge.example]
upstreams:
  core: {{ address: \"http://{upstream}\", authorization: strip, timeouts: {{ connect: 1s, read: 2s, total: 4s }} }}
headers:
  api:
    set: {{ X-Content-Type-Options: nosniff }}
    remove: [Server, X-Powered-By]
floor:
  limits: {{ head: 16KiB, headers: 64, target: 4KiB, body: 64KiB }}
  timeouts: {{ head: 1s, body: 1s }}
  headers: api
  rate:
    per-address: {{ limit: 600000/min, burst: 600000, key: [address] }}
routes:
{routes}"
    )
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
