//! What one operation is: SHA-256 over canonical JSON of its method, path and body.
//!
//! Canonical as RFC 8785 has it: no white space, members in order, each text in one spelling. Numbers are whole ones; amounts are
//! never anything else. A member `password` of the body is left out: it is asked for beside, and need not be sent twice.

use aws_lc_rs::digest;
use serde_json::Value;

/// The digest of an operation; None when its body has a number that is not whole.
pub(super) fn digest(method: &str, path: &str, body: &Value) -> Option<Vec<u8>> {
    let mut text = String::from("{\"body\":");
    match body {
        Value::Object(members) => {
            write_members(members.iter().filter(|(name, _)| *name != "password"), &mut text)?;
        }
        _ => write(body, &mut text)?,
    }
    text.push_str(",\"method\":");
    text.push_str(&serde_json::to_string(method).ok()?);
    text.push_str(",\"path\":");
    text.push_str(&serde_json::to_string(path).ok()?);
    text.push('}');
    Some(digest::digest(&digest::SHA256, text.as_bytes()).as_ref().to_vec())
}

fn write(value: &Value, text: &mut String) -> Option<()> {
    match value {
        Value::Number(number) if number.is_f64() => return None,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            text.push_str(&serde_json::to_string(value).ok()?);
        }
        Value::Array(members) => {
            text.push('[');
            for (place, member) in members.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write(member, text)?;
            }
            text.push(']');
        }
        Value::Object(members) => write_members(members.iter(), text)?,
    }
    Some(())
}

fn write_members<'a>(
    members: impl Iterator<Item = (&'a String, &'a Value)>,
    text: &mut String,
) -> Option<()> {
    let mut sorted: Vec<_> = members.collect();
    sorted.sort_by_key(|(name, _)| *name);
    text.push('{');
    for (place, (name, member)) in sorted.into_iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        text.push_str(&serde_json::to_string(name).ok()?);
        text.push(':');
        write(member, text)?;
    }
    text.push('}');
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, json};

    fn of(body: &str) -> Option<Vec<u8>> {
        digest("POST", "/p", &serde_json::from_str(body).unwrap())
    }

    #[test]
    fn the_same_operation_is_written_in_many_ways_and_has_one_digest() {
        let one = of(r#"{"amount":1,"to":{"a":[1,2],"b":"é"}}"#);
        assert_eq!(one, of(r#" { "to" : {"b":"\u00e9","a":[1,2]}, "amount":1 } "#));
        let known = b"{\"body\":{\"a\":1},\"method\":\"POST\",\"path\":\"/p\"}";
        let known = digest::digest(&digest::SHA256, known);
        assert_eq!(of(r#"{"a":1}"#).unwrap(), known.as_ref());
        assert_eq!(of(r#"{"a":1,"password":"x"}"#).unwrap(), known.as_ref());
        assert_ne!(
            of(r#"{"a":{"password":"x"}}"#),
            of(r#"{"a":{}}"#),
            "within, it counts"
        );
    }

    #[test]
    fn another_operation_has_another_digest() {
        let body = json!({"a": "1", "b": [1, 2]});
        let one = digest("POST", "/p", &body);
        for (method, path, body) in [
            ("PUT", "/p", body.clone()),
            ("POST", "/p/", body.clone()),
            ("POST", "/p", json!({"a": 1, "b": [1, 2]})),
            ("POST", "/p", json!({"a": "1", "b": [2, 1]})),
            ("POST", "/p", json!({"a": "1", "b": "[1,2]"})),
            ("POST", "/p", Value::Null),
        ] {
            assert_ne!(digest(method, path, &body), one, "{method} {path} {body}");
        }
        assert_eq!(of("1.5"), None);
        assert_eq!(of(r#"{"a":[1e3]}"#), None);
    }

    proptest! {
        #[test]
        fn order_does_not_matter_and_values_do(
            members in prop::collection::btree_map(".{0,8}", any::<i64>(), 1..6), changed in any::<i64>())
        {
            let forward: Map<_, _> = members.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            let mut backward = Map::new();
            for (name, value) in members.iter().rev() {
                backward.insert(name.clone(), json!(value));
            }
            let of = |map: &Map<_, _>| digest("POST", "/p", &Value::Object(map.clone()));
            prop_assert_eq!(of(&forward), of(&backward));
            let (first, old) = members.iter().next().unwrap();
            backward.insert(first.clone(), json!(changed));
            prop_assert_eq!(of(&forward) == of(&backward), *old == changed);
        }
    }
}
