//! A JSON body that means the same to every reader: what a limit is keyed by must be what the service will read.

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use std::{collections::HashSet, fmt};

/// JSON without a name that comes twice, not even in another case: services differ in which of the two they read
/// (RFC 8259 §4), and some ignore case.
pub(super) struct JsonBody(Value);

/// A part of the body to count by.
pub(super) enum Part {
    /// Text without its case and outer spaces, so that `A@b.example ` is `a@b.example`.
    Text(String),
    /// A whole number; `1.0` and `1e0` are none.
    Number(String),
    /// It is not there, or null.
    Absent,
}

impl JsonBody {
    /// Reads a whole body.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// The part at a JSON pointer; `None` for what is neither text nor a whole number.
    pub(super) fn part(&self, pointer: &str) -> Option<Part> {
        match self.0.pointer(pointer) {
            None | Some(Value::Null) => Some(Part::Absent),
            Some(Value::String(text)) => Some(Part::Text(text.trim().to_lowercase())),
            Some(Value::Number(number)) if number.is_u64() || number.is_i64() => {
                Some(Part::Number(number.to_string()))
            }
            Some(Value::Number(_) | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => None,
        }
    }
}

impl<'de> Deserialize<'de> for JsonBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Unambiguous).map(Self)
    }
}

struct Unambiguous;

impl<'de> Visitor<'de> for Unambiguous {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    #[expect(
        clippy::disallowed_types,
        reason = "what a JSON reader hands over; no amount, and nothing is counted by it"
    )]
    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("no number"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(JsonBody(item)) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let (mut members, mut names) = (Map::new(), HashSet::new());
        while let Some((name, JsonBody(value))) = map.next_entry::<String, JsonBody>()? {
            if !names.insert(name.to_lowercase()) {
                return Err(A::Error::custom("a name comes twice"));
            }
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}
