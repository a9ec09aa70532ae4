//! Values of header fields, read as browsers read them.

use sfv::{BareItem, Item, ListEntry, Parser};

/// What `Strict-Transport-Security` says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hsts {
    pub(super) max_age_s: u64,
    pub(super) covers_subdomains: bool,
}

impl Hsts {
    /// Reads the value; `None` when browsers would ignore it: no `max-age`, or a directive twice (RFC 6797 §6.1).
    pub(super) fn parse(value: &str) -> Option<Self> {
        let mut seen: Vec<(String, Option<&str>)> = Vec::new();
        for part in value.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part
                .split_once('=')
                .map_or((part, None), |(name, value)| (name, Some(value)));
            let name = name.trim().to_ascii_lowercase();
            if seen.iter().any(|(earlier, _)| *earlier == name) {
                return None;
            }
            seen.push((name, value.map(str::trim)));
        }
        let get = |wanted: &str| {
            seen.iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| *value)
        };
        let covers_subdomains = match get("includesubdomains") {
            Some(Some(_)) => return None,
            Some(None) => true,
            None => false,
        };
        Some(Self {
            max_age_s: seconds(get("max-age")??)?,
            covers_subdomains,
        })
    }
}

/// A number of seconds, in quotes or not; more than a number can hold is for ever.
fn seconds(text: &str) -> Option<u64> {
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let digits = quoted.unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// The token of a structured field (RFC 9651 §3.3.4) without its parameters: `same-origin; report-to="a"`.
pub(super) fn token(value: &str) -> Option<String> {
    match Parser::parse_item(value.as_bytes()).ok()?.bare_item {
        BareItem::Token(token) => Some(token),
        _ => None,
    }
}

/// The whole value, whose case matters.
#[expect(clippy::unnecessary_wraps, reason = "one of several ways to read a value")]
pub(super) fn exact(value: &str) -> Option<String> {
    Some(value.trim().to_owned())
}

/// The whole value, whose case does not matter.
#[expect(clippy::unnecessary_wraps, reason = "one of several ways to read a value")]
pub(super) fn any_case(value: &str) -> Option<String> {
    Some(value.trim().to_ascii_lowercase())
}

/// The first of several words (Fetch standard, `X-Content-Type-Options`).
pub(super) fn first(value: &str) -> Option<String> {
    value.split(',').next().and_then(any_case)
}

/// Referrer policies that keep paths from other sites.
pub(super) const PRIVATE_REFERRERS: [&str; 4] = [
    "no-referrer",
    "same-origin",
    "strict-origin",
    "strict-origin-when-cross-origin",
];
const OTHER_REFERRERS: [&str; 4] = [
    "origin",
    "origin-when-cross-origin",
    "unsafe-url",
    "no-referrer-when-downgrade",
];

/// The last word that browsers know, which is the one that counts (Referrer Policy §8.1).
pub(super) fn referrer(value: &str) -> Option<String> {
    let is_known = |word: &&str| PRIVATE_REFERRERS.contains(word) || OTHER_REFERRERS.contains(word);
    let value = value.to_ascii_lowercase();
    value.split(',').map(str::trim).rfind(is_known).map(str::to_owned)
}

/// Features that a page of ours never needs, and a frame of others would like.
const FEATURES: [&str; 5] = ["camera", "geolocation", "microphone", "payment", "usb"];

/// What is wrong with a `Permissions-Policy`, which is a dictionary of lists (RFC 9651 §3.2).
pub(super) fn permission_fault(value: &str) -> Option<String> {
    let Ok(policy) = Parser::parse_dictionary(value.as_bytes()) else {
        return Some("browsers cannot read the value, and ignore it".to_owned());
    };
    let granted = policy.iter().find_map(|(feature, list)| {
        let others = match list {
            ListEntry::Item(item) => other_sites(item),
            ListEntry::InnerList(list) => list.items.iter().find_map(other_sites),
        };
        Some(format!("`{feature}` is {}", others?))
    });
    let missing = || FEATURES.iter().find(|feature| !policy.contains_key(**feature));
    granted.or_else(|| Some(format!("nothing is said about `{}`", missing()?)))
}

/// How an item lets more than this site in, or means nothing.
fn other_sites(item: &Item) -> Option<String> {
    match &item.bare_item {
        BareItem::Token(token) if token == "self" => None,
        BareItem::Token(token) if token == "*" => Some("allowed to anyone".to_owned()),
        BareItem::String(origin) => Some(format!("allowed to `{origin}`")),
        _ => Some("given no list of sites, such as `()`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Hsts, permission_fault, referrer, token};

    #[test]
    fn hsts_is_read_as_browsers_read_it() {
        let read = |value| Hsts::parse(value).map(|hsts| (hsts.max_age_s, hsts.covers_subdomains));
        for (value, expected) in [
            ("max-age=63072000; includeSubDomains", Some((63_072_000, true))),
            ("includesubdomains ; MAX-AGE=\"5\"", Some((5, true))),
            ("max-age = 5 ;; preload", Some((5, false))),
            ("max-age=0", Some((0, false))),
            ("max-age=99999999999999999999", Some((u64::MAX, false))),
            ("includeSubDomains", None),
            ("max-age=two years", None),
            ("max-age=", None),
            ("max-age", None),
            ("max-age=+5", None),
            ("max-age=\"5", None),
            ("max-age=63072000; max-age=0", None),
            ("max-age=5; includeSubDomains; INCLUDESUBDOMAINS", None),
            ("max-age=5; includeSubDomains=no", None),
        ] {
            assert_eq!(read(value), expected, "{value}");
        }
    }

    #[test]
    fn tokens_have_parameters_and_a_case() {
        assert_eq!(
            token("same-origin; report-to=\"a\"").as_deref(),
            Some("same-origin")
        );
        assert_eq!(token(" Same-Origin ").as_deref(), Some("Same-Origin"));
        for value in [
            "\"same-origin\"",
            "same-origin, same-origin",
            "same-origin; =",
            "",
        ] {
            assert_eq!(token(value), None, "{value}");
        }
    }

    #[test]
    fn the_last_known_referrer_policy_counts() {
        assert_eq!(
            referrer("unsafe-url, No-Referrer, later").as_deref(),
            Some("no-referrer")
        );
        assert_eq!(referrer("no-referrer,unsafe-url").as_deref(), Some("unsafe-url"));
        assert_eq!(referrer("later"), None);
    }

    #[test]
    fn permissions_are_lists_of_this_site_or_nobody() {
        let rest = "geolocation=(), microphone=(), payment=(), usb=()";
        for good in [
            "camera=()",
            "camera=(self)",
            "camera=self",
            "camera=();report-to=x",
            "camera=*, camera=()",
        ] {
            assert_eq!(permission_fault(&format!("{good}, {rest}")), None, "{good}");
        }
        for weak in [
            "banana",
            "banana=()",
            "camera",
            "camera=*",
            "camera=*;report-to=x",
            "camera=(*)",
            "camera=(self *)",
            "camera=(self \"https://other.example\")",
            "camera=\"https://other.example\"",
            "camera=none",
            "camera=(none)",
            "camera 'none'",
            "camera=(",
            "Camera=()",
        ] {
            assert!(permission_fault(&format!("{weak}, {rest}")).is_some(), "{weak}");
        }
    }
}
