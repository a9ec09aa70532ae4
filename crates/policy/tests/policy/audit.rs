//! The audit: each rule finds its case and leaves the case beside it alone; the shipped policies score full marks.

use crate::{
    audit_cases::{Pair, edited, pairs, waived},
    world::{shipped, shipped_with},
};
use policy::{
    Date, SourceFile,
    audit::{self, ApiRisk, Audit, AuditFinding, AuditSeverity, RiskStatus, rules},
    render,
};
use std::{collections::BTreeSet, fmt::Write};

const DOCUMENT: &str = include_str!("../../../../docs/policy-audit.md");

pub(crate) fn today() -> Date {
    Date::parse("2026-12-01").expect("a date")
}

pub(crate) fn audited(files: &[SourceFile], environment: &str) -> Audit {
    audit::audit(files, environment, today())
        .unwrap_or_else(|found| panic!("{}", render::human(&found, files)))
}

fn found<'a>(audit: &'a Audit, pair: &Pair) -> Option<&'a AuditFinding> {
    let mut findings = audit.findings.iter();
    findings.find(|finding| finding.rule.id == pair.rule && finding.key == pair.key)
}

/// The text under the caret.
fn marked(finding: &AuditFinding, files: &[SourceFile]) -> String {
    let file = files.iter().find(|file| file.name == finding.file);
    let mut lines = file.expect("a file of the bundle").text.lines();
    let line = lines.nth(finding.line as usize - 1).expect("a line of the file");
    let marked: String = line
        .chars()
        .skip(finding.column as usize - 1)
        .take(finding.length as usize)
        .collect();
    assert_eq!(marked.chars().count(), finding.length as usize, "{finding:?}");
    marked
}

#[test]
fn each_rule_finds_its_case_in_its_place() {
    let mut told = String::new();
    for pair in pairs() {
        let audit = audited(&pair.weak, pair.environment);
        let Some(finding) = found(&audit, &pair) else {
            panic!("{} at {}: only {:#?}", pair.rule, pair.key, audit.findings)
        };
        let AuditFinding {
            rule,
            key,
            file,
            message,
            fix,
            ..
        } = finding;
        let (id, marked) = (rule.id, marked(finding, &pair.weak));
        let _ = writeln!(told, "{id} {key}\n  {file}: {marked}\n  {message}\n  {fix}");
    }
    insta::assert_snapshot!(told);
}

#[test]
fn each_rule_leaves_what_is_just_good_enough_alone() {
    for pair in pairs() {
        let audit = audited(&pair.good, pair.environment);
        let found = found(&audit, &pair);
        assert!(found.is_none(), "{}: {found:#?}", pair.rule);
    }
}

#[test]
fn every_rule_has_a_case_here() {
    let shown: BTreeSet<&str> = pairs().iter().map(|pair| pair.rule).collect();
    let all: Vec<&str> = rules().map(|rule| rule.id).collect();
    assert_eq!(shown, all.iter().copied().collect());
    let mut sorted = all.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(all, sorted, "ids are unique and in order");
}

#[test]
fn the_shipped_policies_score_full_marks_in_production() {
    let audit = audited(&shipped(), "production");
    assert_eq!(
        audit.open(AuditSeverity::Low).collect::<Vec<_>>(),
        Vec::<&AuditFinding>::new()
    );
    let notes: Vec<(&str, &str)> = audit
        .findings
        .iter()
        .map(|finding| (finding.rule.id, finding.key.as_str()))
        .collect();
    // The Observatory takes no points for inline styles, and Swagger UI writes some.
    assert_eq!(
        notes,
        [
            ("A1009", "headers.docs.set.Content-Security-Policy"),
            ("A1101", "listeners.public.https.tls.min"),
        ]
    );
    let headers: Vec<(&str, usize, usize)> = audit
        .score
        .secure_headers
        .iter()
        .map(|profile| (profile.profile.as_str(), profile.met(), profile.headers.len()))
        .collect();
    assert_eq!(
        headers,
        [
            ("api", 12, 12),
            ("docs", 12, 12),
            ("page_assets", 12, 12),
            ("pages", 12, 12)
        ]
    );
    let observatory: Vec<(&str, i32, &str)> = audit
        .score
        .observatory
        .iter()
        .map(|profile| (profile.profile.as_str(), profile.score, profile.grade))
        .collect();
    assert_eq!(
        observatory,
        [
            ("api", 150, "A+"),
            ("docs", 140, "A+"),
            ("page_assets", 150, "A+"),
            ("pages", 150, "A+")
        ]
    );
    assert!(
        audit
            .score
            .observatory
            .iter()
            .flat_map(|profile| &profile.tests)
            .all(|test| test.modifier >= 0)
    );
}

