//! A real `redis-server`, with nothing on disk, in which gateways count together.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;
use tokio::process::{Child, Command};

/// A running server; killed when it is dropped.
#[derive(Debug)]
pub struct Store(Child);

impl Store {
    /// Starts one at `store.sock` in this directory, and empty.
    ///
    /// # Errors
    /// When there is no `redis-server`.
    pub fn start(directory: &Path) -> anyhow::Result<Self> {
        let socket = directory.join("store.sock");
        let arguments = [
            "--port".as_ref(),
            "0".as_ref(),
            "--unixsocket".as_ref(),
            socket.as_os_str(),
        ];
        Self::launch(&[], directory, &arguments)
    }

    /// Starts one that listens as its arguments say. `wrapper` are words before the program.
    pub(super) fn launch(wrapper: &[String], directory: &Path, arguments: &[&OsStr]) -> anyhow::Result<Self> {
        let mut words = wrapper.iter().map(String::as_str).chain(["redis-server"]);
        let child = Command::new(words.next().context("no program")?)
            .args(words)
            .args(arguments)
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(directory)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("redis-server (scripts/install-dependencies --tests)")?;
        Ok(Self(child))
    }

    /// Kills it, with all that was counted in it.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.0.kill().await?)
    }
}
