//! The table itself. The order is the one in which keys are written.

use super::since::FIRST;
use super::{Form, Key, Text};

/// A key that must be there.
pub(super) const fn must(
    name: &'static str,
    form: Form,
    example: &'static str,
    meaning: &'static str,
) -> Key {
    Key {
        name,
        form,
        is_required: true,
        since: FIRST,
        example,
        meaning,
    }
}

/// A key that may be left out.
pub(super) const fn may(name: &'static str, form: Form, example: &'static str, meaning: &'static str) -> Key {
    Key {
        name,
        form,
        is_required: false,
        since: FIRST,
        example,
        meaning,
    }
}

const DURATION: Form = Form::Text(Text::Duration);
const SIZE: Form = Form::Text(Text::Size);
const NAME: Form = Form::Text(Text::Name);
const SENTENCE: Form = Form::Text(Text::Sentence);
const BIND: Form = Form::Text(Text::SocketAddress);
pub(super) const VERSION: Key = must(
    "version",
    Form::Number { least: 1, most: 1 },
    "1",
    "The version of the language.",
);
const METHODS: &[&str] = &["GET", "POST", "PUT", "PATCH", "DELETE"];
const CORS_METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// A list with at least one item.
const fn list(of: &'static Form) -> Form {
    Form::List {
        of,
        may_be_empty: false,
    }
}

/// A base file.
pub static BASE: &[Key] = &[
    VERSION,
    may(
        "listeners",
        Form::Named(&Form::Mapping(LISTENER)),
        "{ public: { https: { bind: \"0.0.0.0:443\", tls: { min: \"1.2\", certificate: gateway } } } }",
        "Where clients arrive.",
    ),
    may(
        "certificates",
        Form::Named(&Form::Mapping(CERTIFICATE)),
        "{ gateway: { hosts: [api.bank.example], acme: http-01 } }",
        "What certificates of the listeners are for, and which of them the gateway fetches by itself.",
    ),
    may(
        "hosts",
        list(&Form::Text(Text::Host)),
        "[api.bank.example]",
        "The names that clients may use; another one is answered 421.",
    ),
    may(
        "addresses",
        Form::Named(&list(&Form::Text(Text::Network))),
        "{ office: [203.0.113.0/24] }",
        "Named lists of addresses, for `deny_from`, `allow_from` and `trusted_proxies`.",
    ),
    may(
        "upstreams",
        Form::Named(&Form::Mapping(UPSTREAM)),
        "{ core: { address: unix:core-api.sock, authorization: forward, timeouts: { connect: 1s, read: 15s, total: 30s } } }",
        "The services behind the gateway.",
    ),
    may(
        "identity",
        Form::Named(&Form::Mapping(PROVIDER)),
        "{ customers: { … } }",
        "Who issues tokens, and what a good one looks like.",
    ),
    may(
        "headers",
        Form::Named(&Form::Mapping(HEADERS)),
        "{ api: { set: { X-Content-Type-Options: nosniff }, remove: [Server] } }",
        "Named profiles of what every answer carries and never carries.",
    ),
    may(
        "cors",
        Form::Named(&Form::Mapping(CORS)),
        "{ application: { … } }",
        "Named profiles of which other origins may read answers in a browser.",
    ),
    may(
        "floor",
        Form::Mapping(FLOOR),
        "{ … }",
        "What applies to every request; routes can only be tighter.",
    ),
    may(
        "lockout",
        Form::Mapping(LOCKOUT),
        "{ … }",
        "When guesses at passwords are refused; the core carries it out.",
    ),
    may(
        "routes",
        Form::Named(&Form::Mapping(ROUTE)),
        "{ me: { match: { method: GET, path: /api/v1/me }, auth: customers, scopes: [], upstream: core } }",
        "The ways through the gateway.",
    ),
    may(
        "waivers",
        Form::Named(&Form::Mapping(WAIVER)),
        "{ upload: { rule: P3006, at: routes.upload.limits.body, because: a year is sent in one piece, until: 2027-01-31 } }",
        "Exceptions from a rule, at one key, with a reason and a last day.",
    ),
];

