//! Everything that a run consists of: a PostgreSQL, a control plane, and gateways that dial it over mutual TLS.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use database::cluster::PrivateCluster;
use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

use super::bundle::Bundle;
use super::operator::words;
use super::store;
use crate::edge::{Door, Gateway, Place, Site, Upstream};
use crate::rotation::clock::Offset;
use crate::rotation::processes::{secret, start_cluster, write_secrets};
use crate::rotation::service::{Service, Start};

/// The name of the fleet.
pub(super) const FLEET: &str = "trial";
/// How long the slow upstream takes for an answer.
const SLOWNESS: Duration = Duration::from_millis(200);
/// Ports that no connection takes for its own end, as a port of 32768 and above could be while its owner is away.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// What a fleet is set up with.
#[derive(Debug, Clone)]
pub struct Members {
    /// The portico binary.
    pub binary: PathBuf,
    /// How many gateways.
    pub gateways: usize,
    /// `policies` of the control plane's settings; the file of approvers is added, with grace in it, and ada as an author.
    pub policies: Value,
    /// How long a gateway is in doubt about a policy, milliseconds.
    pub probation_ms: u32,
    /// Whether customers can log in.
    pub has_issuer: bool,
}

/// A running fleet; what runs is killed when it is dropped.
pub struct Stage {
    pub(super) members: Members,
    pub(super) control_plane: Service,
    /// Gateways, each with its place: it comes back where it was.
    pub(super) gateways: Vec<(Place, Gateway)>,
    pub(super) site: Site,
    pub(super) kek: Vec<u8>,
    pub(super) upstream: Upstream,
    pub(super) slow_upstream: Upstream,
    roots: Vec<String>,
    fleet_port: u16,
    pub(super) issuer: Option<Service>,
    cluster: PrivateCluster,
    /// Goes last: what runs has its files in it.
    directory: TempDir,
}

impl Stage {
    /// Starts the control plane, gives it trust and a first policy, and then starts gateways, which begin with it.
    ///
    /// # Errors
    /// When anything of it does not come about; the log is part of the error.
    pub async fn start(members: &Members) -> anyhow::Result<Self> {
        service_runtime::crypto::install_provider();
        let directory = tempfile::Builder::new().prefix("portico-rollout-").tempdir()?;
        // Started by root, the database server is another user who must pass through here.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711))?;
        let cluster = start_cluster(directory.path()).await?;
        let kek = write_secrets(directory.path(), &cluster)?;
        let upstream = Upstream::start().await?;
        let slow_upstream = Upstream::start_slow(SLOWNESS).await?;
        let first = Bundle::good(0).text(upstream.address(), slow_upstream.address());
        let site = Site::with_policy(&first)?;
        let fleet_port = free_port()?;
        let (settings, roots) = write_settings(members, directory.path(), &site, fleet_port).await?;
        let control_plane = Service::start(settings).await?;
        // It wants a key that signs.
        let issuer = match members.has_issuer {
            true => Some(start_issuer(members, directory.path()).await?),
            false => None,
        };
        let mut stage = Self {
            control_plane,
            members: members.clone(),
            gateways: Vec::new(),
            site,
            kek,
            upstream,
            slow_upstream,
            roots,
            fleet_port,
            issuer,
            cluster,
            directory,
        };
        store::install_failpoints(&mut stage.superuser().await?).await?;
        stage.trust_the_keys("trust-1.json").await?;
        stage.publish_first().await?;
        for number in 1..=members.gateways {
            stage.start_gateway(&format!("edge-{number}"), None).await?;
        }
        stage.every_gateway_runs(0).await?;
        Ok(stage)
    }

    /// A file beside the processes.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where the control plane is asked.
    pub(super) fn socket(&self) -> PathBuf {
        self.file("control-plane.sock")
    }

