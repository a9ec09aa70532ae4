//! Request targets: PA-1 to PA-3, PA-6, FR-13. What is matched is what arrives.

use super::{Arrival, Case, passed, refused, shown};

/// Targets that no server may read in one way, or that are none.
#[rustfmt::skip]
const ILLEGAL: [&[u8]; 21] = [
    b"v1/items/a",
    b"",
    b"/v1/items/a\"",
    b"/v1/items/<a>",
    b"/v1/items/a\\b",
    b"/v1/items/a^b",
    b"/v1/items/`a`",
    b"/v1/items/{a}",
    b"/v1/items/a|b",
    b"/v1/items/a#b",
    b"/v1/items/a\x01",
    b"/v1/items/a\x00",
    b"/v1/items/a\x7f",
    b"/v1/items/a\tb",
    b"/v1/items/\xc3\xa9",
    b"/v1/items/\xff",
    b"/v1/items/%",
    b"/v1/items/%2",
    b"/v1/items/%zz",
    b"localhost:443",
    b"*/v1/items/a",
];

/// Legal spellings of another path, or of one that an upstream may decode into another.
#[rustfmt::skip]
const SPELLINGS: [&str; 27] = [
    "/v1/./items/a",
    "/v1/../v1/items/a",
    "/v1/items/..",
    "/v1/items/.",
    "/v1/items/%2e%2e/items/a",
    "/v1/items/.%2e/a",
    "/v1/%2e/items/a",
    "//v1/items/a",
    "/v1//items/a",
    "/v1/items//a",
    "/v1/items/a%2fb",
    "/v1/items%2Fa",
    "/v1/items/a%5cb",
    "/v1/items/a%5Cb",
    "/v1/items/a%00",
    "/v1/items/a%0d%0aX:%20b",
    "/v1/items/a%0a",
    "/v1/items/a%09b",
    "/v1/items/a%7f",
    "/v1/items/a%252fb",
    "/v1/items/a;b",
    "/v1;a/items/a",
    "/v1/items/%61",
    "/v1/item%73/a",
    "/v1/items/%c0%ae",
    "/v1/items/%ff",
    "/v1/items/%e2%82",
];

pub(super) fn cases() -> Vec<Case> {
    let get = |target: &[u8]| {
        [
            b"GET ",
            target,
            b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        ]
        .concat()
    };
    let illegal = ILLEGAL
        .iter()
        .map(|target| refused("PA-2", &shown(target), &get(target)));
    let spellings = SPELLINGS.iter().map(|target| {
        let rule = if target.contains("%6") || target.contains("%73") {
            "PA-3"
        } else {
            "PA-2"
        };
        refused(rule, target, &get(target.as_bytes())).legal()
    });
    let absolute = [
        "http://localhost/v1/items/a",
        "https://localhost/v1/items/a",
        "http://evil.example/v1/items/a",
    ]
    .into_iter()
    .map(|target| refused("PA-2", target, &get(target.as_bytes())).legal());
    let parameters = |count: usize| format!("/v1/items/a?{}", vec!["b=c"; count].join("&"));
    let (most, more) = (parameters(128), parameters(129));
    let many = refused("PA-6", "129 parameters", &get(more.as_bytes())).legal();
    let good = [
        "/v1/items/a",
        "/v1/items/a?b=c",
        "/v1/items/a?b=c&d=%20e",
        "/v1/items/a?",
        "/v1/items/a?b=/../c",
        "/v1/items/a?b=%2f",
        "/v1/items/a-._~b",
        "/v1/items/a!$&'()*+,=:@b",
        "/v1/items/%20",
        "/v1/items/%C3%A9",
        "/v1/items/a?b=%0D%0AX-Injected:%20c",
        most.as_str(),
    ]
    .map(|target| {
        let head = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        passed("PA-1", target, &head, Arrival::new("GET", target, b""))
    });
    illegal
        .chain(spellings)
        .chain(absolute)
        .chain([many])
        .chain(good)
        .collect()
}