pub(crate) static LISTENER: &[Key] = &[
    may(
        "http",
        Form::Mapping(HTTP),
        "{ bind: \"0.0.0.0:80\", redirect: https }",
        "The side in clear; it never serves.",
    ),
    must(
        "https",
        Form::Mapping(HTTPS),
        "{ bind: \"0.0.0.0:443\", tls: { min: \"1.2\", certificate: gateway } }",
        "The side over TLS.",
    ),
    may(
        "trusted_proxies",
        Form::Mapping(TRUSTED_PROXIES),
        "{ from: [balancers], client: proxy_protocol }",
        "Who stands in front of it and is believed about the address of clients; nobody without it.",
    ),
];

pub(crate) static TRUSTED_PROXIES: &[Key] = &[
    must(
        "from",
        list(&NAME),
        "[balancers]",
        "Lists of `addresses` from which clients are announced.",
    ),
    must(
        "client",
        Form::Choice(&["proxy_protocol", "x_forwarded_for"]),
        "proxy_protocol",
        "How: before the first byte of each connection, or in a header of each request.",
    ),
];

pub(crate) static HTTP: &[Key] = &[
    must(
        "bind",
        BIND,
        "\"0.0.0.0:80\"",
        "IP address and port to listen on.",
    ),
    must(
        "redirect",
        Form::Choice(&["https"]),
        "https",
        "GET and HEAD are answered 308 to the same host over HTTPS; everything else is refused.",
    ),
];

pub(crate) static HTTPS: &[Key] = &[
    must(
        "bind",
        BIND,
        "\"0.0.0.0:443\"",
        "IP address and port to listen on.",
    ),
    must(
        "tls",
        Form::Mapping(TLS),
        "{ min: \"1.2\", certificate: gateway }",
        "How connections are protected.",
    ),
];

pub(crate) static TLS: &[Key] = &[
    must(
        "min",
        Form::Choice(&["1.2", "1.3"]),
        "\"1.2\"",
        "The lowest TLS version accepted.",
    ),
    must(
        "certificate",
        Form::Text(Text::Word),
        "gateway",
        "`gateway` means gateway.pem and gateway.key in the gateway's certificate folder.",
    ),
    may(
        "more_certificates",
        list(&Form::Text(Text::Word)),
        "[partners]",
        "Beside `certificate`: the name that the client asks for chooses among all of them.",
    ),
    may(
        "client_authority",
        Form::Text(Text::Word),
        "partners",
        "Clients are asked for a certificate: `partners` means the CA in partners.ca.pem and its revocation lists in partners.crl.pem.",
    ),
];

pub(crate) static CLIENT_CERTIFICATE: &[Key] = &[
    must(
        "authority",
        Form::Text(Text::Word),
        "partners",
        "The `client_authority` of a listener, which has issued it.",
    ),
    must(
        "names",
        list(&Form::Text(Text::Word)),
        "[\"spiffe://bank.example/payroll\"]",
        "One of these must be in it: a URI or DNS name of its subject alternative names, compared exactly.",
    ),
];

pub(crate) static CERTIFICATE: &[Key] = &[
    must(
        "hosts",
        list(&Form::Text(Text::Host)),
        "[api.bank.example]",
        "The names that it is for; one that is for fewer is not taken.",
    ),
    may(
        "acme",
        Form::Choice(&["http-01", "dns-01"]),
        "http-01",
        "The gateway fetches and renews it by ACME, and proves by this challenge that the names are its own.",
    ),
];

