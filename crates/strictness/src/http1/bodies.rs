//! Bodies in chunks: FR-10, FR-14, and trailers.

use super::{Arrival, Case, Expected, case, post_passed, shown};

const HEAD: &str = "POST /v1/items HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Bodies that are not in chunks, or not in one way.
const BROKEN: [&[u8]; 36] = [
    b"zz\r\nabc\r\n0\r\n\r\n",
    b"\r\nabc\r\n0\r\n\r\n",
    b"-3\r\nabc\r\n0\r\n\r\n",
    b"+3\r\nabc\r\n0\r\n\r\n",
    b"0x3\r\nabc\r\n0\r\n\r\n",
    b" 3\r\nabc\r\n0\r\n\r\n",
    b"3 \r\nabc\r\n0\r\n\r\n",
    b"3\t\r\nabc\r\n0\r\n\r\n",
    b"3 3\r\nabc\r\n0\r\n\r\n",
    b"3_\r\nabc\r\n0\r\n\r\n",
    b"3,\r\nabc\r\n0\r\n\r\n",
    b"3.\r\nabc\r\n0\r\n\r\n",
    b"g\r\nabc\r\n0\r\n\r\n",
    b"3\nabc\r\n0\r\n\r\n",
    b"3\rabc\r\n0\r\n\r\n",
    b"3\r\rabc\r\n0\r\n\r\n",
    b"3\r\nabc\n0\r\n\r\n",
    b"3\r\nabc\r0\r\n\r\n",
    b"3\r\nabc0\r\n\r\n",
    b"3\r\nabcd\r\n0\r\n\r\n",
    b"3\r\nabc\r\n\r\n0\r\n\r\n",
    b"3\r\nab\r\n0\r\n\r\n\r\n",
    b"ffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    b"10000000000000003\r\nabc\r\n0\r\n\r\n",
    b"fffffffffffffffffffffffff3\r\nabc\r\n0\r\n\r\n",
    b"3;\nabc\r\n0\r\n\r\n",
    b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    b"3;a\rb\r\nabc\r\n0\r\n\r\n",
    b"3;a\0b\r\nabc\r\n0\r\n\r\n",
    b"3\r\nabc\r\n0\n\r\n",
    b"3\r\nabc\r\n0\r\n\n",
    b"3\r\nabc\r\n0\r\n X: a\r\n\r\n",
    b"3\r\nabc\r\n0\r\nno colon\r\n\r\n",
    b"3\r\nabc\r\n0\r\nX : a\r\n\r\n",
    b"3\r\nabc\r\n0\r\nX: a\nY: b\r\n\r\n",
    b"3\r\nabc\r\n0\r\nX: a\0b\r\n\r\n",
];

/// Legal, and refused: what an extension says is for nobody here, and servers have lost each other over them.
const EXTENSIONS: [&[u8]; 4] = [
    b"3;a=b\r\nabc\r\n0\r\n\r\n",
    b"3;a=\"b\"\r\nabc\r\n0\r\n\r\n",
    b"3;\r\nabc\r\n0\r\n\r\n",
    b"3\r\nabc\r\n0;a\r\n\r\n",
];

/// Legal, and arrive as `abc`.
const GOOD: [&str; 8] = [
    "3\r\nabc\r\n0\r\n\r\n",
    "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n",
    "003\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc\r\n000\r\n\r\n",
    "3\r\nabc\r\n0\r\nX-Trailer: a\r\n\r\n",
    "3\r\nabc\r\n0\r\nX-Trailer: a\r\nX-Other: b\r\n\r\n",
    "3\r\nabc\r\n0\r\nContent-Length: 50\r\n\r\n",
    "3\r\nabc\r\n0\r\nAuthorization: Bearer stolen\r\nHost: evil.example\r\n\r\n",
];

pub(super) fn cases() -> Vec<Case> {
    let bytes = |body: &[u8]| [HEAD.as_bytes(), body].concat();
    let broken = BROKEN
        .iter()
        .map(|body| case("FR-10", &shown(body), bytes(body), Expected::Refused(400)));
    let extended = EXTENSIONS
        .iter()
        .map(|body| case("FR-14", &shown(body), bytes(body), Expected::Stricter(400)));
    let good = GOOD.iter().map(|body| {
        let arrival = ["X-Trailer", "X-Other", "Authorization"]
            .into_iter()
            .fold(Arrival::new("POST", "/v1/items", b"abc"), |arrival, name| {
                arrival.with(name, None)
            });
        case(
            "FR-10",
            &shown(body.as_bytes()),
            bytes(body.as_bytes()),
            Expected::Passed(vec![arrival]),
        )
    });
    let upper = post_passed(
        "FR-10",
        "a size in capitals",
        "Transfer-Encoding: chunked\r\n\r\nA\r\nabcdefghij\r\n0\r\n\r\n",
        b"abcdefghij",
    );
    let mut cases: Vec<Case> = broken.chain(extended).chain(good).collect();
    cases.push(upper);
    for (name, fields) in [
        ("a length that never comes", "Content-Length: 10\r\n\r\nabc"),
        (
            "chunks that never end",
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        ),
        (
            "a chunk that never comes",
            "Transfer-Encoding: chunked\r\n\r\n9\r\nabc",
        ),
        ("a size that never ends", "Transfer-Encoding: chunked\r\n\r\n3"),
    ] {
        let bytes = format!("POST /v1/items HTTP/1.1\r\nHost: localhost\r\n{fields}").into_bytes();
        cases.push(case("FR-10", name, bytes, Expected::Refused(408)));
    }
    cases
}
