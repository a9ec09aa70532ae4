//! What is kept has a bound, whatever is asked for.

use futures::{StreamExt as _, stream};

use super::service::{Reply, Service};
use super::{PRICES, policy, status, text};
use crate::gateway_process::GatewayProcess;

const MIB: i64 = 1024 * 1024;

#[tokio::test]
async fn a_full_cache_pushes_out_what_was_least_asked_for_and_stays_within_its_bound() {
    let service = Service::start(|_| Reply::good("", "x".repeat(8 * 1024))).await;
    let gateway = GatewayProcess::with(&policy(&service, ""), |settings| settings.cache.max_mib = 1).await;
    let favourite = format!("{PRICES}?favourite");
    for round in 0..12 {
        let client = gateway.client();
        let targets = (0..50).map(|index| gateway.url(&format!("{PRICES}?{round}-{index}")));
        let answers = stream::iter(targets.map(|url| client.get(url).send())).buffer_unordered(10);
        let answers: Vec<_> = answers.collect().await;
        for answer in answers {
            assert_eq!(text(answer.unwrap()).await.len(), 8 * 1024);
        }
        assert_eq!(text(gateway.get(&favourite).await).await.len(), 8 * 1024);
        let bytes = gateway.metric("portico_cache_bytes").await.unwrap();
        assert!(bytes <= MIB, "{bytes} after {round}");
    }
    let bytes = gateway.metric("portico_cache_bytes").await.unwrap();
    assert!(bytes > MIB / 4, "{bytes}: something is kept");
    assert!(gateway.metric("portico_cache_evictions_total").await.unwrap() > 400);
    assert_eq!(status(&gateway.get(&favourite).await), "portico; hit");
}

#[tokio::test]
async fn a_gateway_without_memory_for_it_keeps_nothing_and_serves() {
    let service = Service::start(|asked| Reply::good("", asked.before.to_string())).await;
    let gateway = GatewayProcess::with(&policy(&service, ""), |settings| settings.cache.max_mib = 0).await;
    for before in ["0", "1", "2"] {
        assert_eq!(text(gateway.get(PRICES).await).await, before);
    }
    assert_eq!(gateway.metric("portico_cache_bytes").await, Some(0));
}
