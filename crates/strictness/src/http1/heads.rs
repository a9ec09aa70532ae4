//! The lines of a head: FR-4, FR-5, FR-9, and sizes.

use super::{Arrival, Case, passed, post_refused, refused, shown};

/// Request lines that are none.
const REQUEST_LINES: [(&str, &[u8]); 25] = [
    ("FR-4", b"GET  /v1/items/a HTTP/1.1"),
    ("FR-4", b"GET /v1/items/a  HTTP/1.1"),
    ("FR-4", b" GET /v1/items/a HTTP/1.1"),
    ("FR-4", b"GET /v1/items/a HTTP/1.1 "),
    ("FR-4", b"GET /v1/items/a HTTP/1.1 x"),
    ("FR-4", b"GET\t/v1/items/a\tHTTP/1.1"),
    ("FR-4", b"GET /v1/items/a"),
    ("FR-4", b"GET"),
    ("FR-4", b"GET /v1/items/a b HTTP/1.1"),
    ("FR-4", b"GET /v1/items/a\x0bHTTP/1.1"),
    ("FR-9", b"G@T /v1/items/a HTTP/1.1"),
    ("FR-9", b"G(T) /v1/items/a HTTP/1.1"),
    ("FR-9", b"\"GET\" /v1/items/a HTTP/1.1"),
    ("FR-9", b"GET\x00 /v1/items/a HTTP/1.1"),
    ("FR-9", b"G\xc3\x8bT /v1/items/a HTTP/1.1"),
    ("FR-9", b"GET /v1/items/a http/1.1"),
    ("FR-9", b"GET /v1/items/a HTTP/2"),
    ("FR-9", b"GET /v1/items/a HTTP/11"),
    ("FR-9", b"GET /v1/items/a HTTP/1.10"),
    ("FR-9", b"GET /v1/items/a HTTP/1.1\x00"),
    ("FR-9", b"GET /v1/items/a HTTP /1.1"),
    ("FR-9", b"GET /v1/items/a HTCPCP/1.0"),
    ("FR-9", b"GET /v1/items/a HTTP"),
    ("FR-9", b"GET /v1/items/a 1.1"),
    ("FR-9", b"/v1/items/a GET HTTP/1.1"),
];

/// Versions that are not served here.
const VERSIONS: [&str; 6] = [
    "HTTP/0.9", "HTTP/1.2", "HTTP/1.9", "HTTP/2.0", "HTTP/3.0", "HTTP/9.9",
];

/// Header lines that are none.
const LINES: [(&str, &[u8]); 15] = [
    ("FR-4", b"no colon\r\n"),
    ("FR-4", b": no name\r\n"),
    ("FR-4", b":\r\n"),
    ("FR-4", b"X : a\r\n"),
    ("FR-4", b"X\t: a\r\n"),
    ("FR-4", b" X: a\r\n"),
    ("FR-4", b"\tX: a\r\n"),
    ("FR-4", b"X: a\r\n folded\r\n"),
    ("FR-4", b"X: a\r\n\tfolded\r\n"),
    ("FR-4", b"X: a\nY: b\r\n"),
    ("FR-4", b"X: a\rY: b\r\n"),
    ("FR-4", b"X: a\r\rY: b\r\n"),
    ("FR-4", b"X: a\n\r\n"),
    ("FR-4", b"\rX: a\r\n"),
    ("FR-5", b"X Y: a\r\n"),
];

pub(super) fn cases() -> Vec<Case> {
    let request_lines = REQUEST_LINES.iter().map(|(rule, line)| {
        let head = [line, b"\r\nHost: localhost\r\n\r\n".as_slice()].concat();
        refused(rule, &shown(line), &head)
    });
    let versions = VERSIONS.iter().map(|version| {
        let head = format!("GET /v1/items/a {version}\r\nHost: localhost\r\n\r\n");
        refused("FR-9", version, head.as_bytes()).status(505)
    });
    let lines = LINES.iter().map(|(rule, line)| {
        let fields = [line, b"Content-Length: 0\r\n\r\n".as_slice()].concat();
        post_refused(rule, &shown(line), &fields)
    });
    let mut cases: Vec<Case> = request_lines.chain(versions).chain(lines).collect();
    cases.extend(line_ends());
    cases.extend(bytes_in_names_and_values());
    cases.extend(methods());
    cases.extend(sizes());
    cases
}

