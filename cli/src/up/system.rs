//! A running system: its processes in the order they start, and the reverse in which they stop.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use database::cluster::PrivateCluster;
use service_runtime::shutdown::Shutdown;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::child::{self, Running, Service};
use super::endpoints::{Endpoints, metrics_url};
use super::fleet;
use super::logs::{ServiceLog, Terminal};
use super::prepare::Prepared;
use super::readiness;
use super::settings::{self, Inputs};
use super::store::{self, Addresses};
use super::tour::Tour;
use super::{SERVICES, Stop, survivors};
use crate::control_plane::ControlPlane;

/// Pause before a database that died is started again.
const DATABASE_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_DATABASE_PAUSE: Duration = Duration::from_secs(10);

/// What runs, and what it takes to stop it.
pub(super) struct System<'a> {
    prepared: &'a Prepared,
    terminal: &'a Terminal,
    stop: &'a Stop,
    /// Reads what the services say.
    readers: Shutdown,
    cluster: Option<PrivateCluster>,
    addresses: Option<Addresses>,
    /// Started and not yet ready.
    starting: Vec<Running>,
    private: BTreeMap<&'static str, SocketAddr>,
    program: PathBuf,
    supervised: Vec<Supervised>,
    supervised_cluster: Option<(CancellationToken, JoinHandle<Option<PrivateCluster>>)>,
}

struct Supervised {
    name: &'static str,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl<'a> System<'a> {
    pub(super) fn new(prepared: &'a Prepared, terminal: &'a Terminal, stop: &'a Stop) -> Self {
        Self {
            prepared,
            terminal,
            stop,
            readers: Shutdown::new(),
            cluster: None,
            addresses: None,
            starting: Vec::new(),
            private: BTreeMap::new(),
            program: PathBuf::new(),
            supervised: Vec::new(),
            supervised_cluster: None,
        }
    }

    /// Starts everything and returns when all of it is ready. After an error, [`System::stop`] ends what had started.
    pub(super) async fn start(&mut self) -> anyhow::Result<()> {
        self.program = std::env::current_exe().context("cannot tell where this program is")?;
        let prepared = self.prepared;
        let addresses = match &prepared.given_database {
            Some(url) => store::prepare_given(url, &prepared.secrets, self.terminal).await?,
            None => self.start_cluster().await?,
        };
        self.write_settings()?;
        self.addresses = Some(addresses);
        let [control_plane, core_api, gateway] = SERVICES;
        self.begin(control_plane)?;
        self.begin(core_api)?;
        self.ready(control_plane).await?;
        // Whom the gateway believes is signed before it asks.
        self.keep_trust().await?;
        self.begin(gateway)?;
        self.ready(core_api).await?;
        self.ready(gateway).await?;
        // A service that is restarted comes back where it was.
        self.write_settings()?;
        self.supervise();
        Ok(())
    }

    fn begin(&mut self, name: &'static str) -> anyhow::Result<()> {
        self.go_on()?;
        let running = self.service(name)?.start(&self.readers)?;
        survivors::note(&self.prepared.directory, name, running.identity)?;
        self.starting.push(running);
        Ok(())
    }

    /// Waits until a service is ready, and keeps where it is.
    async fn ready(&mut self, name: &'static str) -> anyhow::Result<()> {
        let mut running = self.starting.iter_mut();
        let running = running.find(|running| running.service.name == name);
        let running = running.with_context(|| format!("{name} was not started"))?;
        let endpoints = readiness::wait(running, &self.stop.begin).await?;
        let address = readiness::private_address(&endpoints);
        self.private
            .insert(name, address.context("a service told no private address")?);
        Ok(())
    }

    /// The development root signs which keys may sign for gateways, now and whenever the ring turns.
    async fn keep_trust(&mut self) -> anyhow::Result<()> {
        let control_plane =
            ControlPlane::with_settings(&self.prepared.directory.settings_of("control-plane"))?;
        let root = fleet::root(&self.prepared.secrets.fleet_root)?;
        fleet::hand_over(&control_plane, &root).await?;
        self.readers
            .spawn(fleet::keep(control_plane, root, self.stop.begin.clone()));
        Ok(())
    }

    async fn start_cluster(&mut self) -> anyhow::Result<Addresses> {
        let prepared = self.prepared;
        let cluster = store::start_cluster(&prepared.directory, &prepared.secrets).await?;
        let cluster = self.cluster.insert(cluster);
        if cluster.was_adopted() {
            let pid = cluster.pid();
            self.terminal.say(&format!(
                "PostgreSQL (process {pid}) outlived an earlier `portico up`: going on with it"
            ));
        }
        let addresses = store::prepare_cluster(cluster, &prepared.secrets).await?;
        let at = cluster.data().display();
        self.terminal
            .say(&format!("PostgreSQL is ready, its data is in {at}"));
        Ok(addresses)
    }

    fn go_on(&self) -> anyhow::Result<()> {
        if self.stop.begin.is_cancelled() {
            bail!("stopped")
        } else {
            Ok(())
        }
    }

    fn write_settings(&self) -> anyhow::Result<()> {
        let prepared = self.prepared;
        let app_url = self.gateway_https();
        settings::write(&Inputs {
            app_url: &app_url,
            directory: &prepared.directory,
            environment: prepared.environment,
            secrets: &prepared.secrets,
            socket_directory: &prepared.socket_directory,
            policies: &prepared.policies,
            listen: &prepared.listen,
            members: prepared.members,
            private: &self.private,
        })
    }

