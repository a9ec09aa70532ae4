//! What is measured: each proxy with its configuration, as strict as it can be made where the gateway is strict.

mod features;

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::load::Client;
use crate::process::Process;
use crate::proof::{self, Proof};
use crate::site::{Site, free_port};

/// A proxy that runs, and what is asked of it.
#[derive(Debug)]
pub(crate) struct Candidate {
    process: Process,
    port: u16,
    rows: Vec<Row>,
    /// What it cannot do without, whose time is not its own.
    #[expect(dead_code, reason = "it ends with the candidate")]
    beside: Option<Process>,
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) path: &'static str,
    pub(crate) client: Client,
    pub(crate) is_refused: bool,
    /// What must be seen before it is measured.
    pub(crate) proof: Option<Proof>,
    /// Where it is asked, if not where the others are.
    port: Option<u16>,
}

impl Row {
    fn closed(site: &Site, name: &str, path: &'static str, script: &str) -> Self {
        Self {
            path,
            ..Self::by(Client::Closed(site.path(script)), name)
        }
    }

    fn by(client: Client, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            path: "/open",
            client,
            is_refused: false,
            proof: None,
            port: None,
        }
    }

    /// Answers have this field with a value that holds this; `status` is one.
    fn proven_by(self, site: &Site, (field, value): (&str, &str)) -> anyhow::Result<Self> {
        let script = proof::script(self.script()?, field, value);
        let script = site.write(&format!("proof/{field}-{value}{}.lua", self.path), &script)?;
        Ok(Self {
            proof: Some(Proof::Answers(script)),
            ..self
        })
    }

    /// What wrk is told.
    fn script(&self) -> anyhow::Result<&Path> {
        match &self.client {
            Client::Closed(script) => Ok(script),
            _ => bail!("{}: only what wrk is told can be proven", self.name),
        }
    }

    /// All answers are this refusal.
    fn refused(self, site: &Site, status: &str) -> anyhow::Result<Self> {
        let row = self.proven_by(site, ("status", status))?;
        Ok(Self {
            is_refused: true,
            ..row
        })
    }

    /// What several candidates are asked alike.
    pub(crate) fn feature(&self) -> &str {
        self.name.split_once(": ").map_or("", |(_, feature)| feature)
    }
}

/// An open loop that every candidate can follow on two cores.
const OPEN: Client = Client::Open(6_400);
/// HTTP/2 with eight requests under way on each connection.
const STREAMS: Client = Client::Streams(8);

