//! What operations accept and refuse; agreement with another validator; what cannot be enforced or would take too long.

use super::{ApiDocument, Operation, Unfit, Wanted};
use crate::{
    SourceFile,
    diagnostic::{Diagnostic, Findings, Span},
    plan::Rule,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

static RULE: Rule = Rule::of_language("language: a test");

/// The operation `POST /things/{id}` of a document, or what is wrong with it.
fn compiled(document: &Value) -> Result<Operation, Vec<Diagnostic>> {
    let files = [SourceFile::new(
        "a.openapi.json",
        serde_json::to_string_pretty(document).unwrap(),
    )];
    let mut findings = Findings::default();
    let wanted = Wanted {
        method: &Method::POST,
        path: "/things/{thing}",
        at: Span::whole(0),
        rule: RULE.clone(),
    };
    let operation = ApiDocument::read(0, &files[0], &mut findings)
        .and_then(|mut document| document.operation(&wanted, &mut findings));
    match findings.into_diagnostics(&files) {
        found if found.is_empty() => Ok(operation.expect("an operation, or a finding")),
        found => Err(found),
    }
}

/// A document whose operation takes this body.
fn with_body(schema: &Value, schemas: &Value) -> Value {
    json!({
        "openapi": "3.1.0",
        "paths": { "/things/{id}": { "post": {
            "parameters": [{ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } }],
            "requestBody": { "required": true, "content": { "application/json": { "schema": schema } } },
        } } },
        "components": { "schemas": schemas },
    })
}

/// A document whose operation has these parameters beside its id, and no body.
fn with_parameters(parameters: &[Value]) -> Value {
    let id = json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "integer" } });
    json!({
        "openapi": "3.1.0",
        "paths": { "/things/{id}": {
            "parameters": [id],
            "post": { "parameters": parameters },
        } },
    })
}

fn json_type() -> HeaderMap {
    HeaderMap::from_iter([(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    )])
}

/// Pointer and code of each fault of a body.
fn faults(operation: &Operation, body: &[u8]) -> Vec<(String, &'static str)> {
    told(operation.check_body(&json_type(), body))
}

fn told(checked: Result<(), Unfit>) -> Vec<(String, &'static str)> {
    match checked {
        Ok(()) => Vec::new(),
        Err(Unfit::MediaType(_)) => vec![(String::new(), "415")],
        Err(Unfit::Faults(faults)) => {
            assert!(!faults.is_empty(), "a refusal says why");
            faults
                .into_iter()
                .map(|fault| (fault.pointer, fault.code))
                .collect()
        }
    }
}

fn of_schema(schema: &Value) -> Operation {
    compiled(&with_body(schema, &json!({}))).unwrap_or_else(|found| panic!("{schema}: {found:?}"))
}

/// An order with a member of each kind.
fn an_order() -> Value {
    json!({
        "type": "object",
        "required": ["amount", "currency"],
        "properties": {
            "amount": { "type": "integer", "minimum": 1, "maximum": 1000 },
            "currency": { "type": "string", "pattern": "^[A-Z]{3}$" },
            "kind": { "enum": ["a", "b"] },
            "tags": { "type": "array", "items": { "type": "string", "minLength": 2 }, "maxItems": 2, "uniqueItems": true },
            "id": { "type": "string", "readOnly": true },
            "a/b~c": { "type": ["boolean", "null"] },
        },
    })
}

