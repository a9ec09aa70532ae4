//! A gateway with everything around it, in one temporary directory.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use gateway::Settings;
use gateway::server::{self, Running};
use gateway::settings::{AcmeSettings, ConnectionSettings};
use service_runtime::clock::Clock;
use service_runtime::settings::Environment;
use service_runtime::shutdown::Shutdown;
use tempfile::TempDir;

use crate::authority::Authority;
use crate::core_service::CoreService;
use crate::key_service::KeyService;

/// The policy of most tests. `LIMIT` lines are small so that tests can reach them.
pub(crate) const POLICY: &str = r#"
version: 1
listeners:
  public:
    http: { bind: "127.0.0.1:8080", redirect: https }
    https: { bind: "127.0.0.1:8443", tls: { min: "1.2", certificate: gateway } }
hosts: [api.bank.example]
upstreams:
  core:
    address: unix:core.sock
    authorization: forward
    timeouts: { connect: 1s, read: 2s, total: 4s }
identity:
  customers:
    issuer: https://api.bank.example
    audiences: [core-api]
    algorithms: [EdDSA, ES256]
    type: at+jwt
    max_lifetime: 15min
    leeway: 1s
    keys: portico
headers:
  api:
    set:
      Strict-Transport-Security: max-age=63072000; includeSubDomains
      X-Content-Type-Options: nosniff
      Content-Security-Policy: "default-src 'none'; frame-ancestors 'none'"
      Referrer-Policy: no-referrer
    remove: [Server, X-Powered-By]
cors:
  web:
    origins: [https://app.bank.example]
    methods: [GET, POST]
    headers: [Authorization, Content-Type, Idempotency-Key]
    expose: [RateLimit, RateLimit-Policy, Retry-After, X-Request-Id]
    max_age: 10min
floor:
  limits: { head: 16KiB, headers: 64, target: 4KiB, body: 64KiB }
  timeouts: { head: 1s, body: 2s }
  headers: api
  rate:
    per-address: { limit: 6000/min, burst: 6000, key: [address] }
routes:
  show_me:
    match: { method: GET, path: /api/v1/me }
    auth: customers
    scopes: []
    cors: web
    upstream: core
  create_transfer:
    match: { method: POST, path: /api/v1/transfers }
    auth: customers
    scopes: [transfers:write]
    cors: web
    limits: { body: 1KiB }
    upstream: core
  show_rates:
    match: { method: GET, path: "/api/v1/rates/{pair}" }
    auth: none
    because: exchange rates are published for everyone
    upstream: core
  log_in:
    match: { method: POST, path: /api/v1/auth/login }
    auth: none
    because: the credentials are in the body
    limits: { body: 4KiB }
    rate:
      login-failures: { limit: 5/min, burst: 5, key: [address, body./email], count: failures }
    upstream: core
  scarce:
    match: { method: GET, path: /api/v1/scarce }
    auth: none
    because: shows how a limit is reached
    cors: web
    rate:
      scarce: { limit: 2/min, burst: 2, key: [address] }
    upstream: core
  jwks:
    match: { method: GET, path: /.well-known/jwks.json }
    auth: none
    because: public keys are public
    serve: jwks
  live:
    match: { method: GET, path: /health/live }
    auth: none
    because: load balancers ask
    serve: live
  ready:
    match: { method: GET, path: /health/ready }
    auth: none
    because: load balancers ask
    serve: ready
"#;

pub(crate) const OVERLAY: &str =
    "version: 1\nenvironment: test\nhosts: [localhost, 127.0.0.1, api.bank.example]\n";

/// What the certificate of the gateway is for.
pub(crate) const CERTIFICATE_NAMES: [&str; 4] =
    ["localhost", "127.0.0.1", "api.bank.example", "orders.example"];

/// The time of every test: tokens and keys are made relative to it.
pub(crate) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

/// A running gateway, its neighbours and its directory.
pub(crate) struct GatewayProcess {
    pub(crate) core: CoreService,
    pub(crate) keys: KeyService,
    pub(crate) authority: Authority,
    pub(crate) ca: String,
    pub(crate) https: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) private: SocketAddr,
    pub(crate) directory: TempDir,
    /// Stands still until a test advances it.
    pub(crate) clock: Clock,
    running: Option<Running>,
    shutdown: Shutdown,
    settings: Settings,
}

impl GatewayProcess {
    pub(crate) async fn start() -> Self {
        Self::with(POLICY, |_| ()).await
    }

    pub(crate) async fn with_connections(connections: ConnectionSettings) -> Self {
        Self::with(POLICY, |settings| settings.connections = connections).await
    }

    /// With another policy, and settings that differ.
    pub(crate) async fn with(policy: &str, change: impl FnOnce(&mut Settings)) -> Self {
        Self::begin(policy, Clock::manual(now()), |_| (), change).await
    }

    /// Starts with another policy, whose certificates `prepare` writes beside that of the gateway.
    pub(crate) async fn with_policy(policy: &str, prepare: impl FnOnce(&Path)) -> Self {
        Self::begin(policy, Clock::manual(now()), prepare, |_| ()).await
    }

    /// Starts by the clock of the machine, for programs of others that look at certificates.
    pub(crate) async fn with_real_clock(policy: &str) -> Self {
        Self::begin(policy, Clock::system(), |_| (), |_| ()).await
    }

    /// Starts with a certificate authority, which looks at the port that the policy names.
    pub(crate) async fn with_acme(
        acme: AcmeSettings,
        policy: &str,
        clock: Clock,
        prepare: impl FnOnce(&Path),
    ) -> Self {
        Self::begin(policy, clock, prepare, |settings| {
            settings.acme = acme;
            settings.listen.remove("public.http");
        })
        .await
    }

