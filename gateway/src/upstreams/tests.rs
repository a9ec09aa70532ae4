//! Choosing among addresses, and following a name.

use std::net::SocketAddr;
use std::time::Duration;

use policy::{Ejection, HealthCheck, Plan, Scheme, SourceFile, Upstream, UpstreamAddress, compile};

use super::*;

/// An upstream of a whole policy, with these addresses.
fn upstream(addresses: &[&str]) -> Arc<Upstream> {
    let (first, others) = addresses.split_first().unwrap();
    let others = others.join(", ");
    let also_at = match others.is_empty() {
        true => String::new(),
        false => format!("also_at: [{others}], eject: {{ failures: 1, for: 10s }}, "),
    };
    let policy = format!(
        r#"
version: 1
listeners: {{ public: {{ https: {{ bind: "127.0.0.1:1", tls: {{ min: "1.3", certificate: gateway }} }} }} }}
hosts: [api.bank.example]
upstreams:
  core: {{ address: {first}, {also_at}authorization: strip, timeouts: {{ connect: 1s, read: 1s, total: 1s }} }}
headers: {{ api: {{ set: {{ X-Frame-Options: DENY }}, remove: [Server] }} }}
floor:
  limits: {{ head: 2KiB, headers: 9, target: 1KiB, body: 1KiB }}
  timeouts: {{ head: 1s, body: 1s }}
  rate: {{ all: {{ limit: 1/s, burst: 1, key: [address] }} }}
  headers: api
routes:
  one: {{ match: {{ method: GET, path: /a }}, auth: none, because: a test, upstream: core }}
"#
    );
    let files = [
        SourceFile::new("base.yaml", policy),
        SourceFile::new("environments/test.yaml", "version: 1\nenvironment: test\n"),
    ];
    let plan: Plan = compile(&files, "test").unwrap();
    plan.upstreams()[0].clone()
}

fn pool(addresses: &[&str]) -> Arc<Pool> {
    Arc::new(Pool::new(&upstream(addresses), Path::new("/nowhere"), None).unwrap())
}

fn addresses(pool: &Pool) -> Vec<String> {
    let label = |endpoint: &Arc<Endpoint>| format!("{:?}", endpoint.location);
    pool.endpoints.load().iter().map(label).collect()
}

const NAME: &str = "http://core.bank.internal:80";

fn name() -> UpstreamAddress {
    UpstreamAddress::Name {
        scheme: Scheme::Http,
        host: "core.bank.internal".to_owned(),
        port: 80,
    }
}

fn found(addresses: &[&str]) -> Vec<SocketAddr> {
    addresses.iter().map(|address| address.parse().unwrap()).collect()
}

#[test]
fn a_name_is_followed_where_it_points_and_what_is_known_of_an_address_stays() {
    let pool = pool(&[NAME]);
    assert!(matches!(pool.begin(&[]), Err(Refused::Nowhere)));
    pool.adopt(&name(), found(&["10.0.0.2:80", "10.0.0.1:80", "10.0.0.1:80"]));
    assert_eq!(addresses(&pool), ["Tcp(10.0.0.1:80)", "Tcp(10.0.0.2:80)"]);
    let stays = pool.endpoints.load()[1].clone();

    pool.adopt(&name(), found(&["10.0.0.3:80", "10.0.0.2:80"]));
    assert_eq!(addresses(&pool), ["Tcp(10.0.0.2:80)", "Tcp(10.0.0.3:80)"]);
    assert!(Arc::ptr_eq(&stays, &pool.endpoints.load()[0]));

    // A name server that knows nothing changes nothing.
    pool.adopt(&name(), Vec::new());
    assert_eq!(addresses(&pool).len(), 2);
}

#[test]
fn a_changed_policy_keeps_the_addresses_of_a_name() {
    let before = pool(&[NAME]);
    before.adopt(&name(), found(&["10.0.0.1:80"]));
    let after = Pool::new(&upstream(&[NAME]), Path::new("/nowhere"), Some(&before)).unwrap();
    assert!(Arc::ptr_eq(
        &before.endpoints.load()[0],
        &after.endpoints.load()[0]
    ));
}

#[test]
fn localhost_stays_on_this_machine_whatever_is_answered() {
    let pool = pool(&["http://localhost:80"]);
    let localhost = UpstreamAddress::Name {
        scheme: Scheme::Http,
        host: "localhost".to_owned(),
        port: 80,
    };
    pool.adopt(&localhost, found(&["10.0.0.1:80", "127.0.0.1:80"]));
    assert_eq!(addresses(&pool), ["Tcp(127.0.0.1:80)"]);
}

const THREE: [&str; 3] = ["unix:a.sock", "unix:b.sock", "unix:c.sock"];

#[test]
fn an_attempt_goes_to_an_address_that_has_not_failed_the_request() {
    let pool = pool(&THREE);
    for _ in 0..100 {
        let mut failed = Vec::new();
        for _ in 0..3 {
            let attempt = pool.begin(&failed).unwrap();
            assert!(
                !failed
                    .iter()
                    .any(|failed| Arc::ptr_eq(failed, attempt.endpoint()))
            );
            failed.push(attempt.endpoint().clone());
        }
        assert!(pool.begin(&failed).is_ok(), "when all have, any of them");
    }
}

#[test]
fn a_crowd_is_spread_evenly() {
    let pool = pool(&THREE);
    let under_way: Vec<Attempt> = (0..300).map(|_| pool.begin(&[]).unwrap()).collect();
    for endpoint in pool.endpoints.load().iter() {
        let count = endpoint.in_flight.get();
        assert!((90..=110).contains(&count), "{count} of 300");
    }
    drop(under_way);
    let left: i64 = pool
        .endpoints
        .load()
        .iter()
        .map(|endpoint| endpoint.in_flight.get())
        .sum();
    assert_eq!(left, 0);
}

#[test]
fn whatever_fails_one_address_is_left_and_ejections_grow_to_sixteen_times() {
    let pool = pool(&THREE);
    for _ in 0..100 {
        pool.begin(&[]).unwrap().failed();
        let now = now_ms();
        let can_serve = pool
            .endpoints
            .load()
            .iter()
            .filter(|one| one.can_serve(now))
            .count();
        assert!(can_serve >= 1);
    }
    let endpoint = pool.endpoints.load()[0].clone();
    let eject = Ejection {
        failures: 1,
        time: Duration::from_secs(10),
    };
    let start = now_ms() + 10_000_000;
    let mut now = start;
    let mut longest = 0;
    for _ in 0..10 {
        endpoint.eject(now, eject.time);
        let from = now;
        while !endpoint.can_serve(now) {
            now += 1_000;
        }
        longest = longest.max(now - from);
    }
    assert_eq!(longest, 160_000);
}

#[test]
fn an_answer_that_contradicts_counts_only_in_a_row() {
    let pool = pool(&THREE);
    let endpoint = pool.endpoints.load()[0].clone();
    let check = HealthCheck {
        path: "/health".to_owned(),
        every: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        failures: 3,
        successes: 2,
    };
    let bad = || Err("ill".to_owned());
    for answer in [bad(), bad(), Ok(()), bad(), bad()] {
        endpoint.observe(answer, &check);
        assert!(endpoint.can_serve(now_ms()));
    }
    endpoint.observe(bad(), &check);
    assert!(!endpoint.can_serve(now_ms()));
    endpoint.observe(Ok(()), &check);
    endpoint.observe(bad(), &check);
    endpoint.observe(Ok(()), &check);
    assert!(!endpoint.can_serve(now_ms()));
    endpoint.observe(Ok(()), &check);
    assert!(endpoint.can_serve(now_ms()));
}