#[test]
fn every_fault_of_a_body_has_its_place_and_its_word() {
    let operation = of_schema(&an_order());
    let cases = [
        (
            r#"{"amount":1,"currency":"EUR","a/b~c":null,"tags":["xx"]}"#,
            vec![],
        ),
        (
            r#"{"amount":1.0,"currency":"EUR"}"#,
            vec![("/amount", "invalid_type")],
        ),
        (
            r#"{"amount":1e0,"currency":"EUR"}"#,
            vec![("/amount", "invalid_type")],
        ),
        (
            r#"{"amount":0,"currency":"eur"}"#,
            vec![("/amount", "out_of_range"), ("/currency", "invalid_format")],
        ),
        (
            r#"{"amount":99999999999999999999,"currency":"EUR"}"#,
            vec![("/amount", "invalid_type")],
        ),
        (
            r#"{"amount":"1","currency":null}"#,
            vec![("/amount", "invalid_type"), ("/currency", "invalid_type")],
        ),
        (
            "{}",
            vec![("/amount", "missing_field"), ("/currency", "missing_field")],
        ),
        (
            r#"{"amount":1,"currency":"EUR","role":"admin"}"#,
            vec![("/role", "unknown_field")],
        ),
        (
            r#"{"amount":1,"currency":"EUR","id":"1"}"#,
            vec![("/id", "read_only")],
        ),
        (
            r#"{"amount":1,"currency":"EUR","kind":"c"}"#,
            vec![("/kind", "invalid_value")],
        ),
        (
            r#"{"amount":1,"currency":"EUR","a/b~c":1}"#,
            vec![("/a~1b~0c", "invalid_type")],
        ),
        (
            r#"{"amount":1,"currency":"EUR","tags":["x","yy","yy"]}"#,
            vec![
                ("/tags", "too_many"),
                ("/tags/2", "repeated"),
                ("/tags/0", "too_short"),
            ],
        ),
        (
            r#"{"amount":1,"amount":2,"currency":"EUR"}"#,
            vec![("", "malformed")],
        ),
        (r#"{"amount":1,"currency":"EUR"} x"#, vec![("", "malformed")]),
        ("[]", vec![("", "invalid_type")]),
        ("", vec![("", "missing_field")]),
        ("\u{feff}{}", vec![("", "malformed")]),
    ];
    for (body, expected) in cases {
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(at, code)| (at.to_owned(), code))
            .collect();
        assert_eq!(faults(&operation, body.as_bytes()), expected, "{body}");
    }
}

