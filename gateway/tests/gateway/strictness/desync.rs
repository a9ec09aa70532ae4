//! The corpus of AWS's HTTP Desync Guardian, which says of each request how dangerous it is: what it calls ambiguous or
//! severe is refused, and what it calls compliant arrives, apart from what the gateway refuses on purpose.

use std::time::Duration;

use strictness::desync::{Entry, corpus};
use strictness::{Patience, Server};

use super::Edge;

/// What the corpus calls compliant or acceptable, and the gateway refuses: the name, and why.
const STRICTER: [(&str, &str); 26] = [
    (
        "No TE/CL headers, some others are non-compliant",
        "FR-5: a control character",
    ),
    (
        "TE and some others are non-compliant",
        "FR-5: a control character",
    ),
    (
        "CL and some others are non-compliant",
        "FR-5: a control character",
    ),
    (
        "A non-essential header with a non-printable character (x01)",
        "FR-5: a control character",
    ),
    ("Some-Header\\x01", "FR-5: a control character"),
    ("\\x01Some-Header", "FR-5: a control character"),
    ("Some-Header: \\x01value", "FR-5: a control character"),
    ("Some-Header: value\\x01", "FR-5: a control character"),
    (
        "Valid custom header with underscore in name",
        "FR-5: application servers confuse underscores with hyphens",
    ),
    (
        "Valid custom header with tchar in name and obs-text",
        "FR-5: an underscore",
    ),
    ("Non-RFC, but OK HTTP/0.9", "FR-9: HTTP/1.1 and HTTP/2 only"),
    (
        "Empty version, which means HTTP/0.9",
        "FR-9: HTTP/1.1 and HTTP/2 only",
    ),
    ("Unknown but OK HTTP/1.2", "FR-9: HTTP/1.1 and HTTP/2 only"),
    ("[space] in URI", "FR-4: three words in a request line"),
    ("Empty URI", "FR-4: three words in a request line"),
    ("%09 in URI is OK", "PA-2: an escaped control character"),
    ("%0D in URI is OK", "PA-2: an escaped control character"),
    ("%0A in URI is OK", "PA-2: an escaped control character"),
    ("Compliant URL", "PA-2: the absolute form"),
    ("Different Transfer-Encoding headers", "FR-3: `chunked`, once"),
    (
        "Different Transfer-Encoding headers combined",
        "FR-3: `chunked`, once",
    ),
    (
        "Transfer-Encoding with a param: chunked;custom_param",
        "FR-3: `chunked`, once",
    ),
    ("Correct TE OK", "FR-3: `chunked`, once"),
    (
        "Transfer-Encoding: identity and chunked OK",
        "FR-3: `chunked`, once",
    ),
    (
        "Multiple transfer encoding headers in a single request OK",
        "FR-3: `chunked`, once",
    ),
    ("TE with custom parameters OK", "FR-3: `chunked`, once"),
];

async fn status(server: &Server, entry: &Entry) -> Option<u16> {
    let patience = Patience {
        answers: 1,
        linger: Duration::ZERO,
        deadline: Duration::from_secs(60),
    };
    let answers = server.send(&entry.bytes, patience).await.unwrap();
    answers.statuses.first().copied()
}

#[tokio::test]
async fn what_the_desync_guardian_calls_ambiguous_or_severe_is_refused_and_nothing_of_it_arrives() {
    let edge = Edge::start().await;
    let server = edge.server(b"http/1.1");
    edge.upstream.take();
    let (mut wrong, mut refused, mut compliant) = (Vec::new(), 0, 0);
    for entry in corpus().unwrap() {
        let status = status(&server, &entry).await;
        let is_dangerous = entry.tier.is_dangerous();
        let is_stricter = STRICTER.iter().any(|(name, _)| entry.name == *name);
        // What gets as far as the routes is understood: the corpus has paths of its own.
        let is_understood = matches!(status, Some(200 | 404 | 405 | 413));
        let is_refused = matches!(status, Some(400 | 405 | 417 | 505)) && !is_understood;
        let expected = is_dangerous || is_stricter;
        if expected != is_refused || expected == is_understood {
            wrong.push(format!("{:?}: {} is answered {status:?}", entry.tier, entry.name));
        }
        if is_dangerous {
            refused += 1;
        } else {
            compliant += 1;
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(
        refused >= 90 && compliant >= 40,
        "{refused} dangerous, {compliant} not"
    );
    let recorded = edge.upstream.take();
    assert_eq!((recorded.messages, recorded.faults), (vec![], vec![]));
}
