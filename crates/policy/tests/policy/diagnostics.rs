//! Every message of the compiler, with its place, its reason and its fix, as a person reads it.

use crate::world::{shipped, shipped_with, undescribed_with};
use policy::{Date, Diagnostic, Refusal, SourceFile, compile, render};
use std::{collections::BTreeSet, fmt::Write};

/// A slip in a shipped file: what it is, file, what is replaced, by what.
#[derive(Clone, Copy)]
struct Slip(&'static str, &'static str, &'static str, &'static str);

const IN: &str = "production";

fn refused(files: &[SourceFile], environment: &str) -> Vec<Diagnostic> {
    compile(files, environment).expect_err("refused")
}

const TEXT: &[Slip] = &[
    Slip(
        "broken flow",
        "listeners.yaml",
        "redirect: https }",
        "redirect: https",
    ),
    Slip("tab", "floor.yaml", "  rate:", "\trate:"),
    Slip(
        "duplicate key",
        "routes/identity.yaml",
        "    auth: customers\n",
        "    auth: customers\n    auth: none\n",
    ),
    Slip(
        "duplicate header",
        "headers.yaml",
        "X-Frame-Options: DENY",
        "X-Frame-Options: DENY\n      x-frame-options: SAMEORIGIN",
    ),
    Slip("unknown key", "floor.yaml", "key: [address]", "kye: [address]"),
    Slip(
        "unknown key without a neighbour",
        "floor.yaml",
        "key: [address]",
        "zebra: 1, key: [address]",
    ),
    Slip("unknown section", "cors.yaml", "cors:", "cros:"),
    Slip("missing key", "floor.yaml", ", burst: 100", ""),
    Slip("missing version", "floor.yaml", "version: 1", ""),
    Slip(
        "empty value",
        "upstreams.yaml",
        "authorization: forward",
        "authorization:",
    ),
    Slip("number for text", "listeners.yaml", "min: \"1.2\"", "min: 1.2"),
    Slip(
        "text for list",
        "routes/accounts.yaml",
        "scopes: [\"accounts:read\"]",
        "scopes: accounts",
    ),
    Slip(
        "text for mapping",
        "upstreams.yaml",
        "timeouts: { connect: 1s, read: 15s, total: 30s }",
        "timeouts: 30s",
    ),
    Slip("number as key", "headers.yaml", "  api:", "  17: {}\n  api:"),
    Slip("anchor", "floor.yaml", "head: 16KiB", "head: &size 16KiB"),
    Slip("tag", "floor.yaml", "head: 16KiB", "head: !size 16KiB"),
    Slip(
        "merge key",
        "floor.yaml",
        "  limits:",
        "  <<: { headers: api }\n  limits:",
    ),
    Slip(
        "second document",
        "cors.yaml",
        "version: 1",
        "version: 1\n---\nversion: 1",
    ),
    Slip("name", "routes/identity.yaml", "  login:", "  Login:"),
    Slip("version", "floor.yaml", "version: 1", "version: 2"),
];

