//! What an authority says of a certificate, as clients are shown it in the handshake (OCSP, RFC 6960; TLS-9).
//!
//! It is read from a file, so its signature is left to clients; what is checked is that it helps and does not harm.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use chrono::{DateTime, Utc};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use service_runtime::tls::{Pair, parse};
use x509_parser::der_parser::asn1_rs::{Any, Class, FromDer as _, GeneralizedTime, Tag};

use crate::durable_file::read_bounded;
use crate::metrics::METRICS;

/// `id-pkix-ocsp-basic` (RFC 6960 §4.2.1), the only kind there is.
const BASIC: [u8; 9] = [0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
/// The largest file; one certificate is a few KiB.
const MAX_BYTES: u64 = 64 * 1024;

/// The responses of all certificates.
#[derive(Debug, Default)]
pub(super) struct Staples {
    /// Why one is not shown, as it was told.
    faults: BTreeMap<String, String>,
}

impl Staples {
    /// Forgets every certificate but these.
    pub(super) fn retain(&mut self, names: &BTreeSet<String>) {
        self.faults.retain(|name, _| names.contains(name));
        METRICS.staple_ok.reset();
        METRICS.staple_ends_at.reset();
    }

    /// What clients are shown with this certificate; nothing when there is no such file, or it does not hold.
    pub(super) fn look(
        &mut self,
        file: &Path,
        name: &str,
        pair: &Pair,
        now: DateTime<Utc>,
    ) -> Option<Vec<u8>> {
        if matches!(file.try_exists(), Ok(false)) {
            self.faults.remove(name);
            return None;
        }
        let judged = read_bounded(file, MAX_BYTES).and_then(|bytes| {
            let leaf = CertificateDer::pem_slice_iter(&pair.chain)
                .next()
                .context("there is no certificate")??;
            let until = good_until(&bytes, parse(&leaf)?.raw_serial(), now)?;
            Ok((bytes, until))
        });
        let ok = METRICS.staple_ok.with_label_values(&[name]);
        ok.set(i64::from(judged.is_ok()));
        match judged {
            Ok((bytes, until)) => {
                self.faults.remove(name);
                METRICS
                    .staple_ends_at
                    .with_label_values(&[name])
                    .set(until.timestamp());
                Some(bytes)
            }
            Err(error) => {
                let error = format!("{error:#}");
                if self.faults.get(name) != Some(&error) {
                    tracing::error!(
                        certificate = name,
                        error,
                        "clients are not shown this OCSP response"
                    );
                    self.faults.insert(name.to_owned(), error);
                }
                None
            }
        }
    }
}

/// Until when this response says that the certificate with this serial number is good.
///
/// # Errors
/// Why clients must not be shown it.
fn good_until(response: &[u8], serial: &[u8], now: DateTime<Utc>) -> anyhow::Result<DateTime<Utc>> {
    let single = of_certificate(response, serial)?;
    let [_, status, since, more @ ..] = single.as_slice() else {
        bail!("it says nothing of the certificate");
    };
    match is_field(status).then_some(status.tag().0) {
        Some(0) => {}
        Some(1) => bail!("the certificate is revoked"),
        _ => bail!("the authority does not know the certificate"),
    }
    let since = time(since)?;
    if now < since {
        bail!("it does not hold before {since}");
    }
    let until = more.iter().find(|part| is_field(part) && part.tag().0 == 0);
    let until = until.context("it does not say until when it holds")?;
    let until = time(&only(until.data)?)?;
    if now >= until {
        bail!("it held until {until}");
    }
    Ok(until)
}

/// The parts of `SingleResponse` about a certificate.
fn of_certificate<'r>(response: &'r [u8], serial: &[u8]) -> anyhow::Result<Vec<Any<'r>>> {
    let response = parts(only(response)?.data)?;
    let [status, body @ ..] = response.as_slice() else {
        bail!("it is no OCSP response");
    };
    let ([body], [0]) = (body, status.data) else {
        bail!("the authority gave no answer");
    };
    let body = parts(only(body.data)?.data)?;
    let [kind, basic] = body.as_slice() else {
        bail!("it is no OCSP response");
    };
    if kind.data != BASIC {
        bail!("it is an OCSP response of an unknown kind");
    }
    let signed = parts(only(basic.data)?.data)?;
    let data = parts(signed.first().context("it is no OCSP response")?.data)?;
    // Before them are a version and who answers, which are fields, and a time.
    let mut sequences = data
        .iter()
        .filter(|part| part.tag() == Tag::Sequence && !is_field(part));
    let responses = sequences.next().context("it is no OCSP response")?;
    for single in parts(responses.data)? {
        let single = parts(single.data)?;
        let id = parts(single.first().context("it is no OCSP response")?.data)?;
        if id.last().is_some_and(|number| number.data == serial) {
            return Ok(single);
        }
    }
    bail!("it is not about this certificate")
}

/// Whether a part is a field with a number of its own.
fn is_field(part: &Any<'_>) -> bool {
    part.class() == Class::ContextSpecific
}

/// What stands one behind the other in these bytes.
fn parts(mut bytes: &[u8]) -> anyhow::Result<Vec<Any<'_>>> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let (behind, part) = Any::from_der(bytes).map_err(|_| anyhow!("it is no DER"))?;
        parts.push(part);
        bytes = behind;
    }
    Ok(parts)
}

/// The one thing in these bytes.
fn only(bytes: &[u8]) -> anyhow::Result<Any<'_>> {
    let mut parts = parts(bytes)?.into_iter();
    match (parts.next(), parts.next()) {
        (Some(part), None) => Ok(part),
        _ => bail!("it is no OCSP response"),
    }
}

fn time(part: &Any<'_>) -> anyhow::Result<DateTime<Utc>> {
    let time = GeneralizedTime::try_from(part).and_then(|time| time.utc_datetime());
    let time = time.map_err(|_| anyhow!("a time in it is none"))?;
    DateTime::from_timestamp(time.unix_timestamp(), 0).context("a date that no clock can show")
}
