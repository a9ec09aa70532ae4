//! What the Observatory sees in the headers that have one word, and in Strict-Transport-Security.

use super::Seen;
use crate::audit::fields::{self, Hsts};

/// A shorter HSTS costs points: 180 days, as the Observatory counts half a year.
const HALF_A_YEAR_S: u64 = 15_552_000;

pub(super) fn embedder(value: Option<&str>) -> Seen {
    match value.map(fields::token).map(Option::unwrap_or_default).as_deref() {
        None => ("coep-not-implemented", 0),
        Some("require-corp") => ("coep-implemented-with-require-corp", 10),
        Some("credentialless") => ("coep-implemented-with-credentialless", 10),
        Some("unsafe-none") => ("coep-implemented-with-unsafe-none", 0),
        Some(_) => ("coep-header-invalid", -5),
    }
}

pub(super) fn opener(value: Option<&str>) -> Seen {
    match value.map(fields::token).map(Option::unwrap_or_default).as_deref() {
        None => ("coop-not-implemented", 0),
        Some("same-origin") => ("coop-implemented-with-same-origin", 10),
        Some("same-origin-allow-popups") => ("coop-implemented-with-same-origin-allow-popups", 10),
        Some("noopener-allow-popups") => ("coop-implemented-with-noopener-allow-popups", 10),
        Some("unsafe-none") => ("coop-implemented-with-unsafe-none", 0),
        Some(_) => ("coop-header-invalid", -5),
    }
}

/// Browsers look at the case of the word (Fetch standard), so it counts here.
pub(super) fn resource(value: Option<&str>) -> Seen {
    match value {
        None => ("corp-not-implemented", 0),
        Some("same-origin") => ("corp-implemented-with-same-origin", 10),
        Some("same-site") => ("corp-implemented-with-same-site", 10),
        Some("cross-origin") => ("corp-implemented-with-cross-origin", 0),
        Some(_) => ("corp-header-invalid", -5),
    }
}

pub(super) fn referrer(value: Option<&str>) -> Seen {
    let Some(value) = value else {
        return ("referrer-policy-not-implemented", 0);
    };
    match fields::referrer(value) {
        Some(word) if fields::PRIVATE_REFERRERS.contains(&word.as_str()) => ("referrer-policy-private", 5),
        Some(_) => ("referrer-policy-unsafe", -5),
        None => ("referrer-policy-header-invalid", -5),
    }
}

pub(super) fn transport(value: Option<&str>) -> Seen {
    let Some(value) = value else {
        return ("hsts-not-implemented", -20);
    };
    match Hsts::parse(value).filter(|_| is_plain(value)) {
        None => ("hsts-header-invalid", -20),
        Some(hsts) if hsts.max_age_s < HALF_A_YEAR_S => {
            ("hsts-implemented-max-age-less-than-six-months", -10)
        }
        Some(_) => ("hsts-implemented-max-age-at-least-six-months", 0),
    }
}

/// Whether the Observatory finds the age: it takes a comma for a second header, and knows no space before `=`.
fn is_plain(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    let mut parts = value.split(';').map(str::trim);
    !value.contains(',') && parts.any(|part| part.starts_with("max-age="))
}

/// Browsers take the first of several words; here there may be one only.
pub(super) fn sniffing(value: Option<&str>) -> Seen {
    match value.map(str::to_ascii_lowercase).as_deref() {
        None => ("x-content-type-options-not-implemented", -5),
        Some("nosniff") => ("x-content-type-options-nosniff", 0),
        Some(_) => ("x-content-type-options-header-invalid", -5),
    }
}
