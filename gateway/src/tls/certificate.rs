//! A certificate of a listener, checked before clients are shown it (TLS-4).

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use rustls::sign::CertifiedKey;
use service_runtime::tls::{Pair, check_pair, parse};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

/// What files say of a certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) pair: Pair,
    /// An OCSP response that holds.
    pub(super) staple: Option<Vec<u8>>,
}

/// A pair that clients may be shown.
#[derive(Debug)]
pub(crate) struct Certificate {
    /// Its name in the policy.
    pub(crate) name: String,
    pub(super) key: Arc<CertifiedKey>,
    /// DNS names in lower case; one may begin with `*.`.
    pub(super) dns_names: Vec<String>,
    addresses: Vec<IpAddr>,
    pub(super) not_before: DateTime<Utc>,
    pub(super) not_after: DateTime<Utc>,
}

impl Certificate {
    /// Reads and checks a pair, which is for some host.
    ///
    /// # Errors
    /// The first check that fails, in words.
    pub(super) fn check(name: &str, written: &Written, now: DateTime<Utc>) -> anyhow::Result<Self> {
        let mut checked = check_pair(&written.pair, now)?;
        checked.key.ocsp.clone_from(&written.staple);
        let leaf = checked.chain.first().context("the file holds no certificate")?;
        let (dns_names, addresses) = names(&parse(leaf)?)?;
        Ok(Self {
            name: name.to_owned(),
            key: Arc::new(checked.key),
            dns_names,
            addresses,
            not_before: checked.not_before,
            not_after: checked.not_after,
        })
    }

    /// Whether it is a certificate for this host, a DNS name in lower case or an address.
    pub(crate) fn covers(&self, host: &str) -> bool {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse();
        match address {
            Ok(address) => self.covers_address(address),
            Err(_) => self.dns_names.iter().any(|name| matches(name, host)),
        }
    }

    /// Whether it is a certificate for this address.
    pub(super) fn covers_address(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address.to_canonical())
    }
}

/// A wildcard stands for exactly one label (RFC 9525 §6.3).
fn matches(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(parent) => host
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
        None => name == host,
    }
}

/// Its subject alternative names; the common name counts for nothing (RFC 9525 §6.3).
fn names(certificate: &X509Certificate<'_>) -> anyhow::Result<(Vec<String>, Vec<IpAddr>)> {
    let (mut dns_names, mut addresses) = (Vec::new(), Vec::new());
    if let Some(extension) = certificate.subject_alternative_name()? {
        for name in &extension.value.general_names {
            match name {
                GeneralName::DNSName(name) => dns_names.push(name.to_ascii_lowercase()),
                GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
                _ => {}
            }
        }
    }
    if dns_names.is_empty() && addresses.is_empty() {
        bail!("it has no subject alternative name that is a host");
    }
    Ok((dns_names, addresses))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
        .map(|address| address.to_canonical())
}
