//! The database, control planes and issuers of a stage, with what they read from files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use database::cluster::{Authentication, Durability, Options, PrivateCluster};
use database::roles;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use super::clock::Offset;
use super::service::{Service, Start};
use super::stage::Setting;
use super::trust;

/// How wrong the clocks are: issuers and gateways at −S, 0 and +S; the second control plane at −60 s.
pub(super) const SIGNS: [i64; 3] = [-1, 0, 1];
pub(super) const CONTROL_PLANES: [i64; 2] = [0, -60];

/// The socket of a control plane.
pub(super) fn socket(directory: &Path, control_plane: usize) -> PathBuf {
    directory.join(format!("control-plane-{control_plane}.sock"))
}

/// The name of a gateway.
pub(super) fn node(gateway: usize) -> String {
    format!("gateway-{gateway}")
}

/// A PostgreSQL with every migration, in which the roles of the services log in.
pub(crate) async fn start_cluster(directory: &Path) -> anyhow::Result<PrivateCluster> {
    let cluster = PrivateCluster::start(Options {
        directory: directory.join("postgres"),
        superuser_password: "unused".to_owned(),
        authentication: Authentication::None,
        durability: Durability::None,
    })
    .await?;
    database::migrate(&cluster.owner_url()).await?;
    let mut superuser = PgConnection::connect(&cluster.owner_url()).await?;
    for role in [roles::CORE, roles::CONTROL, roles::AUDITOR] {
        roles::allow_login(&mut superuser, role, None).await?;
    }
    superuser.close().await?;
    Ok(cluster)
}

/// Writes a key-encryption key, and gives it.
pub(super) fn write_kek(directory: &Path, name: &str) -> anyhow::Result<Vec<u8>> {
    let halves = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
    let kek = halves.map(|half| *half.as_bytes()).concat();
    write_secret(directory, name, &kek)?;
    Ok(kek)
}

/// Writes what the processes read from files, and gives the key-encryption key.
pub(crate) fn write_secrets(directory: &Path, cluster: &PrivateCluster) -> anyhow::Result<Vec<u8>> {
    let pepper = uuid::Uuid::new_v4().to_string();
    let core = cluster.url_for(roles::CORE, None);
    let control = cluster.url_for(roles::CONTROL, None);
    for (name, content) in [("pepper", pepper), ("db_core", core), ("db_control", control)] {
        write_secret(directory, name, content.as_bytes())?;
    }
    write_kek(directory, "kek")
}

fn write_secret(directory: &Path, name: &str, content: &[u8]) -> std::io::Result<()> {
    let path = directory.join(name);
    fs::write(&path, content)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
}

pub(crate) fn secret(directory: &Path, name: &str) -> String {
    format!("file:{}", directory.join(name).display())
}

/// Starts the control planes; the first one makes the first keys.
pub(super) async fn start_control_planes(
    setting: &Setting,
    directory: &Path,
    root: &str,
) -> anyhow::Result<Vec<Service>> {
    let mut services = Vec::new();
    for (number, offset_s) in CONTROL_PLANES.into_iter().enumerate() {
        let start = Start {
            binary: setting.binary.clone(),
            command: "control-plane",
            name: format!("control-plane-{number}"),
            directory: directory.to_owned(),
            clock: Offset(offset_s),
            inside: Vec::new(),
        };
        let (lifetime_s, skew_s) = setting.control_plane_believes;
        start.write_settings(json!({
            "socket": socket(directory, number),
            "secrets": setting.providers(),
            "database": { "url": setting.secret(directory, "db_control")? },
            "kek": setting.secret(directory, "kek")?,
            "keks": setting.later_keks(directory),
            "rotation": {
                "standby_dwell_s": setting.dwell_s,
                "issuer_overlap_s": setting.terms.overlap_s,
                "rollback_window_s": setting.terms.rollback_s,
                "maintenance_interval_ms": 500,
            },
            "tokens": { "lifetime_s": lifetime_s, "skew_s": skew_s },
            "fleet": { "name": trust::FLEET, "environment": "test", "roots": [root] },
        }))?;
        services.push(Service::start(start).await?);
    }
    Ok(services)
}

/// Starts the issuers, each with a folder of its own for its socket.
pub(super) async fn start_issuers(setting: &Setting, directory: &Path) -> anyhow::Result<Vec<Service>> {
    let mut services = Vec::new();
    for (number, sign) in SIGNS.into_iter().enumerate() {
        let sockets = directory.join(format!("issuer-{number}"));
        fs::create_dir(&sockets)?;
        let start = Start {
            binary: setting.binary.clone(),
            command: "core-api",
            name: format!("core-api-{number}"),
            directory: directory.to_owned(),
            clock: Offset(sign * setting.terms.skew_s),
            inside: Vec::new(),
        };
        start.write_settings(json!({
            "socket": sockets.join("core-api.sock"),
            "secrets": setting.providers(),
            "database": { "url": setting.secret(directory, "db_core")? },
            "kek": setting.secret(directory, "kek")?,
            "keks": setting.later_keks(directory),
            "tokens": { "lifetime_s": setting.terms.lifetime_s, "keys_refresh_s": 1 },
            // The harness tries keys, not passwords.
            "password": { "pepper": setting.secret(directory, "pepper")?, "memory_kib": 64, "iterations": 1, "max_parallel": 2,
                "max_per_address": 32, "deadline_ms": 9_000 },
            "auto_activate": true,
        }))?;
        services.push(Service::start(start).await?);
    }
    Ok(services)
}
