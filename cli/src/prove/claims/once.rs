//! Claim `once`: what may change something is sent to the bank once, whatever becomes of the answer.

use std::net::{Ipv4Addr, SocketAddr};

use reqwest::Method;
use serde_json::json;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use trial::FrontDoor;
use trial::edge::{Gateway, HOST, Place, Site, Upstream, open_route};

use super::Verdict;
use crate::prove::ground::Ground;

/// How it is checked.
pub(super) const METHOD: &str = "A service stands at three addresses, and the policy allows further attempts. Nobody listens at one; the others read a \
    request and close the connection. Of POST requests, each with an idempotency key, as many must come to the two as were \
    sent, and be answered 502; those to a path that is answered must all be 200, although some go to nobody first; and GET \
    requests must come more than once.";

/// Requests of each kind, all at once.
const REQUESTS: usize = 24;

pub(super) async fn check(ground: &Ground) -> anyhow::Result<Verdict> {
    lose_answers(ground, Method::POST).await
}

/// What is sent changes nothing, by its method, and is sent again: the same eyes must see that it comes more than once.
pub(super) async fn control(ground: &Ground) -> anyhow::Result<Verdict> {
    lose_answers(ground, Method::GET).await
}

async fn lose_answers(ground: &Ground, method: Method) -> anyhow::Result<Verdict> {
    let services = [Upstream::start().await?, Upstream::start().await?];
    // Bound, so that it is nobody else's, and deaf.
    let nobody = TcpSocket::new_v4()?;
    nobody.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let [one, another] = services.each_ref().map(Upstream::address);
    let addresses = format!(
        "address: 'http://{}', also_at: ['http://{one}', 'http://{another}'], retries: {{ most: 2, budget: 50% }}, timeouts: {{ connect: 1s, read: 20s, total: 30s }}",
        nobody.local_addr()?
    );
    let posts = ["fast", "lost"].map(|name| {
        open_route(&format!("post_{name}"), "upstream: core")
            .replace("method: GET", "method: POST")
            .replace(&format!("/post_{name}"), &format!("/{name}"))
    });
    let gets = ["fast", "lost"].map(|name| open_route(name, "upstream: core"));
    let site = Site::with_routes(&addresses, &(posts.concat() + &gets.concat()))?;
    let binary = &ground.system.launch().binary;
    let gateway = Gateway::start(&site, &Place::anywhere("gateway"), binary, &[]).await?;
    let door = FrontDoor::at(HOST, gateway.https()?, &site.path("ca.pem"))?;
    let came = || services.iter().map(Upstream::lost).sum::<usize>();
    let mut verdict = Verdict::default();

    let lost = send(&door, &method, "/lost", 502).await?;
    let came_once = came();
    verdict.fact(format!(
        "{REQUESTS} requests ({method}) whose answers were lost came {came_once} times; {lost} were answered 502"
    ));
    verdict.fail_unless(came_once == REQUESTS && lost == REQUESTS, || {
        format!("{REQUESTS} requests came {came_once} times, and {lost} of them were answered 502")
    });
    let good = send(&door, &method, "/fast", 200).await?;
    verdict.fact(format!(
        "{good} of {REQUESTS} were answered 200 beside an address where nobody listens"
    ));
    verdict.fail_unless(good == REQUESTS, || {
        format!("{good} of {REQUESTS} were answered 200 beside an address where nobody listens")
    });
    send(&door, &Method::GET, "/lost", 502).await?;
    let repeated = came() - came_once;
    verdict.fact(format!(
        "{REQUESTS} GET requests whose answers were lost came {repeated} times"
    ));
    verdict.fail_unless(repeated > REQUESTS, || {
        format!("nothing is ever sent again: {REQUESTS} GET requests came {repeated} times")
    });
    Ok(verdict)
}

/// How many of as many requests at once are answered as is wanted.
async fn send(door: &FrontDoor, method: &Method, path: &'static str, wanted: u16) -> anyhow::Result<usize> {
    let mut clients = JoinSet::new();
    for number in 0..REQUESTS {
        let (door, method) = (door.clone(), method.clone());
        clients.spawn(async move {
            let key = format!("{path}-{number}");
            let body = (method == Method::POST).then(|| json!({ "amount": 100 }));
            let headers = [("Idempotency-Key", key.as_str())];
            door.call(method, path, &headers, body.as_ref()).await
        });
    }
    let mut found = 0;
    for answer in clients.join_all().await {
        found += usize::from(answer?.status.as_u16() == wanted);
    }
    Ok(found)
}
