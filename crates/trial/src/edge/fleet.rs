//! The drill of EDG-15: three gateways on addresses of their own, two cores and one store, and what is lost of them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::client::Door;
use super::network::{Network, Service};
use super::process::{Gateway, eventually};
use super::site::{Place, Site};
use super::upstream;

const NODES: [&str; 6] = ["gateway1", "gateway2", "gateway3", "core1", "core2", "store"];
const GATEWAYS: [&str; 3] = ["gateway1", "gateway2", "gateway3"];
/// What each limit of the policy allows at once.
const BURST: usize = 60;
/// Requests that are under way at a gateway at once.
const AT_ONCE: usize = 8;

const POLICY: &str = r#"
version: 1
listeners:
  edge: { https: { bind: "127.0.0.1:8443", tls: { min: "1.2", certificate: gateway } } }
hosts: [edge.example]
upstreams:
  core:
    address: http://CORE1
    also_at: ["http://CORE2"]
    authorization: strip
    timeouts: { connect: 1s, read: 5s, total: 20s }
    eject: { failures: 2, for: 30s }
    retries: { most: 2, budget: 50% }
headers:
  api: { set: { X-Content-Type-Options: nosniff }, remove: [Server] }
floor:
  limits: { head: 16KiB, headers: 64, target: 4KiB, body: 64KiB }
  timeouts: { head: 5s, body: 10s }
  headers: api
  rate:
    per-address: { limit: 100000/s, burst: 100000, key: [address] }
routes:
  fast: { match: { method: GET, path: /fast }, auth: none, because: a drill asks without a token, upstream: core }
  exact:
    match: { method: GET, path: /exact }
    auth: none
    because: a drill asks without a token
    rate: { exact: { limit: 1/h, burst: 60, key: [address], count_in: store, on_store_down: deny } }
    upstream: core
  spare:
    match: { method: GET, path: /spare }
    auth: none
    because: a drill asks without a token
    rate: { spare: { limit: 1/h, burst: 60, key: [address], count_in: store, on_store_down: deny } }
    upstream: core
  other:
    match: { method: GET, path: /other }
    auth: none
    because: a drill asks without a token
    rate: { other: { limit: 1/h, burst: 60, key: [address], count_in: store, on_store_down: deny } }
    upstream: core
  local:
    match: { method: GET, path: /local }
    auth: none
    because: a drill asks without a token
    rate: { local: { limit: 1/h, burst: 60, key: [address], count_in: store, on_store_down: local } }
    upstream: core
  open:
    match: { method: GET, path: /open }
    auth: none
    because: a drill asks without a token
    rate: { open: { limit: 1/h, burst: 60, key: [address], count_in: store, on_store_down: allow } }
    upstream: core
"#;

/// What became of requests, by status; 0 is a request without an answer.
pub type Statuses = BTreeMap<u16, usize>;

/// One thing that was lost or came back, and what was seen.
#[derive(Debug)]
pub struct Finding {
    /// What was done, and what the policy says of it.
    pub what: &'static str,
    /// What was seen.
    pub seen: Statuses,
    /// Whether that is what the policy says.
    pub holds: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen: Vec<String> = self
            .seen
            .iter()
            .map(|(status, count)| format!("{count} × {status}"))
            .collect();
        let verdict = if self.holds { "ok " } else { "BAD" };
        write!(f, "{verdict}  {:<86} {}", self.what, seen.join(", "))
    }
}

/// Three gateways, two cores, a store, on a network of their own.
pub struct Fleet {
    gateways: Vec<(Place, Gateway)>,
    cores: BTreeMap<&'static str, Service>,
    store: Option<Child>,
    site: Site,
    binary: std::path::PathBuf,
    // Last: a namespace goes when nothing runs in it any more.
    network: Network,
}

impl Fleet {
    /// Starts everything, and moves this thread into its network.
    ///
    /// # Errors
    /// When no network can be made ([`Network::impossible`]), or something does not start.
    pub async fn start(binary: &Path) -> anyhow::Result<Self> {
        let network = Network::make(&NODES)?;
        let address = |core: &str| network.at(core, 80).to_string();
        let policy = POLICY
            .replace("CORE1", &address("core1"))
            .replace("CORE2", &address("core2"));
        let site = Site::with_policy(&policy)?;
        let store = network.address("store").to_string();
        site.write_certificate(&site.path("tls"), "store", &store)?;
        site.write("hash-key", "the same secret of every gateway")?;
        let mut fleet = Self {
            gateways: Vec::new(),
            cores: BTreeMap::new(),
            store: None,
            site,
            binary: binary.to_owned(),
            network,
        };
        fleet.start_store()?;
        for core in ["core1", "core2"] {
            fleet.start_core(core)?;
        }
        for name in GATEWAYS {
            let place = Place {
                name: name.to_owned(),
                https: fleet.network.at(name, 443),
                private: fleet.network.at(name, 9901),
                more: format!(
                    "limit_store: {{ addresses: ['rediss://{}:6379'], ca_file: {}, hash_key_file: {}, timeout_ms: 5000 }}\n",
                    store,
                    fleet.site.path("ca.pem").display(),
                    fleet.site.path("hash-key").display()
                ),
            };
            let gateway = fleet.start_gateway(&place).await?;
            fleet.gateways.push((place, gateway));
        }
        fleet.wait_for_store(true).await?;
        Ok(fleet)
    }

