//! Which answers are kept, and for how long.

use super::service::{Reply, Service};
use super::{BALANCE, PRICES, in_front_of, policy, status, text, token};
use crate::gateway_process::{GatewayProcess, eventually};

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// How often the upstream is asked when these answers are wanted twice.
async fn asked_for(replies: Vec<(String, Reply)>) -> Vec<(String, usize)> {
    let service = Service::start(|_| Reply::good("", "")).await;
    let gateway = in_front_of(&service).await;
    let mut counts = Vec::new();
    for (index, (name, reply)) in replies.into_iter().enumerate() {
        let before = service.count();
        service.answer(move |_| reply.clone());
        for _ in 0..2 {
            let target = format!("{PRICES}?{index}");
            // A body that breaks off is an error of the client's.
            if let Ok(answer) = gateway.client().get(gateway.url(&target)).send().await {
                drop(answer.bytes().await);
            }
        }
        counts.push((name, service.count() - before));
    }
    counts
}

fn all_are(count: usize, asked: &[(String, usize)]) {
    let others: Vec<_> = asked.iter().filter(|(_, found)| *found != count).collect();
    assert!(others.is_empty(), "not {count}: {others:?}");
}

#[tokio::test]
async fn a_good_answer_is_kept_as_the_upstream_allows() {
    let lines = [
        "",
        "Cache-Control: max-age=60\r\n",
        "Cache-Control: public, s-maxage=60\r\n",
        "Vary: Accept-Encoding, Accept\r\n",
        "Connection: close\r\n",
        "ETag: \"a\"\r\n",
    ];
    let mut replies: Vec<_> = lines
        .map(|line| (line.to_owned(), Reply::good(line, "body").closing()))
        .into();
    let whole = format!("{CHUNKED}4\r\nbody\r\n0\r\n\r\n");
    replies.push(("chunked".to_owned(), Reply::raw(whole)));
    all_are(1, &asked_for(replies).await);
}

#[tokio::test]
async fn what_must_not_be_kept_is_asked_for_again() {
    let lines = [
        "Cache-Control: no-store\r\n",
        "Cache-Control: no-cache\r\n",
        "Cache-Control: private\r\n",
        "Cache-Control: max-age=0\r\n",
        "Cache-Control: max-age=tomorrow\r\n",
        "Cache-Control: max-age=60\r\nAge: 60\r\n",
        "Expires: 0\r\n",
        "Set-Cookie: a=b\r\n",
        "Content-Encoding: gzip\r\n",
        "Vary: *\r\n",
        "Vary: Accept, *\r\n",
        "Vary: X-Forwarded-For\r\n",
        "Vary: a, b, c, d, e, f, g, h, i\r\n",
    ];
    let mut replies: Vec<_> = lines
        .map(|line| (line.to_owned(), Reply::good(line, "body")))
        .into();
    for status in [
        "201 Created",
        "203 Other",
        "301 Moved",
        "404 Not Found",
        "410 Gone",
        "500 No",
    ] {
        let reply =
            format!("HTTP/1.1 {status}\r\nCache-Control: max-age=60\r\nContent-Length: 4\r\n\r\nbody");
        replies.push((status.to_owned(), Reply::raw(reply)));
    }
    let partial = "HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-3/9\r\nContent-Length: 4\r\n\r\nbody";
    replies.push(("206".to_owned(), Reply::raw(partial)));
    let large = "x".repeat(64 * 1024 + 1);
    replies.push(("too large".to_owned(), Reply::good("", &large)));
    let chunks = format!("{CHUNKED}10001\r\n{large}\r\n0\r\n\r\n");
    replies.push(("too large in chunks".to_owned(), Reply::raw(chunks)));
    replies.push(("empty".to_owned(), Reply::good("", "")));
    all_are(2, &asked_for(replies).await);
}

#[tokio::test]
async fn a_body_that_broke_off_is_never_kept() {
    let until_closed = "HTTP/1.1 200 OK\r\n\r\nperhaps all of it";
    let short = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf.";
    let replies = [
        ("short", short.to_owned()),
        ("a chunk short", format!("{CHUNKED}4\r\nhalf\r\n")),
        ("inside of a chunk", format!("{CHUNKED}8\r\nhalf")),
        ("ended by its connection", until_closed.to_owned()),
    ];
    let replies = replies.map(|(name, bytes)| (name.to_owned(), Reply::raw(bytes).closing()));
    all_are(2, &asked_for(replies.into()).await);
}