const VALUES: &[Slip] = &[
    Slip(
        "a content type with a wildcard",
        "routes/operations.yaml",
        "  core_health:\n",
        "  core_health:\n    compress: { over: 1KiB, types: [text/*] }\n",
    ),
    Slip("duration without unit", "floor.yaml", "head: 5s", "head: 5"),
    Slip("duration in m", "identity.yaml", "15min", "15m"),
    Slip("duration of zero", "floor.yaml", "head: 5s", "head: 0s"),
    Slip("duration too long", "upstreams.yaml", "total: 30s", "total: 1d"),
    Slip("size without unit", "floor.yaml", "body: 256KiB", "body: 262144"),
    Slip("size in KB", "floor.yaml", "body: 256KiB", "body: 256KB"),
    Slip("size too large", "floor.yaml", "body: 256KiB", "body: 1000MiB"),
    Slip("rate without period", "floor.yaml", "100/min", "100"),
    Slip("rate of zero", "floor.yaml", "100/min", "0/min"),
    Slip("number out of range", "floor.yaml", "burst: 100,", "burst: 0,"),
    Slip(
        "store without a word about its loss",
        "floor.yaml",
        "key: [address] }",
        "key: [address], count_in: store }",
    ),
    Slip(
        "loss of a store that is not asked",
        "floor.yaml",
        "key: [address] }",
        "key: [address], on_store_down: deny }",
    ),
    Slip(
        "burst of a century in the store",
        "floor.yaml",
        "limit: 100/min, burst: 100, key: [address] }",
        "limit: 1/d, burst: 100000, key: [address], count_in: store, on_store_down: deny }",
    ),
    Slip(
        "cost above the burst",
        "routes/accounts.yaml",
        "    scopes: [\"accounts:read\"]\n",
        "    scopes: [\"accounts:read\"]\n    cost: 101\n",
    ),
    Slip(
        "network of one machine",
        "floor.yaml",
        "[address]",
        "[address/128]",
    ),
    Slip("number as text", "floor.yaml", "burst: 100,", "burst: \"100\","),
    Slip("choice", "upstreams.yaml", "forward", "foward"),
    Slip(
        "boolean",
        "cors.yaml",
        "max_age: 10min",
        "max_age: 10min\n    credentials: yes",
    ),
    Slip("algorithm of a shared secret", "identity.yaml", "ES256", "HS256"),
    Slip(
        "keys of nobody",
        "identity.yaml",
        "keys: portico",
        "keys: protico",
    ),
    Slip(
        "keys outside their folder",
        "identity.yaml",
        "keys: portico",
        "keys: file:../partners.jwks.json",
    ),
    Slip(
        "method HEAD",
        "routes/identity.yaml",
        "method: GET",
        "method: HEAD",
    ),
    Slip("bind without port", "listeners.yaml", "0.0.0.0:443", "0.0.0.0"),
    Slip(
        "address bound twice",
        "listeners.yaml",
        "0.0.0.0:443",
        "0.0.0.0:80",
    ),
    Slip(
        "upstream by name",
        "upstreams.yaml",
        "unix:core-api.sock",
        "http://core:8000",
    ),
    Slip(
        "upstream outside its folder",
        "upstreams.yaml",
        "unix:core-api.sock",
        "unix:../core-api.sock",
    ),
    Slip(
        "host with scheme",
        "listeners.yaml",
        "[api.bank.example]",
        "[\"https://api.bank.example\"]",
    ),
    Slip(
        "host with wildcard",
        "listeners.yaml",
        "[api.bank.example]",
        "[\"*.bank.example\"]",
    ),
    Slip(
        "origin with path",
        "cors.yaml",
        "https://app.bank.example",
        "https://app.bank.example/",
    ),
    Slip(
        "header name",
        "headers.yaml",
        "remove: [Server",
        "remove: [X_Server",
    ),
    Slip(
        "header of the gateway",
        "headers.yaml",
        "X-Frame-Options: DENY",
        "Transfer-Encoding: chunked",
    ),
    Slip(
        "header value",
        "headers.yaml",
        "X-Frame-Options: DENY",
        "X-Frame-Options: \"a\\nb: c\"",
    ),
    Slip(
        "path",
        "routes/identity.yaml",
        "path: /api/v1/me",
        "path: /api/v1/../me",
    ),
    Slip(
        "path with wildcard",
        "routes/identity.yaml",
        "path: /api/v1/me",
        "path: /api/v1/*",
    ),
    Slip("rate key", "floor.yaml", "[address]", "[adress]"),
    Slip(
        "empty list",
        "listeners.yaml",
        "hosts: [api.bank.example]",
        "hosts: []",
    ),
    Slip(
        "networks",
        "floor.yaml",
        "version: 1\n",
        "version: 1\naddresses:\n  office: [203.0.113.1/24, office.example, \"::ffff:203.0.113.0/120\"]\n",
    ),
];

