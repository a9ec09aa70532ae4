//! Claim `headers`: every answer carries the headers of the policy, whoever makes it and whatever was asked.

use ::policy::describe::{Description, Value, describe};
use anyhow::Context as _;
use serde_json::json;

use super::Verdict;
use crate::policy::files;
use crate::prove::ground::{ENVIRONMENT, Ground};

/// The one field that does not stand in answers in clear (RD-4).
const OVER_TLS_ONLY: &str = "strict-transport-security";
/// The field that the negative control takes away.
const TAKEN_AWAY: &str = "X-Content-Type-Options";
/// How often a wrong password is tried until it is refused.
const MOST_GUESSES: usize = 64;

pub(super) async fn check(ground: &Ground) -> anyhow::Result<Verdict> {
    look(ground, &promised(ground)?).await
}

/// Takes one field out of every profile, and expects what the original files say.
pub(super) async fn control(ground: &Ground) -> anyhow::Result<Verdict> {
    let promised = promised(ground)?;
    let file = promised.file.clone();
    let edit = ground
        .edit_policy(&ground.policies.join(file), |text| {
            let lines = text
                .lines()
                .filter(|line| !line.trim_start().starts_with(TAKEN_AWAY));
            Ok(lines.collect::<Vec<_>>().join("\n") + "\n")
        })
        .await?;
    let verdict = look(ground, &promised).await;
    edit.undo(ground).await?;
    verdict
}

/// What the floor puts on every answer and takes from every answer, in lower case.
struct Promised {
    names: Vec<String>,
    removed: Vec<String>,
    file: String,
}

fn promised(ground: &Ground) -> anyhow::Result<Promised> {
    let files = files::read(&ground.policies)?;
    let described =
        describe(&files, ENVIRONMENT).map_err(|_| anyhow::anyhow!("the policy does not compile"))?;
    let profile = floor_profile(&described)?;
    let definition = described
        .definitions
        .iter()
        .find(|definition| definition.key == profile);
    let definition = definition.context("the profile of the floor is not there")?;
    let set = definition
        .facts
        .iter()
        .filter_map(|fact| fact.name.strip_prefix("set."));
    let removed = definition.facts.iter().find(|fact| fact.name == "remove");
    let removed = match removed.map(|fact| &fact.value) {
        Some(Value::Set(names)) => names.iter().map(|name| name.to_lowercase()).collect(),
        _ => Vec::new(),
    };
    Ok(Promised {
        names: set.map(str::to_lowercase).collect(),
        removed,
        file: definition
            .place
            .file()
            .context("the profile stands in no file")?
            .to_owned(),
    })
}

fn floor_profile(described: &Description) -> anyhow::Result<String> {
    let floor = described
        .definitions
        .iter()
        .find(|definition| definition.key == "floor");
    let headers = floor.and_then(|floor| floor.facts.iter().find(|fact| fact.name == "headers"));
    match headers.map(|fact| &fact.value) {
        Some(Value::Reference(profile)) => Ok(profile.clone()),
        _ => anyhow::bail!("the floor has no header profile"),
    }
}

/// An answer, as text: the line of its status and its fields.
struct Seen {
    what: &'static str,
    expected: u16,
    head: String,
    is_in_clear: bool,
}

async fn look(ground: &Ground, promised: &Promised) -> anyhow::Result<Verdict> {
    let mut verdict = Verdict::default();
    let seen = answers(ground).await?;
    for seen in &seen {
        let mut lines = seen.head.lines();
        let status = lines.next().unwrap_or_default();
        let fields: Vec<String> = lines
            .filter_map(|line| Some(line.split_once(':')?.0.to_lowercase()))
            .collect();
        let has = |name: &String| fields.contains(name);
        verdict.fail_unless(status.contains(&format!(" {} ", seen.expected)), || {
            format!("{} was answered `{status}`", seen.what)
        });
        let needed = promised
            .names
            .iter()
            .filter(|name| !seen.is_in_clear || name.as_str() != OVER_TLS_ONLY);
        for name in needed.filter(|name| !has(name)) {
            verdict.fail(format!("{} lacks {name}", seen.what));
        }
        for name in promised.removed.iter().filter(|name| has(name)) {
            verdict.fail(format!("{} carries {name}", seen.what));
        }
        verdict.fail_unless(has(&"x-request-id".to_owned()), || {
            format!("{} has no request id", seen.what)
        });
    }
    verdict.fail_unless(promised.names.len() > 1, || {
        "the policy promises hardly any header".to_owned()
    });
    verdict.fact(format!(
        "{} kinds of answers carry all {} fields of the policy: {}",
        seen.len(),
        promised.names.len(),
        seen.iter().map(|seen| seen.what).collect::<Vec<_>>().join(", ")
    ));
    Ok(verdict)
}

async fn answers(ground: &Ground) -> anyhow::Result<Vec<Seen>> {
    let customer = ground.door.sign_up().await?;
    let host = ground.door.authority();
    let bearer = format!("Authorization: Bearer {}\r\n", customer.tokens.access);
    let get = |path: &str, more: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n")
    };
    let framing =
        format!("GET /api/v1/me HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n");
    let cases = [
        ("200 of the core", 200, get("/api/v1/me", &bearer)),
        ("200 of the gateway", 200, get("/.well-known/jwks.json", "")),
        ("401", 401, get("/api/v1/me", "")),
        ("404 of the policy", 404, get("/no/such/path", "")),
        ("400 of a path", 400, get("/api/v1/%2e%2e/me", "")),
        ("400 of a message", 400, framing),
        ("405", 405, get("/api/v1/me", "").replacen("GET", "DELETE", 1)),
        (
            "421",
            421,
            get("/api/v1/me", "").replacen(host, "unknown.example", 1),
        ),
        (
            "431",
            431,
            get("/api/v1/me", &format!("X-Long: {}\r\n", "a".repeat(20_000))),
        ),
    ];
    let mut seen = Vec::new();
    for (what, expected, bytes) in cases {
        let answer = ground.door.send_raw(bytes.as_bytes()).await?;
        let head = answer.split("\r\n\r\n").next().unwrap_or_default().to_owned();
        seen.push(Seen {
            what,
            expected,
            head,
            is_in_clear: false,
        });
    }
    seen.push(limited(ground).await?);
    let redirect = ground
        .door
        .call_in_clear(reqwest::Method::GET, "/api/v1/me", &[])
        .await?;
    seen.push(Seen {
        what: "308 in clear",
        expected: 308,
        head: head_of(&redirect),
        is_in_clear: true,
    });
    Ok(seen)
}

/// Guesses a password until the policy has enough of it.
async fn limited(ground: &Ground) -> anyhow::Result<Seen> {
    let form = json!({"email": format!("{}@customers.example", uuid::Uuid::now_v7().simple()), "password": "not the right one 7!"});
    for _ in 0..MOST_GUESSES {
        let answer = ground.door.post("/api/v1/auth/login", &form).await?;
        if answer.status == 429 {
            return Ok(Seen {
                what: "429",
                expected: 429,
                head: head_of(&answer),
                is_in_clear: false,
            });
        }
    }
    anyhow::bail!("{MOST_GUESSES} wrong passwords were not refused")
}

fn head_of(answer: &trial::Answer) -> String {
    let mut head = format!("HTTP/1.1 {} \r\n", answer.status.as_u16());
    for name in answer.headers.keys() {
        head.push_str(&format!("{name}: …\r\n"));
    }
    head
}
