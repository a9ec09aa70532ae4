//! Cases: the shipped ones, what a failing one says, what a wrong one says, and what is not tested.

use crate::world::{plan, shipped, shipped_cases, shipped_with, undescribed, undescribed_with};
use policy::{
    Diagnostic, Plan, SourceFile,
    cases::{self, Report, Suite},
    compile, environments, render,
};
use std::{collections::BTreeSet, fmt::Write};

fn plans(files: &[SourceFile]) -> Vec<Plan> {
    let environments = environments(files).into_iter();
    environments.map(|environment| plan(files, environment)).collect()
}

/// One case file with these cases.
fn file(cases: &str) -> Vec<SourceFile> {
    vec![SourceFile::new(
        "tests/a.yaml",
        format!("version: 1\n\ntests:\n{cases}"),
    )]
}

fn suite(files: &[SourceFile]) -> Suite {
    Suite::read(files).unwrap_or_else(|found| panic!("{}", render::findings(&found, files)))
}

/// Runs these cases on the shipped policies.
fn run(cases: &str) -> Report {
    suite(&file(cases)).run(&plans(&undescribed()), |_, _| true)
}

/// The report on these cases, without the coverage of routes.
fn told(cases: &str) -> String {
    cases::human(&run(cases), None, &[])
}

#[test]
fn the_shipped_policies_do_what_their_cases_say() {
    let (policies, files) = (shipped(), shipped_cases());
    let (plans, suite) = (plans(&policies), suite(&files));
    let undefined = suite.undefined_names(&environments(&undescribed()), &plans);
    assert!(undefined.is_empty(), "{}", render::findings(&undefined, &files));
    let report = suite.run(&plans, |_, _| true);
    let untested = report.untested(&plan(&policies, "production"), &policies);
    let told = cases::human(&report, Some(&untested), &policies);
    let expected = format!(
        "{} cases pass; every route has a permit and a deny case",
        suite.len()
    );
    assert_eq!(told, expected);
    assert!(suite.len() >= 60);
}

/// The rule has one name, whichever file its numbers come from.
#[test]
fn cases_go_on_to_run_when_production_is_tightened() {
    let policies = shipped_with(
        "environments/production.yaml",
        "environment: production\n",
        "environment: production\nrates:\n  login-attempts: { limit: 20/min, burst: 30 }\n",
    );
    let (plans, suite) = (plans(&policies), suite(&shipped_cases()));
    assert!(suite.undefined_names(&environments(&policies), &plans).is_empty());
    let failed: Vec<String> = suite
        .run(&plans, |_, _| true)
        .failures
        .iter()
        .map(|failure| failure.case.clone())
        .collect();
    assert_eq!(failed, ["an-address-tries-thirty-log-ins-a-minute"]);
}

