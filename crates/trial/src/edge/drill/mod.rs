//! The drill of EDG-16: policies, certificates and processes are replaced under load with WebSockets open, and nobody
//! misses an answer. Two controls show that the same clients see it when something is missing.

mod phase;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::Signal;

use super::client::Door;
use super::load::Load;
use super::process::{Gateway, eventually};
use super::site::{HOST, Place, Site};
use super::sockets::{SocketTally, Sockets};
use super::upstream::Upstream;
pub use phase::{Bounds, Phase};

/// How long answers are cut: some requests are due in it.
const CONTROL_LASTS: Duration = Duration::from_millis(500);

/// How much is done, and under what load.
#[derive(Debug, Clone)]
pub struct Drill {
    /// The portico binary.
    pub binary: PathBuf,
    /// Requests a second.
    pub rate: u32,
    /// Kept connections that carry them.
    pub connections: u32,
    /// WebSockets that stay open.
    pub sockets: usize,
    /// Swaps: a policy and a certificate each.
    pub swaps: usize,
    /// Upgrades of the process.
    pub upgrades: usize,
    /// Gateways that are stopped by SIGTERM, while another one serves.
    pub drains: usize,
}

/// What a drill works with: two gateways, their upstream, and clients while a phase runs.
pub struct Stage {
    drill: Drill,
    _upstream: Upstream,
    site: Site,
    gateways: Vec<(Place, Gateway)>,
    generation: usize,
}

impl Drill {
    /// Runs every phase; each is shown as soon as it is over.
    ///
    /// # Errors
    /// When something cannot be started, or a swap, an upgrade or a drain does not come about.
    pub async fn run(&self, mut show: impl FnMut(&Phase)) -> anyhow::Result<Vec<Phase>> {
        let mut stage = self.begin().await?;
        let mut phases = Vec::new();
        let mut over = |phase: Phase| {
            show(&phase);
            phases.push(phase);
        };
        over(stage.swaps().await?);
        over(stage.upgrades().await?);
        over(stage.drains().await?);
        over(stage.kill().await?);
        over(stage.cut_answers().await?);
        Ok(phases)
    }

    /// Starts what its phases need, for who runs some of them.
    ///
    /// # Errors
    /// When something cannot be started.
    pub async fn begin(&self) -> anyhow::Result<Stage> {
        Stage::start(self.clone()).await
    }
}

impl Stage {
    async fn start(drill: Drill) -> anyhow::Result<Self> {
        let upstream = Upstream::start().await?;
        let site = Site::new(upstream.address())?;
        let mut stage = Self {
            drill,
            _upstream: upstream,
            site,
            gateways: Vec::new(),
            generation: 0,
        };
        for name in ["first", "second"] {
            let mut place = Place {
                more: "upgrade: { drain_ms: 1000 }\n".to_owned(),
                ..Place::anywhere(name)
            };
            let gateway = stage.start_gateway(&place).await?;
            // It comes back where it was.
            place.https = gateway.https()?;
            stage.gateways.push((place, gateway));
        }
        Ok(stage)
    }

    async fn start_gateway(&self, place: &Place) -> anyhow::Result<Gateway> {
        Gateway::start(&self.site, place, &self.drill.binary, &[]).await
    }

    fn door(&self, gateways: usize) -> anyhow::Result<Door> {
        let addresses: anyhow::Result<Vec<SocketAddr>> = self
            .gateways
            .iter()
            .take(gateways)
            .map(|(_, gateway)| gateway.https())
            .collect();
        Ok(Door::new(addresses?, self.site.client_config()?))
    }

    fn first(&mut self) -> anyhow::Result<&mut Gateway> {
        let (_, first) = self.gateways.first_mut().context("no gateway")?;
        Ok(first)
    }

    async fn clients(&self, door: &Door) -> (Load, Sockets) {
        let sockets = Sockets::open(door, "/live", self.drill.sockets).await;
        let load = Load::start(door, "/fast", self.drill.rate, self.drill.connections);
        (load, sockets)
    }

