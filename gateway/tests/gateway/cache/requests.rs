//! Which requests are given what is kept.

use http::Method;
use reqwest::Response;

use super::service::{Reply, Service};
use super::{PRICES, in_front_of, status};
use crate::gateway_process::GatewayProcess;

async fn send(gateway: &GatewayProcess, method: Method, target: &str, lines: &[(&str, &str)]) -> Response {
    let mut request = gateway.client().request(method, gateway.url(target));
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

#[tokio::test]
async fn head_is_answered_from_what_get_has_brought() {
    let service = Service::start(|asked| match asked.head.starts_with("HEAD") {
        true => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"),
        false => Reply::good("Content-Type: text/plain\r\n", "1.08"),
    })
    .await;
    let gateway = in_front_of(&service).await;
    for _ in 0..2 {
        let head = send(&gateway, Method::HEAD, PRICES, &[]).await;
        assert_eq!(status(&head), "portico; fwd=miss", "HEAD brings nothing");
    }
    send(&gateway, Method::GET, PRICES, &[]).await;
    let head = send(&gateway, Method::HEAD, PRICES, &[]).await;
    assert_eq!(status(&head), "portico; hit");
    assert_eq!(head.headers()["content-length"], "4");
    assert_eq!(head.headers()["content-type"], "text/plain");
    assert_eq!(head.text().await.unwrap(), "");
    assert_eq!(service.count(), 3);
    // The connection is in order behind it.
    let stream = &mut gateway.raw_tls().await;
    for method in ["HEAD", "GET", "HEAD"] {
        let request = format!(
            "{method} {PRICES} HTTP/1.1\r\nHost: localhost:{}\r\nAccept: */*\r\n\r\n",
            gateway.https.port()
        );
        let answer = crate::clients::exchange(stream, &request).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("portico; hit"), "{answer}");
        assert_eq!(answer.ends_with("1.08"), method == "GET", "{answer}");
    }
}

#[tokio::test]
async fn a_client_can_ask_for_a_new_answer_or_leave_nothing_behind() {
    let service = Service::start(|asked| Reply::good("", asked.before.to_string())).await;
    let gateway = in_front_of(&service).await;
    let ask = |lines: &'static [(&str, &str)]| {
        let gateway = &gateway;
        async move {
            let answer = send(gateway, Method::GET, PRICES, lines).await;
            let outcome = status(&answer).to_owned();
            (outcome, answer.text().await.unwrap())
        }
    };
    let is = |outcome: &str, body: &str| (format!("portico; {outcome}"), body.to_owned());
    assert_eq!(ask(&[]).await, is("fwd=miss", "0"));
    assert_eq!(ask(&[("cache-control", "max-stale")]).await, is("hit", "0"));
    assert_eq!(ask(&[("cache-control", "no-store")]).await, is("fwd=bypass", "1"));
    assert_eq!(ask(&[("range", "bytes=0-0")]).await, is("fwd=bypass", "2"));
    assert_eq!(ask(&[("cookie", "a=b")]).await, is("fwd=bypass", "3"));
    assert_eq!(ask(&[("if-match", "\"a\"")]).await, is("fwd=bypass", "4"));
    assert_eq!(ask(&[]).await, is("hit", "0"), "nothing of that was kept");
    assert_eq!(
        ask(&[("cache-control", "no-cache")]).await,
        is("fwd=request", "5")
    );
    assert_eq!(ask(&[]).await, is("hit", "5"));
    assert_eq!(ask(&[("pragma", "no-cache")]).await, is("fwd=request", "6"));
    assert_eq!(
        ask(&[("cache-control", "max-age=0")]).await,
        is("fwd=request", "7")
    );
    assert_eq!(ask(&[]).await, is("hit", "7"));
}

#[tokio::test]
async fn what_the_client_has_is_compared_with_what_is_kept() {
    let service = Service::start(|asked| match asked.header("if-none-match") {
        Some(_) => Reply::raw("HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\n\r\n"),
        None => Reply::good("ETag: \"v1\"\r\nContent-Type: text/plain\r\n", "1.08"),
    })
    .await;
    let gateway = in_front_of(&service).await;
    let known = [("if-none-match", "\"v0\", W/\"v1\"")];
    let asked = send(&gateway, Method::GET, PRICES, &known).await;
    assert_eq!(
        (asked.status().as_u16(), status(&asked)),
        (304, "portico; fwd=miss")
    );
    send(&gateway, Method::GET, PRICES, &[]).await;
    let compared = send(&gateway, Method::GET, PRICES, &known).await;
    assert_eq!(
        (compared.status().as_u16(), status(&compared)),
        (304, "portico; hit")
    );
    assert_eq!(compared.headers()["etag"], "\"v1\"");
    assert!(!compared.headers().contains_key("content-type"));
    let another = send(&gateway, Method::GET, PRICES, &[("if-none-match", "\"v0\"")]).await;
    assert_eq!(
        (another.status().as_u16(), status(&another)),
        (200, "portico; hit")
    );
    assert_eq!(service.count(), 2);
}

#[tokio::test]
async fn the_log_and_the_metrics_say_what_became_of_each_request() {
    let service = Service::start(|_| Reply::good("", "1.08")).await;
    let gateway = in_front_of(&service).await;
    for _ in 0..3 {
        send(&gateway, Method::GET, PRICES, &[]).await;
    }
    send(&gateway, Method::GET, PRICES, &[("cookie", "a=b")]).await;
    for (outcome, count) in [("hit", 2), ("miss", 1), ("bypass", 1)] {
        let line = format!(r#"portico_cache_requests_total{{outcome="{outcome}",route="prices"}}"#);
        gateway.counts(&line, count).await;
    }
}