/// What is replaced in a shipped file, by what: each makes the bank's edge weaker, or breaks it.
const WEAKENED: [(&str, &str, &str); 24] = [
    ("floor.yaml", "limit: 100/min", "limit: 101/min"),
    ("floor.yaml", "burst: 100", "burst: 101"),
    ("floor.yaml", "head: 16KiB", "head: 17KiB"),
    ("floor.yaml", "headers: 64", "headers: 65"),
    ("floor.yaml", "target: 8KiB", "target: 9KiB"),
    ("routes/accounts.yaml", "body: 8KiB", "body: 9KiB"),
    (
        "headers.yaml",
        "X-Frame-Options: DENY",
        "X-Frame-Options: SAMEORIGIN",
    ),
    ("routes/identity.yaml", "limit: 3/h", "limit: 4/h"),
    ("routes/identity.yaml", "limit: 30/min", "limit: 31/min"),
    (
        "routes/identity.yaml",
        "login-failures: { limit: 5/min, burst: 5",
        "login-failures: { limit: 6/min, burst: 6",
    ),
    (
        "routes/identity.yaml",
        "key: [address, body./email]",
        "key: [address]",
    ),
    (
        "routes/identity.yaml",
        "key: [address, body./email]",
        "key: [body./email]",
    ),
    ("routes/identity.yaml", ", count: failures", ""),
    ("routes/identity.yaml", "body: 4KiB", "body: 8KiB"),
    ("routes/transfers.yaml", "limit: 60/min", "limit: 61/min"),
    ("routes/transfers.yaml", "key: [subject]", "key: [address]"),
    ("routes/transfers.yaml", "body: 8KiB", "body: 9KiB"),
    (
        "routes/transfers.yaml",
        "    upstream: core\n",
        "    upstream: core\n    openapi: none\n",
    ),
    ("cors.yaml", "origins: [", "origins: [https://evil.example, "),
    (
        "cors.yaml",
        "max_age: 10min",
        "max_age: 10min\n    credentials: true",
    ),
    (
        "cors.yaml",
        "Idempotency-Key, X-R",
        "Idempotency-Key, X-Secret, X-R",
    ),
    ("headers.yaml", "remove: [Server, X", "remove: [X"),
    (
        "headers.yaml",
        "script-src 'self';",
        "script-src 'self' 'unsafe-inline';",
    ),
    ("listeners.yaml", "hosts: [", "hosts: [evil.example, "),
];

#[test]
fn the_shipped_cases_notice_a_weaker_policy() {
    let suite = suite(&shipped_cases());
    for (name, old, new) in WEAKENED {
        let weakened = plan(&shipped_with(name, old, new), "production");
        let report = suite.run(&[weakened], |_, _| true);
        assert!(!report.failures.is_empty(), "no case notices {name}: {new}");
    }
}

/// A route opened, opened to every scope, or closed: two lines that follow each other, and what they become.
fn slips_of_access(auth: &str, next: &str) -> Vec<[&'static str; 2]> {
    match (auth.trim(), next.trim()) {
        ("auth: customers", "scopes: []") => vec![["    auth: none", "    because: a slip of the hand"]],
        ("auth: customers", _) => vec![
            ["    auth: none", "    because: a slip of the hand"],
            ["    auth: customers", "    scopes: []"],
        ],
        ("auth: none", _) => vec![["    auth: customers", "    scopes: []"]],
        _ => Vec::new(),
    }
}

#[test]
fn the_shipped_cases_notice_every_change_of_who_may_come() {
    let (suite, policies) = (suite(&shipped_cases()), shipped());
    let mut noticed = 0;
    for (index, file) in policies.iter().enumerate() {
        let lines: Vec<&str> = file.text.lines().collect();
        for at in 1..lines.len() {
            for slip in slips_of_access(lines[at - 1], lines[at]) {
                let mut changed = lines.clone();
                changed[at - 1..=at].copy_from_slice(&slip);
                let mut policies = policies.clone();
                policies[index].text = changed.join("\n");
                // Some do not even compile: a limit by subject on a route for anyone.
                let Ok(plan) = compile(&policies, "production") else {
                    continue;
                };
                let report = suite.run(&[plan], |_, _| true);
                assert!(!report.failures.is_empty(), "{}:{at} {slip:?}", file.name);
                noticed += 1;
            }
        }
    }
    assert!(noticed >= 29, "{noticed}");
}

