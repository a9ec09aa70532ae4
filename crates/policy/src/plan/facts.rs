//! Listeners, upstreams, identity providers and routes as the gateway uses them.

use super::{
    AddressList, RateLimit,
    answer::{Cors, Profile},
    answers::{Cache, Compression},
    proxies::TrustedProxies,
};
use crate::{Date, diagnostic::Place, evaluate::Scheme, openapi::Operation};
use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;
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
    /// Who stands in front of it.
    pub trusted_proxies: Option<TrustedProxies>,
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
    /// Where it listens too.
    pub also_at: Vec<UpstreamAddress>,
    /// How long the gateway waits for it.
    pub timeouts: Timeouts,
    /// Whether a verified bearer token is passed on.
    pub authorization: UpstreamAuthorization,
    /// How its addresses are asked whether they can serve.
    pub health: Option<HealthCheck>,
    /// When an address that fails requests gets none.
    pub eject: Option<Ejection>,
    /// Which requests are sent again.
    pub retries: Option<Retries>,
    /// When the whole service gets no requests.
    pub breaker: Option<Breaker>,
    /// How its connections are protected; there exactly when its addresses begin with `https://`.
    pub tls: Option<UpstreamTls>,
    /// The OpenAPI document that its requests are checked against: a file of the policy folder.
    pub openapi: Option<String>,
    /// Where it is written.
    pub rule: Rule,
}

/// Who an upstream must be, and who the gateway is to it (TLS-8). Files are in the gateway's certificate folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Lowest TLS version that is spoken with it.
    pub min: TlsVersion,
    /// Who must have issued its certificate: `<name>.ca.pem`. No other authority counts, not even those of the system.
    pub authority: String,
    /// The host that its certificate must be for, which is also asked for (SNI).
    pub server_name: String,
    /// The certificate that the gateway shows: `<name>.pem` and `<name>.key`.
    pub certificate: Option<String>,
}

impl Upstream {
    /// Every address, in the order of writing.
    pub fn addresses(&self) -> impl Iterator<Item = &UpstreamAddress> {
        std::iter::once(&self.address).chain(&self.also_at)
    }
}

/// How the addresses of an upstream are asked whether they can serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked for with GET; 200 to 299 is good.
    pub path: String,
    /// Between two questions.
    pub every: Duration,
    /// For connection and answer together.
    pub timeout: Duration,
    /// So many bad answers in a row take an address out.
    pub failures: u32,
    /// So many good answers in a row bring it back.
    pub successes: u32,
}

/// When an address that fails requests gets none for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejection {
    /// So many failed requests in a row.
    pub failures: u32,
    /// For how long the first time; each time in a row doubles it, up to sixteen times.
    pub time: Duration,
}

/// Which requests are sent again after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// Further attempts for one request.
    pub most: u32,
    /// Further attempts for a hundred requests.
    pub budget_percent: u32,
}

/// When a whole service gets no requests for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    /// So many failed requests in a row.
    pub failures: u32,
    /// For how long, until one request is let through to see.
    pub time: Duration,
    /// What is answered meanwhile; a plain 503 when there is none.
    pub fallback: Option<Fallback>,
}

/// The answer of an open breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// From 500 to 599.
    pub status: u16,
    /// For the client.
    pub detail: String,
    /// How long after its time a kept answer is given instead; never when there is none.
    pub stale_for: Option<Duration>,
}

/// Where an upstream listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UpstreamAddress {
    /// A unix socket: a file name in the gateway's socket folder.
    Unix(String),
    /// Plain HTTP on an address. In production only a loopback address.
    Http(SocketAddr),
    /// HTTP over TLS on an address.
    Https(SocketAddr),
    /// Every address that this name has, looked up again and again. In clear and in production only `localhost`.
    Name {
        /// In clear or over TLS.
        scheme: Scheme,
        /// The host name, in lower case.
        host: String,
        /// The port.
        port: u16,
    },
}

