//! In clear: RD-1 to RD-6, and the same strictness as over TLS.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::clients::RawAnswer;
use crate::gateway_process::GatewayProcess;

/// Rule, what is sent behind `GET ` or as a whole, the status, and the begin of the path in `Location`.
const CASES: [(&str, &str, u16, Option<&str>); 13] = [
    (
        "RD-1 a page is redirected",
        "GET /api/v1/rates/a?b=c HTTP/1.1\r\nHost: localhost\r\n",
        308,
        Some("/api/v1/rates/a?b=c"),
    ),
    (
        "RD-1 HEAD too",
        "HEAD /api/v1/rates/a HTTP/1.1\r\nHost: localhost\r\n",
        308,
        Some("/api/v1/rates/a"),
    ),
    (
        "RD-1 a token was sent in clear",
        "GET /api/v1/me HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer a\r\n",
        403,
        None,
    ),
    (
        "RD-1 a cookie was sent in clear",
        "GET /api/v1/me HTTP/1.1\r\nHost: localhost\r\nCookie: a=b\r\n",
        403,
        None,
    ),
    (
        "RD-1 a POST is not helped",
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n",
        403,
        None,
    ),
    (
        "RD-2 a foreign host is not repeated",
        "GET /api/v1/rates/a HTTP/1.1\r\nHost: evil.example\r\n",
        421,
        None,
    ),
    (
        "RD-3 the same host",
        "GET /api/v1/rates/a HTTP/1.1\r\nHost: API.bank.example:80\r\n",
        308,
        Some("/api/v1/rates/a"),
    ),
    (
        "RD-5 CRLF in the path",
        "GET /a%0d%0aX:%20b HTTP/1.1\r\nHost: localhost\r\n",
        400,
        None,
    ),
    (
        "RD-5 another host in the path",
        "GET //evil.example/a HTTP/1.1\r\nHost: localhost\r\n",
        400,
        None,
    ),
    (
        "RD-5 a backslash in the path",
        "GET /\\evil.example HTTP/1.1\r\nHost: localhost\r\n",
        400,
        None,
    ),
    (
        "RD-6 a challenge that nobody gave",
        "GET /.well-known/acme-challenge/none HTTP/1.1\r\nHost: localhost\r\n",
        308,
        Some("/.well-known/acme-challenge/none"),
    ),
    (
        "FR-1 in clear",
        "GET /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        400,
        None,
    ),
    ("FR-4 in clear", "GET /a HTTP/1.1\nHost: localhost\r\n", 400, None),
];

#[tokio::test]
async fn rd1_rd2_rd3_rd4_rd5_rd6_what_comes_in_clear_is_redirected_to_a_name_of_ours_or_refused() {
    let gateway = GatewayProcess::start().await;
    for (name, head, status, path) in CASES {
        let mut stream = TcpStream::connect(gateway.http).await.unwrap();
        let request = format!("{head}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        let answer = RawAnswer(String::from_utf8(bytes).unwrap());
        assert_eq!(answer.status(), status, "{name}: {answer:?}");
        let head = answer.0.split("\r\n\r\n").next().unwrap();
        let location = head.lines().find_map(|line| {
            let (known, value) = line.split_once(": ")?;
            known.eq_ignore_ascii_case("location").then_some(value)
        });
        let port = gateway.https.port();
        let host = if name.starts_with("RD-3") {
            "api.bank.example"
        } else {
            "localhost"
        };
        let expected = path.map(|path| format!("https://{host}:{port}{path}"));
        assert_eq!(location, expected.as_deref(), "{name}");
        let head = head.to_ascii_lowercase();
        assert!(!head.contains("strict-transport-security"), "RD-4: {name}");
        assert!(!head.contains("evil"), "{name}: {head}");
        for field in ["x-content-type-options: nosniff", "x-request-id: "] {
            assert!(head.contains(field), "{name} has no {field}");
        }
        assert!(!head.contains("\r\nserver:"), "{name}");
    }
    assert_eq!(gateway.core.seen().len(), 0);
}
