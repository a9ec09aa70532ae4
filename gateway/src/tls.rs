//! The TLS side of a listener: our own rustls configuration, swapped as a whole when policy or certificate change.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use policy::{HttpsListener, TlsVersion};
use rustls::client::verify_server_name;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

/// HTTP/2 first, then HTTP/1.1.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The TLS configuration of one listener.
pub(crate) struct TlsEntrance {
    directory: PathBuf,
    config: ArcSwap<ServerConfig>,
    /// What `config` was made of, to see whether anything changed.
    source: Mutex<Vec<u8>>,
}

impl TlsEntrance {
    /// Reads the certificate that the listener names.
    ///
    /// # Errors
    /// When it is missing, damaged, or the key is not that of the certificate; the message names the files.
    pub(crate) fn open(directory: &Path, listener: &HttpsListener) -> anyhow::Result<Self> {
        let (source, config) = build(directory, listener)?;
        Ok(Self {
            directory: directory.to_owned(),
            config: ArcSwap::from_pointee(config),
            source: Mutex::new(source),
        })
    }

    /// The configuration for the next handshake.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    /// Takes over a changed certificate or TLS policy (TLS-4). Returns whether anything changed; connections that are
    /// open stay as they are.
    ///
    /// # Errors
    /// As [`TlsEntrance::open`]; the old configuration stays.
    pub(crate) fn refresh(&self, listener: &HttpsListener) -> anyhow::Result<bool> {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        if fingerprint(listener, &Files::read(&self.directory, &listener.certificate)?) == *source {
            return Ok(false);
        }
        let (fresh, config) = build(&self.directory, listener)?;
        self.config.store(Arc::new(config));
        *source = fresh;
        Ok(true)
    }
}

struct Files {
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn read(directory: &Path, name: &str) -> anyhow::Result<Self> {
        let read = |extension: &str| {
            let path = directory.join(format!("{name}.{extension}"));
            fs::read(&path).with_context(|| format!("certificate {name}: reading {}", path.display()))
        };
        Ok(Self {
            chain: read("pem")?,
            key: read("key")?,
        })
    }
}

fn fingerprint(listener: &HttpsListener, files: &Files) -> Vec<u8> {
    let mut source = files.chain.clone();
    source.extend_from_slice(&files.key);
    source.push(u8::from(listener.tls_min == TlsVersion::Tls13));
    digest(&SHA256, &source).as_ref().to_vec()
}

fn build(directory: &Path, listener: &HttpsListener) -> anyhow::Result<(Vec<u8>, ServerConfig)> {
    let name = &listener.certificate;
    let files = Files::read(directory, name)?;
    let certificate = certified_key(&files).with_context(|| format!("certificate {name}"))?;
    let versions: &[&rustls::SupportedProtocolVersion] = match listener.tls_min {
        TlsVersion::Tls12 => &[&version::TLS13, &version::TLS12],
        TlsVersion::Tls13 => &[&version::TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(service_runtime::crypto::shared_provider())
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Resolver::new(certificate, listener.bind.ip())?));
    config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
    // Early data could be replayed, and requests move money (TLS-1).
    config.max_early_data_size = 0;
    Ok((fingerprint(listener, &files), config))
}

fn certified_key(files: &Files) -> anyhow::Result<CertifiedKey> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&files.chain)
        .collect::<Result<_, _>>()
        .context("the chain is not PEM")?;
    if chain.is_empty() {
        bail!("the file holds no certificate");
    }
    let key = PrivateKeyDer::from_pem_slice(&files.key).context("the key is not PEM")?;
    let provider = service_runtime::crypto::provider();
    CertifiedKey::from_der(chain, key, &provider).context("key and certificate do not belong together")
}

/// Answers only for names that the certificate covers (TLS-2). A client that addresses an IP sends no name (RFC 6066
/// §3), so it is answered when the certificate covers an address that leads here.
#[derive(Debug)]
struct Resolver {
    certificate: Arc<CertifiedKey>,
    covers_an_address: bool,
}

impl Resolver {
    fn new(certificate: CertifiedKey, bind: IpAddr) -> anyhow::Result<Self> {
        let leaf = certificate.end_entity_cert()?;
        let parsed = ParsedCertificate::try_from(leaf)?;
        let addresses = [
            bind,
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ];
        let covers_an_address = addresses
            .iter()
            .any(|address| verify_server_name(&parsed, &ServerName::IpAddress((*address).into())).is_ok());
        Ok(Self {
            certificate: Arc::new(certificate),
            covers_an_address,
        })
    }

    fn covers(&self, name: &str) -> bool {
        let Ok(leaf) = self.certificate.end_entity_cert() else {
            return false;
        };
        let (Ok(parsed), Ok(name)) = (ParsedCertificate::try_from(leaf), ServerName::try_from(name)) else {
            return false;
        };
        verify_server_name(&parsed, &name).is_ok()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let answer = match hello.server_name() {
            Some(name) => self.covers(name),
            None => self.covers_an_address,
        };
        answer.then(|| self.certificate.clone())
    }
}