impl UpstreamAddress {
    /// Whether what is sent to it stays on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Http(address) | Self::Https(address) => address.ip().is_loopback(),
            Self::Name { host, .. } => host == "localhost",
        }
    }

    /// Whether connections to it are protected by TLS.
    #[must_use]
    pub const fn is_over_tls(&self) -> bool {
        match self {
            Self::Https(_) => true,
            Self::Unix(_) | Self::Http(_) => false,
            Self::Name { scheme, .. } => matches!(scheme, Scheme::Https),
        }
    }

    /// Whether what is sent to it can be read and changed by others on its way.
    #[must_use]
    pub fn crosses_in_clear(&self) -> bool {
        !self.is_local() && !self.is_over_tls()
    }
}

impl fmt::Display for UpstreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(name) => write!(f, "unix:{name}"),
            Self::Http(address) => write!(f, "http://{address}"),
            Self::Https(address) => write!(f, "https://{address}"),
            Self::Name {
                scheme: Scheme::Http,
                host,
                port,
            } => write!(f, "http://{host}:{port}"),
            Self::Name {
                scheme: Scheme::Https,
                host,
                port,
            } => write!(f, "https://{host}:{port}"),
        }
    }
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
    /// The programs whose tokens are accepted; those of any when it is empty.
    pub clients: Vec<String>,
    /// The only signature algorithms to accept; never taken from the token.
    pub algorithms: Vec<Algorithm>,
    /// Exact `typ` of the header.
    pub token_type: String,
    /// Highest `exp - iat`.
    pub max_lifetime: Duration,
    /// Clock difference that is forgiven.
    pub leeway: Duration,
    /// The claim that holds the scopes.
    pub scopes_claim: ScopesClaim,
    /// Whether a token without `jti` is refused.
    pub requires_jti: bool,
    /// Whether a token that is bound to no client certificate is refused.
    pub requires_cnf: bool,
    /// Where its keys come from.
    pub keys: KeySource,
    /// Where it is written.
    pub rule: Rule,
}

/// Where an issuer writes scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopesClaim {
    /// `scope`, one string (RFC 9068 §2.2.3).
    Scope,
    /// `scp`, a string or a list.
    Scp,
    /// `roles`, a list or a string.
    Roles,
}

impl ScopesClaim {
    /// Its name in a token.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scope => "scope",
            Self::Scp => "scp",
            Self::Roles => "roles",
        }
    }
}

/// A signature algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
}

impl Algorithm {
    /// Its name in a token header (RFC 7518, RFC 8037).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
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
    /// A JWK Set of another issuer, fetched from it.
    Url(Arc<KeyUrl>),
}

/// Where an issuer publishes its JWK Set, and how long one counts (J35 to J38).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUrl {
    /// The host in lower case: a name or an IPv4 address.
    pub host: String,
    /// The port; 443 when the URL has none.
    pub port: u16,
    /// Path and query.
    pub target: String,
    /// How often it is fetched.
    pub refresh: Duration,
    /// How long a set counts after it was fetched.
    pub stale_for: Duration,
    /// Networks in which the host may be though they are not public.
    pub addresses: Vec<IpNet>,
}

impl KeyUrl {
    /// Reads `https://host[:port]/path[?query]`; `None` for anything else. Credentials, fragments and IPv6 literals are
    /// something else.
    pub(crate) fn parse(url: &str) -> Option<(String, u16, String)> {
        let rest = url.strip_prefix("https://")?;
        let (authority, path) = rest.split_once('/')?;
        let (host, port) = match authority.split_once(':') {
            None => (authority, 443),
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0)?),
        };
        let is_host = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        let is_target = |byte: u8| byte.is_ascii_graphic() && !b"#\"<>\\^`{|}".contains(&byte);
        (!host.is_empty() && host.len() <= 253 && host.bytes().all(is_host) && path.bytes().all(is_target))
            .then(|| (host.to_owned(), port, format!("/{path}")))
    }

    /// Whether two are one set of keys, however often it is fetched.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        (&self.host, self.port, &self.target) == (&other.host, other.port, &other.target)
    }
}

impl fmt::Display for KeyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            443 => write!(f, "https://{}{}", self.host, self.target),
            port => write!(f, "https://{}:{port}{}", self.host, self.target),
        }
    }
}

