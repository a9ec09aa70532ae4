//! The real bank behind a fleet: two cores on one PostgreSQL, and the control plane that its gateways dial.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use database::cluster::PrivateCluster;
use database::roles;
use serde_json::json;
use tempfile::TempDir;

use super::super::network::Network;
use super::super::site::Site;
use crate::Ledger;
use crate::rollout::words;
use crate::rotation::clock::Offset;
use crate::rotation::processes::{secret, start_cluster, write_secrets};
use crate::rotation::service::{Service, Start};
use crate::rotation::trust;

/// The node of the control plane.
pub(super) const CONTROL: &str = "control";
pub(super) const CORES: [&str; 2] = ["core1", "core2"];
/// Where the control plane listens for gateways.
const FLEET_PORT: u16 = 8444;
/// Where services have metrics and health.
const PRIVATE_PORT: u16 = 9901;
/// The name in the certificate of the cores, and in the one that gateways show them.
const CORE_NAME: &str = "core-api.internal";
const GATEWAY_NAME: &str = "gateway.internal";

/// What customers may do; what is upper case is an address. A log-in is not served without the store, a transfer is.
const POLICY: &str = r#"
version: 1
identity:
  customers:
    issuer: https://api.bank.example
    audiences: [core-api]
    algorithms: [EdDSA]
    type: at+jwt
    max_lifetime: 15min
    leeway: 30s
    keys: portico
upstreams:
  bank:
    address: "https://CORE1:443"
    also_at: ["https://CORE2:443"]
    tls: { min: "1.3", authority: core, server_name: core-api.internal, certificate: gateway-client }
    authorization: forward
    timeouts: { connect: 1s, read: 5s, total: 20s }
    eject: { failures: 2, for: 5s }
    retries: { most: 2, budget: 50% }
routes:
  register: { match: { method: POST, path: /api/v1/auth/register }, auth: none, because: a new customer has no token yet, upstream: bank }
  login:
    match: { method: POST, path: /api/v1/auth/login }
    auth: none
    because: the credentials are in the body
    rate: { log-ins: { limit: 1000/s, burst: 1000, key: [address], count_in: store, on_store_down: deny } }
    upstream: bank
  logout: { match: { method: POST, path: /api/v1/auth/logout }, auth: customers, scopes: [], upstream: bank }
  me: { match: { method: GET, path: /api/v1/me }, auth: customers, scopes: [], upstream: bank }
  sessions: { match: { method: GET, path: /api/v1/me/sessions }, auth: customers, scopes: [], upstream: bank }
  list_accounts: { match: { method: GET, path: /api/v1/accounts }, auth: customers, scopes: [], revocations_within: 10s, upstream: bank }
  open_account: { match: { method: POST, path: /api/v1/accounts }, auth: customers, scopes: [], upstream: bank }
  account: { match: { method: GET, path: "/api/v1/accounts/{id}" }, auth: customers, scopes: [], upstream: bank }
  deposit: { match: { method: POST, path: "/api/v1/accounts/{id}/deposits" }, auth: customers, scopes: [], upstream: bank }
  transfer:
    match: { method: POST, path: /api/v1/transfers }
    auth: customers
    scopes: []
    rate: { transfers: { limit: 1000/s, burst: 1000, key: [subject], count_in: store, on_store_down: allow } }
    upstream: bank
"#;

/// A running bank; what runs is killed when it is dropped.
pub(super) struct Bank {
    pub(super) cores: Vec<Service>,
    binary: PathBuf,
    /// Whom gateways believe.
    root: String,
    _control_plane: Service,
    cluster: PrivateCluster,
    /// Goes last: what runs has its files in it.
    directory: TempDir,
}

