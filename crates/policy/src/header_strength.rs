//! Whether a value of a security header protects more or less than another. What is not known is not called stronger.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

/// Fields with one word, and these words, the weakest first.
const ORDERED: [(&str, &[&str]); 8] = [
    ("x-frame-options", &["sameorigin", "deny"]),
    (
        "referrer-policy",
        &[
            "unsafe-url",
            "no-referrer-when-downgrade",
            "origin-when-cross-origin",
            "origin",
            "strict-origin-when-cross-origin",
            "strict-origin",
            "same-origin",
            "no-referrer",
        ],
    ),
    (
        "cross-origin-opener-policy",
        &["unsafe-none", "same-origin-allow-popups", "same-origin"],
    ),
    (
        "cross-origin-resource-policy",
        &["cross-origin", "same-site", "same-origin"],
    ),
    (
        "cross-origin-embedder-policy",
        &["unsafe-none", "credentialless", "require-corp"],
    ),
    ("x-content-type-options", &["nosniff"]),
    (
        "x-permitted-cross-domain-policies",
        &["all", "by-content-type", "master-only", "none"],
    ),
    ("x-dns-prefetch-control", &["on", "off"]),
];

/// Whether a route's value of a field of the floor protects less than the floor's, or nobody can say that it does not.
///
/// Which content a page may load and whether it may be kept is a matter of that page: the audit judges it.
pub(crate) fn is_weaker(field: &str, floor: &str, route: &str) -> bool {
    let is_of_the_page = ["content-security-policy", "cache-control"].contains(&field);
    let is_known = ["strict-transport-security", "permissions-policy"].contains(&field)
        || ORDERED.iter().any(|(name, _)| *name == field);
    let (floor, route) = (floor.to_lowercase(), route.to_lowercase());
    let is_at_least = matches!(
        strength(field, &floor, &route),
        Some(Ordering::Equal | Ordering::Greater)
    );
    is_known && !is_of_the_page && floor != route && !is_at_least
}

/// How the new value compares to the old, both in lower case; `None` when that cannot be said.
pub(crate) fn strength(field: &str, old: &str, new: &str) -> Option<Ordering> {
    let ordered = ORDERED.iter().find(|(name, _)| *name == field);
    if let Some((_, words)) = ordered {
        let rank = |value: &str| words.iter().position(|word| *word == value.trim());
        return Some(rank(new)?.cmp(&rank(old)?));
    }
    match field {
        "strict-transport-security" => transport_security(old, new),
        "content-security-policy" => content_security(&directives(old), &directives(new)),
        "permissions-policy" => Some(permissions(&features(old), &features(new))),
        "cache-control" => {
            let forbids = |value: &str| value.split(',').any(|word| word.trim() == "no-store");
            (forbids(old) != forbids(new)).then(|| forbids(new).cmp(&forbids(old)))
        }
        _ => None,
    }
}

/// RFC 6797 §6.1.
fn transport_security(old: &str, new: &str) -> Option<Ordering> {
    let read = |value: &str| {
        let words: Vec<&str> = value.split(';').map(str::trim).collect();
        let age: u64 = words
            .iter()
            .find_map(|word| word.strip_prefix("max-age="))?
            .trim_matches('"')
            .parse()
            .ok()?;
        Some([
            age,
            u64::from(words.contains(&"includesubdomains")),
            u64::from(words.contains(&"preload")),
        ])
    };
    let (old, new) = (read(old)?, read(new)?);
    let parts: Vec<Ordering> = new.iter().zip(&old).map(|(new, old)| new.cmp(old)).collect();
    Some(together(&parts))
}

type Directives<'v> = BTreeMap<&'v str, BTreeSet<&'v str>>;

fn directives(value: &str) -> Directives<'_> {
    let mut read = Directives::new();
    for directive in value.split(';') {
        let mut words = directive.split_whitespace();
        // Of two with the same name the first one counts; reports protect nobody.
        if let Some(name) = words.next().filter(|name| !name.starts_with("report-")) {
            read.entry(name)
                .or_insert_with(|| words.filter(|word| *word != "'none'").collect());
        }
    }
    read
}

/// CSP level 3: a fetch directive that is left out is `default-src`; any other that is left out forbids nothing.
fn content_security(old: &Directives<'_>, new: &Directives<'_>) -> Option<Ordering> {
    let names: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    let allowed = |policy: &Directives<'_>, name: &str| {
        let own = policy.get(name);
        let sources = own.or_else(|| policy.get("default-src").filter(|_| name.ends_with("-src")));
        sources.map(|sources| {
            sources
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<BTreeSet<String>>()
        })
    };
    let parts: Vec<Ordering> = names
        .iter()
        .map(|name| match (allowed(old, name), allowed(new, name)) {
            (None, None) => Ordering::Equal,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) if old == new => Ordering::Equal,
            (Some(old), Some(new)) if new.is_subset(&old) => Ordering::Greater,
            (Some(_), Some(_)) => Ordering::Less,
        })
        .collect();
    Some(together(&parts))
}

