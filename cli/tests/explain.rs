//! `portico policy explain` with a curl command: the shipped policies, tokens that nobody signed.
#![cfg(test)]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Explains with these options in production; `input` is standard input.
fn explain(arguments: &[&str], input: &str) -> Said {
    let mut child = Command::new(env!("CARGO_BIN_EXE_portico"))
        .args(["policy", "explain", "--env", "production"])
        .args(arguments)
        .env_remove("APP_ENV")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that refuses its options ends before it has read.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn explained(command: &str) -> Value {
    let said = explain(&["--curl", "-", "--format", "json"], command);
    assert_eq!(said.code, Some(0), "{}", said.err);
    serde_json::from_str(&said.out).unwrap()
}

/// The shape of a token with a signature that no key made.
fn token(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signature = URL_SAFE_NO_PAD.encode([7_u8; 64]);
    format!("{}.{}.{signature}", part(header), part(claims))
}

fn header() -> Value {
    json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "any"})
}

/// Claims of ten minutes, some of them changed.
fn claims(issued: u64, changes: &Value) -> Value {
    let mut claims = json!({
        "iss": "https://api.bank.example", "aud": "core-api", "sub": "usr_1", "jti": "1", "iat": issued,
        "exp": issued + 600, "scope": "accounts:read",
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn now() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "the binary under test reads the clock of the system"
    )]
    let now = SystemTime::now();
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

fn accounts(token: &str) -> String {
    format!(
        "curl -sS 'https://api.bank.example/api/v1/accounts' \\\n  -H 'Authorization: Bearer {token}' --compressed"
    )
}

#[test]
fn the_explanation_of_an_expired_token() {
    let token = token(&header(), &claims(1_700_000_000, &json!({})));
    let said = explain(&["--curl", &accounts(&token)], "");
    assert_eq!(said.code, Some(0), "{}", said.err);
    insta::assert_snapshot!(said.out);
}

#[test]
fn the_explanation_of_a_request_in_clear() {
    let said = explain(&["--curl", "curl -I http://api.bank.example/api/v1/me"], "");
    assert_eq!(said.code, Some(0), "{}", said.err);
    insta::assert_snapshot!(said.out);
}

#[test]
fn the_explanation_of_a_path_that_no_route_has() {
    let said = explain(&["--curl", "curl https://api.bank.example/admin"], "");
    assert_eq!(said.code, Some(0), "{}", said.err);
    insta::assert_snapshot!(said.out);
}

#[test]
fn a_token_is_judged_as_if_its_signature_were_good_and_the_answer_says_so() {
    let good = token(&header(), &claims(now(), &json!({})));
    let permitted = explained(&accounts(&good));
    assert_eq!(permitted["decision"], "permit", "{permitted}");
    assert_eq!(
        (&permitted["token"]["signature"], &permitted["token"]["subject"]),
        (&json!("not checked"), &json!("usr_1"))
    );
    let transfer = accounts(&good).replace("api/v1/accounts'", "api/v1/transfers' --json '{}'");
    let poor = explained(&transfer);
    assert_eq!(
        (&poor["status"], &poor["route"]),
        (&json!(403), &json!("create_transfer")),
        "{poor}"
    );

    for (change, refusal, told) in [
        (
            json!({"iss": "https://other.example"}),
            "issuer",
            "https://api.bank.example",
        ),
        (json!({"aud": ["payroll"]}), "audience", "core-api"),
        (json!({"exp": now() + 50_000}), "lifetime", "900 s"),
        (json!({"iat": now() + 500}), "issued_in_future", "in the future"),
        (json!({"nbf": now() + 500}), "not_yet_valid", "before"),
        (json!({"sub": 7}), "claims", "claim"),
    ] {
        let refused = explained(&accounts(&token(&header(), &claims(now(), &change))));
        assert_eq!(refused["status"], 401, "{change}");
        assert_eq!(refused["token"]["refusal"], refusal, "{change}");
        let reason = refused["token"]["reason"].as_str().unwrap();
        assert!(reason.contains(told), "{reason}");
    }
    let rs256 = token(
        &json!({"alg": "RS256", "typ": "at+jwt", "kid": "any"}),
        &claims(now(), &json!({})),
    );
    assert_eq!(explained(&accounts(&rs256))["token"]["refusal"], "algorithm");
    assert_eq!(explained(&accounts("opaque"))["token"]["refusal"], "malformed");
}

#[test]
fn a_token_is_never_printed() {
    let good = token(&header(), &claims(now(), &json!({})));
    let signature = good.rsplit('.').next().unwrap();
    for format in ["human", "json"] {
        for command in [
            accounts(&good),
            accounts(&format!("{good}x")),
            accounts(&good).replace("Authorization:", "Authorization"),
            accounts(&good).replace("-sS", "--bearer"),
            format!("curl --oauth2-bearer {good} https://api.bank.example/api/v1/accounts"),
        ] {
            let said = explain(&["--curl", "-", "--format", format], &command);
            let text = format!("{}{}", said.out, said.err);
            assert!(!text.contains(signature) && !text.contains("eyJ"), "{text}");
        }
    }
    let line = format!("Authorization Bearer {good}");
    let said = explain(&["--path", "/api/v1/me", "--header", &line], "");
    assert_eq!(said.code, Some(2));
    assert!(!said.err.contains(signature), "{}", said.err);
}

#[test]
fn what_cannot_be_explained_is_2_and_named() {
    for (command, named) in [
        (
            "curl --proxy http://p.example https://api.bank.example/",
            "`--proxy`",
        ),
        (
            "curl -H \"Authorization: Bearer $token\" https://api.bank.example/",
            "variable",
        ),
        ("wget https://api.bank.example/", "`curl`"),
    ] {
        let said = explain(&["--curl", command], "");
        assert_eq!(said.code, Some(2), "{command}");
        assert!(
            said.err.starts_with("portico: --curl: ") && said.err.contains(named),
            "{}",
            said.err
        );
    }
    let both = explain(&["--curl", "curl a.example", "--path", "/"], "");
    assert_eq!(both.code, Some(2), "{}", both.out);
    assert_eq!(explain(&[], "").code, Some(2), "neither a path nor a command");
}

#[test]
fn every_phase_is_listed_in_its_order_whatever_happens() {
    let commands = [
        "curl https://api.bank.example/api/v1/me",
        "curl https://api.bank.example/.well-known/jwks.json",
        "curl http://api.bank.example/api/v1/me",
        "curl https://other.example/",
        "curl --path-as-is https://api.bank.example/a/../b",
        "curl -X DELETE https://api.bank.example/api/v1/me",
    ];
    for command in commands {
        let explained = explained(command);
        let trace = explained["trace"].as_array().unwrap();
        let mut phases: Vec<&str> = trace.iter().map(|step| step["phase"].as_str().unwrap()).collect();
        // 404 and 405 are told after the first limits: the path decides a second time.
        if let Some(second) = phases
            .iter()
            .rposition(|phase| *phase == "path")
            .filter(|index| *index > 2)
        {
            phases.remove(second);
        }
        assert_eq!(phases, policy::Phase::ALL.map(policy::Phase::as_str), "{command}");
    }
}

#[test]
fn a_client_certificate_is_supposed_only_where_the_listener_asks_for_one() {
    let said = explain(
        &[
            "--path",
            "/health",
            "--client-certificate",
            "spiffe://bank.example/a",
        ],
        "",
    );
    assert_eq!(said.code, Some(2), "{}", said.out);
    assert!(
        said.err
            .contains("--client-certificate: the listener `public` asks for none"),
        "{}",
        said.err
    );
}