#[test]
fn no_fault_repeats_what_was_sent() {
    let operation = of_schema(&json!({
        "type": "object",
        "properties": {
            "password": { "type": "string", "maxLength": 3, "pattern": "^a", "format": "uuid" },
            "pin": { "type": "integer", "maximum": 9, "enum": [1] },
        },
    }));
    let Err(Unfit::Faults(found)) =
        operation.check_body(&json_type(), br#"{"password":"hunter2","pin":4711}"#)
    else {
        panic!("refused");
    };
    assert!(found.len() >= 5, "{found:?}");
    let text = format!("{found:?}");
    assert!(!text.contains("hunter2") && !text.contains("4711"), "{text}");
    // A name is the client's own, so it is told only while it is short.
    let long = format!("{{\"{}\":1}}", "x".repeat(1_000));
    assert_eq!(
        faults(&operation, long.as_bytes()),
        [(String::new(), "unknown_field")]
    );
}

#[test]
fn members_are_closed_through_every_combination() {
    let schemas = json!({
        "Base": { "type": "object", "properties": { "a": { "type": "integer" } } },
        "Node": { "type": "object", "properties": { "next": { "oneOf": [{ "$ref": "#/components/schemas/Node" }, { "type": "null" }] } } },
    });
    let operation = |schema: Value| compiled(&with_body(&schema, &schemas)).unwrap();
    let all = operation(json!({ "allOf": [
        { "$ref": "#/components/schemas/Base" },
        { "type": "object", "properties": { "b": { "type": "integer" } } },
    ] }));
    assert_eq!(faults(&all, br#"{"a":1,"b":2}"#), []);
    assert_eq!(
        faults(&all, br#"{"a":1,"c":2}"#),
        [("/c".to_owned(), "unknown_field")]
    );
    let one = operation(json!({ "oneOf": [
        { "type": "object", "required": ["x"], "properties": { "x": { "const": 1 } } },
        { "type": "object", "required": ["y"], "properties": { "y": { "const": 2 } } },
    ] }));
    assert_eq!(faults(&one, br#"{"x":1}"#), []);
    assert_eq!(
        faults(&one, br#"{"x":1,"y":3}"#),
        [("/y".to_owned(), "unknown_field")]
    );
    assert_eq!(
        faults(&one, br#"{"x":1,"y":2}"#),
        [(String::new(), "invalid_value")]
    );
    let node = operation(json!({ "$ref": "#/components/schemas/Node" }));
    assert_eq!(faults(&node, br#"{"next":{"next":null}}"#), []);
    assert_eq!(
        faults(&node, br#"{"next":{"next":{"x":1}}}"#),
        [("/next/next/x".to_owned(), "unknown_field")]
    );
    let open = operation(
        json!({ "type": "object", "properties": { "a": {} }, "additionalProperties": { "type": "string" } }),
    );
    assert_eq!(faults(&open, br#"{"a":1,"b":"x"}"#), []);
    assert_eq!(faults(&open, br#"{"b":1}"#), [("/b".to_owned(), "invalid_type")]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one row for each case")]
fn pa6_parameters_are_known_once_and_of_their_type() {
    let operation = compiled(&with_parameters(&[
        json!({ "name": "limit", "in": "query", "schema": { "type": "integer", "minimum": 1, "maximum": 100 } }),
        json!({ "name": "all", "in": "query", "required": true, "schema": { "type": "boolean" } }),
        json!({ "name": "Idempotency-Key", "in": "header", "required": true, "schema": { "type": "string", "pattern": "^[a-z]+$" } }),
    ]))
    .unwrap();
    let ask = |path: &str, query: Option<&str>, keys: &[&'static str]| {
        let name = HeaderName::from_static("idempotency-key");
        let headers = keys
            .iter()
            .map(|key| (name.clone(), HeaderValue::from_static(key)));
        told(operation.check_head(path, query, &headers.collect()))
    };
    let fault = |at: &str, code| vec![(at.to_owned(), code)];
    assert_eq!(ask("/things/7", Some("limit=100&all=true"), &["key"]), []);
    assert_eq!(ask("/things/7", Some("%61ll=tru%65"), &["key"]), []);
    assert_eq!(
        ask("/things/x", Some("all=true"), &["key"]),
        fault("/path/id", "invalid_type")
    );
    assert_eq!(
        ask("/things/7", None, &["key"]),
        fault("/query/all", "missing_parameter")
    );
    assert_eq!(
        ask("/things/7", Some(""), &["key"]),
        fault("/query/all", "missing_parameter")
    );
    assert_eq!(
        ask("/things/7", Some("all=1"), &["key"]),
        fault("/query/all", "invalid_type")
    );
    assert_eq!(
        ask("/things/7", Some("all=true&limit=0101"), &["key"]),
        fault("/query/limit", "invalid_type")
    );
    assert_eq!(
        ask("/things/7", Some("all=true&limit=+1"), &["key"]),
        fault("/query/limit", "invalid_type")
    );
    assert_eq!(
        ask("/things/7", Some("all=true&limit=101"), &["key"]),
        fault("/query/limit", "out_of_range")
    );
    assert_eq!(
        ask("/things/7", Some("all=true&all=true"), &["key"]),
        fault("/query/all", "repeated")
    );
    assert_eq!(
        ask("/things/7", Some("all=true&a%6Cl=true"), &["key"]),
        fault("/query/all", "repeated")
    );
    assert_eq!(
        ask("/things/7", Some("all=true&b%2Fc=1"), &["key"]),
        fault("/query/b~1c", "unknown_parameter")
    );
    assert_eq!(ask("/things/7", Some("all=true&&"), &["key"]).len(), 2);
    assert_eq!(
        ask("/things/7", Some("all=%FF"), &["key"]),
        fault("/query/all", "malformed")
    );
    assert_eq!(
        ask("/things/7", Some("all=true"), &[]),
        fault("/header/Idempotency-Key", "missing_parameter")
    );
    assert_eq!(
        ask("/things/7", Some("all=true"), &["a", "a"]),
        fault("/header/Idempotency-Key", "repeated")
    );
    assert_eq!(
        ask("/things/7", Some("all=true"), &["A"]),
        fault("/header/Idempotency-Key", "invalid_format")
    );
    // Nothing is described as a body, so there is none.
    assert_eq!(faults(&operation, b""), []);
    assert_eq!(faults(&operation, b"{}"), fault("", "unknown_field"));
}

#[test]
fn a_body_says_what_it_is() {
    let operation = of_schema(&json!({ "type": "object", "properties": {} }));
    let ask = |name: &'static str, value: &'static str| {
        let name = HeaderName::from_static(name);
        told(operation.check_head(
            "/things/1",
            None,
            &HeaderMap::from_iter([(name, HeaderValue::from_static(value))]),
        ))
    };
    for good in [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=\"UTF-8\"",
    ] {
        assert_eq!(ask("content-type", good), [], "{good}");
    }
    for bad in [
        "",
        "text/json",
        "application/json; charset=utf-16",
        "application/json, text/plain",
        "application/jsonx",
        "multipart/form-data",
        "application/json; boundary=x",
    ] {
        assert_eq!(ask("content-type", bad), [(String::new(), "415")], "{bad}");
    }
    assert_eq!(ask("content-encoding", "gzip"), [(String::new(), "415")]);
    assert_eq!(
        told(operation.check_body(&HeaderMap::new(), b"{}")),
        [(String::new(), "415")]
    );
}

/// A document whose operation takes a form.
fn with_form(schema: &Value) -> Value {
    let mut document = with_body(schema, &json!({ "Amount": { "type": "integer", "minimum": 1 } }));
    let content = &mut document["paths"]["/things/{id}"]["post"]["requestBody"]["content"];
    *content = json!({ "application/x-www-form-urlencoded": { "schema": schema } });
    document
}

fn a_form() -> Operation {
    let schema = json!({
        "type": "object",
        "required": ["grant_type"],
        "properties": {
            "grant_type": { "const": "client_credentials" },
            "scope": { "type": "string", "maxLength": 9 },
            "é b": { "type": "boolean" },
        },
        "allOf": [{ "type": "object", "properties": { "amount": { "$ref": "#/components/schemas/Amount" } } }],
    });
    compiled(&with_form(&schema)).unwrap()
}

fn faults_of_form(operation: &Operation, body: &[u8]) -> Vec<(String, &'static str)> {
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    told(operation.check_body(&HeaderMap::from_iter([(http::header::CONTENT_TYPE, form)]), body))
}

#[test]
fn every_fault_of_a_form_has_its_place_and_its_word() {
    let operation = a_form();
    let cases = [
        ("grant_type=client_credentials", vec![]),
        (
            "grant_type=client%5Fcredentials&scope=a+b&amount=7&%C3%A9%20b=true",
            vec![],
        ),
        ("grant_type=client_credentials&scope=", vec![]),
        ("scope=a", vec![("/grant_type", "missing_field")]),
        ("grant_type=password", vec![("/grant_type", "invalid_value")]),
        (
            "Grant_Type=client_credentials",
            vec![("/Grant_Type", "unknown_field")],
        ),
        (
            "grant_type=client_credentials&grant_type=client_credentials",
            vec![("/grant_type", "repeated")],
        ),
        (
            "grant_type=client_credentials&grant%5ftype=client_credentials",
            vec![("/grant_type", "repeated")],
        ),
        (
            "grant_type=client_credentials&scope=aaaaaaaaaa&amount=0",
            vec![("/scope", "too_long"), ("/amount", "out_of_range")],
        ),
        (
            "grant_type=client_credentials&amount=x",
            vec![("/amount", "invalid_type")],
        ),
        (
            "grant_type=client_credentials&scope=%zz",
            vec![("/scope", "malformed")],
        ),
        (
            "grant_type=client_credentials&scope=%ff",
            vec![("/scope", "malformed")],
        ),
        ("grant_type=client_credentials&%", vec![("/", "unknown_field")]),
        ("grant_type=client_credentials&", vec![("/", "unknown_field")]),
        ("", vec![("", "missing_field")]),
        (
            r#"{"grant_type":"client_credentials"}"#,
            vec![(r#"/{"grant_type":"client_credentials"}"#, "unknown_field")],
        ),
    ];
    for (body, expected) in cases {
        let found = faults_of_form(&operation, body.as_bytes());
        let mut found: Vec<_> = found.iter().map(|(at, code)| (at.as_str(), *code)).collect();
        let mut expected = expected;
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{body}");
    }
    assert_eq!(
        faults_of_form(&operation, b"scope=\xff"),
        [(String::new(), "malformed")]
    );
    assert_eq!(
        told(operation.check_body(&json_type(), b"grant_type=client_credentials")),
        []
    );
    let typed = told(operation.check_head("/things/1", None, &json_type()));
    assert_eq!(typed, [(String::new(), "415")], "it takes no JSON");
    let many: String = (0..30_000).map(|number| format!("&n{number}=")).collect();
    assert_eq!(
        faults_of_form(&operation, many.as_bytes()).len(),
        20,
        "and no more are looked at"
    );
}

#[test]
fn a_form_is_described_member_by_member_or_not_taken() {
    for schema in [
        json!({}),
        json!({ "type": "object" }),
        json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        json!({ "type": "object", "properties": { "a": {} }, "additionalProperties": true }),
        json!({ "type": "object", "properties": { "a": { "type": "array", "items": {} } } }),
        json!({ "oneOf": [{ "properties": { "a": {} } }, { "properties": { "b": {} } }] }),
        json!({ "properties": { "a": {} }, "allOf": [{ "properties": { "a": {} } }] }),
    ] {
        let found = compiled(&with_form(&schema)).expect_err(&schema.to_string());
        assert_eq!(found[0].code, "P3032", "{schema}");
    }
}

/// What is in schemas and cannot be enforced is told where it stands.
#[test]
fn what_cannot_be_enforced_is_a_finding_with_its_line() {
    let schemas = [
        json!({ "type": "object", "patternProperties": { "^x": {} } }),
        json!({ "if": { "type": "string" } }),
        json!({ "type": "strnig" }),
        json!({ "type": [] }),
        json!({ "type": "string", "format": "hostname" }),
        json!({ "type": "string", "format": "int64" }),
        json!({ "type": "string", "pattern": "(?=x)" }),
        json!({ "type": "string", "nullable": true }),
        json!({ "type": "string", "minLength": -1 }),
        json!({ "type": "string", "maxLength": "9" }),
        json!({ "type": "number", "multipleOf": 0.01 }),
        json!({ "type": "integer", "exclusiveMinimum": true }),
        json!({ "enum": [] }),
        json!({ "$ref": "#/components/schemas/Nothing" }),
        json!({ "$ref": "other.json#/x" }),
        json!({ "$id": "x" }),
        json!({ "$dynamicRef": "#x" }),
        json!({ "type": "array", "contains": {} }),
        json!({ "required": "a" }),
        json!({ "properties": [] }),
        json!({ "propertis": {} }),
        json!(1),
        json!({ "allOf": [{ "unevaluatedProperties": { "type": "string" } }] }),
    ];
    for schema in schemas {
        let found = compiled(&with_body(&schema, &json!({}))).expect_err(&schema.to_string());
        assert_eq!(found[0].code, "P3032", "{schema}");
        assert!(
            found[0].line > 10 && found[0].fix.is_some(),
            "{schema}: {found:?}"
        );
    }
}

#[test]
fn a_parameter_that_cannot_be_checked_is_a_finding_with_its_line() {
    let parameters = [
        json!({ "name": "a", "in": "cookie", "schema": { "type": "string" } }),
        json!({ "name": "a", "in": "query", "schema": { "type": "array", "items": { "type": "string" } } }),
        json!({ "name": "a", "in": "query", "style": "deepObject", "schema": { "type": "string" } }),
        json!({ "name": "a", "in": "query", "content": { "application/json": {} } }),
        json!({ "name": "a", "in": "path", "required": true, "schema": { "type": "string" } }),
        json!({ "name": "a", "in": "query" }),
        json!({ "in": "query", "schema": {} }),
    ];
    for parameter in parameters {
        let found =
            compiled(&with_parameters(std::slice::from_ref(&parameter))).expect_err(&parameter.to_string());
        assert!(
            found
                .iter()
                .all(|finding| finding.code == "P3032" && finding.line > 3),
            "{parameter}: {found:?}"
        );
    }
}

#[test]
fn other_documents_are_none() {
    let good = with_body(&json!({}), &json!({}));
    let with = |key: &str, value: Value| {
        let mut document = good.clone();
        document[key] = value;
        document
    };
    let code = |document: &Value| compiled(document).expect_err("refused")[0].code;
    assert!(compiled(&good).is_ok());
    assert_eq!(code(&with("openapi", json!("3.0.3"))), "P3030");
    assert_eq!(code(&with("openapi", json!(3.1))), "P3030");
    assert_eq!(
        code(&with("jsonSchemaDialect", json!("https://x.example"))),
        "P3030"
    );
    assert_eq!(code(&with("paths", json!({}))), "P3031");
    assert_eq!(
        code(&with("paths", json!({ "/things/{id}": { "get": {} } }))),
        "P3031"
    );
    assert_eq!(code(&with("servers", json!([{ "url": "/v2" }]))), "P3031");
    assert_eq!(
        code(&with("servers", json!([{ "url": "/" }, { "url": "/v2" }]))),
        "P3032"
    );
    assert_eq!(
        code(&with("servers", json!([{ "url": "https://{host}/{v}" }]))),
        "P3032"
    );
    assert!(
        compiled(&with(
            "servers",
            json!([{ "url": "https://a.example/" }, { "url": "/" }])
        ))
        .is_ok()
    );
    for text in [
        "",
        "[",
        "{\"openapi\":\"3.1.0\",\"openapi\":\"3.1.0\"}",
        "openapi: 3.1.0",
    ] {
        let files = [SourceFile::new("a.openapi.json", text)];
        let mut findings = Findings::default();
        assert!(ApiDocument::read(0, &files[0], &mut findings).is_none());
        assert_eq!(findings.into_diagnostics(&files)[0].code, "P3030", "{text}");
    }
}

#[test]
fn a_hostile_document_is_refused_in_no_time() {
    let deep = (0..100).fold(json!({}), |inner, _| json!({ "type": "array", "items": inner }));
    let circle = json!({ "A": { "allOf": [{ "$ref": "#/components/schemas/B" }] }, "B": { "$ref": "#/components/schemas/A" } });
    let chain = |length: usize| -> Value {
        (0..length)
            .map(|number| {
                (
                    format!("S{number}"),
                    json!({ "$ref": format!("#/components/schemas/S{}", number + 1) }),
                )
            })
            .chain([(format!("S{length}"), json!({ "type": "string" }))])
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let wide: Value = (0..40)
        .map(|number| {
            let next = json!({ "$ref": format!("#/components/schemas/S{}", number + 1) });
            (format!("S{number}"), json!({ "anyOf": [next, next, next] }))
        })
        .chain([("S40".to_owned(), json!({}))])
        .collect::<serde_json::Map<_, _>>()
        .into();
    let patterns: Vec<Value> = (0..200)
        .map(|number| json!({ "pattern": format!("(?:x{{1,{}}}){{1,20}}", 20 + number) }))
        .collect();
    let first = json!({ "$ref": "#/components/schemas/S0" });
    let started = Instant::now();
    for (document, code) in [
        (with_body(&deep, &json!({})), "P3033"),
        (
            with_body(&json!({ "$ref": "#/components/schemas/A" }), &circle),
            "P3033",
        ),
        (with_body(&first, &chain(50)), "P3033"),
        (with_body(&first, &chain(10_000)), "P3033"),
        (with_body(&first, &wide), "P3033"),
        (with_body(&json!({ "allOf": patterns }), &json!({})), "P3032"),
    ] {
        let found = compiled(&document).expect_err("refused");
        assert!(
            found.iter().any(|finding| finding.code == code),
            "{code}: {found:?}"
        );
    }
    assert!(compiled(&with_body(&first, &chain(8))).is_ok());
    // Not a measurement: what is not bounded takes hours.
    assert!(started.elapsed() < Duration::from_mins(2));
}

#[test]
fn a_hostile_body_is_refused_in_bounded_steps() {
    // Each level doubles the alternatives.
    let schemas = json!({ "Tree": { "type": "object", "properties": { "x": { "anyOf": [
        { "allOf": [{ "$ref": "#/components/schemas/Tree" }, { "required": ["never"] }] },
        { "allOf": [{ "$ref": "#/components/schemas/Tree" }, { "required": ["ever"] }] },
    ] } } } });
    let tree = compiled(&with_body(
        &json!({ "$ref": "#/components/schemas/Tree" }),
        &schemas,
    ))
    .unwrap();
    let nested = |depth: usize| format!("{}{{}}{}", "{\"x\":".repeat(depth), "}".repeat(depth));
    let codes: Vec<_> = faults(&tree, nested(30).as_bytes())
        .into_iter()
        .map(|(_, code)| code)
        .collect();
    assert!(codes.contains(&"too_complex"), "{codes:?}");
    let list = of_schema(
        &json!({ "items": { "$ref": "#/paths/~1things~1{id}/post/requestBody/content/application~1json/schema" } }),
    );
    assert_eq!(
        faults(&list, format!("{}{}", "[".repeat(31), "]".repeat(31)).as_bytes()),
        []
    );
    let deep = faults(&list, format!("{}{}", "[".repeat(40), "]".repeat(40)).as_bytes());
    assert_eq!(deep[0].1, "too_complex");
    assert_eq!(
        faults(&list, "[".repeat(60_000).as_bytes()),
        [(String::new(), "malformed")]
    );
    // What was not looked at to its end is not let through by saying no to it.
    let not = of_schema(
        &json!({ "not": { "items": { "not": { "items": { "$ref": "#/paths/~1things~1{id}/post/requestBody/content/application~1json/schema" } } } } }),
    );
    assert_ne!(
        faults(&not, format!("{}{}", "[".repeat(100), "]".repeat(100)).as_bytes()),
        []
    );
    let unique = of_schema(&json!({ "uniqueItems": true }));
    let numbers: Vec<String> = (0..10_000).map(|number| number.to_string()).collect();
    assert_eq!(
        faults(&unique, format!("[{}]", numbers.join(",")).as_bytes()),
        [(String::new(), "too_complex")]
    );
    let many = format!(
        "{{{}}}",
        (0..5_000)
            .map(|number| format!("\"n{number}\":0"))
            .collect::<Vec<_>>()
            .join(",")
    );
    let closed = of_schema(&json!({ "type": "object", "properties": {} }));
    assert_eq!(faults(&closed, many.as_bytes()).len(), 20);
}

/// Schemas whose meaning for us is that of JSON Schema: objects say what becomes of other members.
fn schema() -> impl Strategy<Value = Value> {
    let bounded = |low: &'static str, high: &'static str| {
        (proptest::option::of(0_i64..4), proptest::option::of(2_i64..6)).prop_map(move |(least, most)| {
            let mut words = serde_json::Map::new();
            words.extend(least.map(|least| (low.to_owned(), json!(least))));
            words.extend(most.map(|most| (high.to_owned(), json!(most))));
            words
        })
    };
    let typed = |name: &'static str, mut words: serde_json::Map<String, Value>| {
        words.insert("type".to_owned(), json!(name));
        Value::Object(words)
    };
    let leaf = prop_oneof![
        Just(json!({})),
        Just(json!(true)),
        Just(json!(false)),
        Just(json!({ "type": ["string", "null"] })),
        Just(json!({ "type": "boolean" })),
        Just(json!({ "type": "number", "exclusiveMinimum": 1, "exclusiveMaximum": 3 })),
        Just(json!({ "type": "integer", "multipleOf": 2 })),
        Just(json!({ "enum": [1, "a", null, { "a": 1 }, [1]] })),
        Just(json!({ "const": 2 })),
        Just(json!({ "type": "string", "pattern": "^[ab]+$" })),
        bounded("minLength", "maxLength").prop_map(move |words| typed("string", words)),
        bounded("minimum", "maximum").prop_map(move |words| typed("integer", words)),
        bounded("minItems", "maxItems").prop_map(move |words| typed("array", words)),
        bounded("minProperties", "maxProperties").prop_map(move |words| typed("object", words)),
        Just(json!({ "type": "array", "uniqueItems": true })),
    ];
    let leaf = leaf.boxed();
    let nested = leaf.clone().prop_recursive(3, 24, 3, |inner| {
        let names = proptest::collection::btree_map("[abc]", inner.clone(), 0..3);
        let others = prop_oneof![Just(json!(true)), Just(json!(false)), inner.clone()];
        prop_oneof![
            (
                names,
                others,
                proptest::sample::subsequence(vec!["a", "b", "c"], 0..3)
            )
                .prop_map(|(properties, others, required)| json!({
                    "type": "object",
                    "properties": properties,
                    "required": required,
                    "additionalProperties": others,
                })),
            (proptest::collection::vec(inner.clone(), 1..3), inner.clone())
                .prop_map(|(first, rest)| json!({ "prefixItems": first, "items": rest })),
            proptest::collection::vec(inner.clone(), 1..3).prop_map(|all| json!({ "allOf": all })),
            proptest::collection::vec(inner.clone(), 1..3).prop_map(|any| json!({ "anyOf": any })),
            proptest::collection::vec(inner.clone(), 1..3).prop_map(|one| json!({ "oneOf": one })),
            inner.clone().prop_map(|not| json!({ "not": not })),
            inner.prop_map(|names| json!({ "propertyNames": names })),
        ]
    });
    prop_oneof![leaf, nested]
}

/// Whole numbers only: `1.0` is one for JSON Schema, and none for us.
fn instance() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-1_i64..7).prop_map(Value::from),
        Just(json!(1.5)),
        "[abé]{0,6}".prop_map(Value::from),
    ];
    let leaf = leaf.boxed();
    let nested = leaf.clone().prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map("[abcd]", inner, 0..5).prop_map(|members| json!(members)),
        ]
    });
    prop_oneof![leaf, nested]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_accepted_is_what_another_validator_accepts(schema in schema(), values in proptest::collection::vec(instance(), 24)) {
        let operation = of_schema(&schema);
        let other = jsonschema::draft202012::new(&schema).unwrap();
        for value in values {
            let ours = faults(&operation, value.to_string().as_bytes());
            // Where a schema describes members, we close what it leaves open; these schemas always say.
            prop_assert_eq!(ours.is_empty(), other.is_valid(&value), "{} {}: {:?}", schema, value, ours);
        }
    }

    #[test]
    fn whatever_text_is_in_a_form_is_what_the_schema_is_asked_of(scope in any::<String>()) {
        let operation = a_form();
        let encoded: String = scope.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let body = format!("grant_type=client_credentials&scope={encoded}");
        let is_short = scope.chars().count() <= 9;
        prop_assert_eq!(faults_of_form(&operation, body.as_bytes()).is_empty(), is_short, "{}", scope);
    }

    #[test]
    fn any_bytes_are_answered(body in proptest::collection::vec(any::<u8>(), 0..200), query in "[a-z%&=+0-9]{0,40}") {
        let operation = of_schema(&json!({ "type": "object", "properties": { "a": { "type": "string" } } }));
        let _ = operation.check_body(&json_type(), &body);
        let _ = faults_of_form(&a_form(), &body);
        let _ = operation.check_head("/things/1", Some(&query), &json_type());
    }
}