const TOGETHER: &[Slip] = &[
    Slip(
        "answers about a person kept for everyone",
        "routes/identity.yaml",
        "path: /api/v1/me }\n",
        "path: /api/v1/me }\n    cache: { for: 5s, key: public, largest: 64KiB }\n",
    ),
    Slip(
        "answers kept for nobody",
        "routes/operations.yaml",
        "  core_health:\n",
        "  core_health:\n    cache: { for: 5s, key: principal, largest: 64KiB }\n",
    ),
    Slip(
        "answers to POST kept",
        "routes/transfers.yaml",
        "    auth: customers\n    scopes: [\"transfers:write\"]",
        "    auth: customers\n    cache: { for: 5s, key: principal, largest: 64KiB }\n    scopes: [\"transfers:write\"]",
    ),
    Slip(
        "compressed secrets",
        "routes/identity.yaml",
        "path: /api/v1/me }\n",
        "path: /api/v1/me }\n    compress: { over: 1KiB, types: [application/json] }\n",
    ),
    Slip(
        "old answers that nobody keeps",
        "upstreams.yaml",
        "total: 30s }",
        "total: 30s }\n    breaker: { failures: 20, for: 5s, fallback: { status: 503, detail: back soon, stale_for: 1min } }",
    ),
    Slip(
        "document of another version",
        "core-api.openapi.json",
        "\"openapi\": \"3.1.0\"",
        "\"openapi\": \"3.0.3\"",
    ),
    Slip(
        "route that the document does not describe",
        "routes/documentation.yaml",
        "    openapi: none\n",
        "",
    ),
    Slip(
        "format that cannot be enforced",
        "core-api.openapi.json",
        "\"format\": \"email\"",
        "\"format\": \"mail\"",
    ),
    Slip(
        "schema that leads to itself",
        "core-api.openapi.json",
        "\"$ref\": \"#/components/schemas/NewTransfer\"",
        "\"$ref\": \"#/paths/~1api~1v1~1transfers/post/requestBody/content/application~1json/schema\"",
    ),
    Slip(
        "body too large to check",
        "routes/transfers.yaml",
        "limits: { body: 8KiB }",
        "limits: { body: 65KiB }",
    ),
    Slip(
        "document that is not there",
        "upstreams.yaml",
        "openapi: core-api.openapi.json",
        "openapi: core.openapi.json",
    ),
    Slip(
        "document elsewhere",
        "upstreams.yaml",
        "openapi: core-api.openapi.json",
        "openapi: ../docs/openapi.json",
    ),
    Slip(
        "no document where there is none",
        "routes/operations.yaml",
        "    serve: jwks\n",
        "    serve: jwks\n    openapi: none\n",
    ),
    Slip(
        "sunset before the deprecation",
        "routes/operations.yaml",
        "  core_health:\n",
        "  core_health:\n    deprecated: 2027-06-02\n    sunset: 2027-06-01\n",
    ),
    Slip(
        "sockets by POST",
        "routes/transfers.yaml",
        "    auth: customers\n    scopes: [\"transfers:write\"]",
        "    auth: customers\n    websocket: { idle_timeout: 1min, max_frame: 1KiB }\n    scopes: [\"transfers:write\"]",
    ),
    Slip(
        "ejecting the only address",
        "upstreams.yaml",
        "    authorization: forward",
        "    eject: { failures: 5, for: 10s }\n    authorization: forward",
    ),
    Slip(
        "asking about health faster than the answer may come",
        "upstreams.yaml",
        "    authorization: forward",
        "    health: { path: /health, every: 1s, timeout: 2s, failures: 3, successes: 2 }\n    authorization: forward",
    ),
    Slip(
        "the same address twice",
        "upstreams.yaml",
        "    authorization: forward",
        "    also_at: [unix:core-api.sock]\n    authorization: forward",
    ),
    Slip(
        "TLS without a word on who answers",
        "upstreams.yaml",
        "address: unix:core-api.sock",
        "address: https://core.internal:8443",
    ),
    Slip(
        "a name for a service that is an address",
        "upstreams.yaml",
        "address: unix:core-api.sock",
        "address: https://10.0.0.7:8443\n    tls: { min: \"1.3\", authority: core, server_name: 10.0.0.7 }",
    ),
    Slip(
        "one of two addresses in clear",
        "upstreams.yaml",
        "address: unix:core-api.sock",
        "address: https://10.0.0.7:8443\n    also_at: [http://127.0.0.1:8000]\n    tls: { min: \"1.3\", authority: core, server_name: core.internal }",
    ),
    Slip(
        "a budget that is no part of anything",
        "upstreams.yaml",
        "    authorization: forward",
        "    retries: { most: 1, budget: 100% }\n    authorization: forward",
    ),
    Slip(
        "same item twice",
        "routes/transfers.yaml",
        "[\"transfers:write\"]",
        "[\"a\", \"b\", \"a\"]",
    ),
    Slip(
        "scope with a space",
        "routes/transfers.yaml",
        "[\"transfers:write\"]",
        "[\"transfers:read transfers:write\"]",
    ),
    Slip("issuer", "identity.yaml", "issuer: https", "issuer: http"),
    Slip(
        "because that says nothing",
        "routes/operations.yaml",
        "because: public keys are there to be read",
        "because: \"-\"",
    ),
    Slip(
        "undefined upstream",
        "routes/identity.yaml",
        "upstream: core",
        "upstream: croe",
    ),
    Slip(
        "undefined provider",
        "routes/identity.yaml",
        "auth: customers",
        "auth: customer",
    ),
    Slip(
        "undefined profile",
        "routes/documentation.yaml",
        "headers: docs",
        "headers: doc",
    ),
    Slip(
        "undefined floor profile",
        "floor.yaml",
        "headers: api",
        "headers: apo",
    ),
    Slip(
        "undefined cors",
        "routes/identity.yaml",
        "cors: application",
        "cors: browser",
    ),
    Slip("no auth", "routes/identity.yaml", "    auth: customers\n", ""),
    Slip(
        "no because",
        "routes/operations.yaml",
        "    because: public keys are there to be read\n",
        "",
    ),
    Slip(
        "because without effect",
        "routes/accounts.yaml",
        "    auth: customers\n",
        "    auth: customers\n    because: we like it\n",
    ),
    Slip(
        "scopes without effect",
        "routes/operations.yaml",
        "    serve: jwks",
        "    scopes: []\n    serve: jwks",
    ),
    Slip("no scopes", "routes/identity.yaml", "    scopes: []\n", ""),
    Slip(
        "same route",
        "routes/transfers.yaml",
        "path: \"/api/v1/transfers/{id}\"",
        "path: \"/api/v1/accounts/{account}\"",
    ),
    Slip(
        "looser than the floor",
        "routes/identity.yaml",
        "{ body: 8KiB }",
        "{ body: 1MiB }",
    ),
    Slip(
        "longer than the upstream",
        "routes/operations.yaml",
        "total: 2s",
        "total: 40s",
    ),
    Slip(
        "timeouts of nothing",
        "routes/operations.yaml",
        "    serve: jwks",
        "    timeouts: { total: 1s }\n    serve: jwks",
    ),
    Slip("timeout order", "upstreams.yaml", "read: 15s", "read: 31s"),
    Slip("no target", "routes/operations.yaml", "    serve: jwks", ""),
    Slip(
        "two targets",
        "routes/operations.yaml",
        "    serve: jwks",
        "    serve: jwks\n    upstream: core",
    ),
    Slip(
        "subject of nobody",
        "routes/identity.yaml",
        "key: [address] }\n    cors",
        "key: [subject] }\n    cors",
    ),
    Slip(
        "body of a get",
        "routes/identity.yaml",
        "    scopes: []\n    cors",
        "    scopes: []\n    rate: { mine: { limit: 1/s, burst: 1, key: [body./x] } }\n    cors",
    ),
    Slip(
        "floor by subject",
        "floor.yaml",
        "[address]",
        "[address, subject]",
    ),
    Slip(
        "profile without a header of the floor",
        "headers.yaml",
        "      Cache-Control: no-cache\n",
        "",
    ),
    Slip(
        "set and removed",
        "headers.yaml",
        "remove: [Server",
        "remove: [Cache-Control, Server",
    ),
    Slip(
        "credentials for anyone",
        "cors.yaml",
        "origins: [https://app.bank.example]",
        "origins: [\"*\"]\n    credentials: true",
    ),
    Slip(
        "anyone and someone",
        "cors.yaml",
        "[https://app.bank.example]",
        "[\"*\", https://app.bank.example]",
    ),
    Slip(
        "cors without the method",
        "cors.yaml",
        "methods: [GET, POST, PATCH, DELETE]",
        "methods: [POST, PATCH, DELETE]",
    ),
    Slip(
        "limit defined twice",
        "routes/transfers.yaml",
        "      transfers: {",
        "      refreshes: {",
    ),
    Slip("provider called none", "identity.yaml", "  customers:", "  none:"),
    Slip(
        "network inside another",
        "floor.yaml",
        "version: 1\n",
        "version: 1\naddresses:\n  office: [203.0.113.7, 203.0.113.0/24]\n",
    ),
    Slip(
        "addresses that nothing uses",
        "floor.yaml",
        "version: 1\n",
        "version: 1\naddresses:\n  office: [203.0.113.0/24]\n",
    ),
    Slip(
        "body too large to count by",
        "routes/identity.yaml",
        "    limits: { body: 4KiB }\n",
        "",
    ),
    Slip(
        "header that a profile weakens",
        "headers.yaml",
        "        connect-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'\n      X-Content-Type-Options: nosniff\n      X-Frame-Options: DENY",
        "        connect-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'\n      X-Content-Type-Options: sniff\n      X-Frame-Options: SAMEORIGIN",
    ),
    Slip(
        "addresses that nothing defines",
        "floor.yaml",
        "  headers: api\n",
        "  headers: api\n  deny_from: [blocked]\n",
    ),
    Slip(
        "paths that contest a request",
        "routes/transfers.yaml",
        "path: \"/api/v1/transfers/{id}\"",
        "path: \"/api/v1/accounts/{id}/{what}/all\" }\n    auth: customers\n    scopes: []\n    upstream: core\n  other_transfer:\n    match: { method: POST, path: \"/api/v1/accounts/{id}/entries/{entry}\"",
    ),
    Slip(
        "claims that tokens of Portico do not write so",
        "identity.yaml",
        "keys: portico",
        "keys: portico\n    scopes_claim: roles\n    require_jti: false\n    require_cnf: true",
    ),
    Slip(
        "everybody may say which client it is",
        "listeners.yaml",
        "listeners:\n  public:\n",
        "addresses: { world: [0.0.0.0/0] }\nlisteners:\n  public:\n    trusted_proxies: { from: [world], client: proxy_protocol }\n",
    ),
    Slip(
        "locks that become shorter",
        "lockout.yaml",
        "[15min, 30min, 1h]",
        "[1h, 30min]",
    ),
    Slip(
        "more guesses than anybody should have",
        "lockout.yaml",
        "untrusted: 80",
        "untrusted: 81",
    ),
    Slip(
        "two issuers with the same keys",
        "identity.yaml",
        "identity:\n",
        "identity:\n  partners: { issuer: https://idp.example, audiences: [a], algorithms: [ES256], type: at+jwt, max_lifetime: 5min, leeway: 30s, keys: portico }\n",
    ),
];

