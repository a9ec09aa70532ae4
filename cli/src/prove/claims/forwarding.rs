//! Claim `forwarding`: nothing goes to the core without a permit, whatever is sent and however it is spelt.

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Verdict, forged, refusal, reload};
use crate::prove::ground::Ground;

/// The route that is attacked.
const TARGET: &str = "/api/v1/me";
/// Spellings of it that some server, somewhere, takes for the same.
const SPELLINGS: [&str; 16] = [
    "//api/v1/me",
    "/api//v1/me",
    "/api/v1/me/",
    "/api/v1/./me",
    "/api/v1/accounts/../me",
    "/api/v1/accounts/%2e%2e/me",
    "/api/v1/%6De",
    "/api%2Fv1%2Fme",
    "/api/v1%5Cme",
    "/api/v1/me;a=b",
    "/api/v1/me%00",
    "/api/v1/me%0d%0aX: y",
    "/api/v1/%256de",
    "/api/v1/%c0%ae%c0%ae/me",
    "/API/v1/me",
    "/api/v1/me%20",
];

/// One thing that is sent, and how it must be answered at first.
struct Attack {
    what: String,
    bytes: String,
    answers: &'static [u16],
}

pub(super) async fn check(ground: &Ground) -> anyhow::Result<Verdict> {
    attack(ground).await
}

/// Opens the route that is attacked to anyone. The core still refuses; that it was asked is what must be seen.
pub(super) async fn control(ground: &Ground) -> anyhow::Result<Verdict> {
    let edit = refusal::open_a_route(ground).await?;
    let verdict = attack(ground).await;
    edit.undo(ground).await?;
    verdict
}

