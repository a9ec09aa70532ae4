//! That a row measures what it is named for, asked before it is measured.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustls::ClientConfig;

use crate::client::Clients;
use crate::load::{Load, number_after, number_before, output};

/// What must be seen.
#[derive(Debug)]
pub(crate) enum Proof {
    /// This script of wrk counts the answers that lack what they must have.
    Answers(PathBuf),
    /// With this script of wrk, Redis at this port is asked for each request.
    Counted(PathBuf, u16),
    /// A client without a certificate is not served.
    Certificate(Arc<ClientConfig>),
}

impl Proof {
    /// Asks for a moment what will be measured.
    ///
    /// # Errors
    /// When it is something else.
    pub(crate) fn check(&self, load: &Load<'_>) -> anyhow::Result<()> {
        match self {
            Self::Answers(script) => {
                let said = sample(script, load)?;
                // The first answer may have been one to keep, or the last that a limit lets through.
                let lacking = number_after(&said, "lacking ").context("wrk counted nothing")?;
                ensure!(
                    asked(&said)? > 1 && lacking < 2,
                    "not what is to be measured: {said}"
                );
            }
            Self::Counted(script, store) => {
                let before = calls(*store)?;
                let asked = asked(&sample(script, load)?)?;
                let called = calls(*store)?.saturating_sub(before);
                ensure!(
                    asked > 0 && called >= asked,
                    "{asked} requests, {called} calls of the store"
                );
            }
            Self::Certificate(without) => {
                let clients = Clients {
                    tls: without.clone(),
                    reconnects: true,
                };
                if clients
                    .run(1, Duration::from_millis(100), load.port, load.path)
                    .is_ok()
                {
                    bail!("served without a certificate");
                }
            }
        }
        Ok(())
    }
}

/// One connection of wrk, for a second.
fn sample(script: &Path, load: &Load<'_>) -> anyhow::Result<String> {
    let mut wrk = std::process::Command::new("wrk");
    output(wrk.args(["-t1", "-c1", "-d1s", "-s"]).arg(script).arg(load.url()))
}

fn asked(said: &str) -> anyhow::Result<u64> {
    number_before(said, " requests in ").context("wrk told no requests")
}

/// How many scripts a Redis has run.
fn calls(store: u16) -> anyhow::Result<u64> {
    let mut stream = TcpStream::connect(("127.0.0.1", store))?;
    stream.write_all(b"INFO commandstats\r\nQUIT\r\n")?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    let number = line.and_then(|line| line.split(',').next());
    Ok(number.map_or(Ok(0), str::parse)?)
}

/// Sends what another script sends, and counts answers whose field (or `status`) does not hold this.
pub(crate) fn script(of: &Path, field: &str, value: &str) -> String {
    format!(
        "dofile('{}')
local threads = {{}}
lacking = 0
function setup(thread)
  threads[#threads + 1] = thread
end
function response(status, headers, body)
  headers['status'] = tostring(status)
  local found = ''
  for name, text in pairs(headers) do
    if name:lower() == '{field}' then found = text end
  end
  if not found:find('{value}', 1, true) then lacking = lacking + 1 end
end
function done()
  io.write('lacking ' .. threads[1]:get('lacking') .. '\\n')
end
",
        of.display()
    )
}