fn features(value: &str) -> BTreeMap<&str, &str> {
    let features = value.split(',').filter_map(|feature| feature.split_once('='));
    features
        .map(|(name, allowed)| (name.trim(), allowed.trim()))
        .collect()
}

/// A feature that is named less strictly, or no more, is weaker; `()` is the strictest.
fn permissions(old: &BTreeMap<&str, &str>, new: &BTreeMap<&str, &str>) -> Ordering {
    let names: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    let parts: Vec<Ordering> = names
        .iter()
        .map(|name| match (old.get(name), new.get(name)) {
            (old, new) if old == new => Ordering::Equal,
            (_, Some(&"()")) | (None, _) => Ordering::Greater,
            _ => Ordering::Less,
        })
        .collect();
    together(&parts)
}

/// What is weaker in one part is weaker.
fn together(parts: &[Ordering]) -> Ordering {
    let changed = parts.iter().filter(|part| part.is_ne());
    changed.min().copied().unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weaker_values_are_known() {
        use Ordering::{Equal, Greater, Less};
        for (field, old, new, expected) in [
            ("x-frame-options", "deny", "sameorigin", Some(Less)),
            ("x-frame-options", "deny", "allow-from https://a.example", None),
            ("referrer-policy", "origin", "no-referrer", Some(Greater)),
            (
                "strict-transport-security",
                "max-age=2; includesubdomains",
                "max-age=2",
                Some(Less),
            ),
            (
                "strict-transport-security",
                "max-age=2",
                "max-age=3; preload",
                Some(Greater),
            ),
            (
                "strict-transport-security",
                "max-age=2; preload",
                "max-age=3",
                Some(Less),
            ),
            (
                "strict-transport-security",
                "max-age=2;preload",
                "preload; max-age=2",
                Some(Equal),
            ),
            (
                "content-security-policy",
                "default-src 'none'",
                "default-src 'self'",
                Some(Less),
            ),
            (
                "content-security-policy",
                "default-src 'self'",
                "default-src 'self'; img-src 'none'",
                Some(Greater),
            ),
            (
                "content-security-policy",
                "default-src 'none'; base-uri 'none'",
                "default-src 'none'",
                Some(Less),
            ),
            (
                "content-security-policy",
                "script-src a b",
                "script-src b a; report-uri /x",
                Some(Equal),
            ),
            (
                "content-security-policy",
                "script-src a; script-src b",
                "script-src a",
                Some(Equal),
            ),
            ("x-content-type-options", "nosniff", "sniff", None),
            ("cache-control", "no-store", "no-cache", Some(Less)),
            ("cache-control", "no-cache", "max-age=5", None),
            ("x-anything", "a", "b", None),
        ] {
            assert_eq!(strength(field, old, new), expected, "{field}: {old} → {new}");
        }
    }
    #[test]
    fn a_feature_that_is_named_less_strictly_is_weaker() {
        for (old, new, expected) in [
            ("camera=(), usb=()", "usb=(self), camera=()", Ordering::Less),
            ("camera=(), usb=()", "camera=()", Ordering::Less),
            ("camera=(self)", "usb=(),camera=()", Ordering::Greater),
            ("camera=(),usb=()", "usb=(), camera=()", Ordering::Equal),
        ] {
            assert_eq!(
                strength("permissions-policy", old, new),
                Some(expected),
                "{old} → {new}"
            );
        }
    }

    #[test]
    fn what_belongs_to_a_page_is_never_weaker_than_the_floor() {
        for (field, floor, route, is_weak) in [
            (
                "content-security-policy",
                "default-src 'none'",
                "default-src *",
                false,
            ),
            ("cache-control", "no-store", "no-cache", false),
            ("x-custom", "a", "b", false),
            ("x-frame-options", "DENY", "deny", false),
            ("x-frame-options", "DENY", "allow-from https://a.example", true),
            ("strict-transport-security", "max-age=2", "max-age=0", true),
            ("strict-transport-security", "max-age=2", "forever", true),
        ] {
            assert_eq!(
                is_weaker(field, floor, route),
                is_weak,
                "{field}: {floor} → {route}"
            );
        }
    }
}
