//! Answers for everyone: made of nothing that one client could put into them for all others.

use super::service::{Asked, Reply, Service};
use super::{PRICES, in_front_of, status, text};

fn all_of_it(asked: &Asked) -> Reply {
    Reply::good("", &asked.head)
}

#[tokio::test]
async fn what_is_not_in_the_key_never_reaches_the_upstream() {
    let service = Service::start(all_of_it).await;
    let gateway = in_front_of(&service).await;
    let request = gateway
        .client()
        .get(gateway.url(PRICES))
        .header("accept", "text/plain");
    let poisoned = request
        .header("x-forwarded-host", "evil.example")
        .header("x-host", "evil.example")
        .header("x-forwarded-scheme", "evil")
        .header("user-agent", "evil")
        .header("referer", "https://evil.example")
        .header("origin", "https://evil.example")
        .header("authorization", "Bearer evil")
        .header("accept-encoding", "evil, gzip")
        .header("tracestate", "evil=1")
        .header(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        .send()
        .await
        .unwrap();
    let seen = text(poisoned).await;
    assert!(!seen.contains("evil"), "{seen}");
    let names: Vec<_> = seen
        .lines()
        .skip(1)
        .filter_map(|line| Some(line.split_once(':')?.0.to_ascii_lowercase()))
        .collect();
    for name in &names {
        let known = ["accept", "accept-encoding", "host", "traceparent", "x-request-id"];
        assert!(
            known.contains(&name.as_str()) || name.starts_with("x-forwarded-"),
            "{name}"
        );
    }
    let host = format!("host: localhost:{}", gateway.https.port());
    assert!(seen.to_ascii_lowercase().contains(&host), "{seen}");
    assert!(
        seen.to_ascii_lowercase().contains("accept-encoding: identity"),
        "{seen}"
    );
}

#[tokio::test]
async fn host_query_and_what_the_client_accepts_are_told_apart() {
    let service = Service::start(all_of_it).await;
    let gateway = in_front_of(&service).await;
    let port = gateway.https.port();
    let ask = |host: &str, target: &str, accept: &[(&str, &str)]| {
        let (stream, host, target) = (gateway.raw_tls(), host.to_owned(), target.to_owned());
        let lines: String = accept
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        async move {
            let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n");
            crate::clients::exchange(&mut stream.await, &request).await
        }
    };
    let host = format!("localhost:{port}");
    let kinds = [
        (host.as_str(), PRICES.to_owned(), vec![]),
        ("localhost", PRICES.to_owned(), vec![]),
        ("api.bank.example", PRICES.to_owned(), vec![]),
        (host.as_str(), format!("{PRICES}?"), vec![]),
        (host.as_str(), format!("{PRICES}?a=1&b=2"), vec![]),
        (host.as_str(), format!("{PRICES}?b=2&a=1"), vec![]),
        (host.as_str(), PRICES.to_owned(), vec![("Accept", "text/plain")]),
        (
            host.as_str(),
            PRICES.to_owned(),
            vec![("Accept-Language", "text/plain")],
        ),
        (
            host.as_str(),
            PRICES.to_owned(),
            vec![("Accept", "a"), ("Accept", "b")],
        ),
        (
            host.as_str(),
            PRICES.to_owned(),
            vec![("Accept", "b"), ("Accept", "a")],
        ),
    ];
    for round in ["fwd=miss", "hit"] {
        for (host, target, accept) in &kinds {
            let answer = ask(host, target, accept).await;
            if *host == "api.bank.example" && !answer.starts_with("HTTP/1.1 200") {
                // The name that was asked for in the handshake is another one.
                continue;
            }
            assert!(
                answer.contains(&format!("portico; {round}")),
                "{host} {target} {accept:?}\n{answer}"
            );
        }
    }
    // The host is one however it is spelled.
    let answer = ask(&format!("LocalHost:{port}"), PRICES, &[]).await;
    assert!(answer.contains("portico; hit"), "{answer}");
}

#[tokio::test]
async fn a_change_at_the_path_ends_what_is_kept_for_everyone() {
    let service = Service::start(|asked| Reply::good("", asked.before.to_string())).await;
    let gateway = in_front_of(&service).await;
    for target in [PRICES, "/api/v1/prices?all"] {
        text(gateway.get(target).await).await;
        assert_eq!(status(&gateway.get(target).await), "portico; hit");
    }
    let changed = gateway
        .client()
        .post(gateway.url(PRICES))
        .body("1.09")
        .send()
        .await;
    assert_eq!(changed.unwrap().status(), 200);
    for target in [PRICES, "/api/v1/prices?all"] {
        assert_eq!(status(&gateway.get(target).await), "portico; fwd=miss");
    }
}
