//! Development CAs and certificates for this machine and its gateway, renewed before they end.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::{DateTime, Datelike as _, NaiveDateTime, TimeDelta, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::durable_file;

const CA_DAYS: i64 = 5 * 365;
const LEAF_DAYS: i64 = 90;
/// A leaf with less than this left is replaced.
pub(crate) const RENEW_BEFORE_DAYS: i64 = 30;

/// Whom a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Leaf {
    /// A server on this machine; the name of its files.
    Server(String),
    /// A gateway, as its fleet calls it; its files are called the same.
    Gateway(String),
}

impl Leaf {
    fn name(&self) -> &str {
        match self {
            Self::Server(name) | Self::Gateway(name) => name,
        }
    }
}

/// Makes what is missing or near its end in a folder: the CA, and the certificates. Returns the CA's file.
pub(super) fn prepare(tls: &Path, leaves: &[Leaf], now: DateTime<Utc>) -> anyhow::Result<PathBuf> {
    let (ca_pem, ca_key) = (tls.join("ca.pem"), tls.join("ca.key"));
    let is_new_ca = !ca_key.exists() || !lasts(&ca_pem, now, LEAF_DAYS);
    if is_new_ca {
        let key = KeyPair::generate().context("cannot make a key for the development CA")?;
        let certificate = ca_parameters(&key, now)?
            .self_signed(&key)
            .context("cannot make the development CA")?;
        durable_file::write(&ca_key, key.serialize_pem().as_bytes(), 0o600)?;
        durable_file::write(&ca_pem, certificate.pem().as_bytes(), 0o644)?;
    }
    let key = fs::read_to_string(&ca_key).with_context(|| format!("cannot read {}", ca_key.display()))?;
    let key = KeyPair::from_pem(&key).with_context(|| format!("{} holds no key", ca_key.display()))?;
    let issuer = Issuer::new(ca_parameters(&key, now)?, key);
    for leaf in leaves {
        let name = leaf.name();
        let (pem, key) = (tls.join(format!("{name}.pem")), tls.join(format!("{name}.key")));
        if is_new_ca || !key.exists() || !lasts(&pem, now, RENEW_BEFORE_DAYS) {
            make_leaf(&issuer, leaf, (&pem, &key), now)?;
        }
    }
    Ok(ca_pem)
}

/// The CA's certificate is made of its key alone, so that the key is all that must be kept to issue with it.
fn ca_parameters(key: &KeyPair, now: DateTime<Utc>) -> anyhow::Result<CertificateParams> {
    let mut parameters = CertificateParams::new(Vec::new())?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let identifier = parameters.key_identifier(key);
    let short: String = identifier
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    parameters.distinguished_name = name(&format!("Portico development CA {short}"));
    set_validity(&mut parameters, now, CA_DAYS)?;
    Ok(parameters)
}

fn make_leaf(
    issuer: &Issuer<'_, KeyPair>,
    leaf: &Leaf,
    (pem, key_file): (&Path, &Path),
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    let (host, usage) = match leaf {
        Leaf::Server(_) => ("localhost", ExtendedKeyUsagePurpose::ServerAuth),
        Leaf::Gateway(name) => (name.as_str(), ExtendedKeyUsagePurpose::ClientAuth),
    };
    let mut parameters = CertificateParams::new(vec![host.to_owned()])?;
    if matches!(leaf, Leaf::Server(_)) {
        for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            parameters.subject_alt_names.push(SanType::IpAddress(address));
        }
    }
    parameters.distinguished_name = name(host);
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![usage];
    parameters.use_authority_key_identifier_extension = true;
    set_validity(&mut parameters, now, LEAF_DAYS)?;
    let key = KeyPair::generate().with_context(|| format!("cannot make {}", key_file.display()))?;
    let certificate = parameters
        .signed_by(&key, issuer)
        .with_context(|| format!("cannot make {}", pem.display()))?;
    durable_file::write(key_file, key.serialize_pem().as_bytes(), 0o600)?;
    durable_file::write(pem, certificate.pem().as_bytes(), 0o644)
}

fn name(common_name: &str) -> DistinguishedName {
    let mut distinguished_name = DistinguishedName::new();
    distinguished_name.push(DnType::OrganizationName, "Portico");
    distinguished_name.push(DnType::CommonName, common_name);
    distinguished_name
}

/// From yesterday, for clocks that run behind.
fn set_validity(parameters: &mut CertificateParams, now: DateTime<Utc>, days: i64) -> anyhow::Result<()> {
    let at = |moment: DateTime<Utc>| {
        let (month, day) = (u8::try_from(moment.month())?, u8::try_from(moment.day())?);
        anyhow::Ok(rcgen::date_time_ymd(moment.year(), month, day))
    };
    parameters.not_before = at(now - TimeDelta::days(1))?;
    parameters.not_after = at(now + TimeDelta::days(days))?;
    Ok(())
}

/// Whether the certificate in `pem` is good for more than `days`. One that cannot be read is not.
fn lasts(pem: &Path, now: DateTime<Utc>, days: i64) -> bool {
    not_after(pem).is_ok_and(|end| end > now + TimeDelta::days(days))
}

