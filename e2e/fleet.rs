//! Three gateway processes on one Redis: what they let through together, and what `kill -9` cannot change (EDG-5, EDG-15).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::{Client, StatusCode};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::stage::PORTICO;

const POLICY: &str = r#"
version: 1
listeners:
  public:
    https: { bind: "127.0.0.1:8443", tls: { min: "1.2", certificate: gateway } }
hosts: [bank.example]
upstreams:
  core:
    address: http://CORE
    authorization: strip
    timeouts: { connect: 1s, read: 30s, total: 30s }
headers:
  api: { set: { X-Content-Type-Options: nosniff }, remove: [Server] }
floor:
  limits: { head: 16KiB, headers: 64, target: 4KiB, body: 64KiB }
  timeouts: { head: 5s, body: 10s }
  rate:
    per-address: { limit: 60000/min, burst: 1000, key: [address], count_in: store, on_store_down: local }
  headers: api
routes:
  counted:
    match: { method: GET, path: /counted }
    auth: none
    because: shows a shared limit
    rate:
      counted: { limit: 1/h, burst: 60, key: [address], count_in: store, on_store_down: deny }
    upstream: core
  sign_in:
    match: { method: POST, path: /sign-in }
    auth: none
    because: the credentials are in the body
    rate:
      failures: { limit: 5/h, burst: 5, key: [address, body./email], count: failures, count_in: store, on_store_down: deny }
    upstream: core
"#;

const SETTINGS: &str = "
policies_dir: FOLDER/policies
certificate_dir: FOLDER/tls
state_dir: FOLDER/NAME
endpoints_file: FOLDER/NAME.json
listen: { public.https: '127.0.0.1:0' }
private_listen: 127.0.0.1:0
limit_store:
  addresses: ['unix://FOLDER/redis.sock']
  hash_key_file: FOLDER/hash-key
  timeout_ms: 5000
";

/// Everything that the gateways share.
struct Stage {
    folder: TempDir,
    ca: String,
    redis: Option<Child>,
    arrivals: mpsc::UnboundedReceiver<()>,
    _core: JoinSet<()>,
}

/// A gateway process.
struct Gateway {
    child: Child,
    client: Client,
    port: u16,
}

impl Stage {
    async fn new() -> Self {
        service_runtime::crypto::install_provider();
        let folder = tempfile::tempdir().unwrap();
        for name in ["policies", "tls"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let ca = write_certificates(&folder.path().join("tls"));
        std::fs::write(folder.path().join("hash-key"), [b'k'; 32]).unwrap();
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let core = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, arrived));
        let policy = POLICY.replace("CORE", &core.to_string());
        std::fs::write(folder.path().join("policies/bank.yaml"), policy).unwrap();
        let mut stage = Self {
            folder,
            ca,
            redis: None,
            arrivals,
            _core: tasks,
        };
        stage.start_redis().await;
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn start_redis(&mut self) {
        let socket = self.path("redis.sock");
        let _ = std::fs::remove_file(&socket);
        let redis = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&socket)
            .current_dir(self.folder.path())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("redis-server is installed: scripts/install-dependencies --tests");
        self.redis = Some(redis);
        eventually("redis answers", || UnixStream::connect(&socket)).await;
    }

    async fn kill_redis(&mut self) {
        self.redis.take().expect("it runs").kill().await.unwrap();
    }

    /// Starts a gateway with a state of its own, and waits until it has its store.
    async fn gateway(&self, name: &str) -> Gateway {
        let endpoints = self.path(&format!("{name}.json"));
        let _ = std::fs::remove_file(&endpoints);
        let log = std::fs::File::create(self.path(&format!("{name}.log"))).unwrap();
        let settings = self.path(&format!("{name}.yaml"));
        let folder = self.folder.path().display();
        let text = SETTINGS
            .replace("FOLDER", &folder.to_string())
            .replace("NAME", name);
        std::fs::write(&settings, text).unwrap();
        let child = Command::new(PORTICO)
            .args(["gateway", "--settings"])
            .arg(settings)
            .env("APP_ENV", "production")
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let read = || async {
            let text = tokio::fs::read_to_string(&endpoints).await.ok()?;
            serde_json::from_str::<serde_json::Value>(&text).ok()
        };
        eventually(&format!("{name} listens"), || async {
            read().await.ok_or("not yet")
        })
        .await;
        let endpoints = read().await.unwrap();
        let address = |name: &str| -> SocketAddr { endpoints[name].as_str().unwrap().parse().unwrap() };
        let metrics = format!("http://{}/metrics", address("private"));
        let client = self.client(address("public.https"));
        eventually(&format!("{name} has its store"), || async {
            let text = client.get(&metrics).send().await.unwrap().text().await.unwrap();
            text.contains("\nportico_limit_store_up 1\n")
                .then_some(())
                .ok_or("not yet")
        })
        .await;
        Gateway {
            child,
            client,
            port: address("public.https").port(),
        }
    }

    fn client(&self, gateway: SocketAddr) -> Client {
        Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(self.ca.as_bytes()).unwrap()])
            .resolve("bank.example", gateway)
            .timeout(Duration::from_secs(30))
            .build()
            .unwrap()
    }
}