    fn service(&self, name: &'static str) -> anyhow::Result<Service> {
        let directory = &self.prepared.directory;
        Ok(Service {
            name,
            program: self.program.clone(),
            settings: directory.settings_of(name),
            endpoints_file: settings::endpoints_file(directory, name),
            environment: self.prepared.environment,
            log: ServiceLog::open(name, &directory.logs(), self.terminal.clone())?,
        })
    }

    /// Hands every process to a task that restarts it when it dies.
    fn supervise(&mut self) {
        for running in self.starting.drain(..) {
            let (name, stop) = (running.service.name, CancellationToken::new());
            let task = self.readers.spawn(child::supervise(
                running,
                self.prepared.directory.clone(),
                self.readers.clone(),
                self.terminal.clone(),
                stop.clone(),
                self.stop.hurry.clone(),
            ));
            self.supervised.push(Supervised { name, stop, task });
        }
        if let Some(cluster) = self.cluster.take() {
            let stop = CancellationToken::new();
            let task = self
                .readers
                .spawn(supervise_cluster(cluster, self.terminal.clone(), stop.clone()));
            self.supervised_cluster = Some((stop, task));
        }
    }

    fn gateway_https(&self) -> String {
        format!("https://localhost:{}", self.prepared.https.port())
    }

    /// Says where everything is: in `endpoints.json`, in a few lines, and in the tour.
    pub(super) fn announce(&self, after: Duration) -> anyhow::Result<()> {
        let prepared = self.prepared;
        let https = self.gateway_https();
        let endpoints = Endpoints {
            gateway_https: https.clone(),
            gateway_http: prepared
                .http
                .map(|address| format!("http://localhost:{}", address.port())),
            console: None,
            ca_cert: prepared.ca_cert.clone(),
            metrics: self
                .private
                .iter()
                .map(|(name, at)| ((*name).to_owned(), metrics_url(*at)))
                .collect(),
            database_url: self
                .addresses
                .as_ref()
                .map(|at| at.auditor_url.clone())
                .unwrap_or_default(),
            pid: std::process::id(),
            environment: prepared.environment.to_string(),
        };
        let tour = Tour {
            gateway: &https,
            ca: &prepared.ca_cert,
            program: &self.program,
            policies: &prepared.policies,
            data: prepared.directory.root(),
            environment: prepared.environment.as_str(),
        }
        .script();
        crate::durable_file::write(&prepared.directory.tour(), tour.as_bytes(), 0o600)?;

        let rule = "─".repeat(72);
        let terminal = self.terminal;
        terminal.plain(&format!(
            "\n{rule}\n  gateway    {https}   (API documentation: {https}/docs)\n  CA         {}\n  policies   {}\n  database   psql '{}'\n  data       {}\n{rule}\n\n{tour}\n{rule}",
            prepared.ca_cert.display(),
            prepared.policies.display(),
            endpoints.database_url,
            prepared.directory.root().display(),
        ));
        // Whoever waits for the file may read the terminal next.
        terminal.flush();
        endpoints.write(&prepared.directory)?;
        terminal.say(&format!(
            "ready in {}.{} s; where everything is: {}",
            after.as_secs(),
            after.subsec_millis() / 100,
            prepared.directory.endpoints().display()
        ));
        Ok(())
    }

    /// Stops everything in order: the gateway finishes its requests, then the services behind it, then the database.
    pub(super) async fn stop(mut self) {
        drop(std::fs::remove_file(self.prepared.directory.endpoints()));
        for running in self.starting.iter_mut().rev() {
            running.stop(&self.stop.hurry).await;
        }
        let (first, then): (Vec<_>, Vec<_>) = self
            .supervised
            .drain(..)
            .partition(|supervised| supervised.name == "gateway");
        for group in [first, then] {
            for supervised in &group {
                supervised.stop.cancel();
            }
            for supervised in group {
                // A panic in the task was said by the runtime; its process ends when it is dropped.
                drop(supervised.task.await);
            }
        }
        let mut cluster = self.cluster.take();
        if let Some((stop, task)) = self.supervised_cluster.take() {
            stop.cancel();
            cluster = task.await.ok().flatten();
        }
        if let Some(cluster) = cluster
            && let Err(error) = cluster.stop().await
        {
            self.terminal.say(&error.to_string());
        }
        self.readers.wait_for_tasks(Duration::from_secs(2)).await;
        for service in SERVICES {
            survivors::forget(&self.prepared.directory, service);
        }
    }
}

/// Starts the database again whenever it dies; returns it when told to stop.
async fn supervise_cluster(
    mut cluster: PrivateCluster,
    terminal: Terminal,
    stop: CancellationToken,
) -> Option<PrivateCluster> {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Some(cluster),
            () = cluster.ended() => {}
        }
        let options = cluster.options().clone();
        drop(cluster);
        let mut pause = DATABASE_PAUSE;
        let mut reason = String::new();
        cluster = loop {
            terminal.say(&format!(
                "PostgreSQL ended{reason}; starting it again in {} ms",
                pause.as_millis()
            ));
            tokio::select! {
                () = stop.cancelled() => return None,
                () = wait(pause) => {}
            }
            pause = LONGEST_DATABASE_PAUSE.min(pause * 2);
            match PrivateCluster::start(options.clone()).await {
                Ok(cluster) => break cluster,
                Err(error) => reason = format!(": {error}"),
            }
        };
        terminal.say("PostgreSQL is ready again");
    }
}

async fn wait(pause: Duration) {
    #[expect(
        clippy::disallowed_methods,
        reason = "a back-off: a database that dies at once must not be started in a loop"
    )]
    tokio::time::sleep(pause).await;
}
