//! HTTP/2, frame by frame; what the gateway adds to its library; and floods.

use std::time::Duration;

use strictness::canonical::Message;
use strictness::http2::frame::{PREFACE, code, field, flag, frame, headers, kind};
use strictness::http2::{Case, Expected, cases};

use super::Edge;
use crate::access_log::Log;
use crate::gateway_process::eventually;

const DEADLINE: Duration = Duration::from_secs(60);

/// What the library does in another way, and why it does no harm.
const DEVIATIONS: [(&str, &str); 4] = [
    (
        "5.1-5",
        "ends the connection with PROTOCOL_ERROR instead of STREAM_CLOSED",
    ),
    (
        "6.5.2-2",
        "ends the connection with PROTOCOL_ERROR instead of FLOW_CONTROL_ERROR",
    ),
    (
        "8.3.1-7",
        "drops the fragment; what is left is what is matched and forwarded",
    ),
    ("8.1-4", "takes the trailers, which are dropped"),
];

#[tokio::test]
async fn fr11_rfc_9113_is_kept_frame_by_frame() {
    let edge = Edge::start().await;
    let server = edge.server(b"h2");
    edge.upstream.take();
    let (mut wrong, mut deviations, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    let mut cases = cases();
    assert!(cases.len() >= 120, "only {}", cases.len());
    cases.extend(stricter());
    for case in cases {
        let ending = server.converse(&case, DEADLINE).await.unwrap();
        let arrived = edge.upstream.take();
        faults.extend(arrived.faults);
        if ending.status == Some(200) {
            wrong.extend(misread(&case, &arrived.messages));
        }
        if case.expected.is_met_by(&ending) {
            continue;
        }
        if DEVIATIONS.iter().any(|(section, _)| *section == case.section) {
            deviations.push(case.section);
        } else {
            wrong.push(format!(
                "{} {}: expected {:?}, got {ending:?}",
                case.section, case.name, case.expected
            ));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(
        deviations.len(),
        DEVIATIONS.len(),
        "a deviation is gone: {deviations:?}"
    );
    assert_eq!(faults, Vec::<&str>::new());
}

/// What a server behind the gateway could read in another way, or should not see at all.
fn misread(case: &Case, arrived: &[Message]) -> Vec<String> {
    const OF_CONNECTION: [&str; 6] = [
        "te",
        "trailer",
        "keep-alive",
        "upgrade",
        "proxy-connection",
        "expect",
    ];
    let told = |what: String| format!("{} {}: {what}", case.section, case.name);
    let [message] = arrived else {
        return vec![told(format!("{} requests arrived", arrived.len()))];
    };
    let mut wrong = Vec::new();
    for (name, _) in &message.fields {
        let is_ours = name.starts_with(':') || OF_CONNECTION.contains(&&*name.to_ascii_lowercase());
        if is_ours || message.field(name).is_none() {
            wrong.push(told(format!("{name} in {:?}", message.fields)));
        }
    }
    if message.field("host") != Some("localhost") || !message.target.starts_with("/v1/items") {
        wrong.push(told(format!("{message:?}")));
    }
    wrong
}

/// RFC 9113 §8.2.3.
#[tokio::test]
async fn fr11_cookies_that_a_client_splits_reach_the_upstream_in_one_field() {
    let edge = Edge::start().await;
    let split = request(
        1,
        &[
            ("cookie", "a=b"),
            ("x-test", "a"),
            ("cookie", "c=d; e=f"),
            ("cookie", "g=h"),
        ],
    );
    let case = one("cookies", split, Expected::Answered(&[200]));
    let server = edge.server(b"h2");
    assert_eq!(server.converse(&case, DEADLINE).await.unwrap().status, Some(200));
    let [message] = edge.upstream.take().messages.try_into().unwrap();
    assert_eq!(message.field("cookie"), Some("a=b; c=d; e=f; g=h"));
}

fn one(name: &'static str, bytes: Vec<u8>, expected: Expected) -> Case {
    Case {
        section: "gateway",
        name,
        bytes,
        is_bare: false,
        expected,
    }
}

/// What the library lets through, or other servers may.
fn stricter() -> Vec<Case> {
    let with = |name, value| {
        let start = START.map(|(known, old)| (known, if known == name { value } else { old }));
        headers(1, true, &start)
    };
    let spaced = |value| headers(1, true, &[START.as_slice(), &[("x-test", value)]].concat());
    let get = |body: &[u8]| {
        [
            headers(1, false, &START),
            frame(kind::DATA, flag::END_STREAM, 1, body),
        ]
        .concat()
    };
    let refused = Expected::Answered(&[400]);
    vec![
        one("GET with DATA and no length (FR-7)", get(b"abc"), refused),
        one("GET that does not end with its head (FR-7)", get(b""), refused),
        one("another scheme", with(":scheme", "http"), refused),
        one("a scheme of nobody", with(":scheme", "ftp"), refused),
        one("a space before a value", spaced(" a"), refused),
        one("a tab behind a value", spaced("a\t"), refused),
        one(
            "a space within a value",
            spaced("a b"),
            Expected::Answered(&[200]),
        ),
    ]
}

const START: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "localhost"),
    (":path", "/v1/items/a"),
];

fn request(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    headers(stream, true, &[START.as_slice(), more].concat())
}

#[tokio::test]
async fn fr11_what_the_library_answers_by_itself_has_our_headers_and_a_line_and_is_counted() {
    let log = Log::capture();
    let edge = Edge::start().await;
    let server = edge.server(b"h2");
    let mut large = frame(kind::HEADERS, flag::END_STREAM, 1, &field(":method", "GET"));
    for part in 0..5 {
        let flags = if part == 4 { flag::END_HEADERS } else { 0 };
        large.extend(frame(
            kind::CONTINUATION,
            flags,
            1,
            &field("x", &"a".repeat(16_000)),
        ));
    }
    for (status, rule, bytes) in [
        (400, "FR-11", request(1, &[("host", "evil.example")])),
        (431, "limits.head", large),
    ] {
        let case = one("refused by the library", bytes, Expected::Answered(&[400, 431]));
        let ending = server.converse(&case, DEADLINE).await.unwrap();
        assert_eq!(ending.status, Some(status), "{ending:?}");
        let answer = ending
            .events
            .iter()
            .find(|event| event.kind == kind::HEADERS)
            .unwrap();
        for name in [
            "strict-transport-security",
            "x-content-type-options",
            "x-request-id",
            "traceresponse",
        ] {
            assert!(answer.contains(name), "{status} has no {name}");
        }
        assert!(!answer.contains("server"), "{status}");
        let said = [format!(r#""status":{status}"#), format!(r#""rule":"{rule}"#)];
        let is_it =
            |line: &str| line.contains(r#""target":"access""#) && said.iter().all(|said| line.contains(said));
        eventually("the line is written", || async { log.text().lines().any(is_it) }).await;
    }
    let count = |line: &'static str| edge.gateway.counts(line, 1);
    count(r#"portico_refused_heads_total{rule="FR-11"}"#).await;
    count(r#"portico_refused_heads_total{rule="limits.head"}"#).await;
    count(r#"portico_requests_total{method="other",route="none",status="431"}"#).await;
}

#[tokio::test]
async fn fr11_floods_of_frames_that_ask_for_nothing_end_their_connection_and_others_are_served() {
    const CALM: Expected = Expected::ConnectionError(&[code::ENHANCE_YOUR_CALM]);
    let edge = Edge::start().await;
    let server = edge.server(b"h2");
    let times = 3_000;
    let resets: Vec<u8> = (0..times)
        .flat_map(|number| {
            let stream = number * 2 + 1;
            [
                request(stream, &[]),
                frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]),
            ]
            .concat()
        })
        .collect();
    let many = |bytes: Vec<u8>| bytes.repeat(times.try_into().unwrap());
    let open = headers(
        1,
        false,
        &[
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", "/v1/items"),
        ],
    );
    let floods = [
        one("rapid reset", resets, CALM),
        one("PING", many(frame(kind::PING, 0, 0, &[0; 8])), CALM),
        one("SETTINGS", many(frame(kind::SETTINGS, 0, 0, &[])), CALM),
        one(
            "PRIORITY",
            many(frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
            CALM,
        ),
        one("unknown frames", many(frame(0x16, 0, 0, &[])), CALM),
        one(
            "windows",
            many(frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
            CALM,
        ),
        one(
            "empty DATA",
            [open, many(frame(kind::DATA, 0, 1, &[]))].concat(),
            CALM,
        ),
        one(
            "CONTINUATION",
            [
                frame(kind::HEADERS, 0, 1, &[]),
                many(frame(kind::CONTINUATION, 0, 1, &[])),
            ]
            .concat(),
            CALM,
        ),
    ];
    for flood in floods {
        let ending = server.converse(&flood, DEADLINE).await.unwrap();
        let goaway = ending.goaway;
        assert!(
            flood.expected.is_met_by(&ending),
            "{}: {goaway:?}, closed {}",
            flood.name,
            ending.closed
        );
    }
    let good = one("a good request", request(1, &[]), Expected::Answered(&[200]));
    let ending = server.converse(&good, DEADLINE).await.unwrap();
    assert_eq!(ending.status, Some(200));
}

#[tokio::test]
async fn fr11_a_head_that_does_not_end_is_cut_by_the_deadline_of_heads() {
    const CALM: Expected = Expected::ConnectionError(&[code::ENHANCE_YOUR_CALM]);
    let edge = Edge::start().await;
    let server = edge.server(b"h2");
    let begun = |stream| frame(kind::HEADERS, flag::END_STREAM, stream, &field(":method", "GET"));
    let whole = request(1, &[]);
    let half = whole[..whole.len() - 1].to_vec();
    let cases = [
        one("no END_HEADERS", begun(1), CALM),
        one("half a frame", half, CALM),
        one("behind a good request", [whole, begun(3)].concat(), CALM),
    ];
    for case in cases {
        // Nothing may follow, not even the PING of the others.
        let case = Case {
            bytes: [PREFACE, &frame(kind::SETTINGS, 0, 0, &[]), &case.bytes].concat(),
            is_bare: true,
            ..case
        };
        let ending = server.converse(&case, DEADLINE).await.unwrap();
        assert!(case.expected.is_met_by(&ending), "{}: {ending:?}", case.name);
    }
    let counted = r#"portico_refused_heads_total{rule="floor.timeouts.head"}"#;
    edge.gateway.counts(counted, 3).await;
}

#[tokio::test]
async fn streams_beyond_the_agreed_number_are_refused_and_a_closed_window_holds_nobody_else() {
    let edge = Edge::start().await;
    let server = edge.server(b"h2");
    // With a window of zero no answer ends, so its stream stays open.
    let closed = frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let requests: Vec<u8> = (0..150).flat_map(|number| request(number * 2 + 1, &[])).collect();
    let case = one(
        "150 streams",
        [closed, requests].concat(),
        Expected::ConnectionError(&[]),
    );
    let greedy = tokio::spawn({
        let server = server.clone();
        async move { server.converse(&case, Duration::from_secs(2)).await.unwrap() }
    });
    let good = one("a good request", request(1, &[]), Expected::Answered(&[200]));
    assert_eq!(server.converse(&good, DEADLINE).await.unwrap().status, Some(200));
    let ending = greedy.await.unwrap();
    assert_eq!(ending.reset, Some(code::REFUSED_STREAM));
}