pub(crate) static UPSTREAM: &[Key] = &[
    must(
        "address",
        Form::Text(Text::UpstreamAddress),
        "unix:core-api.sock",
        "`unix:` and a file name in the gateway's socket folder, or `http://` or `https://` with an IP address or a name, and a port.",
    ),
    may(
        "also_at",
        list(&Form::Text(Text::UpstreamAddress)),
        "[unix:core-api-2.sock]",
        "Further addresses of the same service; each request goes to the less busy of two.",
    ),
    may(
        "tls",
        Form::Mapping(UPSTREAM_TLS),
        "{ min: \"1.3\", authority: core, server_name: core-api.internal, certificate: gateway-client }",
        "Who it must be, and who the gateway is to it. Required with `https://`.",
    ),
    must(
        "authorization",
        Form::Choice(&["forward", "strip"]),
        "forward",
        "Whether the verified bearer token is passed on.",
    ),
    must(
        "timeouts",
        Form::Mapping(UPSTREAM_TIMEOUTS),
        "{ connect: 1s, read: 15s, total: 30s }",
        "How long anyone waits for it.",
    ),
    may(
        "health",
        Form::Mapping(UPSTREAM_HEALTH),
        "{ path: /health/ready, every: 2s, timeout: 1s, failures: 3, successes: 2 }",
        "Asks every address whether it can serve; one that cannot gets no requests.",
    ),
    may(
        "eject",
        Form::Mapping(UPSTREAM_EJECT),
        "{ failures: 5, for: 10s }",
        "An address that fails requests gets none for a while.",
    ),
    may(
        "retries",
        Form::Mapping(UPSTREAM_RETRIES),
        "{ most: 1, budget: 10% }",
        "Sends what certainly changed nothing once more, to another address.",
    ),
    may(
        "breaker",
        Form::Mapping(UPSTREAM_BREAKER),
        "{ failures: 20, for: 5s }",
        "A service that fails its requests is left alone for a while.",
    ),
    may(
        "openapi",
        Form::Text(Text::ApiDocument),
        "core-api.openapi.json",
        "The OpenAPI document of the service, a file of the policy folder: what it does not allow is answered 400.",
    ),
];

pub(crate) static UPSTREAM_TLS: &[Key] = &[
    must(
        "min",
        Form::Choice(&["1.2", "1.3"]),
        "\"1.3\"",
        "The lowest TLS version spoken with it.",
    ),
    must(
        "authority",
        Form::Text(Text::Word),
        "core",
        "Who must have issued its certificate: `core` means the CA in core.ca.pem in the gateway's certificate folder, and no other.",
    ),
    must(
        "server_name",
        Form::Text(Text::Host),
        "core-api.internal",
        "The host that its certificate must be for, whatever its address.",
    ),
    may(
        "certificate",
        Form::Text(Text::Word),
        "gateway-client",
        "What the gateway shows it: `gateway-client` means gateway-client.pem and gateway-client.key in the certificate folder.",
    ),
];

/// Highest number of failures or successes in a row.
pub(crate) const MOST_IN_A_ROW: u64 = 1_000;
const IN_A_ROW: Form = Form::Number {
    least: 1,
    most: MOST_IN_A_ROW,
};

pub(crate) static UPSTREAM_HEALTH: &[Key] = &[
    must(
        "path",
        Form::Text(Text::Path),
        "/health/ready",
        "What is asked for with GET; an answer of 200 to 299 is good.",
    ),
    must("every", DURATION, "2s", "The time between two questions."),
    must("timeout", DURATION, "1s", "How long an answer may take."),
    must(
        "failures",
        IN_A_ROW,
        "3",
        "So many bad answers in a row, and the address gets no requests.",
    ),
    must(
        "successes",
        IN_A_ROW,
        "2",
        "So many good answers in a row, and it gets requests again.",
    ),
];

pub(crate) static UPSTREAM_EJECT: &[Key] = &[
    must(
        "failures",
        IN_A_ROW,
        "5",
        "So many requests in a row that the address failed.",
    ),
    must(
        "for",
        DURATION,
        "10s",
        "How long it gets no requests; twice as long each time in a row, up to sixteen times.",
    ),
];

/// Highest number of further attempts.
pub(crate) const MOST_RETRIES: u64 = 2;
/// The largest part of all requests that may be sent again.
pub(crate) const MOST_BUDGET: u64 = 50;

pub(crate) static UPSTREAM_RETRIES: &[Key] = &[
    must(
        "most",
        Form::Number {
            least: 1,
            most: MOST_RETRIES,
        },
        "1",
        "Further attempts for one request.",
    ),
    must(
        "budget",
        Form::Text(Text::Percent),
        "10%",
        "Further attempts for all requests together, so that retries never become the load.",
    ),
];

pub(crate) static UPSTREAM_BREAKER: &[Key] = &[
    must(
        "failures",
        IN_A_ROW,
        "20",
        "So many requests in a row that the service failed, on whatever address.",
    ),
    must(
        "for",
        DURATION,
        "5s",
        "How long no request is sent to it; then one, which decides.",
    ),
    may(
        "fallback",
        Form::Mapping(UPSTREAM_FALLBACK),
        "{ status: 503, detail: payments are back in a minute }",
        "What is answered meanwhile, instead of a plain 503.",
    ),
];

