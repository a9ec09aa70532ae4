//! A certificate with its key, checked as a pair before anybody is shown it (TLS-4).

use std::time::Duration;

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

/// The two files of a certificate, as they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// PEM, the certificate itself first.
    pub chain: Vec<u8>,
    /// PEM.
    pub key: Vec<u8>,
}

/// A pair that was checked, whoever it is shown to.
pub struct CheckedPair {
    /// The certificate itself first.
    pub chain: Vec<CertificateDer<'static>>,
    /// With its key.
    pub key: CertifiedKey,
    /// From when it is valid.
    pub not_before: DateTime<Utc>,
    /// Until when it is valid.
    pub not_after: DateTime<Utc>,
}

/// Reads and checks a pair: the key is the certificate's, the chain is in order and holds, and it is valid now.
///
/// # Errors
/// The first check that fails, in words.
pub fn check_pair(pair: &Pair, now: DateTime<Utc>) -> anyhow::Result<CheckedPair> {
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
    let provider = crate::crypto::provider();
    let key = CertifiedKey::from_der(chain.clone(), key, &provider)
        .context("key and certificate do not belong together")?;
    Ok(CheckedPair {
        chain,
        key,
        not_before,
        not_after,
    })
}

/// Reads a certificate.
///
/// # Errors
/// When it is none, or more than one.
pub fn parse<'c>(certificate: &'c CertificateDer<'_>) -> anyhow::Result<X509Certificate<'c>> {
    let (rest, parsed) = X509Certificate::from_der(certificate)?;
    if !rest.is_empty() {
        bail!("bytes follow the certificate");
    }
    Ok(parsed)
}

/// From when until when it is valid.
///
/// # Errors
/// When a date is beyond every calendar.
pub fn validity(certificate: &X509Certificate<'_>) -> anyhow::Result<(DateTime<Utc>, DateTime<Utc>)> {
    let validity = certificate.validity();
    let time = |seconds| DateTime::from_timestamp(seconds, 0).context("a date that no clock can show");
    Ok((
        time(validity.not_before.timestamp())?,
        time(validity.not_after.timestamp())?,
    ))
}

/// Whether it says that it is for clients: one that does not say what it is for counts as not.
///
/// # Errors
/// When its purposes cannot be read.
pub fn is_for_clients(certificate: &X509Certificate<'_>) -> anyhow::Result<bool> {
    let purposes = certificate.extended_key_usage()?;
    Ok(purposes.is_some_and(|purposes| purposes.value.client_auth))
}

/// Its URI names (a SPIFFE id is one) and DNS names in lower case; the subject counts for nothing.
#[must_use]
pub fn uri_and_dns_names(certificate: &X509Certificate<'_>) -> Option<Vec<String>> {
    let Some(extension) = certificate.subject_alternative_name().ok()? else {
        return Some(Vec::new());
    };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    Some(extension.value.general_names.iter().filter_map(name).collect())
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
    let provider = crate::crypto::provider();
    let algorithms = provider.signature_verification_algorithms.all;
    let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let leaf = ParsedCertificate::try_from(leaf)?;
    verify_server_cert_signed_by_trust_anchor(&leaf, &roots, between, now, algorithms)
        .context("the chain does not hold")
}