#[test]
fn the_shipped_policies_have_nothing_open_in_any_environment() {
    for environment in ["development", "test", "production"] {
        let audit = audited(&shipped(), environment);
        let open: Vec<&AuditFinding> = audit.open(AuditSeverity::Low).collect();
        assert_eq!(open, Vec::<&AuditFinding>::new(), "{environment}");
        assert_eq!(audit.score.grade.grade, "A+", "{environment}");
        let unmet = |risk: &ApiRisk| risk.status == RiskStatus::Unmet;
        assert!(!audit.score.api_top_10.iter().any(unmet), "{environment}");
    }
}

#[test]
fn a_weak_header_costs_its_marks_waived_or_not() {
    let weak = [(
        "headers.yaml",
        "Embedder-Policy: require-corp",
        "Embedder-Policy: unsafe-none",
    )];
    let waiver = "version: 1\nwaivers:\n  embed: { rule: A1017, at: headers.api.set.cross-origin-embedder-policy, because: a partner embeds us, until: 2027-01-31 }";
    let waived = [weak[0], ("floor.yaml", "version: 1", waiver)];
    for (edits, open) in [(&weak[..], 4), (&waived[..], 3)] {
        let audit = audited(&edited(edits), "production");
        let (headers, observatory) = (&audit.score.secure_headers[0], &audit.score.observatory[0]);
        assert_eq!((headers.met(), observatory.score), (11, 140));
        assert_eq!(audit.open(AuditSeverity::Low).count(), open);
    }
}

/// What is replaced in the headers, the score and the grade.
type Scored = (&'static [(&'static str, &'static str)], i32, &'static str);

#[test]
fn the_observatory_counts_as_it_publishes() {
    const CSP: &str = "      Content-Security-Policy: default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\n";
    let scores: [Scored; 9] = [
        (&[("63072000", "15552000")], 150, "A+"),
        (&[("63072000", "15551999")], 140, "A+"),
        (
            &[("Options: nosniff", "Options: sniff"), ("63072000", "15551999")],
            85,
            "A-",
        ),
        (&[("Policy: no-referrer", "Policy: unsafe-url")], 140, "A+"),
        (&[(CSP, "")], 75, "B"),
        (&[(CSP, ""), ("      X-Frame-Options: DENY\n", "")], 55, "C"),
        (
            &[("default-src 'none'; base", "default-src 'self'; base")],
            145,
            "A+",
        ),
        (&[("default-src 'none'; base", "default-src *; base")], 80, "B+"),
        (&[("frame-ancestors 'none'", "frame-ancestors *:443")], 80, "B+"),
    ];
    for (edits, score, grade) in scores {
        let edits: Vec<(&str, &str, &str)> = edits
            .iter()
            .map(|(old, new)| ("headers.yaml", *old, *new))
            .collect();
        let audit = audited(&edited(&edits), "production");
        let api = &audit.score.observatory[0];
        assert_eq!(
            (api.score, api.grade),
            (score, grade),
            "{edits:?}: {:#?}",
            api.tests
        );
    }
}

#[test]
fn the_ten_risks_are_answered_by_lines_that_are_there() {
    let files = shipped();
    let audit = audited(&files, "production");
    let ids: Vec<&str> = audit.score.api_top_10.iter().map(|risk| risk.id).collect();
    assert_eq!(
        ids,
        [
            "API1", "API2", "API3", "API4", "API5", "API6", "API7", "API8", "API9", "API10"
        ]
    );
    for risk in &audit.score.api_top_10 {
        // What only the service can know is never claimed.
        assert_eq!(risk.here.is_empty(), risk.id == "API10", "{risk:?}");
        assert!(risk.left_to_the_service.len() > 10);
        for answered in &risk.here {
            let (place, key) = answered.rule.split_once(' ').expect("a place and a key");
            let (file, line) = place.split_once(':').expect("a file and a line");
            let file = files
                .iter()
                .find(|candidate| candidate.name == file)
                .expect("a file");
            let line = file
                .text
                .lines()
                .nth(line.parse::<usize>().expect("a number") - 1)
                .expect("a line");
            let last = key.rsplit('.').next().expect("a key");
            assert!(line.contains(last), "{answered:?}: {line}");
        }
    }
}

