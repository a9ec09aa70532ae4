//! Where a gateway that belongs to a fleet is told what to do, and whom it believes.

use std::path::PathBuf;
use std::time::Duration;

use fleet::{Roots, Stream};
use serde::Deserialize;

use super::address::{Address, Mirror};

/// Longest name of a gateway, as DNS has it.
const MAX_NAME_BYTES: usize = 63;

/// The fleet that a gateway belongs to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FleetSettings {
    /// The control plane: `https://host:port`, or `unix:/path` of its socket.
    pub control_plane: String,
    /// The name of the fleet: what is stated for another one is refused.
    pub name: String,
    /// The name of this gateway: the one DNS name in its certificate.
    pub node: String,
    /// The public parts of the offline root keys: 32 bytes Ed25519 each, base64url.
    pub roots: Vec<String>,
    /// How many of them must have signed a trust document.
    pub root_threshold: usize,
    /// Who must have issued the certificate of the control plane, PEM. Required with `https://`.
    pub ca: PathBuf,
    /// The certificate of this gateway, PEM, the certificate itself first. Required with `https://`.
    pub certificate: PathBuf,
    /// Its key, PEM. Required with `https://`.
    pub key: PathBuf,
    /// Where envelopes are looked for before the control plane is asked: `https://host/path`, or a folder.
    pub mirrors: Vec<String>,
    /// What `portico fleet export` has written: a gateway that holds nothing of a stream begins with it. Empty for none.
    pub begin_with: PathBuf,
    /// The streams that are followed. With `policies_dir`, `policy` is not among them whatever stands here.
    pub streams: Vec<Stream>,
    /// How long a policy must do without a fault before a restart would begin with it, in milliseconds.
    pub probation_ms: u64,
}

impl Default for FleetSettings {
    fn default() -> Self {
        Self {
            control_plane: String::new(),
            name: String::new(),
            node: String::new(),
            roots: Vec::new(),
            root_threshold: 1,
            ca: PathBuf::new(),
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            mirrors: Vec::new(),
            begin_with: PathBuf::new(),
            streams: Stream::ALL.to_vec(),
            probation_ms: 30_000,
        }
    }
}

impl FleetSettings {
    /// Rules that serde cannot state, one sentence for each that is broken.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        match Address::parse(&self.control_plane) {
            Ok(Address::Tls { .. }) => {
                for (name, path) in [
                    ("ca", &self.ca),
                    ("certificate", &self.certificate),
                    ("key", &self.key),
                ] {
                    if path.as_os_str().is_empty() {
                        faults.push(format!("fleet.{name}: is required with `https://`"));
                    }
                }
            }
            Ok(Address::Unix(_)) => {}
            Err(fault) => faults.push(format!("fleet.control_plane: {fault}")),
        }
        if self.name.is_empty() {
            faults.push("fleet.name: is required".to_owned());
        }
        if !is_name(&self.node) {
            faults.push(
                "fleet.node: is 1 to 63 of a-z, 0-9, `.` and `-`, beginning and ending with a letter or a digit"
                    .to_owned(),
            );
        }
        if let Err(fault) = self.roots() {
            faults.push(format!("fleet.roots: {fault}"));
        }
        if self.streams.is_empty() {
            faults.push("fleet.streams: at least one of policy, keyset, revocations, blocks".to_owned());
        }
        if self.probation_ms == 0 {
            faults.push("fleet.probation_ms: must be at least 1".to_owned());
        }
        for mirror in &self.mirrors {
            if let Err(fault) = Mirror::parse(mirror) {
                faults.push(format!("fleet.mirrors: {mirror}: {fault}"));
            }
        }
        faults
    }

    pub(super) fn roots(&self) -> Result<Roots, fleet::RootsError> {
        Roots::new(self.roots.iter().map(String::as_str), self.root_threshold)
    }

    pub(super) const fn probation(&self) -> Duration {
        Duration::from_millis(self.probation_ms)
    }
}

fn is_name(name: &str) -> bool {
    let is_inner =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    let is_outer = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    bytes.len() <= MAX_NAME_BYTES
        && is_outer(bytes.first())
        && is_outer(bytes.last())
        && bytes.iter().copied().all(is_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> FleetSettings {
        FleetSettings {
            control_plane: "https://control-plane.internal:8444".to_owned(),
            name: "bank".to_owned(),
            node: "edge-1".to_owned(),
            roots: vec!["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned()],
            ca: "/etc/portico/ca.pem".into(),
            certificate: "/etc/portico/edge-1.pem".into(),
            key: "/etc/portico/edge-1.key".into(),
            ..FleetSettings::default()
        }
    }

    #[test]
    fn every_fault_is_named_at_once() {
        assert_eq!(good().faults(), Vec::<String>::new());
        let faults = FleetSettings {
            streams: Vec::new(),
            probation_ms: 0,
            mirrors: vec!["http://mirror.internal/blobs".to_owned()],
            root_threshold: 2,
            ..FleetSettings::default()
        };
        let faults = faults.faults().join("\n");
        for name in [
            "control_plane",
            "name",
            "node",
            "roots",
            "streams",
            "probation_ms",
            "mirrors",
        ] {
            assert!(
                faults.contains(&format!("fleet.{name}:")),
                "{name} is missing in\n{faults}"
            );
        }
        let without_files = FleetSettings {
            key: PathBuf::new(),
            ..good()
        };
        assert_eq!(without_files.faults(), ["fleet.key: is required with `https://`"]);
    }

    #[test]
    fn a_gateway_is_named_as_in_dns() {
        for name in ["e", "edge-1", "edge.1.bank"] {
            assert!(is_name(name), "{name}");
        }
        let long = "a".repeat(64);
        for name in ["", "-edge", "edge-", "Edge", "edge_1", "edge 1", &long] {
            assert!(!is_name(name), "{name}");
        }
    }
}
