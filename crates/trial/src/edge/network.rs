//! A network of its own: namespaces with an address each, on one bridge, gone when dropped. Needs root and iproute2.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::process::{Command, id};
use std::thread::JoinHandle;

use anyhow::{Context as _, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::oneshot;

/// Where `ip netns` keeps namespaces.
const NAMESPACES: &str = "/run/netns";
const PREFIX: &str = "portico-";
/// The node in which it is tried what the kernel can do.
const TRY: &str = "try";
/// Ethernet address of nobody.
const NOBODY: &str = "02:00:00:00:00:00";
/// Classic BPF that drops (2) three of a hundred packets by the kernel's random word, and lets the others pass (0).
const LOSS: &str = "4,32 0 0 4294963256,53 0 1 4166118277,6 0 0 2,6 0 0 0";

/// Nodes on a bridge, and the thread that made it among them.
#[derive(Debug)]
pub struct Network {
    nodes: Vec<&'static str>,
}

/// A service that runs in a node, on a thread of its own; it ends with all its connections when dropped.
#[derive(Debug)]
pub struct Service {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Network {
    /// Why no network can be made here; `None` when one can.
    #[must_use]
    pub fn impossible() -> Option<String> {
        if !rustix::process::geteuid().is_root() {
            return Some("it needs root".to_owned());
        }
        sweep();
        refused(|| ip(&["-n", &namespace(TRY), "link", "add", "br0", "type", "bridge"]))
    }

    /// Why no link can be made bad here; `None` when one can.
    #[must_use]
    pub fn cannot_be_bad() -> Option<String> {
        refused(|| spoil(TRY, "lo"))
    }

    /// How bad links are here.
    #[must_use]
    pub fn badness() -> &'static str {
        match refused(|| delay(TRY, "lo")) {
            None => "take 40 ms and lose 3 of 100 packets, by netem",
            Some(_) => "carry 1 Mbit/s and lose 3 of 100 packets, as this kernel has no netem",
        }
    }

    /// Makes a node for each name, the first with the address 10.77.0.11, and moves this thread into the node that the
    /// bridge is in: what it starts from now on sees this network and no other.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn make(nodes: &[&'static str]) -> anyhow::Result<Self> {
        let mut network = Self { nodes: Vec::new() };
        network.add("hub")?;
        let hub = namespace("hub");
        ip(&["-n", &hub, "link", "set", "lo", "up"])?;
        ip(&["-n", &hub, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", &hub, "addr", "add", "10.77.0.1/24", "dev", "br0"])?;
        ip(&["-n", &hub, "link", "set", "br0", "up"])?;
        for node in nodes {
            network.add(node)?;
            let (name, address) = (namespace(node), format!("{}/24", network.address(node)));
            ip(&[
                "-n", &hub, "link", "add", node, "type", "veth", "peer", "name", "eth0", "netns", &name,
            ])?;
            ip(&["-n", &hub, "link", "set", node, "master", "br0", "up"])?;
            ip(&["-n", &name, "addr", "add", &address, "dev", "eth0"])?;
            ip(&["-n", &name, "link", "set", "eth0", "up"])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
        }
        enter(&hub)?;
        Ok(network)
    }

    fn add(&mut self, node: &'static str) -> anyhow::Result<()> {
        ip(&["netns", "add", &namespace(node)])?;
        self.nodes.push(node);
        Ok(())
    }

    /// The address of a node.
    #[must_use]
    pub fn address(&self, node: &str) -> IpAddr {
        let place = self.nodes.iter().position(|name| *name == node);
        let last = place
            .and_then(|place| u8::try_from(place).ok())
            .unwrap_or_default();
        IpAddr::V4(Ipv4Addr::new(10, 77, 0, last.saturating_add(10)))
    }

    /// The address of a node with a port.
    #[must_use]
    pub fn at(&self, node: &str, port: u16) -> SocketAddr {
        SocketAddr::new(self.address(node), port)
    }

    /// The words before a program that is to run in a node.
    #[must_use]
    pub fn inside(&self, node: &str) -> Vec<String> {
        ["ip", "netns", "exec", &namespace(node)]
            .map(str::to_owned)
            .into()
    }

    /// Cuts the link of a node: packets go nowhere, and nobody is told.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn cut(&self, node: &str) -> anyhow::Result<()> {
        ip(&["-n", &namespace("hub"), "link", "set", node, "down"])
    }

    /// Mends it.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn mend(&self, node: &str) -> anyhow::Result<()> {
        ip(&["-n", &namespace("hub"), "link", "set", node, "up"])
    }

    /// Cuts two nodes off from each other: packets between them go to nobody, and nobody is told.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn part(&self, one: &str, other: &str) -> anyhow::Result<()> {
        self.misdirect(one, other)?;
        self.misdirect(other, one)
    }

    /// Lets them hear each other again.
    ///
    /// # Errors
    /// When they were not parted.
    pub fn join(&self, one: &str, other: &str) -> anyhow::Result<()> {
        self.direct(one, other)?;
        self.direct(other, one)
    }

    fn misdirect(&self, from: &str, to: &str) -> anyhow::Result<()> {
        let (from, to) = (namespace(from), self.address(to).to_string());
        ip(&[
            "-n",
            &from,
            "neigh",
            "replace",
            &to,
            "lladdr",
            NOBODY,
            "dev",
            "eth0",
            "nud",
            "permanent",
        ])
    }

    fn direct(&self, from: &str, to: &str) -> anyhow::Result<()> {
        let (from, to) = (namespace(from), self.address(to).to_string());
        ip(&["-n", &from, "neigh", "del", &to, "dev", "eth0"])
    }

    /// Makes the link of a node bad: in both directions packets are late, some by more than others, and some are lost.
    ///
    /// # Errors
    /// When there is no such node, or the kernel can do neither netem nor what it is replaced with.
    pub fn make_bad(&self, node: &str) -> anyhow::Result<()> {
        spoil("hub", node)?;
        spoil(node, "eth0")
    }

    /// Makes it as good as it was.
    ///
    /// # Errors
    /// When it was not bad.
    pub fn make_good(&self, node: &str) -> anyhow::Result<()> {
        heal("hub", node)?;
        heal(node, "eth0")
    }

    /// Runs a service in a node until it is dropped.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn serve<F, Fut>(&self, node: &str, service: F) -> anyhow::Result<Service>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = anyhow::Result<()>>,
    {
        let name = namespace(node);
        let (stop, stopped) = oneshot::channel::<()>();
        let run = move || -> anyhow::Result<()> {
            enter(&name)?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => Ok(()),
                    ended = service() => ended,
                }
            })
        };
        // What a service fails with, its clients see.
        let thread = std::thread::Builder::new().spawn(move || drop(run()))?;
        Ok(Service {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for node in &self.nodes {
            drop(ip(&["netns", "del", &namespace(node)]));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Namespaces of processes that have ended without removing them.
fn sweep() {
    for entry in fs::read_dir(NAMESPACES).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !fs::exists(format!("/proc/{pid}")).unwrap_or(true)) {
            drop(ip(&["netns", "del", &name]));
        }
    }
}

fn namespace(node: &str) -> String {
    format!("{PREFIX}{}-{node}", id())
}

fn enter(name: &str) -> anyhow::Result<()> {
    let file = File::open(format!("{NAMESPACES}/{name}"))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("entering the namespace {name}"))
}

