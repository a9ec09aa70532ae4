//! Who an upstream must be and who the gateway is to it (TLS-8): one consistent set, made from files that were checked.
//!
//! **Invariant:** no connection is used for another set than the one it was made with: every set has a number of its own,
//! by which connections rest, and no session is resumed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, bail};
use arc_swap::ArcSwapOption;
use chrono::{DateTime, Utc};
use policy::{TlsVersion, UpstreamTls};
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use service_runtime::clock::Clock;
use service_runtime::tls::{ClockTime, Pair, check_pair, is_for_clients, parse, validity};
use tokio_rustls::TlsConnector;

use super::versions;

/// HTTP/2 is not spoken with upstreams.
const ALPN: &[u8] = b"http/1.1";

/// The set in force for one upstream; nothing while its files are wrong and never were right, or have ended.
#[derive(Debug, Default)]
pub(crate) struct UpstreamTlsSlot(ArcSwapOption<UpstreamIdentity>);

impl UpstreamTlsSlot {
    /// The set for the next connection.
    pub(crate) fn current(&self) -> Option<Arc<UpstreamIdentity>> {
        self.0.load_full()
    }

    /// Puts a set in force.
    pub(super) fn put(&self, identity: Option<Arc<UpstreamIdentity>>) {
        self.0.store(identity);
    }
}

/// The authorities of one file.
#[derive(Debug)]
pub(super) struct ServerAuthority(Vec<(CertificateDer<'static>, DateTime<Utc>)>);

impl ServerAuthority {
    /// Reads authorities.
    ///
    /// # Errors
    /// The first check that fails, in words.
    pub(super) fn check(pem: &[u8], now: DateTime<Utc>) -> anyhow::Result<Self> {
        let mut authorities = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.context("the authorities are not PEM")?;
            let parsed = parse(&certificate)?;
            if !parsed.is_ca() {
                bail!("`{}` is no authority", parsed.subject());
            }
            let (_, not_after) = validity(&parsed)?;
            RootCertStore::empty()
                .add(certificate.clone())
                .context("an authority")?;
            authorities.push((certificate, not_after));
        }
        let read = Self(authorities);
        if read.valid(now).next().is_none() {
            bail!("the file holds no authority that is still valid");
        }
        Ok(read)
    }

    /// Those that have not ended: rustls does not look at the dates of whom it trusts.
    fn valid(&self, now: DateTime<Utc>) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.0
            .iter()
            .filter(move |(_, not_after)| now < *not_after)
            .map(|(certificate, _)| certificate)
    }

    /// When the first of those that are valid ends; of none, when the last one did.
    pub(super) fn ends_at(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let ends = || self.0.iter().map(|(_, not_after)| *not_after);
        ends().filter(|end| now < *end).min().or_else(|| ends().max())
    }
}

/// The certificate that an upstream is shown.
#[derive(Debug)]
pub(super) struct ClientPair {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    pub(super) not_before: DateTime<Utc>,
    pub(super) not_after: DateTime<Utc>,
}

impl ClientPair {
    /// Reads and checks a pair, as that of a listener, and that it is for clients.
    ///
    /// # Errors
    /// The first check that fails, in words.
    pub(super) fn check(pair: &Pair, now: DateTime<Utc>) -> anyhow::Result<Self> {
        let checked = check_pair(pair, now)?;
        let leaf = checked.chain.first().context("the file holds no certificate")?;
        if !is_for_clients(&parse(leaf)?)? {
            bail!("it is not for clients: `clientAuth` is missing among its purposes");
        }
        let key = PrivateKeyDer::from_pem_slice(&pair.key).context("the key is not PEM")?;
        if PrivateKeyDer::try_from(key.secret_der().to_vec()).is_err() {
            bail!("the key has a form that cannot be recognised");
        }
        Ok(Self {
            chain: checked.chain,
            key,
            not_before: checked.not_before,
            not_after: checked.not_after,
        })
    }
}

