//! Waivers: what they allow, what they do not, and when they end.

use crate::world::{Request, World, permit, plan, status, undescribed};
use policy::{Date, RouteTarget, SourceFile, compile};
use std::time::Duration;

/// The shipped bundle with a route that asks for more than the floor and its upstream give, and a profile that drops
/// headers of the floor.
fn uploads(waivers: &str) -> Vec<SourceFile> {
    let mut files = undescribed();
    let text = format!(
        "version: 1
headers:
  bare: {{ set: {{ X-Content-Type-Options: nosniff }}, remove: [] }}
routes:
  upload:
    match: {{ method: POST, path: /api/v1/statements }}
    auth: customers
    scopes: [\"statements:write\"]
    limits: {{ body: 1MiB }}
    timeouts: {{ read: 20s, total: 2min }}
    headers: bare
    upstream: core
{waivers}"
    )
    .replace("remove: []", "remove: [Via]");
    files.push(SourceFile::new("routes/statements.yaml", text));
    files
}

const ALL: &str = "waivers:
  large: { rule: P3006, at: routes.upload.limits.body, because: a year is sent in one piece, until: 2027-01-31 }
  slow: { rule: P3006, at: routes.upload.timeouts.total, because: it is read in full, until: \"2027-01-31\" }
  slower: { rule: P3006, at: routes.upload.timeouts.read, because: it is read in full, until: 2027-03-01 }
  bare: { rule: P3009, at: routes.upload.headers, because: an old reader chokes on them, until: 2027-03-01 }
";

fn date(text: &str) -> Date {
    Date::parse(text).expect("a date")
}

#[test]
fn without_a_waiver_each_excess_is_an_error_and_with_it_none() {
    let places = |waivers: &str| -> Vec<String> {
        let found = compile(&uploads(waivers), "production").expect_err("refused");
        found
            .iter()
            .map(|found| format!("{} {}", found.code, found.line))
            .collect()
    };
    assert_eq!(places(""), ["P3006 9", "P3006 10", "P3006 10", "P3009 11"]);
    for line in ALL.lines().skip(1) {
        let others = ALL.replace(&format!("{line}\n"), "");
        assert_eq!(places(&others).len(), 1, "{line}");
    }
    assert!(compile(&uploads(ALL), "production").is_ok());
}

#[test]
fn what_is_waived_is_what_is_enforced() {
    let plan = plan(&uploads(ALL), "production");
    let world = World::with_scopes(&["statements:write"]);
    let ask = |length: u64| {
        let request = Request::new("POST", "/api/v1/statements").token("good");
        status(
            &request
                .header("content-length", &length.to_string())
                .ask(&plan, &world),
        )
    };
    assert_eq!((ask(1_048_576), ask(1_048_577)), (200, 413));
    let permit = permit(
        Request::new("POST", "/api/v1/statements")
            .token("good")
            .ask(&plan, &world),
    );
    let RouteTarget::Upstream(_, timeouts) = &permit.route().target else {
        panic!("leads nowhere")
    };
    assert_eq!(
        (timeouts.read, timeouts.total),
        (Duration::from_secs(20), Duration::from_mins(2))
    );
    let headers = plan.response_headers(Some(permit.route()), policy::Scheme::Https, None);
    assert_eq!(headers.set.len(), 1, "{headers:?}");
}

#[test]
fn a_waiver_waives_its_own_key_only() {
    let other = ALL.replace("routes.upload.limits.body", "routes.login.limits.body");
    let found = compile(&uploads(&other), "production").expect_err("refused");
    assert_eq!(found.len(), 1, "{found:#?}");
    let other = ALL.replace(
        "rule: P3009, at: routes.upload.headers",
        "rule: P3009, at: headers.bare",
    );
    assert!(compile(&uploads(&other), "production").is_err());
}

#[test]
fn the_second_waiver_of_the_same_finding_waives_nothing() {
    let twice = format!(
        "{ALL}  again: {{ rule: P3006, at: routes.upload.limits.body, because: we forgot the first, until: 2027-01-31 }}\n"
    );
    let found = compile(&uploads(&twice), "production").expect_err("refused");
    assert_eq!(found.len(), 1);
    assert!(
        found[0].code == "P6003" && found[0].message.contains("`again`"),
        "{found:#?}"
    );
}

#[test]
fn the_plan_tells_its_waivers_and_which_have_expired() {
    let plan = plan(&uploads(ALL), "production");
    let names: Vec<&str> = plan.waivers().iter().map(|waiver| waiver.name.as_str()).collect();
    assert_eq!(names, ["bare", "large", "slow", "slower"]);
    let large = &plan.waivers()[1];
    assert_eq!(
        (large.code.as_str(), large.key.as_str(), large.until),
        ("P3006", "routes.upload.limits.body", date("2027-01-31"))
    );
    assert_eq!(large.rule.file(), Some("routes/statements.yaml"));
    let expired = |today: &str| plan.expired_waivers(date(today)).count();
    // The last day still counts.
    assert_eq!(
        ["2027-01-31", "2027-02-01", "2027-03-01", "2027-03-02"].map(expired),
        [0, 2, 2, 4]
    );
}

#[test]
fn an_expired_waiver_stays_expired_and_is_an_error_on_each_day() {
    let plan = plan(&uploads(ALL), "production");
    // From the beginning of 2027, day by day, past the last waiver.
    let days = (20_819..20_919).map(|day| Date::of_unix_time(day * 86_400));
    let mut before = 0;
    for today in days {
        let expired = plan.expired_waivers(today).count();
        let told = plan.due_waivers(today);
        let is_error = |found: &&policy::Diagnostic| found.severity == policy::Severity::Error;
        assert_eq!(told.iter().filter(is_error).count(), expired, "{today}");
        assert!(before <= expired, "{today}");
        before = expired;
    }
    assert_eq!(before, plan.waivers().len());
}

#[test]
fn compression_of_what_is_for_one_client_alone_needs_a_waiver() {
    let files = |waivers: &str| {
        let mut files = undescribed();
        let text = format!(
            "version: 1
routes:
  statement:
    match: {{ method: GET, path: /api/v1/statement }}
    auth: customers
    scopes: [\"statements:read\"]
    upstream: core
    compress: {{ over: 1KiB, types: [text/csv] }}
{waivers}"
        );
        files.push(SourceFile::new("routes/statement.yaml", text));
        files
    };
    let found = compile(&files(""), "production").expect_err("refused");
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].code, found[0].line), ("P3036", 8));
    let waiver = "waivers:
  statement: { rule: P3036, at: routes.statement.compress, because: a year repeats nothing of a request, until: 2027-01-31 }
";
    let plan = plan(&files(waiver), "production");
    let route = plan.routes().iter().find(|route| route.name == "statement");
    let compression = route.expect("the route").compression.as_ref();
    assert_eq!(compression.expect("is in force").types, ["text/csv"]);
}