#[tokio::test]
async fn an_upstream_that_dies_in_the_middle_of_an_answer_leaves_nothing_behind() {
    let mut service = Service::start(|_| Reply::raw(format!("{CHUNKED}5\r\nhalf.\r\n"))).await;
    let gateway = in_front_of(&service).await;
    let mut answer = gateway.get(PRICES).await;
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "half.");
    service.die().await;
    assert!(answer.chunk().await.is_err());
    let kept = gateway.get(PRICES).await;
    assert_eq!(kept.status(), 503, "nobody is there, and nothing is kept");
}

#[tokio::test]
async fn an_answer_ends_with_its_time() {
    let service = Service::start(|asked| Reply::good("", asked.before.to_string())).await;
    let short = policy(&service, "").replace("for: 1h", "for: 200ms");
    let gateway = GatewayProcess::with(&short, |_| ()).await;
    let first = text(gateway.get(PRICES).await).await;
    assert_eq!(first, "0");
    eventually("it has ended", || async {
        text(gateway.get(PRICES).await).await == "1"
    })
    .await;
    gateway.counts("portico_cache_bytes", 0).await;
}

#[tokio::test]
async fn clients_are_told_the_policys_word_and_what_became_of_the_request() {
    let lines = "Cache-Control: public, max-age=60\r\nExpires: Thu, 01 Jan 2037 00:00:00 GMT\r\nAge: 7\r\nPragma: x\r\n\
        Server: core\r\nX-Request-Id: of-the-first\r\nX-Of-Connection: 1\r\nConnection: X-Of-Connection\r\n\
        X-Rate: 1\r\nX-Rate: 2\r\nContent-Type: text/plain\r\n";
    let service = Service::start(move |_| Reply::good(lines, "1.08")).await;
    let gateway = in_front_of(&service).await;
    for outcome in ["portico; fwd=miss", "portico; hit"] {
        let request = gateway.client().get(gateway.url(PRICES));
        let request = request
            .header("x-request-id", format!("req-of-{}", outcome.len()))
            .header("origin", "https://app.bank.example");
        let answer = request.send().await.unwrap();
        crate::clients::assert_dressed(&answer);
        let value = |name: &str| {
            let all = answer.headers().get_all(name).iter();
            all.map(|value| value.to_str().unwrap())
                .collect::<Vec<_>>()
                .join(" & ")
        };
        assert_eq!(status(&answer), outcome);
        assert_eq!(value("cache-control"), "no-store");
        assert_eq!(
            (value("expires"), value("pragma")),
            (String::new(), String::new())
        );
        let age: u64 = value("age").parse().unwrap_or(0);
        assert_eq!(age >= 7, outcome.ends_with("hit"), "{age}");
        assert_eq!(value("x-request-id"), format!("req-of-{}", outcome.len()));
        assert_eq!(value("x-rate"), "1 & 2");
        assert!(outcome.ends_with("miss") || value("x-of-connection").is_empty());
        assert_eq!(value("content-length"), "4");
        assert_eq!(value("vary"), "Origin");
        assert_eq!(value("access-control-allow-origin"), "https://app.bank.example");
        assert!(!value("ratelimit").is_empty());
        assert_eq!(answer.text().await.unwrap(), "1.08");
    }
}

#[tokio::test]
async fn a_header_profile_may_let_clients_keep_answers_too() {
    let service = Service::start(|_| Reply::good("Cache-Control: max-age=5\r\n", "1.08")).await;
    let profile = "      X-Content-Type-Options: nosniff\n";
    let allowing = policy(&service, "").replace(
        profile,
        &format!("{profile}      Cache-Control: private, max-age=1\n"),
    );
    let gateway = GatewayProcess::with(&allowing, |_| ()).await;
    for _ in 0..2 {
        let answer = gateway.get(PRICES).await;
        assert_eq!(answer.headers()["cache-control"], "private, max-age=1");
    }
    assert_eq!(service.count(), 1);
}

#[tokio::test]
async fn private_answers_are_kept_for_the_person_and_vary_is_heeded() {
    let service = Service::start(|asked| {
        let language = asked.header("x-language").unwrap_or("none");
        Reply::good(
            "Cache-Control: private\r\nVary: X-Language\r\n",
            format!("in {language}"),
        )
    })
    .await;
    let gateway = in_front_of(&service).await;
    let token = token(&gateway, "usr_alice", serde_json::json!({}));
    for language in [None, Some("de"), Some("fr"), Some(""), Some("de")] {
        for round in 0..3 {
            let mut request = gateway.client().get(gateway.url(BALANCE)).bearer_auth(&token);
            if let Some(language) = language {
                request = request.header("x-language", language);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(status(&answer).ends_with("hit"), round > 0, "{language:?}");
            assert_eq!(text(answer).await, format!("in {}", language.unwrap_or("none")));
        }
    }
    // The second answer in German is newer than those in between, and the first one older.
    assert_eq!(service.count(), 5);
}