pub(crate) static UPSTREAM_FALLBACK: &[Key] = &[
    must(
        "status",
        Form::Number {
            least: 500,
            most: 599,
        },
        "503",
        "The status of the answer.",
    ),
    must(
        "detail",
        SENTENCE,
        "payments are back in a minute",
        "The sentence that clients read in the problem document.",
    ),
    may(
        "stale_for",
        DURATION,
        "1min",
        "Routes with `cache` give what they have kept for so long after its time, before anything else.",
    ),
];

const CONNECT: &str = "How long connecting may take.";
const READ: &str = "The longest pause between two reads.";
const TOTAL: &str = "How long the whole exchange may take.";

pub(crate) static UPSTREAM_TIMEOUTS: &[Key] = &[
    must("connect", DURATION, "1s", CONNECT),
    must("read", DURATION, "15s", READ),
    must("total", DURATION, "30s", TOTAL),
];

pub(crate) static ROUTE_TIMEOUTS: &[Key] = &[
    may("connect", DURATION, "1s", CONNECT),
    may("read", DURATION, "15s", READ),
    may("total", DURATION, "30s", TOTAL),
];

pub(crate) static PROVIDER: &[Key] = &[
    must(
        "issuer",
        Form::Text(Text::Issuer),
        "https://api.bank.example",
        "The exact `iss` of its tokens.",
    ),
    must(
        "audiences",
        list(&Form::Text(Text::Word)),
        "[core-api]",
        "One of these must be in `aud`.",
    ),
    may(
        "clients",
        list(&Form::Text(Text::Word)),
        "[reports-app]",
        "The programs whose tokens are accepted, by `client_id` or `azp`; without it, those of any, and of none.",
    ),
    must(
        "algorithms",
        list(&Form::Choice(&["EdDSA", "ES256", "RS256", "PS256"])),
        "[EdDSA, ES256]",
        "The only signature algorithms accepted; never taken from the token.",
    ),
    must(
        "type",
        Form::Text(Text::Word),
        "at+jwt",
        "The exact `typ` of the token's header.",
    ),
    must("max_lifetime", DURATION, "15min", "The highest `exp - iat`."),
    must("leeway", DURATION, "30s", "How much clocks may differ."),
    may(
        "scopes_claim",
        Form::Choice(&["scope", "scp", "roles"]),
        "scp",
        "Where another issuer writes scopes, when not in `scope`.",
    ),
    may(
        "require_jti",
        Form::Boolean,
        "false",
        "Whether a token of another issuer must have an id of its own; without it, `true`.",
    ),
    may(
        "require_cnf",
        Form::Boolean,
        "true",
        "Whether a token of another issuer must be bound to the certificate of its client (RFC 8705); without it, `false`.",
    ),
    must(
        "keys",
        Form::TextOr(Text::KeySource, PROVIDER_KEYS),
        "portico",
        "Where its keys come from: `portico`, the set that the control plane publishes, `file:` and a JWK Set in the gateway's key folder, or where the issuer publishes them.",
    ),
];

pub(crate) static PROVIDER_KEYS: &[Key] = &[
    must(
        "url",
        Form::Text(Text::KeyUrl),
        "https://idp.example/jwks.json",
        "Where the issuer publishes its JWK Set.",
    ),
    must("refresh", DURATION, "5min", "How often it is fetched."),
    must(
        "stale_for",
        DURATION,
        "1h",
        "How long a set counts after it was fetched when no newer one can be.",
    ),
    may(
        "addresses",
        list(&Form::Text(Text::Network)),
        "[10.0.4.0/24]",
        "Private networks in which the host may be; without it, public addresses only.",
    ),
];

pub(crate) static HEADERS: &[Key] = &[
    must(
        "set",
        Form::HeaderFields,
        "{ X-Content-Type-Options: nosniff }",
        "Field to value; replaces what an upstream sent.",
    ),
    must(
        "remove",
        list(&Form::Text(Text::HeaderName)),
        "[Server, X-Powered-By]",
        "Fields taken from every answer.",
    ),
];

