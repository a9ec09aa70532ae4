//! Every key of the language has an effect (POL-1): another value makes another plan, and the plan answers some request
//! of the corpus otherwise. The keys are those of the language's own table, so one without a case here fails.

use crate::{
    corpus::{decisions, facts},
    world::plan,
};
use policy::{
    Plan, SourceFile,
    language::{self, Key},
};
use std::collections::BTreeSet;

pub(crate) const BASE: &str = r#"
version: 1
listeners:
  public:
    http: { bind: "0.0.0.0:80", redirect: https }
    https: { bind: "0.0.0.0:443", tls: { min: "1.2", certificate: gateway, client_authority: partners } }
  machines:
    https: { bind: "0.0.0.0:445", tls: { min: "1.3", certificate: machines, more_certificates: [devices], client_authority: others } }
    trusted_proxies: { from: [balancers], client: proxy_protocol }
certificates:
  machines: { hosts: [api.bank.example], acme: dns-01 }
hosts: [api.bank.example]
addresses:
  office: [192.0.2.0/24]
  visitors: [203.0.113.0/24]
  blocked: [198.51.100.0/24]
  balancers: [10.9.0.0/16]
upstreams:
  core: { address: unix:core.sock, also_at: [unix:spare.sock], authorization: forward, timeouts: { connect: 1s, read: 15s, total: 30s }, health: { path: /health, every: 2s, timeout: 1s, failures: 3, successes: 2 }, eject: { failures: 5, for: 10s }, retries: { most: 1, budget: 10% }, breaker: { failures: 20, for: 5s, fallback: { status: 503, detail: back soon, stale_for: 1min } } }
  other: { address: "https://10.0.0.7:8443", tls: { min: "1.3", authority: core, server_name: core.internal, certificate: outward }, authorization: strip, timeouts: { connect: 9s, read: 39s, total: 40s } }
  listing: { address: unix:listing.sock, authorization: strip, openapi: listing.openapi.json, timeouts: { connect: 1s, read: 15s, total: 30s } }
