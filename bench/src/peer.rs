//! haproxy in the gateway's place: TLS and a line for each request, and no policy.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

const START_WITHIN: Duration = Duration::from_secs(10);

/// haproxy, as it runs; killed when dropped.
pub(crate) struct Peer {
    process: Child,
    port: u16,
}

impl Peer {
    /// Starts it before `core` with a certificate of the system's; `None` when it is not installed.
    pub(crate) fn start(
        directory: &Path,
        core: &Path,
        certificate: &Path,
        key: &Path,
    ) -> anyhow::Result<Option<Self>> {
        let pem = directory.join("haproxy.pem");
        fs::write(&pem, [fs::read(certificate)?, fs::read(key)?].concat())?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let configuration = directory.join("haproxy.cfg");
        fs::write(&configuration, text(port, core, &pem))?;
        let log = fs::File::create(directory.join("haproxy.log"))?;
        let started = Command::new("haproxy")
            .arg("-db")
            .arg("-f")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::inherit())
            .spawn();
        let mut process = match started {
            Ok(process) => process,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context("cannot start haproxy"),
        };
        let deadline = Instant::now() + START_WITHIN;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = process.try_wait()? {
                bail!("haproxy ended: {status}");
            }
            if Instant::now() > deadline {
                process.kill()?;
                bail!("haproxy does not listen on {port}");
            }
            std::thread::yield_now();
        }
        Ok(Some(Self { process, port }))
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn text(port: u16, core: &Path, pem: &Path) -> String {
    format!(
        "global
  nbthread 2
  log stdout format raw local0
  ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
  mode http
  timeout client 60s
  timeout server 30s
  timeout connect 1s
  log global
  option httplog
  option http-keep-alive
frontend edge
  bind 127.0.0.1:{port} ssl crt {}
  default_backend core
backend core
  http-reuse always
  server core unix@{}
",
        pem.display(),
        core.display()
    )
}