const ENVIRONMENTS: &[Slip] = &[
    Slip(
        "overlay under another name",
        "environments/production.yaml",
        "environment: production",
        "environment: staging",
    ),
    Slip(
        "overlay of an unknown limit",
        "environments/development.yaml",
        "  refreshes:",
        "  refreshs:",
    ),
    Slip(
        "overlay of an unknown listener",
        "environments/development.yaml",
        "  public:",
        "  pubic:",
    ),
    Slip(
        "overlay with a base key",
        "environments/development.yaml",
        "hosts:",
        "floor: {}\nhosts:",
    ),
    Slip(
        "relaxed without reason",
        "environments/development.yaml",
        "    because: load tests come from one address\n",
        "",
    ),
    Slip(
        "tightened with a reason",
        "environments/development.yaml",
        "limit: 6000000/min\n    burst: 1000000",
        "limit: 1/min\n    burst: 1",
    ),
    Slip(
        "failure limit relaxed",
        "environments/development.yaml",
        "  login-attempts:",
        "  login-failures:",
    ),
    Slip(
        "relaxed in production",
        "environments/production.yaml",
        "environment: production",
        "environment: production\nrates:\n  per-address: { limit: 101/min, burst: 100, because: we are busy }",
    ),
    Slip(
        "loopback host in production",
        "environments/production.yaml",
        "environment: production",
        "environment: production\nhosts: [localhost, api.bank.example]",
    ),
    Slip(
        "origin in clear in production",
        "cors.yaml",
        "[https://app",
        "[http://app",
    ),
    Slip(
        "guesses of an address in production",
        "environments/production.yaml",
        "environment: production",
        "environment: production\nlockout:\n  address: { failures: 30, names: 30 }\n  because: we are busy",
    ),
    Slip(
        "addresses in production",
        "environments/production.yaml",
        "environment: production",
        "environment: production\naddresses:\n  office: [127.0.0.1]",
    ),
];