impl Gateway {
    fn url(&self, path: &str) -> String {
        format!("https://bank.example:{}{path}", self.port)
    }

    /// The core answers what the password says.
    async fn sign_in(&self, password: &str) -> reqwest::Result<StatusCode> {
        let body = serde_json::json!({"email": "alice@bank.example", "password": password});
        let answer = self.client.post(self.url("/sign-in")).json(&body).send().await?;
        Ok(answer.status())
    }
}

/// So many requests to each, all at once.
async fn flood(gateways: &[Gateway], each: usize) -> (usize, usize, usize) {
    let mut requests = JoinSet::new();
    for gateway in (0..each).flat_map(|_| gateways) {
        let request = gateway.client.get(gateway.url("/counted"));
        requests.spawn(async move { request.send().await.unwrap().status() });
    }
    let statuses = requests.join_all().await;
    let count = |status: u16| statuses.iter().filter(|seen| seen.as_u16() == status).count();
    (count(200), count(429), count(503))
}

#[tokio::test(flavor = "multi_thread")]
async fn three_gateways_count_exactly_through_the_death_of_one_and_of_their_store() {
    let mut stage = Stage::new().await;
    let mut gateways = vec![
        stage.gateway("a").await,
        stage.gateway("b").await,
        stage.gateway("c").await,
    ];
    assert_eq!(flood(&gateways, 15).await, (45, 0, 0));

    gateways[0].child.kill().await.unwrap();
    gateways[0] = stage.gateway("a").await;
    assert_eq!(
        flood(&gateways, 30).await,
        (15, 75, 0),
        "a restart forgets nothing"
    );

    stage.kill_redis().await;
    let (served, limited, unavailable) = flood(&gateways, 10).await;
    assert_eq!(
        (served, limited + unavailable),
        (0, 30),
        "what is exhausted stays so, and nobody sees a 500"
    );

    stage.start_redis().await;
    for gateway in &gateways {
        // The store came back empty; what this gateway knows as exhausted stays refused.
        eventually("the gateway has its store again", || async {
            (gateway.sign_in("right").await.unwrap() == 200)
                .then_some(())
                .ok_or("not yet")
        })
        .await;
    }
    assert_eq!(flood(&gateways, 10).await, (0, 30, 0));
    let fresh = stage.gateway("d").await;
    assert_eq!(flood(&[fresh], 80).await, (60, 20, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_that_a_killed_gateway_had_reserved_stay_counted() {
    let mut stage = Stage::new().await;
    let mut doomed = stage.gateway("a").await;
    let other = stage.gateway("b").await;
    assert_eq!(other.sign_in("wrong").await.unwrap(), 401);
    let mut held = JoinSet::new();
    for _ in 0..4 {
        let body = serde_json::json!({"email": "alice@bank.example", "password": "hold"});
        held.spawn(doomed.client.post(doomed.url("/sign-in")).json(&body).send());
    }
    // The wrong one, and the four that are held.
    for _ in 0..5 {
        stage.arrivals.recv().await.unwrap();
    }
    doomed.child.kill().await.unwrap();
    assert!(
        held.join_all().await.iter().all(Result::is_err),
        "nobody was answered"
    );
    assert_eq!(other.sign_in("wrong").await.unwrap(), 429);
    // A good one is refused too: nobody can know that it is one.
    assert_eq!(other.sign_in("right").await.unwrap(), 429);
}

/// A core that says what it hears, and holds back some answers for ever.
async fn serve(listener: TcpListener, arrived: mpsc::UnboundedSender<()>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        connections.spawn(answer(socket, arrived.clone()));
    }
}

async fn answer(mut socket: TcpStream, arrived: mpsc::UnboundedSender<()>) -> std::io::Result<()> {
    let mut read = Vec::new();
    while socket.read_buf(&mut read).await? > 0 {
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .to_lowercase()
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
            .unwrap_or(0);
        if body.len() < length {
            continue;
        }
        if head.starts_with("POST") {
            arrived.send(()).ok();
        }
        let status = match body {
            body if body.contains("hold") => std::future::pending().await,
            body if body.contains("wrong") => "401 Unauthorized",
            _ => "200 OK",
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}");
        socket.write_all(answer.as_bytes()).await?;
        read.clear();
    }
    Ok(())
}

/// A CA, and the certificate of the gateways; returns the CA as PEM.
fn write_certificates(folder: &Path) -> String {
    let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["bank.example".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &ca).unwrap();
    std::fs::write(folder.join("gateway.pem"), leaf.pem()).unwrap();
    std::fs::write(folder.join("gateway.key"), key.serialize_pem()).unwrap();
    ca.pem()
}

/// Waits until something works, at most twenty seconds.
async fn eventually<F, Fut, T, E: std::fmt::Debug>(what: &str, mut attempt: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let waiting = async {
        loop {
            ticks.tick().await;
            if attempt().await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}