/// When the first certificate of a PEM file ends (RFC 5280 §4.1.2.5).
pub(crate) fn not_after(pem: &Path) -> anyhow::Result<DateTime<Utc>> {
    let certificate =
        CertificateDer::from_pem_file(pem).map_err(|error| anyhow::anyhow!("{}: {error}", pem.display()))?;
    end_of_validity(&certificate).with_context(|| format!("{}: not a certificate", pem.display()))
}

fn end_of_validity(der: &[u8]) -> Option<DateTime<Utc>> {
    let (_, certificate, _) = element(der)?;
    let (_, body, _) = element(certificate)?;
    // [0] version, serialNumber, signature, issuer, validity
    let mut rest = body;
    for _ in 0..4 {
        rest = element(rest)?.2;
    }
    let (_, validity, _) = element(rest)?;
    let after_start = element(validity)?.2;
    let (tag, text, _) = element(after_start)?;
    let text = std::str::from_utf8(text).ok()?;
    let full = match tag {
        // UTCTime has two digits for the year, 1950 to 2049.
        0x17 => format!("{}{text}", if text.get(..2)? < "50" { "20" } else { "19" }),
        0x18 => text.to_owned(),
        _ => return None,
    };
    NaiveDateTime::parse_from_str(&full, "%Y%m%d%H%M%SZ")
        .ok()
        .map(|time| time.and_utc())
}

/// One DER element: its tag, its content and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first & 0x7f);
    if first & 0x80 != 0 {
        let (digits, after) = rest.split_at_checked(length)?;
        if digits.len() > 4 {
            return None;
        }
        length = digits
            .iter()
            .fold(0, |length, byte| (length << 8) | usize::from(*byte));
        rest = after;
    }
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn today() -> DateTime<Utc> {
        service_runtime::clock::Clock::system().now()
    }

    #[test]
    fn certificates_are_made_once_and_renewed_near_their_end() {
        let tls = tempfile::tempdir().unwrap();
        let leaves = [
            Leaf::Server("gateway".to_owned()),
            Leaf::Gateway("edge-1".to_owned()),
        ];
        let now = today();
        let ca = prepare(tls.path(), &leaves, now).unwrap();
        let (pem, key) = (tls.path().join("gateway.pem"), tls.path().join("gateway.key"));
        let (first_ca, first) = (fs::read(&ca).unwrap(), fs::read(&pem).unwrap());
        for private in [&key, &tls.path().join("ca.key")] {
            assert_eq!(fs::metadata(private).unwrap().permissions().mode() & 0o777, 0o600);
        }

        prepare(tls.path(), &leaves, now + TimeDelta::days(30)).unwrap();
        assert_eq!(fs::read(&pem).unwrap(), first);

        prepare(tls.path(), &leaves, now + TimeDelta::days(LEAF_DAYS - 10)).unwrap();
        assert_ne!(fs::read(&pem).unwrap(), first);
        assert_eq!(fs::read(&ca).unwrap(), first_ca);
    }

    #[test]
    fn the_end_of_a_certificate_is_read() {
        let tls = tempfile::tempdir().unwrap();
        let now = today();
        prepare(tls.path(), &[Leaf::Server("gateway".to_owned())], now).unwrap();
        let left = not_after(&tls.path().join("gateway.pem")).unwrap() - now;
        assert!((LEAF_DAYS - 1..=LEAF_DAYS).contains(&left.num_days()), "{left}");
        let left = not_after(&tls.path().join("ca.pem")).unwrap() - now;
        assert!((CA_DAYS - 1..=CA_DAYS).contains(&left.num_days()), "{left}");
    }

    #[test]
    fn a_leaf_is_trusted_by_the_ca_alone() {
        let tls = tempfile::tempdir().unwrap();
        let ca = prepare(tls.path(), &[Leaf::Server("gateway".to_owned())], today()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&ca).unwrap()).unwrap();
        let provider = service_runtime::crypto::shared_provider();
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
            .build()
            .unwrap();
        let leaf = CertificateDer::from_pem_file(tls.path().join("gateway.pem")).unwrap();
        for name in ["localhost", "127.0.0.1", "::1"] {
            let server = rustls::pki_types::ServerName::try_from(name).unwrap();
            let at = rustls::pki_types::UnixTime::now();
            rustls::client::danger::ServerCertVerifier::verify_server_cert(
                &*verifier,
                &leaf,
                &[],
                &server,
                &[],
                at,
            )
            .unwrap();
        }
    }

    #[test]
    fn a_gateway_is_a_client_with_one_name() {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path(), &[Leaf::Gateway("edge-1".to_owned())], today()).unwrap();
        let der = CertificateDer::from_pem_file(folder.path().join("edge-1.pem")).unwrap();
        let leaf = service_runtime::tls::parse(&der).unwrap();
        assert!(service_runtime::tls::is_for_clients(&leaf).unwrap());
        let names = service_runtime::tls::uri_and_dns_names(&leaf).unwrap();
        assert_eq!(names.iter().collect::<Vec<_>>(), ["edge-1"]);
    }

    #[test]
    fn garbage_is_no_certificate() {
        assert_eq!(end_of_validity(&[]), None);
        assert_eq!(end_of_validity(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(end_of_validity(&[0x30, 0x03, 0x30, 0x01, 0x00]), None);
    }
}
