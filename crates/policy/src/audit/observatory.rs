//! What MDN's HTTP Observatory would give the answers of a profile, by the modifiers that it publishes.
//!
//! Only what a policy decides is counted. Cookies and subresource integrity are the service's, a place on the HSTS
//! preload list is the domain's: they count 0 here, as they do there when there is nothing to see.

use super::{
    Used,
    csp::Csp,
    fields::{self, Hsts},
};
use serde::Serialize;

/// The score of one profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObservatoryScore {
    /// Name of the header profile.
    pub profile: String,
    /// Points: 100, less the penalties; with the bonuses when no more than 10 were lost.
    pub score: i32,
    /// The grade for it, `A+` to `F`.
    pub grade: &'static str,
    /// What each test gave.
    pub tests: Vec<ObservatoryTest>,
}

/// One test of the Observatory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObservatoryTest {
    /// Its name there.
    pub test: &'static str,
    /// What was seen, by its name there.
    pub result: &'static str,
    /// Points for it.
    pub modifier: i32,
}

type Seen = (&'static str, i32);

/// The least that is left of 100 for bonuses to count.
const FOR_BONUSES: i32 = 90;

/// Lowest score of each grade.
const GRADES: [(i32, &str); 13] = [
    (100, "A+"),
    (90, "A"),
    (85, "A-"),
    (80, "B+"),
    (70, "B"),
    (65, "B-"),
    (60, "C+"),
    (50, "C"),
    (45, "C-"),
    (40, "D+"),
    (30, "D"),
    (25, "D-"),
    (0, "F"),
];

/// A shorter HSTS costs points: 180 days, as the Observatory counts half a year.
const HALF_A_YEAR_S: u64 = 15_552_000;

/// Runs the tests on one profile.
pub(super) fn score(used: &Used<'_>) -> ObservatoryScore {
    let tests: Vec<ObservatoryTest> = tests(used)
        .into_iter()
        .map(|(test, (result, modifier))| ObservatoryTest {
            test,
            result,
            modifier,
        })
        .collect();
    let sum = |counts: fn(i32) -> bool| -> i32 {
        let modifiers = tests.iter().map(|test| test.modifier);
        modifiers.filter(|points| counts(*points)).sum()
    };
    let without_bonuses = 100_i32.saturating_add(sum(|points| points < 0)).max(0);
    let score = if without_bonuses >= FOR_BONUSES {
        without_bonuses.saturating_add(sum(|points| points > 0))
    } else {
        without_bonuses
    };
    ObservatoryScore {
        profile: used.name().to_owned(),
        score,
        grade: grade(score),
        tests,
    }
}

/// The grade for a score.
pub(super) fn grade(score: i32) -> &'static str {
    let grade = GRADES.iter().find(|(least, _)| score >= *least);
    grade.map_or("F", |(_, grade)| grade)
}

fn tests(used: &Used<'_>) -> [(&'static str, Seen); 10] {
    let csp = used.value("Content-Security-Policy").map(Csp::parse);
    let value = |header: &str| used.value(header).map(|value| value.trim().to_ascii_lowercase());
    let isolation = |header: &str, read: fn(&str) -> Option<String>, good: &[&str], open: &str| {
        isolation(used.value(header), read, good, open)
    };
    [
        ("content-security-policy", content_security_policy(csp.as_ref())),
        (
            "cross-origin-embedder-policy",
            isolation(
                "Cross-Origin-Embedder-Policy",
                fields::token,
                &["require-corp", "credentialless"],
                "unsafe-none",
            ),
        ),
        (
            "cross-origin-opener-policy",
            isolation(
                "Cross-Origin-Opener-Policy",
                fields::token,
                &["same-origin", "same-origin-allow-popups", "noopener-allow-popups"],
                "unsafe-none",
            ),
        ),
        (
            "cross-origin-resource-policy",
            isolation(
                "Cross-Origin-Resource-Policy",
                fields::exact,
                &["same-origin", "same-site"],
                "cross-origin",
            ),
        ),
        // The language has no credentials for any origin, and no redirect but to HTTPS on the same host.
        ("cross-origin-resource-sharing", ("restricted", 0)),
        ("redirection", ("to-https-or-no-http", 0)),
        ("referrer-policy", referrer_policy(used.value("Referrer-Policy"))),
        (
            "strict-transport-security",
            transport(used.value("Strict-Transport-Security")),
        ),
        (
            "x-content-type-options",
            sniffing(used.value("X-Content-Type-Options")),
        ),
        (
            "x-frame-options",
            frames(value("X-Frame-Options").as_deref(), csp.as_ref()),
        ),
    ]
}

