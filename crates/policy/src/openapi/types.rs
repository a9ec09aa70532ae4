//! The types of JSON, as a set.

use crate::json::Json;
use std::fmt;

/// A set of types. A whole number is both `integer` and `number`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Types(u8);

impl Types {
    pub(super) const NONE: Self = Self(0);
    pub(super) const NULL: Self = Self(1);
    pub(super) const BOOLEAN: Self = Self(2);
    pub(super) const INTEGER: Self = Self(4);
    pub(super) const NUMBER: Self = Self(4 | 8);
    pub(super) const TEXT: Self = Self(16);
    pub(super) const LIST: Self = Self(32);
    pub(super) const MAP: Self = Self(64);
    pub(super) const ANY: Self = Self(127);

    /// The type of that name in JSON Schema.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Self::NULL,
            "boolean" => Self::BOOLEAN,
            "integer" => Self::INTEGER,
            "number" => Self::NUMBER,
            "string" => Self::TEXT,
            "array" => Self::LIST,
            "object" => Self::MAP,
            _ => return None,
        })
    }

    /// The type of a value. `1.0` is no whole number: services differ in whether they take it for one.
    pub(super) fn of(value: &Json<'_>) -> Self {
        match value {
            Json::Null => Self::NULL,
            Json::Bool(_) => Self::BOOLEAN,
            Json::Number(number) if number.as_i128().is_some() => Self::INTEGER,
            Json::Number(_) => Self(8),
            Json::Text(_) => Self::TEXT,
            Json::List(_) => Self::LIST,
            Json::Map(_) => Self::MAP,
        }
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// In the words of people who call an API: `a text or null`.
impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            (Self::TEXT, "a text"),
            (Self(8), "a number"),
            (Self::INTEGER, "a whole number"),
            (Self::BOOLEAN, "true or false"),
            (Self::LIST, "a list"),
            (Self::MAP, "an object"),
            (Self::NULL, "null"),
        ];
        let has = |types: Self| self.meets(types) && !(types == Self::INTEGER && self.meets(Self(8)));
        let words: Vec<&str> = words
            .into_iter()
            .filter(|(types, _)| has(*types))
            .map(|(_, word)| word)
            .collect();
        f.write_str(&words.join(" or "))
    }
}