identity:
  customers: { issuer: https://a.example, audiences: [core-api], algorithms: [EdDSA], type: at+jwt, max_lifetime: 15min, leeway: 30s, keys: portico }
  partners: { issuer: https://b.example, audiences: [core-api], algorithms: [ES256], type: at+jwt, max_lifetime: 5min, leeway: 30s, clients: [reports-app], scopes_claim: scp, require_jti: false, require_cnf: true, keys: file:partners.jwks.json }
  suppliers: { issuer: https://d.example, audiences: [core-api], algorithms: [ES256], type: at+jwt, max_lifetime: 5min, leeway: 30s, keys: { url: "https://d.example/jwks.json", refresh: 5min, stale_for: 1h, addresses: [10.0.4.0/24] } }
headers:
  api: { set: { X-Frame-Options: SAMEORIGIN }, remove: [Server] }
  docs: { set: { X-Frame-Options: DENY }, remove: [Server] }
cors:
  application: { origins: [https://app.example], methods: [GET, POST], headers: [Authorization], expose: [RateLimit], credentials: true, max_age: 10min }
  documentation: { origins: ["*"], methods: [GET, POST], headers: [Accept], expose: [RateLimit], max_age: 10min }
floor:
  limits: { head: 16KiB, headers: 64, target: 8KiB, body: 64KiB }
  timeouts: { head: 5s, body: 14s }
  deny_from: [blocked]
  rate: { per-address: { limit: 100/min, burst: 20, key: [address] } }
  headers: api
routes:
  pay:
    match: { method: POST, path: /pay }
    auth: customers
    scopes: ["pay:write"]
    revocations_within: 30s
    rate: { payments: { limit: 7/min, burst: 7, key: [subject, body./to], count: failures, count_in: store, on_store_down: deny } }
    limits: { head: 15KiB, headers: 63, target: 7KiB, body: 63KiB }
    timeouts: { connect: 900ms, read: 14s, total: 29s }
    headers: docs
    cors: application
    upstream: core
  keys:
    match: { method: GET, path: /keys }
    auth: none
    because: public keys are there to be read
    serve: jwks
  docs:
    match: { method: GET, path: /docs }
    auth: partners
    scopes: []
    allow_from: [office, visitors]
    cors: documentation
    upstream: other
    deprecated: 2026-12-01
    sunset: 2027-06-01
    websocket: { idle_timeout: 5min, max_frame: 64KiB }
  upload:
    match: { method: POST, path: /upload }
    auth: partners
    scopes: ["upload:write"]
    client_certificate: { authority: partners, names: ["spiffe://b.example/upload"] }
    limits: { body: 1MiB }
    upstream: core
  order:
    match: { method: GET, path: /order }
    auth: suppliers
    scopes: ["order:read"]
    cache: { for: 7s, key: principal, largest: 33KiB }
    upstream: core
  prices:
    match: { method: GET, path: /prices }
    auth: none
    because: prices are for everyone
    compress: { over: 1KiB, types: [application/json] }
    upstream: core
  list:
    match: { method: GET, path: /list }
    auth: partners
    scopes: []
    upstream: listing
  help:
    match: { method: GET, path: /help }
    auth: partners
    scopes: []
    upstream: listing
    openapi: none
waivers:
  statements: { rule: P3006, at: routes.upload.limits.body, because: a year is sent in one piece, until: 2027-01-31 }
  pages: { rule: A1402, at: routes.docs.scopes, because: until scopes are given out, until: 2027-02-28 }
lockout:
  name: { after: 5, steps: [15min, 30min, 1h], decay: 16min }
  name_and_address: { failures: 6, per: 1min }
  device: { after: 10, trusted_for: 180d, most: 20 }
  total: { untrusted: 80, trusted: 19 }
  address: { failures: 21, names: 11, per: 11min, block: [10min, 1h, 2d] }
"#;

pub(crate) const OVERLAY: &str = r#"
version: 1
environment: development
listeners:
  public:
    http: { bind: "127.0.0.1:8080" }
    https: { bind: "127.0.0.1:8443" }
hosts: [localhost, api.bank.example]
addresses:
  office: [192.0.3.0/24]
rates:
  payments: { limit: 5/min, burst: 6 }
lockout:
  address: { failures: 901, names: 902 }
  because: tests come from one address
"#;

/// What is replaced, by what, and the key whose effect it shows.
pub(crate) const CHANGES: &[(&str, &str, &str)] = &[
    (
        "floor.rate.*.count_in",
        "burst: 20, key: [address] }",
        "burst: 20, key: [address], count_in: store, on_store_down: local }",
    ),
    (
        "floor.rate.*.on_store_down",
        "burst: 20, key: [address] }",
        "burst: 20, key: [address], count_in: store, on_store_down: deny }",
    ),
    (
        "floor.rate.*.mode",
        "burst: 20, key: [address] }",
        "burst: 20, key: [address], mode: shadow }",
    ),
    (
        "routes.*.rate.*.count_in",
        ", count_in: store, on_store_down: deny",
        "",
    ),
    (
        "routes.*.rate.*.on_store_down",
        "on_store_down: deny",
        "on_store_down: local",
    ),
    (
        "routes.*.rate.*.on_store_down",
        "on_store_down: deny",
        "on_store_down: allow",
    ),
    (
        "routes.*.rate.*.mode",
        ", count: failures",
        ", mode: shadow, count: failures",
    ),
    (
        "routes.*.cost",
        "scopes: [\"pay:write\"]",
        "scopes: [\"pay:write\"]\n    cost: 3",
    ),
    (
        "floor.rate.*.count",
        "burst: 20, key: [address] }",
        "burst: 20, key: [address], count: failures }",
    ),
    (
        "listeners",
        "public:\n    http: { bind: \"0",
        "open:\n    http: { bind: \"0",
    ),
    (
        "listeners.*.http",
        "    http: { bind: \"0.0.0.0:80\", redirect: https }\n",
        "\n",
    ),
    (
        "listeners.*.https",
        "https: { bind: \"0.0.0.0:443\"",
        "https: { bind: \"[::]:443\"",
    ),
    ("listeners.*.http.bind", "0.0.0.0:80", "0.0.0.0:81"),
    (
        "listeners.*.http.redirect",
        "http: { bind: \"0.0.0.0:80\", redirect: https }",
        "",
    ),
    (
        "listeners.*.https.tls",
        "tls: { min: \"1.2\", certificate: gateway,",
        "tls: { min: \"1.3\", certificate: other,",
    ),
    (
        "listeners.*.https.tls.more_certificates",
        "more_certificates: [devices]",
        "more_certificates: [devices, things]",
    ),
    (
        "listeners.*.https.tls.client_authority",
        "client_authority: others",
        "client_authority: strangers",
    ),
    (
        "listeners.*.trusted_proxies",
        "    trusted_proxies: { from: [balancers], client: proxy_protocol }\n",
        "\n",
    ),
    (
        "listeners.*.trusted_proxies.from",
        "from: [balancers], client",
        "from: [office], client",
    ),
    (
        "listeners.*.trusted_proxies.client",
        "client: proxy_protocol",
        "client: x_forwarded_for",
    ),
    (
        "routes.*.client_certificate",
        "    client_certificate: { authority: partners, names: [\"spiffe://b.example/upload\"] }\n",
        "\n",
    ),
    (
        "routes.*.client_certificate.authority",
        "{ authority: partners, names",
        "{ authority: others, names",
    ),
    (
        "routes.*.client_certificate.names",
        "spiffe://b.example/upload",
        "spiffe://b.example/download",
    ),
    ("listeners.*.https.tls.min", "min: \"1.2\"", "min: \"1.3\""),
    (
        "listeners.*.https.tls.certificate",
        "certificate: gateway",
        "certificate: other",
    ),
    ("certificates", "  machines: { hosts", "  devices: { hosts"),
    (
        "certificates.*.hosts",
        "hosts: [api.bank.example], acme",
        "hosts: [bank.example], acme",
    ),
    ("certificates.*.acme", "acme: dns-01", "acme: http-01"),
    ("certificates.*.acme", ", acme: dns-01", ""),
    ("hosts", "\nhosts: [api.bank.example]", "\nhosts: [api.example]"),
    ("upstreams", "other: { address", "third: { address"),
    ("upstreams.*.address", "unix:core.sock", "http://127.0.0.1:1"),
    (
        "upstreams.*.authorization",
        "authorization: forward",
        "authorization: strip",
    ),
    (
        "routes.*.timeouts",
        "timeouts: { connect: 900ms, read: 14s, total: 29s }",
        "",
    ),
    ("upstreams.*.timeouts.connect", "connect: 9s", "connect: 8s"),
    ("upstreams.*.timeouts.read", "read: 39s", "read: 38s"),
    ("upstreams.*.timeouts.total", "total: 40s", "total: 41s"),
    ("routes.*.timeouts.connect", "connect: 900ms", "connect: 800ms"),
    ("routes.*.timeouts.read", "read: 14s", "read: 13s"),
    ("routes.*.timeouts.total", "total: 29s", "total: 28s"),
    ("identity", "issuer: https://b", "issuer: https://c"),
    ("identity.*.issuer", "issuer: https://a", "issuer: https://c"),
    (
        "identity.*.audiences",
        "audiences: [core-api]",
        "audiences: [core-api, other]",
    ),
    ("identity.*.algorithms", "[EdDSA]", "[EdDSA, ES256]"),
    (
        "identity.*.keys",
        "keys: portico",
        "keys: file:customers.jwks.json",
    ),
    (
        "identity.*.keys",
        "file:partners.jwks.json",
        "file:others.jwks.json",
    ),
    (
        "identity.*.keys.url",
        "https://d.example/jwks.json",
        "https://d.example/keys.json",
    ),
    ("identity.*.keys.refresh", "refresh: 5min", "refresh: 6min"),
    ("identity.*.keys.stale_for", "stale_for: 1h", "stale_for: 2h"),
    ("identity.*.keys.addresses", ", addresses: [10.0.4.0/24]", ""),
    (
        "routes.*.revocations_within",
        "revocations_within: 30s",
        "revocations_within: 1min",
    ),
    ("identity.*.type", "type: at+jwt", "type: jwt"),
    (
        "identity.*.max_lifetime",
        "max_lifetime: 15min",
        "max_lifetime: 14min",
    ),
    ("identity.*.leeway", "leeway: 30s", "leeway: 29s"),
    (
        "identity.*.scopes_claim",
        "scopes_claim: scp",
        "scopes_claim: roles",
    ),
    (
        "identity.*.clients",
        "clients: [reports-app]",
        "clients: [reports-app, other]",
    ),
    ("identity.*.require_jti", ", require_jti: false", ""),
    ("identity.*.require_cnf", ", require_cnf: true", ""),
    ("routes.*.headers", "headers: docs", "headers: api"),
    (
        "headers.*.set",
        "X-Frame-Options: SAMEORIGIN",
        "X-Frame-Options: DENY",
    ),
    (
        "headers.*.remove",
        "DENY }, remove: [Server]",
        "DENY }, remove: [Server, Via]",
    ),
    (
        "routes.*.cors",
        "    cors: application\n",
        "    cors: documentation\n",
    ),
    ("cors.*.origins", "[https://app.example]", "[https://b.example]"),
    (
        "cors.*.methods",
        "methods: [GET, POST], headers: [Authorization]",
        "methods: [POST], headers: [Authorization]",
    ),
    ("cors.*.headers", "headers: [Authorization]", "headers: [Accept]"),
    ("cors.*.expose", "expose: [RateLimit]", "expose: [Retry-After]"),
    (
        "cors.*.credentials",
        ", credentials: true",
        ", credentials: false",
    ),
    ("cors.*.max_age", "max_age: 10min", "max_age: 9min"),
    (
        "floor.headers",
        "  headers: api\nroutes",
        "  headers: docs\nroutes",
    ),
    (
        "routes.*.limits",
        "    limits: { head: 15KiB, headers: 63, target: 7KiB, body: 63KiB }\n",
        "\n",
    ),
    ("routes.*.limits.head", "head: 15KiB", "head: 14KiB"),
    ("routes.*.limits.headers", "headers: 63", "headers: 62"),
    ("routes.*.limits.target", "target: 7KiB", "target: 6KiB"),
    ("routes.*.limits.body", "body: 63KiB", "body: 62KiB"),
    ("floor.limits.head", "head: 16KiB", "head: 17KiB"),
    ("floor.limits.headers", "headers: 64", "headers: 65"),
    ("floor.limits.target", "target: 8KiB", "target: 9KiB"),
    (
        "floor.limits.body",
        "target: 8KiB, body: 64KiB",
        "target: 8KiB, body: 65KiB",
    ),
    ("floor.timeouts.head", "head: 5s", "head: 6s"),
    ("floor.timeouts.body", "body: 14s", "body: 13s"),
    ("floor.rate", "per-address: {", "by-address: {"),
    ("floor.rate.*.limit", "limit: 100/min", "limit: 99/min"),
    ("floor.rate.*.burst", "burst: 20", "burst: 21"),
    (
        "floor.rate.*.key",
        "burst: 20, key: [address] }",
        "burst: 20, key: [address/48] }",
    ),
    (
        "routes.*.rate.*.key",
        "key: [subject, body./to]",
        "key: [subject]",
    ),
    ("routes.*.rate.*.count", ", count: failures", ", count: requests"),
    ("routes", "  pay:\n", "  send:\n"),
    (
        "routes.*.match",
        "method: POST, path: /pay",
        "method: POST, path: /send",
    ),
    (
        "routes.*.match.method",
        "method: GET, path: /keys",
        "method: DELETE, path: /keys",
    ),
    ("routes.*.match.path", "path: /keys", "path: /jwks"),
    ("routes.*.auth", "auth: customers", "auth: partners"),
    (
        "routes.*.scopes",
        "[\"pay:write\"]",
        "[\"pay:write\", \"pay:more\"]",
    ),
    ("routes.*.upstream", "upstream: core", "upstream: other"),
    ("routes.*.serve", "serve: jwks", "serve: live"),
    ("routes.*.serve", "serve: jwks", "serve: ready"),
    (
        "listeners.*.https.bind",
        "https: { bind: \"0.0.0.0:443\"",
        "https: { bind: \"0.0.0.0:444\"",
    ),
    (
        "addresses",
        "blocked: [198.51.100.0/24]",
        "blocked: [198.51.101.0/24]",
    ),
    ("floor.deny_from", "  deny_from: [blocked]\n", "\n"),
    ("routes.*.allow_from", "[office, visitors]", "[office]"),
    (
        "headers",
        "docs: { set: { X-Frame-Options: DENY",
        "docs: { set: { X-Other: \"1\", X-Frame-Options: DENY",
    ),
    ("cors", ", credentials: true", ""),
    ("floor", "head: 5s", "head: 4s"),
    ("floor.limits", "limits: { head: 16KiB", "limits: { head: 17KiB"),
    ("floor.timeouts", "timeouts: { head: 5s", "timeouts: { head: 6s"),
    (
        "upstreams.*.timeouts",
        "timeouts: { connect: 9s, read: 39s, total: 40s }",
        "timeouts: { connect: 8s, read: 38s, total: 39s }",
    ),
    (
        "routes.*.rate",
        "    rate: { payments: { limit: 7/min, burst: 7, key: [subject, body./to], count: failures, count_in: store, on_store_down: deny } }\n",
        "\n",
    ),
    ("routes.*.rate.*.limit", "limit: 7/min", "limit: 6/min"),
    ("routes.*.rate.*.burst", "burst: 7", "burst: 6"),
    ("upstreams.*.also_at", "[unix:spare.sock]", "[unix:third.sock]"),
    (
        "upstreams.*.tls",
        "\"https://10.0.0.7:8443\", tls: { min: \"1.3\", authority: core, server_name: core.internal, certificate: outward }",
        "unix:other.sock",
    ),
    (
        "upstreams.*.tls.min",
        "min: \"1.3\", authority",
        "min: \"1.2\", authority",
    ),
    (
        "upstreams.*.tls.authority",
        "authority: core",
        "authority: others",
    ),
    (
        "upstreams.*.tls.server_name",
        "server_name: core.internal",
        "server_name: core-2.internal",
    ),
    ("upstreams.*.tls.certificate", ", certificate: outward", ""),
    (
        "upstreams.*.health",
        ", health: { path: /health, every: 2s, timeout: 1s, failures: 3, successes: 2 }",
        "",
    ),
    (
        "upstreams.*.health.path",
        "path: /health, every",
        "path: /ready, every",
    ),
    ("upstreams.*.health.every", "every: 2s", "every: 3s"),
    (
        "upstreams.*.health.timeout",
        "every: 2s, timeout: 1s",
        "every: 2s, timeout: 2s",
    ),
    (
        "upstreams.*.health.failures",
        "timeout: 1s, failures: 3",
        "timeout: 1s, failures: 4",
    ),
    ("upstreams.*.health.successes", "successes: 2", "successes: 3"),
    ("upstreams.*.eject", ", eject: { failures: 5, for: 10s }", ""),
    (
        "upstreams.*.eject.failures",
        "eject: { failures: 5",
        "eject: { failures: 6",
    ),
    ("upstreams.*.eject.for", "for: 10s", "for: 11s"),
    ("upstreams.*.retries", ", retries: { most: 1, budget: 10% }", ""),
    ("upstreams.*.retries.most", "most: 1", "most: 2"),
    ("upstreams.*.retries.budget", "budget: 10%", "budget: 11%"),
    (
        "upstreams.*.breaker",
        ", breaker: { failures: 20, for: 5s, fallback: { status: 503, detail: back soon, stale_for: 1min } }",
        "",
    ),
    ("upstreams.*.breaker.failures", "failures: 20", "failures: 21"),
    ("upstreams.*.breaker.for", "for: 5s", "for: 6s"),
    (
        "upstreams.*.breaker.fallback",
        ", fallback: { status: 503, detail: back soon, stale_for: 1min }",
        "",
    ),
    (
        "upstreams.*.breaker.fallback.status",
        "status: 503",
        "status: 500",
    ),
    (
        "upstreams.*.breaker.fallback.detail",
        "back soon",
        "back tomorrow",
    ),
    (
        "upstreams.*.breaker.fallback.stale_for",
        "stale_for: 1min",
        "stale_for: 2min",
    ),
    (
        "upstreams.*.openapi",
        "openapi: listing.openapi.json",
        "openapi: strict.openapi.json",
    ),
    ("routes.*.openapi", "    openapi: none\n", "\n"),
    ("routes.*.deprecated", "2026-12-01", "2026-12-02"),
    ("routes.*.sunset", "    sunset: 2027-06-01\n", "\n"),
    (
        "routes.*.cache",
        "    cache: { for: 7s, key: principal, largest: 33KiB }\n",
        "    cache: { for: 8s, key: principal, largest: 34KiB }\n",
    ),
    ("routes.*.cache.for", "for: 7s", "for: 8s"),
    (
        "routes.*.cache.key",
        "    cache: { for: 7s, key: principal, largest: 33KiB }\n    upstream: core\n  prices:\n    match: { method: GET, path: /prices }\n    auth: none\n    because: prices are for everyone\n",
        "    cache: { for: 7s, key: principal, largest: 33KiB }\n    upstream: core\n  prices:\n    match: { method: GET, path: /prices }\n    auth: none\n    because: prices are for everyone\n    cache: { for: 7s, key: public, largest: 33KiB }\n",
    ),
    ("routes.*.cache.largest", "largest: 33KiB", "largest: 34KiB"),
    (
        "routes.*.compress",
        "    compress: { over: 1KiB, types: [application/json] }\n",
        "\n",
    ),
    ("routes.*.compress.over", "over: 1KiB", "over: 2KiB"),
    (
        "routes.*.compress.types",
        "types: [application/json]",
        "types: [application/json, text/plain]",
    ),
    (
        "routes.*.websocket",
        "    websocket: { idle_timeout: 5min, max_frame: 64KiB }\n",
        "\n",
    ),
    (
        "routes.*.websocket.idle_timeout",
        "idle_timeout: 5min",
        "idle_timeout: 6min",
    ),
    (
        "routes.*.websocket.max_frame",
        "max_frame: 64KiB",
        "max_frame: 65KiB",
    ),
    ("waivers", "  pages: {", "  documents: {"),
    ("waivers.*.rule", "rule: A1402", "rule: A1401"),
    (
        "waivers.*.at",
        "at: routes.docs.scopes",
        "at: routes.upload.scopes",
    ),
    ("waivers.*.until", "until: 2027-02-28", "until: 2027-02-27"),
    ("lockout", "after: 5, steps", "after: 6, steps"),
    ("lockout.name", "decay: 16min", "decay: 17min"),
    ("lockout.name.after", "after: 5, steps", "after: 4, steps"),
    ("lockout.name.steps", "[15min, 30min, 1h]", "[15min, 45min]"),
    ("lockout.name.decay", "decay: 16min", "decay: 15min"),
    ("lockout.name_and_address", "failures: 6, per", "failures: 8, per"),
    (
        "lockout.name_and_address.failures",
        "failures: 6, per",
        "failures: 7, per",
    ),
    ("lockout.name_and_address.per", "per: 1min }", "per: 2min }"),
    (
        "lockout.device",
        "after: 10, trusted_for",
        "after: 12, trusted_for",
    ),
    (
        "lockout.device.after",
        "after: 10, trusted_for",
        "after: 9, trusted_for",
    ),
    (
        "lockout.device.trusted_for",
        "trusted_for: 180d",
        "trusted_for: 90d",
    ),
    ("lockout.device.most", "most: 20 }", "most: 21 }"),
    ("lockout.total", "untrusted: 80", "untrusted: 70"),
    ("lockout.total.untrusted", "untrusted: 80", "untrusted: 79"),
    ("lockout.total.trusted", "trusted: 19", "trusted: 18"),
    ("lockout.address", "names: 11", "names: 13"),
    ("lockout.address.failures", "failures: 21", "failures: 22"),
    ("lockout.address.names", "names: 11", "names: 12"),
    ("lockout.address.per", "per: 11min", "per: 12min"),
    ("lockout.address.block", "[10min, 1h, 2d]", "[10min, 1h]"),
];

/// The same for an overlay.
pub(crate) const OVERLAY_CHANGES: &[(&str, &str, &str)] = &[
    ("listeners", "127.0.0.1:8080", "127.0.0.1:8079"),
    ("listeners.*.http", "    http: { bind: \"127.0.0.1:8080\" }\n", ""),
    (
        "listeners.*.https",
        "    https: { bind: \"127.0.0.1:8443\" }\n",
        "",
    ),
    ("listeners.*.http.bind", "127.0.0.1:8080", "127.0.0.1:8081"),
    ("listeners.*.https.bind", "127.0.0.1:8443", "127.0.0.1:8444"),
    ("hosts", "[localhost, api", "[127.0.0.1, api"),
    ("addresses", "office: [192.0.3.0/24]", "office: [192.0.2.0/24]"),
    ("rates", "  payments: {", "  per-address: {"),
    ("rates.*.limit", "limit: 5/min", "limit: 4/min"),
    ("rates.*.burst", "burst: 6", "burst: 5"),
    ("lockout", "failures: 901", "failures: 903"),
    ("lockout.address", "names: 902", "names: 904"),
    ("lockout.address.failures", "failures: 901", "failures: 900"),
    ("lockout.address.names", "names: 902", "names: 900"),
];

/// Keys with one legal value, keys that only name or explain, and keys that cannot change alone.
const FIXED: &[(&str, &str)] = &[
    ("version", "one legal value"),
    ("environment", "the name of the file, once more"),
    ("routes.*.because", "for people; `policy show` prints it"),
    ("rates.*.because", "for people"),
    ("lockout.because", "for people"),
    ("waivers.*.because", "for people"),
];

/// Keys that no decision over the corpus shows, because they are of connections, of keys or of other people, and the
/// test that shows their effect on a gateway that runs.
const ON_THE_WIRE: &[(&str, &str)] = &[
    (
        "certificates",
        "gateway/tests/gateway/acme/mod.rs::http_01_fetches_a_certificate_and_renews_it_after_two_thirds_of_its_life",
    ),
    (
        "certificates.*.acme",
        "gateway/tests/gateway/acme/mod.rs::dns_01_runs_the_hook_before_and_after",
    ),
    (
        "certificates.*.hosts",
        "gateway/tests/gateway/acme/mod.rs::http_01_fetches_a_certificate_and_renews_it_after_two_thirds_of_its_life",
    ),
    (
        "floor",
        "gateway/tests/gateway/smuggling.rs::a_slow_head_is_cut_by_one_deadline_for_the_whole_of_it",
    ),
    (
        "floor.timeouts",
        "gateway/tests/gateway/smuggling.rs::a_slow_head_is_cut_by_one_deadline_for_the_whole_of_it",
    ),
    (
        "floor.timeouts.body",
        "gateway/tests/gateway/smuggling.rs::a_body_that_stops_is_cut_by_its_deadline",
    ),
    (
        "floor.timeouts.head",
        "gateway/tests/gateway/smuggling.rs::a_slow_head_is_cut_by_one_deadline_for_the_whole_of_it",
    ),
    (
        "identity.*.keys",
        "gateway/tests/gateway/platform.rs::j40_without_keys_the_routes_of_a_provider_answer_503_and_the_reason_is_told",
    ),
    (
        "identity.*.keys.addresses",
        "gateway/tests/gateway/issuer_keys.rs::j35_an_issuer_that_is_not_public_or_not_trusted_is_not_asked",
    ),
    (
        "identity.*.keys.refresh",
        "gateway/tests/gateway/issuer_keys.rs::j36_j39_a_rotation_is_noticed_and_refuses_no_token",
    ),
    (
        "identity.*.keys.stale_for",
        "gateway/tests/gateway/issuer_keys.rs::j38_an_issuer_that_is_away_closes_its_routes_late_with_503_and_opens_them_by_itself",
    ),
    (
        "identity.*.clients",
        "gateway/tests/gateway/platform.rs::j33_an_issuer_whose_programs_are_named_is_believed_for_theirs_alone",
    ),
    (
        "identity.*.require_jti",
        "gateway/tests/gateway/platform.rs::j31_j32_a_provider_that_writes_scp_and_no_jti_is_understood_where_the_policy_says_so",
    ),
    (
        "identity.*.require_cnf",
        "gateway/tests/gateway/bound_tokens.rs::j33_where_the_policy_asks_for_it_a_token_that_is_bound_to_nothing_is_refused",
    ),
    (
        "identity.*.scopes_claim",
        "gateway/tests/gateway/platform.rs::j31_j32_a_provider_that_writes_scp_and_no_jti_is_understood_where_the_policy_says_so",
    ),
    (
        "identity.*.keys.url",
        "gateway/tests/gateway/issuer_keys.rs::j35_keys_come_from_where_their_issuer_publishes_them",
    ),
    (
        "listeners",
        "gateway/tests/gateway/reload.rs::a_listener_that_moves_waits_for_a_restart_and_says_so",
    ),
    (
        "listeners.*.http",
        "gateway/tests/gateway/reload.rs::a_listener_that_moves_waits_for_a_restart_and_says_so",
    ),
    (
        "listeners.*.http.bind",
        "gateway/tests/gateway/reload.rs::a_listener_that_moves_waits_for_a_restart_and_says_so",
    ),
    (
        "listeners.*.https",
        "gateway/tests/gateway/reload.rs::a_listener_that_moves_waits_for_a_restart_and_says_so",
    ),
    (
        "listeners.*.https.bind",
        "gateway/tests/gateway/reload.rs::a_listener_that_moves_waits_for_a_restart_and_says_so",
    ),
    (
        "listeners.*.https.tls",
        "gateway/tests/gateway/tls.rs::the_lowest_version_is_policy_and_follows_it_live",
    ),
    (
        "listeners.*.https.tls.certificate",
        "gateway/tests/gateway/certificates.rs::tls2_the_name_chooses_the_certificate_and_a_wildcard_stands_for_one_label",
    ),
    (
        "listeners.*.https.tls.client_authority",
        "gateway/tests/gateway/client_certificates.rs::tls6_the_right_certificate_opens_the_route_and_nothing_else_does",
    ),
    (
        "listeners.*.https.tls.min",
        "gateway/tests/gateway/tls.rs::the_lowest_version_is_policy_and_follows_it_live",
    ),
    (
        "listeners.*.https.tls.more_certificates",
        "gateway/tests/gateway/certificates.rs::tls2_the_name_chooses_the_certificate_and_a_wildcard_stands_for_one_label",
    ),
    (
        "listeners.*.trusted_proxies",
        "gateway/tests/gateway/trusted_proxies.rs::ad5_who_is_announced_is_the_client_and_nobody_else_may_connect",
    ),
    (
        "listeners.*.trusted_proxies.client",
        "gateway/tests/gateway/trusted_proxies.rs::ad2_ad3_a_proxy_of_ours_is_believed_about_the_client_and_about_nothing_else",
    ),
    (
        "listeners.*.trusted_proxies.from",
        "gateway/tests/gateway/trusted_proxies.rs::ad2_nobody_else_is_believed",
    ),
    (
        "lockout",
        "core-api/src/identity/gate/tests.rs::other_rules_of_the_policy_are_carried_out_from_the_next_attempt_on",
    ),
    (
        "lockout.name",
        "core-api/src/identity/gate/tests.rs::other_rules_of_the_policy_are_carried_out_from_the_next_attempt_on",
    ),
    (
        "lockout.name.after",
        "core-api/src/identity/gate/tests.rs::other_rules_of_the_policy_are_carried_out_from_the_next_attempt_on",
    ),
    (
        "lockout.name.steps",
        "core-api/src/identity/gate/tests.rs::other_rules_of_the_policy_are_carried_out_from_the_next_attempt_on",
    ),
    (
        "lockout.name.decay",
        "core-api/src/identity/gate/tests.rs::other_rules_of_the_policy_are_carried_out_from_the_next_attempt_on",
    ),
    (
        "lockout.name_and_address",
        "core-api/src/identity/gate/tests.rs::other_rules_of_the_policy_are_carried_out_from_the_next_attempt_on",
    ),
    (
        "lockout.name_and_address.failures",
        "core-api/src/identity/gate/tests.rs::other_rules_of_the_policy_are_carried_out_from_the_next_attempt_on",
    ),
    (
        "lockout.name_and_address.per",
        "core-api/src/identity/gate/tests.rs::other_rules_of_the_policy_are_carried_out_from_the_next_attempt_on",
    ),
    (
        "lockout.device",
        "core-api/src/identity/gate/tests.rs::other_rules_of_the_policy_are_carried_out_from_the_next_attempt_on",
    ),
    (
        "lockout.device.after",
        "core-api/src/identity/gate/tests.rs::other_rules_of_the_policy_are_carried_out_from_the_next_attempt_on",
    ),
    (
        "lockout.device.trusted_for",
        "core-api/src/identity/gate/tests.rs::other_rules_of_the_policy_are_carried_out_from_the_next_attempt_on",
    ),
    (
        "lockout.device.most",
        "core-api/src/identity/gate/tests.rs::other_rules_of_the_policy_are_carried_out_from_the_next_attempt_on",
    ),
    (
        "lockout.total",
        "core-api/src/identity/gate/tests.rs::other_rules_of_the_policy_are_carried_out_from_the_next_attempt_on",
    ),
    (
        "lockout.total.untrusted",
        "core-api/src/identity/gate/tests.rs::other_rules_of_the_policy_are_carried_out_from_the_next_attempt_on",
    ),
    (
        "lockout.total.trusted",
        "core-api/src/identity/gate/tests.rs::other_rules_of_the_policy_are_carried_out_from_the_next_attempt_on",
    ),
    (
        "lockout.address",
        "core-api/src/identity/gate/tests.rs::other_rules_of_the_policy_are_carried_out_from_the_next_attempt_on",
    ),
    (
        "lockout.address.failures",
        "core-api/src/identity/gate/tests.rs::other_rules_of_the_policy_are_carried_out_from_the_next_attempt_on",
    ),
    (
        "lockout.address.names",
        "core-api/src/identity/gate/tests.rs::other_rules_of_the_policy_are_carried_out_from_the_next_attempt_on",
    ),
    (
        "lockout.address.per",
        "core-api/src/identity/gate/tests.rs::other_rules_of_the_policy_are_carried_out_from_the_next_attempt_on",
    ),
    (
        "lockout.address.block",
        "core-api/src/identity/gate/tests.rs::other_rules_of_the_policy_are_carried_out_from_the_next_attempt_on",
    ),
    (
        "routes.*.websocket",
        "gateway/tests/gateway/websocket/opening.rs::a_request_that_opens_no_socket_is_told_what_is_wanted",
    ),
    (
        "routes.*.websocket.idle_timeout",
        "gateway/tests/gateway/websocket/ends.rs::a_socket_on_which_nothing_is_sent_is_closed_and_one_in_use_is_not",
    ),
    (
        "routes.*.websocket.max_frame",
        "gateway/tests/gateway/websocket/ends.rs::a_frame_that_is_too_large_ends_the_socket_whoever_sends_it",
    ),
    (
        "upstreams",
        "gateway/tests/gateway/upstreams/addresses.rs::requests_are_spread_over_all_addresses",
    ),
    (
        "upstreams.*.also_at",
        "gateway/tests/gateway/upstreams/addresses.rs::requests_are_spread_over_all_addresses",
    ),
    (
        "upstreams.*.breaker",
        "gateway/tests/gateway/upstreams/breaker.rs::a_service_that_fails_every_request_is_left_alone_until_one_succeeds",
    ),
    (
        "upstreams.*.breaker.failures",
        "gateway/tests/gateway/upstreams/breaker.rs::a_service_that_fails_every_request_is_left_alone_until_one_succeeds",
    ),
    (
        "upstreams.*.breaker.fallback",
        "gateway/tests/gateway/upstreams/breaker.rs::a_service_that_fails_every_request_is_left_alone_until_one_succeeds",
    ),
    (
        "upstreams.*.breaker.fallback.detail",
        "gateway/tests/gateway/upstreams/breaker.rs::a_service_that_fails_every_request_is_left_alone_until_one_succeeds",
    ),
    (
        "upstreams.*.breaker.fallback.status",
        "gateway/tests/gateway/upstreams/breaker.rs::a_service_that_fails_every_request_is_left_alone_until_one_succeeds",
    ),
    (
        "upstreams.*.breaker.for",
        "gateway/tests/gateway/upstreams/breaker.rs::an_open_breaker_lets_one_request_decide_and_no_other",
    ),
    (
        "upstreams.*.eject",
        "gateway/tests/gateway/upstreams/addresses.rs::a_dead_address_costs_no_request_not_even_a_post_and_is_ejected",
    ),
    (
        "upstreams.*.eject.failures",
        "gateway/tests/gateway/upstreams/addresses.rs::a_dead_address_costs_no_request_not_even_a_post_and_is_ejected",
    ),
    (
        "upstreams.*.eject.for",
        "gateway/tests/gateway/upstreams/addresses.rs::an_ejected_address_comes_back_by_itself",
    ),
    (
        "upstreams.*.health",
        "gateway/tests/gateway/upstreams/health.rs::an_address_that_says_it_is_ill_gets_no_requests_until_it_is_well",
    ),
    (
        "upstreams.*.health.every",
        "gateway/tests/gateway/upstreams/health.rs::an_address_is_asked_as_often_as_the_policy_says",
    ),
    (
        "upstreams.*.health.failures",
        "gateway/tests/gateway/upstreams/health.rs::so_many_bad_answers_in_a_row_make_an_address_ill",
    ),
    (
        "upstreams.*.health.path",
        "gateway/tests/gateway/upstreams/health.rs::an_address_that_says_it_is_ill_gets_no_requests_until_it_is_well",
    ),
    (
        "upstreams.*.health.successes",
        "gateway/tests/gateway/upstreams/health.rs::so_many_good_answers_in_a_row_make_an_address_well",
    ),
    (
        "upstreams.*.health.timeout",
        "gateway/tests/gateway/upstreams/health.rs::an_address_that_does_not_say_how_it_is_is_ill",
    ),
    (
        "upstreams.*.retries",
        "gateway/tests/gateway/upstreams/retries.rs::an_answer_that_never_came_is_asked_for_again_but_an_order_is_not",
    ),
    (
        "upstreams.*.retries.budget",
        "gateway/tests/gateway/upstreams/retries.rs::retries_never_become_the_load",
    ),
    (
        "upstreams.*.retries.most",
        "gateway/tests/gateway/upstreams/retries.rs::an_answer_that_never_came_is_asked_for_again_but_an_order_is_not",
    ),
    (
        "routes.*.cache",
        "gateway/tests/gateway/cache/answers.rs::a_good_answer_is_kept_as_the_upstream_allows",
    ),
    (
        "routes.*.cache.for",
        "gateway/tests/gateway/cache/answers.rs::an_answer_ends_with_its_time",
    ),
    (
        "routes.*.cache.key",
        "gateway/tests/gateway/cache/public.rs::what_is_not_in_the_key_never_reaches_the_upstream",
    ),
    (
        "routes.*.cache.largest",
        "gateway/tests/gateway/cache/answers.rs::what_must_not_be_kept_is_asked_for_again",
    ),
    (
        "routes.*.compress",
        "gateway/tests/gateway/compression.rs::a_client_gets_the_coding_that_it_likes_best_and_the_upstream_is_asked_for_none",
    ),
    (
        "routes.*.compress.over",
        "gateway/tests/gateway/compression.rs::what_is_not_to_be_compressed_goes_through_as_it_is",
    ),
    (
        "routes.*.compress.types",
        "gateway/tests/gateway/compression.rs::what_is_not_to_be_compressed_goes_through_as_it_is",
    ),
    (
        "upstreams.*.breaker.fallback.stale_for",
        "gateway/tests/gateway/cache/stale.rs::without_the_policys_word_nothing_is_given_late",
    ),
    (
        "upstreams.*.tls.authority",
        "gateway/tests/gateway/upstreams/tls.rs::tls8_a_service_that_cannot_show_who_it_is_gets_nothing",
    ),
    (
        "upstreams.*.tls.certificate",
        "gateway/tests/gateway/upstreams/tls.rs::tls8_two_names_of_the_gateway_never_share_a_connection",
    ),
    (
        "upstreams.*.tls.min",
        "gateway/tests/gateway/upstreams/tls.rs::tls8_tls_1_2_is_spoken_where_the_policy_allows_it",
    ),
    (
        "upstreams.*.tls.server_name",
        "gateway/tests/gateway/upstreams/tls.rs::tls8_a_service_that_cannot_show_who_it_is_gets_nothing",
    ),
    (
        "waivers",
        "crates/policy/tests/policy/waivers.rs::without_a_waiver_each_excess_is_an_error_and_with_it_none",
    ),
    (
        "waivers.*.at",
        "crates/policy/tests/policy/waivers.rs::a_waiver_waives_its_own_key_only",
    ),
    (
        "waivers.*.rule",
        "crates/policy/tests/policy/waivers.rs::without_a_waiver_each_excess_is_an_error_and_with_it_none",
    ),
    (
        "waivers.*.until",
        "gateway/tests/gateway/reload.rs::an_expired_waiver_is_counted_and_stops_nothing",
    ),
];

pub(crate) fn files(base: &str, overlay: &str) -> Vec<SourceFile> {
    let file = |name: &str, text: &str| SourceFile::new(name, text);
    let mut files = vec![
        file("base.yaml", base),
        file("environments/development.yaml", overlay),
    ];
    let documents = [("listing.openapi.json", ""), ("strict.openapi.json", PAGE)];
    let named = documents.into_iter().filter(|(name, _)| base.contains(name));
    files.extend(named.map(|(name, of_list)| SourceFile::new(name, listing(of_list))));
    files
}

const PAGE: &str = r#"{"name":"page","in":"query","required":true,"schema":{"type":"integer"}}"#;

/// A document with these parameters for one of its two paths; the other one asks for a page.
fn listing(of_list: &str) -> String {
    format!(
        r#"{{"openapi":"3.1.0","paths":{{
            "/list":{{"get":{{"parameters":[{of_list}]}}}},
            "/help":{{"get":{{"parameters":[{PAGE}]}}}}}}}}"#
    )
}

/// The plan in words, without the hash, which any edit changes.
fn in_words(plan: &Plan) -> String {
    format!("{plan:?}").replace(plan.hash(), "")
}

pub(crate) fn replaced(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "{old}");
    text.replacen(old, new, 1)
}

