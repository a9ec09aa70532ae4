//! Tokens that must be refused, to the gateway and to haproxy; nginx has no tokens in its open version.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use service_runtime::clock::Clock;
use strictness::Patience;
use strictness::tokens::{Algorithm, Attack, Issuer, Key, Maker, attacks};

use crate::candidate::{Candidate, Site};

const PATIENCE: Patience = Patience {
    answers: 1,
    linger: Duration::from_millis(20),
    deadline: Duration::from_secs(4),
};

pub(crate) async fn run(site: &Site, binary: &Path, details: bool) -> anyhow::Result<()> {
    for algorithm in [Algorithm::ES256, Algorithm::RS256] {
        let now = Clock::system().now().timestamp();
        let claims = json!({
            "iss": "https://idp.example", "aud": "bench", "sub": "usr_alice", "jti": "jti_1", "scope": "items:read",
            "iat": now - 60, "exp": now + 600,
        });
        let issuer = Issuer::new(Key::generate(algorithm)?, "key-1".to_owned(), claims, now);
        let name = algorithm.as_str();
        site.write(
            &format!("keys/{name}.jwks.json"),
            &json!({"keys": [issuer.jwk()]}).to_string(),
        )?;
        let pem = site.write(&format!("keys/{name}.pem"), &issuer.pem()?)?;
        let manual = manual(name, &pem);
        let careful = format!("{manual}{}", careful());
        let candidates = [
            Candidate::portico("Portico", site, binary, "1.3", Some(algorithm)).await?,
            Candidate::haproxy("haproxy as its manual shows", site, "", &manual).await?,
            Candidate::haproxy("haproxy with claims", site, "", &careful).await?,
        ];
        compare(algorithm, &candidates, &issuer, details).await?;
    }
    Ok(())
}

/// What the configuration manual of haproxy 2.6 shows for `jwt_verify` (§7.3.1).
fn manual(algorithm: &str, pem: &Path) -> String {
    format!(
        "  http-request set-var(txn.bearer) http_auth_bearer
  http-request set-var(txn.jwt_alg) var(txn.bearer),jwt_header_query('$.alg')
  http-request deny unless {{ var(txn.jwt_alg) -m str \"{algorithm}\" }}
  http-request deny unless {{ var(txn.bearer),jwt_verify(txn.jwt_alg,\"{}\") 1 }}
",
        pem.display()
    )
}

/// What a careful operator adds: every comparison that the policy of the gateway makes and haproxy has words for.
fn careful() -> String {
    let header = |name: &str| format!("var(txn.bearer),jwt_header_query('$.{name}')");
    let payload = |name: &str| format!("var(txn.bearer),jwt_payload_query('$.{name}')");
    let number = |name: &str| format!("var(txn.bearer),jwt_payload_query('$.{name}','int')");
    let mut rules = String::new();
    for (value, expected) in [
        (header("typ"), "at+jwt"),
        (header("kid"), "key-1"),
        (payload("iss"), "https://idp.example"),
        (payload("aud"), "bench"),
    ] {
        rules.push_str(&format!(
            "  http-request deny unless {{ {value} -m str \"{expected}\" }}\n"
        ));
    }
    for name in [
        "crit", "b64", "jwk", "jku", "x5u", "x5c", "x5t", "cty", "zip", "enc",
    ] {
        rules.push_str(&format!(
            "  http-request deny if {{ {} -m found }}\n",
            header(name)
        ));
    }
    for name in ["sub", "jti"] {
        rules.push_str(&format!(
            "  http-request deny unless {{ {} -m found }}\n",
            payload(name)
        ));
    }
    rules.push_str(&format!(
        "  http-request deny if {{ {} -m found }}\n",
        payload("cnf")
    ));
    rules.push_str("  http-request set-var(txn.now) date()\n");
    for name in ["exp", "iat", "nbf"] {
        rules.push_str(&format!("  http-request set-var(txn.{name}) {}\n", number(name)));
    }
    rules.push_str(
        "  http-request deny unless { var(txn.exp) -m found } { var(txn.iat) -m found }
  http-request deny if { var(txn.exp),sub(txn.now) -m int le 0 }
  http-request deny if { var(txn.exp),sub(txn.iat) -m int gt 900 }
  http-request deny if { var(txn.iat),sub(txn.now) -m int gt 1 }
  http-request deny if { var(txn.nbf) -m found } { var(txn.nbf),sub(txn.now) -m int gt 1 }
",
    );
    rules
}

/// Whether the upstream heard of the request.
async fn is_taken(candidate: &Candidate, token: &str) -> anyhow::Result<bool> {
    let request = format!(
        "GET /v1/items/1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    candidate.upstream.take();
    let answers = candidate
        .server(b"http/1.1")?
        .send(request.as_bytes(), PATIENCE)
        .await?;
    ensure!(
        answers.statuses.len() == 1,
        "{} does not answer: {:?}",
        candidate.name,
        String::from_utf8_lossy(&answers.bytes)
    );
    Ok(!candidate.upstream.take().messages.is_empty())
}

async fn compare(
    algorithm: Algorithm,
    candidates: &[Candidate],
    issuer: &Issuer,
    details: bool,
) -> anyhow::Result<()> {
    let attacks = attacks(issuer)?;
    let mut out = std::io::stdout();
    writeln!(out, "\n{}\n", algorithm.as_str())?;
    let mut outcomes = Vec::new();
    for candidate in candidates {
        let control = is_taken(candidate, &issuer.token()?).await?;
        ensure!(control, "{} refuses the control", candidate.name);
        let mut taken = Vec::new();
        for attack in &attacks {
            let is_taken = is_taken(candidate, &attack.token).await?;
            if is_taken && (details || attack.maker != Maker::Issuer) {
                let Attack {
                    rule, name, maker, ..
                } = attack;
                writeln!(out, "{} takes {rule} of {maker:?}: {name}", candidate.name)?;
            }
            taken.push(is_taken);
        }
        outcomes.push(taken);
    }
    let row = |is_of: &dyn Fn(&Attack) -> bool| {
        let tried = attacks.iter().filter(|attack| is_of(attack)).count();
        let taken = outcomes.iter().map(|taken| {
            let of_row = attacks.iter().zip(taken).filter(|(attack, _)| is_of(attack));
            format!(" {} |", of_row.filter(|(_, is_taken)| **is_taken).count())
        });
        format!(" {tried} |{}", taken.collect::<String>())
    };
    let heads = candidates
        .iter()
        .map(|candidate| format!(" {} takes |", candidate.name));
    writeln!(out, "\n| | tried |{}", heads.collect::<String>())?;
    writeln!(out, "| --- | --- |{}", " --- |".repeat(candidates.len()))?;
    for maker in [Maker::Anybody, Maker::Witness, Maker::Issuer] {
        writeln!(out, "| {maker:?} |{}", row(&|attack| attack.maker == maker))?;
    }
    // `J7` comes before `J12`.
    let rules: BTreeSet<_> = attacks
        .iter()
        .map(|attack| (attack.rule.len(), attack.rule))
        .collect();
    for (_, rule) in rules {
        writeln!(out, "| {rule} |{}", row(&|attack| attack.rule == rule))?;
    }
    writeln!(out, "| all |{}", row(&|_| true))?;
    Ok(())
}
