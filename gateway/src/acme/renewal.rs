//! When a certificate is renewed: when the authority says so, else after two thirds of its life. Each at a moment of its
//! own, so that gateways that were started together do not all ask together.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, TimeDelta, Utc};
use instant_acme::{CertificateIdentifier, RenewalInfo};
use policy::Certificate;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, Der};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;

/// Without a word of the authority, it is asked again after this time.
const ASK_AGAIN: TimeDelta = TimeDelta::hours(6);
/// Steps in which a moment of its own is chosen.
const STEPS: u32 = 1_000;

/// The certificate that there is.
pub(super) struct Held {
    fingerprint: Vec<u8>,
    not_before: DateTime<Utc>,
    not_after: DateTime<Utc>,
    /// How the authority knows it (RFC 9773 §4.1).
    pub(super) identifier: Option<CertificateIdentifier<'static>>,
}

impl Held {
    /// Reads a pair; `None` when it is not for the names that the policy wants, or is none.
    pub(super) fn read(pair: &[u8], wanted: &Certificate) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(pair).ok()?;
        let (_, leaf) = X509Certificate::from_der(&der).ok()?;
        let names = leaf.subject_alternative_name().ok()??;
        let is_there = |host: &String| {
            names.value.general_names.iter().any(|name| match name {
                GeneralName::DNSName(name) => name.eq_ignore_ascii_case(host),
                GeneralName::IPAddress(bytes) => host.parse().is_ok_and(|address| match address {
                    std::net::IpAddr::V4(address) => address.octets() == *bytes,
                    std::net::IpAddr::V6(address) => address.octets() == *bytes,
                }),
                _ => false,
            })
        };
        if !wanted.hosts.iter().all(is_there) {
            return None;
        }
        let time = |seconds| DateTime::from_timestamp(seconds, 0);
        Some(Self {
            fingerprint: digest(&SHA256, &der).as_ref().to_vec(),
            not_before: time(leaf.validity().not_before.timestamp())?,
            not_after: time(leaf.validity().not_after.timestamp())?,
            identifier: identifier(&leaf),
        })
    }

    /// A part of a span of time: the same one for this certificate every time, another one for others.
    fn part_of(&self, span: TimeDelta) -> TimeDelta {
        let bytes = self.fingerprint.iter().take(4);
        let number = bytes.fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        let step = i64::from(number % STEPS);
        let seconds = span.num_seconds().saturating_mul(step) / i64::from(STEPS);
        TimeDelta::seconds(seconds)
    }
}

fn identifier(leaf: &X509Certificate<'_>) -> Option<CertificateIdentifier<'static>> {
    let key = leaf
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(identifier) => identifier.key_identifier.as_ref(),
            _ => None,
        })?;
    Some(CertificateIdentifier::new(Der::from_slice(key.0), Der::from_slice(leaf.raw_serial())).into_owned())
}

/// The window that the authority suggests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) start: DateTime<Utc>,
    pub(super) end: DateTime<Utc>,
    pub(super) asked_again_after: TimeDelta,
}

impl Window {
    /// `None` when it has no length.
    pub(super) fn new(info: &RenewalInfo, asked_again_after: Duration) -> Option<Self> {
        let time = |seconds| DateTime::from_timestamp(seconds, 0);
        let window = Self {
            start: time(info.suggested_window.start.unix_timestamp())?,
            end: time(info.suggested_window.end.unix_timestamp())?,
            asked_again_after: TimeDelta::from_std(asked_again_after).ok()?,
        };
        (window.start < window.end).then_some(window)
    }
}

/// When a certificate is due.
#[derive(Debug)]
pub(super) struct Renewal {
    fingerprint: Vec<u8>,
    at: DateTime<Utc>,
    ask_again_at: DateTime<Utc>,
}

impl Renewal {
    /// Chooses the moment. Whatever the authority says, it is before the certificate ends.
    pub(super) fn plan(held: &Held, window: Option<Window>, now: DateTime<Utc>) -> Self {
        let life = held.not_after.signed_duration_since(held.not_before);
        let by_life = held.not_before + life / 3 * 2 + held.part_of(life / 20);
        let last = held.not_after - life / 12;
        let at = match window {
            Some(window) => {
                let length = window.end.signed_duration_since(window.start);
                (window.start + held.part_of(length)).min(last)
            }
            None => by_life,
        };
        let pause = window.map_or(ASK_AGAIN, |window| window.asked_again_after.min(ASK_AGAIN * 4));
        Self {
            fingerprint: held.fingerprint.clone(),
            at,
            ask_again_at: now + pause.max(TimeDelta::minutes(1)),
        }
    }

    pub(super) fn is_of(&self, held: &Held) -> bool {
        self.fingerprint == held.fingerprint
    }

    /// Whether the authority need not be asked again yet.
    pub(super) fn is_fresh(&self, now: DateTime<Utc>) -> bool {
        now < self.ask_again_at
    }

    pub(super) fn is_due(&self, now: DateTime<Utc>) -> bool {
        now >= self.at
    }
}