/// The base with one change, and an overlay that fits it.
pub(crate) fn changed(key: &str, old: &str, new: &str) -> (String, &'static str) {
    // Some changes leave an overlay or a definition behind; the others keep the bundle whole.
    let is_left_behind = matches!(
        key,
        "listeners" | "listeners.*.http" | "listeners.*.http.redirect" | "routes.*.rate"
    );
    let overlay = if is_left_behind {
        "version: 1\nenvironment: development\n"
    } else {
        OVERLAY
    };
    let mut base = replaced(BASE, old, new);
    if key == "upstreams" {
        base = replaced(&base, "upstream: other", "upstream: third");
    }
    let unused = [
        ("headers: api\nroutes", "  api: {"),
        ("headers: docs\n", "  docs: {"),
        ("upstream: core", "  core: {"),
        ("auth: customers", "  customers: {"),
        ("cors: application", "  application: {"),
        ("office, visitors]", "  visitors: ["),
        ("deny_from: [blocked]", "  blocked: ["),
        ("from: [balancers]", "  balancers: ["),
    ];
    for (reference, definition) in unused {
        if !base.contains(reference) {
            // The line stays, empty: other lines must keep their numbers, which the plan knows.
            let keep = |line: &str| {
                if line.starts_with(definition) {
                    String::new()
                } else {
                    line.to_owned()
                }
            };
            base = base.lines().map(keep).collect::<Vec<_>>().join("\n");
        }
    }
    (base, overlay)
}

