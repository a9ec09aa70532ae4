//! Who may speak with a service: an authority vouches for the certificate, and its name is one that is expected, where
//! some are.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::pair::{is_for_clients, parse, uri_and_dns_names, validity};

/// The clients that are expected.
#[derive(Debug)]
pub(super) struct ExpectedClients {
    verifier: Arc<dyn ClientCertVerifier>,
    /// None where the authority's word is enough.
    names: Option<Vec<String>>,
}

impl ExpectedClients {
    /// Reads authorities; those that have ended do not count.
    ///
    /// # Errors
    /// The first check that fails, in words.
    pub(super) fn read(
        authorities: &[u8],
        names: Option<&[String]>,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(authorities) {
            let authority = authority.context("the authorities are not PEM")?;
            let parsed = parse(&authority)?;
            if !parsed.is_ca() {
                bail!("`{}` is no authority", parsed.subject());
            }
            if now < validity(&parsed)?.1 {
                roots.add(authority).context("an authority")?;
            }
        }
        if roots.is_empty() {
            bail!("the file holds no authority that is still valid");
        }
        let provider = crate::crypto::shared_provider();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .context("the authorities")?;
        Ok(Self {
            verifier,
            names: names.map(<[String]>::to_vec),
        })
    }

    /// Whether a certificate that was shown before would be admitted now.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn admit(&self, chain: &[CertificateDer<'_>], now: DateTime<Utc>) -> Result<(), Error> {
        let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let [leaf, intermediates @ ..] = chain else {
            return Err(Error::NoCertificatesPresented);
        };
        self.verify_client_cert(leaf, intermediates, now).map(drop)
    }
}

impl ClientCertVerifier for ExpectedClients {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.verifier.verify_client_cert(end_entity, intermediates, now)?;
        let leaf = parse(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        if !is_for_clients(&leaf).unwrap_or(false) {
            return Err(CertificateError::InvalidPurpose.into());
        }
        if let Some(names) = &self.names {
            let shown = uri_and_dns_names(&leaf).unwrap_or_default();
            if !names.iter().any(|name| shown.contains(name)) {
                return Err(CertificateError::NotValidForName.into());
            }
        }
        Ok(verified)
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
