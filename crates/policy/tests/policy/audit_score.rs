//! The score: doors that stand open cost marks that headers cannot win back, and ordinary routes cost none.

use crate::{audit::audited, audit_cases::edited, world::shipped};
use policy::{
    SourceFile,
    audit::{Audit, AuditSeverity, RiskStatus},
};

const OPEN: &str = "    auth: none\n    because: it was asked for\n";

/// The shipped bundle and more routes.
fn with_routes(routes: &str) -> Vec<SourceFile> {
    let mut files = shipped();
    files.push(SourceFile::new(
        "routes/more.yaml".to_owned(),
        format!("version: 1\nroutes:\n{routes}"),
    ));
    files
}

fn route(name: &str, method: &str, path: &str, rest: &str) -> String {
    format!(
        "  {name}:\n    match: {{ method: {method}, path: \"{path}\" }}\n{rest}    upstream: core\n    openapi: none\n"
    )
}

fn open(audit: &Audit) -> Vec<(&'static str, &str)> {
    let found = audit.open(AuditSeverity::Low);
    // None of these routes is a part of the API that is described.
    found
        .filter(|finding| finding.rule.id != "A1801")
        .map(|finding| (finding.rule.id, finding.key.as_str()))
        .collect()
}

fn unmet(audit: &Audit) -> Vec<&'static str> {
    let risks = audit.score.api_top_10.iter();
    let unmet = risks.filter(|risk| risk.status == RiskStatus::Unmet);
    unmet.map(|risk| risk.id).collect()
}

#[test]
fn an_open_object_is_a_high_finding_that_no_header_makes_good() {
    let loose = "    rate: { notes: { limit: 1000000/s, burst: 1000, key: [address] } }\n";
    let files = with_routes(
        &[
            route("read", "GET", "/api/v1/cards/{id}", OPEN),
            route("note", "POST", "/api/v1/card-notes", &format!("{OPEN}{loose}")),
        ]
        .concat(),
    );
    let audit = audited(&files, "production");
    let found = open(&audit);
    for expected in [("A1406", "routes.read.auth"), ("A1303", "routes.note.rate")] {
        assert!(found.contains(&expected), "{found:?}");
    }
    let score = &audit.score;
    assert_eq!((score.grade.grade, score.grade.of_headers), ("D", "A+"));
    assert_eq!(score.grade.worst, Some(AuditSeverity::High));
    assert_eq!(unmet(&audit), ["API1", "API2", "API3", "API4", "API6"]);
}

#[test]
fn paths_of_operators_are_told_however_their_words_are_joined() {
    let is_told = |path: &str| {
        let files = with_routes(&route("door", "GET", path, OPEN));
        open(&audited(&files, "production")).contains(&("A1405", "routes.door.auth"))
    };
    for path in [
        "/admin-api/users",
        "/adminUsers",
        "/_admin",
        "/h2-console",
        "/internal-api",
        "/superadmin",
        "/heapdump",
        "/jolokia",
        "/prometheus",
        "/env",
        "/.git/config",
        "/actuator/health",
        "/Debug",
    ] {
        assert!(is_told(path), "{path}");
    }
    for path in [
        "/environment",
        "/wealth-management",
        "/administration-fees",
        "/trace-a-parcel",
        "/digits",
    ] {
        assert!(!is_told(path), "{path}");
    }
}

#[test]
fn money_without_a_token_is_critical() {
    let opened = |file: &str, old: &str| {
        let mut files = shipped();
        let file = files.iter_mut().find(|there| there.name == file).unwrap();
        let (before, route) = file.text.split_once(old).unwrap();
        let route = route
            .replacen(
                "auth: customers\n",
                "auth: none\n    because: we trust everyone\n",
                1,
            )
            .replacen("key: [subject]", "key: [address]", 1);
        let (above, below) = route.split_once("    scopes:").unwrap();
        let (_, below) = below.split_once('\n').unwrap();
        file.text = format!("{before}{old}{above}{below}");
        let audit = audited(&files, "production");
        (
            audit.score.grade.grade,
            open(&audit).into_iter().map(|(rule, _)| rule).collect::<Vec<_>>(),
        )
    };
    for (file, route) in [
        ("routes/transfers.yaml", "  create_transfer:\n"),
        ("routes/accounts.yaml", "  open_account:\n"),
        ("routes/accounts.yaml", "  deposit:\n"),
        ("routes/accounts.yaml", "  withdraw:\n"),
    ] {
        let (grade, found) = opened(file, route);
        assert!(
            grade == "F" && found.contains(&"A1404"),
            "{route}: {grade} {found:?}"
        );
    }
}

#[test]
fn the_grade_falls_with_the_worst_finding_waived_or_not() {
    let weak = [
        (
            vec![(
                "routes/identity.yaml",
                "limits: { body: 4KiB }\n    rate:\n      refreshes",
                "limits: { body: 65KiB }\n    rate:\n      refreshes",
            )],
            "A",
        ),
        (
            vec![("identity.yaml", "max_lifetime: 15min", "max_lifetime: 2h")],
            "B",
        ),
        (vec![("floor.yaml", "100/min", "200/s")], "D"),
        (
            vec![(
                "routes/documentation.yaml",
                "{ method: GET, path: /openapi.json }",
                "{ method: DELETE, path: /openapi.json }",
            )],
            "F",
        ),
        (
            vec![
                ("floor.yaml", "100/min", "200/s"),
                (
                    "floor.yaml",
                    "version: 1",
                    "version: 1\nwaivers:\n  busy: { rule: A1301, at: floor.rate.per-address.limit, because: we are busy, until: 2027-01-31 }",
                ),
            ],
            "D",
        ),
        (
            vec![
                (
                    "headers.yaml",
                    "      Content-Security-Policy: default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\n",
                    "",
                ),
                (
                    "headers.yaml",
                    "max-age=63072000; includeSubDomains",
                    "includeSubDomains",
                ),
            ],
            "D",
        ),
    ];
    for (edits, grade) in weak {
        let audit = audited(&edited(&edits), "production");
        assert_eq!(audit.score.grade.grade, grade, "{edits:?}: {:?}", open(&audit));
    }
}

