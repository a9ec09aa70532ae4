//! Who may speak with a service: an authority vouches for the certificate, it is for clients, and its name is one that is
//! expected where names are.

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

/// Webpki's checks (chain, dates, revocation), that the certificate is for clients at all, which webpki takes for granted
/// when it does not say so, and that it is one of these clients.
#[derive(Debug)]
pub struct ForClients {
    verifier: Arc<dyn ClientCertVerifier>,
    names: Option<Vec<String>>,
}

impl ForClients {
    /// All clients that `verifier` lets in.
    #[must_use]
    pub fn new(verifier: Arc<dyn ClientCertVerifier>) -> Self {
        Self {
            verifier,
            names: None,
        }
    }

    /// Those of them that show one of these names: a URI or a DNS name in lower case, compared exactly.
    #[must_use]
    pub fn named(self, names: &[String]) -> Self {
        Self {
            names: Some(names.to_owned()),
            ..self
        }
    }

    /// Whether a certificate that was shown before would be admitted now.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, chain: &[CertificateDer<'_>], now: DateTime<Utc>) -> Result<(), Error> {
        let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let [leaf, intermediates @ ..] = chain else {
            return Err(Error::NoCertificatesPresented);
        };
        self.verify_client_cert(leaf, intermediates, now).map(drop)
    }
}

/// Reads the authorities of clients, with these names where some are expected; those that have ended do not count.
///
/// # Errors
/// The first check that fails, in words.
pub(super) fn expected_clients(
    authorities: &[u8],
    names: Option<&[String]>,
    now: DateTime<Utc>,
) -> anyhow::Result<ForClients> {
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
    let clients = ForClients::new(verifier);
    Ok(match names {
        Some(names) => clients.named(names),
        None => clients,
    })
}

impl ClientCertVerifier for ForClients {
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
        self.verifier.client_auth_mandatory()
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
