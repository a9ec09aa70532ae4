//! The OpenAPI document is complete, committed, and shown.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::bank::{TestBank, settings};

fn document() -> Value {
    serde_json::to_value(crate::openapi()).unwrap()
}

fn operations(document: &Value) -> impl Iterator<Item = (String, &Value)> {
    document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .iter()
                .map(move |(method, operation)| (format!("{method} {path}"), operation))
        })
}

fn docs(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file)
}

#[test]
fn the_committed_document_is_the_one_that_is_served() {
    let committed = std::fs::read_to_string(docs("openapi.json")).unwrap_or_default();
    let committed: Value = serde_json::from_str(&committed).unwrap_or_default();
    assert!(
        committed == document(),
        "docs/openapi.json is not current: run `make openapi`"
    );
}

#[test]
fn every_operation_says_what_a_client_must_know() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["servers"][0]["url"], "/");
    assert_eq!(
        document["components"]["securitySchemes"]["bearer"]["scheme"],
        "bearer"
    );
    let mut count = 0;
    for (name, operation) in operations(&document) {
        count += 1;
        for text in ["summary", "description", "operationId"] {
            assert!(
                operation[text].as_str().is_some_and(|text| !text.is_empty()),
                "{name} has no {text}"
            );
        }
        assert!(
            operation["security"].is_array(),
            "{name} does not say whether it needs a token"
        );
        let responses = operation["responses"].as_object().unwrap();
        for status in ["400", "429", "500", "502", "503", "504"] {
            assert!(
                responses.contains_key(status),
                "{name} does not document {status}"
            );
        }
        let unfit = &responses["400"]["content"][problem::CONTENT_TYPE]["examples"]["invalid-request"];
        assert!(
            unfit["value"]["errors"][0]["pointer"].is_string(),
            "{name}: {unfit}"
        );
        if !operation["security"].as_array().unwrap().is_empty() {
            assert!(
                responses.contains_key("401") && responses.contains_key("403"),
                "{name}"
            );
        }
        if operation["requestBody"].is_object() {
            assert!(
                ["413", "415", "422"]
                    .iter()
                    .all(|status| responses.contains_key(*status)),
                "{name}"
            );
        }
        for (status, response) in responses {
            assert!(!response["headers"]["RateLimit"].is_null(), "{name} {status}");
            assert!(
                response["description"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{name} {status}"
            );
            if status.as_str() >= "400" {
                assert!(
                    !response["content"][problem::CONTENT_TYPE]["examples"].is_null(),
                    "{name} {status}"
                );
            }
        }
    }
    assert_eq!(count, 44);
}

#[test]
fn every_request_and_every_success_has_an_example() {
    let document = document();
    for (name, operation) in operations(&document) {
        let mut contents = Vec::new();
        if let Some(body) = operation["requestBody"]["content"].as_object() {
            contents.extend(body.values());
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            if status.as_str() < "300"
                && let Some(body) = response["content"].as_object()
            {
                contents.extend(body.values());
            }
        }
        for content in contents {
            assert!(has_example(&document, content), "{name}: {content}");
        }
    }
}

/// An example of its own, or one in every leaf of its schema.
fn has_example(document: &Value, content: &Value) -> bool {
    !content["example"].is_null() || schema_has_example(document, &content["schema"])
}

fn schema_has_example(document: &Value, schema: &Value) -> bool {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap();
        return schema_has_example(document, &document["components"]["schemas"][name]);
    }
    if !schema["example"].is_null() || !schema["examples"].is_null() || !schema["enum"].is_null() {
        return true;
    }
    if let Some(properties) = schema["properties"].as_object() {
        return properties
            .values()
            .all(|property| schema_has_example(document, property));
    }
    match schema["oneOf"].as_array().or(schema["allOf"].as_array()) {
        Some(choices) => choices.iter().any(|choice| schema_has_example(document, choice)),
        None => {
            schema["format"] == "date-time"
                || schema["type"] == "boolean"
                || schema_has_items(document, schema)
        }
    }
}

fn schema_has_items(document: &Value, schema: &Value) -> bool {
    let nullable_text = schema["type"]
        .as_array()
        .is_some_and(|types| types.iter().any(|name| name == "null"));
    nullable_text || (schema["items"].is_object() && schema_has_example(document, &schema["items"]))
}

#[test]
fn every_problem_type_is_explained() {
    let text = std::fs::read_to_string(docs("errors.md")).unwrap();
    let explained: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let document = document();
    let mut raised = BTreeSet::new();
    for (_, operation) in operations(&document) {
        for response in operation["responses"].as_object().unwrap().values() {
            if let Some(examples) = response["content"][problem::CONTENT_TYPE]["examples"].as_object() {
                raised.extend(examples.keys().map(String::as_str));
            }
        }
    }
    let missing: Vec<_> = raised.difference(&explained).collect();
    assert!(missing.is_empty(), "docs/errors.md does not explain {missing:?}");
}

#[tokio::test]
async fn the_pages_work_without_inline_scripts() {
    let bank = TestBank::with(settings()).await;
    let page = bank.get("/docs").send().await;
    let html = String::from_utf8(page.assert_status(200).bytes.to_vec()).unwrap();
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert!(
        !html.contains("<style") && !html.contains(" on") && !html.contains("style="),
        "{html}"
    );
    for script in html.split("<script").skip(1) {
        assert!(
            script.starts_with(" src=\"/docs/") && script.contains("\"></script>"),
            "{script}"
        );
    }
    let linked: Vec<&str> = html
        .split('"')
        .filter(|part| part.starts_with("/docs/"))
        .collect();
    assert_eq!(linked.len(), 4);
    for file in linked {
        let asset = bank.get(file).send().await;
        assert!(asset.assert_status(200).bytes.len() > 100, "{file}");
    }
    let start = bank.get("/docs/start.js").send().await;
    assert!(String::from_utf8_lossy(&start.bytes).contains("\"#swagger-ui\""));
    for other in [
        "/docs/index.html",
        "/docs/..%2f..%2fetc%2fpasswd",
        "/docs/swagger-initializer.js",
    ] {
        bank.get(other).send().await.assert_problem(404, "not-found");
    }
    let served = bank.get("/openapi.json").send().await;
    assert_eq!(served.assert_status(200).json, document());
}

#[tokio::test]
async fn health_tells_the_state_of_the_database() {
    let bank = TestBank::with(settings()).await;
    let well = bank.get("/health").send().await;
    assert_eq!(
        (&well.assert_status(200).json["status"], &well.json["database"]),
        (&"ok".into(), &"ok".into())
    );
    assert_eq!(well.json["version"], env!("CARGO_PKG_VERSION"));
    // The database goes away.
    let name = bank.db.name();
    let forbid = format!("REVOKE CONNECT ON DATABASE {name} FROM PUBLIC");
    super::store::execute(&bank.owner, &forbid).await.unwrap();
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'portico_core'";
    super::store::execute(&bank.owner, kill).await.unwrap();
    let ill = bank.get("/health").send().await;
    ill.assert_problem(503, "unavailable");
    assert_eq!(ill.json["database"], "unreachable");
}