    async fn start_gateway(&self, place: &Place) -> anyhow::Result<Gateway> {
        let inside = self.network.inside(&place.name);
        Gateway::start(&self.site, place, &self.binary, &inside).await
    }

    fn start_core(&mut self, core: &'static str) -> anyhow::Result<()> {
        let address = self.network.at(core, 80);
        let service = self.network.serve(core, move || upstream::serve(address))?;
        self.cores.insert(core, service);
        Ok(())
    }

    fn start_store(&mut self) -> anyhow::Result<()> {
        let (address, tls) = (self.network.address("store").to_string(), self.site.path("tls"));
        let mut words = self.network.inside("store").into_iter();
        let program = words.next().context("no program")?;
        let child = Command::new(program)
            .args(words)
            .args([
                "redis-server",
                "--port",
                "0",
                "--tls-port",
                "6379",
                "--bind",
                &address,
            ])
            .args(["--save", "", "--appendonly", "no", "--tls-auth-clients", "no"])
            // Nobody else is on this network.
            .args(["--protected-mode", "no"])
            .arg("--tls-cert-file")
            .arg(tls.join("store.pem"))
            .arg("--tls-key-file")
            .arg(tls.join("store.key"))
            .arg("--tls-ca-cert-file")
            .arg(self.site.path("ca.pem"))
            .arg("--dir")
            .arg(self.site.path(""))
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("redis-server (scripts/install-dependencies --tests)")?;
        self.store = Some(child);
        Ok(())
    }

    /// Waits until every gateway knows whether the store is there.
    async fn wait_for_store(&self, is_up: bool) -> anyhow::Result<()> {
        for (place, gateway) in &self.gateways {
            eventually(&format!("{} knows of its store", place.name), async || {
                matches!(gateway.metric("portico_limit_store_up").await, Ok(Some(up)) if up == i64::from(is_up))
            })
            .await?;
        }
        Ok(())
    }

    /// So many requests to each of these gateways, all at once.
    async fn flood(&self, gateways: &[usize], path: &'static str, each: usize) -> anyhow::Result<Statuses> {
        let mut clients = JoinSet::new();
        for index in gateways {
            let (place, _) = self.gateways.get(*index).context("no such gateway")?;
            let door = Door::new(vec![place.https], self.site.client_config()?);
            for client in 0..AT_ONCE {
                let share = each / AT_ONCE + usize::from(client < each % AT_ONCE);
                clients.spawn(ask(door.clone(), path, share));
            }
        }
        let mut all = Statuses::new();
        for statuses in clients.join_all().await {
            for (status, count) in statuses {
                *all.entry(status).or_default() += count;
            }
        }
        Ok(all)
    }

    async fn find(
        &self,
        what: &'static str,
        gateways: &[usize],
        (path, each): (&'static str, usize),
        expected: &[(u16, usize)],
    ) -> anyhow::Result<Finding> {
        let seen = self.flood(gateways, path, each).await?;
        let expected: Statuses = expected.iter().copied().filter(|(_, count)| *count > 0).collect();
        Ok(Finding {
            what,
            holds: seen == expected,
            seen,
        })
    }

    /// Loses one thing after the other, and says what became of requests.
    ///
    /// # Errors
    /// When something does not come back.
    pub async fn lose_everything_once(
        &mut self,
        mut show: impl FnMut(&Finding),
    ) -> anyhow::Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let mut found = |finding: Finding| {
            show(&finding);
            findings.push(finding);
        };
        let what = "three gateways: a limit of 60 is 60 for all of them";
        found(
            self.find(what, &[0, 1, 2], ("/exact", 30), &[(200, BURST), (429, 30)])
                .await?,
        );
        self.lose_processes(&mut found).await?;
        self.cut_links(&mut found).await?;
        self.lose_store(&mut found).await?;
        self.cut_store(&mut found).await?;
        Ok(findings)
    }

