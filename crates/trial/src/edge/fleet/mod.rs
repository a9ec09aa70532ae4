//! The drill of EDG-15: three gateways on addresses of their own, a bank of two cores and one store, and what is lost of them.

mod bank;
mod customers;
mod finding;
mod losses;
mod transfers;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::process::Signal;
use tokio::time::Instant;

use super::network::{Network, Service};
use super::process::Gateway;
use super::site::{HOST, Place, Site, open_route};
use super::store::Store;
use super::upstream;
use crate::FrontDoor;
use bank::{Bank, CONTROL, CORES};
pub use finding::Finding;

const NODES: [&str; 7] = [
    "gateway1", "gateway2", "gateway3", "core1", "core2", "store", CONTROL,
];
const GATEWAYS: [&str; 3] = ["gateway1", "gateway2", "gateway3"];
/// What each limit of the policy allows at once.
const BURST: usize = 60;

/// A limit of 60 that all gateways count together, for each step of the drill that needs one of which nothing is used.
const LIMITED: [(&str, &str); 6] = [
    ("exact", "deny"),
    ("spare", "deny"),
    ("other", "deny"),
    ("local", "local"),
    ("open", "allow"),
    ("late", "deny"),
];

/// Three gateways, the bank and a store, on a network of their own. In the node of each core is a stand-in as well, for routes
/// without a token.
pub struct Fleet {
    gateways: Vec<(Place, Gateway)>,
    /// The ways of customers into them.
    doors: Vec<FrontDoor>,
    bank: Bank,
    cores: BTreeMap<&'static str, Service>,
    store: Option<Store>,
    site: Site,
    binary: PathBuf,
    // Last: a namespace goes when nothing runs in it any more.
    network: Network,
}

impl Fleet {
    /// Starts everything, and moves this thread into its network.
    ///
    /// # Errors
    /// When no network can be made ([`Network::impossible`]), or something does not start.
    pub async fn start(binary: &Path) -> anyhow::Result<Self> {
        let began = Instant::now();
        let network = Network::make(&NODES)?;
        let address = |core: &str| network.at(core, 80).to_string();
        let upstream = format!(
            "address: 'http://{}', also_at: ['http://{}'], timeouts: {{ connect: 1s, read: 5s, total: 20s }}, eject: {{ failures: 2, for: 30s }}, retries: {{ most: 2, budget: 50% }}",
            address("core1"),
            address("core2")
        );
        let site = Site::with_routes(&upstream, &routes())?;
        let store = network.address("store").to_string();
        site.write_certificate(&site.path("tls"), "store", &store)?;
        site.write("hash-key", "the same secret of every gateway")?;
        let mut fleet = Self {
            gateways: Vec::new(),
            doors: Vec::new(),
            bank: Bank::start(&network, &site, binary).await?,
            cores: BTreeMap::new(),
            store: None,
            site,
            binary: binary.to_owned(),
            network,
        };
        fleet.start_store()?;
        for core in CORES {
            fleet.start_core(core)?;
        }
        for name in GATEWAYS {
            fleet
                .site
                .write_certificate(&fleet.site.path("tls"), name, name)?;
            let place = fleet.place(name, &store);
            let gateway = fleet.start_gateway(&place).await?;
            let authority = fleet.site.path("ca.pem");
            fleet.doors.push(FrontDoor::at(HOST, place.https, &authority)?);
            fleet.gateways.push((place, gateway));
        }
        fleet.wait_for_store(true).await?;
        fleet.everybody_hears(began).await?;
        Ok(fleet)
    }

    fn place(&self, name: &str, store: &str) -> Place {
        let limits = format!(
            "limit_store: {{ addresses: ['rediss://{store}:6379'], ca_file: {}, hash_key_file: {}, timeout_ms: 5000 }}\n",
            self.site.path("ca.pem").display(),
            self.site.path("hash-key").display()
        );
        Place {
            name: name.to_owned(),
            https: self.network.at(name, 443),
            private: self.network.at(name, 9901),
            has_directory: true,
            more: limits + &self.bank.settings_of(name, &self.network, &self.site),
        }
    }

    /// Stops its database in order; everything else is killed.
    ///
    /// # Errors
    /// When it does not stop.
    pub async fn stop(self) -> anyhow::Result<()> {
        let Self { gateways, bank, .. } = self;
        drop(gateways);
        bank.stop().await
    }

    /// What of the drill the kernel cannot do, and why; `None` when it can do all.
    #[must_use]
    pub fn leaves_out() -> Option<String> {
        let reason = Network::cannot_be_bad()?;
        Some(format!("links with delay and loss are not tried: {reason}"))
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
        let (certificate, key) = (tls.join("store.pem"), tls.join("store.key"));
        let authority = self.site.path("ca.pem");
        let arguments: [(&str, &OsStr); 8] = [
            ("--port", "0".as_ref()),
            ("--tls-port", "6379".as_ref()),
            ("--bind", address.as_ref()),
            ("--tls-auth-clients", "no".as_ref()),
            // Nobody else is on this network.
            ("--protected-mode", "no".as_ref()),
            ("--tls-cert-file", certificate.as_ref()),
            ("--tls-key-file", key.as_ref()),
            ("--tls-ca-cert-file", authority.as_ref()),
        ];
        let arguments = arguments.map(|(name, value)| [name.as_ref(), value]).concat();
        let inside = self.network.inside("store");
        self.store = Some(Store::launch(&inside, &self.site.path(""), &arguments)?);
        Ok(())
    }

    /// Waits until every gateway knows whether the store is there.
    async fn wait_for_store(&self, is_up: bool) -> anyhow::Result<()> {
        for (_, gateway) in &self.gateways {
            gateway.knows_store(is_up).await?;
        }
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

fn routes() -> String {
    let limited = LIMITED.iter().map(|(name, on_store_down)| {
        let limit = format!(
            "{{ limit: 1/h, burst: {BURST}, key: [address], count_in: store, on_store_down: {on_store_down} }}"
        );
        open_route(name, &format!("rate: {{ {name}: {limit} }}, upstream: core"))
    });
    let alone =
        format!("rate: {{ alone: {{ limit: 1/h, burst: {BURST}, key: [address] }} }}, upstream: core");
    open_route("fast", "upstream: core") + &open_route("alone", &alone) + &limited.collect::<String>()
}
