//! How a gateway process runs: directories, sockets, threads and bounds. What requests may do is policy, not settings.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleet::Stream;
use policy::{AcmeChallenge, KeySource, Plan, RouteTarget, Served, UpstreamAddress};
use serde::Deserialize;
use service_runtime::settings::SettingsError;
use service_runtime::telemetry::TelemetrySettings;

pub use crate::fleet::FleetSettings;
pub use crate::personal_data::PersonalData;

/// Settings of one gateway process.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The policy bundle: a directory of YAML files, watched for changes. Required, unless the fleet states the policy.
    pub policies_dir: PathBuf,
    /// The gateway's own state: last good policy bundle and last good key set. Made with mode 0700. Required.
    pub state_dir: PathBuf,
    /// Certificates and keys that `tls.certificate` names: `NAME.pem` and `NAME.key`. Required.
    pub certificate_dir: PathBuf,
    /// Where `unix:` upstream addresses of the policy are looked up. Required with such an upstream.
    pub socket_dir: PathBuf,
    /// Where the key sets of other issuers lie, which `keys: file:NAME` names. Public keys only. Required with such a
    /// provider.
    pub key_dir: PathBuf,
    /// The fleet that this gateway belongs to, from which Portico's own key set and what is revoked come; a gateway of its
    /// own without one. Required with `keys: portico`, `serve: jwks` and `revocations_within`.
    pub fleet: Option<FleetSettings>,
    /// The certificates (PEM) that are trusted where `keys: { url: … }` leads. Required with such a provider.
    pub key_trust_file: PathBuf,
    /// The authority that certificates with `acme` come from. Required with such a certificate.
    pub acme: AcmeSettings,
    /// Addresses that replace a listener's `bind`, as `<listener>.<http|https>`; port 0 picks a free port.
    pub listen: BTreeMap<String, SocketAddr>,
    /// Metrics and health for operators; port 0 picks a free port.
    pub private_listen: SocketAddr,
    /// Worker threads, each with its own runtime and listeners; 0 means two for each processor.
    pub threads: usize,
    /// Logs, traces and error reports.
    pub telemetry: TelemetrySettings,
    /// What stands in the line of each request.
    pub access_log: AccessLogSettings,
    /// Where the bound addresses are written as JSON once the gateway listens.
    pub endpoints_file: Option<PathBuf>,
    /// Bounds on connections.
    pub connections: ConnectionSettings,
    /// Bounds of the rate-limit table.
    pub rate_limit: RateLimitSettings,
    /// Bounds of the table of verified tokens.
    pub token_cache: TokenCacheSettings,
    /// Bounds of what is kept of answers.
    pub cache: CacheSettings,
    /// Where several gateways count together. Required with `count_in: store`.
    pub limit_store: LimitStoreSettings,
    /// How long requests under way may take after SIGTERM, in milliseconds.
    pub shutdown_grace_ms: u64,
    /// Replacing this process by a new one.
    pub upgrade: UpgradeSettings,
    /// How often the policy directory is read again when no file event came, in milliseconds.
    pub policy_poll_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            policies_dir: PathBuf::new(),
            state_dir: PathBuf::new(),
            certificate_dir: PathBuf::new(),
            socket_dir: PathBuf::new(),
            key_dir: PathBuf::new(),
            fleet: None,
            key_trust_file: PathBuf::from("/etc/ssl/certs/ca-certificates.crt"),
            acme: AcmeSettings::default(),
            listen: BTreeMap::new(),
            private_listen: SocketAddr::from(([127, 0, 0, 1], 9901)),
            threads: 0,
            telemetry: TelemetrySettings::default(),
            access_log: AccessLogSettings::default(),
            endpoints_file: None,
            connections: ConnectionSettings::default(),
            rate_limit: RateLimitSettings::default(),
            token_cache: TokenCacheSettings::default(),
            cache: CacheSettings::default(),
            limit_store: LimitStoreSettings::default(),
            shutdown_grace_ms: 20_000,
            upgrade: UpgradeSettings::default(),
            policy_poll_ms: 10_000,
        }
    }
}

