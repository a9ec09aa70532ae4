//! `endpoints.json`: where everything is, for people, tests and the other commands.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{data_directory::DataDirectory, durable_file};

/// Where a running system is. Written with mode 0600 when everything is ready, removed when it stops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoints {
    /// `https://localhost:8443`.
    pub(crate) gateway_https: String,
    /// `http://localhost:8080`, which only redirects; null when the policy has no HTTP listener.
    pub(crate) gateway_http: Option<String>,
    /// The operators' console; null while there is none.
    pub(crate) console: Option<String>,
    /// The development CA that the gateway's certificate is from.
    pub(crate) ca_cert: PathBuf,
    /// Service → its metrics; `/health/ready` is beside them.
    pub(crate) metrics: BTreeMap<String, String>,
    /// The database as a read-only auditor, without a password.
    pub(crate) database_url: String,
    /// Process id of `portico up`.
    pub(crate) pid: u32,
    /// `APP_ENV`.
    pub(crate) environment: String,
}

impl Endpoints {
    pub(super) fn write(&self, directory: &DataDirectory) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        durable_file::write(&directory.endpoints(), format!("{text}\n").as_bytes(), 0o600)
    }

    /// Those of a running system; `None` when none says that it runs.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
    }
}

/// `http://127.0.0.1:9901/metrics`.
pub(super) fn metrics_url(private: SocketAddr) -> String {
    format!("http://{private}/metrics")
}
