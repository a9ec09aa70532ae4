//! `portico policy explain` with a curl command: the shipped policies, tokens that nobody signed.
#![cfg(test)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
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

/// Explains with these options, in production unless they say otherwise; `input` is standard input.
fn explain(arguments: &[&str], input: &str) -> Said {
    let environment: &[&str] = if arguments.contains(&"--env") {
        &[]
    } else {
        &["--env", "production"]
    };
    let mut child = Command::new(env!("CARGO_BIN_EXE_portico"))
        .args(["policy", "explain"])
        .args(environment)
        .args(arguments)
        .env_remove("APP_ENV")
        .current_dir(root())
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

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
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
        (json!({"cnf": {"jkt": "x"}}), "binding", "another way"),
        (
            json!({"cnf": {"x5t#S256": "A".repeat(43)}}),
            "unproven",
            "shows no certificate",
        ),
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

/// What Chrome puts into the clipboard as “Copy as cURL (cmd)”.
const CMD: &str = "curl ^\"https://api.bank.example/api/v1/transfers^\" ^\n  -H ^\"accept: */*^\" ^\n  --data-raw ^\"^{^\\^\"a^\\^\":1^}^\"";
const OLDER_CMD: &str = "curl \"https://api.bank.example/health\" ^\n  -H \"accept: */*\" ^\n  --compressed";
const OLDER_CMD_IN_ONE_LINE: &str =
    "curl \"https://api.bank.example/health\" ^ -H \"accept: */*\" ^ --compressed";

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
        (CMD, "Copy as cURL (bash)"),
        (OLDER_CMD, "Copy as cURL (bash)"),
        (OLDER_CMD_IN_ONE_LINE, "Copy as cURL (bash)"),
        (
            "curl --cert me.pem https://api.bank.example/",
            "--client-certificate",
        ),
        ("curl -E me.pem https://api.bank.example/", "--client-certificate"),
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
fn a_head_that_http_does_not_allow_is_refused_as_the_gateway_refuses_it() {
    let at = "https://api.bank.example/api/v1/auth/login";
    for (command, status, rule) in [
        (
            format!("curl -d x -H 'Transfer-Encoding: chunked' {at}"),
            400,
            "FR-1",
        ),
        (format!("curl -d x -H 'X_Foo: 1' {at}"), 400, "FR-5"),
        (
            format!("curl -d x -H 'Content-Type: a/b' -H 'Content-Type: c/d' {at}"),
            400,
            "FR-6",
        ),
        (format!("curl -X GET -d x {at}"), 400, "FR-7"),
        (
            format!("curl -d x -H 'Connection: authorization' {at}"),
            400,
            "FR-10",
        ),
    ] {
        let refused = explained(&command);
        let told = (&refused["decision"], &refused["status"]);
        assert_eq!(told, (&json!("deny"), &json!(status)), "{command}: {refused}");
        assert!(
            refused["rule"].as_str().unwrap().ends_with(&format!(" {rule}")),
            "{refused}"
        );
    }
    let said = explain(&["--path", "/health", "--body", "x", "--format", "json"], "");
    assert!(said.out.contains("FR-7"), "{}", said.out);
}

#[test]
fn what_is_supposed_is_said_and_what_means_nothing_is_refused() {
    let said = explain(&["--curl", "curl https://api.bank.example:8443/health"], "");
    assert!(
        said.out.contains("no listener of this policy is on port 8443"),
        "{}",
        said.out
    );
    let said = explain(&["--curl", "curl https://api.bank.example/health"], "");
    assert!(!said.out.contains("remark"), "{}", said.out);
    let said = explain(&["--path", "x"], "");
    assert!(
        said.out.contains("https://api.bank.example x from"),
        "{}",
        said.out
    );
    for (arguments, because) in [
        (&["--path", "/x", "--scope", "a"][..], "--subject"),
        (&["--path", "/x", "--listener", "pubic"], "did you mean `public`?"),
        (
            &["--curl", "curl https://api.bank.example/{a,b}"],
            "several requests",
        ),
    ] {
        let said = explain(arguments, "");
        assert_eq!(said.code, Some(2), "{arguments:?}: {}", said.out);
        assert!(said.err.contains(because), "{}", said.err);
    }
}

#[test]
fn an_unknown_host_is_refused_by_the_line_that_names_the_known_ones() {
    let rule = |environment: &str| {
        let said = explain(
            &[
                "--path",
                "/health",
                "--host",
                "evil.example",
                "--env",
                environment,
                "--format",
                "json",
            ],
            "",
        );
        let said: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(said["status"], 421, "{said}");
        said["rule"].as_str().unwrap().to_owned()
    };
    let (base, overlay) = (rule("production"), rule("development"));
    assert!(
        base.starts_with("listeners.yaml:") && base.ends_with(" hosts"),
        "{base}"
    );
    assert!(
        overlay.starts_with("environments/development.yaml:") && overlay.ends_with(" hosts"),
        "{overlay}"
    );
}

#[test]
fn a_limit_that_only_watches_is_told_when_the_request_is_over_it() {
    let folder = tempfile::tempdir().unwrap();
    let copied = Command::new("cp")
        .arg("-r")
        .arg(root().join("policies"))
        .arg(folder.path())
        .status()
        .unwrap();
    assert!(copied.success());
    let policies = folder.path().join("policies");
    let file = policies.join("routes/identity.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let enforced = "login-attempts: { limit: 30/min, burst: 30,";
    assert!(text.contains(enforced));
    std::fs::write(
        &file,
        text.replace(enforced, &format!("{enforced} mode: shadow,")),
    )
    .unwrap();
    let policies = policies.to_str().unwrap();
    let login = [
        "--method",
        "POST",
        "--path",
        "/api/v1/auth/login",
        "--policies",
        policies,
    ];
    let over = explain(&[&login[..], &["--exhausted=login-attempts"]].concat(), "");
    assert!(over.out.contains("decision  permit"), "{}{}", over.out, over.err);
    for told in [
        "over `login-attempts`, and let through because of `mode: shadow`",
        "passed      routes/identity.yaml:",
        "login-attempts: 30/min, burst 30, shadow",
    ] {
        assert!(over.out.contains(told), "{told}:\n{}", over.out);
    }
    let within = explain(&login, "");
    assert!(
        within.out.contains("within every limit") && !within.out.contains("let through"),
        "{}",
        within.out
    );
}

#[test]
fn every_limit_that_counts_is_named_in_its_phase() {
    let said = explain(&["--method", "POST", "--path", "/api/v1/auth/login"], "");
    let (_, phase) = said.out.split_once("  limits ").unwrap();
    let (phase, _) = phase.split_once("  cors ").unwrap();
    for name in ["floor.rate.per-address", "routes.login.rate.login-attempts"] {
        assert!(phase.contains(name), "{name}: {phase}");
    }
    assert!(
        said.out.contains("per-address: 100/min, burst 100"),
        "{}",
        said.out
    );
}

/// A line as the gateway writes it for the shipped policies in production.
fn log_line(changes: &Value) -> String {
    let plain = explain(&["--path", "/api/v1/me", "--format", "json"], "");
    let bundle: Value = serde_json::from_str(&plain.out).unwrap();
    let bundle = bundle["bundle"].as_str().unwrap();
    let mut line = json!({
        "time": "2026-01-31T12:00:00.000000Z", "level": "INFO", "service": "gateway", "target": "access",
        "message": "request", "request_id": "req_1", "trace_id": "1", "listener": "public.https",
        "client": "203.0.113.9", "method": "GET", "path": "/api/v1/me", "route": "me", "decision": "deny",
        "status": 401, "rule": bundle_rule(&plain.out), "reason": "missing", "bundle": bundle.get(..12),
    });
    for (name, value) in changes.as_object().unwrap() {
        line[name] = value.clone();
    }
    line.to_string()
}

fn bundle_rule(explained: &str) -> Value {
    serde_json::from_str::<Value>(explained).unwrap()["rule"].clone()
}

fn replayed(line: &str) -> Value {
    let said = explain(&["--log-line", "-", "--format", "json"], line);
    assert_eq!(said.code, Some(0), "{}", said.err);
    serde_json::from_str(&said.out).unwrap()
}

/// The rule that a request with these options meets.
fn rule_of(options: &[&str]) -> Value {
    bundle_rule(&explain(&[options, &["--format", "json"]].concat(), "").out)
}

#[test]
fn a_line_of_the_log_is_replayed_as_far_as_it_tells() {
    let pay = [
        "--method",
        "POST",
        "--path",
        "/api/v1/transfers",
        "--subject",
        "usr_1",
    ];
    let pays = json!({"method": "POST", "path": "/api/v1/transfers", "route": "create_transfer", "subject": "usr_1"});
    let with = |more: Value| {
        let mut changes = pays.clone();
        changes
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        log_line(&changes)
    };
    let permitted = [&pay[..], &["--scope", "transfers:write"]].concat();
    let limited = [&permitted[..], &["--exhausted=transfers"]].concat();
    for line in [
        log_line(&json!({})),
        log_line(&json!({"reason": "expired"})),
        format!("gateway | {}", log_line(&json!({}))),
        with(json!({"decision": "permit", "status": 201, "rule": rule_of(&permitted), "reason": null})),
        with(json!({"status": 403, "rule": rule_of(&pay), "reason": "insufficient-scope"})),
        with(json!({"status": 429, "rule": rule_of(&limited), "reason": "rate-limited"})),
        log_line(&json!({
            "client": "203.0.113.0/24", "path": "/api/v1/accounts/{account_id}",
            "rule": rule_of(&["--path", "/api/v1/accounts/acc_1"]),
        })),
    ] {
        let told = replayed(&line)["log_line"].clone();
        assert_eq!(
            (&told["is_same_decision"], &told["is_same_bundle"]),
            (&json!(true), &json!(true)),
            "{line} {told}"
        );
    }
}

#[test]
fn a_line_of_another_bundle_or_of_what_it_does_not_tell_says_so() {
    let other = replayed(&log_line(&json!({"bundle": "000000000000"})));
    assert_eq!(other["log_line"]["is_same_bundle"], json!(false), "{other}");
    let large = log_line(&json!({"status": 413, "rule": "floor.yaml:10 floor.limits.body", "reason": null}));
    assert_eq!(replayed(&large)["log_line"]["is_same_decision"], json!(false));
    let said = explain(&["--log-line", &large], "");
    assert!(said.out.contains("ANOTHER DECISION OR RULE"), "{}", said.out);
    let unread = json!({"method": "-", "path": "-", "status": 400, "rule": "FR-4", "decision": "refused"});
    let reduced = log_line(&json!({"path": null, "status": 404}));
    for line in [log_line(&unread), reduced, "{}".to_owned(), "no JSON".to_owned()] {
        let said = explain(&["--log-line", &line], "");
        assert_eq!(said.code, Some(2), "{line}: {}", said.out);
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