pub(crate) static CORS: &[Key] = &[
    must(
        "origins",
        list(&Form::Text(Text::Origin)),
        "[https://app.bank.example]",
        "Exact origins, or `\"*\"` alone.",
    ),
    must(
        "methods",
        list(&Form::Choice(CORS_METHODS)),
        "[GET, POST]",
        "Methods that a page of these origins may use.",
    ),
    must(
        "headers",
        list(&Form::Text(Text::HeaderName)),
        "[Authorization, Content-Type]",
        "Request headers that it may send.",
    ),
    must(
        "expose",
        list(&Form::Text(Text::HeaderName)),
        "[RateLimit, RateLimit-Policy, Retry-After]",
        "Response headers that it may read.",
    ),
    may(
        "credentials",
        Form::Boolean,
        "true",
        "Whether requests may carry credentials; refused together with `\"*\"`.",
    ),
    must(
        "max_age",
        DURATION,
        "10min",
        "How long a browser may remember the preflight.",
    ),
];

pub(crate) static FLOOR: &[Key] = &[
    must(
        "limits",
        Form::Mapping(FLOOR_LIMITS),
        "{ head: 16KiB, headers: 64, target: 8KiB, body: 256KiB }",
        "The largest request that any route takes.",
    ),
    must(
        "timeouts",
        Form::Mapping(FLOOR_TIMEOUTS),
        "{ head: 5s, body: 15s }",
        "How long a client may take to send a request.",
    ),
    may(
        "deny_from",
        list(&NAME),
        "[blocked]",
        "Lists of `addresses` from which nothing is taken; 403.",
    ),
    must(
        "rate",
        Form::Named(&Form::Mapping(RATE)),
        "{ per-address: { limit: 100/min, burst: 100, key: [address] } }",
        "Limits that count every request.",
    ),
    must(
        "headers",
        NAME,
        "api",
        "The header profile of routes that name none.",
    ),
];

/// Most failures, names or devices that a number of `lockout` can say.
pub(crate) const MOST_FAILURES: u64 = 1_000;
const FAILURES: Form = Form::Number {
    least: 1,
    most: MOST_FAILURES,
};

pub(crate) static LOCKOUT: &[Key] = &[
    must(
        "name",
        Form::Mapping(LOCKOUT_NAME),
        "{ after: 5, steps: [15min, 30min, 1h], decay: 15min }",
        "Guesses at one name by clients that are not trusted, from anywhere.",
    ),
    must(
        "name_and_address",
        Form::Mapping(LOCKOUT_PAIR),
        "{ failures: 5, per: 1min }",
        "Guesses at one name from one address.",
    ),
    must(
        "device",
        Form::Mapping(LOCKOUT_DEVICE),
        "{ after: 10, trusted_for: 180d, most: 20 }",
        "Guesses at one name from a device that its owner signed in with before.",
    ),
    must(
        "total",
        Form::Mapping(LOCKOUT_TOTAL),
        "{ untrusted: 80, trusted: 20 }",
        "Guesses at one name since its owner last signed in; together at most 100.",
    ),
    must(
        "address",
        Form::Mapping(LOCKOUT_ADDRESS),
        "{ failures: 20, names: 10, per: 10min, block: [10min, 1h, 1d] }",
        "Guesses from one address, at any names.",
    ),
];

pub(crate) static LOCKOUT_NAME: &[Key] = &[
    must("after", FAILURES, "5", "So many failures in a row lock the name."),
    must(
        "steps",
        list(&DURATION),
        "[15min, 30min, 1h]",
        "For how long: the first time, the second, and so on; the last one for all that follow.",
    ),
    must(
        "decay",
        DURATION,
        "15min",
        "Failures are forgotten so long after the last one.",
    ),
];

pub(crate) static LOCKOUT_PAIR: &[Key] = &[
    must("failures", FAILURES, "5", "So many failures,"),
    must(
        "per",
        DURATION,
        "1min",
        "within this time; 429 until one is older.",
    ),
];

