//! Everything that a run consists of: a PostgreSQL, issuers, control planes and gateways with clocks of their own, from the
//! shipped binary.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use database::cluster::PrivateCluster;
use rustix::process::{Pid, Signal, kill_process};
use rustls::ClientConfig;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

use super::clock::Offset;
use super::evidence::{Held, Micros, Terms};
use super::foreign::Foreign;
use super::lag::Lag;
use super::processes::{self, CONTROL_PLANES, SIGNS, node, socket};
use super::provider::Provider;
use super::service::Service;
use super::store;
use super::trust;
use crate::edge::{Door, Gateway, Place, Site, Upstream, eventually};

/// The policy of the run: two routes that only the gateway judges, one of them for tokens of another issuer, and the log-in and
/// profile of the real core.
const POLICY: &str = r#"
version: 1
listeners:
  edge: { https: { bind: "127.0.0.1:8443", tls: { min: "1.2", certificate: gateway } } }
hosts: [edge.example]
identity:
  customers:
    issuer: https://api.bank.example
    audiences: [core-api]
    algorithms: [EdDSA]
    type: at+jwt
    max_lifetime: 60s
    leeway: SKEWs
    keys: portico
  partners:
    issuer: https://partner.example
    audiences: [core-api]
    algorithms: [EdDSA]
    type: at+jwt
    max_lifetime: 60s
    leeway: SKEWs
    keys: { url: "https://localhost:ISSUER/keys", refresh: 1h, stale_for: 2h, addresses: [127.0.0.0/8, "::1"] }
upstreams:
  open: { address: "http://UPSTREAM", authorization: strip, timeouts: { connect: 1s, read: 20s, total: 30s } }
  core: { address: "unix:core-api.sock", authorization: forward, timeouts: { connect: 1s, read: 20s, total: 30s } }
headers:
  api:
    set: { X-Content-Type-Options: nosniff, X-Generation: "GENERATION" }
    remove: [Server]
floor:
  limits: { head: 16KiB, headers: 64, target: 4KiB, body: 64KiB }
  timeouts: { head: 5s, body: 10s }
  headers: api
  rate:
    per-address: { limit: 1000000/s, burst: 1000000, key: [address] }
routes:
  verify: { match: { method: GET, path: /fast }, auth: customers, scopes: [], upstream: open }
  partner: { match: { method: GET, path: /partner }, auth: partners, scopes: [], upstream: open }
  me: { match: { method: GET, path: /api/v1/me }, auth: customers, scopes: [], upstream: core }
  logout: { match: { method: POST, path: /api/v1/auth/logout }, auth: customers, scopes: [], upstream: core }
  login: { match: { method: POST, path: /api/v1/auth/login }, auth: none, because: the credentials are in the body, upstream: core }
  register: { match: { method: POST, path: /api/v1/auth/register }, auth: none, because: a new customer has no token yet, upstream: core }
"#;

/// What a run is set up with.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    /// The portico binary.
    pub(super) binary: PathBuf,
    /// What everybody believes.
    pub(super) terms: Terms,
    /// How long a standby must have been published before it signs, seconds.
    pub(super) dwell_s: i64,
    /// What the control plane believes of A and S: another value than the truth is a control.
    pub(super) control_plane_believes: (i64, i64),
    /// Whether the last gateway hears the control plane through a [`Lag`], and none is waited for.
    pub(super) lag: bool,
    /// Whether a gateway that was killed comes back without a control plane.
    pub(super) comes_back_deaf: bool,
    /// Who keeps the secrets; none where they are in files.
    pub(super) provider: Option<Provider>,
}

impl Setting {
    /// The reference of a secret that was written.
    pub(super) fn secret(&self, directory: &Path, name: &str) -> anyhow::Result<String> {
        match &self.provider {
            Some(provider) => provider.reference(directory, name),
            None => Ok(processes::secret(directory, name)),
        }
    }

    /// The section `secrets`.
    pub(super) fn providers(&self) -> Value {
        let provider = self.provider.as_ref();
        provider.map_or_else(|| json!({}), |provider| provider.settings.clone())
    }

    /// Versions of the key-encryption key that do not seal yet: one, where the harness has the keys.
    pub(super) fn later_keks(&self, directory: &Path) -> Value {
        match self.provider {
            Some(_) => json!([]),
            None => json!([{ "version": 2, "secret": processes::secret(directory, "kek-2") }]),
        }
    }
}

