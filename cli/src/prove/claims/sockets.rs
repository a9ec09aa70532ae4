//! Claim `sockets`: a WebSocket ends with the token that opened it.

use anyhow::Context as _;
use tokio::task::JoinSet;
use trial::FrontDoor;
use trial::edge::{Gateway, HOST, Site, Upstream, eventually};

use super::issuer::{AUTH, Issuer};
use super::{Verdict, revocation};
use crate::prove::ground::Ground;

/// How it is checked.
pub(super) const METHOD: &str = "One WebSocket is opened with a token that ends a few seconds later, through a gateway of its own, and one with a customer's \
    token through the gateway of the system, where the session is then revoked. Both must be closed by the gateway, with the \
    reason in a close frame.";

/// How long the first token lives, seconds.
const LIFETIME_S: i64 = 4;
const LIVE: &str = "/live";
const SOCKET: &str = "websocket: { idle_timeout: 10min, max_frame: 4KiB }";

pub(super) async fn check(ground: &Ground) -> anyhow::Result<Verdict> {
    watch(ground, AUTH, "auth: customers, scopes: []").await
}

/// The sockets are open to anyone: the same eyes must see that they stay.
pub(super) async fn control(ground: &Ground) -> anyhow::Result<Verdict> {
    let open = "auth: none, because: a control";
    watch(ground, open, open).await
}

async fn watch(ground: &Ground, of_the_first: &str, of_the_second: &str) -> anyhow::Result<Verdict> {
    let upstream = Upstream::start().await?;
    let service = format!(
        "address: 'http://{}', authorization: strip, timeouts: {{ connect: 1s, read: 20s, total: 30s }}",
        upstream.address()
    );
    let mut verdict = Verdict::default();
    let expired = expires(ground, &upstream, of_the_first).await?;
    judge(
        &mut verdict,
        "when its token had expired",
        expired,
        "the token has expired",
    );

    let added = format!(
        "version: 1\nupstreams:\n  proof_live: {{ {service} }}\nroutes:\n  proof_live: {{ match: {{ method: GET, path: {LIVE} }}, {of_the_second}, {SOCKET}, upstream: proof_live }}\n"
    );
    let edit = ground.add_policy("proof-live.yaml", &added).await?;
    let revoked = revoke(ground, &upstream).await;
    edit.undo(ground).await?;
    judge(
        &mut verdict,
        "when its session was revoked",
        revoked?,
        "the token was revoked",
    );
    Ok(verdict)
}

/// What came over a socket until it ended, or that it did not.
type Ended = anyhow::Result<String>;

async fn expires(ground: &Ground, upstream: &Upstream, access: &str) -> anyhow::Result<Ended> {
    let service = format!(
        "address: 'http://{}', timeouts: {{ connect: 1s, read: 20s, total: 30s }}",
        upstream.address()
    );
    let route =
        format!("  live: {{ match: {{ method: GET, path: {LIVE} }}, {access}, {SOCKET}, upstream: core }}\n");
    let site = Site::with_routes(&service, &route)?;
    let issuer = Issuer::in_site(&site)?;
    let binary = &ground.system.launch().binary;
    let gateway = Gateway::start(&site, &Issuer::place(&site), binary, &[]).await?;
    let door = FrontDoor::at(HOST, gateway.https()?, &site.path("ca.pem"))?;
    let token = issuer.token("usr_robin", "ses_robin", LIFETIME_S)?;
    ended(open(&door, &token, upstream).await?).await
}

async fn revoke(ground: &Ground, upstream: &Upstream) -> anyhow::Result<Ended> {
    let customer = ground.door.sign_up().await?;
    let socket = open(&ground.door, &customer.tokens.access, upstream).await?;
    revocation::revoke_session(ground, &customer).await?;
    ended(socket).await
}

/// What became of the socket.
async fn ended(mut socket: JoinSet<Ended>) -> anyhow::Result<Ended> {
    let ended = socket.join_next().await.context("there is no socket")?;
    ended.context("the client panicked")
}

/// Opens a socket and waits until the service has it.
async fn open(door: &FrontDoor, token: &str, upstream: &Upstream) -> anyhow::Result<JoinSet<Ended>> {
    let before = upstream.sockets();
    let request = format!(
        "GET {LIVE} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        door.authority()
    );
    let door = door.clone();
    let mut socket = JoinSet::new();
    let client = socket.spawn(async move { door.send_raw(request.as_bytes()).await });
    eventually("the socket is open", async || {
        upstream.sockets() > before || client.is_finished()
    })
    .await?;
    Ok(socket)
}

fn judge(verdict: &mut Verdict, when: &str, ended: Ended, reason: &str) {
    match ended {
        Ok(text) if text.starts_with("HTTP/1.1 101 ") && text.ends_with(reason) => {
            verdict.fact(format!("{when}, the gateway closed it: {reason}"));
        }
        Ok(text) => verdict.fail(format!("{when}, it ended with {text:?}")),
        Err(error) => verdict.fail(format!("{when}: {error:#}")),
    }
}