pub(crate) static LOCKOUT_DEVICE: &[Key] = &[
    must(
        "after",
        FAILURES,
        "10",
        "So many failures in a row end the trust.",
    ),
    must(
        "trusted_for",
        DURATION,
        "180d",
        "A device is trusted for so long after it last signed in.",
    ),
    must(
        "most",
        FAILURES,
        "20",
        "Most devices of one person; the one used least recently goes first.",
    ),
];

pub(crate) static LOCKOUT_TOTAL: &[Key] = &[
    must(
        "untrusted",
        FAILURES,
        "80",
        "Of clients that are not trusted; then the name is shut for them until a reset or an unlock.",
    ),
    must(
        "trusted",
        FAILURES,
        "20",
        "Of trusted devices, kept apart so that the others cannot use them up.",
    ),
];

pub(crate) static LOCKOUT_ADDRESS: &[Key] = &[
    must("failures", FAILURES, "20", "So many failures,"),
    must("names", FAILURES, "10", "or failures at so many different names,"),
    must("per", DURATION, "10min", "within this time block the address"),
    must(
        "block",
        list(&DURATION),
        "[10min, 1h, 1d]",
        "for so long: the first time, the second, and so on; the last one for all that follow.",
    ),
];

/// Highest number of header lines.
pub(crate) const MOST_HEADERS: u64 = 200;
const HEAD: &str = "Request line and headers together; more is 431.";
const HEADER_LINES: &str = "Number of header lines; more is 431.";
const TARGET: &str = "Path and query; more is 414.";
const BODY: &str = "The body; more is 413.";

pub(crate) static FLOOR_LIMITS: &[Key] = &[
    must("head", SIZE, "16KiB", HEAD),
    must(
        "headers",
        Form::Number {
            least: 1,
            most: MOST_HEADERS,
        },
        "64",
        HEADER_LINES,
    ),
    must("target", SIZE, "8KiB", TARGET),
    must("body", SIZE, "256KiB", BODY),
];

pub(crate) static ROUTE_LIMITS: &[Key] = &[
    may("head", SIZE, "16KiB", HEAD),
    may(
        "headers",
        Form::Number {
            least: 1,
            most: MOST_HEADERS,
        },
        "64",
        HEADER_LINES,
    ),
    may("target", SIZE, "8KiB", TARGET),
    may("body", SIZE, "256KiB", BODY),
];

pub(crate) static FLOOR_TIMEOUTS: &[Key] = &[
    must("head", DURATION, "5s", "For the whole request head."),
    must("body", DURATION, "15s", "For the whole request body."),
];

/// Highest burst.
pub(crate) const MOST_BURST: u64 = 10_000_000;
const LIMIT: &str = "The steady pace.";
const BURST: &str = "How many may come at once.";

pub(crate) static RATE: &[Key] = &[
    must("limit", Form::Text(Text::Rate), "100/min", LIMIT),
    must(
        "burst",
        Form::Number {
            least: 1,
            most: MOST_BURST,
        },
        "20",
        BURST,
    ),
    must(
        "key",
        list(&Form::Text(Text::RateKey)),
        "[address]",
        "What is counted together: `address` (IPv6 by its /64; `address/48` by its /48), `subject`, `body.` and a JSON pointer; several make one key. Or `all`: everybody together, as long as nobody else has used it up.",
    ),
    may(
        "count",
        Form::Choice(&["requests", "failures"]),
        "failures",
        "`requests`, or only `failures`: the upstream answered 401 or 403.",
    ),
    may(
        "count_in",
        Form::Choice(&["gateway", "store"]),
        "store",
        "`gateway`: each gateway counts on its own; `store`: all gateways count together.",
    ),
    may(
        "on_store_down",
        Form::Choice(&["local", "deny", "allow"]),
        "deny",
        "With `count_in: store`, and only there: what becomes of requests while the store cannot be asked.",
    ),
    may(
        "mode",
        Form::Choice(&["enforce", "shadow"]),
        "shadow",
        "`enforce`, or `shadow`: what is over the limit is only told, in log and metrics.",
    ),
];