/// A running stage; what runs is killed when it is dropped.
pub(super) struct Stage {
    pub(super) control_planes: Vec<Service>,
    pub(super) gateways: Vec<Gateway>,
    pub(super) lag: Option<Lag>,
    /// The key-encryption keys by version; none where they stay elsewhere.
    pub(super) keks: Vec<(i32, Vec<u8>)>,
    pub(super) provider: Option<Provider>,
    pub(super) cluster: Option<PrivateCluster>,
    /// The other issuer.
    pub(super) foreign: Foreign,
    binary: PathBuf,
    clocks: Vec<Offset>,
    /// Where gateways come back when they were killed.
    places: Vec<Place>,
    site: Site,
    issuers: Vec<Service>,
    /// Whom gateways believe.
    root: String,
    _upstream: Upstream,
    /// Goes last: what runs has its files in it.
    directory: TempDir,
}

impl Stage {
    pub(super) async fn start(setting: &Setting) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("portico-rotation-").tempdir()?;
        // Started by root, the database server is another user who must pass through here.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711))?;
        let cluster = processes::start_cluster(directory.path()).await?;
        let keks = vec![
            (1, processes::write_secrets(directory.path(), &cluster)?),
            (2, processes::write_kek(directory.path(), "kek-2")?),
        ];
        let mut superuser = PgConnection::connect(&cluster.owner_url()).await?;
        store::keep_what_is_committed(&mut superuser).await?;
        store::begin_with_the_first_kek(&mut superuser).await?;
        // Before anybody works with the tables: a trigger wants their locks in an order of its own.
        store::install_failpoints(&mut superuser).await?;

