//! The table as JSON Schema (draft 2020-12), for editors. It says less than the compiler: an editor that is content has
//! not checked the policy.

use super::{BASE, CASES, Form, Key, OVERLAY, Text};
use serde_json::{Map, Value, json};

/// The names of definitions, as the compiler reads them.
const NAME: &str = "^[a-z][a-z0-9_-]{0,62}$";

/// The schema of policy files: of case files, which are known by their `tests`, of overlays, which are known by their
/// `environment`, and of base files.
#[must_use]
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Portico policy",
        "description": "A policy file. `portico policy check` says more than this schema can.",
        "type": "object",
        "if": { "required": ["tests"] },
        "then": mapping(CASES),
        "else": {
            "if": { "required": ["environment"] },
            "then": mapping(OVERLAY),
            "else": mapping(BASE),
        },
    })
}

fn mapping(keys: &[Key]) -> Value {
    let properties: Map<String, Value> = keys
        .iter()
        .map(|key| (key.name.to_owned(), described(key)))
        .collect();
    let required: Vec<&str> = keys
        .iter()
        .filter(|key| key.is_required)
        .map(|key| key.name)
        .collect();
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if let (Some(object), false) = (schema.as_object_mut(), required.is_empty()) {
        object.insert("required".to_owned(), json!(required));
    }
    schema
}

/// A key with what an editor shows beside it.
fn described(key: &Key) -> Value {
    let mut schema = form(&key.form);
    if let Some(object) = schema.as_object_mut() {
        let example = format!("{}\n\nExample: `{}: {}`", key.meaning, key.name, key.example);
        object.insert("description".to_owned(), json!(example));
    }
    schema
}

fn form(form: &Form) -> Value {
    match form {
        Form::Mapping(keys) => mapping(keys),
        Form::Named(of) => json!({
            "type": "object",
            "propertyNames": { "pattern": NAME },
            "additionalProperties": self::form(of),
            "minProperties": 1,
        }),
        Form::List { of, may_be_empty } => json!({
            "type": "array",
            "items": self::form(of),
            "uniqueItems": true,
            "minItems": if *may_be_empty { 0 } else { 1 },
        }),
        Form::HeaderFields => json!({
            "type": "object",
            "propertyNames": { "pattern": HEADER_NAME },
            "additionalProperties": { "type": "string", "minLength": 1 },
            "minProperties": 1,
        }),
        Form::Text(text) => shape(*text),
        Form::Choice(words) => json!({ "enum": words }),
        Form::Number { least, most } => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Form::Boolean => json!({ "type": "boolean" }),
        Form::ChoiceOr(words, keys) => json!({ "anyOf": [{ "enum": words }, mapping(keys)] }),
        Form::TextOr(text, keys) => json!({ "anyOf": [shape(*text), mapping(keys)] }),
        Form::Any => json!({}),
    }
}

const HEADER_NAME: &str = "^[A-Za-z0-9!#$%&'*+.^`|~-]+$";

fn shape(text: Text) -> Value {
    let pattern = match text {
        Text::Duration => "^(0|[1-9][0-9]*)(ms|s|min|h|d)$",
        Text::Size => "^(0|[1-9][0-9]*)(B|KiB|MiB)$",
        Text::Rate => "^[1-9][0-9]*/([1-9][0-9]*)?(ms|s|min|h|d)$",
        Text::Name => NAME,
        Text::SocketAddress => "^([0-9.]+|\\[[0-9a-fA-F:.]+\\]):[0-9]{1,5}$",
        Text::Host => "^([a-z0-9.-]{1,253}|\\[[0-9a-f:.]+\\])$",
        Text::Origin => "^(\\*|https?://[a-z0-9.:\\[\\]-]+)$",
        Text::HeaderName => HEADER_NAME,
        Text::Path => "^/",
        Text::RateKey => "^(address(/(3[2-9]|[45][0-9]|6[0-4]))?|subject|body\\./.+)$",
        Text::UpstreamAddress => "^(unix:[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}|https?://.+:[0-9]{1,5})$",
        Text::ApiDocument => "^[A-Za-z0-9_-][A-Za-z0-9._/-]*\\.openapi\\.json$",
        Text::Percent => "^[1-9][0-9]?%$",
        Text::KeySource => "^(portico|file:[A-Za-z0-9_-][A-Za-z0-9._-]{0,63})$",
        Text::KeyUrl => "^https://[a-z0-9.-]+(:[0-9]{1,5})?/[!-~]*$",
        Text::Issuer => "^https://[!-~]+$",
        Text::Network => "^[0-9a-fA-F:.]+(/[0-9]{1,3})?$",
        Text::Word => "^[!-~]{1,256}$",
        Text::Date => "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
        Text::Free => return json!({ "type": "string" }),
        Text::Sentence => return json!({ "type": "string", "minLength": 3, "maxLength": 400 }),
    };
    json!({ "type": "string", "pattern": pattern })
}