#[test]
fn each_risk_is_unmet_by_what_is_found_about_it() {
    let cases = [
        (
            "API1",
            "routes/transfers.yaml",
            "path: \"/api/v1/transfers/{id}\" }\n    auth: customers\n    scopes: [\"transfers:read\"]",
            "path: \"/api/v1/transfers/{id}\" }\n    auth: customers\n    scopes: []",
        ),
        ("API2", "identity.yaml", "max_lifetime: 15min", "max_lifetime: 2h"),
        ("API4", "floor.yaml", "100/min", "200/s"),
        (
            "API5",
            "routes/transfers.yaml",
            "scopes: [\"transfers:write\"]",
            "scopes: []",
        ),
        (
            "API6",
            "routes/identity.yaml",
            "registrations: { limit: 3/h",
            "registrations: { limit: 3000/s",
        ),
        ("API8", "headers.yaml", "Options: nosniff", "Options: sniff"),
        (
            "API9",
            "routes/documentation.yaml",
            "path: /openapi.json",
            "path: /admin/openapi.json",
        ),
    ];
    for (risk, file, old, new) in cases {
        let audit = audited(&edited(&[(file, old, new)]), "production");
        assert!(unmet(&audit).contains(&risk), "{risk}: {:?}", open(&audit));
        let row = audit.score.api_top_10.iter().find(|row| row.id == risk);
        assert!(!row.expect("a row").found.is_empty(), "{risk}");
    }
}

#[test]
fn ordinary_routes_are_not_taken_for_open_doors() {
    let limited = |name: &str| {
        format!(
            "{OPEN}    limits: {{ body: 8KiB }}\n    rate: {{ {name}: {{ limit: 30/min, burst: 30, key: [address] }} }}\n"
        )
    };
    let failures = format!(
        "{OPEN}    limits: {{ body: 8KiB }}\n    rate:\n      logins: {{ limit: 30/min, burst: 30, key: [address] }}\n      wrong: {{ limit: 5/min, burst: 5, key: [address], count: failures }}\n"
    );
    let locked = "    auth: customers\n    scopes: [\"things:read\"]\n";
    let near: [&[String]; 8] = [
        // A public page, and a protected one elsewhere.
        &[route("rates", "GET", "/api/v1/rates", OPEN)],
        // What a word begins with is not the word.
        &[route("fees", "GET", "/api/v1/accounts-fees", OPEN)],
        &[route("blog", "POST", "/api/v1/bloginfo", &limited("posts"))],
        // Reading is public, writing is not: the same path is not inside itself.
        &[
            route("news", "GET", "/api/v1/news", OPEN),
            route("today", "GET", "/api/v1/news/today", OPEN),
            route(
                "publish",
                "POST",
                "/api/v1/news",
                "    auth: customers\n    scopes: [\"news:write\"]\n    rate: { news: { limit: 5/min, burst: 5, key: [subject] } }\n",
            ),
        ],
        // Whoever logs in has no token yet, though sessions are protected.
        &[
            route("log_in", "POST", "/api/v1/sessions/renewals", &failures),
            route("sessions", "GET", "/api/v1/sessions", locked),
        ],
        // A template of parameters alone holds everything, and says nothing.
        &[route("tenant", "GET", "/{tenant}/statements", locked)],
        &[route(
            "leave",
            "POST",
            "/api/v1/auth/LogOut",
            "    auth: customers\n    scopes: []\n",
        )],
        &[route(
            "international",
            "GET",
            "/api/v1/international-payments",
            OPEN,
        )],
    ];
    for routes in near {
        let audit = audited(&with_routes(&routes.concat()), "production");
        assert_eq!(open(&audit), [], "{routes:?}");
    }
}

#[test]
fn doors_beside_what_is_locked_are_found() {
    let locked = "    auth: customers\n    scopes: [\"things:read\"]\n";
    let near: [(&str, &[String]); 5] = [
        ("A1407", &[route("door", "GET", "/api/v1/accounts/mine", OPEN)]),
        (
            "A1407",
            &[route("door", "GET", "/api/v1/accounts/mine/summary", OPEN)],
        ),
        ("A1407", &[route("door", "GET", "/api/v1/me/photo", OPEN)]),
        (
            "A1407",
            &[
                route("door", "GET", "/api/v1/cards", OPEN),
                route("card", "GET", "/api/v1/cards/{id}", locked),
            ],
        ),
        ("A1405", &[route("door", "GET", "/Admin", OPEN)]),
    ];
    for (rule, routes) in near {
        let audit = audited(&with_routes(&routes.concat()), "production");
        assert_eq!(open(&audit), [(rule, "routes.door.auth")], "{routes:?}");
    }
}