impl Bank {
    /// Starts it, and writes to the site what its gateways need.
    pub(super) async fn start(network: &Network, site: &Site, binary: &Path) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("portico-fleet-").tempdir()?;
        // Started by root, the database server is another user who must pass through here.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711))?;
        // It is on no network: its socket is a file, and files are the same in every node.
        let cluster = start_cluster(directory.path()).await?;
        write_secrets(directory.path(), &cluster)?;
        write_site(network, site)?;
        let root = trust::make_root(binary, directory.path()).await?;
        let start = |command, node: &str| Start {
            binary: binary.to_owned(),
            command,
            name: node.to_owned(),
            directory: directory.path().to_owned(),
            clock: Offset(0),
            inside: network.inside(node),
        };
        let control_plane = start("control-plane", CONTROL);
        write_control_plane(&control_plane, network, site, &root)?;
        let control_plane = Service::start(control_plane).await?;
        trust::hand_over(binary, directory.path(), "control.yaml").await?;
        let mut cores = Vec::new();
        for node in CORES {
            let core = start("core-api", node);
            write_core(&core, network, site)?;
            cores.push(Service::start(core).await?);
        }
        Ok(Self {
            cores,
            binary: binary.to_owned(),
            root,
            _control_plane: control_plane,
            cluster,
            directory,
        })
    }

    /// What the settings of a gateway say of the control plane, as YAML.
    pub(super) fn settings_of(&self, node: &str, network: &Network, site: &Site) -> String {
        let file = |ending: &str| site.path(&format!("tls/{node}.{ending}"));
        let fleet = json!({
            "name": trust::FLEET,
            "node": node,
            "control_plane": format!("https://{}", network.at(CONTROL, FLEET_PORT)),
            "roots": [self.root],
            "ca": site.path("ca.pem"),
            "certificate": file("pem"),
            "key": file("key"),
        });
        // JSON is YAML.
        format!("fleet: {fleet}\n")
    }

    pub(super) fn core(&mut self, index: usize) -> anyhow::Result<&mut Service> {
        self.cores.get_mut(index).context("no such core")
    }

    /// The books, for somebody who can only read.
    pub(super) async fn ledger(&self) -> anyhow::Result<Ledger> {
        Ledger::open(&self.cluster.url_for(roles::AUDITOR, None)).await
    }

    /// Revokes a session as an operator does.
    pub(super) async fn revoke(&self, session: &str) -> anyhow::Result<()> {
        let settings = self.directory.path().join("control.yaml").display().to_string();
        let command = [
            "revoke",
            "session",
            session,
            "--reason",
            "a drill",
            "--settings",
            &settings,
        ];
        words(&self.binary, &command).await?.done().map(drop)
    }

    /// Stops the database in order; everything else is killed.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        let Self {
            cores,
            _control_plane: control_plane,
            cluster,
            directory,
            ..
        } = self;
        drop((cores, control_plane));
        cluster.stop().await?;
        drop(directory);
        Ok(())
    }
}

fn write_site(network: &Network, site: &Site) -> anyhow::Result<()> {
    let address = |node| network.address(node).to_string();
    let policy = POLICY
        .replace("CORE1", &address("core1"))
        .replace("CORE2", &address("core2"));
    site.write("policies/bank.yaml", &policy)?;
    let tls = site.path("tls");
    fs::copy(site.path("ca.pem"), tls.join("core.ca.pem"))?;
    site.write_certificate(&tls, CONTROL, &address(CONTROL))?;
    site.write_certificate(&tls, "core-api", CORE_NAME)?;
    site.write_certificate(&tls, "gateway-client", GATEWAY_NAME)?;
    Ok(())
}

fn write_control_plane(start: &Start, network: &Network, site: &Site, root: &str) -> anyhow::Result<()> {
    let directory = &start.directory;
    start.write_settings(json!({
        "private_listen": network.at(CONTROL, PRIVATE_PORT),
        "socket": directory.join("control-plane.sock"),
        "database": { "url": secret(directory, "db_control") },
        "kek": secret(directory, "kek"),
        "rotation": { "standby_dwell_s": 1, "issuer_overlap_s": 1, "maintenance_interval_ms": 500 },
        "fleet": {
            "name": trust::FLEET,
            "environment": "test",
            "roots": [root],
            "listen": network.at(CONTROL, FLEET_PORT),
            "certificate": site.path("tls/control.pem"),
            "key": site.path("tls/control.key"),
            "client_ca": site.path("ca.pem"),
        },
    }))
}

fn write_core(start: &Start, network: &Network, site: &Site) -> anyhow::Result<()> {
    let directory = &start.directory;
    start.write_settings(json!({
        "private_listen": network.at(&start.name, PRIVATE_PORT),
        "tls": {
            "listen": network.at(&start.name, 443),
            "certificate_file": site.path("tls/core-api.pem"),
            "key_file": site.path("tls/core-api.key"),
            "client_authority_file": site.path("ca.pem"),
            "client_names": [GATEWAY_NAME],
        },
        "database": { "url": secret(directory, "db_core") },
        "kek": secret(directory, "kek"),
        "tokens": { "keys_refresh_s": 1 },
        // The drill tries the fleet, not passwords.
        "password": { "pepper": secret(directory, "pepper"), "memory_kib": 64, "iterations": 1, "max_parallel": 2,
            "max_per_address": 32, "deadline_ms": 9_000 },
        "self_service_cash": true,
        "auto_activate": true,
    }))
}
