//! Strict JSON for tokens and key sets (J5): no duplicate member at any level, bounded depth and width, nothing after the object.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Deepest nesting of objects and arrays, the outermost object included (J5).
const MAX_DEPTH: u8 = 8;
/// Most members of one object or array: far above any token, and it keeps the search for duplicates cheap.
const MAX_MEMBERS: usize = 64;

/// A JSON value as far as tokens need it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Json {
    /// `null`, `true`, `false`: no rule of a token accepts one, so which of them it was is not kept.
    Literal,
    /// A whole number that fits.
    Integer(i64),
    /// Any other number.
    OtherNumber,
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object.
    Object(Object),
}

/// A JSON object without duplicate members.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Object(Vec<(String, Json)>);

impl Object {
    /// Reads one object from `bytes`; `None` when the bytes are anything else.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let value = Strict {
            depth_left: MAX_DEPTH,
        }
        .deserialize(&mut deserializer)
        .ok()?;
        deserializer.end().ok()?;
        match value {
            Json::Object(object) => Some(object),
            _ => None,
        }
    }

    /// Whether a member of this name is present, whatever its value.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The value of a member.
    pub(crate) fn get(&self, name: &str) -> Option<&Json> {
        let found = self.0.iter().find(|(member, _)| member == name)?;
        Some(&found.1)
    }

    /// The value of a member that is alone.
    pub(crate) fn only(&self, name: &str) -> Option<&Json> {
        match self.0.as_slice() {
            [(member, value)] if member == name => Some(value),
            _ => None,
        }
    }

    /// The text of a member that is a string.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Json::String(text) => Some(text),
            _ => None,
        }
    }

    /// Removes a member and gives its value.
    pub(crate) fn take(&mut self, name: &str) -> Option<Json> {
        let position = self.0.iter().position(|(member, _)| member == name)?;
        Some(self.0.swap_remove(position).1)
    }
}

#[derive(Clone, Copy)]
struct Strict {
    depth_left: u8,
}

impl Strict {
    fn descend<E: Error>(self) -> Result<Self, E> {
        let depth_left = self
            .depth_left
            .checked_sub(1)
            .ok_or_else(|| E::custom("too deep"))?;
        Ok(Self { depth_left })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("strict JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Literal)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Literal)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(i64::try_from(value).map_or(Json::OtherNumber, Json::Integer))
    }

    #[expect(
        clippy::disallowed_types,
        reason = "the name serde gives it; the value is not even looked at"
    )]
    fn visit_f64<E: Error>(self, _: f64) -> Result<Json, E> {
        Ok(Json::OtherNumber)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let inner = self.descend()?;
        let mut members = Vec::new();
        while let Some(member) = access.next_element_seed(inner)? {
            if members.len() == MAX_MEMBERS {
                return Err(A::Error::custom("too many members"));
            }
            members.push(member);
        }
        Ok(Json::Array(members))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let inner = self.descend()?;
        let mut object = Object::default();
        while let Some(name) = access.next_key::<String>()? {
            if object.0.len() == MAX_MEMBERS || object.contains(&name) {
                return Err(A::Error::custom("duplicate or too many members"));
            }
            object.0.push((name, access.next_value_seed(inner)?));
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> Vec<u8> {
        format!(
            "{}{}{}{}",
            r#"{"a":"#,
            "[".repeat(depth - 1),
            "]".repeat(depth - 1),
            "}"
        )
        .into_bytes()
    }

    #[test]
    fn j05_duplicate_members_are_refused_at_every_level() {
        assert!(Object::parse(br#"{"a":{"b":1,"c":2}}"#).is_some());
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"b":1,"b":2}}"#,
            r#"{"x":[{"b":1,"b":2}]}"#,
        ] {
            assert!(Object::parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn j05_only_one_utf8_object_and_nothing_after_it() {
        let bad: [&[u8]; 10] = [
            b"",
            b"[]",
            b"1",
            b"\"a\"",
            b"null",
            b"{} {}",
            b"{}x",
            b"\xef\xbb\xbf{}",
            b"{\"a\":\"\xff\"}",
            b"{\"a\":1e400}",
        ];
        for bytes in bad {
            assert!(Object::parse(bytes).is_none(), "{bytes:?}");
        }
        let utf16: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(Object::parse(&utf16).is_none());
    }

    #[test]
    fn j05_depth_eight_is_read_and_nine_is_not() {
        assert!(Object::parse(&nested(8)).is_some());
        assert!(Object::parse(&nested(9)).is_none());
    }

    #[test]
    fn j05_width_is_bounded() {
        let object = |members: usize| {
            let list: Vec<_> = (0..members).map(|n| format!("\"{n}\":{n}")).collect();
            format!("{{{}}}", list.join(","))
        };
        assert!(Object::parse(object(64).as_bytes()).is_some());
        assert!(Object::parse(object(65).as_bytes()).is_none());
    }
}
