//! One source expression of a Content-Security-Policy, in lower case (CSP 3 §2.3.1).

/// Keywords, which mean nothing but the name of a host without their quotes.
const KEYWORDS: [&str; 8] = [
    "none",
    "self",
    "unsafe-inline",
    "unsafe-eval",
    "unsafe-hashes",
    "strict-dynamic",
    "report-sample",
    "wasm-unsafe-eval",
];

/// How a quoted hash or nonce begins.
const HASHES: [&str; 3] = ["sha256-", "sha384-", "sha512-"];
const NONCE: &str = "nonce-";

/// Schemes over which anyone can serve.
const NETWORK: [&str; 5] = ["http", "https", "ftp", "ws", "wss"];
const IN_CLEAR: [&str; 3] = ["http:", "ftp:", "ws:"];

/// Whether it is a hash, which switches `'unsafe-inline'` off.
pub(super) fn is_hash(source: &str) -> bool {
    is_quoted(source, &HASHES)
}

/// Whether it is a nonce.
pub(super) fn is_nonce(source: &str) -> bool {
    is_quoted(source, &[NONCE])
}

/// Whether it is served in clear.
pub(super) fn is_in_clear(source: &str) -> bool {
    IN_CLEAR.iter().any(|scheme| source.starts_with(scheme))
}

fn is_quoted(source: &str, beginnings: &[&str]) -> bool {
    let Some(inside) = source.strip_prefix('\'') else {
        return false;
    };
    beginnings.iter().any(|beginning| inside.starts_with(beginning))
}

/// A scheme alone, or a host of any name below a top-level domain, whatever the scheme, the port and the path.
pub(super) fn names_anyone(source: &str) -> bool {
    if let Some(scheme) = source.strip_suffix(':') {
        return NETWORK.contains(&scheme);
    }
    let address = source.split_once("://").map_or(source, |(_, address)| address);
    let host = address.split(['/', ':']).next().unwrap_or_default();
    host == "*"
        || host
            .strip_prefix("*.")
            .is_some_and(|domain| !domain.contains('.'))
}

/// The keyword in a source that has no quotes, other ones, or only one.
pub(super) fn unquoted(source: &str) -> Option<&str> {
    let bare = source.trim_matches(['\'', '"', '`']);
    let is_keyword = KEYWORDS.contains(&bare)
        || bare.starts_with(NONCE)
        || HASHES.iter().any(|beginning| bare.starts_with(beginning));
    let is_right = source.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) == Some(bare);
    (is_keyword && !is_right).then_some(bare)
}

#[cfg(test)]
mod tests {
    use super::{names_anyone, unquoted};

    #[test]
    fn anyone_has_many_spellings() {
        for source in [
            "*",
            "*:443",
            "*:*",
            "https:",
            "http:",
            "wss:",
            "https://*",
            "https://*:8443",
            "https://*/app/",
            "*.*",
            "https://*.*",
            "*.com",
            "https://*.com:443",
        ] {
            assert!(names_anyone(source), "{source}");
        }
        for source in [
            "'self'",
            "'none'",
            "data:",
            "bank.example",
            "*.bank.example",
            "https://*.bank.example:*",
            "bank.example:*",
            "https://bank.example/*",
        ] {
            assert!(!names_anyone(source), "{source}");
        }
    }

    #[test]
    fn keywords_need_their_quotes() {
        for source in [
            "none",
            "\"none\"",
            "'none",
            "none'",
            "nonce-abc",
            "sha256-abc",
            "unsafe-inline",
        ] {
            assert!(unquoted(source).is_some(), "{source}");
        }
        for source in ["'none'", "none.example", "'sha256-none'", "https://none", "data:"] {
            assert_eq!(unquoted(source), None, "{source}");
        }
    }
}
