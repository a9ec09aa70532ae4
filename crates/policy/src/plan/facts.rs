//! Listeners, upstreams, identity providers and routes as the gateway uses them.

use super::{
    AddressList, RateLimit,
    answer::{Cors, Profile},
};
use http::Method;
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

/// The line that decided: `routes/transfers.yaml:12 routes.create_transfer.auth`. The same words appear in the
/// denial, in `policy explain` and in the access log. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Rule(Origin);

#[derive(Clone, PartialEq, Eq)]
enum Origin {
    Language(&'static str),
    Written(Arc<WrittenRule>),
}

#[derive(PartialEq, Eq)]
struct WrittenRule {
    text: String,
    file: String,
    line: u32,
    key: String,
}

impl Rule {
    pub(crate) fn written(file: &str, line: u32, key: &str) -> Self {
        let text = format!("{file}:{line} {key}");
        Self(Origin::Written(Arc::new(WrittenRule {
            text,
            file: file.to_owned(),
            line,
            key: key.to_owned(),
        })))
    }

    /// A rule of the language itself, which no file can switch off.
    pub(crate) const fn of_language(text: &'static str) -> Self {
        Self(Origin::Language(text))
    }

    /// The whole name: `routes/transfers.yaml:12 routes.create_transfer.auth`, or `language: path PA-2`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Origin::Language(text) => text,
            Origin::Written(written) => &written.text,
        }
    }

    /// The policy file; `None` for a rule of the language itself.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        match &self.0 {
            Origin::Language(_) => None,
            Origin::Written(written) => Some(&written.file),
        }
    }

    /// The line in the file, from 1; `None` for a rule of the language itself.
    #[must_use]
    pub fn line(&self) -> Option<u32> {
        match &self.0 {
            Origin::Language(_) => None,
            Origin::Written(written) => Some(written.line),
        }
    }

    /// What decided, without its place: `routes.create_transfer.auth`.
    #[must_use]
    pub fn key(&self) -> &str {
        match &self.0 {
            Origin::Language(text) => text,
            Origin::Written(written) => &written.key,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rule({})", self.as_str())
    }
}

/// A pair of addresses under one name: HTTPS, and optionally plain HTTP that only redirects.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Name in the policy.
    pub name: String,
    /// Plain HTTP, when wanted.
    pub http: Option<HttpListener>,
    /// HTTPS.
    pub https: HttpsListener,
    /// Where it is written.
    pub rule: Rule,
}

/// Plain HTTP: answers 308 to the HTTPS address, or refuses (RD-1).
#[derive(Debug, Clone)]
pub struct HttpListener {
    /// Address to listen on.
    pub bind: SocketAddr,
    /// Where it is written.
    pub rule: Rule,
}

/// HTTPS with its TLS settings.
#[derive(Debug, Clone)]
pub struct HttpsListener {
    /// Address to listen on.
    pub bind: SocketAddr,
    /// Lowest TLS version to accept (TLS-1).
    pub tls_min: TlsVersion,
    /// Names of the certificates, at least one: `<name>.pem` and `<name>.key` in the gateway's certificate folder (TLS-2).
    pub certificates: Vec<String>,
    /// Who issues the certificates that clients are asked for: `<name>.ca.pem` and `<name>.crl.pem` (TLS-6).
    pub client_authority: Option<String>,
    /// Where it is written.
    pub rule: Rule,
}

/// What a certificate is for, and where it comes from when not from files.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// Name in the policy.
    pub name: String,
    /// The names that it must be for, in lower case.
    pub hosts: Vec<String>,
    /// How the gateway proves to a certificate authority that the names are its own; `None` for files.
    pub acme: Option<AcmeChallenge>,
    /// Where it is written.
    pub rule: Rule,
}

/// How ACME proves that a name is ours (RFC 8555 §8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcmeChallenge {
    /// A file in clear, on the HTTP side of a listener.
    Http01,
    /// A record in the DNS, made by a program of the operator.
    Dns01,
}

impl AcmeChallenge {
    /// Its name in the protocol and in the policy.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::Dns01 => "dns-01",
        }
    }
}

/// A TLS version that may be the lowest accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2, AEAD suites only.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// A service behind the gateway.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Name in the policy.
    pub name: String,
    /// Where it listens.
    pub address: UpstreamAddress,
    /// How long the gateway waits for it.
    pub timeouts: Timeouts,
    /// Whether a verified bearer token is passed on.
    pub authorization: UpstreamAuthorization,
    /// Where it is written.
    pub rule: Rule,
}

/// Where an upstream listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// A unix socket: a file name in the gateway's socket folder.
    Unix(String),
    /// Plain HTTP on an address. In production only a loopback address.
    Http(SocketAddr),
}

/// What happens to the `Authorization` header of a request whose token was verified. On a route with
/// `auth: none` it is always removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamAuthorization {
    /// The upstream sees the token and can check it again.
    Forward,
    /// The upstream sees only the identity headers.
    Strip,
}

/// How long the gateway waits for an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect.
    pub connect: Duration,
    /// Between two reads.
    pub read: Duration,
    /// For the whole exchange.
    pub total: Duration,
}

