//! `fleet` of `control-plane.yaml`: which gateways this control plane speaks with, and where.

use std::net::SocketAddr;
use std::path::PathBuf;

use fleet::{Roots, RootsError};
use serde::Deserialize;
use service_runtime::settings::Environment;
use service_runtime::tls::TlsSettings;

/// Shortest and longest validity of a statement, seconds: what is signed anew every second or less is noise, and what is
/// good for longer than a month outlives the keys.
const VALIDITY_S: std::ops::RangeInclusive<u32> = 60..=31 * 24 * 3600;

/// The fleet of a control plane.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FleetSettings {
    /// Its name; gateways refuse what is for another.
    pub name: String,
    /// The environment of its gateways; the `APP_ENV` of this process.
    pub environment: String,
    /// The public keys of the offline roots, 32 bytes Ed25519 in base64url. Without one, nothing can be signed for gateways.
    #[serde(default)]
    pub roots: Vec<String>,
    /// How many of them must have signed a trust document.
    #[serde(default = "one")]
    pub root_threshold: usize,
    /// How long a gateway may take a statement over, seconds. It is signed anew when half of that has passed.
    #[serde(default = "day")]
    pub statement_validity_s: u32,
    /// Where gateways on other machines dial in; none for the unix socket alone.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// The chain that gateways are shown, PEM.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// Who must have issued a gateway's certificate, PEM; its one DNS name is the gateway's name.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

const fn one() -> usize {
    1
}

const fn day() -> u32 {
    24 * 3600
}

impl FleetSettings {
    /// The pinned roots; none when there are no keys.
    pub(super) fn roots(&self) -> Result<Option<Roots>, RootsError> {
        if self.roots.is_empty() {
            return Ok(None);
        }
        Roots::new(self.roots.iter().map(String::as_str), self.root_threshold).map(Some)
    }

    /// Where and how to listen over TLS; none when only the unix socket is served, or a file is missing.
    pub(super) fn tls(&self) -> Option<TlsSettings> {
        Some(TlsSettings {
            listen: self.listen?,
            certificate_file: self.certificate.clone()?,
            key_file: self.key.clone()?,
            client_authority_file: self.client_ca.clone()?,
            client_names: Vec::new(),
        })
    }

    /// Everything that is wrong, one line each; the files are read.
    pub(crate) fn faults(&self, environment: Environment) -> Vec<String> {
        let mut faults = Vec::new();
        if self.name.is_empty() || self.name.len() > 64 {
            faults.push("fleet.name: must be 1 to 64 characters".to_owned());
        }
        if self.environment != environment.as_str() {
            faults.push(format!(
                "fleet.environment: `{}` is not the APP_ENV of this process, `{environment}`",
                self.environment
            ));
        }
        if let Err(error) = self.roots() {
            faults.push(format!("fleet.roots: {error}"));
        }
        if !VALIDITY_S.contains(&self.statement_validity_s) {
            faults.push("fleet.statement_validity_s: from 60 to 2678400".to_owned());
        }
        let files = [&self.certificate, &self.key, &self.client_ca];
        match self.tls() {
            Some(tls) => faults.extend(
                tls.faults_for_any_client()
                    .into_iter()
                    .map(|fault| format!("fleet.{fault}")),
            ),
            None if self.listen.is_none() && files.iter().all(|file| file.is_none()) => {}
            None => {
                faults.push("fleet: `listen`, `certificate`, `key` and `client_ca` go together".to_owned());
            }
        }
        faults
    }
}
