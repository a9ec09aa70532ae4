//! Answers compressed for clients that take it, where the policy says so.

use std::io::Read as _;

use http::Method;
use reqwest::Response;

use crate::cache::service::{Reply, Service};
use crate::clients::exchange;
use crate::gateway_process::{GatewayProcess, POLICY};

const LIST: &str = "/api/v1/list";
const KEPT: &str = "/api/v1/kept";
const JSON: &str = "Content-Type: application/json; charset=utf-8\r\n";

const ROUTES: &str = r#"
  list:
    match: { method: GET, path: /api/v1/list }
    auth: none
    because: the list is for everyone
    compress: { over: 1KiB, types: [application/json] }
    cors: web
    upstream: core
  kept:
    match: { method: GET, path: /api/v1/kept }
    auth: none
    because: the list is for everyone
    cache: { for: 1h, key: public, largest: 64KiB }
    compress: { over: 1KiB, types: [application/json] }
    upstream: core
"#;

async fn in_front_of(service: &Service) -> GatewayProcess {
    let core = format!("    address: http://{}\n", service.address);
    let policy = POLICY
        .replace("    address: unix:core.sock\n", &core)
        .replace("read: 2s, total: 4s", "read: 4min, total: 5min");
    GatewayProcess::with(&format!("{policy}{ROUTES}"), |_| ()).await
}

