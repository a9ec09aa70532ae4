//! The gateway with a route for each feature, and a listener for client certificates.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use super::rows;
use crate::candidate::{Candidate, HEADERS, Row, settings};
use crate::process::Process;
use crate::proof::Proof;
use crate::site::{CLIENT, Site, free_port};

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
    pub(crate) fn portico_features(site: &Site, binary: &Path) -> anyhow::Result<Self> {
        let (port, demanding, store_port) = (free_port()?, free_port()?, free_port()?);
        let store = store(site, store_port)?;
        let home = "portico-features";
        site.write(
            &format!("{home}/policies/all.yaml"),
            &policy(port, demanding, site),
        )?;
        site.write(&format!("{home}/policies/bench.openapi.json"), DESCRIPTION)?;
        let hash_key = site.write("hash-key", "the secret that keys of the store are hashed with")?;
        let more = format!(
            "limit_store: {{ addresses: ['redis://127.0.0.1:{store_port}'], hash_key_file: {}, timeout_ms: 1000 }}\n",
            hash_key.display()
        );
        let mut command = settings(site, binary, home, "warn", &more)?;
        let process = Process::start(&mut command, port, &site.path(&format!("{home}.err")))?;
        let row = |name: &str, path, script| Row::closed(site, &format!("portico: {name}"), path, script);
        let shared = Row {
            proof: Some(Proof::Counted(site.path("open.lua"), store_port)),
            ..row("GET, the limit in Redis", "/shared", "open.lua")
        };
        let checked = [
            row("POST, checked by OpenAPI", "/checked", "transfer.lua"),
            row("POST, refused by OpenAPI", "/checked", "malformed.lua").refused(site, "400")?,
        ];
        let mut rows = rows(site, "portico", ("cache-status", "hit"), demanding)?;
        // Each behind the row that it is compared with.
        for (before, more) in [("GET", vec![shared]), ("POST", checked.into())] {
            let at = rows.iter().position(|row| row.feature() == before);
            let at = at.context("no row to compare with")? + 1;
            rows.splice(at..at, more);
        }
        Ok(Self {
            process,
            port,
            rows,
            beside: Some(store),
        })
    }
}

/// A Redis of the bench's own.
fn store(site: &Site, port: u16) -> anyhow::Result<Process> {
    let mut command = Command::new("redis-server");
    command
        .args([
            "--save",
            "",
            "--appendonly",
            "no",
            "--bind",
            "127.0.0.1",
            "--port",
        ])
        .arg(port.to_string());
    Process::start(&mut command, port, &site.path("redis.err")).context("redis-server (Debian: redis-server)")
}

fn policy(port: u16, demanding: u16, site: &Site) -> String {
    let headers: String = HEADERS
        .iter()
        .map(|(name, value)| format!("      {name}: \"{value}\"\n"))
        .collect();
    let (clear, tls) = (site.upstream_port, site.upstream_tls_port);
    let timeouts = "authorization: strip, timeouts: { connect: 1s, read: 10s, total: 15s }";
    format!(
        "version: 1
listeners:
  edge: {{ https: {{ bind: \"127.0.0.1:{port}\", tls: {{ min: \"1.3\", certificate: gateway }} }} }}
  demanding: {{ https: {{ bind: \"127.0.0.1:{demanding}\", tls: {{ min: \"1.3\", certificate: gateway, client_authority: clients }} }} }}
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
        routes()
    )
}

/// A route for each feature, and those that they are compared with.
fn routes() -> String {
    let certified =
        format!("client_certificate: {{ authority: clients, names: [\"{CLIENT}\"] }}, upstream: core");
    let shared = "rate: { shared: { limit: 1000000/s, burst: 1000000, key: [address], count_in: store, on_store_down: deny } }, upstream: core";
    let kept = "cache: { for: 60s, key: public, largest: 64KiB }, upstream: core";
    let packed = "compress: { over: 1KiB, types: [application/json] }, upstream: core";
    [
        ("open", "GET", "/open", "upstream: core"),
        ("shared", "GET", "/shared", shared),
        ("kept", "GET", "/kept", kept),
        ("over_tls", "GET", "/over-tls", "upstream: secured"),
        ("big", "GET", "/big", "upstream: core"),
        ("packed", "GET", "/packed", packed),
        ("unchecked", "POST", "/unchecked", "upstream: core"),
        ("checked", "POST", "/checked", "upstream: described"),
        ("certified", "GET", "/certified", &certified),
    ]
    .map(|(name, method, path, more)| {
        format!(
            "  {name}: {{ match: {{ method: {method}, path: {path} }}, auth: none, because: the bench asks without a token, {more} }}\n"
        )
    })
    .concat()
}