/// Why the kernel refuses something that is tried in a namespace of its own; `None` when it does it.
fn refused(attempt: impl FnOnce() -> anyhow::Result<()>) -> Option<String> {
    let name = namespace(TRY);
    let tried = ip(&["netns", "add", &name]).and_then(|()| attempt());
    drop(ip(&["netns", "del", &name]));
    tried.err().map(|error| format!("{error:#}"))
}

/// With netem, or where the kernel has none with a narrow link in which packets wait, and a filter that drops some.
fn spoil(node: &str, device: &str) -> anyhow::Result<()> {
    if delay(node, device).is_ok() {
        return Ok(());
    }
    let narrow = ["tbf", "rate", "1mbit", "burst", "2000", "latency", "200ms"];
    qdisc(node, "add", device, &[&["root"][..], &narrow].concat())?;
    qdisc(node, "add", device, &["clsact"])?;
    let filter = ["egress", "bpf", "da", "bytecode", LOSS];
    tc(node, &[&["filter", "add", "dev", device], &filter[..]].concat())
}

fn delay(node: &str, device: &str) -> anyhow::Result<()> {
    let netem = ["root", "netem", "delay", "40ms", "10ms", "loss", "3%"];
    qdisc(node, "add", device, &netem)
}

fn heal(node: &str, device: &str) -> anyhow::Result<()> {
    // There is none where netem does both.
    drop(qdisc(node, "del", device, &["clsact"]));
    qdisc(node, "del", device, &["root"])
}

fn qdisc(node: &str, change: &str, device: &str, words: &[&str]) -> anyhow::Result<()> {
    tc(node, &[&["qdisc", change, "dev", device], words].concat())
}

fn tc(node: &str, words: &[&str]) -> anyhow::Result<()> {
    run("tc", &[&["-n", &namespace(node)], words].concat())
}

fn ip(words: &[&str]) -> anyhow::Result<()> {
    run("ip", words)
}

fn run(program: &str, words: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program)
        .args(words)
        .output()
        .with_context(|| format!("{program} (Debian: iproute2; scripts/install-dependencies --tests)"))?;
    if !output.status.success() {
        bail!(
            "{program} {}: {}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
