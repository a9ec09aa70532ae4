//! JSON that means the same to every reader: what is decided by must be what the service will read.

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::Number;
use std::{borrow::Cow, cmp::Ordering, collections::HashSet, fmt, marker::PhantomData};

/// A value without a name that comes twice, not even in another case: services differ in which of the two they read
/// (RFC 8259 §4), and some ignore case. Text is borrowed where it has no escapes.
#[derive(Debug, Clone)]
pub(crate) enum Json<'t> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'t, str>),
    List(Vec<Self>),
    /// In the order of writing.
    Map(Vec<(Cow<'t, str>, Self)>),
}

/// Names of one object that are compared one by one; more go through a table.
const FEW: usize = 16;

impl<'t> Json<'t> {
    /// Reads a whole text.
    ///
    /// # Errors
    /// What is wrong and where: no JSON, too deep, or a name twice.
    pub(crate) fn read(text: &'t [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// The member of an object.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        let Self::Map(members) = self else { return None };
        members
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }

    /// The value at a JSON pointer (RFC 6901).
    pub(crate) fn at(&self, pointer: &str) -> Option<&Self> {
        let mut steps = pointer.split('/');
        if steps.next() != Some("") {
            return None;
        }
        steps.try_fold(self, |value, step| match value {
            Self::Map(_) => value.get(&unescaped(step)),
            Self::List(items) => items.get(index(step)?),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => None,
        })
    }

    /// The text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The same, on its own.
    pub(crate) fn owned(&self) -> Json<'static> {
        match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Number(number) => Json::Number(number.clone()),
            Self::Text(text) => Json::Text(Cow::Owned(text.clone().into_owned())),
            Self::List(items) => Json::List(items.iter().map(Self::owned).collect()),
            Self::Map(members) => Json::Map(
                members
                    .iter()
                    .map(|(name, value)| (Cow::Owned(name.clone().into_owned()), value.owned()))
                    .collect(),
            ),
        }
    }

    /// Whether two values are the same: numbers by what they are worth, objects in any order.
    pub(crate) fn is_same(&self, other: &Json<'_>) -> bool {
        match (self, other) {
            (Self::Null, Json::Null) => true,
            (Self::Bool(one), Json::Bool(other)) => one == other,
            (Self::Number(one), Json::Number(other)) => compare(one, other) == Some(Ordering::Equal),
            (Self::Text(one), Json::Text(other)) => one == other,
            (Self::List(one), Json::List(other)) => {
                one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.is_same(other))
            }
            (Self::Map(one), Json::Map(members)) => {
                let is_there = |(name, value): &(Cow<'_, str>, Self)| {
                    other.get(name).is_some_and(|other| value.is_same(other))
                };
                one.len() == members.len() && one.iter().all(is_there)
            }
            _ => false,
        }
    }
}

/// Compares two numbers: whole ones exactly, others as far as JSON readers agree on them.
pub(crate) fn compare(one: &Number, other: &Number) -> Option<Ordering> {
    match (one.as_i128(), other.as_i128()) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
    }
}

/// A step of a JSON pointer as the name that it means.
pub(crate) fn unescaped(step: &str) -> Cow<'_, str> {
    if step.contains('~') {
        Cow::Owned(step.replace("~1", "/").replace("~0", "~"))
    } else {
        Cow::Borrowed(step)
    }
}

/// The name as a step of a JSON pointer.
pub(crate) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// RFC 6901 §4: decimal digits, no zero before them.
fn index(step: &str) -> Option<usize> {
    let is_number = step == "0" || (!step.starts_with('0') && step.bytes().all(|byte| byte.is_ascii_digit()));
    step.parse().ok().filter(|_| is_number)
}

impl<'de: 't, 't> Deserialize<'de> for Json<'t> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Unambiguous(PhantomData))
    }
}

struct Unambiguous<'t>(PhantomData<&'t ()>);

impl<'de: 't, 't> Visitor<'de> for Unambiguous<'t> {
    type Value = Json<'t>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json<'t>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'t>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'t>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'t>, E> {
        Ok(Json::Number(value.into()))
    }

    #[expect(
        clippy::disallowed_types,
        reason = "what a JSON reader hands over; no amount, and nothing is counted by it"
    )]
    fn visit_f64<E: Error>(self, value: f64) -> Result<Json<'t>, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("no number"))?;
        Ok(Json::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json<'t>, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Json<'t>, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Json<'t>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json<'t>, A::Error> {
        let mut members: Vec<(Cow<'t, str>, Json<'t>)> = Vec::new();
        let mut names: Option<HashSet<String>> = None;
        while let Some(name) = map.next_key_seed(Name)? {
            let is_known = if members.len() < FEW {
                members.iter().any(|(known, _)| is_alike(known, &name))
            } else {
                let fold = |(name, _): &(Cow<'t, str>, Json<'t>)| name.to_lowercase();
                let names = names.get_or_insert_with(|| members.iter().map(fold).collect());
                !names.insert(name.to_lowercase())
            };
            if is_known {
                return Err(A::Error::custom("a name comes twice"));
            }
            let value = map.next_value()?;
            members.push((name, value));
        }
        Ok(Json::Map(members))
    }
}

/// Whether two names differ in case only.
fn is_alike(one: &str, other: &str) -> bool {
    if one.is_ascii() && other.is_ascii() {
        one.eq_ignore_ascii_case(other)
    } else {
        one.to_lowercase() == other.to_lowercase()
    }
}

/// The name of a member, borrowed where it can be.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E>(self, value: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(value.to_owned()))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Json<'_>> {
        Json::read(text.as_bytes()).ok()
    }

    #[test]
    fn a_name_may_come_once_in_any_case_however_many_there_are() {
        assert!(read(r#"{"a":1,"b":{"a":2}}"#).is_some());
        for twice in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"A":1}"#,
            r#"{"É":1,"é":1}"#,
            r#"[{"x":{"a":1,"\u0061":2}}]"#,
        ] {
            assert!(read(twice).is_none(), "{twice}");
        }
        let many = |last: &str| {
            let names: String = (0..100).map(|number| format!("\"n{number}\":0,")).collect();
            format!("{{{names}\"{last}\":0}}")
        };
        assert!(read(&many("n100")).is_some());
        for twice in ["n0", "N0", "n15", "N16", "n99"] {
            assert!(read(&many(twice)).is_none(), "{twice}");
        }
    }

    #[test]
    fn pointers_lead_where_rfc_6901_says() {
        let body = read(r#"{"a":[{"b/c":1},{"d~e":2}],"":3}"#).unwrap();
        let number = |pointer| match body.at(pointer) {
            Some(Json::Number(number)) => number.as_u64(),
            _ => None,
        };
        assert_eq!(number("/a/0/b~1c"), Some(1));
        assert_eq!(number("/a/1/d~0e"), Some(2));
        assert_eq!(number("/"), Some(3));
        for nowhere in ["a", "/a/00", "/a/-1", "/a/2", "/a/0/b", "/b"] {
            assert!(body.at(nowhere).is_none(), "{nowhere}");
        }
    }

    #[test]
    fn values_are_the_same_by_what_they_are_worth() {
        let same = |one, other| read(one).unwrap().is_same(&read(other).unwrap());
        assert!(same(r#"{"a":1,"b":[1.0]}"#, r#"{"b":[1],"a":1.0}"#));
        assert!(!same("9007199254740993", "9007199254740992"));
        assert!(!same("1", "true") && !same("[]", "{}") && !same(r#"{"a":1}"#, r#"{"a":1,"b":2}"#));
    }
}
