//! Claim `shared-limits`: gateways that count in one store let through what the policy says, all of them together.

use trial::edge::{Door, Gateway, Place, Site, Store, Upstream, flood, open_route};

use super::Verdict;
use crate::prove::ground::Ground;

/// How it is checked.
pub(super) const METHOD: &str = "Three gateways of their own count in a Redis of their own. Each is sent fewer requests than the limit allows, all \
    at once. As many as the limit allows must be answered 200 by all together, the others 429. The Redis is killed: \
    all must be answered 503, as the policy says, and none 500. It comes back: the count must be exact again.";

const GATEWAYS: usize = 3;
/// What each limit of the policy allows. Nothing comes back while the claim runs.
const BURST: usize = 60;
/// Requests to each gateway: fewer than the limit, so that only all together exceed it.
const EACH: usize = 40;
const ALL: usize = GATEWAYS * EACH;

pub(super) async fn check(ground: &Ground) -> anyhow::Result<Verdict> {
    ask_all(ground, "count_in: store, on_store_down: deny").await
}

/// Each gateway counts for itself: the same requests must get through.
pub(super) async fn control(ground: &Ground) -> anyhow::Result<Verdict> {
    ask_all(ground, "count_in: gateway").await
}

async fn ask_all(ground: &Ground, counted: &str) -> anyhow::Result<Verdict> {
    let upstream = Upstream::start().await?;
    let site = site(&upstream, counted)?;
    let store = Store::start(&site.path(""))?;
    let gateways = start(ground, &site).await?;
    let doors = gateways
        .iter()
        .map(|gateway| Ok(Door::new(vec![gateway.https()?], site.client_config()?)));
    let doors: Vec<Door> = doors.collect::<anyhow::Result<_>>()?;
    let mut verdict = Verdict::default();
    let mut see = async |what: &str, path, expected: &[(u16, usize)]| {
        let seen = flood(&doors, path, EACH).await;
        verdict.fact(format!(
            "{what}: {EACH} requests to each of {GATEWAYS} gateways came to {seen:?}"
        ));
        verdict.fail_unless(
            seen.iter()
                .map(|(status, count)| (*status, *count))
                .eq(expected.iter().copied()),
            || format!("{what}: the policy says {expected:?}, not {seen:?}"),
        );
    };

    know_store(&gateways, true).await?;
    see("with the store", "/first", &[(200, BURST), (429, ALL - BURST)]).await;
    store.kill().await?;
    know_store(&gateways, false).await?;
    see("when it was killed", "/second", &[(503, ALL)]).await;
    let _again = Store::start(&site.path(""))?;
    know_store(&gateways, true).await?;
    see("when it was back", "/second", &[(200, BURST), (429, ALL - BURST)]).await;
    Ok(verdict)
}

/// Two routes with a limit each.
fn site(upstream: &Upstream, counted: &str) -> anyhow::Result<Site> {
    let limited = ["first", "second"].map(|name| {
        let limit = format!("{{ limit: 1/h, burst: {BURST}, key: [address], {counted} }}");
        open_route(name, &format!("rate: {{ {name}: {limit} }}, upstream: core"))
    });
    let upstream = format!(
        "address: 'http://{}', timeouts: {{ connect: 1s, read: 20s, total: 30s }}",
        upstream.address()
    );
    let site = Site::with_routes(&upstream, &limited.concat())?;
    site.write("hash-key", "the same secret of every gateway")?;
    Ok(site)
}

async fn start(ground: &Ground, site: &Site) -> anyhow::Result<Vec<Gateway>> {
    let binary = &ground.system.launch().binary;
    let mut gateways = Vec::new();
    for number in 1..=GATEWAYS {
        let place = Place {
            // Patient, so that a busy machine does not make the store look slow.
            more: format!(
                "limit_store: {{ addresses: ['unix://{}'], hash_key_file: {}, timeout_ms: 5000 }}\n",
                site.path("store.sock").display(),
                site.path("hash-key").display()
            ),
            ..Place::anywhere(&format!("gateway{number}"))
        };
        gateways.push(Gateway::start(site, &place, binary, &[]).await?);
    }
    Ok(gateways)
}

async fn know_store(gateways: &[Gateway], is_up: bool) -> anyhow::Result<()> {
    for gateway in gateways {
        gateway.knows_store(is_up).await?;
    }
    Ok(())
}
