//! What each feature costs: the gateway with all of them on routes of their own, and nginx with those that it has.

use std::process::Command;

use anyhow::Context as _;

use super::{Candidate, Row, settings};
use crate::process::Process;
use crate::site::{Site, free_port};

/// What the body of the POST must be, for who checks it.
const DESCRIPTION: &str = r#"{
  "openapi": "3.1.0",
  "paths": { "/checked": { "post": { "requestBody": { "required": true, "content": { "application/json": { "schema": {
    "type": "object",
    "required": ["from_account_id", "to_account_id", "amount", "currency"],
    "properties": {
      "from_account_id": { "type": "string", "pattern": "^acc_[0-9]{10}$" },
      "to_account_id": { "type": "string", "pattern": "^acc_[0-9]{10}$" },
      "amount": { "type": "integer", "format": "int64", "minimum": 1 },
      "currency": { "type": "string", "pattern": "^[A-Z]{3}$" },
      "reference": { "type": "string", "maxLength": 140 }
    }
  } } } } } } }
}"#;

impl Candidate {
    /// The gateway with a route for each feature, all of which have ten headers and a limit, and none a line.
    pub(crate) fn portico_features(site: &Site, binary: &std::path::Path) -> anyhow::Result<Self> {
        let (port, store_port) = (free_port()?, free_port()?);
        let mut store = Command::new("redis-server");
        store
            .args([
                "--save",
                "",
                "--appendonly",
                "no",
                "--bind",
                "127.0.0.1",
                "--port",
            ])
            .arg(store_port.to_string());
        let store = Process::start(&mut store, store_port, &site.path("redis.err"))
            .context("redis-server (Debian: redis-server)")?;
        let home = "portico-features";
        site.write(&format!("{home}/policies/all.yaml"), &policy(port, site))?;
        site.write(&format!("{home}/policies/bench.openapi.json"), DESCRIPTION)?;
        let hash_key = site.write("hash-key", "the secret that keys of the store are hashed with")?;
        let more = format!(
            "limit_store: {{ addresses: ['redis://127.0.0.1:{store_port}'], hash_key_file: {}, timeout_ms: 1000 }}\n",
            hash_key.display()
        );
        let mut command = settings(site, binary, home, "warn", &more)?;
        let process = Process::start(&mut command, port, &site.path(&format!("{home}.err")))?;
        let row = |name: &str, path, script| Row::closed(site, &format!("portico: {name}"), path, script);
        let kept = ("cache-status", "hit");
        let packed = ("content-encoding", "gzip");
        Ok(Self {
            process,
            port,
            rows: vec![
                row("GET", "/open", "open.lua"),
                row("GET, the limit in Redis", "/shared", "open.lua"),
                row("GET, a kept answer", "/kept", "open.lua").proven_by(site, kept)?,
                row("GET, TLS to the upstream", "/over-tls", "open.lua"),
                row("GET of 16 KiB", "/big", "packed.lua"),
                row("GET of 16 KiB, compressed", "/packed", "packed.lua").proven_by(site, packed)?,
                row("POST", "/unchecked", "transfer.lua"),
                row("POST, checked by OpenAPI", "/checked", "transfer.lua"),
                row("POST, refused by OpenAPI", "/checked", "malformed.lua").refused(),
            ],
            beside: Some(store),
        })
    }