/// A whole section of waivers, in the place of the version line.
const WAIVERS: &[Slip] = &[
    Slip(
        "waiver of what cannot be waived",
        "floor.yaml",
        "version: 1",
        "version: 1\nwaivers:\n  door: { rule: P3002, at: routes.me.auth, because: we are busy, until: 2027-01-31 }",
    ),
    Slip(
        "waiver of a waiver",
        "floor.yaml",
        "version: 1",
        "version: 1\nwaivers:\n  old: { rule: A1601, at: waivers.old.until, because: we are busy, until: 2027-01-31 }",
    ),
    Slip(
        "waiver of an unknown rule",
        "floor.yaml",
        "version: 1",
        "version: 1\nwaivers:\n  typo: { rule: a1301, at: floor.rate, because: we are busy, until: 2027-01-31 }",
    ),
    Slip(
        "waiver of no rule at all",
        "floor.yaml",
        "version: 1",
        "version: 1\nwaivers:\n  typo: { rule: everything, at: floor, because: we are busy, until: 2027-01-31 }",
    ),
    Slip(
        "waiver of a size that is checked before any route",
        "floor.yaml",
        "version: 1",
        "version: 1\nwaivers:\n  head: { rule: P3006, at: routes.me.limits.head, because: long cookies, until: 2027-01-31 }",
    ),
    Slip(
        "waiver without an end",
        "floor.yaml",
        "version: 1",
        "version: 1\nwaivers:\n  endless: { rule: A1301, at: floor.rate, because: we are busy }",
    ),
    Slip(
        "waiver without a reason",
        "floor.yaml",
        "version: 1",
        "version: 1\nwaivers:\n  mute: { rule: A1301, at: floor.rate, until: 2027-01-31 }",
    ),
    Slip(
        "waiver whose reason says nothing",
        "floor.yaml",
        "version: 1",
        "version: 1\nwaivers:\n  mute: { rule: A1301, at: floor.rate, because: \"-\", until: 2027-01-31 }",
    ),
    Slip(
        "waiver of no key",
        "floor.yaml",
        "version: 1",
        "version: 1\nwaivers:\n  lost: { rule: A1301, at: the floor, because: we are busy, until: 2027-01-31 }",
    ),
    Slip(
        "waiver until a day that there is not",
        "floor.yaml",
        "version: 1",
        "version: 1\nwaivers:\n  odd: { rule: A1301, at: floor.rate, because: we are busy, until: 2027-02-29 }",
    ),
    Slip(
        "waiver until a year",
        "floor.yaml",
        "version: 1",
        "version: 1\nwaivers:\n  vague: { rule: A1301, at: floor.rate, because: we are busy, until: 2027 }",
    ),
    Slip(
        "waiver until a list",
        "floor.yaml",
        "version: 1",
        "version: 1\nwaivers:\n  vague: { rule: A1301, at: floor.rate, because: we are busy, until: [2027-01-31] }",
    ),
    Slip(
        "waiver that waives nothing",
        "floor.yaml",
        "version: 1",
        "version: 1\nwaivers:\n  idle: { rule: P3006, at: routes.logout.limits.body, because: we were busy, until: 2027-01-31 }",
    ),
    Slip(
        "misspelt key of a waiver",
        "floor.yaml",
        "version: 1",
        "version: 1\nwaivers:\n  typo: { rule: A1301, at: floor.rate, becuase: we are busy, until: 2027-01-31 }",
    ),
];

