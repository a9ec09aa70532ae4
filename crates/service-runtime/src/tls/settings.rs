//! Where a service listens over TLS, with which files, and for whom.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::serve::{Admitted, Served};
use crate::clock::Clock;

/// A listener that admits known clients only. Its files are taken over within seconds when they change.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// IP address and port.
    pub listen: SocketAddr,
    /// The chain, PEM, the certificate itself first.
    pub certificate_file: PathBuf,
    /// Its key, PEM.
    pub key_file: PathBuf,
    /// Who must have issued a client's certificate, PEM. No other authority counts.
    pub client_authority_file: PathBuf,
    /// One of these must be in a client's certificate: a URI (`spiffe://bank.example/gateway`) or a DNS name among its
    /// subject alternative names, compared exactly. The authority alone would admit everyone that it issues to.
    pub client_names: Vec<String>,
}

impl TlsSettings {
    /// Everything that is wrong, one line each; the files are read.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.client_names.is_empty() {
            faults.push("tls.client_names: at least one name is required".to_owned());
        }
        if self
            .client_names
            .iter()
            .any(|name| name.trim() != name || name.is_empty())
        {
            faults.push("tls.client_names: a name has no blanks around it".to_owned());
        }
        faults.extend(self.faults_of_files(Admitted::Named));
        faults
    }

    /// The same, for a listener that admits every client of the authority.
    #[must_use]
    pub fn faults_for_any_client(&self) -> Vec<String> {
        self.faults_of_files(Admitted::Any).into_iter().collect()
    }

    fn faults_of_files(&self, admitted: Admitted) -> Option<String> {
        let error = Served::load(self, admitted, &Clock::system()).err()?;
        Some(format!("tls: {error:#}"))
    }
}
