//! A certificate authority of a test: pairs, chains, client certificates and revocation lists.

use std::path::Path;

use chrono::{DateTime, Datelike as _, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
pub(crate) struct Issued {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        Self(CertifiedIssuer::self_signed(Self::params(name), KeyPair::generate().unwrap()).unwrap())
    }

    /// An authority below this one.
    pub(crate) fn below(&self, name: &str) -> Self {
        self.below_with(name, |_| ())
    }

    /// An authority below this one that is special.
    pub(crate) fn below_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = Self::params(name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::signed_by(params, key, &self.0).unwrap())
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        params
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server certificate.
    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        self.issue_with(names, |_| ())
    }

    /// A server certificate that is special.
    pub(crate) fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        params.use_authority_key_identifier_extension = true;
        Issued {
            chain: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// A client certificate with this URI name.
    pub(crate) fn issue_to_client(&self, uri: &str, serial: u64) -> Issued {
        self.issue_with(&[], |params| {
            params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.serial_number = Some(SerialNumber::from(serial));
        })
    }

    /// A revocation list that ends at a moment.
    pub(crate) fn revoke(&self, serials: &[u64], until: DateTime<Utc>) -> String {
        let (year, month, day) = ymd(until);
        let long_ago = rcgen::date_time_ymd(2020, 1, 1);
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: long_ago,
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: long_ago,
            next_update: rcgen::date_time_ymd(year, month, day),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

impl Issued {
    /// Writes the pair, the key first.
    pub(crate) fn write(&self, directory: &Path, name: &str) {
        std::fs::write(directory.join(format!("{name}.key")), &self.key).unwrap();
        std::fs::write(directory.join(format!("{name}.pem")), &self.chain).unwrap();
    }

    pub(crate) fn der(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes());
        (chain.map(Result::unwrap).collect(), key.unwrap())
    }
}

/// An OCSP response (RFC 6960 §4.2.1) about one certificate, whose signature says nothing. `status` is the tag of the
/// choice: 0x80 good, 0xa1 revoked, 0x82 unknown.
pub(crate) fn staple(serial: u8, status: u8, since: &str, until: Option<&str>) -> Vec<u8> {
    let hash = der(4, &[&[7; 20]]);
    let sha1 = der(0x30, &[&der(6, &[&[0x2b, 14, 3, 2, 26]])]);
    let certificate = der(0x30, &[&sha1, &hash, &hash, &der(2, &[&[serial]])]);
    let time = |text: &str| der(0x18, &[text.as_bytes()]);
    let revoked_at = if status == 0xa1 { time(since) } else { Vec::new() };
    let until = until.map_or_else(Vec::new, |until| der(0xa0, &[&time(until)]));
    let single = der(
        0x30,
        &[&certificate, &der(status, &[&revoked_at]), &time(since), &until],
    );
    let responder = der(0xa2, &[&hash]);
    let data = der(0x30, &[&responder, &time(since), &der(0x30, &[&single])]);
    let ecdsa = der(0x30, &[&der(6, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]])]);
    let basic = der(0x30, &[&data, &ecdsa, &der(3, &[&[0, 1, 2]])]);
    let kind = der(6, &[&[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1]]);
    let body = der(0xa0, &[&der(0x30, &[&kind, &der(4, &[&basic])])]);
    der(0x30, &[&der(10, &[&[0]]), &body])
}

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = match content.len() {
        short @ ..128 => vec![u8::try_from(short).unwrap()],
        long => [&[0x82][..], &u16::try_from(long).unwrap().to_be_bytes()].concat(),
    };
    [&[tag], &length[..], &content].concat()
}

/// A day for `rcgen::date_time_ymd`.
pub(crate) fn ymd(at: DateTime<Utc>) -> (i32, u8, u8) {
    let small = |number: u32| u8::try_from(number).unwrap();
    (at.year(), small(at.month()), small(at.day()))
}
