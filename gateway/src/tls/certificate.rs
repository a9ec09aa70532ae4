//! A certificate with its key, checked as a pair before anybody is shown it (TLS-4).

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

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

/// The two files of a certificate, as they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) chain: Vec<u8>,
    pub(super) key: Vec<u8>,
}

/// A pair that was checked, whoever it is shown to.
pub(super) struct CheckedPair {
    pub(super) chain: Vec<CertificateDer<'static>>,
    key: CertifiedKey,
    pub(super) not_before: DateTime<Utc>,
    pub(super) not_after: DateTime<Utc>,
}

/// Reads and checks a pair: the key is the certificate's, the chain is in order and holds, and it is valid now.
///
/// # Errors
/// The first check that fails, in words.
pub(super) fn check_pair(pair: &Pair, now: DateTime<Utc>) -> anyhow::Result<CheckedPair> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pair.chain)
        .collect::<Result<_, _>>()
        .context("the chain is not PEM")?;
    let Some(leaf) = chain.first() else {
        bail!("the file holds no certificate");
    };
    let (not_before, not_after) = validity(&parse(leaf)?)?;
    if now < not_before {
        bail!("it is not valid before {not_before}");
    }
    if now >= not_after {
        bail!("it expired at {not_after}");
    }
    check_chain(&chain, now)?;
    let key = PrivateKeyDer::from_pem_slice(&pair.key).context("the key is not PEM")?;
    let provider = service_runtime::crypto::provider();
    let key = CertifiedKey::from_der(chain.clone(), key, &provider)
        .context("key and certificate do not belong together")?;
    Ok(CheckedPair {
        chain,
        key,
        not_before,
        not_after,
    })
}

impl Certificate {
    /// Reads and checks a pair, which is for some host.
    ///
    /// # Errors
    /// The first check that fails, in words.
    pub(super) fn check(name: &str, pair: &Pair, now: DateTime<Utc>) -> anyhow::Result<Self> {
        let checked = check_pair(pair, now)?;
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

pub(super) fn parse<'c>(certificate: &'c CertificateDer<'_>) -> anyhow::Result<X509Certificate<'c>> {
    let (rest, parsed) = X509Certificate::from_der(certificate)?;
    if !rest.is_empty() {
        bail!("bytes follow the certificate");
    }
    Ok(parsed)
}

/// From when until when it is valid.
pub(super) fn validity(certificate: &X509Certificate<'_>) -> anyhow::Result<(DateTime<Utc>, DateTime<Utc>)> {
    let validity = certificate.validity();
    let time = |seconds| DateTime::from_timestamp(seconds, 0).context("a date that no clock can show");
    Ok((
        time(validity.not_before.timestamp())?,
        time(validity.not_after.timestamp())?,
    ))
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

/// Every certificate is issued by the one behind it, and the last of them vouches for the first.
fn check_chain(chain: &[CertificateDer<'static>], now: DateTime<Utc>) -> anyhow::Result<()> {
    let parsed: Vec<_> = chain.iter().map(parse).collect::<anyhow::Result<_>>()?;
    for (lower, upper) in parsed.iter().zip(parsed.iter().skip(1)) {
        if lower.issuer().as_raw() != upper.subject().as_raw() {
            bail!(
                "the chain is out of order: behind `{}` stands `{}`, its issuer is `{}`",
                lower.subject(),
                upper.subject(),
                lower.issuer()
            );
        }
    }
    let [leaf, between @ .., last] = chain else {
        return Ok(());
    };
    let mut roots = RootCertStore::empty();
    roots
        .add(last.clone())
        .context("the last certificate of the chain")?;
    let provider = service_runtime::crypto::provider();
    let algorithms = provider.signature_verification_algorithms.all;
    let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let leaf = ParsedCertificate::try_from(leaf)?;
    verify_server_cert_signed_by_trust_anchor(&leaf, &roots, between, now, algorithms)
        .context("the chain does not hold")
}