/// The access log.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLogSettings {
    /// How much it tells of persons: `full` or `reduced`.
    pub personal_data: PersonalData,
}

/// The certificate authority (RFC 8555).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AcmeSettings {
    /// The https URL of its directory. To set it is to agree to the authority's terms of service.
    pub directory: String,
    /// Where it may write to: `mailto:` URLs.
    pub contacts: Vec<String>,
    /// The certificate that its directory is checked against, as PEM; those of the system when it is not set.
    pub root: Option<PathBuf>,
    /// The program that makes and removes DNS records. Required with `acme: dns-01`.
    pub dns_hook: PathBuf,
    /// Whether no other gateway answers for the names of certificates with `acme: http-01`. Required of a gateway that
    /// belongs to a fleet: the authority asks any address of a name, and only the gateway that began an order can answer.
    pub is_alone: bool,
}

/// Bounds on connections, which hold before any policy is asked.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionSettings {
    /// Open connections of the whole process.
    pub max: usize,
    /// Open connections of one client address (an IPv6 client is its /64).
    pub max_per_address: usize,
    /// Requests under way in the whole process, from their heads until their answers have left; WebSockets are some.
    pub max_in_flight: usize,
    /// Requests under way of one client address, over all its connections (an IPv6 client is its /64).
    pub max_in_flight_per_address: usize,
    /// TLS handshakes that one client address may begin in a second, and at once after a rest as many as it may have open
    /// connections (TLS-7); 0 for no limit.
    pub handshakes_per_second: u32,
    /// A TLS handshake must end within this time, in milliseconds (TLS-7).
    pub handshake_timeout_ms: u64,
    /// A connection without a request is closed after this time, in milliseconds.
    pub idle_timeout_ms: u64,
    /// Requests on one connection before it is closed, so that memory and load move on.
    pub max_requests: u32,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            max: 10_000,
            max_per_address: 512,
            max_in_flight: 10_000,
            max_in_flight_per_address: 512,
            handshakes_per_second: 50,
            handshake_timeout_ms: 5_000,
            idle_timeout_ms: 60_000,
            max_requests: 10_000,
        }
    }
}

impl ConnectionSettings {
    pub(crate) const fn handshake_timeout(&self) -> Duration {
        Duration::from_millis(self.handshake_timeout_ms)
    }

    pub(crate) const fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms)
    }
}

/// `portico gateway upgrade`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpgradeSettings {
    /// The new process must be ready within this time, in milliseconds; else it is ended, and the old one keeps serving.
    pub ready_within_ms: u64,
    /// How long the old process may still serve the connections that it has, in milliseconds: WebSockets above all.
    /// Then it stops as after SIGTERM.
    pub drain_ms: u64,
}

impl Default for UpgradeSettings {
    fn default() -> Self {
        Self {
            ready_within_ms: 30_000,
            drain_ms: 300_000,
        }
    }
}

impl UpgradeSettings {
    pub(crate) const fn ready_within(&self) -> Duration {
        Duration::from_millis(self.ready_within_ms)
    }
}

/// Bounds of the table that counts requests.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimitSettings {
    /// Keys that are counted apart; beyond it, new keys of a limit share one bucket.
    pub max_keys: usize,
}

impl Default for RateLimitSettings {
    fn default() -> Self {
        Self { max_keys: 200_000 }
    }
}

/// Bounds of the table of verified tokens (J45).
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenCacheSettings {
    /// Tokens that are remembered, about half a kilobyte each; 0 verifies every token anew.
    pub max_tokens: usize,
}

impl Default for TokenCacheSettings {
    fn default() -> Self {
        Self { max_tokens: 50_000 }
    }
}

