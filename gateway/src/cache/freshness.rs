//! What requests and answers say of being kept: `Cache-Control` and its relatives (RFC 9111 §4.2, §5).

use std::time::Duration;

use chrono::DateTime;
use http::{HeaderMap, header};
use policy::CacheKey;

/// The highest number of seconds that counts (RFC 9111 §1.2.2).
const MOST_SECONDS: u64 = 1 << 31;

/// `Cache-Control`, as far as it matters here.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each directive")]
pub(crate) struct Directives {
    pub(crate) no_store: bool,
    pub(crate) no_cache: bool,
    pub(crate) no_transform: bool,
    private: bool,
    must_revalidate: bool,
    max_age: Option<u64>,
    s_maxage: Option<u64>,
    min_fresh: bool,
    stale_if_error: Option<u64>,
    /// Something in it cannot be read: nothing of it is relied on.
    is_malformed: bool,
}

impl Directives {
    /// Reads every line of the field; of what comes twice, the stricter counts.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        for line in headers.get_all(header::CACHE_CONTROL) {
            match line.to_str() {
                Ok(line) => directives.read(line),
                Err(_) => directives.is_malformed = true,
            }
        }
        directives
    }

    fn read(&mut self, line: &str) {
        let mut rest = line;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                return;
            }
            let Some((name, value, after)) = directive(rest) else {
                self.is_malformed = true;
                return;
            };
            self.note(name, value);
            rest = after;
        }
    }

    fn note(&mut self, name: &str, value: Option<&str>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        // With a list of fields, only those must not be given again; here the whole answer is not.
        if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache = true;
        } else if is("private") {
            self.private = true;
        } else if is("no-transform") {
            self.no_transform = true;
        } else if is("must-revalidate") || is("proxy-revalidate") {
            self.must_revalidate = true;
        } else if is("min-fresh") {
            self.min_fresh = true;
        } else if is("max-age") {
            self.max_age = self.seconds(value, self.max_age);
        } else if is("s-maxage") {
            self.s_maxage = self.seconds(value, self.s_maxage);
        } else if is("stale-if-error") {
            self.stale_if_error = self.seconds(value, self.stale_if_error);
        }
    }

    fn seconds(&mut self, value: Option<&str>, before: Option<u64>) -> Option<u64> {
        let seconds = value.and_then(seconds);
        self.is_malformed |= seconds.is_none();
        match (seconds, before) {
            (Some(seconds), Some(before)) => Some(seconds.min(before)),
            (seconds, before) => seconds.or(before),
        }
    }

    /// Whether a client wants an answer that is made for this request.
    pub(crate) const fn wants_new(&self) -> bool {
        self.no_cache || self.max_age.is_some() || self.min_fresh || self.is_malformed
    }
}

/// One directive, its value without quotes, and what follows its comma; `None` when it is none.
fn directive(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let end = text.find([',', '=', ' ', '\t', '"']).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return None;
    }
    let (value, rest) = match rest.strip_prefix('=') {
        None => (None, rest),
        Some(rest) => match rest.strip_prefix('"') {
            Some(quoted) => {
                let end = end_of_quoted(quoted)?;
                let (value, rest) = quoted.split_at_checked(end)?;
                (Some(value), rest.strip_prefix('"')?)
            }
            None => {
                let end = rest.find([',', ' ', '\t', '"', '=']).unwrap_or(rest.len());
                let (value, rest) = rest.split_at_checked(end)?;
                (Some(value).filter(|value| !value.is_empty()), rest)
            }
        },
    };
    let rest = rest.trim_start_matches([' ', '\t']);
    if rest.is_empty() {
        return Some((name, value, rest));
    }
    rest.strip_prefix(',').map(|rest| (name, value, rest))
}

fn end_of_quoted(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Some(index),
            _ => {}
        }
    }
    None
}

fn seconds(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(MOST_SECONDS).min(MOST_SECONDS))
}

/// For how long an answer can be given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lifetime {
    /// How old it is already.
    pub(crate) age: Duration,
    /// From now on; more than nothing.
    pub(crate) fresh: Duration,
    /// After that, while its upstream is left alone.
    pub(crate) stale: Duration,
}

impl Lifetime {
    /// What the policy says, and the upstream shortens; `None` when the answer is not to be kept.
    pub(crate) fn of(headers: &HeaderMap, kept: &policy::Cache, stale_for: Duration) -> Option<Self> {
        let said = Directives::of(headers);
        let is_refused = said.is_malformed || said.no_store || said.no_cache;
        if is_refused || (said.private && kept.key == CacheKey::Public) {
            return None;
        }
        let said_s = match (said.max_age, said.s_maxage) {
            (None, None) => expires_after(headers)?,
            (one, other) => one.into_iter().chain(other).min(),
        };
        let age = match headers.get(header::AGE) {
            None => Duration::ZERO,
            Some(age) => Duration::from_secs(seconds(age.to_str().ok()?)?),
        };
        let fresh = said_s
            .map_or(kept.time, |said| kept.time.min(Duration::from_secs(said)))
            .saturating_sub(age);
        let stale = match said.stale_if_error {
            _ if said.must_revalidate => Duration::ZERO,
            Some(seconds) => stale_for.min(Duration::from_secs(seconds)),
            None => stale_for,
        };
        (!fresh.is_zero()).then_some(Self { age, fresh, stale })
    }
}

/// `Expires` less `Date`, in seconds; inner `None` without the field, outer `None` when it has passed or cannot be read.
#[expect(
    clippy::option_option,
    reason = "nothing said is not the same as nothing allowed"
)]
fn expires_after(headers: &HeaderMap) -> Option<Option<u64>> {
    let Some(expires) = headers.get(header::EXPIRES) else {
        return Some(None);
    };
    let date = |value: &http::HeaderValue| DateTime::parse_from_rfc2822(value.to_str().ok()?).ok();
    let (expires, made) = (date(expires)?, date(headers.get(header::DATE)?)?);
    let seconds = expires.timestamp().checked_sub(made.timestamp())?;
    u64::try_from(seconds).ok().map(Some)
}

/// Whether one of the tags of `If-None-Match` is this one, compared weakly (RFC 9110 §13.1.2).
pub(crate) fn names_tag(field: &str, tag: &str) -> bool {
    let strong = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    let wanted = strong(tag);
    if field.trim() == "*" {
        return true;
    }
    let mut rest = field;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let tag = rest.strip_prefix("W/").unwrap_or(rest);
        // A comma can stand inside of a tag.
        let Some(end) = tag.strip_prefix('"').and_then(|inner| inner.find('"')) else {
            return false;
        };
        let Some((tag, after)) = tag.split_at_checked(end.saturating_add(2)) else {
            return false;
        };
        if tag == wanted {
            return true;
        }
        rest = after;
    }
}

#[cfg(test)]
#[path = "freshness_tests.rs"]
mod tests;
