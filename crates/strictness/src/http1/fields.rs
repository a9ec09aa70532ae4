//! Fields with a meaning for servers: Host, those that must be single, Expect, Connection, and those that only the
//! gateway may say (FR-6, FR-8, FR-10, AD-1, AD-6, AD-7, PA-7).

use super::{Arrival, Case, passed, post_passed, refused, shown};

/// Values of `Host` that are no host, or two.
#[rustfmt::skip]
const HOSTS: [&[u8]; 20] = [
    b"",
    b"localhost evil.example",
    b"localhost, evil.example",
    b"user@localhost",
    b"user:secret@localhost",
    b"localhost/",
    b"localhost/v1",
    b"localhost?a",
    b"localhost#a",
    b"localhost\\evil.example",
    b"http://localhost",
    b"localhost:",
    b"localhost:a",
    b"localhost:1:2",
    b"localhost:-1",
    b"local\xc3\xb6host",
    b"[::1",
    b"::1]",
    b"local<host>",
    b"\"localhost\"",
];

/// What nobody but the gateway says to the upstream.
#[rustfmt::skip]
const OURS: [&str; 14] = [
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-HTTP-Method-Override",
    "X-HTTP-Method",
    "X-Method-Override",
    "Forwarded",
    "X-Real-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "X-Forwarded-Port",
    "X-Auth-Subject",
    "X-Auth-Scopes",
    "X-Client-Cert-Name",
    "Proxy-Authorization",
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = hosts();
    cases.extend(single_fields());
    cases.extend(connection_options());
    cases.extend(removed_fields());
    cases
}

fn hosts() -> Vec<Case> {
    let mut cases: Vec<Case> = HOSTS
        .iter()
        .map(|value| {
            let head = [
                b"GET /v1/items/a HTTP/1.1\r\nHost: ",
                *value,
                b"\r\nConnection: close\r\n\r\n",
            ]
            .concat();
            refused("FR-6", &format!("Host: {}", shown(value)), &head)
        })
        .collect();
    cases.push(refused(
        "FR-6",
        "no Host",
        b"GET /v1/items/a HTTP/1.1\r\nConnection: close\r\n\r\n",
    ));
    for (name, second) in [
        ("two hosts", "Host: evil.example"),
        ("the same host twice", "Host: localhost"),
        ("a second host in lower case", "host: evil.example"),
    ] {
        let head = format!("GET /v1/items/a HTTP/1.1\r\nHost: localhost\r\n{second}\r\n\r\n");
        cases.push(refused("FR-6", name, head.as_bytes()));
    }
    for host in ["LOCALHOST", "localhost:443"] {
        let head = format!("GET /v1/items/a HTTP/1.1\r\nHost: {host}\r\n\r\n");
        cases.push(passed(
            "FR-6",
            &format!("Host: {host}"),
            &head,
            Arrival::new("GET", "/v1/items/a", b""),
        ));
    }
    cases
}

/// FR-6: fields of which two servers would take two different ones.
fn single_fields() -> Vec<Case> {
    [
        "Content-Type",
        "Authorization",
        "Idempotency-Key",
        "Cookie",
        "X-Request-Id",
        "traceparent",
        "Expect",
    ]
    .into_iter()
    .map(|name| {
        let value = if name == "Expect" { "100-continue" } else { "a" };
        let head = format!(
            "GET /v1/items/a HTTP/1.1\r\nHost: localhost\r\n{name}: {value}\r\n{}: {value}\r\n\r\n",
            name.to_lowercase()
        );
        refused("FR-6", &format!("{name} twice"), head.as_bytes())
    })
    .collect()
}

/// FR-8 and FR-10.
fn connection_options() -> Vec<Case> {
    let with = |fields: &str| format!("GET /v1/items/a HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n");
    let mut cases = Vec::new();
    for name in [
        "authorization",
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "X-Request-Id",
        "X-Forwarded-For",
        "traceparent",
        "close, Cookie",
    ] {
        let head = with(&format!("Connection: {name}"));
        cases.push(refused("FR-10", &format!("Connection: {name}"), head.as_bytes()));
    }
    for value in [
        "100-Continue-please",
        "a-miracle",
        "100-continue, a-miracle",
        "200-ok",
    ] {
        let head = with(&format!("Expect: {value}"));
        cases.push(refused("FR-8", &format!("Expect: {value}"), head.as_bytes()).status(417));
    }
    let arrival = || Arrival::new("GET", "/v1/items/a", b"");
    for (name, fields, gone) in [
        ("TE does not arrive", "TE: trailers\r\nConnection: TE", "TE"),
        (
            "Keep-Alive does not arrive",
            "Keep-Alive: timeout=5",
            "Keep-Alive",
        ),
        (
            "an upgrade that is not offered does not arrive",
            "Connection: Upgrade\r\nUpgrade: h2c",
            "Upgrade",
        ),
        (
            "Proxy-Connection does not arrive",
            "Proxy-Connection: keep-alive",
            "Proxy-Connection",
        ),
    ] {
        cases.push(passed("FR-10", name, &with(fields), arrival().with(gone, None)));
    }
    let expecting = post_passed(
        "FR-8",
        "Expect does not arrive",
        "Content-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
        b"abc",
    );
    cases.push(expecting);
    cases
}

fn removed_fields() -> Vec<Case> {
    OURS.iter()
        .map(|name| {
            let rule = match *name {
                "X-Original-URL" | "X-Rewrite-URL" | "X-HTTP-Method-Override" | "X-HTTP-Method" | "X-Method-Override" => "PA-7",
                "X-Auth-Subject" | "X-Auth-Scopes" | "X-Client-Cert-Name" => "AD-7",
                "Proxy-Authorization" => "FR-10",
                _ => "AD-1",
            };
            let head = format!("GET /v1/items/a HTTP/1.1\r\nHost: localhost\r\n{name}: /v1/items/evil\r\n\r\n");
            let arrival = Arrival::new("GET", "/v1/items/a", b"").with(name, None);
            passed(rule, &format!("{name} does not arrive"), &head, arrival)
        })
        .chain([{
            let head = "GET /v1/items/a HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\nX-Forwarded-Proto: http\r\n\r\n";
            let arrival = Arrival::new("GET", "/v1/items/a", b"").with("X-Forwarded-For", Some("127.0.0.1")).with("X-Forwarded-Proto", Some("https"));
            passed("AD-6", "X-Forwarded-For is set, not added to", head, arrival)
        }])
        .collect()
}
