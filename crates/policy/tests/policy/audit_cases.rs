//! One case for each rule of the audit, and one beside it that is just good enough.

use crate::world::{shipped, undescribed};
use policy::{Diagnostic, SourceFile, compile};

const CSP: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What one edit of a shipped file shows: the rule, the file, what is replaced, by what, the key where the rule finds
/// it; and by what else, which is just good enough.
struct Case(
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

/// Rules about headers.
const HEADERS: [Case; 34] = [
    Case(
        "A1001",
        "headers.yaml",
        "      Content-Security-Policy: default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\n",
        "",
        "headers.api.set.Content-Security-Policy",
        "      Content-Security-Policy: default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\n",
    ),
    Case(
        "A1002",
        "headers.yaml",
        "script-src 'self';",
        "script-src 'self' 'unsafe-inline';",
        "headers.docs.set.Content-Security-Policy",
        "script-src 'self' 'unsafe-inline' 'sha256-abc';",
    ),
    Case(
        "A1002",
        "headers.yaml",
        "script-src 'self';",
        "script-src https:;",
        "headers.docs.set.Content-Security-Policy",
        "script-src https://cdn.bank.example;",
    ),
    Case(
        "A1002",
        "headers.yaml",
        "script-src 'self';",
        "script-src 'nonce-abc';",
        "headers.docs.set.Content-Security-Policy",
        "script-src 'sha256-abc';",
    ),
    Case(
        "A1002",
        "headers.yaml",
        "default-src 'none'; script-src",
        "script-src",
        "headers.docs.set.Content-Security-Policy",
        "object-src 'none'; script-src",
    ),
    Case(
        "A1003",
        "headers.yaml",
        "script-src 'self';",
        "script-src 'self' 'unsafe-eval';",
        "headers.docs.set.Content-Security-Policy",
        "script-src 'self' 'wasm-unsafe-eval';",
    ),
    Case(
        "A1004",
        "headers.yaml",
        "img-src 'self' data:;",
        "img-src http://images.bank.example;",
        "headers.docs.set.Content-Security-Policy",
        "img-src https://images.bank.example;",
    ),
    Case(
        "A1005",
        "headers.yaml",
        "; frame-ancestors 'none'",
        "",
        "headers.api.set.Content-Security-Policy",
        "; frame-ancestors 'self'",
    ),
    Case(
        "A1005",
        "headers.yaml",
        "frame-ancestors 'none'",
        "frame-ancestors https://*",
        "headers.api.set.Content-Security-Policy",
        "frame-ancestors https://bank.example",
    ),
    Case(
        "A1006",
        "headers.yaml",
        "base-uri 'none'; ",
        "",
        "headers.api.set.Content-Security-Policy",
        "base-uri 'self'; ",
    ),
    Case(
        "A1007",
        "headers.yaml",
        "form-action 'none'; ",
        "",
        "headers.api.set.Content-Security-Policy",
        "form-action 'self'; ",
    ),
    Case(
        "A1008",
        "headers.yaml",
        CSP,
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; Base-Uri *",
        "headers.api.set.Content-Security-Policy",
        CSP,
    ),
    Case(
        "A1009",
        "headers.yaml",
        CSP,
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "headers.api.set.Content-Security-Policy",
        "default-src 'none'; style-src 'unsafe-inline' 'sha256-abc'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    Case(
        "A1010",
        "headers.yaml",
        "max-age=63072000; includeSubDomains",
        "includeSubDomains",
        "headers.api.set.Strict-Transport-Security",
        "includeSubDomains; max-age=31536000",
    ),
    Case(
        "A1011",
        "headers.yaml",
        "max-age=63072000",
        "max-age=31535999",
        "headers.api.set.Strict-Transport-Security",
        "max-age=31536000",
    ),
    Case(
        "A1012",
        "headers.yaml",
        "; includeSubDomains",
        "",
        "headers.api.set.Strict-Transport-Security",
        "; INCLUDESUBDOMAINS; preload",
    ),
    Case(
        "A1013",
        "headers.yaml",
        "Options: nosniff",
        "Options: sniff",
        "headers.api.set.X-Content-Type-Options",
        "Options: NoSniff",
    ),
    Case(
        "A1014",
        "headers.yaml",
        "Options: DENY",
        "Options: ALLOW-FROM https://a.example",
        "headers.api.set.X-Frame-Options",
        "Options: SAMEORIGIN",
    ),
    Case(
        "A1015",
        "headers.yaml",
        "Policy: no-referrer",
        "Policy: strict-origin, unsafe-url",
        "headers.api.set.Referrer-Policy",
        "Policy: unsafe-url, strict-origin",
    ),
    Case(
        "A1016",
        "headers.yaml",
        "geolocation=()",
        "geolocation=*",
        "headers.api.set.Permissions-Policy",
        "geolocation=(self)",
    ),
    Case(
        "A1017",
        "headers.yaml",
        "Opener-Policy: same-origin",
        "Opener-Policy: unsafe-none",
        "headers.api.set.Cross-Origin-Opener-Policy",
        "Opener-Policy: same-origin-allow-popups",
    ),
    Case(
        "A1017",
        "headers.yaml",
        "Embedder-Policy: require-corp",
        "Embedder-Policy: unsafe-none",
        "headers.api.set.Cross-Origin-Embedder-Policy",
        "Embedder-Policy: credentialless",
    ),
    Case(
        "A1017",
        "headers.yaml",
        "Resource-Policy: same-origin",
        "Resource-Policy: cross-origin",
        "headers.api.set.Cross-Origin-Resource-Policy",
        "Resource-Policy: same-site",
    ),
    Case(
        "A1018",
        "headers.yaml",
        "Domain-Policies: none",
        "Domain-Policies: master-only",
        "headers.api.set.X-Permitted-Cross-Domain-Policies",
        "Domain-Policies: None",
    ),
    Case(
        "A1018",
        "headers.yaml",
        "Prefetch-Control: \"off\"",
        "Prefetch-Control: \"on\"",
        "headers.api.set.X-DNS-Prefetch-Control",
        "Prefetch-Control: \"off\"",
    ),
    Case(
        "A1019",
        "headers.yaml",
        "remove: [Server, X-Powered-By]",
        "remove: [Server]",
        "headers.api.remove",
        "remove: [x-powered-by, server]",
    ),
    Case(
        "A1019",
        "headers.yaml",
        "remove: [Server, X-Powered-By]",
        "remove: [X-Powered-By]",
        "headers.api.remove",
        "remove: [Server, X-Powered-By]",
    ),
    Case(
        "A1020",
        "headers.yaml",
        "Cache-Control: no-cache",
        "Cache-Control: no-cache\n      X-XSS-Protection: 1; mode=block",
        "headers.docs.set.X-XSS-Protection",
        "Cache-Control: no-cache\n      X-XSS-Protection: \"0\"",
    ),
    Case(
        "A1021",
        "headers.yaml",
        "Cache-Control: no-store",
        "Cache-Control: no-cache, private",
        "headers.api.set.Cache-Control",
        "Cache-Control: no-store, max-age=0",
    ),
    Case(
        "A1010",
        "headers.yaml",
        "max-age=63072000; includeSubDomains",
        "max-age=0; includeSubDomains",
        "headers.api.set.Strict-Transport-Security",
        "max-age=1; includeSubDomains",
    ),
    Case(
        "A1010",
        "headers.yaml",
        "max-age=63072000; includeSubDomains",
        "max-age=63072000; includeSubDomains; max-age=0",
        "headers.api.set.Strict-Transport-Security",
        "max-age=63072000; includeSubDomains; preload",
    ),
    Case(
        "A1015",
        "headers.yaml",
        "Policy: no-referrer",
        "Policy: later",
        "headers.api.set.Referrer-Policy",
        "Policy: no-referrer, later",
    ),
    Case(
        "A1017",
        "headers.yaml",
        "Opener-Policy: same-origin",
        "Opener-Policy: Same-Origin",
        "headers.api.set.Cross-Origin-Opener-Policy",
        "Opener-Policy: same-origin; report-to=\"a\"",
    ),
    Case(
        "A1022",
        "headers.yaml",
        "default-src 'none'; base-uri",
        "default-src none; base-uri",
        "headers.api.set.Content-Security-Policy",
        "default-src none.example; base-uri",
    ),
];

/// Rules about other single values.
const VALUES: [Case; 73] = [
    Case(
        "A1101",
        "listeners.yaml",
        "min: \"1.2\"",
        "min: \"1.2\"",
        "listeners.public.https.tls.min",
        "min: \"1.3\"",
    ),
    Case(
        "A1102",
        "upstreams.yaml",
        "unix:core-api.sock",
        "http://10.0.0.7:8000",
        "upstreams.core.address",
        "http://127.0.0.1:8000",
    ),
    Case(
        "A1103",
        "upstreams.yaml",
        "address: unix:core-api.sock",
        "address: http://10.0.0.7:8000",
        "upstreams.core.authorization",
        "address: http://[::1]:8000",
    ),
    Case(
        "A1821",
        "upstreams.yaml",
        "    address: unix:core-api.sock",
        "    address: https://10.0.0.7:8443\n    tls: { min: \"1.3\", authority: core, server_name: core.internal }",
        "upstreams.core.tls",
        "    address: https://10.0.0.7:8443\n    tls: { min: \"1.3\", authority: core, server_name: core.internal, certificate: gateway }",
    ),
    Case(
        "A1822",
        "upstreams.yaml",
        "    address: unix:core-api.sock",
        "    address: https://10.0.0.7:8443\n    tls: { min: \"1.2\", authority: core, server_name: core.internal, certificate: gateway }",
        "upstreams.core.tls.min",
        "    address: https://10.0.0.7:8443\n    tls: { min: \"1.3\", authority: core, server_name: core.internal, certificate: gateway }",
    ),
    Case(
        "A1841",
        "listeners.yaml",
        "listeners:\n  public:\n",
        "addresses: { balancers: [203.0.112.0/23] }\nlisteners:\n  public:\n    trusted_proxies: { from: [balancers], client: proxy_protocol }\n",
        "listeners.public.trusted_proxies.from",
        "addresses: { balancers: [203.0.113.0/24] }\nlisteners:\n  public:\n    trusted_proxies: { from: [balancers], client: proxy_protocol }\n",
    ),
    Case(
        "A1850",
        "lockout.yaml",
        "after: 5, steps",
        "after: 11, steps",
        "lockout.name.after",
        "after: 10, steps",
    ),
    Case(
        "A1850",
        "lockout.yaml",
        "[15min, 30min, 1h]",
        "[14min, 30min, 1h]",
        "lockout.name.steps",
        "[15min, 1h]",
    ),
    Case(
        "A1851",
        "lockout.yaml",
        "failures: 20",
        "failures: 101",
        "lockout.address.failures",
        "failures: 100",
    ),
    Case(
        "A1851",
        "lockout.yaml",
        "names: 10",
        "names: 51",
        "lockout.address.names",
        "names: 50",
    ),
    Case(
        "A1201",
        "identity.yaml",
        "max_lifetime: 15min",
        "max_lifetime: 61min",
        "identity.customers.max_lifetime",
        "max_lifetime: 60min",
    ),
    Case(
        "A1202",
        "identity.yaml",
        "leeway: 30s",
        "leeway: 61s",
        "identity.customers.leeway",
        "leeway: 60s",
    ),
    Case(
        "A1831",
        "identity.yaml",
        "keys: portico",
        "keys: file:idp.jwks.json\n    require_jti: false",
        "identity.customers.require_jti",
        "keys: file:idp.jwks.json",
    ),
    Case(
        "A1203",
        "identity.yaml",
        "[core-api]",
        "[core-api, cards]",
        "identity.customers.audiences",
        "[cards]",
    ),
    Case(
        "A1204",
        "identity.yaml",
        "[core-api]",
        "[\"https://api.bank.example\"]",
        "identity.customers.audiences",
        "[\"https://api.bank.example/core\"]",
    ),
    Case(
        "A1204",
        "identity.yaml",
        "[core-api]",
        "[account]",
        "identity.customers.audiences",
        "[accounts-api]",
    ),
    Case(
        "A1205",
        "identity.yaml",
        "type: at+jwt",
        "type: JWT",
        "identity.customers.type",
        "type: application/at+jwt",
    ),
    Case(
        "A1207",
        "identity.yaml",
        "keys: portico",
        "keys: { url: \"https://id.bank.example/jwks.json\", refresh: 5min, stale_for: 1h, addresses: [10.0.0.0/8] }",
        "identity.customers.keys.addresses",
        "keys: { url: \"https://id.bank.example/jwks.json\", refresh: 5min, stale_for: 1h, addresses: [10.0.4.0/24] }",
    ),
    Case(
        "A1207",
        "identity.yaml",
        "keys: portico",
        "keys: { url: \"https://id.bank.example/jwks.json\", refresh: 5min, stale_for: 1h, addresses: [169.254.169.254] }",
        "identity.customers.keys.addresses",
        "keys: { url: \"https://id.bank.example/jwks.json\", refresh: 5min, stale_for: 1h, addresses: [169.254.169.253] }",
    ),
    Case(
        "A1208",
        "identity.yaml",
        "keys: portico",
        "keys: { url: \"https://id.bank.example/jwks.json\", refresh: 5min, stale_for: 25h }",
        "identity.customers.keys.stale_for",
        "keys: { url: \"https://id.bank.example/jwks.json\", refresh: 5min, stale_for: 24h }",
    ),
    Case(
        "A1301",
        "floor.yaml",
        "limit: 100/min",
        "limit: 101/s",
        "floor.rate.per-address.limit",
        "limit: 100/s",
    ),
    Case(
        "A1302",
        "floor.yaml",
        "burst: 100,",
        "burst: 1001,",
        "floor.rate.per-address.burst",
        "burst: 1000,",
    ),
    Case(
        "A1302",
        "floor.yaml",
        "{ limit: 100/min, burst: 100,",
        "{ limit: 1/s, burst: 601,",
        "floor.rate.per-address.burst",
        "{ limit: 1/s, burst: 600,",
    ),
    Case(
        "A1301",
        "floor.yaml",
        "key: [address] }",
        "key: [address], count: failures }",
        "floor.rate",
        "key: [address], count: requests }",
    ),
    Case(
        "A1303",
        "routes/documentation.yaml",
        "{ method: GET, path: /openapi.json }",
        "{ method: POST, path: /openapi.json }",
        "routes.openapi.rate",
        "{ method: POST, path: /openapi.json }\n    rate: { drafts: { limit: 3/min, burst: 3, key: [address] } }",
    ),
    Case(
        "A1304",
        "routes/identity.yaml",
        ", count: failures",
        "",
        "routes.login.rate",
        ", count: failures",
    ),
    Case(
        "A1305",
        "routes/identity.yaml",
        "login-failures: { limit: 5/min",
        "login-failures: { limit: 11/min",
        "routes.login.rate.login-failures.limit",
        "login-failures: { limit: 10/min",
    ),
    Case(
        "A1305",
        "routes/identity.yaml",
        "limit: 5/min, burst: 5,",
        "limit: 5/min, burst: 11,",
        "routes.login.rate.login-failures.limit",
        "limit: 20/h, burst: 10,",
    ),
    Case(
        "A1306",
        "floor.yaml",
        "body: 256KiB",
        "body: 1025KiB",
        "floor.limits.body",
        "body: 1MiB",
    ),
    Case(
        "A1307",
        "routes/identity.yaml",
        "limits: { body: 4KiB }\n    rate:\n      refreshes",
        "limits: { body: 65KiB }\n    rate:\n      refreshes",
        "routes.refresh.limits.body",
        "limits: { body: 64KiB }\n    rate:\n      refreshes",
    ),
    Case(
        "A1308",
        "floor.yaml",
        "head: 5s",
        "head: 21s",
        "floor.timeouts.head",
        "head: 20s",
    ),
    Case(
        "A1308",
        "floor.yaml",
        "body: 15s",
        "body: 61s",
        "floor.timeouts.body",
        "body: 60s",
    ),
    Case(
        "A1309",
        "upstreams.yaml",
        "total: 30s",
        "total: 61s",
        "upstreams.core.timeouts.total",
        "total: 1min",
    ),
    Case(
        "A1301",
        "floor.yaml",
        "key: [address] }",
        "key: [address], mode: shadow }",
        "floor.rate",
        "key: [address], mode: enforce }",
    ),
    Case(
        "A1304",
        "routes/identity.yaml",
        ", count: failures",
        ", count: failures, mode: shadow",
        "routes.login.rate",
        ", count: failures, mode: enforce",
    ),
    Case(
        "A1312",
        "floor.yaml",
        "key: [address] }",
        "key: [address], count_in: store, on_store_down: allow }",
        "floor.rate.per-address.on_store_down",
        "key: [address], count_in: store, on_store_down: local }",
    ),
    Case(
        "A1313",
        "floor.yaml",
        "key: [address] }",
        "key: [address], mode: shadow }",
        "floor.rate.per-address.mode",
        "key: [address], mode: enforce }",
    ),
    Case(
        "A1401",
        "routes/transfers.yaml",
        "scopes: [\"transfers:write\"]",
        "scopes: []",
        "routes.create_transfer.scopes",
        "scopes: [\"money:move\"]",
    ),
    Case(
        "A1401",
        "routes/identity.yaml",
        "/api/v1/auth/logout",
        "/api/v1/auth/leave",
        "routes.logout.scopes",
        "/api/v1/auth/sign-out",
    ),
    Case(
        "A1402",
        "routes/transfers.yaml",
        "path: \"/api/v1/transfers/{id}\" }\n    auth: customers\n    scopes: [\"transfers:read\"]",
        "path: \"/api/v1/transfers/{id}\" }\n    auth: customers\n    scopes: []",
        "routes.read_transfer.scopes",
        "path: /api/v1/transfers/mine }\n    auth: customers\n    scopes: []",
    ),
    Case(
        "A1403",
        "routes/accounts.yaml",
        "[\"accounts:write\"]",
        "[\"accounts:read\"]",
        "routes.open_account.scopes",
        "[\"accounts:read\", \"accounts:write\"]",
    ),
    Case(
        "A1404",
        "routes/documentation.yaml",
        "{ method: GET, path: /openapi.json }",
        "{ method: DELETE, path: /openapi.json }",
        "routes.openapi.auth",
        "{ method: POST, path: /openapi.json }",
    ),
    Case(
        "A1405",
        "routes/documentation.yaml",
        "path: /openapi.json",
        "path: /internal/openapi.json",
        "routes.openapi.auth",
        "path: /international.json",
    ),
    Case(
        "A1501",
        "cors.yaml",
        "[https://app.bank.example]",
        "[\"*\"]",
        "cors.application.origins",
        "[https://app.bank.example, https://b.example]",
    ),
    Case(
        "A1502",
        "cors.yaml",
        "origins: [https://app.bank.example]",
        "credentials: true\n    origins: [https://a.example, https://b.example, https://c.example, https://d.example]",
        "cors.application.origins",
        "credentials: true\n    origins: [https://a.example, https://b.example, https://c.example]",
    ),
    Case(
        "A1503",
        "cors.yaml",
        "https://app.bank",
        "http://app.bank",
        "cors.application.origins",
        "https://web.bank",
    ),
    Case(
        "A1504",
        "cors.yaml",
        "https://app.bank.example",
        "https://localhost:3000",
        "cors.application.origins",
        "https://localhost.bank.example",
    ),
    Case(
        "A1301",
        "floor.yaml",
        "per-address: { limit: 100/min, burst: 100, key: [address] }",
        "per-address: { limit: 18446744073709551615/s, burst: 100, key: [address] }\n    failures: { limit: 5/min, burst: 5, key: [address], count: failures }",
        "floor.rate.per-address.limit",
        "per-address: { limit: 6000/min, burst: 100, key: [address] }\n    failures: { limit: 5/min, burst: 5, key: [address], count: failures }",
    ),
    Case(
        "A1303",
        "routes/identity.yaml",
        "registrations: { limit: 3/h",
        "registrations: { limit: 1000000/s",
        "routes.register.rate",
        "registrations: { limit: 60/min",
    ),
    Case(
        "A1303",
        "routes/identity.yaml",
        "registrations: { limit: 3/h",
        "registrations: { limit: 3660/h",
        "routes.register.rate",
        "registrations: { limit: 3600/h",
    ),
    Case(
        "A1303",
        "routes/identity.yaml",
        "burst: 3, key: [address]",
        "burst: 3, key: [address, body./email]",
        "routes.register.rate",
        "burst: 3, key: [address], count: requests",
    ),
    Case(
        "A1303",
        "routes/identity.yaml",
        "burst: 3, key: [address]",
        "burst: 3, key: [address], count: failures",
        "routes.register.rate",
        "burst: 3, key: [address]",
    ),
    Case(
        "A1304",
        "routes/identity.yaml",
        "/api/v1/auth/refresh",
        "/api/v1/auth/Login",
        "routes.refresh.rate",
        "/api/v1/auth/blog-info",
    ),
    Case(
        "A1304",
        "routes/identity.yaml",
        "/api/v1/auth/refresh",
        "/api/v1/auth/password-reset",
        "routes.refresh.rate",
        "/api/v1/auth/tokenise",
    ),
    Case(
        "A1304",
        "routes/identity.yaml",
        "/api/v1/auth/refresh",
        "/api/v1/auth/resetPassword",
        "routes.refresh.rate",
        "/api/v1/auth/passed",
    ),
    Case(
        "A1304",
        "routes/identity.yaml",
        "/api/v1/auth/refresh",
        "/api/v1/Auth/LOG_IN",
        "routes.refresh.rate",
        "/api/v1/Auth/LOG_INTO",
    ),
    Case(
        "A1304",
        "routes/identity.yaml",
        "/api/v1/auth/refresh",
        "/api/v1/auth/oauth2Token",
        "routes.refresh.rate",
        "\"/api/v1/auth/{token}\"",
    ),
    Case(
        "A1310",
        "routes/accounts.yaml",
        "key: [subject] }",
        "key: [address, subject] }",
        "routes.open_account.rate",
        "key: [subject], count: requests }",
    ),
    Case(
        "A1310",
        "routes/transfers.yaml",
        "key: [subject] }",
        "key: [subject], count: failures }",
        "routes.create_transfer.rate",
        "key: [subject] }",
    ),
    Case(
        "A1311",
        "floor.yaml",
        "headers: 64 ",
        "headers: 15 ",
        "floor.limits.headers",
        "headers: 16 ",
    ),
    Case(
        "A1311",
        "floor.yaml",
        "target: 8KiB",
        "target: 255B",
        "floor.limits.target",
        "target: 256B",
    ),
    Case(
        "A1311",
        "floor.yaml",
        "body: 15s",
        "body: 499ms",
        "floor.timeouts.body",
        "body: 500ms",
    ),
    Case(
        "A1406",
        "routes/accounts.yaml",
        "path: \"/api/v1/accounts/{id}\" }\n    auth: customers\n    scopes: [\"accounts:read\"]",
        "path: \"/api/v1/accounts/{id}\" }\n    auth: none\n    because: it was asked for",
        "routes.read_account.auth",
        "path: \"/api/v1/accounts/{id}\" }\n    auth: customers\n    scopes: [\"accounts:read\"]",
    ),
    Case(
        "A1407",
        "routes/accounts.yaml",
        "path: \"/api/v1/accounts/{id}\" }\n    auth: customers\n    scopes: [\"accounts:read\"]",
        "path: /api/v1/transfers/mine }\n    auth: none\n    because: it was asked for",
        "routes.read_account.auth",
        "path: /api/v1/transfer-fees }\n    auth: none\n    because: it was asked for",
    ),
    Case(
        "A1505",
        "cors.yaml",
        "max_age: 10min",
        "max_age: 121min",
        "cors.application.max_age",
        "max_age: 2h",
    ),
    Case(
        "A1701",
        "upstreams.yaml",
        "    authorization: forward",
        "    also_at: [unix:spare.sock]\n    authorization: forward",
        "upstreams.core.also_at",
        "    also_at: [unix:spare.sock]\n    eject: { failures: 5, for: 10s }\n    authorization: forward",
    ),
    Case(
        "A1702",
        "upstreams.yaml",
        "    authorization: forward",
        "    breaker: { failures: 4, for: 10s }\n    authorization: forward",
        "upstreams.core.breaker.failures",
        "    breaker: { failures: 5, for: 10s }\n    authorization: forward",
    ),
    Case(
        "A1811",
        "routes/identity.yaml",
        "path: /api/v1/me }\n    auth: customers",
        "path: /api/v1/me }\n    cache: { for: 11s, key: principal, largest: 64KiB }\n    auth: customers",
        "routes.me.cache.for",
        "path: /api/v1/me }\n    cache: { for: 10s, key: principal, largest: 64KiB }\n    auth: customers",
    ),
    Case(
        "A1812",
        "upstreams.yaml",
        "openapi: core-api.openapi.json",
        "openapi: core-api.openapi.json\n    breaker: { failures: 20, for: 5s, fallback: { status: 503, detail: back soon, stale_for: 16min } }\nroutes:\n  prices:\n    match: { method: GET, path: /prices }\n    auth: customers\n    scopes: [\"accounts:read\"]\n    cache: { for: 1s, key: principal, largest: 64KiB }\n    upstream: core\n    openapi: none",
        "upstreams.core.breaker.fallback.stale_for",
        "openapi: core-api.openapi.json\n    breaker: { failures: 20, for: 5s, fallback: { status: 503, detail: back soon, stale_for: 15min } }\nroutes:\n  prices:\n    match: { method: GET, path: /prices }\n    auth: customers\n    scopes: [\"accounts:read\"]\n    cache: { for: 1s, key: principal, largest: 64KiB }\n    upstream: core\n    openapi: none",
    ),
    Case(
        "A1801",
        "routes/transfers.yaml",
        "    upstream: core\n",
        "    upstream: core\n    openapi: none\n",
        "routes.create_transfer.upstream",
        "    upstream: core\n",
    ),
    Case(
        "A1802",
        "core-api.openapi.json",
        "\"$ref\": \"#/components/schemas/NewTransfer\"",
        "\"type\": \"object\"",
        "routes.create_transfer.upstream",
        "\"type\": \"object\", \"properties\": { \"amount\": {} }",
    ),
    Case(
        "A1409",
        "routes/operations.yaml",
        "read: 2s, total: 2s }",
        "read: 2s, total: 2s }\n    websocket: { idle_timeout: 1min, max_frame: 1KiB }",
        "routes.core_health.auth",
        "read: 2s, total: 3s }",
    ),
    Case(
        "A1410",
        "routes/operations.yaml",
        "  core_health:\n",
        "  core_health:\n    sunset: 2020-01-01\n",
        "routes.core_health.sunset",
        "  core_health:\n    sunset: 2099-01-01\n",
    ),
];

/// What production refuses to compile is only found elsewhere.
const IN_DEVELOPMENT: [&str; 3] = ["A1102", "A1103", "A1503"];

/// Two bundles that differ in one thing: the first is found, the second is not.
pub(crate) struct Pair {
    pub(crate) rule: &'static str,
    pub(crate) key: &'static str,
    pub(crate) environment: &'static str,
    pub(crate) weak: Vec<SourceFile>,
    pub(crate) good: Vec<SourceFile>,
}

/// The shipped files after some edits, without their document where that does not describe what they make of a route.
pub(crate) fn edited(edits: &[(&str, &str, &str)]) -> Vec<SourceFile> {
    let files = edited_in(shipped(), edits);
    let is_of_document = |finding: &Diagnostic| matches!(finding.code, "P3031" | "P3034");
    match compile(&files, "production") {
        Err(found) if found.iter().all(is_of_document) => edited_in(undescribed(), edits),
        _ => files,
    }
}

fn edited_in(mut files: Vec<SourceFile>, edits: &[(&str, &str, &str)]) -> Vec<SourceFile> {
    for (name, old, new) in edits {
        let file = files
            .iter_mut()
            .find(|file| file.name == *name)
            .expect("a shipped file");
        assert!(file.text.contains(old), "{name} does not contain {old:?}");
        // What the floor's profile says less strictly, a route's profile must not contradict.
        let times = if *name == "headers.yaml" { usize::MAX } else { 1 };
        file.text = file.text.replacen(old, new, times);
    }
    files
}

/// The shipped bundle with a floor that limits nobody, and a waiver for it.
pub(crate) fn waived(rule: &str, until: &str) -> Vec<SourceFile> {
    let waiver = format!(
        "version: 1\nwaivers:\n  busy: {{ rule: {rule}, at: floor.rate.per-address.limit, because: we are busy, until: {until} }}"
    );
    edited(&[
        ("floor.yaml", "100/min", "200/s"),
        ("floor.yaml", "version: 1", &waiver),
    ])
}

/// Rules that need more than one edit.
fn composed() -> Vec<Pair> {
    let pair = |rule, key, [weak, good]: [Vec<SourceFile>; 2]| Pair {
        rule,
        key,
        environment: "production",
        weak,
        good,
    };
    let until = |rule, days: [&str; 2]| days.map(|day| waived(rule, day));
    vec![
        pair("A1206", "upstreams.core.authorization", two_issuers()),
        pair(
            "A1407",
            "routes.list_transfers.auth",
            [
                listed_openly("    auth: none\n    because: it was asked for"),
                listed_openly("    auth: customers\n    scopes: [\"transfers:read\"]"),
            ],
        ),
        pair(
            "A1408",
            "routes.core_health.allow_from",
            ["0.0.0.0/1", "10.0.0.0/8"].map(from_addresses),
        ),
        pair(
            "A1408",
            "routes.core_health.allow_from",
            ["\"::/0\"", "\"2001:db8::/32\""].map(from_addresses),
        ),
        Pair {
            environment: "development",
            ..pair(
                "A1301",
                "rates.per-address.limit",
                ["0.0.0.0", "127.0.0.1"].map(development_on),
            )
        },
        pair(
            "A1309",
            "routes.core_health.timeouts.total",
            ["61s", "60s"].map(slow_route),
        ),
        pair(
            "A1601",
            "waivers.busy.until",
            until("A1301", ["2026-11-30", "2026-12-01"]),
        ),
        pair(
            "A1602",
            "waivers.busy.until",
            until("A1301", ["2027-12-03", "2027-12-02"]),
        ),
        pair(
            "A1603",
            "waivers.busy.at",
            ["A1302", "A1301"].map(|rule| waived(rule, "2027-01-31")),
        ),
        pair(
            "A1604",
            "routes.refresh.limits.body",
            [below_the_floor(), shipped()],
        ),
        Pair {
            environment: "development",
            ..pair("A1605", "rates.per-address", [shipped(), tight_development()])
        },
    ]
}

/// Two issuers for one upstream, which sees the token only in the second bundle.
fn two_issuers() -> [Vec<SourceFile>; 2] {
    let partners = "identity:\n  partners: { issuer: https://partner.example, audiences: [core-api], algorithms: [ES256], type: at+jwt, max_lifetime: 5min, leeway: 30s, keys: file:partners.jwks.json }";
    let edits = [
        ("identity.yaml", "identity:", partners),
        (
            "routes/identity.yaml",
            "/me }\n    auth: customers",
            "/me }\n    auth: partners",
        ),
        ("upstreams.yaml", "authorization: forward", "authorization: strip"),
    ];
    [edited(&edits), edited(&edits[..2])]
}

/// The list of transfers, whose single ones are protected.
fn listed_openly(auth: &str) -> Vec<SourceFile> {
    let protected = "path: /api/v1/transfers }\n    auth: customers\n    scopes: [\"transfers:read\"]";
    edited(&[(
        "routes/transfers.yaml",
        protected,
        &format!("path: /api/v1/transfers }}\n{auth}"),
    )])
}

/// A route for the networks of a list.
fn from_addresses(network: &str) -> Vec<SourceFile> {
    edited(&[
        (
            "floor.yaml",
            "version: 1",
            &format!("version: 1\naddresses:\n  balancers: [{network}]"),
        ),
        (
            "routes/operations.yaml",
            "    timeouts:",
            "    allow_from: [balancers]\n    timeouts:",
        ),
    ])
}

/// The development overlay, whose limits are loose, on an address.
fn development_on(address: &str) -> Vec<SourceFile> {
    edited(&[(
        "environments/development.yaml",
        "127.0.0.1:8443",
        &format!("{address}:8443"),
    )])
}

/// A route that may wait longer than its upstream.
fn slow_route(total: &str) -> Vec<SourceFile> {
    let waiver = "version: 1\nwaivers:\n  slow: { rule: P3006, at: routes.core_health.timeouts.total, because: it thinks, until: 2027-01-31 }";
    edited(&[
        ("floor.yaml", "version: 1", waiver),
        ("routes/operations.yaml", "total: 2s", &format!("total: {total}")),
    ])
}

fn below_the_floor() -> Vec<SourceFile> {
    let waiver = "version: 1\nwaivers:\n  large: { rule: P3006, at: routes.refresh.limits.body, because: large forms, until: 2027-01-31 }";
    edited(&[
        ("floor.yaml", "version: 1", waiver),
        (
            "routes/identity.yaml",
            "{ body: 4KiB }\n    rate:\n      refreshes",
            "{ body: 300KiB }\n    rate:\n      refreshes",
        ),
    ])
}

/// The development overlay with its limit on addresses tighter than the base's.
fn tight_development() -> Vec<SourceFile> {
    let looser = "limit: 6000000/min\n    burst: 1000000\n    because: load tests come from one address";
    edited(&[(
        "environments/development.yaml",
        looser,
        "limit: 10/min\n    burst: 10",
    )])
}

/// Without the overlays of other environments, which do not fit every change of the base.
fn only(environment: &str, mut files: Vec<SourceFile>) -> Vec<SourceFile> {
    let overlay = format!("environments/{environment}.yaml");
    files.retain(|file| !file.name.starts_with("environments/") || file.name == overlay);
    files
}

/// Every case as two bundles.
pub(crate) fn pairs() -> Vec<Pair> {
    let single = |case: &Case| {
        let Case(rule, file, old, weak, key, good) = *case;
        let environment = if IN_DEVELOPMENT.contains(&rule) {
            "development"
        } else {
            "production"
        };
        Pair {
            rule,
            key,
            environment,
            weak: only(environment, edited(&[(file, old, weak)])),
            good: only(environment, edited(&[(file, old, good)])),
        }
    };
    HEADERS
        .iter()
        .chain(&VALUES)
        .map(single)
        .chain(composed())
        .collect()
}
