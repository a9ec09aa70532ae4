//! How long a body is: FR-1 to FR-3, FR-7.

use super::{Arrival, Case, Expected, case, passed, post_passed, post_refused, refused, shown};

/// What is no length, whatever a lenient reader makes of it.
#[rustfmt::skip]
const LENGTHS: [&[u8]; 30] = [
    b"+3",
    b"-3",
    b"-0",
    b"0x3",
    b"3,3",
    b"3, 3",
    b"3,4",
    b"03",
    b"003",
    b"00",
    b"3 3",
    b"3;",
    b"3.0",
    b"3e0",
    b"three",
    b"",
    b"3_0",
    b"3\t3",
    b"(3)",
    b"\"3\"",
    b"'3'",
    b"3 bytes",
    b"9223372036854775808",
    b"18446744073709551616",
    b"18446744073709551619",
    b"99999999999999999999999999",
    b"\xef\xbc\x93",
    b"3\xa0",
    b"0, 0",
    b"$3",
];

/// What is no coding that this hop undoes, or not in one way.
#[rustfmt::skip]
const CODINGS: [&[u8]; 26] = [
    b"",
    b"gzip",
    b"deflate",
    b"identity",
    b"cow",
    b"trailers",
    b"gzip, chunked",
    b"chunked, gzip",
    b"chunked, chunked",
    b"chunked, identity",
    b"identity, chunked",
    b",chunked",
    b"chunked,",
    b"chunked;q=1",
    b"chunked;a",
    b"xchunked",
    b"chunkedx",
    b"chunk",
    b"chun ked",
    b"\"chunked\"",
    b"'chunked'",
    b"(chunked)",
    b"chunked\xa0",
    b"\xa0chunked",
    b"chun\xc3\xafked",
    b"c\xe1\x8b\xa0hunked",
];