async fn attack(ground: &Ground) -> anyhow::Result<Verdict> {
    let customer = ground.door.sign_up().await?;
    let token = customer.tokens.access.as_str();
    let host = ground.door.authority();
    let forged = tokens(ground, host, token).await?;
    let spelt = spellings(host, token);
    let smuggled = smuggling(host, token);
    let mut verdict = Verdict::default();
    let heard_before = refusal::heard_by_core(ground).await?;
    let kinds = [
        ("forged and misplaced tokens", forged),
        ("spellings of a path, with a good token", spelt),
        ("messages with two readings, with a good token", smuggled),
    ];
    for (kind, attacks) in kinds {
        for attack in &attacks {
            let answer = ground.door.send_raw(attack.bytes.as_bytes()).await?;
            let statuses = statuses(&answer);
            let first = statuses.first().copied().unwrap_or_default();
            verdict.fail_unless(attack.answers.contains(&first), || {
                format!("{} was answered {first}", attack.what)
            });
            verdict.fail_unless(!statuses.iter().any(|status| (200..300).contains(status)), || {
                format!("{} was answered {statuses:?}", attack.what)
            });
        }
        verdict.fact(format!(
            "{} {kind} were sent; every one was refused",
            attacks.len()
        ));
    }
    beyond_scopes(ground, token, &mut verdict).await?;
    let heard = refusal::heard_by_core(ground).await? - heard_before;
    verdict.fail_unless(heard == 0, || {
        format!("{heard} of these requests reached the core")
    });
    verdict.fact(format!(
        "{heard} of these requests reached the core, by its own count"
    ));

    let bytes = request(host, &format!("GET {TARGET}"), &[&bearer(token)]);
    let good = statuses(&ground.door.send_raw(bytes.as_bytes()).await?);
    verdict.fail_unless(good == [200], || format!("a good request was answered {good:?}"));
    let heard = refusal::heard_by_core(ground).await? - heard_before - heard;
    verdict.fail_unless(heard == 1, || {
        format!("of one good request the core counted {heard}")
    });
    verdict.fact("a good request, sent the same way, reached the core and was answered");
    Ok(verdict)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

/// A request that ends its connection.
fn request(host: &str, line: &str, headers: &[&str]) -> String {
    let mut text = format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text + "\r\n"
}

/// The status of every answer that came over a connection.
fn statuses(answers: &str) -> Vec<u16> {
    let mut statuses = Vec::new();
    for (at, _) in answers.match_indices("HTTP/1.1 ") {
        let status = answers
            .get(at + 9..at + 12)
            .and_then(|status| status.parse::<u16>().ok());
        statuses.extend(status);
    }
    statuses
}

async fn tokens(ground: &Ground, host: &str, token: &str) -> anyhow::Result<Vec<Attack>> {
    let keys = ground.door.get("/.well-known/jwks.json").await?.expect(200)?;
    let public = URL_SAFE_NO_PAD.decode(keys.text("/keys/0/x")?)?;
    let line = format!("GET {TARGET}");
    let mut attacks: Vec<Attack> = forged::all(token, &public)?
        .into_iter()
        .map(|(what, forgery)| Attack {
            what: format!("a token {what}"),
            bytes: request(host, &line, &[&bearer(&forgery)]),
            answers: &[401],
        })
        .collect();
    attacks.extend(misplaced(host, token));
    Ok(attacks)
}

/// Tokens where none is looked for, and what only the gateway may say.
fn misplaced(host: &str, token: &str) -> Vec<Attack> {
    let unauthorised: &[u16] = &[401];
    let (line, good) = (format!("GET {TARGET}"), bearer(token));
    let misplaced = [
        ("no token", line.clone(), vec![], unauthorised),
        (
            "an empty bearer",
            line.clone(),
            vec!["Authorization: Bearer ".to_owned()],
            &[400, 401],
        ),
        (
            "a token under another scheme",
            line.clone(),
            vec![format!("Authorization: Basic {token}")],
            unauthorised,
        ),
        (
            "two tokens",
            line.clone(),
            vec![good.clone(), good.clone()],
            &[400],
        ),
        (
            "a token in the query",
            format!("{line}?access_token={token}"),
            vec![],
            unauthorised,
        ),
        (
            "a token in a cookie",
            line.clone(),
            vec![format!("Cookie: access_token={token}")],
            unauthorised,
        ),
        (
            "the identity headers of the gateway",
            line.clone(),
            vec![
                "X-Auth-Subject: usr_1".to_owned(),
                "X-Auth-Scopes: accounts:read".to_owned(),
            ],
            unauthorised,
        ),
        (
            "a method that is overridden",
            "DELETE /.well-known/jwks.json".to_owned(),
            vec![good, "X-HTTP-Method-Override: GET".to_owned()],
            &[405],
        ),
    ];
    let attack = |(what, line, headers, answers): (&str, String, Vec<String>, _)| {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        Attack {
            what: what.to_owned(),
            bytes: request(host, &line, &headers),
            answers,
        }
    };
    misplaced.into_iter().map(attack).collect()
}

fn spellings(host: &str, token: &str) -> Vec<Attack> {
    SPELLINGS
        .iter()
        .map(|path| Attack {
            what: format!("the path {path:?}"),
            bytes: request(host, &format!("GET {path}"), &[&bearer(token)]),
            answers: &[400, 404],
        })
        .collect()
}

/// Messages that one server ends in another place than the next, with a request hidden where they disagree.
fn smuggling(host: &str, token: &str) -> Vec<Attack> {
    let hidden = request(host, &format!("GET {TARGET}"), &[&bearer(token)]);
    let (hidden_length, length) = (hidden.len(), hidden.len() + 5);
    let auth = bearer(token);
    let post = |framing: &str, body: &str| {
        format!(
            "POST /api/v1/accounts HTTP/1.1\r\nHost: {host}\r\n{auth}\r\nContent-Type: application/json\r\n{framing}\r\n\r\n{body}"
        )
    };
    let chunked = format!("0\r\n\r\n{hidden}");
    let lengths = [
        format!("Content-Length: 0\r\nContent-Length: {hidden_length}"),
        format!("Content-Length: 0, {hidden_length}"),
        "Content-Length: +0".to_owned(),
        "Content-Length: 0x0".to_owned(),
        "Content_Length: 5\r\nContent-Length: 0".to_owned(),
    ];
    let codings = [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}"),
        "Transfer-Encoding:\tchunked\r\nContent-Length: 5".to_owned(),
        "Transfer-Encoding: xchunked".to_owned(),
        "Transfer-Encoding: chunked, identity".to_owned(),
        "Transfer-Encoding : chunked".to_owned(),
        "X-A: b\r\n Transfer-Encoding: chunked".to_owned(),
    ];
    let with_lengths = lengths
        .iter()
        .map(|framing| (framing.clone(), post(framing, &hidden)));
    let with_codings = codings
        .iter()
        .map(|framing| (framing.clone(), post(framing, &chunked)));
    let body_on_get = format!("Content-Length: {hidden_length}");
    let others = [
        (
            "line feeds alone".to_owned(),
            post("Transfer-Encoding: chunked", &chunked).replace("\r\n", "\n"),
        ),
        (
            "a body on GET".to_owned(),
            request(host, "GET /.well-known/jwks.json", &[&body_on_get]) + &hidden,
        ),
    ];
    let attack = |(framing, bytes)| Attack {
        what: format!("a message with {framing:?}"),
        bytes,
        answers: &[400],
    };
    with_lengths
        .chain(with_codings)
        .chain(others)
        .map(attack)
        .collect()
}

/// The route, for as long as the policy asks for a scope that the good token has not.
async fn beyond_scopes(ground: &Ground, token: &str, verdict: &mut Verdict) -> anyhow::Result<()> {
    let plan = ground.plan()?;
    let route = plan.routes().iter().find(|route| route.path == TARGET);
    let file = route
        .and_then(|route| route.rule.file())
        .context("the route stands in no file")?;
    let file = ground.policies.join(file);
    let edit = ground.edit_policy(&file, |text| reload::close(text, 0)).await?;
    let bytes = request(
        ground.door.authority(),
        &format!("GET {TARGET}"),
        &[&bearer(token)],
    );
    let answer = ground.door.send_raw(bytes.as_bytes()).await;
    edit.undo(ground).await?;
    let answered = statuses(&answer?);
    verdict.fail_unless(answered == [403], || {
        format!("a good token without the scope of the route was answered {answered:?}")
    });
    verdict.fact("while the policy asked for another scope, the good token was refused");
    Ok(())
}