/// The keys of a table whose change some plan shows, and no decision over the corpus.
fn undecided(
    changes: &[(&'static str, &str, &str)],
    compiled: impl Fn(&str, &str, &str) -> Plan,
    before: &Plan,
) -> BTreeSet<&'static str> {
    let (words, decided, known) = (in_words(before), decisions(before), facts(before));
    let mut undecided = BTreeSet::new();
    for (key, old, new) in changes {
        let plan = compiled(key, old, new);
        assert_ne!(words, in_words(&plan), "{key}: {old} → {new} makes the same plan");
        if decided == decisions(&plan) {
            assert_ne!(known, facts(&plan), "{key}: {old} → {new} is seen by nobody");
            undecided.insert(*key);
        }
    }
    undecided
}

#[test]
fn another_value_makes_another_plan_and_another_decision_or_connection() {
    let compiled = |key: &str, old: &str, new: &str| {
        let (base, overlay) = changed(key, old, new);
        plan(&files(&base, overlay), "production")
    };
    let found = undecided(CHANGES, compiled, &plan(&files(BASE, OVERLAY), "production"));
    let expected: BTreeSet<&str> = ON_THE_WIRE.iter().map(|(key, _)| *key).collect();
    let unshown: Vec<&&str> = found.difference(&expected).collect();
    assert!(
        unshown.is_empty(),
        "no decision changes, and no test of the gateway is named, for {unshown:?}"
    );
    // Those of listeners are so in an overlay.
    let decided: Vec<&&str> = expected
        .difference(&found)
        .filter(|key| !key.starts_with("listeners"))
        .collect();
    assert!(
        decided.is_empty(),
        "a decision shows {decided:?}: no other test is needed"
    );
}

#[test]
fn the_tests_that_show_what_no_decision_shows_are_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (key, test) in ON_THE_WIRE {
        let (file, name) = test.split_once("::").expect("file::test");
        let text = std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(
            text.contains(&format!("fn {name}()")),
            "{key}: no test {name} in {file}"
        );
    }
}