/// Bounds of what routes with `cache` keep.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheSettings {
    /// Memory for all answers together, in MiB; 0 keeps none.
    pub max_mib: usize,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { max_mib: 64 }
    }
}

/// Redis, or a Redis Cluster, in which several gateways count the limits with `count_in: store`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitStoreSettings {
    /// `unix:///run/redis.sock`, `rediss://host:6379` (TLS), or `redis://127.0.0.1:6379` (in clear, loopback only). Of a
    /// cluster, some of its nodes. Empty: no store.
    pub addresses: Vec<String>,
    /// Whether it is a cluster.
    pub cluster: bool,
    /// User of the access control list; empty for the default one.
    pub username: String,
    /// The file with its password; empty without one.
    pub password_file: PathBuf,
    /// The CA of a store over TLS, as PEM; empty for those of the system.
    pub ca_file: PathBuf,
    /// A secret of at least 32 bytes, the same on every gateway: keys are hashed with it. Required with an address.
    pub hash_key_file: PathBuf,
    /// Begin of every key.
    pub prefix: String,
    /// A call must be answered within this time, in milliseconds; else the store counts as down.
    pub timeout_ms: u64,
    /// How many gateways count in it, until the store has said for a minute that they are fewer: what a gateway knows that
    /// starts while the store is down. It grants one part of so many of a limit with `on_store_down: local`.
    pub gateways: u64,
}

impl Default for LimitStoreSettings {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            cluster: false,
            username: String::new(),
            password_file: PathBuf::new(),
            ca_file: PathBuf::new(),
            hash_key_file: PathBuf::new(),
            prefix: "portico".to_owned(),
            timeout_ms: 20,
            gateways: 1,
        }
    }
}

impl LimitStoreSettings {
    /// Rules that serde cannot state, one sentence for each that is broken.
    fn faults(&self) -> Vec<String> {
        if self.addresses.is_empty() {
            return Vec::new();
        }
        let mut faults = Vec::new();
        if self.hash_key_file.as_os_str().is_empty() {
            faults.push("limit_store.hash_key_file: is required with an address".to_owned());
        }
        if self.timeout_ms == 0 {
            faults.push("limit_store.timeout_ms: must be at least 1".to_owned());
        }
        if self.gateways == 0 {
            faults.push("limit_store.gateways: must be at least 1".to_owned());
        }
        if self.prefix.is_empty() || self.prefix.contains(['{', '}']) {
            faults.push("limit_store.prefix: is a word without braces".to_owned());
        }
        if !self.cluster && self.addresses.len() > 1 {
            faults.push("limit_store.addresses: only a cluster has several".to_owned());
        }
        for address in &self.addresses {
            if let Err(fault) = store_address(address, self.cluster) {
                faults.push(format!("limit_store.addresses: {address}: {fault}"));
            }
        }
        faults
    }
}

fn store_address(address: &str, cluster: bool) -> Result<(), &'static str> {
    let (scheme, rest) = address.split_once("://").unwrap_or_default();
    if rest.contains('@') {
        return Err("credentials belong in `username` and `password_file`");
    }
    match scheme {
        "unix" if cluster => Err("the nodes of a cluster name each other by host and port"),
        "unix" | "rediss" => Ok(()),
        "redis" => {
            let host = rest.rsplit_once(':').map_or(rest, |(host, _)| host);
            let host = host.trim_matches(['[', ']']);
            let is_loopback = host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback());
            if is_loopback || host == "localhost" {
                Ok(())
            } else {
                Err("in clear only to loopback: use `rediss://`")
            }
        }
        _ => Err("begins with `unix://`, `rediss://` or `redis://`"),
    }
}

impl Settings {
    /// Reads the settings file and the `GATEWAY__…` variables.
    ///
    /// # Errors
    /// Every mistake at once: unknown keys, wrong types, missing directories.
    pub fn load(file: Option<&Path>) -> Result<Self, SettingsError> {
        service_runtime::settings::load_checked("gateway", file, Self::faults)
    }