    /// What the control plane has logged.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn control_plane_log(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(self.file("control-plane.log"))?)
    }

    /// Its settings, for the command line.
    pub(super) fn settings(&self) -> PathBuf {
        self.file("control-plane.yaml")
    }

    /// Lets the roots name every key of the bundle ring.
    pub(super) async fn trust_the_keys(&self, document: &str) -> anyhow::Result<()> {
        let (root, document) = (self.file("root.key"), self.file(document));
        let (root, document) = (root.display().to_string(), document.display().to_string());
        self.ask(&["trust", "sign", "--root", &root, "--out", &document])
            .await?
            .done()?;
        self.ask(&["trust", "accept", &document]).await?.done().map(drop)
    }

    /// Starts another gateway, and waits until it serves; with a file of statements it needs nobody for that.
    pub(super) async fn start_gateway(
        &mut self,
        name: &str,
        begin_with: Option<&Path>,
    ) -> anyhow::Result<()> {
        self.site.write_certificate(&self.site.path("tls"), name, name)?;
        let tls = |file: &str| self.site.path(&format!("tls/{file}"));
        let fleet = json!({
            "name": FLEET,
            "node": name,
            "control_plane": format!("https://localhost:{}", self.fleet_port),
            "roots": self.roots,
            "ca": self.site.path("ca.pem"),
            "certificate": tls(&format!("{name}.pem")),
            "key": tls(&format!("{name}.key")),
            "probation_ms": self.members.probation_ms,
            "begin_with": begin_with.unwrap_or(Path::new("")),
        });
        let mut place = Place {
            has_directory: false,
            more: format!(
                "threads: 1\ntelemetry: {{ level: 'warn,gateway::fleet=info' }}\nupgrade: {{ drain_ms: 500 }}\nsocket_dir: {}\nfleet: {fleet}\n",
                self.directory.path().display()
            ),
            ..Place::anywhere(name)
        };
        let gateway = self.start_in(&place, &[]).await?;
        place.https = gateway.https()?;
        self.gateways.push((place, gateway));
        Ok(())
    }

    /// Starts a gateway and waits until it serves: it listens when it has a policy.
    async fn start_in(&self, place: &Place, wrapper: &[String]) -> anyhow::Result<Gateway> {
        let gateway = Gateway::start(&self.site, place, &self.members.binary, wrapper).await?;
        super::patiently(&format!("{} serves", place.name), async || {
            gateway.https().is_ok()
        })
        .await
        .with_context(|| gateway.log().unwrap_or_default())?;
        Ok(gateway)
    }

    /// The names of the gateways.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.gateways
            .iter()
            .map(|(place, _)| place.name.clone())
            .collect()
    }

    pub(super) fn index(&self, name: &str) -> anyhow::Result<usize> {
        let index = self.gateways.iter().position(|(place, _)| place.name == name);
        index.with_context(|| format!("no gateway {name}"))
    }

    /// Ends a gateway with SIGKILL, or in order, and starts it again where it was.
    ///
    /// # Errors
    /// When it does not serve again.
    pub(super) async fn restart_gateway(&mut self, name: &str, signal: Signal) -> anyhow::Result<()> {
        self.restart_under(name, signal, &[]).await
    }

    /// The same, with words before the program.
    pub(super) async fn restart_under(
        &mut self,
        name: &str,
        signal: Signal,
        wrapper: &[String],
    ) -> anyhow::Result<()> {
        let index = self.index(name)?;
        let (place, gateway) = self.gateways.get_mut(index).context("no gateway")?;
        gateway.signal(signal)?;
        gateway.ended().await?;
        let place = place.clone();
        let again = self.start_in(&place, wrapper).await?;
        if let Some((_, gateway)) = self.gateways.get_mut(index) {
            *gateway = again;
        }
        Ok(())
    }

    /// The way into one gateway.
    ///
    /// # Errors
    /// When there is no such gateway, or it has not said where it listens.
    pub fn door(&self, name: &str) -> anyhow::Result<Door> {
        let (_, gateway) = self.gateways.get(self.index(name)?).context("no gateway")?;
        Ok(Door::new(vec![gateway.https()?], self.site.client_config()?))
    }

    /// The way into any of them.
    ///
    /// # Errors
    /// When one has not said where it listens.
    pub fn every_door(&self) -> anyhow::Result<Door> {
        let addresses = self.gateways.iter().map(|(_, gateway)| gateway.https());
        let addresses = addresses.collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Door::new(addresses, self.site.client_config()?))
    }

    /// A connection that may do everything: to make steps stand still, and to steal keys.
    pub(super) async fn superuser(&self) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect(&self.cluster.owner_url()).await?)
    }

    /// Stops the database in order; everything else is killed.
    ///
    /// # Errors
    /// When it does not stop.
    pub async fn stop(self) -> anyhow::Result<()> {
        let Self {
            gateways,
            control_plane,
            issuer,
            cluster,
            directory,
            ..
        } = self;
        drop((gateways, control_plane, issuer));
        cluster.stop().await?;
        drop(directory);
        Ok(())
    }
}