    /// nginx with its cache, its compression, and TLS to the upstream; with headers and a limit, and without a line.
    pub(crate) fn nginx_features(site: &Site) -> anyhow::Result<Self> {
        let port = free_port()?;
        let forward =
            "proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;";
        let text = format!(
            "daemon off; pid {0}/features.pid; worker_processes 2; error_log stderr error;
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_requests 1000000; server_tokens off;
  limit_req_zone $binary_remote_addr zone=addresses:10m rate=1000000r/s;
  limit_req zone=addresses burst=10000 nodelay;
  proxy_cache_path {0}/cache keys_zone=kept:10m;
  upstream core {{ server 127.0.0.1:{1}; keepalive 128; keepalive_requests 1000000; }}
  upstream secured {{ server 127.0.0.1:{2}; keepalive 128; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port} ssl; server_name localhost;
    ssl_certificate {0}/tls/gateway.pem; ssl_certificate_key {0}/tls/gateway.key; ssl_protocols TLSv1.3;
{3}    add_header X-Cache-Status $upstream_cache_status always;
    location / {{ proxy_pass http://core; {forward} }}
    location /kept {{ proxy_pass http://core; {forward} proxy_cache kept; proxy_cache_valid 200 60s; }}
    location /packed {{ proxy_pass http://core; {forward} gzip on; gzip_types application/json; gzip_min_length 1024; }}
    location /over-tls {{
      proxy_pass https://secured; {forward} proxy_ssl_protocols TLSv1.3; proxy_ssl_name localhost;
      proxy_ssl_server_name on; proxy_ssl_verify on; proxy_ssl_trusted_certificate {0}/tls/upstream.ca.pem;
    }}
  }}
}}
",
            site.path("").display(),
            site.upstream_port,
            site.upstream_tls_port,
            super::nginx_headers(),
        );
        let file = site.write("features.conf", &text)?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(site.path("")).arg("-c").arg(file);
        let process = Process::start(&mut command, port, &site.path("features.err"))?;
        let row = |name: &str, path, script| Row::closed(site, &format!("nginx: {name}"), path, script);
        let (kept, packed) = (("x-cache-status", "HIT"), ("content-encoding", "gzip"));
        Ok(Self {
            process,
            port,
            rows: vec![
                row("GET", "/open", "open.lua"),
                row("GET, a kept answer", "/kept", "open.lua").proven_by(site, kept)?,
                row("GET, TLS to the upstream", "/over-tls", "open.lua"),
                row("GET of 16 KiB", "/big", "packed.lua"),
                row("GET of 16 KiB, compressed", "/packed", "packed.lua").proven_by(site, packed)?,
                row("POST", "/unchecked", "transfer.lua"),
            ],
            beside: None,
        })
    }
}

fn policy(port: u16, site: &Site) -> String {
    let headers: String = super::HEADERS
        .iter()
        .map(|(name, value)| format!("      {name}: \"{value}\"\n"))
        .collect();
    let route = |name: &str, method: &str, path: &str, more: &str| {
        format!(
            "  {name}: {{ match: {{ method: {method}, path: {path} }}, auth: none, because: the bench asks without a token, {more} }}\n"
        )
    };
    let shared = "rate: { shared: { limit: 1000000/s, burst: 1000000, key: [address], count_in: store, on_store_down: deny } }, upstream: core";
    let routes = [
        route("open", "GET", "/open", "upstream: core"),
        route("shared", "GET", "/shared", shared),
        route(
            "kept",
            "GET",
            "/kept",
            "cache: { for: 60s, key: public, largest: 64KiB }, upstream: core",
        ),
        route("over_tls", "GET", "/over-tls", "upstream: secured"),
        route("big", "GET", "/big", "upstream: core"),
        route(
            "packed",
            "GET",
            "/packed",
            "compress: { over: 1KiB, types: [application/json] }, upstream: core",
        ),
        route("unchecked", "POST", "/unchecked", "upstream: core"),
        route("checked", "POST", "/checked", "upstream: described"),
    ];
    let (clear, tls) = (site.upstream_port, site.upstream_tls_port);
    let timeouts = "authorization: strip, timeouts: { connect: 1s, read: 10s, total: 15s }";
    format!(
        "version: 1
listeners: {{ edge: {{ https: {{ bind: \"127.0.0.1:{port}\", tls: {{ min: \"1.3\", certificate: gateway }} }} }} }}
hosts: [edge.example]
upstreams:
  core: {{ address: \"http://127.0.0.1:{clear}\", {timeouts} }}
  described: {{ address: \"http://127.0.0.1:{clear}\", {timeouts}, openapi: bench.openapi.json }}
  secured: {{ address: \"https://127.0.0.1:{tls}\", tls: {{ min: \"1.3\", authority: upstream, server_name: localhost }}, {timeouts} }}
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
{}",
        routes.concat()
    )
}
