//! An upstream in a process of its own, so that it can be killed as `kill -9` does: this test binary, once more.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::raw_upstream::read_message;

const FOLDER: &str = "PORTICO_TEST_UPSTREAM_FOLDER";
const ADDRESS: &str = "PORTICO_TEST_UPSTREAM_ADDRESS";
const READY: &str = "the upstream listens on ";

pub(crate) struct UpstreamProcess {
    pub(crate) address: SocketAddr,
    folder: PathBuf,
    child: Child,
}

impl UpstreamProcess {
    /// Starts one that writes down each request in the file `seen` of a folder before it answers.
    pub(crate) async fn start(folder: &Path) -> Self {
        let (child, address) = launch(folder, "127.0.0.1:0").await;
        Self {
            address,
            folder: folder.to_owned(),
            child,
        }
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Starts it again on the same address.
    pub(crate) async fn revive(&mut self) {
        let (child, address) = launch(&self.folder, &self.address.to_string()).await;
        assert_eq!(address, self.address);
        self.child = child;
    }
}

async fn launch(folder: &Path, address: &str) -> (Child, SocketAddr) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "upstream_process::serve_as_a_process",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env(FOLDER, folder)
        .env(ADDRESS, address)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some((_, address)) = line.split_once(READY) {
            // What it prints later must not stop it.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return (child, address.parse().unwrap());
        }
    }
    panic!("the upstream did not start");
}

#[tokio::test]
#[ignore = "no test: what `UpstreamProcess` starts"]
async fn serve_as_a_process() {
    let (Ok(folder), Ok(address)) = (std::env::var(FOLDER), std::env::var(ADDRESS)) else {
        return;
    };
    let seen = Path::new(&folder).join("seen");
    let listener = TcpListener::bind(address).await.unwrap();
    println!("{READY}{}", listener.local_addr().unwrap());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(answer(stream, seen.clone()));
    }
}

async fn answer(mut stream: TcpStream, seen: PathBuf) {
    let mut buffer = Vec::new();
    while let Some((head, body)) = read_message(&mut stream, &mut buffer).await {
        let words: Vec<&str> = head.split(' ').take(2).collect();
        let line = format!("{} {}\n", words.join(" "), String::from_utf8(body).unwrap());
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&seen)
            .unwrap();
        file.write_all(line.as_bytes()).unwrap();
        // An order takes its time, so that a kill finds some under way.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
