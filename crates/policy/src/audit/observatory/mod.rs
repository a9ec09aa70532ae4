//! What MDN's HTTP Observatory would give the answers of a profile, by the modifiers that it publishes.
//!
//! Only what a policy decides is counted. Cookies and subresource integrity are the service's, a place on the HSTS
//! preload list is the domain's: they count 0 here, as they do there when there is nothing to see.
//! `docs/policy-audit.md` names the commit that this follows, and where it is stricter.

mod csp;
mod values;

use super::Used;
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
    let csp = used.value("Content-Security-Policy");
    let reported = used.value("Content-Security-Policy-Report-Only");
    // The language has no credentials for any origin, and no redirect but to HTTPS on the same host.
    let sharing = (
        "cross-origin-resource-sharing-implemented-with-restricted-access",
        0,
    );
    let redirection = ("redirection-to-https", 0);
    let test = |header: &str, result: fn(Option<&str>) -> Seen| result(used.value(header));
    [
        ("content-security-policy", csp::content(csp, reported)),
        (
            "cross-origin-embedder-policy",
            test("Cross-Origin-Embedder-Policy", values::embedder),
        ),
        (
            "cross-origin-opener-policy",
            test("Cross-Origin-Opener-Policy", values::opener),
        ),
        (
            "cross-origin-resource-policy",
            test("Cross-Origin-Resource-Policy", values::resource),
        ),
        ("cross-origin-resource-sharing", sharing),
        ("redirection", redirection),
        ("referrer-policy", test("Referrer-Policy", values::referrer)),
        (
            "strict-transport-security",
            test("Strict-Transport-Security", values::transport),
        ),
        (
            "x-content-type-options",
            test("X-Content-Type-Options", values::sniffing),
        ),
        ("x-frame-options", csp::frames(used.value("X-Frame-Options"), csp)),
    ]
}