    /// Rules that serde cannot state, one sentence for each that is broken.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let required = [
            ("policies_dir", &self.policies_dir),
            ("state_dir", &self.state_dir),
            ("certificate_dir", &self.certificate_dir),
        ];
        for (name, path) in required {
            let is_stated = name == "policies_dir" && self.follows(Stream::Policy);
            if path.as_os_str().is_empty() && !is_stated {
                faults.push(format!("{name}: is required"));
            }
        }
        if !self.policies_dir.as_os_str().is_empty() && !self.policies_dir.is_dir() {
            faults.push(format!(
                "policies_dir: {} is not a directory",
                self.policies_dir.display()
            ));
        }
        for name in self.listen.keys() {
            if !name
                .rsplit_once('.')
                .is_some_and(|(listener, scheme)| !listener.is_empty() && matches!(scheme, "http" | "https"))
            {
                faults.push(format!(
                    "listen.{name}: a key is `<listener>.http` or `<listener>.https`"
                ));
            }
        }
        let positive = [
            ("connections.max", self.connections.max == 0),
            (
                "connections.max_per_address",
                self.connections.max_per_address == 0,
            ),
            ("connections.max_in_flight", self.connections.max_in_flight == 0),
            (
                "connections.max_in_flight_per_address",
                self.connections.max_in_flight_per_address == 0,
            ),
            (
                "connections.handshake_timeout_ms",
                self.connections.handshake_timeout_ms == 0,
            ),
            (
                "connections.idle_timeout_ms",
                self.connections.idle_timeout_ms == 0,
            ),
            ("connections.max_requests", self.connections.max_requests == 0),
            ("rate_limit.max_keys", self.rate_limit.max_keys == 0),
            ("upgrade.ready_within_ms", self.upgrade.ready_within_ms == 0),
            ("policy_poll_ms", self.policy_poll_ms == 0),
        ];
        if !self.acme.directory.is_empty() && !self.acme.directory.starts_with("https://") {
            faults.push("acme.directory: must be an https URL".to_owned());
        }
        let is_mail = |contact: &String| contact.starts_with("mailto:");
        if !self.acme.contacts.iter().all(is_mail) {
            faults.push("acme.contacts: must be `mailto:` URLs".to_owned());
        }
        faults.extend(
            positive
                .iter()
                .filter(|(_, zero)| *zero)
                .map(|(name, _)| format!("{name}: must be at least 1")),
        );
        faults.extend(self.limit_store.faults());
        faults.extend(self.fleet.iter().flat_map(FleetSettings::faults));
        faults
    }

    /// Whether the fleet states this. A policy directory is never overruled.
    pub(crate) fn follows(&self, stream: Stream) -> bool {
        let has_directory = stream == Stream::Policy && !self.policies_dir.as_os_str().is_empty();
        let fleet = self.fleet.as_ref().filter(|_| !has_directory);
        fleet.is_some_and(|fleet| fleet.streams.contains(&stream))
    }

    /// Settings that this policy needs and that are not there, one sentence for each.
    pub(crate) fn missing_for(&self, plan: &Plan) -> Vec<String> {
        let mut needed = Vec::new();
        let (states_keys, states_revocations) =
            (self.follows(Stream::Keyset), self.follows(Stream::Revocations));
        let nothing = PathBuf::new();
        let fleet = match &self.fleet {
            None => ("fleet", &nothing),
            Some(_) => ("fleet.streams", &nothing),
        };
        for provider in plan.identity_providers() {
            let setting = match &provider.keys {
                KeySource::Portico if states_keys => continue,
                KeySource::Portico => fleet,
                KeySource::File(_) => ("key_dir", &self.key_dir),
                KeySource::Url(_) => ("key_trust_file", &self.key_trust_file),
            };
            needed.push((setting, format!("identity.{}.keys", provider.name)));
        }
        for upstream in plan.upstreams() {
            if upstream
                .addresses()
                .any(|address| matches!(address, UpstreamAddress::Unix(_)))
            {
                let setting = ("socket_dir", &self.socket_dir);
                needed.push((setting, format!("upstreams.{}.address", upstream.name)));
            }
        }
        for route in plan.routes() {
            if matches!(route.target, RouteTarget::Serve(Served::Jwks)) && !states_keys {
                needed.push((fleet, format!("routes.{}.serve", route.name)));
            }
            if route.revocations_within.is_some() && !states_revocations {
                needed.push((fleet, format!("routes.{}.revocations_within", route.name)));
            }
        }
        let directory = PathBuf::from(&self.acme.directory);
        for certificate in plan.certificates() {
            let key = || format!("certificates.{}.acme", certificate.name);
            if certificate.acme.is_some() {
                needed.push((("acme.directory", &directory), key()));
            }
            if certificate.acme == Some(AcmeChallenge::Dns01) {
                needed.push((("acme.dns_hook", &self.acme.dns_hook), key()));
            }
        }
        let mut missing: Vec<String> = needed
            .into_iter()
            .filter(|((_, path), _)| path.as_os_str().is_empty())
            .map(|((setting, _), key)| format!("{key}: needs the setting `{setting}`"))
            .collect();
        missing.extend(self.asked_anywhere(plan));
        if self.limit_store.addresses.is_empty() {
            let limits = plan.limits();
            let shared = limits.filter(|limit| limit.is_shared());
            missing.extend(
                shared.map(|limit| format!("{}.count_in: needs the setting `limit_store`", limit.rule.key())),
            );
        }
        missing
    }

    /// Certificates that this gateway cannot prove to be its own because it is one of several, one sentence for each.
    fn asked_anywhere(&self, plan: &Plan) -> Vec<String> {
        if self.fleet.is_none() || self.acme.is_alone {
            return Vec::new();
        }
        let certificates = plan.certificates().iter();
        let by_http = certificates.filter(|it| it.acme == Some(AcmeChallenge::Http01));
        let told = by_http.map(|it| {
            format!(
                "certificates.{}.acme: with http-01 the authority may ask another gateway of the fleet than the one that \
                 can answer; fetch it by dns-01 on one machine and give every gateway its files, or set `acme.is_alone` \
                 where no other gateway has these names",
                it.name
            )
        });
        told.collect()
    }

    /// How many worker threads to start.
    pub(crate) fn worker_threads(&self) -> usize {
        if self.threads > 0 {
            self.threads
        } else {
            // Of two, one goes on when the processor of the other is taken: ADR 0040.
            std::thread::available_parallelism()
                .map_or(1, std::num::NonZero::get)
                .saturating_mul(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_named_at_once() {
        let settings = Settings {
            listen: BTreeMap::from([("public".to_owned(), SocketAddr::from(([127, 0, 0, 1], 0)))]),
            connections: ConnectionSettings {
                max: 0,
                ..ConnectionSettings::default()
            },
            ..Settings::default()
        };
        let faults = settings.faults().join("\n");

        for name in [
            "policies_dir",
            "state_dir",
            "certificate_dir",
            "listen.public",
            "connections.max:",
        ] {
            assert!(faults.contains(name), "{name} is missing in\n{faults}");
        }
    }

    #[test]
    fn good_settings_have_no_fault() {
        let settings = Settings {
            policies_dir: std::env::temp_dir(),
            state_dir: "/var/lib/portico/gateway".into(),
            socket_dir: "/run/portico".into(),
            certificate_dir: "/etc/portico/tls".into(),
            listen: BTreeMap::from([("public.https".to_owned(), SocketAddr::from(([127, 0, 0, 1], 0)))]),
            ..Settings::default()
        };
        assert_eq!(settings.faults(), Vec::<String>::new());
    }
}
