//! A body written as YAML, to JSON.

use crate::{
    diagnostic::{Findings, code},
    read::Field,
    yaml::{Node, Value},
};
use serde_json::{Map, Number};

/// The body of a request.
#[derive(Debug, Clone, Default)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    /// Whether it was written as YAML, and is sent as what it became.
    pub(super) is_json: bool,
}

/// Text as it stands, anything else as JSON.
pub(super) fn read(field: &Field<'_>, findings: &mut Findings) -> Option<Body> {
    match &field.node.value {
        Value::Text(text) => Some(Body {
            bytes: text.clone().into_bytes(),
            is_json: false,
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Map(_) => {
            json(field.node, findings).map(|value| Body {
                bytes: value.to_string().into_bytes(),
                is_json: true,
            })
        }
    }
}

fn json(node: &Node, findings: &mut Findings) -> Option<serde_json::Value> {
    Some(match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Text(text) => text.clone().into(),
        Value::Number(written) => {
            let Ok(number) = written.parse::<Number>() else {
                findings
                    .error(
                        code::WRONG_TYPE,
                        node.at,
                        format!("`{written}` is not a number in JSON"),
                    )
                    .why("the body is sent as JSON")
                    .fix(format!("write it in decimal digits, or as text: \"{written}\""));
                return None;
            };
            number.into()
        }
        Value::List(items) => {
            let items: Option<Vec<_>> = items.iter().map(|item| json(item, findings)).collect();
            items?.into()
        }
        Value::Map(entries) => {
            let mut map = Map::new();
            for entry in entries {
                map.insert(entry.key.clone(), json(&entry.value, findings)?);
            }
            map.into()
        }
    })
}
