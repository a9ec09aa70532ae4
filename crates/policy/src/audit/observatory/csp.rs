//! What the Observatory sees in a Content-Security-Policy, and in the header for frames that it replaces.

use super::Seen;
use crate::audit::csp::{Csp, is_about_reports};

const INVALID: Seen = ("csp-header-invalid", -25);

/// A policy with fewer characters is none to the Observatory.
const SHORTEST: usize = 6;

/// The result for the header, and for one that only reports.
pub(super) fn content(value: Option<&str>, reported: Option<&str>) -> Seen {
    let missing = match reported {
        Some(_) => ("csp-not-implemented-but-reporting-enabled", -25),
        None => ("csp-not-implemented", -25),
    };
    let Some(value) = value else { return missing };
    let Some(csp) = read(value) else { return INVALID };
    if csp.is_empty() {
        return missing;
    }
    // Each policy by itself is what browsers keep to, and merged what the Observatory sees: the worse one counts.
    let merged = csp.merged();
    if merged.has_nothing_to_trust() {
        return INVALID;
    }
    let reports_twice = csp.duplicates().next().is_some();
    let [kept, seen] = [&csp, &merged].map(|csp| strength(csp, reports_twice));
    if kept.1 < seen.1 { kept } else { seen }
}

/// The result for X-Frame-Options. Browsers that know `frame-ancestors` do not look at it.
pub(super) fn frames(value: Option<&str>, csp: Option<&str>) -> Seen {
    if let Some(csp) = csp.and_then(read).filter(|csp| csp.has("frame-ancestors")) {
        return if csp.is_open("frame-ancestors") {
            ("x-frame-options-not-implemented", -20)
        } else {
            ("x-frame-options-implemented-via-csp", 5)
        };
    }
    match value.map(str::to_ascii_lowercase).as_deref() {
        None => ("x-frame-options-not-implemented", -20),
        Some("deny" | "sameorigin") => ("x-frame-options-sameorigin-or-deny", 5),
        Some(value) if value.starts_with("allow-from") => ("x-frame-options-allow-from-origin", 0),
        Some(_) => ("x-frame-options-header-invalid", -20),
    }
}

/// The policies; `None` when one is too short, or has a directive twice that is not about reports.
fn read(value: &str) -> Option<Csp> {
    if value.split(',').any(|policy| policy.trim().len() < SHORTEST) {
        return None;
    }
    let csp = Csp::parse(value);
    let is_readable = csp.duplicates().all(is_about_reports);
    is_readable.then_some(csp)
}

fn strength(csp: &Csp, reports_twice: bool) -> Seen {
    if csp.weak_scripts().is_some() || csp.has_weak_objects() {
        ("csp-implemented-with-unsafe-inline", -20)
    } else if matches!(csp.in_clear(), Some((_, false))) {
        ("csp-implemented-with-insecure-scheme", -20)
    } else if csp.allows_eval() {
        ("csp-implemented-with-unsafe-eval", -10)
    } else if reports_twice {
        ("csp-implemented-but-duplicate-directives", 0)
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