fn line_ends() -> Vec<Case> {
    let heads: [(&str, &[u8]); 8] = [
        (
            "bare LF throughout",
            b"GET /v1/items/a HTTP/1.1\nHost: localhost\n\n",
        ),
        (
            "bare LF behind the request line",
            b"GET /v1/items/a HTTP/1.1\nHost: localhost\r\n\r\n",
        ),
        (
            "bare LF behind a field",
            b"GET /v1/items/a HTTP/1.1\r\nHost: localhost\n\r\n",
        ),
        (
            "bare LF at the end",
            b"GET /v1/items/a HTTP/1.1\r\nHost: localhost\r\n\n",
        ),
        (
            "bare CR behind the request line",
            b"GET /v1/items/a HTTP/1.1\rHost: localhost\r\n\r\n",
        ),
        (
            "CR CR LF",
            b"GET /v1/items/a HTTP/1.1\r\r\nHost: localhost\r\n\r\n",
        ),
        (
            "a space before the first field",
            b"GET /v1/items/a HTTP/1.1\r\n Host: localhost\r\n\r\n",
        ),
        (
            "LF before the request line",
            b"\nGET /v1/items/a HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ),
    ];
    let mut cases: Vec<Case> = heads.map(|(name, head)| refused("FR-4", name, head)).into();
    let empty_line = b"\r\nGET /v1/items/a HTTP/1.1\r\nHost: localhost\r\n\r\n";
    cases.push(refused("FR-4", "an empty line before the request line", empty_line).legal());
    cases
}

/// FR-5: every byte that may not stand where it stands.
fn bytes_in_names_and_values() -> Vec<Case> {
    let mut cases = Vec::new();
    let controls = (0_u8..0x20).chain([0x7f]);
    for byte in controls.filter(|byte| !matches!(byte, b'\t' | b'\n' | b'\r')) {
        let rule = if byte == 0 { "FR-4" } else { "FR-5" };
        let value = [b"X: a", [byte].as_slice(), b"b\r\nContent-Length: 0\r\n\r\n"].concat();
        cases.push(post_refused(rule, &format!("{byte:#04x} in a value"), &value));
        let name = [b"X", [byte].as_slice(), b"Y: a\r\nContent-Length: 0\r\n\r\n"].concat();
        cases.push(post_refused(rule, &format!("{byte:#04x} in a name"), &name));
    }
    for byte in *b"\"(),/;<=>?@[\\]{}\x80\xa0\xff" {
        let name = [b"X", [byte].as_slice(), b"Y: a\r\nContent-Length: 0\r\n\r\n"].concat();
        cases.push(post_refused(
            "FR-5",
            &format!("{} in a name", shown(&[byte])),
            &name,
        ));
    }
    for name in ["X_Y", "Content_Length", "_", "X-Auth_Subject"] {
        let field = format!("{name}: 5\r\nContent-Length: 0\r\n\r\n");
        cases.push(post_refused("FR-5", &format!("{name}: an underscore"), field.as_bytes()).legal());
    }
    for name in [
        "Transfer--Encoding",
        "Transfer.Encoding",
        "TransferEncoding",
        "Content--Length",
        "ContentLength",
        "Content-Length-",
    ] {
        let field = format!("{name}: 5\r\nContent-Length: 0\r\n\r\n");
        cases.push(
            post_refused(
                "FR-5",
                &format!("{name}: nearly a framing field"),
                field.as_bytes(),
            )
            .legal(),
        );
    }
    let tokens = "GET /v1/items/a HTTP/1.1\r\nHost: localhost\r\nX-!#$%&'*+.^`|~09: \t a b\t \r\n\r\n";
    let arrival = Arrival::new("GET", "/v1/items/a", b"").with("X-!#$%&'*+.^`|~09", Some("a b"));
    cases.push(passed("FR-5", "every character of a token", tokens, arrival));
    let empty = "GET /v1/items/a HTTP/1.1\r\nHost: localhost\r\nX-Empty:\r\n\r\n";
    let arrival = Arrival::new("GET", "/v1/items/a", b"").with("X-Empty", Some(""));
    cases.push(passed("FR-5", "an empty value", empty, arrival));
    cases
}

fn methods() -> Vec<Case> {
    let request = |method: &str| format!("{method} /v1/items/a HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut cases = Vec::new();
    let closing = |method: &str| request(method).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    for method in ["TRACE", "TRACK", "PROPFIND", "get", "GETS", "PRI"] {
        cases.push(
            refused("FR-9", method, closing(method).as_bytes())
                .status(405)
                .legal(),
        );
    }
    let connect = "CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    cases.push(refused("FR-9", "CONNECT", connect.as_bytes()).status(405).legal());
    let old = "GET /v1/items/a HTTP/1.0\r\nHost: localhost\r\n\r\n";
    cases.push(refused("FR-9", "HTTP/1.0", old.as_bytes()).status(505).legal());
    let old = "POST /v1/items HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    cases.push(refused("FR-3", "chunks in HTTP/1.0", old.as_bytes()).status(505));
    for method in ["GET", "HEAD", "DELETE"] {
        cases.push(passed(
            "FR-9",
            method,
            &request(method),
            Arrival::new(method, "/v1/items/a", b""),
        ));
    }
    cases
}

fn sizes() -> Vec<Case> {
    let with = |fields: &str| format!("GET /v1/items/a HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    let target = format!(
        "GET /v1/items/{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "a".repeat(9_000)
    );
    vec![
        refused("limits.target", "a target of 9,000 bytes", target.as_bytes())
            .status(414)
            .legal(),
        refused(
            "limits.headers",
            "120 fields",
            with(&"X: a\r\n".repeat(120)).as_bytes(),
        )
        .status(431)
        .legal(),
        refused(
            "limits.head",
            "a field of 70,000 bytes",
            with(&format!("X: {}\r\n", "a".repeat(70_000))).as_bytes(),
        )
        .status(431)
        .legal(),
        passed(
            "limits.headers",
            "40 fields",
            &with(&"X: a\r\n".repeat(40)),
            Arrival::new("GET", "/v1/items/a", b""),
        ),
    ]
}