/// Who issues tokens, and what a good one looks like.
#[derive(Debug, Clone)]
pub struct IdentityProvider {
    /// Name in the policy.
    pub name: String,
    /// Exact `iss`.
    pub issuer: String,
    /// At least one of these must be in `aud`.
    pub audiences: Vec<String>,
    /// The only signature algorithms to accept; never taken from the token.
    pub algorithms: Vec<Algorithm>,
    /// Exact `typ` of the header.
    pub token_type: String,
    /// Highest `exp - iat`.
    pub max_lifetime: Duration,
    /// Clock difference that is forgiven.
    pub leeway: Duration,
    /// Where its keys come from.
    pub keys: KeySource,
    /// Where it is written.
    pub rule: Rule,
}

/// A signature algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl Algorithm {
    /// Its name in a token header (RFC 7518, RFC 8037).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
        }
    }
}

/// Where the keys of an identity provider come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// The key set that Portico's own control plane publishes.
    Portico,
    /// A JWK Set of another issuer: a file name in the gateway's key folder.
    File(String),
}

/// Sizes that a request may not exceed, in bytes and header lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Request line and headers together, in bytes; more is 431.
    pub head: u64,
    /// Number of header lines; more is 431.
    pub headers: u64,
    /// Path and query as received, in bytes; more is 414.
    pub target: u64,
    /// Body in bytes; more is 413.
    pub body: u64,
}

/// What applies to every request, before a route is known.
#[derive(Debug, Clone)]
pub struct Floor {
    /// Highest sizes of any route.
    pub limits: Limits,
    /// How long a client may take to send a whole request head.
    pub head_timeout: Duration,
    /// How long a client may take to send a whole request body.
    pub body_timeout: Duration,
    /// Limits that count every request, also one that no route matches.
    pub rate: Vec<Arc<RateLimit>>,
    /// AddressRule where nothing is taken.
    pub deny_from: Option<AddressRule>,
    /// Where it is written.
    pub rule: Rule,
}

/// Lists of client addresses, and the line that names them.
#[derive(Debug, Clone)]
pub struct AddressRule {
    /// The lists; one that holds the address is enough.
    pub lists: Vec<Arc<AddressList>>,
    /// Where it is written.
    pub rule: Rule,
}

impl AddressRule {
    /// Whether an address is in one of the lists.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.lists.iter().any(|list| list.contains(address))
    }
}

/// One way through the gateway.
#[derive(Debug, Clone)]
pub struct Route {
    /// Name in the policy.
    pub name: String,
    /// The method. A `GET` route also answers `HEAD`.
    pub method: Method,
    /// Path template, `/api/v1/accounts/{id}`.
    pub path: String,
    /// Who may come.
    pub auth: RouteAuth,
    /// All of these must be in the token, compared exactly.
    pub scopes: Vec<String>,
    /// The client certificate that it needs, beside `auth`.
    pub client_certificate: Option<ClientCertificateRule>,
    /// The only addresses that may come; any may when there is none.
    pub allow_from: Option<AddressRule>,
    /// The floor's sizes, tightened.
    pub limits: Limits,
    /// Where it leads.
    pub target: RouteTarget,
    /// Where it is written.
    pub rule: Rule,
    pub(crate) rules: RouteRules,
    pub(crate) coarse: Vec<Arc<RateLimit>>,
    pub(crate) fine: Vec<Arc<RateLimit>>,
    pub(crate) headers: Arc<Profile>,
    pub(crate) cors: Option<Arc<Cors>>,
}

impl Route {
    /// Every limit that counts requests of this route, those of the floor included.
    pub fn rates(&self) -> impl Iterator<Item = &Arc<RateLimit>> {
        self.coarse.iter().chain(&self.fine)
    }
}

/// The lines of a route that decide, phase by phase.
#[derive(Debug, Clone)]
pub(crate) struct RouteRules {
    pub(crate) matched: Rule,
    pub(crate) auth: Rule,
    pub(crate) scopes: Rule,
    pub(crate) body: Rule,
    pub(crate) target: Rule,
}

/// Who may use a route.
#[derive(Debug, Clone)]
pub enum RouteAuth {
    /// Anyone; the policy says why.
    Anyone {
        /// The reason given in the policy.
        because: String,
    },
    /// Whoever holds a good token of this provider.
    Provider(Arc<IdentityProvider>),
}

/// Which client certificates a route takes (TLS-6).
#[derive(Debug, Clone)]
pub struct ClientCertificateRule {
    /// The `client_authority` that must have issued it.
    pub authority: String,
    /// One of these names must be in it, compared exactly.
    pub names: Vec<String>,
    /// Where it is written.
    pub rule: Rule,
}

/// Where a route leads.
#[derive(Debug, Clone)]
pub enum RouteTarget {
    /// To a service, with the timeouts of this route.
    Upstream(Arc<Upstream>, Timeouts),
    /// The gateway answers by itself.
    Serve(Served),
}

/// What the gateway answers by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// The public keys (RFC 7517).
    Jwks,
    /// Whether the process runs.
    Live,
    /// Whether it can serve.
    Ready,
}