    async fn swaps(&mut self) -> anyhow::Result<Phase> {
        let door = self.door(1)?;
        let (load, sockets) = self.clients(&door).await;
        // The first few fill what is kept for reuse.
        let (times, warm_up) = (self.drill.swaps, self.drill.swaps.div_ceil(10));
        let mut before = self.first()?.resident_kib()?;
        for number in 0..times {
            if number == warm_up {
                before = self.first()?.resident_kib()?;
            }
            self.swap(&door).await?;
        }
        let after = self.first()?.resident_kib()?;
        Ok(Phase {
            name: "policy and certificate swaps",
            times,
            load: load.stop().await,
            sockets: sockets.stop().await,
            resident_kib: (before, after),
            is_control: false,
        })
    }

    /// Another policy and another certificate, until a client sees both.
    async fn swap(&mut self, door: &Door) -> anyhow::Result<()> {
        self.generation += 1;
        self.site.write_policy(self.generation)?;
        let tls = self.site.path("tls");
        let certificate = self.site.write_certificate(&tls, "gateway", HOST)?;
        let header = format!("x-generation: {}\r\n", self.generation);
        eventually("policy and certificate are in force", async || {
            let Ok(mut connection) = door.connect(0).await else {
                return false;
            };
            let is_new = connection.certificate().is_some_and(|shown| shown == certificate);
            is_new
                && connection
                    .get("/fast")
                    .await
                    .is_ok_and(|answer| answer.text.to_lowercase().contains(&header))
        })
        .await
    }

    /// Upgrades the process, each time until the old one has ended.
    ///
    /// # Errors
    /// When an upgrade does not come about.
    pub async fn upgrades(&mut self) -> anyhow::Result<Phase> {
        let door = self.door(1)?;
        let asked_at = self.site.path("first/upgrade.sock");
        eventually("it can be asked for an upgrade", async || asked_at.exists()).await?;
        let (load, sockets) = self.clients(&door).await;
        let before = self.first()?.resident_kib()?;
        let times = self.drill.upgrades;
        let gateway = self.first()?;
        for _ in 0..times {
            let old = gateway.pid()?;
            let (code, said) = gateway.upgrade().await?;
            ensure!(code == Some(0), "{said}");
            eventually("the old process has ended", async || !Gateway::is_running(old)).await?;
        }
        let after = gateway.resident_kib()?;
        Ok(Phase {
            name: "upgrades",
            times,
            load: load.stop().await,
            sockets: sockets.stop().await,
            resident_kib: (before, after),
            is_control: false,
        })
    }

    /// Stops gateways by SIGTERM.
    ///
    /// # Errors
    /// When one does not end, or does not come back.
    pub async fn drains(&mut self) -> anyhow::Result<Phase> {
        self.stop("SIGTERM drains", Signal::TERM, self.drill.drains).await
    }

    /// Kills one instead: a control.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn kill(&mut self) -> anyhow::Result<Phase> {
        self.stop("control: SIGKILL instead", Signal::KILL, 1).await
    }

    /// Stops one gateway and then the other, each until it is back; clients go to the one that listens.
    async fn stop(&mut self, name: &'static str, signal: Signal, times: usize) -> anyhow::Result<Phase> {
        let door = self.door(2)?;
        let before = self.first()?.resident_kib()?;
        let (load, sockets) = self.clients(&door).await;
        for number in 0..times {
            let index = number % self.gateways.len().max(1);
            let (place, gateway) = self.gateways.get_mut(index).context("no gateway")?;
            gateway.signal(signal)?;
            gateway.ended().await?;
            let place = place.clone();
            let again = self.start_gateway(&place).await?;
            if let Some((_, gateway)) = self.gateways.get_mut(index) {
                *gateway = again;
            }
        }
        let after = self.first()?.resident_kib()?;
        Ok(Phase {
            name,
            times,
            load: load.stop().await,
            sockets: sockets.stop().await,
            resident_kib: (before, after),
            is_control: signal == Signal::KILL,
        })
    }

    /// Every answer is cut in the middle by the upstream.
    async fn cut_answers(&mut self) -> anyhow::Result<Phase> {
        let door = self.door(1)?;
        let resident = self.first()?.resident_kib()?;
        let load = Load::start(&door, "/broken", 20, 1);
        let mut ticks = tokio::time::interval(CONTROL_LASTS / 2);
        for _ in 0..3 {
            ticks.tick().await;
        }
        Ok(Phase {
            name: "control: answers are cut",
            times: 1,
            load: load.stop().await,
            sockets: SocketTally::default(),
            resident_kib: (resident, resident),
            is_control: true,
        })
    }
}
