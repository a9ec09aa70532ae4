//! The corpus of AWS's HTTP Desync Guardian, which says of each request how dangerous it is: what it calls ambiguous or
//! severe is refused, and what it calls compliant arrives, apart from what the gateway refuses on purpose.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
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

/// One request of the corpus.
struct Entry {
    name: String,
    tier: String,
    bytes: Vec<u8>,
}

/// The corpus writes bytes as characters: `\xff` is one byte.
fn latin1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|letter| u8::try_from(u32::from(letter)).unwrap_or(b'?'))
        .collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn entry(case: &Value) -> Entry {
    let line = format!(
        "{} {} {}",
        text(&case["method"]),
        text(&case["uri"]),
        text(&case["version"])
    );
    let mut bytes = latin1(line.trim_end_matches(' '));
    bytes.extend(b"\r\nHost: localhost\r\n");
    let mut has_chunks = false;
    let mut length = 0;
    for field in case["headers"].as_array().into_iter().flatten() {
        let (name, value) = (text(&field["name"]), text(&field["value"]));
        if name.eq_ignore_ascii_case("host") {
            continue;
        }
        has_chunks |=
            name.eq_ignore_ascii_case("transfer-encoding") && value.trim().eq_ignore_ascii_case("chunked");
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap_or(0);
        }
        bytes.extend([latin1(&name), b": ".to_vec(), latin1(&value), b"\r\n".to_vec()].concat());
    }
    bytes.extend(b"\r\n");
    if has_chunks {
        bytes.extend(b"0\r\n\r\n");
    } else {
        bytes.extend(vec![b'a'; usize::min(length, 4_096)]);
    }
    Entry {
        name: text(&case["name"]),
        tier: text(&case["expected"]["tier"]),
        bytes,
    }
}

fn corpus() -> Vec<Entry> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/desync-guardian");
    let mut entries = Vec::new();
    for file in std::fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let cases: Vec<Value> = serde_yaml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            entries.extend(cases.iter().map(entry));
        }
    }
    entries
}

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
    for entry in corpus() {
        let status = status(&server, &entry).await;
        let is_dangerous = matches!(entry.tier.as_str(), "Ambiguous" | "Severe");
        let is_stricter = STRICTER.iter().any(|(name, _)| entry.name == *name);
        // What gets as far as the routes is understood: the corpus has paths of its own.
        let is_understood = matches!(status, Some(200 | 404 | 405 | 413));
        let is_refused = matches!(status, Some(400 | 405 | 417 | 505)) && !is_understood;
        let expected = is_dangerous || is_stricter;
        if expected != is_refused || expected == is_understood {
            wrong.push(format!("{}: {} is answered {status:?}", entry.tier, entry.name));
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
