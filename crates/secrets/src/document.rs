//! One field of a secret that holds several: a JSON or YAML document of maps and texts.

use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use crate::Fault;

/// The value at `field` (keys joined by dots) of a JSON or YAML document.
pub(crate) fn field_of(document: &[u8], field: &str) -> Result<Zeroizing<Vec<u8>>, Fault> {
    // The parser's message would repeat the line, which is a secret.
    let unreadable = || Fault::Malformed(format!("is no JSON or YAML, so it has no field `{field}`"));
    let mut document: Value = serde_yaml::from_slice(document).map_err(|_| unreadable())?;
    let found = value_at(&document, field);
    wipe(&mut document);
    found
}

/// The value at `field` of a document that is parsed already. A key that has a dot itself is found too.
pub(crate) fn value_at(document: &Value, field: &str) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let missing = || Fault::Missing(format!("has no field `{field}`"));
    let at = match document.get(field) {
        Some(value) => value,
        None => field
            .split('.')
            .try_fold(document, |at, key| at.get(key))
            .ok_or_else(missing)?,
    };
    match at {
        Value::String(text) => Ok(Zeroizing::new(text.clone().into_bytes())),
        Value::Null => Err(missing()),
        Value::Number(_) | Value::Bool(_) => Err(Fault::Malformed(format!(
            "field `{field}` is a number or a boolean, whose text is not certain: put it into quotes"
        ))),
        Value::Array(_) | Value::Object(_) => Err(Fault::Malformed(format!(
            "field `{field}` is no text but a part of the document: name a field in it"
        ))),
    }
}

/// Overwrites every text of a document.
pub(crate) fn wipe(document: &mut Value) {
    match document {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(map) => map.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_in_json_and_in_yaml() {
        for document in [
            r#"{"login": {"password": "s3cret"}, "a.b": "dotted", "port": 5432, "none": null}"#,
            "login:\n  password: s3cret\na.b: dotted\nport: 5432\nnone: null\n",
        ] {
            let read = |field| field_of(document.as_bytes(), field);
            assert_eq!(read("login.password").unwrap().as_slice(), b"s3cret");
            assert_eq!(read("a.b").unwrap().as_slice(), b"dotted");
            assert!(matches!(read("none"), Err(Fault::Missing(_))));
            assert!(matches!(read("login.user"), Err(Fault::Missing(_))));
            for wrong in ["login", "port"] {
                let Err(Fault::Malformed(says)) = read(wrong) else {
                    panic!("{wrong} was read")
                };
                assert!(
                    says.contains(wrong) && !says.contains("s3cret") && !says.contains("5432"),
                    "{says}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_document_is_not_repeated() {
        let fault = field_of(b"{\"hunter2\": \"hunter2", "x").unwrap_err().to_string();
        assert!(
            fault.contains("no JSON or YAML") && !fault.contains("hunter2"),
            "{fault}"
        );
    }
}