pub(crate) static ROUTE: &[Key] = &[
    must(
        "match",
        Form::Mapping(MATCH),
        "{ method: GET, path: /api/v1/me }",
        "Which requests belong to it.",
    ),
    must(
        "auth",
        NAME,
        "customers",
        "The identity provider whose tokens open it, or `none`.",
    ),
    may(
        "because",
        SENTENCE,
        "the credentials are in the body, and the core checks them",
        "With `auth: none`, and only there: why anyone may come.",
    ),
    may(
        "scopes",
        Form::List {
            of: &Form::Text(Text::Word),
            may_be_empty: true,
        },
        "[\"accounts:read\"]",
        "With a provider: all of these must be in the token; `[]` means any signed-in principal.",
    ),
    may(
        "client_certificate",
        Form::Mapping(CLIENT_CERTIFICATE),
        "{ authority: partners, names: [\"spiffe://bank.example/payroll\"] }",
        "The client certificate that opens it, beside `auth`; 403 otherwise.",
    ),
    may(
        "allow_from",
        list(&NAME),
        "[office]",
        "Lists of `addresses`: only from there; 403 otherwise.",
    ),
    may(
        "revocations_within",
        DURATION,
        "30s",
        "With a provider: what is revoked must have been learned no longer ago than this; 503 otherwise.",
    ),
    may(
        "limits",
        Form::Mapping(ROUTE_LIMITS),
        "{ body: 8KiB }",
        "Sizes, not above the floor's.",
    ),
    may(
        "timeouts",
        Form::Mapping(ROUTE_TIMEOUTS),
        "{ total: 5s }",
        "Not above the upstream's.",
    ),
    may(
        "rate",
        Form::Named(&Form::Mapping(RATE)),
        "{ transfers: { limit: 60/min, burst: 30, key: [subject] } }",
        "Limits of this route, beside those of the floor.",
    ),
    may(
        "cost",
        Form::Number {
            least: 1,
            most: MOST_BURST,
        },
        "10",
        "What one request takes from each limit of the floor; 1 without it.",
    ),
    may(
        "headers",
        NAME,
        "docs",
        "Another header profile; it must name every header of the floor's.",
    ),
    may(
        "cors",
        NAME,
        "application",
        "A CORS profile; without it, no other origin may read the answers.",
    ),
    may(
        "deprecated",
        Form::Text(Text::Date),
        "2026-12-01",
        "Since when clients should use something else; answers say so (RFC 9745).",
    ),
    may(
        "sunset",
        Form::Text(Text::Date),
        "2027-06-01",
        "From when it may be gone; answers say so (RFC 8594).",
    ),
    may("upstream", NAME, "core", "The service it leads to."),
    may(
        "cache",
        Form::Mapping(CACHE),
        "{ for: 5s, key: principal, largest: 64KiB }",
        "Good answers are kept for a while, and given again to whoever asks for the same.",
    ),
    may(
        "compress",
        Form::Mapping(COMPRESS),
        "{ over: 1KiB, types: [application/json] }",
        "Answers are compressed for clients that take it; on routes for anyone.",
    ),
    may(
        "openapi",
        Form::Choice(&["none"]),
        "none",
        "The document of the upstream does not describe this route: its requests are not checked.",
    ),
    may(
        "websocket",
        Form::Mapping(WEBSOCKET),
        "{ idle_timeout: 5min, max_frame: 64KiB }",
        "It takes WebSockets, and nothing else.",
    ),
    may(
        "serve",
        Form::Choice(&["jwks", "live", "ready"]),
        "jwks",
        "The gateway answers by itself: public keys, whether it lives, whether it is ready.",
    ),
];

pub(crate) static CACHE: &[Key] = &[
    must(
        "for",
        DURATION,
        "5s",
        "How long an answer is given again; less when the upstream says so.",
    ),
    must(
        "key",
        Form::Choice(&["principal", "public"]),
        "principal",
        "Who shares an answer: nobody else (`principal`), or everyone on a route for anyone (`public`).",
    ),
    must("largest", SIZE, "64KiB", "A larger body is not kept."),
];

pub(crate) static COMPRESS: &[Key] = &[
    must("over", SIZE, "1KiB", "Smaller bodies are sent as they are."),
    must(
        "types",
        list(&Form::Text(Text::Word)),
        "[application/json]",
        "The content types that are compressed; all others are sent as they are.",
    ),
];

