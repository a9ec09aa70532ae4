//! nginx with its cache, its compression, TLS to the upstream, and client certificates.

use std::process::Command;

use super::rows;
use crate::candidate::{Candidate, nginx_headers};
use crate::process::Process;
use crate::site::{Site, free_port};

impl Candidate {
    pub(crate) fn nginx_features(site: &Site) -> anyhow::Result<Self> {
        let (port, demanding) = (free_port()?, free_port()?);
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
  ssl_certificate {0}/tls/gateway.pem; ssl_certificate_key {0}/tls/gateway.key; ssl_protocols TLSv1.3;
{3}  add_header X-Cache-Status $upstream_cache_status always;
  server {{
    listen 127.0.0.1:{port} ssl; server_name localhost;
    location / {{ proxy_pass http://core; {forward} }}
    location /kept {{ proxy_pass http://core; {forward} proxy_cache kept; proxy_cache_valid 200 60s; }}
    location /packed {{ proxy_pass http://core; {forward} gzip on; gzip_comp_level 6; gzip_types application/json; gzip_min_length 1024; }}
    location /over-tls {{
      proxy_pass https://secured; {forward} proxy_ssl_protocols TLSv1.3; proxy_ssl_name localhost;
      proxy_ssl_server_name on; proxy_ssl_verify on; proxy_ssl_trusted_certificate {0}/tls/upstream.ca.pem;
    }}
  }}
  server {{
    listen 127.0.0.1:{demanding} ssl; server_name localhost;
    ssl_verify_client on; ssl_client_certificate {0}/tls/clients.ca.pem; ssl_crl {0}/tls/clients.crl.pem;
    location / {{ proxy_pass http://core; {forward} }}
  }}
}}
",
            site.path("").display(),
            site.upstream_port,
            site.upstream_tls_port,
            nginx_headers(),
        );
        let file = site.write("features.conf", &text)?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(site.path("")).arg("-c").arg(file);
        let process = Process::start(&mut command, port, &site.path("features.err"))?;
        Ok(Self {
            process,
            port,
            rows: rows(site, "nginx", ("x-cache-status", "HIT"), demanding)?,
            beside: None,
        })
    }
}