/// Two fields that say two things, or one twice.
#[rustfmt::skip]
const CONFLICTS: [(&str, &str, &str); 13] = [
    ("FR-1", "CL.TE", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
    ("FR-1", "TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
    ("FR-1", "CL 0 and TE", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"),
    ("FR-1", "lower case", "content-length: 5\r\ntransfer-encoding: chunked\r\n"),
    ("FR-1", "TE with tab and CL", "Transfer-Encoding:\tchunked\r\nContent-Length: 5\r\n"),
    ("FR-2", "two equal lengths", "Content-Length: 5\r\nContent-Length: 5\r\n"),
    ("FR-2", "two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n"),
    ("FR-2", "a zero length first", "Content-Length: 0\r\nContent-Length: 5\r\n"),
    ("FR-2", "two lengths in other cases", "Content-Length: 5\r\ncontent-lENGTH: 5\r\n"),
    ("FR-3", "chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
    ("FR-3", "TE.TE, the second unknown", "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n"),
    ("FR-3", "TE.TE, the first unknown", "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n"),
    ("FR-3", "identity, then chunked", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"),
];

/// Framing fields behind which some servers see none, and others do.
const DISGUISES: [(&str, &[u8]); 14] = [
    ("FR-4", b"Transfer-Encoding : chunked\r\n"),
    ("FR-4", b"Transfer-Encoding\t: chunked\r\n"),
    ("FR-5", b"Transfer-Encoding\x0b: chunked\r\n"),
    ("FR-5", b"Transfer-Encoding\x0c: chunked\r\n"),
    ("FR-5", b"Transfer-Encoding: \x0bchunked\r\n"),
    ("FR-5", b"Transfer-Encoding: chunked\x0c\r\n"),
    ("FR-4", b"Transfer-Encoding:\n chunked\r\n"),
    ("FR-4", b"Transfer-Encoding:\r\n chunked\r\n"),
    ("FR-4", b" Transfer-Encoding: chunked\r\n"),
    ("FR-4", b"X: a\r\n Transfer-Encoding: chunked\r\n"),
    ("FR-4", b"X: a\rTransfer-Encoding: chunked\r\n"),
    ("FR-4", b"X: a\nTransfer-Encoding: chunked\r\n"),
    ("FR-4", b"Content-Length : 5\r\n"),
    ("FR-4", b"X: a\r\n\tContent-Length: 5\r\n"),
];

pub(super) fn cases() -> Vec<Case> {
    let lengths = LENGTHS.iter().map(|value| {
        let fields = [b"Content-Length: ", *value, b"\r\n\r\nabc"].concat();
        post_refused("FR-2", &format!("Content-Length: {}", shown(value)), &fields)
    });
    let codings = CODINGS.iter().map(|value| {
        let fields = [b"Transfer-Encoding: ", *value, b"\r\n\r\n0\r\n\r\n"].concat();
        post_refused("FR-3", &format!("Transfer-Encoding: {}", shown(value)), &fields)
    });
    let conflicts = CONFLICTS
        .iter()
        .map(|(rule, name, fields)| post_refused(rule, name, format!("{fields}\r\n0\r\n\r\n").as_bytes()));
    let disguises = DISGUISES.iter().map(|(rule, field)| {
        let fields = [field, b"\r\n0\r\n\r\n".as_slice()].concat();
        post_refused(rule, &shown(field), &fields)
    });
    let mut cases: Vec<Case> = lengths.chain(codings).chain(conflicts).chain(disguises).collect();
    cases.extend(unexpected_bodies());
    cases.extend(good_bodies());
    cases
}

/// FR-7: legal and without a meaning, and the classic way to a second request.
fn unexpected_bodies() -> Vec<Case> {
    let mut cases = Vec::new();
    for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
        for (name, framing) in [
            ("a length", "Content-Length: 3\r\n\r\nabc"),
            (
                "chunks",
                "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            ),
        ] {
            let head = format!("{method} /v1/items/a HTTP/1.1\r\nHost: localhost\r\n{framing}");
            cases.push(refused("FR-7", &format!("{method} with {name}"), head.as_bytes()).legal());
        }
    }
    let trace = "TRACE /v1/items/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc";
    cases.push(refused("FR-7", "TRACE with a body", trace.as_bytes()));
    let empty = "GET /v1/items/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    cases.push(passed(
        "FR-7",
        "GET with a length of zero",
        empty,
        Arrival::new("GET", "/v1/items/a", b""),
    ));
    cases
}

fn good_bodies() -> Vec<Case> {
    let mut cases = Vec::new();
    for value in ["3", " 3", "3 ", "\t3\t", "   3   "] {
        let fields = format!("Content-Length:{value}\r\n\r\nabc");
        cases.push(post_passed(
            "FR-2",
            &format!("Content-Length:{}", shown(value.as_bytes())),
            &fields,
            b"abc",
        ));
    }
    for value in ["chunked", "CHUNKED", "Chunked", "\tchunked ", "chunked\t"] {
        let fields = format!("Transfer-Encoding:{value}\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        cases.push(post_passed(
            "FR-3",
            &format!("Transfer-Encoding:{}", shown(value.as_bytes())),
            &fields,
            b"abc",
        ));
    }
    cases.push(post_passed("FR-2", "no body", "Content-Length: 0\r\n\r\n", b""));
    let first = "POST /v1/items HTTP/1.1\r\nHost: localhost\r\n";
    let second = "GET /v1/items/b HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (name, framing) in [
        (
            "a length, and a request behind it",
            "Content-Length: 3\r\n\r\nabc",
        ),
        (
            "chunks, and a request behind them",
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ),
    ] {
        let bytes = format!("{first}{framing}{second}").into_bytes();
        let arrivals = vec![
            Arrival::new("POST", "/v1/items", b"abc"),
            Arrival::new("GET", "/v1/items/b", b""),
        ];
        cases.push(case("FR-2", name, bytes, Expected::Passed(arrivals)));
    }
    cases
}
