//! The value of a fact: typed, so that it can be compared, and written in one way only.

use std::{collections::BTreeSet, fmt, time::Duration};

/// What is enforced. `60s` and `1min` are one value, and so are a list and the same list in another order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A word or a sentence.
    Text(String),
    /// The full name of another definition: `identity.customers`.
    Reference(String),
    /// The full names of other definitions of one kind, whose order means nothing.
    References(BTreeSet<String>),
    /// A number of things.
    Number(u64),
    /// Bytes.
    Size(u64),
    /// A span of time.
    Time(Duration),
    /// So many in a period.
    Rate {
        /// How many.
        limit: u64,
        /// In which time.
        period: Duration,
    },
    /// Words whose order means nothing.
    Set(BTreeSet<String>),
}

impl Value {
    /// A word.
    pub(super) fn text(text: impl fmt::Display) -> Self {
        Self::Text(text.to_string())
    }

    /// Words.
    pub(super) fn set<T: fmt::Display>(words: impl IntoIterator<Item = T>) -> Self {
        Self::Set(words.into_iter().map(|word| word.to_string()).collect())
    }
}

const TIMES: [(u128, &str); 5] = [
    (86_400_000, "d"),
    (3_600_000, "h"),
    (60_000, "min"),
    (1_000, "s"),
    (1, "ms"),
];

const SIZES: [(u128, &str); 3] = [(1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")];

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Reference(key) => f.write_str(name(key)),
            Self::References(keys) => {
                let names: Vec<&str> = keys.iter().map(|key| name(key)).collect();
                f.write_str(&names.join(", "))
            }
            Self::Number(number) => write!(f, "{number}"),
            Self::Size(bytes) => {
                let (count, unit) = whole(u128::from(*bytes), &SIZES);
                write!(f, "{count}{unit}")
            }
            Self::Time(time) => {
                let (count, unit) = whole(time.as_millis(), &TIMES);
                write!(f, "{count}{unit}")
            }
            Self::Rate { limit, period } => match whole(period.as_millis(), &TIMES) {
                (1, unit) => write!(f, "{limit}/{unit}"),
                (count, unit) => write!(f, "{limit}/{count}{unit}"),
            },
            Self::Set(words) if words.is_empty() => f.write_str("[]"),
            Self::Set(words) => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                f.write_str(&words.join(", "))
            }
        }
    }
}

/// `customers` of `identity.customers`.
fn name(key: &str) -> &str {
    key.split_once('.').map_or(key, |(_, name)| name)
}

/// The largest unit that measures `amount` without a rest.
fn whole(amount: u128, units: &[(u128, &'static str)]) -> (u128, &'static str) {
    units
        .iter()
        .filter(|_| amount > 0)
        .find(|(unit, _)| amount.checked_rem(*unit) == Some(0))
        .and_then(|(unit, name)| Some((amount.checked_div(*unit)?, *name)))
        .or_else(|| units.last().map(|(_, name)| (amount, *name)))
        .unwrap_or((amount, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_written_in_its_largest_whole_unit() {
        let minute = Duration::from_secs(60);
        for (value, text) in [
            (Value::Time(minute), "1min"),
            (Value::Time(Duration::from_secs(90)), "90s"),
            (Value::Time(Duration::from_millis(1_500)), "1500ms"),
            (Value::Time(Duration::ZERO), "0ms"),
            (Value::Size(256 * 1024), "256KiB"),
            (Value::Size(1_000), "1000B"),
            (
                Value::Rate {
                    limit: 5,
                    period: minute,
                },
                "5/min",
            ),
            (
                Value::Rate {
                    limit: 5,
                    period: minute * 15,
                },
                "5/15min",
            ),
            (Value::set(["b", "a"]), "a, b"),
            (Value::set::<&str>([]), "[]"),
            (Value::Reference("identity.customers".to_owned()), "customers"),
        ] {
            assert_eq!(value.to_string(), text);
        }
    }
}