impl KeySource {
    /// Whether both lead to the same keys.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Url(url), Self::Url(other)) => url.is_same_place(other),
            _ => self == other,
        }
    }
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
    /// Where that is written.
    pub body_timeout_rule: Rule,
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

    /// The networks of all lists, joined where they touch.
    fn networks(&self) -> Vec<IpNet> {
        let all = self.lists.iter().flat_map(|list| list.networks()).copied();
        IpNet::aggregate(&all.collect())
    }

    /// Whether every address of IPv4, or every one of IPv6, is in one of the lists.
    pub(crate) fn holds_all_of_a_family(&self) -> bool {
        self.networks().iter().any(|network| network.prefix_len() == 0)
    }

    /// Whether every address there is is in one of the lists.
    pub(crate) fn holds_everything(&self) -> bool {
        let widest = self.networks();
        let is_whole = |wanted: fn(&IpNet) -> bool| {
            widest
                .iter()
                .any(|network| network.prefix_len() == 0 && wanted(network))
        };
        is_whole(|network| matches!(network, IpNet::V4(_)))
            && is_whole(|network| matches!(network, IpNet::V6(_)))
    }

    /// Whether another rule holds every address that this one holds.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        let wider = other.networks();
        let is_held = |network: &IpNet| wider.iter().any(|wider| wider.contains(network));
        self.networks().iter().all(is_held)
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
    /// How long ago the gateway may have learned last what is revoked; any time when there is none.
    pub revocations_within: Option<Duration>,
    /// The floor's sizes, tightened.
    pub limits: Limits,
    /// What one request takes from each limit of the floor.
    pub cost: u64,
    /// Where it leads.
    pub target: RouteTarget,
    /// What its requests may hold, when the upstream has an OpenAPI document.
    pub(crate) operation: Option<Arc<Operation>>,
    /// How its WebSockets are kept, when it takes them; then it takes nothing else.
    pub websocket: Option<WebSocket>,
    /// When it goes out of use, as answers say it.
    pub retirement: Retirement,
    /// How its answers are kept, if at all.
    pub cache: Option<Cache>,
    /// Which of its answers are compressed, if any.
    pub compression: Option<Compression>,
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

    /// Where the size of its body is written.
    #[must_use]
    pub const fn body_rule(&self) -> &Rule {
        &self.rules.body
    }
}

/// When a route goes out of use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retirement {
    /// Since when clients should use something else, from the first second of that day.
    pub deprecated: Option<Date>,
    /// From when it may be gone, from the first second of that day.
    pub sunset: Option<Date>,
    pub(crate) sunset_at: Option<Place>,
    /// `Deprecation` (RFC 9745) and `Sunset` (RFC 8594).
    pub(crate) fields: Vec<(HeaderName, HeaderValue)>,
}

impl Retirement {
    pub(crate) fn new(deprecated: Option<Date>, sunset: Option<(Date, Place)>) -> Self {
        let (sunset, sunset_at) = sunset.unzip();
        let field = |name, value: Option<String>| {
            let value = HeaderValue::from_str(&value?).ok()?;
            Some((HeaderName::from_static(name), value))
        };
        let since = deprecated.map(|date| format!("@{}", date.unix_time()));
        let fields = [
            field("deprecation", since),
            field("sunset", sunset.map(Date::http_date)),
        ];
        Self {
            deprecated,
            sunset,
            sunset_at,
            fields: fields.into_iter().flatten().collect(),
        }
    }
}

/// How the WebSockets of a route are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebSocket {
    /// One on which nothing is sent for this long is closed.
    pub idle_timeout: Duration,
    /// The largest payload of a frame in bytes, in both directions.
    pub max_frame: u64,
}

/// The lines of a route that decide, phase by phase.
#[derive(Debug, Clone)]
pub(crate) struct RouteRules {
    pub(crate) matched: Rule,
    pub(crate) auth: Rule,
    pub(crate) scopes: Rule,
    pub(crate) revocations: Rule,
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