fn list(items: usize) -> String {
    let items: Vec<_> = (0..items)
        .map(|item| format!(r#"{{"id":"acc_{item}","amount":"{}.00"}}"#, item * 7))
        .collect();
    format!("[{}]", items.join(","))
}

async fn get(gateway: &GatewayProcess, target: &str, accept: &str) -> Response {
    let request = gateway.client().get(gateway.url(target));
    request.header("accept-encoding", accept).send().await.unwrap()
}

fn value<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    answer.headers().get(name).map(|value| value.to_str().unwrap())
}

async fn decoded(answer: Response) -> String {
    let coding = value(&answer, "content-encoding").map(str::to_owned);
    let bytes = answer.bytes().await.unwrap();
    let mut text = String::new();
    match coding.as_deref() {
        Some("br") => brotli::Decompressor::new(&*bytes, 4096).read_to_string(&mut text),
        Some("gzip") => flate2::read::GzDecoder::new(&*bytes).read_to_string(&mut text),
        None => (&*bytes).read_to_string(&mut text),
        Some(other) => panic!("{other}"),
    }
    .unwrap();
    text
}

#[tokio::test]
async fn a_client_gets_the_coding_that_it_likes_best_and_the_upstream_is_asked_for_none() {
    let body = list(200);
    let sent = body.clone();
    let service = Service::start(move |_| {
        Reply::good(&format!("{JSON}ETag: \"v1\"\r\nAccept-Ranges: bytes\r\n"), &sent)
    })
    .await;
    let gateway = in_front_of(&service).await;
    for (accept, coding) in [
        ("gzip, deflate, br", Some("br")),
        ("gzip", Some("gzip")),
        ("br;q=0.1, gzip;q=0.2", Some("gzip")),
        ("gzip, identity;q=0", Some("gzip")),
        ("br;q=0, gzip;q=0", None),
        ("identity, br;q=0.9", None),
        ("deflate, zstd", None),
        ("identity;q=0", None),
    ] {
        let answer = get(&gateway, LIST, accept).await;
        assert_eq!(value(&answer, "content-encoding"), coding, "{accept}");
        assert_eq!(answer.status(), 200);
        let vary: Vec<_> = answer.headers().get_all("vary").iter().collect();
        assert_eq!(vary, ["Accept-Encoding", "Origin"], "{accept}");
        assert_eq!(
            value(&answer, "content-type"),
            Some("application/json; charset=utf-8")
        );
        if coding.is_some() {
            assert_eq!(value(&answer, "content-length"), None);
            assert_eq!(value(&answer, "etag"), Some("W/\"v1\""));
            assert_eq!(value(&answer, "accept-ranges"), None);
        } else {
            assert_eq!(
                value(&answer, "content-length"),
                Some(body.len().to_string().as_str())
            );
            assert_eq!(value(&answer, "etag"), Some("\"v1\""));
        }
        assert_eq!(decoded(answer).await, body, "{accept}");
    }
    for asked in service.seen() {
        assert_eq!(asked.header("accept-encoding"), Some("identity"));
        assert_eq!(
            asked.head.to_ascii_lowercase().matches("accept-encoding").count(),
            1
        );
    }
}

#[tokio::test]
async fn what_is_not_to_be_compressed_goes_through_as_it_is() {
    let service = Service::start(|_| Reply::good("", "")).await;
    let gateway = in_front_of(&service).await;
    let large = list(200);
    let replies = [
        ("small", Reply::good(JSON, list(5))),
        (
            "another type",
            Reply::good("Content-Type: application/jsonl\r\n", &large),
        ),
        ("no type", Reply::good("", &large)),
        (
            "compressed already",
            Reply::good(&format!("{JSON}Content-Encoding: zstd\r\n"), &large),
        ),
        (
            "no-transform",
            Reply::good(&format!("{JSON}Cache-Control: no-transform\r\n"), &large),
        ),
        (
            "a cookie",
            Reply::good(&format!("{JSON}Set-Cookie: session=secret\r\n"), &large),
        ),
        (
            "a digest",
            Reply::good(&format!("{JSON}Repr-Digest: sha-256=:AA==:\r\n"), &large),
        ),
        (
            "another status",
            Reply::raw(format!(
                "HTTP/1.1 404 No\r\n{JSON}Content-Length: {}\r\n\r\n{large}",
                large.len()
            )),
        ),
        (
            "a part",
            Reply::raw(format!(
                "HTTP/1.1 206 Part\r\n{JSON}Content-Range: bytes 0-{}/99999\r\nContent-Length: {}\r\n\r\n{large}",
                large.len() - 1,
                large.len()
            )),
        ),
    ];
    for (name, reply) in replies {
        service.answer(move |_| reply.clone());
        let answer = get(&gateway, LIST, "br, gzip").await;
        let coding = value(&answer, "content-encoding").map(str::to_owned);
        assert!(
            matches!(coding.as_deref(), None | Some("zstd")),
            "{name}: {coding:?}"
        );
        assert!(value(&answer, "content-length").is_some(), "{name}");
        let bytes = answer.bytes().await.unwrap();
        assert!(bytes.starts_with(b"[{"), "{name}");
    }
}

#[tokio::test]
async fn a_route_without_compress_sends_on_what_the_client_takes() {
    let service = Service::start(|_| Reply::good(JSON, list(200))).await;
    let gateway = in_front_of(&service).await;
    let answer = get(&gateway, "/api/v1/rates/eur-usd", "br").await;
    assert_eq!(value(&answer, "content-encoding"), None);
    assert_eq!(value(&answer, "vary"), None);
    assert_eq!(service.seen()[0].header("accept-encoding"), Some("br"));
}

#[tokio::test]
async fn head_says_what_get_would_and_the_connection_stays_in_order() {
    let body = list(200);
    let sent = body.clone();
    let service = Service::start(move |asked| {
        let head = format!(
            "HTTP/1.1 200 OK\r\n{JSON}ETag: \"v1\"\r\nContent-Length: {}\r\n\r\n",
            sent.len()
        );
        match asked.head.starts_with("HEAD") {
            true => Reply::raw(head),
            false => Reply::raw(format!("{head}{sent}")),
        }
    })
    .await;
    let gateway = in_front_of(&service).await;
    let request = gateway.client().request(Method::HEAD, gateway.url(LIST));
    let head = request.header("accept-encoding", "gzip").send().await.unwrap();
    let got = get(&gateway, LIST, "gzip").await;
    for name in [
        "content-encoding",
        "content-length",
        "etag",
        "vary",
        "content-type",
    ] {
        assert_eq!(value(&head, name), value(&got, name), "{name}");
    }
    let stream = &mut gateway.raw_tls().await;
    for method in ["HEAD", "HEAD"] {
        let request = format!("{method} {LIST} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: br\r\n\r\n");
        let answer = exchange(stream, &request).await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn http2_gets_the_same() {
    let body = list(200);
    let sent = body.clone();
    let service = Service::start(move |_| Reply::good(JSON, &sent)).await;
    let gateway = in_front_of(&service).await;
    let client = gateway.client_builder().build().unwrap();
    for coding in ["br", "gzip"] {
        let request = client.get(gateway.url(LIST)).header("accept-encoding", coding);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.version(), http::Version::HTTP_2);
        assert_eq!(value(&answer, "content-encoding"), Some(coding));
        assert_eq!(decoded(answer).await, body);
    }
}

#[tokio::test]
async fn what_comes_in_parts_is_sent_on_in_parts() {
    let part = list(50);
    let framed = |part: &str| format!("{:x}\r\n{part}\r\n", part.len());
    let first = format!(
        "HTTP/1.1 200 OK\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n{}",
        framed(&part)
    );
    // The rest never comes: the first part has to be there all the same.
    let service = Service::start(move |_| Reply::raw(first.clone())).await;
    let gateway = in_front_of(&service).await;
    let mut answer = get(&gateway, LIST, "gzip").await;
    assert_eq!(value(&answer, "content-encoding"), Some("gzip"));
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    while decoder.get_ref().len() < part.len() {
        let bytes = answer.chunk().await.unwrap().expect("more is to come");
        std::io::Write::write_all(&mut decoder, &bytes).unwrap();
        std::io::Write::flush(&mut decoder).unwrap();
    }
    assert_eq!(decoder.get_ref().as_slice(), part.as_bytes());
}

#[tokio::test]
async fn a_large_answer_comes_out_whole() {
    let body = list(20_000);
    let sent = body.clone();
    let service = Service::start(move |_| Reply::good(JSON, &sent)).await;
    let gateway = in_front_of(&service).await;
    for coding in ["br", "gzip"] {
        let answer = get(&gateway, LIST, coding).await;
        assert_eq!(value(&answer, "content-encoding"), Some(coding));
        let length = decoded(answer).await;
        assert!(length == body, "{coding}: {} of {}", length.len(), body.len());
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_given_out_for_a_whole_one() {
    let half = format!(
        "HTTP/1.1 200 OK\r\n{JSON}Content-Length: 9999\r\n\r\n{}",
        list(20)
    );
    let service = Service::start(move |_| Reply::raw(half.clone()).closing()).await;
    let gateway = in_front_of(&service).await;
    for target in [LIST, KEPT] {
        for _ in 0..2 {
            let answer = get(&gateway, target, "gzip").await;
            assert_eq!(value(&answer, "content-encoding"), Some("gzip"));
            assert!(answer.bytes().await.is_err(), "{target}");
        }
    }
    assert_eq!(service.count(), 4);
}

#[tokio::test]
async fn what_is_kept_is_kept_compressed_for_each_coding() {
    let body = list(200);
    let sent = body.clone();
    let service = Service::start(move |_| Reply::good(&format!("{JSON}ETag: \"v1\"\r\n"), &sent)).await;
    let gateway = in_front_of(&service).await;
    for (round, outcome) in ["portico; fwd=miss", "portico; hit"].into_iter().enumerate() {
        for accept in ["gzip, br", "gzip", "identity"] {
            let answer = get(&gateway, KEPT, accept).await;
            assert_eq!(value(&answer, "cache-status"), Some(outcome), "{accept}");
            let length = value(&answer, "content-length").map(|length| length.parse::<usize>().unwrap());
            assert_eq!(value(&answer, "vary"), Some("Accept-Encoding"));
            assert_eq!(value(&answer, "content-encoding").is_none(), accept == "identity");
            if round == 1 {
                assert_eq!(length.unwrap() < body.len() / 2, accept != "identity");
            }
            assert_eq!(decoded(answer).await, body);
        }
    }
    assert_eq!(service.count(), 3);
    let known = gateway
        .client()
        .get(gateway.url(KEPT))
        .header("accept-encoding", "gzip");
    let known = known.header("if-none-match", "W/\"v1\"").send().await.unwrap();
    assert_eq!(
        (known.status().as_u16(), value(&known, "etag")),
        (304, Some("W/\"v1\""))
    );
    assert_eq!(value(&known, "vary"), Some("Accept-Encoding"));
}
