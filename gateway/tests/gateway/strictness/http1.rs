//! Hundreds of HTTP/1.1 requests, good and bad.

use std::time::Duration;

use futures::StreamExt as _;
use strictness::http1::{Arrival, Case, Expected, cases};
use strictness::{Answers, Patience, Recorded, Server};

use super::Edge;
use crate::clients::RawAnswer;

/// Far more than anything here needs: a case that comes near it fails.
const DEADLINE: Duration = Duration::from_secs(20);
/// Refusals reach no upstream, so they can be tried side by side.
const AT_ONCE: usize = 16;

async fn send(server: &Server, case: &Case, answers: usize) -> Answers {
    let patience = Patience {
        answers,
        linger: Duration::ZERO,
        deadline: DEADLINE,
    };
    server.send(&case.bytes, patience).await.unwrap()
}

/// What is wrong with the answer to a request that must be refused: it has our status, our page, and an end behind it.
fn wrong_refusal(case: &Case, answers: &Answers, status: u16) -> Option<String> {
    // Nothing may come behind the first answer, and a policy's refusal may leave the connection open.
    let is_right = answers.statuses == [status] && answers.closed;
    if !is_right {
        return Some(format!("{:?}, closed: {}", answers.statuses, answers.closed));
    }
    let answer = RawAnswer(String::from_utf8(answers.bytes.clone()).unwrap());
    if case.bytes.starts_with(b"HEAD ") {
        return None;
    }
    answer.assert_refused(status, &case.name);
    None
}

fn wrong_arrival(recorded: &Recorded, expected: &[Arrival]) -> Option<String> {
    if !recorded.faults.is_empty() || recorded.messages.len() != expected.len() {
        return Some(format!("the upstream got {recorded:?}"));
    }
    recorded
        .messages
        .iter()
        .zip(expected)
        .find_map(|(message, expected)| {
            let same = message.method == expected.method
                && message.target == expected.target
                && message.body == expected.body;
            let fields = expected.fields.iter().all(|(name, value)| match value {
                Some(value) => message.field(name) == Some(value),
                None => message
                    .fields
                    .iter()
                    .all(|(known, _)| !known.eq_ignore_ascii_case(name)),
            });
            (!same || !fields).then(|| format!("the upstream got {message:?}"))
        })
}

#[tokio::test]
async fn fr_and_pa_what_is_malformed_ambiguous_or_too_much_is_refused_and_nothing_of_it_arrives() {
    let edge = Edge::start().await;
    let server = edge.server(b"http/1.1");
    edge.upstream.take();
    let refusals: Vec<(Case, u16)> = cases()
        .into_iter()
        .filter_map(|case| match case.expected {
            Expected::Refused(status) | Expected::Stricter(status) => Some((case, status)),
            Expected::Passed(_) => None,
        })
        .collect();
    assert!(refusals.len() >= 350, "only {}", refusals.len());
    let server = &server;
    let wrong: Vec<String> = futures::stream::iter(&refusals)
        .map(|(case, status)| async move {
            let answers = send(server, case, usize::MAX).await;
            let wrong = wrong_refusal(case, &answers, *status)?;
            Some(format!("{} {}: {wrong}, not {status}", case.rule, case.name))
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await;
    assert_eq!(wrong, Vec::<String>::new());
    let recorded = edge.upstream.take();
    assert_eq!((recorded.messages, recorded.faults), (vec![], vec![]));
}

#[tokio::test]
async fn fr13_pa1_pa5_what_is_legal_arrives_once_as_it_was_sent_and_without_what_is_ours_to_say() {
    let edge = Edge::start().await;
    let server = edge.server(b"http/1.1");
    edge.upstream.take();
    let (mut wrong, mut tried) = (Vec::new(), 0);
    for case in cases() {
        let Expected::Passed(arrivals) = &case.expected else {
            continue;
        };
        tried += 1;
        let answers = send(&server, &case, arrivals.len()).await;
        let recorded = edge.upstream.take();
        let statuses_wrong = answers.statuses != vec![200; arrivals.len()];
        let wrong_statuses = statuses_wrong.then(|| format!("{:?}", answers.statuses));
        if let Some(what) = wrong_statuses.or_else(|| wrong_arrival(&recorded, arrivals)) {
            wrong.push(format!("{} {}: {what}", case.rule, case.name));
        }
    }
    assert!(tried >= 50, "only {tried}");
    assert_eq!(wrong, Vec::<String>::new());
}