async fn write_settings(
    members: &Members,
    directory: &Path,
    site: &Site,
    port: u16,
) -> anyhow::Result<(Start, Vec<String>)> {
    let root = made(members, directory, "root.key", &["trust", "init", "--root"]).await?;
    let ada = made(members, directory, "ada.pem", &["policy", "approve", "--new-key"]).await?;
    let grace = made(
        members,
        directory,
        "grace.pem",
        &["policy", "approve", "--new-key"],
    )
    .await?;
    let people = json!({
        "approvers": [{"name": "grace", "public": grace}], "authors": [{"name": "ada", "public": ada}],
    });
    // JSON is YAML.
    fs::write(directory.join("people.yaml"), people.to_string())?;
    site.write_certificate(&site.path("tls"), "control-plane", "localhost")?;
    let start = start(members, directory, "control-plane");
    let mut policies = members.policies.clone();
    let named = policies.as_object_mut().context("`policies` is a mapping")?;
    named.insert("approvers".to_owned(), json!(directory.join("people.yaml")));
    start.write_settings(json!({
        "socket": directory.join("control-plane.sock"),
        "database": { "url": secret(directory, "db_control") },
        "kek": secret(directory, "kek"),
        "rotation": { "standby_dwell_s": 1, "issuer_overlap_s": 1, "maintenance_interval_ms": 500 },
        "fleet": {
            "name": FLEET,
            "environment": "test",
            "roots": [root],
            "listen": SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            "certificate": site.path("tls/control-plane.pem"),
            "key": site.path("tls/control-plane.key"),
            "client_ca": site.path("ca.pem"),
        },
        "policies": policies,
    }))?;
    Ok((start, vec![root]))
}

fn start(members: &Members, directory: &Path, command: &'static str) -> Start {
    Start {
        binary: members.binary.clone(),
        command,
        name: command.to_owned(),
        directory: directory.to_owned(),
        clock: Offset(0),
        inside: Vec::new(),
    }
}

/// Makes a key in a file with a command, and gives its public part, which is the last word that is printed.
async fn made(members: &Members, directory: &Path, file: &str, command: &[&str]) -> anyhow::Result<String> {
    let file = directory.join(file).display().to_string();
    let said = words(&members.binary, &[command, &[&file]].concat())
        .await?
        .done()?;
    let word = said.split_whitespace().last().context("nothing was printed")?;
    let public = word.trim_end_matches('}').to_owned();
    ensure!(public.len() == 43, "no public key: {said}");
    Ok(public)
}

async fn start_issuer(members: &Members, directory: &Path) -> anyhow::Result<Service> {
    let start = start(members, directory, "core-api");
    start.write_settings(json!({
        "socket": directory.join("core-api.sock"),
        "database": { "url": secret(directory, "db_core") },
        "kek": secret(directory, "kek"),
        "tokens": { "keys_refresh_s": 1 },
        // The harness tries the fleet, not passwords.
        "password": { "pepper": secret(directory, "pepper"), "memory_kib": 64, "iterations": 1, "max_parallel": 2,
            "max_per_address": 32, "deadline_ms": 9_000 },
        "auto_activate": true,
    }))?;
    Service::start(start).await
}

fn free_port() -> anyhow::Result<u16> {
    let first = u16::try_from(std::process::id() % 12_000)?;
    let mut ports = PORTS.cycle().skip(first.into()).take(PORTS.len());
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    ports.find(is_free).context("no port is free")
}
