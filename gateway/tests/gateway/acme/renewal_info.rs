//! When the authority wants a certificate to be renewed (RFC 9773). Debian's pebble is older than that, so its directory is
//! shown with one more address, which is this test's.

use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{Pebble, arrives, shown};
use crate::gateway_process::{eventually, now};
use crate::raw_upstream::read_message;
use crate::tls_upstream::met_with;

/// What is suggested, and which certificates were asked for.
struct Renewals {
    window: Mutex<(DateTime<Utc>, DateTime<Utc>)>,
    asked: Mutex<Vec<String>>,
    directory: Value,
}

impl Renewals {
    /// Begins with a window from so many days after the time of the tests on, and shows the authority to gateways.
    async fn begin(pebble: &mut Pebble, days: i64) -> Arc<Self> {
        service_runtime::crypto::install_provider();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true);
        let client = client.build().unwrap();
        let directory = client.get(&pebble.settings.directory).send().await.unwrap();
        let mut directory: Value = directory.json().await.unwrap();
        directory["renewalInfo"] = json!(format!("{own}/renewals"));
        pebble.settings.directory = format!("{own}/dir");
        let renewals = Arc::new(Self {
            window: Mutex::new(window(days)),
            asked: Mutex::default(),
            directory,
        });
        let acceptor = TlsAcceptor::from(Arc::new(met_with(&pebble.issued, None)));
        let serving = renewals.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(acceptor.clone(), stream));
            }
        });
        renewals
    }

    async fn serve(self: Arc<Self>, acceptor: TlsAcceptor, stream: TcpStream) {
        let Ok(mut stream) = acceptor.accept(stream).await else {
            return;
        };
        let mut buffer = Vec::new();
        while let Some((head, _)) = read_message(&mut stream, &mut buffer).await {
            let body = self.answer(head.split(' ').nth(1).unwrap()).to_string();
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nRetry-After: 21600\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    fn answer(&self, target: &str) -> Value {
        let Some(certificate) = target.strip_prefix("/renewals/") else {
            return self.directory.clone();
        };
        self.asked.lock().unwrap().push(certificate.to_owned());
        let (start, end) = *self.window.lock().unwrap();
        json!({"suggestedWindow": {"start": start.to_rfc3339(), "end": end.to_rfc3339()}})
    }

    fn suggest(&self, days: i64) {
        *self.window.lock().unwrap() = window(days);
    }

    /// Waits until it was asked once more.
    async fn asked_again(&self) {
        let asked = || self.asked.lock().unwrap().len();
        let before = asked();
        eventually("the authority is asked again", || {
            std::future::ready(asked() > before)
        })
        .await;
    }
}

/// A day long.
fn window(days: i64) -> (DateTime<Utc>, DateTime<Utc>) {
    let start = now() + TimeDelta::days(days);
    (start, start + TimeDelta::days(1))
}

#[tokio::test]
async fn a_certificate_is_renewed_as_soon_as_the_authority_wants_it() {
    let mut pebble = Pebble::start().await;
    let renewals = Renewals::begin(&mut pebble, 1_000).await;
    let gateway = pebble.gateway("http-01").await;
    let issuer = pebble.issuer().await;
    let first = arrives(&gateway, &issuer).await;
    let asked = || renewals.asked.lock().unwrap().clone();
    eventually("the authority is asked", || {
        std::future::ready(!asked().is_empty())
    })
    .await;

    // Something has happened at the authority; it lives for five years.
    renewals.suggest(1);
    gateway.clock.advance(TimeDelta::hours(12));
    renewals.asked_again().await;
    assert_eq!(shown(&gateway, &issuer).await, Some(first.clone()), "not yet");
    gateway.clock.advance(TimeDelta::hours(37));
    // The authority refuses some requests on purpose: an order that comes of it to nothing is begun again after a minute.
    eventually("it is renewed", || async {
        gateway.clock.advance(TimeDelta::seconds(10));
        shown(&gateway, &issuer).await.is_some_and(|now| now != first)
    })
    .await;
    eventually("it is asked of the new one", || {
        let mut certificates = asked();
        assert!(
            certificates.iter().all(|one| one.split('.').count() == 2),
            "{certificates:?}"
        );
        certificates.dedup();
        std::future::ready(certificates.len() == 2)
    })
    .await;
}

#[tokio::test]
async fn a_certificate_is_not_renewed_before_the_authority_wants_it() {
    let mut pebble = Pebble::start().await;
    let renewals = Renewals::begin(&mut pebble, 1_400).await;
    let gateway = pebble.gateway("http-01").await;
    let issuer = pebble.issuer().await;
    let first = arrives(&gateway, &issuer).await;
    // Two thirds of its life and a twentieth are over.
    gateway.clock.advance(TimeDelta::days(1_350));
    renewals.asked_again().await;
    gateway.clock.advance(TimeDelta::days(1));
    renewals.asked_again().await;
    assert_eq!(shown(&gateway, &issuer).await, Some(first.clone()));
    let fetched = r#"portico_acme_attempts_total{certificate="fetched",outcome="fetched"}"#;
    assert_eq!(gateway.metric(fetched).await, Some(1));
    gateway.clock.advance(TimeDelta::days(51));
    eventually("it is renewed", || async {
        shown(&gateway, &issuer).await.is_some_and(|now| now != first)
    })
    .await;
}