#[test]
fn a_waiver_takes_a_finding_back_until_its_last_day() {
    let on = |day: &str| {
        let audit = audit::audit(
            &waived("A1301", "2026-12-24"),
            "production",
            Date::parse(day).expect("a date"),
        );
        let audit = audit.expect("compiles");
        audit
            .open(AuditSeverity::High)
            .map(|finding| finding.rule.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(on("2026-12-24"), Vec::<&str>::new());
    assert_eq!(on("2026-12-25"), ["A1601", "A1301"]);
}

#[test]
fn a_bundle_that_does_not_compile_is_not_audited() {
    let files = shipped_with("floor.yaml", "burst:", "brust:");
    let found = audit::audit(&files, "production", today()).expect_err("refused");
    assert!(found.iter().any(|found| found.code == "P1004"), "{found:#?}");
}

#[test]
fn people_read_findings_first_and_the_score_last() {
    let mut files = edited(&[
        (
            "routes/identity.yaml",
            "{ method: POST, path: /api/v1/auth/refresh }",
            "{ method: DELETE, path: /api/v1/auth/refresh }",
        ),
        (
            "cors.yaml",
            "[GET, POST, PATCH, DELETE]",
            "[GET, POST, PUT, PATCH, DELETE]",
        ),
        (
            "headers.yaml",
            "script-src 'self';",
            "script-src 'self' 'unsafe-inline';",
        ),
        ("headers.yaml", "      X-Frame-Options: DENY\n", ""),
        ("floor.yaml", "100/min", "200/s"),
        (
            "floor.yaml",
            "version: 1",
            "version: 1\nwaivers:\n  busy: { rule: A1301, at: floor.rate.per-address.limit, because: we are busy, until: 2027-01-31 }",
        ),
    ]);
    files.retain(|file| !file.name.starts_with("environments/d"));
    let told = audit::human(&audited(&files, "production"), &files);
    insta::assert_snapshot!(without_hash(&told));
}

#[test]
fn people_read_that_nothing_is_open() {
    let files = shipped();
    insta::assert_snapshot!(without_hash(&audit::human(
        &audited(&files, "production"),
        &files
    )));
}

/// The hash changes with every comment in a policy.
fn without_hash(told: &str) -> String {
    let (before, after) = told.split_once("bundle ").expect("a hash");
    let rest = after.trim_start_matches(|letter: char| letter.is_ascii_hexdigit());
    format!("{before}bundle …{rest}")
}

#[test]
fn json_has_everything() {
    let files = waived("A1301", "2027-01-31");
    let audit: serde_json::Value =
        serde_json::from_str(&audit::json(&audited(&files, "production"))).expect("JSON");
    let findings = audit["findings"].as_array().expect("findings");
    let waived = findings
        .iter()
        .find(|finding| finding["rule"] == "A1301")
        .expect("found");
    assert_eq!(
        (
            &waived["severity"],
            &waived["file"],
            &waived["line"],
            &waived["column"]
        ),
        (&"high".into(), &"floor.yaml".into(), &17.into(), &27.into())
    );
    assert_eq!(waived["waived"]["name"], "busy");
    assert_eq!(waived["waived"]["until"], "2027-01-31");
    for member in ["message", "why", "fix", "source", "title", "key"] {
        assert!(waived[member].is_string(), "{member}");
    }
    assert_eq!(
        audit["score"]["secure_headers"][0]["headers"]
            .as_array()
            .map(Vec::len),
        Some(12)
    );
    assert_eq!(audit["score"]["observatory"][1]["grade"], "A+");
    assert_eq!(audit["score"]["api_top_10"].as_array().map(Vec::len), Some(10));
    assert_eq!(
        (&audit["environment"], &audit["date"]),
        (&"production".into(), &"2026-12-01".into())
    );
}

#[test]
fn every_rule_is_in_the_table_and_no_other() {
    let rows: Vec<String> = DOCUMENT
        .lines()
        .filter(|line| line.starts_with("| A1"))
        .map(str::to_owned)
        .collect();
    let all: Vec<String> = rules()
        .map(|rule| {
            format!(
                "| {} | {} | {} | {} |",
                rule.id,
                rule.severity.as_str(),
                rule.title,
                rule.source
            )
        })
        .collect();
    assert_eq!(rows, all);
}