    async fn begin(
        policy: &str,
        clock: Clock,
        prepare: impl FnOnce(&Path),
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        service_runtime::crypto::install_provider();
        let directory = tempfile::tempdir().unwrap();
        for name in ["policies/environments", "state", "run", "tls", "keys"] {
            std::fs::create_dir_all(directory.path().join(name)).unwrap();
        }
        write_policy(directory.path(), "base.yaml", policy);
        write_policy(directory.path(), "environments/test.yaml", OVERLAY);
        let authority = Authority::new("Portico test CA");
        authority
            .issue(&CERTIFICATE_NAMES)
            .write(&directory.path().join("tls"), "gateway");
        prepare(&directory.path().join("tls"));
        let core = CoreService::start(&directory.path().join("run/core.sock"));
        let keys = KeyService::start(&directory.path().join("run/control-plane.sock"));
        let mut settings = settings(directory.path());
        settings.fleet = Some(keys.membership());
        change(&mut settings);
        let (running, shutdown) = launch(&settings, clock.clone()).await.unwrap();
        let mut process = Self {
            https: running.addresses()["public.https"],
            http: running.addresses()["public.http"],
            private: running.private_address(),
            core,
            keys,
            ca: authority.pem(),
            authority,
            directory,
            clock,
            running: Some(running),
            shutdown,
            settings,
        };
        process.wait_for_keys().await;
        process
    }

    /// Waits until the gateway holds the key set of the control plane.
    pub(crate) async fn wait_for_keys(&mut self) {
        let client = self.client();
        let url = self.url("/health/ready");
        eventually("the gateway is ready", || async {
            client
                .get(&url)
                .send()
                .await
                .is_ok_and(|answer| answer.status() == 200)
        })
        .await;
    }

    pub(crate) fn url(&self, target: &str) -> String {
        format!("https://localhost:{}{target}", self.https.port())
    }

    /// The address of another listener of the policy.
    pub(crate) fn address(&self, label: &str) -> SocketAddr {
        self.running.as_ref().unwrap().addresses()[label]
    }

    pub(crate) fn policy_file(&self, name: &str, text: &str) {
        write_policy(self.directory.path(), name, text);
    }

    /// From the next start on.
    pub(crate) fn change_settings(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
    }

    /// Begins to stop, as SIGTERM does.
    pub(crate) fn begin_to_stop(&self) {
        self.shutdown.trigger();
    }

    /// Stops and waits; whether every request was answered.
    pub(crate) async fn stop(&mut self) -> bool {
        self.shutdown.trigger();
        match self.running.take() {
            Some(running) => running.stopped().await,
            None => true,
        }
    }

    /// Stops and starts again on the same directory.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop().await;
        let (running, shutdown) = launch(&self.settings, self.clock.clone()).await?;
        self.https = running.addresses()["public.https"];
        self.http = running.addresses()["public.http"];
        self.private = running.private_address();
        (self.running, self.shutdown) = (Some(running), shutdown);
        Ok(())
    }

    /// Starts on the same directory as a process that ends at once, for this reason; nothing of it is left.
    pub(crate) fn fails_to_start(&self) -> String {
        let (settings, clock) = (self.settings.clone(), self.clock.clone());
        let process = std::thread::spawn(move || {
            // As the process has one: what it had begun gets no turn once it has failed.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let started = runtime.block_on(launch(&settings, clock));
            format!("{:#}", started.err().expect("it does not start"))
        });
        process.join().unwrap()
    }

    /// The value of a metric line that begins with this text.
    pub(crate) async fn metric(&self, line: &str) -> Option<i64> {
        let text = self.private_text("/metrics").await;
        text.lines()
            .find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
    }

    /// Waits until a metric has this value: what is counted of an answer is counted behind it.
    pub(crate) async fn counts(&self, line: &str, value: i64) {
        eventually(&format!("{line} is {value}"), || async {
            self.metric(line).await == Some(value)
        })
        .await;
    }

    pub(crate) async fn private_text(&self, path: &str) -> String {
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(5))
            .build()
            .unwrap();
        client
            .get(format!("http://{}{path}", self.private))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

fn settings(directory: &Path) -> Settings {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    Settings {
        // Tests make a connection for each request, all from one address.
        connections: ConnectionSettings {
            handshakes_per_second: 0,
            ..ConnectionSettings::default()
        },
        policies_dir: directory.join("policies"),
        state_dir: directory.join("state"),
        socket_dir: directory.join("run"),
        certificate_dir: directory.join("tls"),
        key_dir: directory.join("keys"),
        listen: ["public.https", "public.http"]
            .map(|label| (label.to_owned(), any))
            .into(),
        private_listen: any,
        threads: 2,
        policy_poll_ms: 500,
        shutdown_grace_ms: 10_000,
        ..Settings::default()
    }
}

async fn launch(settings: &Settings, clock: Clock) -> anyhow::Result<(Running, Shutdown)> {
    assert_eq!(settings.faults(), Vec::<String>::new());
    let shutdown = Shutdown::new();
    let running = server::start(settings, Environment::Test, clock, shutdown.clone()).await?;
    Ok((running, shutdown))
}

fn write_policy(directory: &Path, name: &str, text: &str) {
    std::fs::write(directory.join("policies").join(name), text).unwrap();
}

/// A CA and a certificate for the names of the tests; returns the CA as PEM.
pub(crate) fn write_certificates(directory: &Path) -> String {
    let authority = Authority::new("Portico test CA");
    authority.issue(&CERTIFICATE_NAMES).write(directory, "gateway");
    authority.pem()
}

/// Waits for a condition, at most ten seconds.
pub(crate) async fn eventually<F, Fut>(what: &str, mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let waiting = async {
        loop {
            ticks.tick().await;
            if condition().await {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}