/// What one upstream is shown, and what it must show.
pub(crate) struct UpstreamIdentity {
    made_of: MadeOf,
    number: u64,
    /// How many of the authorities had not ended.
    authorities: usize,
    server_name: ServerName<'static>,
    connector: TlsConnector,
}

impl std::fmt::Debug for UpstreamIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UpstreamIdentity({})", self.number)
    }
}

/// The files that a set was made of.
#[derive(Debug, Clone)]
pub(super) struct MadeOf {
    pub(super) authority: Arc<ServerAuthority>,
    pub(super) client: Option<Arc<ClientPair>>,
}

impl UpstreamIdentity {
    /// Makes a set; the one in force when it would be the same.
    ///
    /// # Errors
    /// When an authority or the certificate has ended.
    pub(super) fn make(
        tls: &UpstreamTls,
        made_of: MadeOf,
        in_force: Option<Arc<Self>>,
        clock: &Clock,
    ) -> anyhow::Result<Arc<Self>> {
        let now = clock.now();
        if made_of
            .client
            .as_ref()
            .is_some_and(|client| now >= client.not_after)
        {
            bail!("the certificate of the gateway has expired");
        }
        let roots: Vec<_> = made_of.authority.valid(now).cloned().collect();
        if roots.is_empty() {
            bail!("every authority has expired");
        }
        match in_force {
            Some(in_force) if in_force.is_of(&made_of, roots.len()) => Ok(in_force),
            _ => Self::new(tls, made_of, roots, clock).map(Arc::new),
        }
    }

    fn is_of(&self, made_of: &MadeOf, authorities: usize) -> bool {
        let is_same_client = match (&self.made_of.client, &made_of.client) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (old, new) => old.is_none() && new.is_none(),
        };
        is_same_client
            && Arc::ptr_eq(&self.made_of.authority, &made_of.authority)
            && self.authorities == authorities
    }

    fn new(
        tls: &UpstreamTls,
        made_of: MadeOf,
        roots: Vec<CertificateDer<'static>>,
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);

        let authorities = roots.len();
        let connector = Arc::new(config(tls.min, roots, made_of.client.as_deref(), clock)?).into();
        let server_name = ServerName::try_from(tls.server_name.clone()).context("server_name")?;
        Ok(Self {
            made_of,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            authorities,
            server_name,
            connector,
        })
    }

    /// A number that no other set of this process has.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// What connections are made with.
    pub(crate) const fn connector(&self) -> (&TlsConnector, &ServerName<'static>) {
        (&self.connector, &self.server_name)
    }
}

fn config(
    min: TlsVersion,
    roots: Vec<CertificateDer<'static>>,
    client: Option<&ClientPair>,
    clock: &Clock,
) -> anyhow::Result<ClientConfig> {
    let mut trusted = RootCertStore::empty();
    for root in roots {
        trusted.add(root).context("an authority")?;
    }
    let provider = service_runtime::crypto::shared_provider();
    let builder = ClientConfig::builder_with_details(provider, Arc::new(ClockTime(clock.clone())))
        .with_protocol_versions(versions(min))
        .context("TLS versions")?
        .with_root_certificates(trusted);
    let mut config = match client {
        Some(client) => builder
            .with_client_auth_cert(client.chain.clone(), client.key.clone_key())
            .context("the certificate of the gateway")?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Why TLS with an upstream failed, in one word, from what rustls says; `None` when it was not TLS that failed.
pub(crate) fn failure(error: &str) -> Option<&'static str> {
    const WORDS: [(&str, &str); 10] = [
        ("ProtocolVersion", "version"),
        ("peer is incompatible", "version"),
        ("UnknownIssuer", "unknown_authority"),
        ("certificate expired", "expired"),
        ("certificate not valid yet", "not_valid_yet"),
        ("certificate not valid for name", "another_name"),
        ("received fatal alert", "gateway_refused"),
        ("invalid peer certificate", "bad_certificate"),
        ("TLSHandshakeFailure", "handshake"),
        ("tls handshake", "handshake"),
    ];
    let found = WORDS.iter().find(|(words, _)| error.contains(words));
    found.map(|(_, reason)| *reason)
}
