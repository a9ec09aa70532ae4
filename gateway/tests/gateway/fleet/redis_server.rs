//! A real `redis-server` of a test: in a temporary directory, on a unix socket, with nothing on disk.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::{Client, Connection};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::gateway_process::eventually;

/// A server that dies with the test.
pub(crate) struct RedisServer {
    directory: TempDir,
    child: Option<Child>,
}

impl RedisServer {
    pub(crate) async fn start() -> Self {
        let mut server = Self {
            directory: tempfile::tempdir().unwrap(),
            child: None,
        };
        server.revive().await;
        server
    }

    /// Starts it, empty.
    pub(crate) async fn revive(&mut self) {
        let socket = self.socket();
        let _ = std::fs::remove_file(&socket);
        let arguments = ["--port", "0", "--unixsocket", socket.to_str().unwrap()];
        self.child = Some(launch(self.directory.path(), &arguments));
        eventually("redis answers", || async {
            self.client().get_connection().is_ok()
        })
        .await;
    }

    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Lets it hang: connections stay open and are not answered.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    fn client(&self) -> Client {
        Client::open(self.address()).unwrap()
    }

    pub(crate) fn connection(&self) -> Connection {
        self.client()
            .get_connection_with_timeout(Duration::from_secs(5))
            .unwrap()
    }

    /// What one command answers.
    pub(crate) fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let mut words = command.iter();
        let mut asked = redis::cmd(words.next().unwrap());
        for word in words {
            asked.arg(*word);
        }
        asked.query(&mut self.connection()).unwrap()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts `redis-server` without persistence.
pub(super) fn launch(directory: &Path, arguments: &[&str]) -> Child {
    Command::new("redis-server")
        .args(arguments)
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(directory)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed: scripts/install-dependencies --tests")
}
