//! Moments of renewal, and how long failures wait.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use policy::SourceFile;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::attempts::Attempts;
use super::renewal::{Held, Renewal, Window};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

#[test]
fn failures_wait_for_longer_and_longer_and_never_for_more_than_six_hours() {
    let directory = tempfile::tempdir().unwrap();
    let read = || Attempts::read(directory.path(), "gateway");
    assert!(read().may_begin(at(0)), "nothing was tried yet");
    let mut now = at(1_000_000);
    for minutes in [1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360] {
        read().begin(now).unwrap();
        let due = now + TimeDelta::minutes(minutes);
        assert!(!read().may_begin(due - TimeDelta::seconds(1)), "{minutes} min");
        assert!(read().may_begin(due), "{minutes} min");
        now = due;
    }
    assert!(read().may_begin(at(1)), "the clock was set back by days");
    read().forget().unwrap();
    assert!(read().may_begin(now));
}

#[test]
fn what_is_due_again_at_once_has_the_longest_wait_too() {
    let directory = tempfile::tempdir().unwrap();
    let read = || Attempts::read(directory.path(), "gateway");
    let now = at(1_000_000);
    read().begin(now).unwrap();
    read().hold(now).unwrap();
    let due = now + TimeDelta::hours(6);
    assert!(!read().may_begin(due - TimeDelta::seconds(1)) && read().may_begin(due));
    assert!(
        read().may_begin(now - TimeDelta::days(1_800)),
        "the clock is right again"
    );
}

/// A certificate of 90 days from the first of 2027.
fn held(names: &[&str], wanted: &str) -> Option<Held> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(2027, 1, 1);
    params.not_after = date_time_ymd(2027, 4, 1);
    let pair = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    Held::read(pair.as_bytes(), &certificate(wanted))
}

fn certificate(hosts: &str) -> Arc<policy::Certificate> {
    let text = format!(
        r#"
version: 1
listeners: {{ public: {{ https: {{ bind: "0.0.0.0:443", tls: {{ min: "1.3", certificate: gateway }} }} }} }}
certificates: {{ gateway: {{ hosts: [{hosts}], acme: dns-01 }} }}
hosts: [{hosts}]
upstreams:
  orders: {{ address: "http://127.0.0.1:9000", authorization: strip, timeouts: {{ connect: 1s, read: 1s, total: 1s }} }}
headers: {{ api: {{ set: {{ X-Content-Type-Options: nosniff }}, remove: [Server] }} }}
floor:
  limits: {{ head: 16KiB, headers: 64, target: 8KiB, body: 256KiB }}
  timeouts: {{ head: 5s, body: 15s }}
  rate: {{ per-address: {{ limit: 100/min, burst: 100, key: [address] }} }}
  headers: api
routes:
  list: {{ match: {{ method: GET, path: /orders }}, auth: none, because: a test, upstream: orders }}
"#
    );
    let files = [SourceFile::new("policy.yaml".to_owned(), text)];
    policy::compile(&files, "production").unwrap().certificates()[0].clone()
}

#[test]
fn without_a_word_of_the_authority_two_thirds_of_a_life_and_a_little_more_are_enough() {
    let begun = at(1_798_761_600);
    for _ in 0..20 {
        let held = held(&["a.example"], "a.example").unwrap();
        let renewal = Renewal::plan(&held, None, begun);
        assert!(!renewal.is_due(begun + TimeDelta::days(60) - TimeDelta::seconds(1)));
        assert!(renewal.is_due(begun + TimeDelta::days(64) + TimeDelta::hours(12)));
        let again = Renewal::plan(&held, None, begun);
        assert_eq!(
            format!("{renewal:?}"),
            format!("{again:?}"),
            "the same moment every time"
        );
    }
}

#[test]
fn the_authority_chooses_the_window_but_never_one_behind_the_end() {
    let begun = at(1_798_761_600);
    let window = |start, end| Window {
        start: begun + TimeDelta::days(start),
        end: begun + TimeDelta::days(end),
        asked_again_after: TimeDelta::hours(1),
    };
    let held = held(&["a.example"], "a.example").unwrap();
    let early = Renewal::plan(&held, Some(window(2, 3)), begun);
    assert!(!early.is_due(begun + TimeDelta::days(2) - TimeDelta::seconds(1)));
    assert!(early.is_due(begun + TimeDelta::days(3)));
    assert!(early.is_fresh(begun + TimeDelta::minutes(59)) && !early.is_fresh(begun + TimeDelta::hours(1)));
    let never = Renewal::plan(&held, Some(window(900, 901)), begun);
    assert!(never.is_due(begun + TimeDelta::days(83)));
}

#[test]
fn a_certificate_that_lacks_a_name_is_none() {
    assert!(held(&["a.example", "192.0.2.1"], "a.example, 192.0.2.1").is_some());
    assert!(held(&["a.example"], "a.example, b.example").is_none());
}
