//! haproxy with its cache, its compression, TLS to the upstream, and client certificates.

use std::process::Command;

use super::rows;
use crate::candidate::{Candidate, HEADERS};
use crate::process::Process;
use crate::site::{Site, free_port};

impl Candidate {
    pub(crate) fn haproxy_features(site: &Site) -> anyhow::Result<Self> {
        let (port, demanding) = (free_port()?, free_port()?);
        let headers: String = HEADERS
            .iter()
            .map(|(name, value)| format!("  http-after-response set-header {name} \"{value}\"\n"))
            .collect();
        let (at, core) = (
            site.path("").display().to_string(),
            format!("server core 127.0.0.1:{} maxconn 1024", site.upstream_port),
        );
        let text = format!(
            "global
  nbthread 2
  maxconn 16384
  no strict-limits
  ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
  mode http
  timeout client 60s
  timeout server 30s
  timeout connect 1s
  option http-keep-alive
  http-reuse always
cache kept
  total-max-size 4
  max-age 60
frontend edge
  bind 127.0.0.1:{port} ssl crt {at}/both.pem
  bind 127.0.0.1:{demanding} ssl crt {at}/both.pem verify required ca-file {at}/tls/clients.ca.pem crl-file {at}/tls/clients.crl.pem
  stick-table type ip size 1m expire 60s store http_req_rate(10s)
  http-request track-sc0 src
  http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt 100000000 }}
{headers}  http-after-response set-header X-Cache-Status HIT if {{ res.cache_hit }}
  use_backend kept if {{ path /kept }}
  use_backend packed if {{ path /packed }}
  use_backend secured if {{ path /over-tls }}
  default_backend core
backend core
  {core}
backend kept
  http-request cache-use kept
  http-response set-header Cache-Control max-age=60
  http-response cache-store kept
  {core}
backend packed
  compression algo gzip
  compression type application/json
  {core}
backend secured
  server core 127.0.0.1:{} maxconn 1024 ssl verify required ca-file {at}/tls/upstream.ca.pem verifyhost localhost sni str(localhost) ssl-min-ver TLSv1.3
",
            site.upstream_tls_port
        );
        let file = site.write("features.cfg", &text)?;
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-q").arg("-f").arg(file);
        let process = Process::start(&mut command, port, &site.path("haproxy-features.err"))?;
        Ok(Self {
            process,
            port,
            rows: rows(site, "haproxy", ("x-cache-status", "HIT"), demanding)?,
            beside: None,
        })
    }
}