pub(crate) static WEBSOCKET: &[Key] = &[
    must(
        "idle_timeout",
        DURATION,
        "5min",
        "A socket on which nothing is sent for this long is closed.",
    ),
    must(
        "max_frame",
        SIZE,
        "64KiB",
        "The largest frame, in both directions; a larger one closes the socket.",
    ),
];

pub(crate) static MATCH: &[Key] = &[
    must(
        "method",
        Form::Choice(METHODS),
        "GET",
        "The method; a GET route answers HEAD too.",
    ),
    must(
        "path",
        Form::Text(Text::Path),
        "/api/v1/me",
        "Static parts and `{parameters}`; a parameter is one whole part.",
    ),
];

pub(crate) static WAIVER: &[Key] = &[
    must(
        "rule",
        Form::Text(Text::Word),
        "P3006",
        "The code of a finding that can be waived, or of a rule of the audit.",
    ),
    must(
        "at",
        Form::Text(Text::Word),
        "routes.upload.limits.body",
        "The key that the finding is about.",
    ),
    must(
        "because",
        SENTENCE,
        "a year is sent in one piece",
        "Why it is right here.",
    ),
    must(
        "until",
        Form::Text(Text::Date),
        "2027-01-31",
        "The last day; after it, `policy check` fails.",
    ),
];

/// An overlay: `environments/<name>.yaml`.
pub static OVERLAY: &[Key] = &[
    VERSION,
    must(
        "environment",
        NAME,
        "development",
        "The name of the file, once more.",
    ),
    may(
        "listeners",
        Form::Named(&Form::Mapping(OVERLAY_LISTENER)),
        "{ public: { https: { bind: \"127.0.0.1:8443\" } } }",
        "Other addresses for listeners of the base.",
    ),
    may(
        "hosts",
        list(&Form::Text(Text::Host)),
        "[localhost]",
        "Replaces the list of the base.",
    ),
    may(
        "addresses",
        Form::Named(&list(&Form::Text(Text::Network))),
        "{ office: [127.0.0.0/8] }",
        "Replaces lists of the base; in development and test only.",
    ),
    may(
        "rates",
        Form::Named(&Form::Mapping(OVERLAY_RATE)),
        "{ per-address: { limit: 100000/min, burst: 10000, because: tests come from one address } }",
        "Other numbers for limits of the base, wherever they stand.",
    ),
    may(
        "lockout",
        Form::Mapping(OVERLAY_LOCKOUT),
        "{ address: { failures: 1000, names: 1000 }, because: tests come from one address }",
        "Other numbers for guesses from one address; in development and test only. Those for names cannot be relaxed.",
    ),
];

pub(crate) static OVERLAY_LOCKOUT: &[Key] = &[
    must(
        "address",
        Form::Mapping(OVERLAY_LOCKOUT_ADDRESS),
        "{ failures: 1000, names: 1000 }",
        "Other numbers for one address.",
    ),
    must(
        "because",
        SENTENCE,
        "tests come from one address",
        "Why it may be so here.",
    ),
];

pub(crate) static OVERLAY_LOCKOUT_ADDRESS: &[Key] = &[
    must("failures", FAILURES, "1000", "So many failures,"),
    must(
        "names",
        FAILURES,
        "1000",
        "or failures at so many different names.",
    ),
];

pub(crate) static OVERLAY_LISTENER: &[Key] = &[
    may(
        "http",
        Form::Mapping(OVERLAY_SIDE),
        "{ bind: \"127.0.0.1:8080\" }",
        "The side in clear.",
    ),
    may(
        "https",
        Form::Mapping(OVERLAY_SIDE),
        "{ bind: \"127.0.0.1:8443\" }",
        "The side over TLS.",
    ),
];

pub(crate) static OVERLAY_SIDE: &[Key] = &[must(
    "bind",
    BIND,
    "\"127.0.0.1:8443\"",
    "IP address and port to listen on.",
)];

pub(crate) static OVERLAY_RATE: &[Key] = &[
    must("limit", Form::Text(Text::Rate), "100/min", LIMIT),
    must(
        "burst",
        Form::Number {
            least: 1,
            most: MOST_BURST,
        },
        "20",
        BURST,
    ),
    may(
        "because",
        SENTENCE,
        "tests come from one address",
        "Why it may be looser here; required when it is, refused when it is not.",
    ),
];