fn content_security_policy(csp: Option<&Csp>) -> Seen {
    let Some(csp) = csp else {
        return ("csp-not-implemented", -25);
    };
    if csp.duplicate().is_some() {
        ("csp-implemented-but-duplicate-directives", -25)
    } else if csp.weak_scripts().is_some() || csp.has_weak_objects() {
        ("csp-implemented-with-unsafe-inline", -20)
    } else if matches!(csp.in_clear(), Some((_, false))) {
        ("csp-implemented-with-insecure-scheme", -20)
    } else if csp.allows_eval() {
        ("csp-implemented-with-unsafe-eval", -10)
    } else if csp.in_clear().is_some() {
        (
            "csp-implemented-with-insecure-scheme-in-passive-content-only",
            -10,
        )
    } else if csp.weak_styles().is_some() {
        ("csp-implemented-with-unsafe-inline-in-style-src-only", 0)
    } else if csp.has_only("default-src", &["'none'"]) && csp.has_only("form-action", &["'none'", "'self'"]) {
        ("csp-implemented-with-no-unsafe-default-src-none", 10)
    } else {
        ("csp-implemented-with-no-unsafe", 5)
    }
}

fn isolation(value: Option<&str>, read: fn(&str) -> Option<String>, good: &[&str], open: &str) -> Seen {
    let Some(value) = value else {
        return ("not-implemented", 0);
    };
    match read(value).as_deref() {
        Some(value) if good.contains(&value) => ("implemented", 10),
        Some(value) if value == open => ("implemented-and-open", 0),
        _ => ("header-invalid", -5),
    }
}

fn referrer_policy(value: Option<&str>) -> Seen {
    let Some(value) = value else {
        return ("referrer-policy-not-implemented", 0);
    };
    match fields::referrer(value) {
        Some(word) if fields::PRIVATE_REFERRERS.contains(&word.as_str()) => ("referrer-policy-private", 5),
        Some(_) => ("referrer-policy-unsafe", -5),
        None => ("referrer-policy-header-invalid", -5),
    }
}

fn transport(value: Option<&str>) -> Seen {
    match value.map(Hsts::parse) {
        None => ("hsts-not-implemented", -20),
        Some(None) => ("hsts-header-invalid", -20),
        Some(Some(hsts)) if hsts.max_age_s < HALF_A_YEAR_S => {
            ("hsts-implemented-max-age-less-than-six-months", -10)
        }
        Some(Some(_)) => ("hsts-implemented-max-age-at-least-six-months", 0),
    }
}

fn sniffing(value: Option<&str>) -> Seen {
    match value.and_then(fields::first).as_deref() {
        None => ("x-content-type-options-not-implemented", -5),
        Some("nosniff") => ("x-content-type-options-nosniff", 0),
        Some(_) => ("x-content-type-options-header-invalid", -5),
    }
}

fn frames(value: Option<&str>, csp: Option<&Csp>) -> Seen {
    // Browsers that know `frame-ancestors` do not look at X-Frame-Options beside it.
    if let Some(csp) = csp.filter(|csp| csp.duplicate().is_none() && csp.has("frame-ancestors")) {
        return if csp.is_open("frame-ancestors") {
            ("x-frame-options-not-implemented", -20)
        } else {
            ("x-frame-options-implemented-via-csp", 5)
        };
    }
    match value {
        None => ("x-frame-options-not-implemented", -20),
        Some("deny" | "sameorigin") => ("x-frame-options-sameorigin-or-deny", 5),
        Some(value) if value.starts_with("allow-from") => ("x-frame-options-allow-from-origin", 0),
        Some(_) => ("x-frame-options-header-invalid", -20),
    }
}
