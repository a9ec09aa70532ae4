//! The settings files of the three services, written at every start.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};
use service_runtime::settings::Environment;

use super::fleet;
use super::secrets::Secrets;
use crate::data_directory::DataDirectory;
use crate::durable_file;

/// What the settings are made of.
#[derive(Debug)]
pub(super) struct Inputs<'a> {
    pub(super) directory: &'a DataDirectory,
    pub(super) environment: Environment,
    pub(super) secrets: &'a Secrets,
    pub(super) socket_directory: &'a Path,
    pub(super) policies: &'a Path,
    /// `<listener>.<http|https>` → address.
    pub(super) listen: &'a BTreeMap<String, SocketAddr>,
    /// Where the control plane tells its gateway what is stated.
    pub(super) members: SocketAddr,
    /// What links in mails begin with.
    pub(super) app_url: &'a str,
    /// Private addresses; port 0 until a service has picked one.
    pub(super) private: &'a BTreeMap<&'static str, SocketAddr>,
}

/// Where a service writes the addresses it really listens on.
pub(super) fn endpoints_file(directory: &DataDirectory, service: &str) -> PathBuf {
    directory.run().join(format!("{service}.json"))
}

/// Writes all three files.
pub(super) fn write(inputs: &Inputs<'_>) -> anyhow::Result<()> {
    for (service, settings) in [
        ("core-api", core_api(inputs)),
        ("control-plane", control_plane(inputs)),
        ("gateway", gateway(inputs)),
    ] {
        let yaml = serde_yaml::to_string(&settings)
            .with_context(|| format!("cannot write settings of {service}"))?;
        let variables = service.replace('-', "_").to_uppercase();
        let text = format!(
            "# Settings of {service}, written by `portico up` at every start: changes are lost.\n\
             # To change one, set a variable such as {variables}__TELEMETRY__LEVEL=debug.\n{yaml}"
        );
        durable_file::write(&inputs.directory.settings_of(service), text.as_bytes(), 0o600)?;
    }
    Ok(())
}

fn private(inputs: &Inputs<'_>, service: &str) -> String {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    inputs.private.get(service).copied().unwrap_or(any).to_string()
}

fn secret(path: &Path) -> String {
    format!("file:{}", path.display())
}

fn keks(inputs: &Inputs<'_>) -> Vec<Value> {
    let keks = inputs.secrets.keks.iter();
    keks.map(|(version, path)| json!({"version": version, "secret": secret(path)}))
        .collect()
}

fn core_api(inputs: &Inputs<'_>) -> Value {
    let is_relaxed = inputs.environment != Environment::Production;
    let mut password = json!({"pepper": secret(&inputs.secrets.pepper)});
    // Tests and demonstrations come from one address, on machines that do other things.
    if is_relaxed && let Some(password) = password.as_object_mut() {
        password.insert("max_per_address".to_owned(), 32.into());
        password.insert("deadline_ms".to_owned(), 9_000.into());
    }
    // Production names its mail server in variables: CORE_API__MAIL__SMTP__HOST.
    let mail = if is_relaxed {
        // The hosted log-in is the application.
        let app_url = format!("{}/account", inputs.app_url);
        json!({"directory": inputs.directory.mail(), "app_url": app_url})
    } else {
        json!({})
    };
    // As browsers write it.
    let origin = inputs.app_url.strip_suffix(":443").unwrap_or(inputs.app_url);
    json!({
        "socket": inputs.socket_directory.join("core-api.sock"),
        "private_listen": private(inputs, "core-api"),
        "endpoints_file": endpoints_file(inputs.directory, "core-api"),
        "database": {"url": secret(&inputs.secrets.core_url)},
        "keks": keks(inputs),
        "policies_dir": inputs.policies,
        "password": password,
        "mail": mail,
        "passkeys": {"rp_id": "localhost", "origins": [origin]},
        "self_service_cash": is_relaxed,
        "auto_activate": is_relaxed,
    })
}

fn control_plane(inputs: &Inputs<'_>) -> Value {
    let of_fleet = |name: &str| inputs.directory.fleet().join(name);
    let mut settings = json!({
        "socket": inputs.socket_directory.join("control-plane.sock"),
        "private_listen": private(inputs, "control-plane"),
        "endpoints_file": endpoints_file(inputs.directory, "control-plane"),
        "database": {"url": secret(&inputs.secrets.control_url)},
        "keks": keks(inputs),
        "fleet": {
            "name": fleet::NAME,
            "environment": inputs.environment.as_str(),
            "roots": [inputs.secrets.fleet_root_public],
            "listen": inputs.members,
            "certificate": of_fleet(&format!("{}.pem", fleet::CONTROL_PLANE)),
            "key": of_fleet(&format!("{}.key", fleet::CONTROL_PLANE)),
            "client_ca": of_fleet("ca.pem"),
        },
    });
    // The one gateway of this machine hears of a new key at once, so a rotation need not wait for caches.
    if inputs.environment != Environment::Production
        && let Some(settings) = settings.as_object_mut()
    {
        settings.insert("rotation".to_owned(), json!({"standby_dwell_s": 1}));
    }
    settings
}

/// Its policy comes from the directory; keys, revocations and blocks are stated by its fleet.
fn gateway(inputs: &Inputs<'_>) -> Value {
    let of_fleet = |name: &str| inputs.directory.fleet().join(name);
    let listen: BTreeMap<&String, String> = inputs
        .listen
        .iter()
        .map(|(label, address)| (label, address.to_string()))
        .collect();
    json!({
        "policies_dir": inputs.policies,
        "state_dir": inputs.directory.gateway(),
        "socket_dir": inputs.socket_directory,
        "certificate_dir": inputs.directory.tls(),
        "key_dir": inputs.directory.keys(),
        "fleet": {
            "name": fleet::NAME,
            "node": fleet::NODE,
            "control_plane": format!("https://{}", inputs.members),
            "roots": [inputs.secrets.fleet_root_public],
            "ca": of_fleet("ca.pem"),
            "certificate": of_fleet(&format!("{}.pem", fleet::NODE)),
            "key": of_fleet(&format!("{}.key", fleet::NODE)),
        },
        "listen": listen,
        "private_listen": private(inputs, "gateway"),
        // Load tests come from one address.
        "connections": { "handshakes_per_second": 0 },
        "endpoints_file": endpoints_file(inputs.directory, "gateway"),
    })
}
