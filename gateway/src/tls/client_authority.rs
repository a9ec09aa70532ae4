//! Who vouches for clients, whom it has revoked, and whether a client's certificate still stands (TLS-6).

use std::sync::Arc;

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use keyring::CertificateHash;
use policy::ClientCertificate;
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, Error, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use service_runtime::clock::Clock;
use service_runtime::tls::{ForClients, parse, uri_and_dns_names, validity};
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use super::listener::TlsEntrance;

/// A client authority with its revocation lists.
#[derive(Debug)]
pub(crate) struct ClientAuthority {
    name: String,
    verifier: Arc<ForClients>,
    /// When the first of its lists ends; from then on each client is asked whether its own still holds: else nobody knows who
    /// was revoked.
    pub(super) lists_end_at: DateTime<Utc>,
    clock: Clock,
}

/// Its two files, as they were read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AuthorityFiles {
    pub(super) authorities: Vec<u8>,
    pub(super) revocations: Vec<u8>,
}

impl ClientAuthority {
    /// Reads certificates and revocation lists; every authority needs a list of its own.
    ///
    /// # Errors
    /// The first check that fails, in words.
    pub(super) fn check(name: &str, files: &AuthorityFiles, clock: Clock) -> anyhow::Result<Self> {
        let authorities: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&files.authorities)
            .collect::<Result<_, _>>()
            .context("the authorities are not PEM")?;
        let lists: Vec<CertificateRevocationListDer<'static>> =
            CertificateRevocationListDer::pem_slice_iter(&files.revocations)
                .collect::<Result<_, _>>()
                .context("the revocation lists are not PEM")?;
        let (issuers, lists_end_at) = read_lists(&lists)?;
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            let parsed = parse(&authority)?;
            if !parsed.is_ca() {
                bail!("`{}` is no authority", parsed.subject());
            }
            if !issuers.iter().any(|issuer| issuer == parsed.subject().as_raw()) {
                bail!("there is no revocation list of `{}`", parsed.subject());
            }
            roots.add(authority).context("an authority")?;
        }
        if roots.is_empty() {
            bail!("the file holds no authority");
        }
        let provider = service_runtime::crypto::shared_provider();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .with_crls(lists)
            .enforce_revocation_expiration()
            .allow_unauthenticated()
            .build()
            .context("the revocation lists")?;
        Ok(Self {
            name: name.to_owned(),
            verifier: Arc::new(ForClients::new(verifier)),
            lists_end_at,
            clock,
        })
    }

    /// Who verifies certificates in a handshake.
    pub(super) fn verifier(&self) -> Arc<ForClients> {
        self.verifier.clone()
    }
}

/// Whose lists these are, and when the first of them ends.
fn read_lists(lists: &[CertificateRevocationListDer<'_>]) -> anyhow::Result<(Vec<Vec<u8>>, DateTime<Utc>)> {
    let (mut issuers, mut ends) = (Vec::new(), Vec::new());
    for list in lists {
        let (_, list) = CertificateRevocationList::from_der(list)?;
        let end = list
            .next_update()
            .context("a revocation list does not say when it ends")?;
        ends.push(DateTime::from_timestamp(end.timestamp(), 0).context("a date that no clock can show")?);
        issuers.push(list.issuer().as_raw().to_vec());
    }
    let first = ends
        .into_iter()
        .min()
        .context("the file holds no revocation list")?;
    Ok((issuers, first))
}

/// The client certificate of a connection, verified in its handshake.
#[derive(Debug)]
pub(crate) struct VerifiedClient {
    chain: Vec<CertificateDer<'static>>,
    hash: CertificateHash,
    certificate: Arc<ClientCertificate>,
    first_expiry: DateTime<Utc>,
    /// Who has verified it last: another authority, or the same with other lists, verifies it anew.
    verified_by: ArcSwap<ClientAuthority>,
}

impl VerifiedClient {
    /// What a handshake with this authority has shown; `None` when it cannot be read, which counts as no certificate.
    pub(crate) fn new(authority: &Arc<ClientAuthority>, chain: Vec<CertificateDer<'static>>) -> Option<Self> {
        let first = chain.first()?;
        let hash = CertificateHash::of(first);
        let leaf = parse(first).ok()?;
        let names = uri_and_dns_names(&leaf)?;
        let ends = chain
            .iter()
            .map(|certificate| Some(validity(&parse(certificate).ok()?).ok()?.1));
        let first_expiry = ends.collect::<Option<Vec<_>>>()?.into_iter().min()?;
        let certificate = Arc::new(ClientCertificate {
            authority: authority.name.clone(),
            names,
        });
        Some(Self {
            hash,
            certificate,
            first_expiry,
            verified_by: ArcSwap::new(authority.clone()),
            chain,
        })
    }

    /// Its first name, for the log.
    pub(crate) fn name(&self) -> Option<&str> {
        self.certificate.names.first().map(String::as_str)
    }

    /// What tokens that are bound to it say of it (J33).
    pub(crate) const fn hash(&self) -> &CertificateHash {
        &self.hash
    }

    /// The certificate, if it still stands: connections live long, and certificates end and are revoked meanwhile.
    ///
    /// # Errors
    /// One word: why it does not stand any more.
    pub(crate) fn standing(&self, entrance: &TlsEntrance) -> Result<Arc<ClientCertificate>, &'static str> {
        let tls = entrance.current();
        let authority = tls.authority.as_ref().ok_or("no_client_authority")?;
        let now = authority.clock.now();
        let is_fresh = Arc::ptr_eq(&self.verified_by.load(), authority);
        if !is_fresh || now >= self.first_expiry || now >= authority.lists_end_at {
            if authority.name != self.certificate.authority {
                return Err("another_client_authority");
            }
            authority
                .verifier
                .admit(&self.chain, now)
                .map_err(|error| reason(&error))?;
            self.verified_by.store(authority.clone());
        }
        Ok(self.certificate.clone())
    }
}

fn reason(error: &Error) -> &'static str {
    match error {
        Error::InvalidCertificate(CertificateError::Revoked) => "client_certificate_revoked",
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "client_certificate_expired"
        }
        Error::InvalidCertificate(
            CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. },
        ) => "revocation_list_expired",
        _ => "client_certificate_refused",
    }
}