fn told(slips: &[Slip]) -> (String, BTreeSet<&'static str>) {
    let (mut text, mut codes) = (String::new(), BTreeSet::new());
    for Slip(name, file, old, new) in slips {
        let files = shipped_with(file, old, new);
        let found = refused(&files, IN);
        codes.extend(found.iter().map(|finding| finding.code));
        let _ = writeln!(text, "## {name}\n{}", render::human(&found, &files));
    }
    (text, codes)
}

#[test]
fn messages_about_the_text() {
    insta::assert_snapshot!(told(TEXT).0);
}

#[test]
fn messages_about_values() {
    insta::assert_snapshot!(told(VALUES).0);
}

#[test]
fn messages_about_how_the_parts_fit() {
    insta::assert_snapshot!(told(TOGETHER).0);
}

#[test]
fn messages_about_environments() {
    insta::assert_snapshot!(told(ENVIRONMENTS).0);
}

#[test]
fn an_overlay_that_no_environment_would_apply_is_refused() {
    let mut told = String::new();
    for name in [
        "prodution.yaml",
        "Production.yaml",
        "production.old.yaml",
        "old/production.yaml",
        "staging.yaml",
    ] {
        let mut files = shipped();
        let overlay = "version: 1\nenvironment: production\n";
        files.push(SourceFile::new(format!("environments/{name}"), overlay));
        let found = refused(&files, IN);
        assert_eq!(found.len(), 1, "{name}");
        let _ = writeln!(told, "## {name}\n{}", render::human(&found, &files));
    }
    insta::assert_snapshot!(told);
}

#[test]
fn messages_about_waivers() {
    insta::assert_snapshot!(told(WAIVERS).0);
}

/// What is said on a day about a waiver until the last of January.
fn due(today: &str) -> (Vec<SourceFile>, Vec<Diagnostic>) {
    let waiver = "version: 1\nwaivers:\n  busy: { rule: A1301, at: floor.rate, because: we are busy, until: \"2027-01-31\" }";
    let files = shipped_with("floor.yaml", "version: 1", waiver);
    let plan = compile(&files, IN).expect("compiles on every day");
    let found = plan.due_waivers(Date::parse(today).expect("a date"));
    (files, found)
}

#[test]
fn messages_about_the_end_of_waivers() {
    let mut text = String::new();
    for today in [
        "2027-01-16",
        "2027-01-17",
        "2027-01-30",
        "2027-01-31",
        "2027-02-01",
    ] {
        let (files, found) = due(today);
        let _ = writeln!(text, "## on {today}\n{}", render::human(&found, &files));
    }
    insta::assert_snapshot!(text);
}

/// A route that was to be gone on the first of June.
fn past_sunset(today: &str) -> (Vec<SourceFile>, Vec<Diagnostic>) {
    let routes = "routes:\n  old:\n    match: { method: GET, path: /old }\n    auth: none\n    because: to see who notices\n    deprecated: 2026-12-01\n    sunset: 2027-06-01\n    upstream: core\n";
    let files = undescribed_with("routes/operations.yaml", "routes:\n", routes);
    let plan = compile(&files, IN).expect("compiles on every day");
    let found = plan.due_sunsets(Date::parse(today).expect("a date"));
    (files, found)
}

#[test]
fn messages_about_routes_past_their_sunset() {
    let mut text = String::new();
    for today in ["2027-05-31", "2027-06-01"] {
        let (files, found) = past_sunset(today);
        let _ = writeln!(text, "## on {today}\n{}", render::human(&found, &files));
    }
    insta::assert_snapshot!(text);
}