/// The response headers that every candidate sets, the bare proxy excepted.
const HEADERS: [(&str, &str); 10] = [
    ("Strict-Transport-Security", "max-age=63072000; includeSubDomains"),
    (
        "Content-Security-Policy",
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    (
        "Permissions-Policy",
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Embedder-Policy", "require-corp"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
];

impl Candidate {
    pub(crate) const fn processes(&self) -> &Process {
        &self.process
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// What it is called before its rows differ.
    pub(crate) fn name(&self) -> &str {
        self.rows.first().map_or("", |row| row.name.as_str())
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Where a row of it is asked.
    pub(crate) fn port_of(&self, row: &Row) -> u16 {
        row.port.unwrap_or(self.port)
    }

    /// nginx: headers, a limit for each address, an access log. It has no token checks in its open version.
    pub(crate) fn nginx(site: &Site) -> anyhow::Result<Self> {
        let port = free_port()?;
        let headers = nginx_headers();
        let at = site.path("");
        let text = format!(
            "daemon off; pid {0}/nginx.pid; worker_processes 2; error_log stderr error;
events {{ worker_connections 16384; }}
http {{
  log_format line escape=json '{{\"time\":\"$time_iso8601\",\"request_id\":\"$request_id\",\"method\":\"$request_method\",\"path\":\"$uri\",\"status\":$status,\"client\":\"$remote_addr\",\"duration\":$request_time,\"sent\":$body_bytes_sent}}';
  access_log {0}/nginx.log line buffer=64k flush=1s;
  keepalive_requests 1000000; server_tokens off;
  limit_req_zone $binary_remote_addr zone=addresses:10m rate=1000000r/s;
  upstream core {{ server 127.0.0.1:{1}; keepalive 128; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port} ssl http2; server_name localhost;
    ssl_certificate {0}/tls/gateway.pem; ssl_certificate_key {0}/tls/gateway.key;
    ssl_protocols TLSv1.3; ssl_session_tickets on;
{headers}    add_header X-Request-Id $request_id always;
    location / {{
      limit_req zone=addresses burst=10000 nodelay;
      proxy_pass http://core; proxy_http_version 1.1;
      proxy_set_header Connection \"\"; proxy_set_header Host $host; proxy_set_header X-Request-Id $request_id;
      proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto https;
    }}
  }}
}}
",
            at.display(),
            site.upstream_port
        );
        let file = site.write("nginx.conf", &text)?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&at).arg("-c").arg(file);
        let process = Process::start(&mut command, port, &site.path("nginx.err"))
            .context("nginx (Debian: nginx-light)")?;
        Ok(Self {
            process,
            port,
            beside: None,
            rows: vec![
                Row::closed(site, "nginx: headers, limit", "/open", "open.lua"),
                Row::by(OPEN, "nginx: open loop, 6,400/s"),
                Row::by(STREAMS, "nginx: HTTP/2"),
            ],
        })
    }

    /// haproxy: the same, and tokens by `jwt_verify` with every claim that it can compare.
    pub(crate) fn haproxy(site: &Site) -> anyhow::Result<Self> {
        let port = free_port()?;
        let headers: String = HEADERS
            .iter()
            .map(|(name, value)| format!("  http-response set-header {name} \"{value}\"\n"))
            .collect();
        let text = format!(
            "global
  nbthread 2
  maxconn 16384
  no strict-limits
  log stdout format raw local0
  ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
  mode http
  timeout client 60s
  timeout server 30s
  timeout connect 1s
  log global
  option http-keep-alive
frontend edge
  bind 127.0.0.1:{port} ssl crt {0} alpn h2,http/1.1
  log-format \"{{\\\"client\\\":\\\"%ci\\\",\\\"method\\\":\\\"%HM\\\",\\\"path\\\":\\\"%HPO\\\",\\\"status\\\":%ST,\\\"duration\\\":%Ta,\\\"sent\\\":%B,\\\"id\\\":\\\"%ID\\\"}}\"
  unique-id-format %[uuid()]
  unique-id-header X-Request-Id
  stick-table type ip size 1m expire 60s store http_req_rate(10s)
  http-request track-sc0 src
  http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt 100000000 }}
  acl secured path_beg /secured
  http-request set-var(txn.bearer) http_auth_bearer if secured
  http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg') if secured
  http-request set-var(txn.iss) var(txn.bearer),jwt_payload_query('$.iss') if secured
  http-request set-var(txn.aud) var(txn.bearer),jwt_payload_query('$.aud') if secured
  http-request set-var(txn.scope) var(txn.bearer),jwt_payload_query('$.scope') if secured
  http-request set-var(txn.exp) var(txn.bearer),jwt_payload_query('$.exp','int') if secured
  http-request set-var(txn.now) date() if secured
  http-request deny deny_status 401 if secured !{{ var(txn.alg) -m str ES256 }}
  http-request deny deny_status 401 if secured !{{ var(txn.iss) -m str https://idp.example }}
  http-request deny deny_status 401 if secured !{{ var(txn.aud) -m str bench }}
  http-request deny deny_status 401 if secured {{ var(txn.exp),sub(txn.now) -m int lt 0 }}
  http-request deny deny_status 403 if secured !{{ var(txn.scope) -m str accounts:read }}
  http-request deny deny_status 401 if secured !{{ var(txn.bearer),jwt_verify(txn.alg,\"{1}\") -m int 1 }}
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Proto https
{headers}  http-response set-header X-Request-Id %[unique-id]
  default_backend core
backend core
  http-reuse always
  server core 127.0.0.1:{2} maxconn 1024
",
            site.path("both.pem").display(),
            site.path("public.pem").display(),
            site.upstream_port
        );
        let file = site.write("haproxy.cfg", &text)?;
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-q").arg("-f").arg(file);
        let process = Process::start(&mut command, port, &site.path("haproxy.err"))
            .context("haproxy (Debian: haproxy)")?;
        Ok(Self {
            process,
            port,
            beside: None,
            rows: haproxy_rows(site)?,
        })
    }

    /// pingora without anything of ours: what the library costs.
    pub(crate) fn bare(site: &Site, binary: &Path) -> anyhow::Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(binary);
        command
            .arg(port.to_string())
            .arg(site.upstream_port.to_string())
            .arg(site.path("tls/gateway.pem"))
            .arg(site.path("tls/gateway.key"));
        let process = Process::start(&mut command, port, &site.path("bare.err"))?;
        Ok(Self {
            process,
            port,
            beside: None,
            rows: vec![Row::closed(site, "pingora: pass-through", "/open", "open.lua")],
        })
    }

    /// The gateway, by policy files alone.
    pub(crate) fn portico(site: &Site, binary: &Path, features: Features) -> anyhow::Result<Self> {
        let port = free_port()?;
        let home = format!("portico-{features:?}");
        site.write(
            &format!("{home}/policies/all.yaml"),
            &policy(port, site.upstream_port, features),
        )?;
        let level = if features == Features::All { "info" } else { "warn" };
        let mut command = settings(site, binary, &home, level, "")?;
        let process = Process::start(&mut command, port, &site.path(&format!("{home}.err")))?;
        let row = |name, path, script| Row::closed(site, name, path, script);
        let rows = match features {
            Features::Forwarding => vec![row("portico: forwarding alone", "/open", "open.lua")],
            Features::Headers => vec![row("portico: headers, limit", "/open", "open.lua")],
            Features::All => vec![
                row("portico: and a line for each", "/open", "open.lua"),
                row(
                    "portico: full policy, tokens that repeat",
                    "/secured",
                    "repeating.lua",
                ),
                row("portico: full policy, every token new", "/secured", "new.lua"),
                row("portico: and EdDSA instead of ES256", "/secured", "new-eddsa.lua"),
                row("portico: no token, 401", "/secured", "open.lua").refused(site, "401")?,
                row("portico: beyond the limit, 429", "/scarce", "open.lua").refused(site, "429")?,
                Row::by(OPEN, "portico: open loop, 6,400/s"),
                Row::by(STREAMS, "portico: HTTP/2"),
            ],
        };
        Ok(Self {
            process,
            port,
            rows,
            beside: None,
        })
    }
}

/// The headers of every answer, as nginx has them set.
fn nginx_headers() -> String {
    HEADERS
        .iter()
        .map(|(name, value)| format!("    add_header {name} \"{value}\" always;\n"))
        .collect()
}

/// How to start a gateway whose policy lies in this folder of the site, with these further settings.
fn settings(site: &Site, binary: &Path, home: &str, level: &str, more: &str) -> anyhow::Result<Command> {
    // Production would refuse the name of whatever machine the caller is on.
    let overlay = "version: 1\nenvironment: development\nhosts: [localhost]\n";
    site.write(&format!("{home}/policies/environments/development.yaml"), overlay)?;
    let text = format!(
        "policies_dir: {0}/{home}/policies\ncertificate_dir: {0}/tls\nkey_dir: {0}/keys\nstate_dir: {0}/{home}/state\nprivate_listen: 127.0.0.1:{1}\nconnections: {{ max: 20000, max_per_address: 20000, handshakes_per_second: 0, max_requests: 1000000, idle_timeout_ms: 300000 }}\ntelemetry: {{ level: {level} }}\n{more}",
        site.path("").display(),
        free_port()?
    );
    let file = site.write(&format!("{home}/gateway.yaml"), &text)?;
    let mut command = Command::new(binary);
    command
        .arg("gateway")
        .arg("--settings")
        .arg(file)
        .env("APP_ENV", "development");
    Ok(command)
}

/// How much of the policy is switched on; each has all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Features {
    /// TLS in, HTTP/1.1 out, every check of the request, one header, and the limit that a floor must have.
    Forwarding,
    /// And ten response headers.
    Headers,
    /// And a line of the access log for each request; tokens and a limit for each subject on the secured route.
    All,
}

impl Features {
    /// Each of them.
    pub(crate) const EACH: [Self; 3] = [Self::Forwarding, Self::Headers, Self::All];
}

fn policy(port: u16, upstream: u16, features: Features) -> String {
    let headers: String = HEADERS
        .iter()
        .filter(|(name, _)| features != Features::Forwarding || *name == "X-Content-Type-Options")
        .map(|(name, value)| format!("      {name}: \"{value}\"\n"))
        .collect();
    format!(
            "version: 1
listeners: {{ edge: {{ https: {{ bind: \"127.0.0.1:{port}\", tls: {{ min: \"1.3\", certificate: gateway }} }} }} }}
hosts: [edge.example]
upstreams:
  core: {{ address: \"http://127.0.0.1:{upstream}\", authorization: strip, timeouts: {{ connect: 1s, read: 10s, total: 15s }} }}
identity:
  clients:
    issuer: https://idp.example
    audiences: [bench]
    algorithms: [ES256, EdDSA]
    type: at+jwt
    max_lifetime: 60min
    leeway: 30s
    keys: file:bench.jwks.json
headers:
  api:
    set:
{headers}    remove: [Server, X-Powered-By]
floor:
  limits: {{ head: 16KiB, headers: 64, target: 4KiB, body: 64KiB }}
  timeouts: {{ head: 5s, body: 10s }}
  rate: {{ per-address: {{ limit: 1000000/s, burst: 1000000, key: [address] }} }}
  headers: api
routes:
  open: {{ match: {{ method: GET, path: /open }}, auth: none, because: the bench asks without a token, upstream: core }}
  scarce:
    match: {{ method: GET, path: /scarce }}
    auth: none
    because: the bench asks without a token
    rate: {{ one: {{ limit: 1/1h, burst: 1, key: [address] }} }}
    upstream: core
  secured:
    match: {{ method: GET, path: /secured }}
    auth: clients
    scopes: [\"accounts:read\"]
    rate: {{ per-subject: {{ limit: 1000000/s, burst: 1000000, key: [subject] }} }}
    upstream: core
"
    )
}

fn haproxy_rows(site: &Site) -> anyhow::Result<Vec<Row>> {
    Ok(vec![
        Row::closed(site, "haproxy: headers, limit", "/open", "open.lua"),
        Row::closed(
            site,
            "haproxy: and ES256 with claims",
            "/secured",
            "repeating.lua",
        ),
        Row::closed(site, "haproxy: no token, 401", "/secured", "open.lua").refused(site, "401")?,
        Row::by(OPEN, "haproxy: open loop, 6,400/s"),
        Row::by(STREAMS, "haproxy: HTTP/2"),
    ])
}
