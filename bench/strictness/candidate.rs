//! The servers that are compared, each with an upstream of its own.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use service_runtime::clock::Clock;
use strictness::tokens::Algorithm;
use strictness::{Recorder, Server};

const START_WITHIN: Duration = Duration::from_secs(20);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A directory with an authority and a certificate for `localhost`, as public servers have them.
pub(crate) struct Site {
    directory: tempfile::TempDir,
    authority: String,
}

impl Site {
    pub(crate) fn make() -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "Bench CA");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

        let now = Clock::system().now();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
        params.not_before = SystemTime::from(now - DAY).into();
        params.not_after = SystemTime::from(now + 80 * DAY).into();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &authority)?.pem();
        let key = key.serialize_pem();

        let site = Self {
            directory: tempfile::tempdir()?,
            authority: authority.pem(),
        };
        site.write("authority.pem", &site.authority)?;
        fs::create_dir_all(site.path("keys"))?;
        site.write("tls/gateway.pem", &certificate)?;
        site.write("tls/gateway.key", &key)?;
        site.write("both.pem", &format!("{certificate}{key}"))?;
        Ok(site)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
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
    pub(crate) port: u16,
    authority: String,
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
        let log = fs::File::create(site.path(&format!("{port}.err")))?;
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let mut candidate = Self {
            name,
            upstream,
            port,
            authority: site.authority.clone(),
            process,
        };
        let deadline = Instant::now() + START_WITHIN;
        while tokio::net::TcpStream::connect(candidate.address()).await.is_err() {
            if candidate.process.try_wait()?.is_some() || Instant::now() > deadline {
                let said = fs::read_to_string(site.path(&format!("{port}.err")))?;
                bail!("{name} does not listen: {said}");
            }
            tokio::task::yield_now().await;
        }
        Ok(candidate)
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// A client that speaks this protocol.
    pub(crate) fn server(&self, protocol: &[u8]) -> anyhow::Result<Server> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.as_bytes())?)?;
        let mut tls = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![protocol.to_vec()];
        Ok(Server {
            address: self.address(),
            tls: Arc::new(tls),
        })
    }

    /// nginx with these lines about TLS in its server.
    pub(crate) async fn nginx(name: &'static str, site: &Site, tls: &str) -> anyhow::Result<Self> {
        let (port, upstream) = (free_port()?, Recorder::start().await?);
        let text = format!(
            "daemon off; pid {0}/{port}.pid; error_log stderr crit;
events {{ }}
http {{
  access_log off; client_header_timeout 1s; client_body_timeout 1s;
  upstream core {{ server {1}; keepalive 8; }}
  server {{
    listen 127.0.0.1:{port} ssl http2; server_name localhost;
    ssl_certificate {0}/tls/gateway.pem; ssl_certificate_key {0}/tls/gateway.key; {tls}
    location / {{ proxy_pass http://core; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host; }}
  }}
}}
",
            site.directory.path().display(),
            upstream.address
        );
        let file = site.write(&format!("{port}.conf"), &text)?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(site.directory.path()).arg("-c").arg(file);
        Self::start(name, site, port, upstream, &mut command).await
    }

    /// haproxy with these lines in its global section, and these rules for each request.
    pub(crate) async fn haproxy(
        name: &'static str,
        site: &Site,
        global: &str,
        rules: &str,
    ) -> anyhow::Result<Self> {
        let (port, upstream) = (free_port()?, Recorder::start().await?);
        let text = format!(
            "global
{global}
defaults
  mode http
  timeout http-request 1s
  timeout client 2s
  timeout server 2s
  timeout connect 1s
frontend edge
  bind 127.0.0.1:{port} ssl crt {} alpn h2,http/1.1
{rules}
  default_backend core
backend core
  server core {}
",
            site.path("both.pem").display(),
            upstream.address
        );
        let file = site.write(&format!("{port}.cfg"), &text)?;
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-q").arg("-f").arg(file);
        Self::start(name, site, port, upstream, &mut command).await
    }

    /// The gateway, from this version of TLS on; with an algorithm, for tokens of an issuer whose keys are in a file of its
    /// name.
    pub(crate) async fn portico(
        name: &'static str,
        site: &Site,
        binary: &Path,
        min: &str,
        tokens: Option<Algorithm>,
    ) -> anyhow::Result<Self> {
        let (port, upstream) = (free_port()?, Recorder::start().await?);
        let text = policy(port, upstream.address, min, tokens);
        site.write(&format!("{port}/policies/all.yaml"), &text)?;
        let overlay = "version: 1\nenvironment: development\nhosts: [localhost]\n";
        site.write(&format!("{port}/policies/environments/development.yaml"), overlay)?;
        let settings = format!(
            "policies_dir: {0}/{port}/policies\ncertificate_dir: {0}/tls\nkey_dir: {0}/keys\nstate_dir: {0}/{port}/state\n\
             private_listen: 127.0.0.1:{1}\nconnections: {{ handshakes_per_second: 0 }}\n",
            site.directory.path().display(),
            free_port()?
        );
        let file = site.write(&format!("{port}/gateway.yaml"), &settings)?;
        let mut command = Command::new(binary);
        command
            .arg("gateway")
            .arg("--settings")
            .arg(file)
            .env("APP_ENV", "development");
        Self::start(name, site, port, upstream, &mut command).await
    }
}

fn policy(port: u16, upstream: SocketAddr, min: &str, tokens: Option<Algorithm>) -> String {
    let (identity, auth) = match tokens.map(Algorithm::as_str) {
        Some(name) => (
            format!(
                "identity:
  clients: {{ issuer: \"https://idp.example\", audiences: [bench], algorithms: [{name}], type: at+jwt, \
                 max_lifetime: 15min, leeway: 1s, keys: \"file:{name}.jwks.json\" }}
"
            ),
            "auth: clients, scopes: []",
        ),
        None => (String::new(), "auth: none, because: \"HTTP is tried here\""),
    };
    let routes: String = [
        ("GET", "/v1/items/{id}"),
        ("DELETE", "/v1/items/{id}"),
        ("POST", "/v1/items"),
    ]
    .into_iter()
    .map(|(method, path)| {
        format!(
            "  {}_item: {{ match: {{ method: {method}, path: \"{path}\" }}, {auth}, upstream: core }}\n",
            method.to_lowercase()
        )
    })
    .collect();
    format!(
        "version: 1
listeners: {{ edge: {{ https: {{ bind: \"127.0.0.1:{port}\", tls: {{ min: \"{min}\", certificate: gateway }} }} }} }}
hosts: [edge.example]
upstreams:
  core: {{ address: \"http://{upstream}\", authorization: strip, timeouts: {{ connect: 1s, read: 2s, total: 4s }} }}
{identity}headers:
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