    /// A gateway and a core are killed, and come back.
    async fn lose_processes(&mut self, found: &mut impl FnMut(Finding)) -> anyhow::Result<()> {
        self.kill_gateway(0).await?;
        let what = "a gateway is killed: the others serve";
        found(self.find(what, &[1, 2], ("/fast", 40), &[(200, 80)]).await?);
        let what = "… and go on counting where all had been";
        found(self.find(what, &[1, 2], ("/exact", 10), &[(429, 20)]).await?);
        self.revive_gateway(0).await?;
        let what = "… it comes back and has forgotten nothing";
        found(self.find(what, &[0], ("/exact", 10), &[(429, 10)]).await?);
        self.cores.remove("core1");
        let what = "a core is killed: the other one takes over";
        found(self.find(what, &[0, 1, 2], ("/fast", 40), &[(200, 120)]).await?);
        self.start_core("core1")
    }

    /// The links of a core and of a gateway are cut, and mended.
    async fn cut_links(&mut self, found: &mut impl FnMut(Finding)) -> anyhow::Result<()> {
        self.network.cut("core2")?;
        let what = "the link of the other core is cut: the first one takes over";
        found(self.find(what, &[0, 1, 2], ("/fast", 40), &[(200, 120)]).await?);
        self.network.mend("core2")?;
        self.network.cut("gateway3")?;
        let what = "the link of a gateway is cut: the others serve";
        found(self.find(what, &[0, 1], ("/fast", 40), &[(200, 80)]).await?);
        self.network.mend("gateway3")?;
        self.wait_for_store(true).await?;
        let what = "… it is mended: that one serves, and has forgotten nothing";
        found(self.find(what, &[2], ("/exact", 10), &[(429, 10)]).await?);
        Ok(())
    }

    /// The store is killed, and comes back empty. Each step needs a limit of which nothing is used: what a gateway has seen
    /// exhausted, it refuses by itself.
    async fn lose_store(&mut self, found: &mut impl FnMut(Finding)) -> anyhow::Result<()> {
        let all = &[0, 1, 2];
        self.store.take().context("no store")?.kill().await?;
        self.wait_for_store(false).await?;
        let what = "the store is killed: deny refuses";
        found(self.find(what, all, ("/spare", 10), &[(503, 30)]).await?);
        let what = "… local counts in each gateway";
        found(
            self.find(what, all, ("/local", 80), &[(200, 3 * BURST), (429, 60)])
                .await?,
        );
        let what = "… allow lets pass";
        found(self.find(what, all, ("/open", 80), &[(200, 240)]).await?);
        self.start_store()?;
        self.wait_for_store(true).await?;
        let what = "… it comes back empty: 60 for all of them, and not one more";
        found(
            self.find(what, all, ("/spare", 30), &[(200, BURST), (429, 30)])
                .await?,
        );
        Ok(())
    }

    /// Its link is cut, and mended.
    async fn cut_store(&mut self, found: &mut impl FnMut(Finding)) -> anyhow::Result<()> {
        let all = &[0, 1, 2];
        self.network.cut("store")?;
        let what = "the link of the store is cut, and nobody knows yet: allow lets pass";
        found(self.find(what, all, ("/open", 10), &[(200, 30)]).await?);
        self.wait_for_store(false).await?;
        let what = "… known: deny refuses";
        found(self.find(what, all, ("/other", 10), &[(503, 30)]).await?);
        self.network.mend("store")?;
        self.wait_for_store(true).await?;
        let what = "… it is mended: 60 for all of them";
        found(
            self.find(what, all, ("/other", 30), &[(200, BURST), (429, 30)])
                .await?,
        );
        let what = "… and what was counted before is";
        found(self.find(what, all, ("/spare", 10), &[(429, 30)]).await?);
        Ok(())
    }

    async fn kill_gateway(&mut self, index: usize) -> anyhow::Result<()> {
        let (_, gateway) = self.gateways.get_mut(index).context("no such gateway")?;
        gateway.signal(Signal::KILL)?;
        gateway.ended().await
    }

    async fn revive_gateway(&mut self, index: usize) -> anyhow::Result<()> {
        let (place, _) = self.gateways.get(index).context("no such gateway")?;
        let place = place.clone();
        let again = self.start_gateway(&place).await?;
        if let Some((_, gateway)) = self.gateways.get_mut(index) {
            *gateway = again;
        }
        self.wait_for_store(true).await
    }
}

/// One after the other on one connection, as long as it lasts.
async fn ask(door: Door, path: &'static str, count: usize) -> Statuses {
    let (mut statuses, mut open) = (Statuses::new(), None);
    for _ in 0..count {
        let asked = async {
            let mut connection = match open.take() {
                Some(connection) => connection,
                None => door.connect(0).await?,
            };
            let answer = connection.get(path).await?;
            anyhow::Ok((answer.status, (!answer.closes).then_some(connection)))
        };
        let status = match timeout(Duration::from_secs(30), asked).await {
            Ok(Ok((status, connection))) => {
                open = connection;
                status
            }
            Ok(Err(_)) | Err(_) => 0,
        };
        *statuses.entry(status).or_default() += 1;
    }
    statuses
}
