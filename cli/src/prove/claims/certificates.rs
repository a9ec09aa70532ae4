//! Claim `certificates`: certificates are replaced while requests go on, and not one connection fails.

use anyhow::Context as _;
use trial::edge::{Door, Gateway, HOST, Load, Place, Site, Sockets, Upstream, eventually};

use super::Verdict;
use crate::prove::ground::Ground;

/// How it is checked.
pub(super) const METHOD: &str = "A gateway of its own gets one certificate after another, while clients ask on kept connections and on new ones, \
    with WebSockets open. Each new connection must be shown the new certificate, every answer must be 200, and every \
    WebSocket must stay open.";

/// Certificates that come into force one after the other.
const SWAPS: usize = 10;
/// Requests a second on kept connections, and as many on connections of their own.
const RATE: u32 = 50;
const CLIENTS: u32 = 4;
const SOCKETS: usize = 4;

pub(super) async fn check(ground: &Ground) -> anyhow::Result<Verdict> {
    swap_under_load(ground, |_| Ok(())).await
}

/// The new certificates are of an authority that no client knows: the same clients must notice.
pub(super) async fn control(ground: &Ground) -> anyhow::Result<Verdict> {
    swap_under_load(ground, Site::change_authority).await
}

async fn swap_under_load(
    ground: &Ground,
    damage: impl FnOnce(&mut Site) -> anyhow::Result<()>,
) -> anyhow::Result<Verdict> {
    let upstream = Upstream::start().await?;
    let mut site = Site::new(upstream.address())?;
    let binary = &ground.system.launch().binary;
    let gateway = Gateway::start(&site, &Place::anywhere("gateway"), binary, &[]).await?;
    let door = Door::new(vec![gateway.https()?], site.client_config()?);
    damage(&mut site)?;

    let sockets = Sockets::open(&door, "/live", SOCKETS).await;
    let kept = Load::start(&door, "/fast", RATE, CLIENTS);
    let anew = Load::start_anew(&door, "/fast", RATE, CLIENTS);
    let mut verdict = Verdict::default();
    for number in 1..=SWAPS {
        let written = swap(&site, &gateway).await?;
        let shown = door.connect(0).await.map(|connection| connection.certificate());
        let is_new = matches!(&shown, Ok(Some(shown)) if *shown == written);
        verdict.fail_unless(is_new, || match shown {
            Ok(_) => format!("after swap {number} a new connection was shown another certificate"),
            Err(error) => format!("after swap {number} a client could not connect: {error:#}"),
        });
    }
    for (what, load) in [("kept connections", kept), ("connections of their own", anew)] {
        let tally = load.stop().await;
        verdict.fact(format!("requests on {what}: {tally}"));
        for (reason, count) in &tally.failed {
            verdict.fail(format!("{count} requests on {what} failed: {reason}"));
        }
    }
    let sockets = sockets.stop().await;
    verdict.fact(sockets.to_string());
    verdict.fail_unless(sockets.opened == SOCKETS && sockets.failures() == 0, || {
        format!("not every WebSocket stayed open: {sockets}")
    });
    verdict.fact(format!("{SWAPS} certificates came into force meanwhile"));
    Ok(verdict)
}

/// Replaces the certificate, and waits until the gateway says that it is in force.
async fn swap(site: &Site, gateway: &Gateway) -> anyhow::Result<Vec<u8>> {
    let taken = || {
        let log = gateway.log().context("the log of the gateway")?;
        let is_taken = |line: &&str| line.contains("in force") && line.contains(r#""kind":"certificate""#);
        anyhow::Ok(log.lines().filter(is_taken).count())
    };
    let before = taken()?;
    let written = site.write_certificate(&site.path("tls"), "gateway", HOST)?;
    eventually("the certificate is in force", async || {
        taken().is_ok_and(|count| count > before)
    })
    .await?;
    Ok(written)
}