        let root = trust::make_root(&setting.binary, directory.path()).await?;
        let control_planes = processes::start_control_planes(setting, directory.path(), &root).await?;
        trust::hand_over(&setting.binary, directory.path(), "control-plane-0.yaml").await?;
        let issuers = processes::start_issuers(setting, directory.path()).await?;
        let last_socket = socket(directory.path(), 1);
        let lag = match setting.lag {
            true => Some(Lag::start(&directory.path().join("late.sock"), last_socket)?),
            false => None,
        };
        let upstream = Upstream::start().await?;
        let (listener, issuer) = Foreign::place().await?;
        let policy = POLICY
            .replace("UPSTREAM", &upstream.address().to_string())
            .replace("SKEW", &setting.terms.skew_s.to_string())
            .replace("ISSUER", &issuer.port().to_string());
        let site = Site::with_policy(&policy)?;
        site.write_certificate(directory.path(), "issuer", "localhost")?;
        let mut stage = Self {
            site,
            foreign: Foreign::start(listener, directory.path())?,
            directory,
            control_planes,
            gateways: Vec::new(),
            binary: setting.binary.clone(),
            places: Vec::new(),
            lag,
            keks: if setting.provider.is_none() {
                keks
            } else {
                Vec::new()
            },
            provider: setting.provider.clone(),
            cluster: Some(cluster),
            clocks: SIGNS.map(|sign| Offset(sign * setting.terms.skew_s)).to_vec(),
            issuers,
            root,
            _upstream: upstream,
        };
        for number in 0..stage.clocks.len() {
            stage.start_gateway(setting, number).await?;
        }
        if setting.lag {
            store::forget_that_gateways_live(&mut superuser).await?;
        }
        Ok(stage)
    }

    async fn start_gateway(&mut self, setting: &Setting, number: usize) -> anyhow::Result<()> {
        let directory = self.directory.path();
        let is_late = setting.lag && number + 1 == self.clocks.len();
        let control_plane = match is_late {
            true => directory.join("late.sock"),
            false => socket(directory, number % CONTROL_PLANES.len()),
        };
        let more = |control_plane: &Path| {
            format!(
                "threads: 1\ntelemetry: {{ level: 'warn,gateway::keys=info' }}\nsocket_dir: {}\nkey_trust_file: {}\nfleet: {{ name: {}, node: {}, control_plane: 'unix:{}', roots: ['{}'] }}\n",
                directory.join(format!("issuer-{number}")).display(),
                self.site.path("ca.pem").display(),
                trust::FLEET,
                node(number),
                control_plane.display(),
                self.root
            )
        };
        let mut place = Place {
            // Not where clients come from: while it is dead, nobody else gets its port.
            https: SocketAddr::from(([127, 0, 0, u8::try_from(number + 2)?], 0)),
            more: more(&control_plane),
            ..Place::anywhere(&node(number))
        };
        let clock = self.clocks.get(number).copied().context("no clock")?;
        let gateway = Gateway::start(&self.site, &place, &setting.binary, &clock.wrapper()?).await?;
        place.https = gateway.https()?;
        if setting.comes_back_deaf {
            place.more = more(&directory.join("nobody.sock"));
        }
        self.gateways.push(gateway);
        self.places.push(place);
        Ok(())
    }

    /// A gateway.
    pub(super) fn gateway(&self, gateway: usize) -> anyhow::Result<&Gateway> {
        self.gateways.get(gateway).context("no such gateway")
    }

    /// Waits until a gateway that was killed is dead.
    pub(super) async fn bury_gateway(&mut self, gateway: usize) -> anyhow::Result<()> {
        let dead = self.gateways.get_mut(gateway).context("no such gateway")?;
        dead.ended().await
    }

    /// Starts a gateway in the place of one that is dead.
    pub(super) async fn revive_gateway(&mut self, gateway: usize) -> anyhow::Result<()> {
        let place = self.places.get(gateway).context("no place")?;
        let clock = self.clocks.get(gateway).copied().context("no clock")?;
        let started = Gateway::start(&self.site, place, &self.binary, &clock.wrapper()?).await?;
        let dead = self.gateways.get_mut(gateway).context("no such gateway")?;
        *dead = started;
        Ok(())
    }

    /// The socket of a control plane.
    pub(super) fn socket(&self, control_plane: usize) -> PathBuf {
        socket(self.directory.path(), control_plane)
    }

    /// The processes that have secrets.
    pub(super) fn with_secrets(&self) -> impl Iterator<Item = &Service> {
        self.control_planes.iter().chain(&self.issuers)
    }

    /// The way into one gateway.
    pub(super) fn door(&self, gateway: usize) -> anyhow::Result<Door> {
        Ok(Door::new(vec![self.address(gateway)?], self.client_config()?))
    }

    /// Where one gateway listens.
    pub(super) fn address(&self, gateway: usize) -> anyhow::Result<SocketAddr> {
        self.gateway(gateway)?.https()
    }

    /// How clients trust the gateways.
    pub(super) fn client_config(&self) -> anyhow::Result<Arc<ClientConfig>> {
        self.site.client_config()
    }

    /// A connection that may do everything: to steal keys, and to make transitions stand still.
    pub(super) async fn superuser(&self) -> anyhow::Result<PgConnection> {
        let cluster = self.cluster.as_ref().context("the database is stopped")?;
        Ok(PgConnection::connect(&cluster.owner_url()).await?)
    }

    /// A connection with the rights of a role.
    pub(super) async fn connection_as(&self, role: &str) -> anyhow::Result<PgConnection> {
        let cluster = self.cluster.as_ref().context("the database is stopped")?;
        Ok(PgConnection::connect(&cluster.url_for(role, None)).await?)
    }

    /// Stops PostgreSQL under everybody's feet, and starts it again in the same place.
    pub(super) async fn restart_database(&mut self) -> anyhow::Result<()> {
        let cluster = self.cluster.take().context("the database is stopped")?;
        let options = cluster.options().clone();
        cluster.stop().await?;
        self.cluster = Some(PrivateCluster::start(options).await?);
        Ok(())
    }

    /// Kills a process of PostgreSQL, and waits until the server has recovered: it ends all others and begins anew.
    pub(super) async fn crash_database(&self) -> anyhow::Result<()> {
        let mut superuser = self.superuser().await?;
        let backend = store::a_backend(&mut superuser).await?;
        kill_process(Pid::from_raw(backend).context("no process")?, Signal::KILL)?;
        eventually("PostgreSQL ends every connection", async || {
            store::a_backend(&mut superuser).await.is_err()
        })
        .await?;
        eventually("PostgreSQL has recovered", async || {
            self.superuser().await.is_ok()
        })
        .await
    }

    /// How often gateways have turned to the control planes, for whatever is new: keys are told on that way.
    pub(super) async fn dialled(&self) -> anyhow::Result<usize> {
        let mut times = 0;
        for control_plane in &self.control_planes {
            times += control_plane
                .sum("portico_service_requests_total{", "route=\"/fleet/v1/stream\"")
                .await?;
        }
        Ok(times)
    }

    /// When each gateway said that it held which key set: its own log, with its clock put right.
    pub(super) fn held(&self) -> anyhow::Result<Vec<Held>> {
        let mut held = Vec::new();
        for (gateway, (process, clock)) in self.gateways.iter().zip(&self.clocks).enumerate() {
            let log = process.log()?;
            let lines = log.lines().filter(|line| line.contains("key set in force"));
            held.extend(lines.filter_map(|line| {
                let (written, seq) = adopted(line)?;
                let at = clock.corrected(written);
                Some(Held { gateway, seq, at })
            }));
        }
        Ok(held)
    }

    /// Stops the database in order; everything else is killed.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.gateways.clear();
        self.control_planes.clear();
        self.issuers.clear();
        match self.cluster.take() {
            Some(cluster) => Ok(cluster.stop().await?),
            None => Ok(()),
        }
    }
}

/// The time and the `seq` of a log line.
fn adopted(line: &str) -> Option<(Micros, i64)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let at = line.get("time")?.as_str()?;
    let at = chrono::DateTime::parse_from_rfc3339(at).ok()?.timestamp_micros();
    let seq = line
        .get("seq")
        .or_else(|| line.get("fields")?.get("seq"))?
        .as_i64()?;
    Some((at, seq))
}
