//! FR-12: what an upstream answers against the rules does not come out as an answer.

use std::time::Duration;

use strictness::Patience;
use strictness::responses::{CASES, Expected};

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
        let text = String::from_utf8_lossy(&answers.bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
        let head = head.to_ascii_lowercase();
        let is_right = !text.contains("stolen")
            && match case.expected {
                Expected::BadGateway => {
                    answers.statuses == [502] && head.contains("strict-transport-security")
                }
                Expected::Body(expected) => {
                    answers.statuses == [200]
                        && text.matches("HTTP/1.1 ").count() == 1
                        && plain(&head, body) == expected
                }
                Expected::Cut => answers.statuses.is_empty() && answers.closed,
            };
        if !is_right {
            wrong.push(format!(
                "{}: expected {:?}, got {text:?}",
                case.name, case.expected
            ));
        }
    }
    wrong
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
