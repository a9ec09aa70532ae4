//! Claim `kept-answers`: what a gateway keeps for one person is never given to another.

use std::collections::BTreeSet;

use anyhow::Context as _;
use reqwest::Method;
use serde_json::Value;
use tokio::task::JoinSet;
use trial::FrontDoor;
use trial::edge::{Gateway, HOST, Site, Upstream};

use super::Verdict;
use super::issuer::{AUTH, Issuer};
use crate::prove::ground::Ground;

/// How it is checked.
pub(super) const METHOD: &str = "People with two sessions each ask for one path, all at once and again and again, through a gateway that keeps answers; \
    each answer of the service behind it has a number of its own. Every session must be given one answer each time, and \
    no two the same one. A token that has ended must be answered 401, though there is an answer kept for its session.";

const PEOPLE: usize = 8;
const SESSIONS: usize = 2;
const TIMES: usize = 20;

pub(super) async fn check(ground: &Ground) -> anyhow::Result<Verdict> {
    ask_all(
        ground,
        &format!("{AUTH}, cache: {{ for: 1h, key: principal, largest: 4KiB }}"),
    )
    .await
}

/// The answer is public, by policy: the same eyes must see that everybody is given it.
pub(super) async fn control(ground: &Ground) -> anyhow::Result<Verdict> {
    let public = "auth: none, because: a control, cache: { for: 1h, key: public, largest: 4KiB }";
    ask_all(ground, public).await
}

async fn ask_all(ground: &Ground, access: &str) -> anyhow::Result<Verdict> {
    let upstream = Upstream::start().await?;
    let service = format!(
        "address: 'http://{}', timeouts: {{ connect: 1s, read: 20s, total: 30s }}",
        upstream.address()
    );
    let route = format!("  own: {{ match: {{ method: GET, path: /numbered }}, {access}, upstream: core }}\n");
    let site = Site::with_routes(&service, &route)?;
    let issuer = Issuer::in_site(&site)?;
    let binary = &ground.system.launch().binary;
    let gateway = Gateway::start(&site, &Issuer::place(&site), binary, &[]).await?;
    let door = FrontDoor::at(HOST, gateway.https()?, &site.path("ca.pem"))?;

    let mut clients = JoinSet::new();
    for person in 0..PEOPLE {
        for session in 0..SESSIONS {
            let token = issuer.token(&format!("usr_{person}"), &format!("ses_{person}_{session}"), 300)?;
            clients.spawn(ask(door.clone(), token));
        }
    }
    let mut verdict = Verdict::default();
    let mut all = BTreeSet::new();
    while let Some(given) = clients.join_next().await {
        let given = given.context("a client panicked")??;
        verdict.fail_unless(given.len() == 1, || {
            format!("one session was given {} answers, none of them kept", given.len())
        });
        all.extend(given);
    }
    let sessions = PEOPLE * SESSIONS;
    verdict.fact(format!(
        "{sessions} sessions of {PEOPLE} people asked {TIMES} times each and were given {} answers; the service made {}",
        all.len(),
        upstream.numbered()
    ));
    verdict.fail_unless(all.len() == sessions, || {
        format!(
            "{sessions} sessions were given {} answers: some were another's",
            all.len()
        )
    });
    let ended = issuer.token("usr_0", "ses_0_0", -1)?;
    let (status, _) = get(&door, &ended).await?;
    verdict.fact(format!("a token that had ended was answered {status}"));
    verdict.fail_unless(status == 401, || {
        format!("a token that had ended was answered {status}")
    });
    Ok(verdict)
}

/// The numbers of the answers that came.
async fn ask(door: FrontDoor, token: String) -> anyhow::Result<BTreeSet<u64>> {
    let mut numbers = BTreeSet::new();
    for _ in 0..TIMES {
        let (status, body) = get(&door, &token).await?;
        let number = body.get("number").and_then(Value::as_u64);
        numbers.insert(number.with_context(|| format!("{status} {body}"))?);
    }
    Ok(numbers)
}

async fn get(door: &FrontDoor, token: &str) -> anyhow::Result<(u16, Value)> {
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str())];
    let answer = door.call(Method::GET, "/numbered", &headers, None).await?;
    Ok((answer.status.as_u16(), answer.body))
}