/// A case of every kind of expectation, each of them wrong.
const FAILING: &str = r#"
  decision: { request: { method: GET, path: /health }, expect: { decision: deny } }
  denied: { request: { method: GET, path: /api/v1/me }, expect: { decision: permit } }
  answered: { request: { method: GET, path: /, scheme: http }, expect: { decision: permit } }
  status: { request: { method: GET, path: /health }, expect: { status: 404 } }
  status-of-a-refusal: { request: { method: GET, path: /api/v1/me }, expect: { status: 403 } }
  phase: { request: { method: GET, path: /api/v1/me }, expect: { phase: authorization } }
  rule: { request: { method: GET, path: /api/v1/me }, expect: { rule: routes.me.scopes } }
  rule-of-a-permit: { request: { method: GET, path: /health }, expect: { rule: routes.live } }
  route: { request: { method: GET, path: /nowhere }, expect: { route: me } }
  upstream: { request: { method: GET, path: /health/live }, expect: { upstream: core } }
  serve: { request: { method: GET, path: /health/live }, expect: { serve: ready } }
  path: { request: { method: GET, path: "/health?a=b" }, expect: { path: "/health?a=b" } }
  violated: { request: { method: GET, path: /nowhere }, expect: { violated: [per-address] } }
  header: { request: { method: GET, path: /health }, expect: { headers: { X-Frame-Options: SAMEORIGIN } } }
  header-absent: { request: { method: GET, path: /health }, expect: { headers: { X-Frame-Options: absent } } }
  header-present: { request: { method: GET, path: /nowhere }, expect: { headers: { Retry-After: present } } }
  header-of-the-upstream: { request: { method: GET, path: /health }, expect: { headers: { ETag: absent } } }
  several: { request: { method: GET, path: /nowhere }, expect: { decision: permit, status: 200, route: me } }
"#;

#[test]
fn every_kind_of_expectation_says_what_was_expected_and_what_was_got() {
    // Contradictions are for another test.
    let cases = FAILING.replace("decision: permit, status: 200", "status: 200");
    let report = run(&cases);
    assert_eq!(report.failures.len(), report.ran, "each of them fails");
    let mut text = String::new();
    for failure in &report.failures {
        let _ = writeln!(text, "{}", failure.case);
        for it in &failure.differences {
            let _ = writeln!(text, "  {}: expected {}, got {}", it.key, it.expected, it.got);
        }
    }
    insta::assert_snapshot!(text);
}

const GUESSING: &str = r#"
  guessing:
    request: { method: POST, path: /api/v1/auth/login, body: { email: a@b.example }, answered: 401 }
    steps:
      - { times: 5, expect: { decision: permit } }
      - after: 11s
        times: 2
        expect: { decision: permit, headers: { RateLimit: present } }
"#;

#[test]
fn a_failing_case_shows_its_place_its_request_and_every_phase() {
    insta::assert_snapshot!(told(GUESSING));
}

#[test]
fn a_report_for_machines_has_the_same() {
    let report = run(GUESSING);
    insta::assert_snapshot!(cases::json(&report, None));
    let json: serde_json::Value = serde_json::from_str(&cases::json(&report, Some(&[]))).expect("JSON");
    assert_eq!(json["untested"], serde_json::json!([]));
}

#[test]
fn what_an_upstream_answers_decides_whether_a_guess_is_counted() {
    let log_in = |answered: u16| {
        format!(
            r#"
  guessing:
    request: {{ method: POST, path: /api/v1/auth/login, body: {{ email: a@b.example }}, answered: {answered} }}
    steps:
      - {{ times: 5, expect: {{ decision: permit }} }}
      - expect: {{ decision: permit }}
"#
        )
    };
    for (answered, fails) in [(200, 0), (401, 1), (403, 1), (404, 0), (422, 0), (500, 0)] {
        assert_eq!(run(&log_in(answered)).failures.len(), fails, "{answered}");
    }
}

#[test]
fn the_clock_moves_only_when_a_case_says_so() {
    let twice = |pause: &str| {
        format!(
            r#"
  register:
    request: {{ method: POST, path: /api/v1/auth/register }}
    steps:
      - {{ times: 3, expect: {{ decision: permit }} }}
      - {{ after: {pause}, expect: {{ decision: permit }} }}
"#
        )
    };
    assert_eq!(run(&twice("1199999ms")).failures.len(), 1);
    assert_eq!(run(&twice("20min")).failures.len(), 0);
}

#[test]
fn every_case_begins_with_fresh_counters() {
    let once = "request: { method: POST, path: /api/v1/auth/register }, \
                steps: [{ times: 3, expect: { decision: permit } }]";
    let report = run(&format!("  one: {{ {once} }}\n  two: {{ {once} }}\n"));
    assert_eq!((report.ran, report.failures.len()), (2, 0));
}

