//! SARIF: the essentials of the 2.1.0 schema hold for both commands, and places are those of the findings.

use crate::world::{shipped, shipped_with};
use policy::{Date, SourceFile, audit, compile, sarif};
use serde_json::Value;
use std::collections::BTreeSet;

fn checked(files: &[SourceFile], root: &str) -> Value {
    let found = compile(files, "production").expect_err("refused");
    valid(&sarif::check(&found, root))
}

fn audited(files: &[SourceFile], root: &str) -> Value {
    let today = Date::parse("2026-12-01").expect("a date");
    let audit = audit::audit(files, "production", today).expect("compiles");
    valid(&audit::sarif(&audit, root))
}

/// What the schema requires, and what code hosts need beyond it (§3.13, §3.14, §3.19, §3.27, §3.30, §3.49).
fn valid(text: &str) -> Value {
    let log: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(log["version"], "2.1.0");
    assert!(log["$schema"].as_str().expect("a schema").contains("sarif-2.1.0"));
    let run = &log["runs"].as_array().expect("runs")[0];
    let driver = &run["tool"]["driver"];
    assert!(!driver["name"].as_str().expect("a name").is_empty());
    // Columns are counted as the compiler counts them.
    assert_eq!(run["columnKind"], "unicodeCodePoints");
    let rules = driver["rules"].as_array().expect("rules");
    let ids: Vec<&str> = rules
        .iter()
        .map(|rule| rule["id"].as_str().expect("an id"))
        .collect();
    assert_eq!(
        ids.iter().collect::<BTreeSet<_>>().len(),
        ids.len(),
        "ids are unique"
    );
    for rule in rules {
        assert!(
            !rule["shortDescription"]["text"]
                .as_str()
                .expect("a text")
                .is_empty()
        );
        assert!(rule.get("helpUri").is_none());
    }
    for result in run["results"].as_array().expect("results") {
        let index = usize::try_from(result["ruleIndex"].as_u64().expect("an index")).expect("small");
        assert_eq!(result["ruleId"], ids[index]);
        assert!(["error", "warning", "note"].contains(&result["level"].as_str().expect("a level")));
        assert!(!result["message"]["text"].as_str().expect("a text").is_empty());
        for location in result["locations"].as_array().expect("locations") {
            let physical = &location["physicalLocation"];
            let uri = physical["artifactLocation"]["uri"].as_str().expect("a uri");
            let is_of_uri = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/%".contains(&byte);
            assert!(!uri.starts_with('/') && uri.bytes().all(is_of_uri), "{uri}");
            if let Some(region) = physical.get("region") {
                let number = |key: &str| region[key].as_u64().expect(key);
                assert!(number("startLine") >= 1 && number("startColumn") >= 1);
                assert!(number("endColumn") > number("startColumn"));
            }
        }
        for suppression in result["suppressions"].as_array().unwrap_or(&Vec::new()) {
            assert_eq!(suppression["kind"], "inSource");
        }
    }
    log
}

#[test]
fn a_finding_of_the_compiler_is_at_its_place() {
    let log = checked(
        &shipped_with("floor.yaml", "key: [address]", "kye: [address]"),
        "./policies/",
    );
    let results = log["runs"][0]["results"].as_array().expect("results");
    let unknown = results
        .iter()
        .find(|result| result["ruleId"] == "P1004")
        .expect("found");
    assert_eq!(unknown["level"], "error");
    let place = &unknown["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "policies/floor.yaml");
    let region = serde_json::json!({ "startLine": 15, "startColumn": 48, "endColumn": 51 });
    assert_eq!(place["region"], region);
    assert!(
        unknown["message"]["text"]
            .as_str()
            .expect("a text")
            .contains("did you mean `key`?")
    );
}

#[test]
fn a_finding_without_a_place_has_no_region_or_no_file() {
    let mut files = shipped();
    files.retain(|file| file.name != "floor.yaml");
    files.push(SourceFile::new("a file.yaml", "#".repeat(256 * 1024 + 1)));
    let log = checked(&files, "");
    let results = log["runs"][0]["results"].as_array().expect("results");
    let of = |code: &str| {
        results
            .iter()
            .find(|result| result["ruleId"] == code)
            .expect("found")
    };
    let large = &of("P1001")["locations"][0]["physicalLocation"];
    assert_eq!(large["artifactLocation"]["uri"], "a%20file.yaml");
    assert!(large.get("region").is_none());
    let log = checked(&[], "policies");
    assert_eq!(log["runs"][0]["results"][0]["locations"], serde_json::json!([]));
}

#[test]
fn an_audit_tells_every_rule_and_what_is_waived() {
    let waiver = "version: 1\nwaivers:\n  busy: { rule: A1306, at: floor.limits.body, because: whole statements, until: 2027-01-31 }";
    let mut files = shipped_with("floor.yaml", "body: 256KiB", "body: 2MiB");
    let floor = files
        .iter_mut()
        .find(|file| file.name == "floor.yaml")
        .expect("shipped");
    floor.text = floor.text.replacen("version: 1", waiver, 1);
    let log = audited(&files, "policies");
    let run = &log["runs"][0];
    assert_eq!(
        run["tool"]["driver"]["rules"].as_array().map(Vec::len),
        Some(audit::rules().count())
    );
    let results = run["results"].as_array().expect("results");
    let large = results
        .iter()
        .find(|result| result["ruleId"] == "A1306")
        .expect("found");
    assert_eq!(large["suppressions"][0]["justification"], "whole statements");
    assert_eq!(large["level"], "warning");
    let note = results
        .iter()
        .find(|result| result["ruleId"] == "A1101")
        .expect("found");
    assert_eq!(note["level"], "note");
    assert!(note.get("suppressions").is_none());
}

#[test]
fn a_log_without_findings_is_valid() {
    valid(&sarif::check(&[], "policies"));
}
