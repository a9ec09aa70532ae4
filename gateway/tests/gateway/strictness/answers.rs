//! FR-12: what an upstream answers against the rules does not come out as an answer.

use std::time::Duration;

use strictness::responses::{CASES, Expected, KEPT_CASES};
use strictness::{Answers, Patience, Server};

use super::Edge;

#[tokio::test]
async fn fr12_answers_of_the_upstream_that_two_readers_would_read_differently_end_as_502() {
    for edge in [Edge::start().await, Edge::over_tls().await] {
        assert_eq!(wrong_answers(&edge).await, Vec::<String>::new());
    }
}

/// What comes out that should not.
async fn wrong_answers(edge: &Edge) -> Vec<String> {
    let server = edge.server(b"http/1.1");
    let request = b"GET /v1/items/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let patience = Patience {
        answers: usize::MAX,
        linger: Duration::ZERO,
        deadline: Duration::from_secs(20),
    };
    let mut wrong = Vec::new();
    for case in CASES {
        edge.upstream.answer_with(Some(case.bytes.to_vec()));
        let answers = server.send(request, patience).await.unwrap();
        if !is_right(&answers, case.expected) {
            wrong.push(found(case.name, case.expected, &answers));
        }
    }
    wrong
}

fn is_right(answers: &Answers, expected: Expected) -> bool {
    let text = String::from_utf8_lossy(&answers.bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    let head = head.to_ascii_lowercase();
    let is_one = text.matches("HTTP/1.1 ").count() == 1;
    !text.contains("stolen")
        && match expected {
            Expected::BadGateway => answers.statuses == [502] && head.contains("strict-transport-security"),
            Expected::Body(expected) => answers.statuses == [200] && is_one && plain(&head, body) == expected,
            Expected::Status(status, expected) => {
                answers.statuses == [status] && is_one && plain(&head, body) == expected
            }
            // A length would make some readers wait for a body (RFC 9110 §8.6).
            Expected::Empty(204) => {
                answers.statuses == [204] && is_one && body.is_empty() && !head.contains("content-length")
            }
            Expected::Empty(status @ ..=399) => answers.statuses == [status] && is_one && body.is_empty(),
            Expected::Empty(status) => answers.statuses == [status] && is_one,
            Expected::Cut => answers.statuses.is_empty() && answers.closed,
        }
}

fn found(name: &str, expected: Expected, answers: &Answers) -> String {
    let text = String::from_utf8_lossy(&answers.bytes);
    format!("{name}: expected {expected:?}, got {text:?}")
}

#[tokio::test]
async fn fr12_the_next_request_on_a_kept_connection_gets_its_own_answer_whatever_was_sent_before() {
    for edge in [Edge::start().await, Edge::over_tls().await] {
        assert_eq!(wrong_next_answers(&edge).await, Vec::<String>::new());
    }
}

/// What comes out that should not, for the first request or for the next one.
async fn wrong_next_answers(edge: &Edge) -> Vec<String> {
    let server = edge.server(b"http/1.1");
    let mut wrong = Vec::new();
    for case in KEPT_CASES {
        edge.upstream.answer_next(case.bytes);
        let [first, next] = ask_twice(&server, case.method).await;
        if !is_right(&first, case.expected) {
            wrong.push(found(case.name, case.expected, &first));
        }
        if !is_right(&next, Expected::Body("{}")) {
            wrong.push(found(case.name, Expected::Body("{}"), &next));
        }
    }
    wrong
}

/// Two requests on one connection: such a one goes to the same connection of the upstream, if that is kept.
async fn ask_twice(server: &Server, method: &str) -> [Answers; 2] {
    let first = format!("{method} /v1/items/a HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let next = b"GET /v1/items/b HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let patience = Patience {
        answers: 1,
        linger: Duration::ZERO,
        deadline: Duration::from_secs(20),
    };
    let answers = server
        .ask_in_turn(&[first.as_bytes(), next], patience)
        .await
        .unwrap();
    answers.try_into().unwrap()
}

/// An answer whose last byte is the last of the room that a reader has, and another one behind it: over TLS that stays
/// behind decrypted, and no socket has anything to read.
#[tokio::test]
async fn fr12_what_is_left_of_a_tls_record_is_never_the_answer_to_the_next_request() {
    let edge = Edge::over_tls().await;
    let server = edge.server(b"http/1.1");
    for whole in [4_096, 8_192, 16_384, 32_768] {
        for surplus in ["H", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen"] {
            edge.upstream.answer_next(&answer_of(whole, surplus));
            let [first, next] = ask_twice(&server, "GET").await;
            assert_eq!(first.statuses, [200], "{whole}");
            assert!(
                !String::from_utf8_lossy(&first.bytes).contains("stolen"),
                "{whole}"
            );
            assert!(
                is_right(&next, Expected::Body("{}")),
                "{whole} and {surplus:?}: {}",
                found("next", Expected::Body("{}"), &next)
            );
        }
    }
}

/// An answer of so many bytes, head and body, and what comes behind it.
fn answer_of(whole: usize, surplus: &str) -> Vec<u8> {
    let head = |length: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {length:05}\r\n\r\n");
    let length = whole - head(0).len();
    format!("{}{}{surplus}", head(length), "a".repeat(length)).into_bytes()
}

/// RFC 9110 §7.6.1. `TE` in an answer would even end a stream of HTTP/2.
#[tokio::test]
async fn fr12_what_is_about_the_connection_to_the_upstream_reaches_no_client() {
    let of_connection = [
        ("Connection", "X-Secret, close"),
        ("X-Secret", "1"),
        ("Keep-Alive", "timeout=600"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authenticate", "Basic"),
        ("Proxy-Authentication-Info", "a"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
        ("TE", "gzip"),
        ("Trailer", "X-Trailer"),
        ("Alt-Svc", "h3=\":443\""),
    ];
    let fields: String = of_connection
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .concat();
    let answer = format!("HTTP/1.1 200 OK\r\n{fields}X-Kept: yes\r\nContent-Length: 2\r\n\r\nok");
    let edge = Edge::start().await;
    edge.upstream.answer_with(Some(answer.into_bytes()));
    for builder in [
        edge.gateway.client_builder(),
        edge.gateway.client_builder().http1_only(),
    ] {
        let client = builder.build().unwrap();
        let answer = client.get(edge.gateway.url("/v1/items/a")).send().await.unwrap();
        let version = answer.version();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["x-kept"]),
            (200, &"yes".parse().unwrap())
        );
        let left: Vec<_> = of_connection[1..]
            .iter()
            .filter(|(name, _)| answer.headers().contains_key(*name))
            .collect();
        // The gateway has a connection of its own to tell of.
        let own = answer
            .headers()
            .get("connection")
            .map(|value| value.to_str().unwrap());
        assert!(matches!(own, None | Some("keep-alive")), "{version:?}: {own:?}");
        assert!(left.is_empty(), "{version:?}: {left:?}");
        assert_eq!(answer.text().await.unwrap(), "ok", "{version:?}");
    }
}

/// A small body without its framing.
fn plain(head: &str, body: &str) -> String {
    if !head.contains("transfer-encoding: chunked") {
        return body.to_owned();
    }
    let lines: Vec<&str> = body.split("\r\n").collect();
    lines
        .chunks(2)
        .filter_map(|chunk| chunk.get(1).copied())
        .collect()
}