#[test]
fn a_case_runs_in_production_unless_it_names_another_environment() {
    let on = |environment: &str| {
        let case = format!(
            "  local: {{ {environment} request: {{ method: GET, path: /health, host: localhost }}, \
             expect: {{ decision: permit }} }}\n"
        );
        run(&case)
            .failures
            .iter()
            .map(|failure| failure.environment.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(on(""), ["production"]);
    assert_eq!(on("environment: production,"), ["production"]);
    assert!(on("environment: development,").is_empty());
    assert_eq!(on("environment: all,"), ["production"]);
}

#[test]
fn a_token_is_good_for_its_own_provider_only() {
    let files = undescribed_with(
        "identity.yaml",
        "identity:\n",
        "identity:\n  partners:\n    issuer: https://partner.example\n    audiences: [core-api]\n    \
         algorithms: [EdDSA]\n    type: at+jwt\n    max_lifetime: 5min\n    leeway: 5s\n    keys: file:partners.jwks.json\n",
    );
    let mut files = files;
    let routes = files
        .iter_mut()
        .find(|file| file.name == "routes/identity.yaml")
        .expect("shipped");
    routes.text.push_str(
        "\n  ours:\n    match: { method: GET, path: /ours }\n    auth: partners\n    scopes: []\n    upstream: core\n",
    );
    let cases = file(
        "  theirs: { request: { method: GET, path: /ours, token: { provider: partners, subject: p } }, \
         expect: { decision: permit } }\n  \
         not-ours: { request: { method: GET, path: /ours, token: { provider: customers, subject: p } }, \
         expect: { status: 401 } }\n",
    );
    let report = suite(&cases).run(&[plan(&files, "production")], |_, _| true);
    assert!(report.failures.is_empty(), "{}", cases::human(&report, None, &[]));
}

#[test]
fn only_the_cases_that_are_wanted_run() {
    let files = shipped_cases();
    let wanted = |file: &str, name: &str| file == "tests/transfers.yaml" && name.contains("pays");
    let report = suite(&files).run(&plans(&undescribed()), wanted);
    assert_eq!(report.ran, 3);
}

/// The shipped cases without those that name a route in their text.
fn without(route: &str) -> Report {
    let files: Vec<SourceFile> = shipped_cases();
    let touches = |name: &str| {
        let text: String = files.iter().map(|file| file.text.as_str()).collect();
        let (_, rest) = text.split_once(&format!("\n  {name}:\n")).expect("a case");
        let case = rest.split("\n\n").next().unwrap_or_default();
        case.contains(route)
    };
    suite(&files).run(&plans(&shipped()), |_, name| !touches(name))
}

#[test]
fn routes_without_cases_are_named_with_a_case_to_paste() {
    let report = without("/api/v1/transfers");
    assert!(report.failures.is_empty());
    let policies = shipped();
    let untested = report.untested(&plan(&policies, "production"), &policies);
    let told = cases::human(&report, Some(&untested), &policies);
    let (findings, summary) = told.rsplit_once('\n').expect("a summary");
    assert_eq!(
        summary,
        format!("{} cases pass; 11 cases are missing", report.ran)
    );
    insta::assert_snapshot!(findings);
}

#[test]
fn the_cases_to_paste_pass_and_nothing_is_missing_with_them() {
    let policies = undescribed();
    let (plans, production) = (plans(&policies), plan(&policies, "production"));
    let untested = Report::default().untested(&production, &policies);
    let scopes = production.routes().iter().map(|route| route.scopes.len());
    // Whatever asks for a password or a code has a second limit, for failures; all but log-out and reading have one.
    let limits = 78;
    assert_eq!(
        untested.len(),
        2 * production.routes().len() + scopes.sum::<usize>() + limits
    );
    let mut pasted = String::new();
    for finding in &untested {
        let fix = finding.fix.as_deref().expect("a fix");
        let (_, case) = fix.split_once('`').expect("a case");
        let _ = writeln!(pasted, "  {}", case.trim_end_matches('`'));
        // The place is that of the route's name.
        let text = &policies
            .iter()
            .find(|file| file.name == finding.file)
            .expect("shipped")
            .text;
        let line = text.lines().nth(finding.line as usize - 1).expect("a line");
        let from = finding.column as usize - 1;
        let name: String = line.chars().skip(from).take(finding.length as usize).collect();
        assert!(finding.message.ends_with(&format!("`{name}`")), "{finding:?}");
    }
    let files = file(&pasted);
    assert!(
        suite(&files)
            .undefined_names(&environments(&undescribed()), &plans)
            .is_empty()
    );
    let report = run(&pasted);
    let told = cases::human(&report, Some(&report.untested(&production, &policies)), &policies);
    assert_eq!(told, "294 cases pass; every route has a permit and a deny case");
}

/// What is missing for a route, by code, when only these cases run and pass.
fn missing(route: &str, policies: &[SourceFile], cases: &str) -> Vec<&'static str> {
    let plan = plan(policies, "production");
    let report = suite(&file(cases)).run(std::slice::from_ref(&plan), |_, _| true);
    assert!(report.failures.is_empty(), "{}", cases::human(&report, None, &[]));
    let untested = report.untested(&plan, policies).into_iter();
    let name = format!("`{route}`");
    let about = untested.filter(|finding| finding.message.ends_with(&name));
    about.map(|finding| finding.code).collect()
}

const PAYING: &str = r#"method: POST, path: /api/v1/transfers"#;

#[test]
fn only_a_401_that_is_expected_shows_that_a_route_is_not_open() {
    let missing = |case: &str| {
        missing(
            "create_transfer",
            &undescribed(),
            &format!("  a: {{ request: {{ {PAYING}, {case} }}\n"),
        )
    };
    let all = ["P5005", "P5006", "P5006", "P5007"];
    // Refused for its size, it would be refused on an open route too.
    let large = "token: { provider: customers, subject: u, scopes: [\"transfers:write\"] }, size: { body: 8193B } }, expect: { status: 413 }";
    assert_eq!(missing(large), all);
    assert_eq!(
        missing("size: { body: 8193B } }, expect: { decision: deny }"),
        all
    );
    assert_eq!(missing("token: unavailable }, expect: { status: 503 }"), all);
    for expect in [
        "status: 401",
        "phase: authentication",
        "rule: routes.create_transfer.auth",
    ] {
        assert_eq!(
            missing(&format!("size: {{ body: 1B }} }}, expect: {{ {expect} }}")),
            ["P5005", "P5006", "P5007"],
            "{expect}"
        );
    }
}

#[test]
fn every_scope_is_shown_to_be_needed_by_a_token_that_has_the_others() {
    let policies = undescribed_with(
        "routes/transfers.yaml",
        "scopes: [\"transfers:write\"]",
        "scopes: [a, b]",
    );
    let missing = |scopes: &str, expect: &str| {
        let token = format!("token: {{ provider: customers, subject: u, scopes: [{scopes}] }}");
        missing(
            "create_transfer",
            &policies,
            &format!("  a: {{ request: {{ {PAYING}, {token} }}, expect: {{ {expect} }} }}\n"),
        )
    };
    // Twice P5006: no case lacks a token, and none reaches the limit of the route.
    let with_scopes = |missing: &[&'static str]| [&["P5006", "P5006"], missing].concat();
    let not_permitted = |missing: &[&'static str]| [&["P5005"][..], &with_scopes(missing)].concat();
    assert_eq!(missing("", "status: 403"), not_permitted(&["P5007", "P5007"]));
    assert_eq!(missing("a", "status: 403"), not_permitted(&["P5007"]));
    assert_eq!(missing("b", "phase: authorization"), not_permitted(&["P5007"]));
    assert_eq!(missing("b", "decision: deny"), not_permitted(&["P5007", "P5007"]));
    assert_eq!(
        missing("a, b", "decision: permit"),
        with_scopes(&["P5007", "P5007"])
    );
}

#[test]
fn the_rules_that_only_a_route_has_are_shown_to_refuse() {
    let policies = shipped_with(
        "routes/operations.yaml",
        "path: /health }\n",
        "path: /health }\n    allow_from: [office]\n    rate:\n      asked: { limit: 5/min, burst: 5, key: [address] }\n      watched: { limit: 4/min, burst: 4, key: [address], mode: shadow }\n",
    );
    let policies: Vec<SourceFile> = policies
        .into_iter()
        .chain([SourceFile::new(
            "office.yaml",
            "version: 1\naddresses:\n  office: [192.0.2.0/24]\n",
        )])
        .collect();
    let production = plan(&policies, "production");
    let told = |cases: &str| {
        let report = suite(&file(cases)).run(std::slice::from_ref(&production), |_, _| true);
        assert!(report.failures.is_empty(), "{}", cases::human(&report, None, &[]));
        let untested = report.untested(&production, &policies).into_iter();
        let about = untested.filter(|finding| finding.message.ends_with("for `core_health`"));
        about.map(|finding| finding.message).collect::<Vec<String>>()
    };
    let of = |rule: &str| format!("no case is denied by `routes.core_health.{rule}`, for `core_health`");
    let elsewhere = "  a: { request: { method: GET, path: /health }, expect: { status: 403 } }\n";
    let often = "  b: { request: { method: GET, path: /health, client: 192.0.2.1 }, steps: [{ times: 5, expect: { decision: permit } }, { expect: { status: 429 } }] }\n";
    let other = "  c: { request: { method: GET, path: /nowhere }, expect: { status: 404 } }\n";
    assert_eq!(told(other), [of("allow_from"), of("rate.asked")]);
    assert_eq!(told(elsewhere), [of("rate.asked")]);
    assert_eq!(told(often), [of("allow_from")]);
    assert!(told(&[elsewhere, often].concat()).is_empty());
    assert_eq!(
        told(&often.replace("status: 429", "decision: deny")).len(),
        2,
        "for any reason"
    );
}

#[test]
fn a_decision_that_no_case_expects_tests_no_route() {
    let covers = |expect: &str| {
        let case = format!("  a: {{ request: {{ method: GET, path: /health }}, expect: {{ {expect} }} }}\n");
        let (report, policies) = (run(&case), undescribed());
        assert!(report.failures.is_empty(), "{expect}");
        let untested = report.untested(&plan(&policies, "production"), &policies);
        !untested
            .iter()
            .any(|finding| finding.message == "no case permits `core_health`")
    };
    assert!(covers("decision: permit") && covers("upstream: core") && covers("path: /health"));
    assert!(!covers("route: core_health") && !covers("headers: { X-Frame-Options: DENY }"));
}

/// What is wrong with a case file: what it is, and its cases.
const WRONG: [(&str, &str); 26] = [
    (
        "unknown key",
        "  a: { requst: { method: GET, path: / }, expect: { status: 404 } }",
    ),
    (
        "unknown key of a request",
        "  a: { request: { method: GET, pth: / }, expect: { status: 404 } }",
    ),
    (
        "unknown key of an expectation",
        "  a: { request: { method: GET, path: / }, expect: { stauts: 404 } }",
    ),
    ("nothing expected", "  a: { request: { method: GET, path: / } }"),
    (
        "nothing expected of a step",
        "  a: { request: { method: GET, path: / }, steps: [{ expect: { status: 404 } }, { times: 2 }], expect: {} }",
    ),
    ("no request", "  a: { expect: { status: 404 } }"),
    (
        "no method in a step",
        "  a: { steps: [{ request: { path: / }, expect: { status: 404 } }] }",
    ),
    (
        "no steps",
        "  a: { request: { method: GET, path: / }, expect: { status: 404 }, steps: [] }",
    ),
    (
        "permit with a status",
        "  a: { request: { method: GET, path: / }, expect: { decision: permit, status: 200 } }",
    ),
    (
        "upstream of a refusal",
        "  a: { request: { method: GET, path: / }, expect: { phase: path, upstream: core } }",
    ),
    (
        "step against its case",
        "  a: { request: { method: GET, path: / }, expect: { status: 404 }, steps: [{ expect: { decision: permit } }] }",
    ),
    (
        "answer that violates",
        "  a: { request: { method: GET, path: / }, expect: { decision: answer, violated: [per-address] } }",
    ),
    (
        "phase",
        "  a: { request: { method: GET, path: / }, expect: { phase: authentification } }",
    ),
    (
        "decision",
        "  a: { request: { method: GET, path: / }, expect: { decision: allow } }",
    ),
    (
        "status",
        "  a: { request: { method: GET, path: / }, expect: { status: \"404\" } }",
    ),
    (
        "pause before the first step",
        "  a: { request: { method: GET, path: / }, steps: [{ after: 1s, expect: { status: 404 } }] }",
    ),
    (
        "pause without unit",
        "  a: { request: { method: GET, path: / }, steps: [{ expect: { status: 404 } }, { after: 12, expect: { status: 404 } }] }",
    ),
    (
        "too often",
        "  a: { request: { method: GET, path: / }, steps: [{ times: 1000000, expect: { status: 404 } }] }",
    ),
    (
        "client with port",
        "  a: { request: { method: GET, path: /, client: \"203.0.113.7:1\" }, expect: { status: 404 } }",
    ),
    (
        "token",
        "  a: { request: { method: GET, path: /, token: expired }, expect: { status: 404 } }",
    ),
    (
        "token without a subject",
        "  a: { request: { method: GET, path: /, token: { provider: customers } }, expect: { status: 404 } }",
    ),
    (
        "number in a header",
        "  a: { request: { method: GET, path: /, headers: { Content-Length: 5 } }, expect: { status: 404 } }",
    ),
    (
        "number that JSON has not",
        "  a: { request: { method: POST, path: /, body: { amount: 0x10 } }, expect: { status: 404 } }",
    ),
    (
        "target that is longer",
        "  a: { request: { method: GET, path: /health, size: { target: 3B } }, expect: { status: 404 } }",
    ),
    (
        "head that is longer",
        "  a: { request: { method: GET, path: /health, size: { head: 20B } }, expect: { status: 404 } }",
    ),
    (
        "name twice",
        "  a: { request: { method: GET, path: / }, expect: { status: 404 } }\n  a: { request: { method: GET, path: / }, expect: { status: 404 } }",
    ),
];

/// Names that the policy does not define.
const UNDEFINED: [(&str, &str); 9] = [
    (
        "rule",
        "  a: { request: { method: GET, path: /health }, expect: { rule: routes.core_helth } }",
    ),
    (
        "rule of the language",
        "  a: { request: { method: GET, path: /x }, expect: { rule: \"language: nowhere\" } }",
    ),
    (
        "environment",
        "  a: { environment: prod, request: { method: GET, path: / }, expect: { status: 404 } }",
    ),
    (
        "listener",
        "  a: { request: { method: GET, path: /, listener: pubic }, expect: { status: 404 } }",
    ),
    (
        "provider",
        "  a: { request: { method: GET, path: /, token: { provider: customer, subject: u } }, expect: { status: 404 } }",
    ),
    (
        "route",
        "  a: { request: { method: GET, path: /health }, expect: { route: core_helth } }",
    ),
    (
        "upstream",
        "  a: { request: { method: GET, path: /health }, expect: { upstream: code } }",
    ),
    (
        "limit",
        "  a: { request: { method: GET, path: /health }, expect: { violated: [per-address, login-failure] } }",
    ),
    (
        "in every environment once",
        "  a: { environment: all, request: { method: GET, path: /health }, expect: { route: core_helth } }",
    ),
];

fn wrong() -> Vec<(&'static str, Vec<SourceFile>, Vec<Diagnostic>)> {
    let plans = plans(&undescribed());
    let unreadable = WRONG.iter().map(|(name, cases)| {
        let files = file(cases);
        let found = Suite::read(&files).expect_err(name);
        (*name, files, found)
    });
    let undefined = UNDEFINED.iter().map(|(name, cases)| {
        let files = file(cases);
        let found = suite(&files).undefined_names(&environments(&undescribed()), &plans);
        (*name, files, found)
    });
    unreadable.chain(undefined).collect()
}

#[test]
fn messages_about_cases() {
    let mut text = String::new();
    for (name, files, found) in wrong() {
        let _ = writeln!(text, "## {name}\n{}", render::findings(&found, &files));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn every_message_about_cases_has_a_place_a_reason_and_a_fix() {
    for (name, _, found) in wrong() {
        assert!(!found.is_empty(), "{name}");
        for finding in found {
            let has_place = finding.line > 0 && finding.column > 0 && finding.file == "tests/a.yaml";
            assert!(
                has_place && !finding.why.is_empty() && finding.fix.is_some(),
                "{name}: {finding:?}"
            );
        }
    }
}

#[test]
fn every_code_of_cases_is_shown_here() {
    let policies = undescribed();
    let untested = Report::default().untested(&plan(&policies, "production"), &policies);
    let wrong = wrong().into_iter().flat_map(|(_, _, found)| found);
    let shown: BTreeSet<&str> = wrong.chain(untested).map(|finding| finding.code).collect();
    let source = include_str!("../../src/diagnostic.rs");
    let defined = source
        .split('"')
        .filter(|word| word.len() == 5 && word.starts_with("P5"));
    for code in defined {
        assert!(shown.contains(code), "{code}");
    }
}

#[test]
fn a_policy_that_strayed_into_the_cases_is_told() {
    let files = [SourceFile::new("tests/a.yaml", "version: 1\nroutes: {}\n")];
    let found = Suite::read(&files).expect_err("not cases");
    assert!(
        found
            .iter()
            .any(|finding| finding.message.contains("unknown key `routes`"))
    );
}

#[test]
fn text_of_a_case_cannot_drive_a_terminal() {
    let told =
        told("  a: { request: { method: GET, path: \"/\\e[31m\" }, expect: { route: \"\\e[31m\" } }\n");
    assert!(
        told.contains("fails in production") && !told.contains('\u{1b}'),
        "{told}"
    );
}

const PAGE: &str = include_str!("../../../../docs/policy-tests.md");

#[test]
fn every_example_of_the_page_passes() {
    let examples: Vec<&str> = PAGE.split("```yaml\n").skip(1).collect();
    assert!(examples.len() >= 3);
    let plans = plans(&undescribed());
    for example in examples {
        let (text, _) = example.split_once("```").expect("an end");
        let files = [SourceFile::new("tests/a.yaml", text)];
        let suite = suite(&files);
        assert!(
            suite
                .undefined_names(&environments(&undescribed()), &plans)
                .is_empty(),
            "{text}"
        );
        let report = suite.run(&plans, |_, _| true);
        assert!(report.failures.is_empty(), "{}", cases::human(&report, None, &[]));
    }
}

#[test]
fn every_key_of_a_case_is_on_the_page() {
    let keys: BTreeSet<&str> = policy::language::paths(policy::language::CASES)
        .into_iter()
        .map(|(_, key)| key.name)
        .filter(|name| !matches!(*name, "version" | "tests"))
        .collect();
    assert!(keys.len() >= 30, "{keys:?}");
    for key in keys {
        let marks = [format!("`{key}`"), format!(".{key}`"), format!("`{key}.")];
        assert!(marks.iter().any(|mark| PAGE.contains(mark)), "{key}");
    }
}