#[test]
fn another_value_in_an_overlay_makes_another_plan_for_its_environment_only() {
    let compiled = |overlay: &str, environment| plan(&files(BASE, overlay), environment);
    let (development, production) = (
        compiled(OVERLAY, "development"),
        in_words(&compiled(OVERLAY, "production")),
    );
    assert_ne!(in_words(&development), production);
    let changed = |_: &str, old: &str, new: &str| {
        let overlay = replaced(OVERLAY, old, new);
        assert_eq!(
            production,
            in_words(&compiled(&overlay, "production")),
            "{old} → {new}"
        );
        compiled(&overlay, "development")
    };
    let found = undecided(OVERLAY_CHANGES, changed, &development);
    let expected: BTreeSet<&str> = ON_THE_WIRE.iter().map(|(key, _)| *key).collect();
    assert!(found.is_subset(&expected), "{found:?}");
}

/// Every key of base files and overlays by its full name.
fn keys(table: &'static [Key]) -> BTreeSet<String> {
    language::paths(table).into_iter().map(|(path, _)| path).collect()
}

#[test]
fn every_key_is_changed_here() {
    for (table, changes) in [(language::BASE, CHANGES), (language::OVERLAY, OVERLAY_CHANGES)] {
        let changed: BTreeSet<&str> = changes.iter().map(|(key, ..)| *key).collect();
        let keys = keys(table);
        let is_fixed = |key: &str| FIXED.iter().any(|(fixed, _)| *fixed == key);
        let missing: Vec<&String> = keys
            .iter()
            .filter(|key| !changed.contains(key.as_str()) && !is_fixed(key))
            .collect();
        assert!(missing.is_empty(), "no case shows the effect of {missing:?}");
        let unknown: Vec<&&str> = changed.iter().filter(|key| !keys.contains(**key)).collect();
        assert!(unknown.is_empty(), "the language has no {unknown:?}");
    }
}
