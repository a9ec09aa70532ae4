//! The schema for editors: committed, named in every shipped file, content with what compiles, and not with slips.

use crate::world::{shipped, shipped_cases, shipped_folder, shipped_with};
use jsonschema::Validator;
use policy::{SourceFile, language};
use serde_json::Value;
use std::fs;

const NAME: &str = "portico.schema.json";

fn validator() -> Validator {
    jsonschema::validator_for(&language::schema()).expect("a schema")
}

fn is_valid(file: &SourceFile) -> bool {
    let instance: Value = serde_saphyr::from_str(&file.text).expect("YAML");
    validator().is_valid(&instance)
}

#[test]
fn the_committed_schema_is_what_the_table_says() {
    let committed = fs::read_to_string(shipped_folder().join(NAME)).expect("a schema");
    let committed: Value = serde_json::from_str(&committed).expect("JSON");
    assert_eq!(committed, language::schema(), "stale: run `make policy-schema`");
}

#[test]
fn every_shipped_file_names_the_schema_and_fits_it() {
    let policies = |file: &SourceFile| !SourceFile::is_api_document(&file.name);
    for file in shipped().into_iter().filter(policies).chain(shipped_cases()) {
        let depth = file.name.matches('/').count();
        let modeline = format!("# yaml-language-server: $schema={}{NAME}\n", "../".repeat(depth));
        assert!(
            file.text.starts_with(&modeline),
            "{}: begin with {modeline}",
            file.name
        );
        assert!(is_valid(&file), "{}", file.name);
    }
}

#[test]
fn slips_do_not_fit_it() {
    for (name, old, new) in [
        ("floor.yaml", "key: [address]", "kye: [address]"),
        ("floor.yaml", "key: [address]", "key: [adress]"),
        ("floor.yaml", "burst: 100", "burst: 0"),
        ("floor.yaml", "head: 5s", "head: 5"),
        ("floor.yaml", "100/min", "100 per minute"),
        ("floor.yaml", "body: 256KiB", "body: 256KB"),
        ("listeners.yaml", "min: \"1.2\"", "min: \"1.1\""),
        ("listeners.yaml", "0.0.0.0:443", "0.0.0.0"),
        ("identity.yaml", "[EdDSA, ES256]", "[EdDSA, HS256]"),
        ("identity.yaml", "issuer: https", "issuer: http"),
        ("upstreams.yaml", "authorization: forward", "authorization: maybe"),
        ("cors.yaml", "https://app.bank.example", "app.bank.example"),
        ("routes/transfers.yaml", "    auth: customers\n", ""),
        ("routes/transfers.yaml", "path: /api", "path: api"),
        ("routes/transfers.yaml", "create_transfer:", "CreateTransfer:"),
        ("environments/development.yaml", "rates:", "rate:"),
    ] {
        let files = shipped_with(name, old, new);
        let file = files.iter().find(|file| file.name == name).expect("the file");
        assert!(!is_valid(file), "{name}: {old} → {new}");
    }
}
