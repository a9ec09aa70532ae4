//! The language in one table: every key, what may stand in it, and what it means.
//!
//! The readers take their keys from it, `portico policy schema` is printed from it, and a test walks it to show that
//! every key has an effect. So a key that is not here cannot be read, and one that is here cannot be forgotten.

mod case_keys;
mod keys;
mod schema;
mod since;

pub use case_keys::CASES;
pub(crate) use case_keys::{
    CASE, CASE_CLIENT_CERTIFICATE, CASE_EXPECT, CASE_REQUEST, CASE_SIZE, CASE_STEP, CASE_TOKEN,
    MOST_CASE_HEADERS, MOST_TIMES,
};
pub use keys::{BASE, OVERLAY};
pub(crate) use keys::{
    CACHE, CERTIFICATE, CLIENT_CERTIFICATE, COMPRESS, CORS, FLOOR, FLOOR_LIMITS, FLOOR_TIMEOUTS, HEADERS,
    HTTP, HTTPS, LISTENER, LOCKOUT, LOCKOUT_ADDRESS, LOCKOUT_DEVICE, LOCKOUT_NAME, LOCKOUT_PAIR,
    LOCKOUT_TOTAL, MATCH, MOST_BUDGET, MOST_BURST, MOST_FAILURES, MOST_HEADERS, MOST_IN_A_ROW, MOST_RETRIES,
    OVERLAY_LISTENER, OVERLAY_LOCKOUT, OVERLAY_LOCKOUT_ADDRESS, OVERLAY_RATE, OVERLAY_SIDE, PROVIDER,
    PROVIDER_KEYS, RATE, ROUTE, ROUTE_LIMITS, ROUTE_TIMEOUTS, TLS, TRUSTED_PROXIES, UPSTREAM,
    UPSTREAM_BREAKER, UPSTREAM_EJECT, UPSTREAM_FALLBACK, UPSTREAM_HEALTH, UPSTREAM_RETRIES,
    UPSTREAM_TIMEOUTS, UPSTREAM_TLS, WAIVER, WEBSOCKET,
};
pub use schema::schema;
pub use since::{Version, oldest_reader};

use crate::yaml::Value;
use std::{collections::HashSet, sync::LazyLock};

/// One key of a mapping.
#[derive(Debug)]
pub struct Key {
    /// The word that is written.
    pub name: &'static str,
    /// What may stand in it.
    pub form: Form,
    /// Whether it must be there: what is enforced is written, so most must.
    pub is_required: bool,
    /// The version of Portico that has read it first. A key that comes later is `Key { since: (0, 2, 0), ..may(…) }`.
    pub since: Version,
    /// A value as it may be written.
    pub example: &'static str,
    /// What it does, in one sentence.
    pub meaning: &'static str,
}

/// What may stand in a key.
#[derive(Debug)]
pub enum Form {
    /// A mapping with these keys.
    Mapping(&'static [Key]),
    /// Names of the author's choice, each with a definition of this form.
    Named(&'static Form),
    /// A list without repetitions; `may_be_empty` says whether an empty one is a decision.
    List {
        /// The form of each item.
        of: &'static Form,
        /// Whether `[]` means something.
        may_be_empty: bool,
    },
    /// Header fields to values.
    HeaderFields,
    /// Text of a certain shape.
    Text(Text),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A whole number in this range.
    Number {
        /// Lowest.
        least: u64,
        /// Highest.
        most: u64,
    },
    /// `true` or `false`.
    Boolean,
    /// One of these words, or a mapping with these keys.
    ChoiceOr(&'static [&'static str], &'static [Key]),
    /// Text, or a mapping with these keys.
    TextOr(Text, &'static [Key]),
    /// Whatever YAML can say.
    Any,
}

/// Shapes of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    /// A span of time: `15s`.
    Duration,
    /// A number of bytes: `16KiB`.
    Size,
    /// So many per so long: `100/min`.
    Rate,
    /// The name of a definition elsewhere in the bundle, or one that the language gives.
    Name,
    /// A reason, for whoever reads the policy later.
    Sentence,
    /// An IP address and a port to listen on.
    SocketAddress,
    /// A host without port.
    Host,
    /// An exact origin, or `*`.
    Origin,
    /// The name of a header field.
    HeaderName,
    /// A path template.
    Path,
    /// What a limit counts together.
    RateKey,
    /// Where an upstream listens.
    UpstreamAddress,
    /// The file of an OpenAPI document.
    ApiDocument,
    /// Where the keys of an issuer come from.
    KeySource,
    /// Where an issuer publishes its keys.
    KeyUrl,
    /// An https URL.
    Issuer,
    /// An IP address or network.
    Network,
    /// A word of visible ASCII.
    Word,
    /// A part of a whole: `10%`.
    Percent,
    /// A day: `2027-01-31`.
    Date,
    /// Any text.
    Free,
}

impl Form {
    /// Whether a value is of the kind that may stand here, whatever it says.
    pub(crate) const fn fits(&self, value: &Value) -> bool {
        match self {
            Self::Mapping(_) | Self::Named(_) | Self::HeaderFields => matches!(value, Value::Map(_)),
            Self::List { .. } => matches!(value, Value::List(_)),
            Self::Text(_) | Self::Choice(_) => matches!(value, Value::Text(_)),
            Self::Number { .. } => matches!(value, Value::Number(_)),
            Self::Boolean => matches!(value, Value::Bool(_)),
            Self::ChoiceOr(..) | Self::TextOr(..) => matches!(value, Value::Text(_) | Value::Map(_)),
            Self::Any => true,
        }
    }

    /// The keys of the mapping that this form is or that each of its definitions or items is; none for single values.
    #[must_use]
    pub const fn keys(&self) -> &'static [Key] {
        match self {
            Self::Mapping(keys) | Self::ChoiceOr(_, keys) | Self::TextOr(_, keys) => keys,
            Self::Named(form) => form.keys(),
            Self::List { of, .. } => of.keys(),
            Self::HeaderFields
            | Self::Text(_)
            | Self::Choice(_)
            | Self::Number { .. }
            | Self::Boolean
            | Self::Any => &[],
        }
    }
}

/// Whether a word is the name of any key of policies.
pub(crate) fn is_key(word: &str) -> bool {
    static NAMES: LazyLock<HashSet<&str>> = LazyLock::new(|| {
        let all = [paths(BASE), paths(OVERLAY)].concat();
        all.into_iter().map(|(_, key)| key.name).collect()
    });
    NAMES.contains(word)
}

/// Every key below `keys`, by its full name with `*` for names of the author's choice: `routes.*.match.path`.
#[must_use]
pub fn paths(keys: &'static [Key]) -> Vec<(String, &'static Key)> {
    let mut all = Vec::new();
    collect("", keys, &mut all);
    all
}

fn collect(above: &str, keys: &'static [Key], all: &mut Vec<(String, &'static Key)>) {
    for key in keys {
        let path = format!("{above}{}", key.name);
        let below = match key.form {
            Form::Named(_) => format!("{path}.*."),
            Form::Mapping(_)
            | Form::List { .. }
            | Form::HeaderFields
            | Form::Text(_)
            | Form::Choice(_)
            | Form::Number { .. }
            | Form::Boolean
            | Form::ChoiceOr(..)
            | Form::TextOr(..)
            | Form::Any => format!("{path}."),
        };
        all.push((path, key));
        collect(&below, key.form.keys(), all);
    }
}