/// The bundles that no single slip makes.
fn other_bundles() -> Vec<(&'static str, Vec<SourceFile>, &'static str)> {
    let with = |name: &str, text: String| {
        let mut files = shipped();
        files.push(SourceFile::new(name, text));
        files
    };
    let without = |name: &str| {
        shipped()
            .into_iter()
            .filter(|file| file.name != name)
            .collect::<Vec<_>>()
    };
    vec![
        ("no files", Vec::new(), IN),
        ("empty file", with("empty.yaml", String::new()), IN),
        ("too large", with("large.yaml", "#".repeat(256 * 1024 + 1)), IN),
        ("no floor", without("floor.yaml"), IN),
        ("unused", with("more.yaml", "version: 1\nupstreams:\n  spare: { address: unix:spare.sock, authorization: strip, timeouts: { connect: 1s, read: 1s, total: 1s } }\n".to_owned()), IN),
        ("defined in two files", with("zz.yaml", "version: 1\nhosts: [b.example]\nidentity:\n  customers: {}\n".to_owned()), IN),
        ("not UTF-8", vec![SourceFile::from_bytes("a.yaml", b"version: 1\n# caf\xe9\n")], IN),
        ("hidden character", with("zz.yaml", "version: 1 # \u{202e}reviewed\n".to_owned()), IN),
        ("wrong name", vec![SourceFile::refused("floor.yml", Refusal::WrongName)], IN),
        ("not a file", vec![SourceFile::refused("floor.yaml", Refusal::NotAFile("a pipe"))], IN),
        ("not the policy folder", vec![SourceFile::refused("", Refusal::TooMany(1_000))], IN),
        ("more than can be told", vec![SourceFile::new("a.yaml", (0..300).map(|key| format!("k{key}: 1\n")).collect::<String>())], IN),
        ("paths that meet in too many ways", with("zz.yaml", intertwined()), IN),
        ("unknown environment", shipped(), "developement"),
        ("upstream in clear", shipped_with("upstreams.yaml", "unix:core-api.sock", "http://10.0.0.7:8000"), IN),
    ]
}

/// Each of the one half meets each of the other, and no two ever end together.
fn intertwined() -> String {
    let route = |name: &str, path: &str, number: usize| {
        format!(
            "  {name}{number}: {{ match: {{ method: GET, path: \"{path}\" }}, auth: customers, scopes: [], upstream: core }}\n"
        )
    };
    let routes = (0..500).flat_map(|number| {
        [
            route("a", &format!("/q/{{x}}/s{number}/{{y}}/e"), number),
            route("b", &format!("/q/S/{{p}}/t{number}/f"), number),
        ]
    });
    format!("version: 1\nroutes:\n{}", routes.collect::<String>())
}

