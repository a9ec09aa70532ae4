//! What one listener serves: which certificate for which name, and the rustls configuration of each.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use policy::{HttpsListener, TlsVersion};
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use service_runtime::clock::Clock;
use service_runtime::tls::ClockTime;

use super::certificate::Certificate;
use super::client_authority::ClientAuthority;
use super::files::TlsFiles;
use super::versions;

/// HTTP/2, as ALPN calls it.
pub(crate) const HTTP_2: &[u8] = b"h2";
/// HTTP/2 first, then HTTP/1.1.
const ALPN: [&[u8]; 2] = [HTTP_2, b"http/1.1"];

/// The TLS side of one listener, as it is now.
#[derive(Debug)]
pub(crate) struct TlsEntrance(ArcSwap<ListenerTls>);

impl TlsEntrance {
    /// Takes what the listener names.
    ///
    /// # Errors
    /// When a certificate or client authority is missing or wrong; the message names it.
    pub(crate) fn open(listener: &HttpsListener, files: &TlsFiles) -> anyhow::Result<Self> {
        let tls = ListenerTls::build(listener, files, None)?;
        Ok(Self(ArcSwap::from_pointee(tls)))
    }

    /// The state for the next handshake.
    pub(crate) fn current(&self) -> Arc<ListenerTls> {
        self.0.load_full()
    }

    /// Takes over changed certificates, authorities or TLS policy (TLS-4). Returns whether anything changed;
    /// connections that are open stay as they are.
    ///
    /// # Errors
    /// As [`TlsEntrance::open`]; the old state stays.
    pub(crate) fn refresh(&self, listener: &HttpsListener, files: &TlsFiles) -> anyhow::Result<bool> {
        let old = self.current();
        let fresh = ListenerTls::build(listener, files, Some(&old))?;
        let is_same = fresh.served.len() == old.served.len()
            && fresh
                .served
                .iter()
                .zip(&old.served)
                .all(|(fresh, old)| Arc::ptr_eq(fresh, old));
        if !is_same {
            self.0.store(Arc::new(fresh));
        }
        Ok(!is_same)
    }
}

/// A consistent set of certificates, and who vouches for clients.
#[derive(Debug)]
pub(crate) struct ListenerTls {
    served: Vec<Arc<Served>>,
    /// Names in lower case, without `*.` for wildcards, to places in `served`.
    exact: HashMap<String, usize>,
    wildcard: HashMap<String, usize>,
    pub(super) authority: Option<Arc<ClientAuthority>>,
}

/// One certificate with its configuration, and with it its own sessions.
#[derive(Debug)]
pub(crate) struct Served {
    certificate: Arc<Certificate>,
    config: Arc<ServerConfig>,
    tls_min: TlsVersion,
    authority: Option<Arc<ClientAuthority>>,
}

impl ListenerTls {
    fn build(listener: &HttpsListener, files: &TlsFiles, old: Option<&Self>) -> anyhow::Result<Self> {
        let authority = listener
            .client_authority
            .as_ref()
            .map(|name| files.authority(name))
            .transpose()?;
        let mut tls = Self {
            served: Vec::new(),
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            authority,
        };
        for name in &listener.certificates {
            let certificate = match files.certificate(name) {
                Ok(certificate) => certificate,
                Err(_) if files.is_awaited(name) => continue,
                Err(error) => return Err(error),
            };
            let kept =
                old.and_then(|old| old.reusable(&certificate, listener.tls_min, tls.authority.as_ref()));
            let served = match kept {
                Some(kept) => kept,
                None => Arc::new(Served::new(
                    certificate,
                    listener.tls_min,
                    tls.authority.clone(),
                    &files.clock,
                )?),
            };
            tls.add(served);
        }
        Ok(tls)
    }

    /// The first certificate of the list that is for a name serves it.
    fn add(&mut self, served: Arc<Served>) {
        let place = self.served.len();
        for name in &served.certificate.dns_names {
            let (names, name) = match name.strip_prefix("*.") {
                Some(parent) => (&mut self.wildcard, parent),
                None => (&mut self.exact, name.as_str()),
            };
            names.entry(name.to_owned()).or_insert(place);
        }
        self.served.push(served);
    }

    fn reusable(
        &self,
        certificate: &Arc<Certificate>,
        tls_min: TlsVersion,
        authority: Option<&Arc<ClientAuthority>>,
    ) -> Option<Arc<Served>> {
        let is_same_authority = |served: &Served| match (&served.authority, authority) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (old, new) => old.is_none() && new.is_none(),
        };
        let mut served = self.served.iter();
        let kept = served.find(|served| {
            Arc::ptr_eq(&served.certificate, certificate)
                && served.tls_min == tls_min
                && is_same_authority(served)
        });
        kept.cloned()
    }

    /// The certificate for a name in lower case: its own, else a wildcard for exactly one label. A client that
    /// addresses an IP sends no name (RFC 6066 §3), and gets a certificate for the very address that it reached.
    pub(super) fn find(&self, name: Option<&str>, local: Option<IpAddr>) -> Option<&Arc<Served>> {
        let Some(name) = name else {
            let local = local?;
            return self
                .served
                .iter()
                .find(|served| served.certificate.covers_address(local));
        };
        let by_wildcard = || self.wildcard.get(name.split_once('.')?.1);
        let place = self.exact.get(name).or_else(by_wildcard)?;
        self.served.get(*place)
    }
}

impl Served {
    fn new(
        certificate: Arc<Certificate>,
        tls_min: TlsVersion,
        authority: Option<Arc<ClientAuthority>>,
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        let provider = service_runtime::crypto::shared_provider();
        let builder = ServerConfig::builder_with_details(provider, Arc::new(ClockTime(clock.clone())))
            .with_protocol_versions(versions(tls_min))
            .context("TLS versions")?;
        let builder = match &authority {
            Some(authority) => builder.with_client_cert_verifier(authority.verifier()),
            None => builder.with_no_client_auth(),
        };
        let mut config =
            builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate.key.clone())));
        config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
        // Early data could be replayed, and requests move money (TLS-1).
        config.max_early_data_size = 0;
        if authority.is_some() {
            // A resumed session would bring back a certificate without asking who has been revoked since (TLS-3).
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Self {
            certificate,
            config: Arc::new(config),
            tls_min,
            authority,
        })
    }

    /// The configuration for a handshake.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// Who vouches for clients.
    pub(crate) const fn authority(&self) -> Option<&Arc<ClientAuthority>> {
        self.authority.as_ref()
    }

    /// Whether a connection that asked for `name` may ask for `host`, a host of the policy (TLS-3). Where client
    /// certificates play a part it must be the very same name: what one host checked, another one must not inherit.
    pub(crate) fn agrees(&self, name: Option<&str>, host: &str) -> bool {
        match name {
            Some(name) if self.authority.is_some() => name == host,
            Some(_) | None => self.certificate.covers(host),
        }
    }
}