#[test]
fn messages_about_whole_bundles() {
    let mut text = String::new();
    for (name, files, environment) in other_bundles() {
        let found = refused(&files, environment);
        // Of a long list, its end.
        let end = if found.len() > 20 { found.len() - 2 } else { 0 };
        let _ = writeln!(text, "## {name}\n{}", render::human(&found[end..], &files));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn every_code_has_a_case_here() {
    let source = include_str!("../../src/diagnostic.rs");
    let defined: BTreeSet<&str> = source
        .split('"')
        // P5…: messages about cases are in `cases.rs`.
        .filter(|word| word.len() == 5 && word.starts_with('P') && !word.starts_with("P5"))
        .collect();
    let mut shown = BTreeSet::new();
    for slips in [TEXT, VALUES, TOGETHER, ENVIRONMENTS, WAIVERS] {
        shown.extend(told(slips).1);
    }
    for (_, files, environment) in other_bundles() {
        shown.extend(refused(&files, environment).iter().map(|finding| finding.code));
    }
    for today in ["2027-01-31", "2027-02-01"] {
        shown.extend(due(today).1.iter().map(|finding| finding.code));
    }
    shown.extend(past_sunset("2027-06-01").1.iter().map(|finding| finding.code));
    assert_eq!(shown, defined);
}

#[test]
fn every_finding_has_a_place_a_reason_and_a_fix_or_is_not_yaml() {
    for Slip(name, file, old, new) in [TEXT, VALUES, TOGETHER, ENVIRONMENTS, WAIVERS].concat() {
        let found = refused(&shipped_with(file, old, new), IN);
        for finding in &found {
            assert!(
                finding.line > 0 && finding.column > 0 && !finding.file.is_empty(),
                "{name}: {finding:?}"
            );
            assert!(!finding.why.is_empty(), "{name}: {finding:?}");
            assert!(
                finding.fix.is_some() || finding.code == "P1002",
                "{name}: {finding:?}"
            );
        }
        let names = |finding: &Diagnostic| {
            finding.file == *file
                || finding
                    .related
                    .as_ref()
                    .is_some_and(|related| related.file == *file)
        };
        assert!(found.iter().any(names), "{name}: {found:?}");
        // One cause may show in several places, but it is one cause.
        let codes: BTreeSet<&str> = found.iter().map(|finding| finding.code).collect();
        assert!(codes.len() <= 2, "{name}: {found:#?}");
    }
}

/// A key misspelt in each section: found in its exact place, with the word that was meant.
#[test]
fn a_typo_in_every_section_is_found_with_its_place_and_its_word() {
    let typos = [
        ("listeners.yaml", "redirect: https", "redirekt: https", "redirect"),
        ("listeners.yaml", "certificate:", "certifcate:", "certificate"),
        ("listeners.yaml", "hosts:", "host:", "hosts"),
        ("upstreams.yaml", "address:", "adress:", "address"),
        ("upstreams.yaml", "connect:", "conect:", "connect"),
        ("identity.yaml", "max_lifetime:", "maxlifetime:", "max_lifetime"),
        ("headers.yaml", "remove:", "removes:", "remove"),
        ("cors.yaml", "origins:", "origin:", "origins"),
        ("floor.yaml", "target:", "targte:", "target"),
        ("floor.yaml", "timeouts:", "timeout:", "timeouts"),
        ("floor.yaml", "burst:", "brust:", "burst"),
        ("routes/identity.yaml", "because:", "becuase:", "because"),
        ("routes/identity.yaml", "match:", "macth:", "match"),
        ("routes/identity.yaml", "method:", "methid:", "method"),
        ("routes/identity.yaml", "count:", "counts:", "count"),
        ("routes/accounts.yaml", "scopes:", "scope:", "scopes"),
        ("routes/transfers.yaml", "upstream:", "upstreams:", "upstream"),
        ("environments/development.yaml", "rates:", "rate:", "rates"),
        ("environments/development.yaml", "because:", "becuse:", "because"),
        (
            "environments/test.yaml",
            "environment:",
            "enviroment:",
            "environment",
        ),
        ("environments/production.yaml", "version:", "verison:", "version"),
    ];
    for (file, old, new, meant) in typos {
        let files = shipped_with(file, old, new);
        let text = &files
            .iter()
            .find(|candidate| candidate.name == file)
            .expect("shipped")
            .text;
        let (before, _) = text.split_once(new).expect("just written");
        let line = before.lines().count().max(1) + usize::from(before.ends_with('\n'));
        let column = before.len() - before.rfind('\n').map_or(0, |end| end + 1) + 1;
        let line = if before.is_empty() { 1 } else { line };
        let found = refused(&files, IN);
        let unknown = found
            .iter()
            .find(|finding| finding.code == "P1004")
            .expect("an unknown key");
        assert_eq!(
            (
                unknown.file.as_str(),
                unknown.line as usize,
                unknown.column as usize
            ),
            (file, line, column)
        );
        assert_eq!(
            unknown.fix.as_deref(),
            Some(format!("did you mean `{meant}`?").as_str()),
            "{file} {new}"
        );
        assert_eq!(unknown.length as usize, new.find(':').expect("a key"));
    }
}

#[test]
fn slips_in_several_files_are_told_in_one_run() {
    let mut files = shipped();
    for (name, old, new) in [
        (
            "listeners.yaml",
            "hosts: [api.bank.example]",
            "hosts: [api.bank.example",
        ),
        ("floor.yaml", "16KiB", "16KB"),
        ("floor.yaml", "burst:", "brust:"),
        ("routes/identity.yaml", "becuase", "becuase"),
        ("routes/transfers.yaml", "auth: customers", "auht: customers"),
        ("environments/development.yaml", "600000/h", "600000"),
    ] {
        let file = files.iter_mut().find(|file| file.name == name).expect("shipped");
        file.text = file.text.replacen(old, new, 1);
    }
    let found = refused(&files, IN);
    let places: Vec<String> = found
        .iter()
        .map(|finding| format!("{}:{} {}", finding.file, finding.line, finding.code))
        .collect();
    insta::assert_snapshot!(places.join("\n"));
}

#[test]
fn a_folder_that_is_no_policy_folder_is_one_finding_in_every_environment() {
    for environment in ["development", "production"] {
        let found = refused(&[SourceFile::refused("", Refusal::TooMany(1_000))], environment);
        assert_eq!(found.len(), 1, "{found:#?}");
    }
}

#[test]
fn a_typo_in_a_section_name_does_not_flood() {
    let files = shipped_with("upstreams.yaml", "upstreams:", "upsteams:");
    let found = refused(&files, IN);
    assert_eq!(found.len(), 1, "{found:#?}");
}

#[test]
fn every_duplicate_is_told_and_none_can_win() {
    let text = "version: 1\nhosts: [a.example]\nhosts: [b.example]\nroutes: {}\nroutes: {}\n";
    let files = [SourceFile::new("a.yaml", text)];
    let lines: Vec<u32> = refused(&files, IN)
        .iter()
        .filter(|finding| finding.code == "P1003")
        .map(|finding| finding.line)
        .collect();
    assert_eq!(lines, [3, 5]);
}

#[test]
fn text_of_a_policy_cannot_drive_a_terminal() {
    let text = "version: 1\n\"\u{1b}[31mred\": 1\n".to_owned();
    let files = [SourceFile::new("a.yaml", text)];
    let told = render::human(&refused(&files, IN), &files);
    assert!(!told.contains('\u{1b}'), "{told}");
}

#[test]
fn json_has_the_same_findings() {
    let files = shipped_with("floor.yaml", "key: [address]", "kye: [address]");
    insta::assert_snapshot!(render::json(&refused(&files, IN)[..1]));
}
