//! Rules for source files: module headers, names, open ends, and where SQL may stand.

use crate::Finding;
use crate::tree::SourceFile;

/// File and folder names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = [
    "utils", "util", "helpers", "helper", "common", "misc", "shared", "stuff",
];

/// What runs SQL. The raw functions are banned by clippy as well; here they are kept out of other files even with a
/// waiver.
const SQL_CALLS: [&str; 9] = [
    "query!(",
    "query_as!(",
    "query_scalar!(",
    "query_file!(",
    "query_file_as!(",
    "sqlx::query(",
    "sqlx::query_as(",
    "sqlx::query_scalar(",
    "AssertSqlSafe(",
];

/// Folders whose whole purpose is the database or a test on it.
const SQL_FOLDERS: [&str; 2] = ["crates/database/", "crates/test-support/"];

/// Words that mark unfinished work. Written in halves, so that this file does not find itself.
const OPEN_ENDS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("HA", "CK")];

/// Every Rust file begins with one `//!` sentence on what it is.
pub fn module_header(file: &SourceFile) -> Vec<Finding> {
    if file.extension() != "rs" || file.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![Finding::new(
        &file.path,
        "begins without a `//!` line; say in one sentence what the file is",
    )]
}

/// No file or folder is called `utils`, `helpers` and the like.
pub fn telling_name(file: &SourceFile) -> Vec<Finding> {
    let is_empty = |part: &str| EMPTY_NAMES.contains(&part.split('.').next().unwrap_or(part));
    match file.path.split('/').find(|part| is_empty(part)) {
        Some(part) => vec![Finding::new(
            &file.path,
            format!("`{part}` says nothing; name what is in it"),
        )],
        None => Vec::new(),
    }
}

/// Unfinished work is marked with the issue it belongs to, or finished.
pub fn no_open_ends(file: &SourceFile) -> Vec<Finding> {
    let is_code = matches!(
        file.extension(),
        "rs" | "sql" | "toml" | "sh" | "yaml" | "yml" | "service"
    ) || matches!(file.name(), "Makefile" | "Dockerfile");
    if !is_code {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for word in OPEN_ENDS {
            if has_word(line, word) && !line.contains(&format!("{word}(#")) {
                findings.push(Finding::at_line(
                    &file.path,
                    index,
                    format!("`{word}` without an issue: `{word}(#12)`"),
                ));
            }
        }
    }
    findings
}

/// SQL stands in files called `store.rs`, in the database crates, and in tests.
pub fn sql_in_store(file: &SourceFile) -> Vec<Finding> {
    let is_exempt = file.extension() != "rs"
        || file.name() == "store.rs"
        || file.is_test()
        || file.path.starts_with("crates/tidy/")
        || SQL_FOLDERS.iter().any(|folder| file.path.starts_with(folder));
    if is_exempt {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        if let Some(call) = SQL_CALLS.iter().find(|call| line.contains(**call)) {
            let call = call.trim_end_matches('(');
            findings.push(Finding::at_line(
                &file.path,
                index,
                format!("`{call}` outside store.rs"),
            ));
        }
    }
    findings
}

/// Whether `word` stands in `line` with no letter, digit or underscore beside it.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |character: Option<char>| character.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(start, _)| {
        let before = line.get(..start).and_then(|text| text.chars().next_back());
        let after = line
            .get(start.saturating_add(word.len())..)
            .and_then(|text| text.chars().next());
        !is_part(before) && !is_part(after)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile::sample(path, text)
    }

    #[test]
    fn a_file_without_a_header_is_found() {
        assert_eq!(module_header(&file("a/b.rs", "use std::io;\n")).len(), 1);
        assert_eq!(module_header(&file("a/b.rs", "/// Not the module.\n")).len(), 1);
        assert!(module_header(&file("a/b.rs", "//! What this is.\n")).is_empty());
        assert!(module_header(&file("a/b.yaml", "version: 1\n")).is_empty());
    }

    #[test]
    fn an_empty_name_is_found_as_a_file_and_as_a_folder() {
        assert_eq!(telling_name(&file("gateway/src/utils.rs", "")).len(), 1);
        assert_eq!(telling_name(&file("crates/common/src/lib.rs", "")).len(), 1);
        assert!(telling_name(&file("gateway/src/upstream.rs", "")).is_empty());
        assert!(telling_name(&file("docs/common-errors.md", "")).is_empty());
    }

    #[test]
    fn an_open_end_without_an_issue_is_found() {
        let word = OPEN_ENDS[0];
        assert_eq!(no_open_ends(&file("a.rs", &format!("// {word}: later"))).len(), 1);
        assert_eq!(
            no_open_ends(&file("migrations/0001.sql", &format!("-- {word} later"))).len(),
            1
        );
        assert!(no_open_ends(&file("a.rs", &format!("// {word}(#12): after the import"))).is_empty());
        assert!(no_open_ends(&file("a.rs", &format!("const {word}_LIST: u8 = 1;"))).is_empty());
    }

    #[test]
    fn sql_outside_a_store_is_found() {
        let text = "//! x\nlet row = sqlx::query!(\"SELECT 1\");\n";
        let findings = sql_in_store(&file("core-api/src/transfers/create.rs", text));
        assert_eq!(
            findings,
            vec![Finding::new(
                "core-api/src/transfers/create.rs:2",
                "`query!` outside store.rs"
            )]
        );
        assert_eq!(
            sql_in_store(&file("cli/src/x.rs", "sqlx::query(\"SELECT 1\")")).len(),
            1
        );
        assert_eq!(
            sql_in_store(&file("cli/src/x.rs", "AssertSqlSafe(format!(\"…\"))")).len(),
            1
        );
    }

    #[test]
    fn sql_where_it_belongs_is_silent() {
        let text = "sqlx::query_as!(Row, \"SELECT 1\")";
        for path in [
            "core-api/src/transfers/store.rs",
            "core-api/src/transfers/tests.rs",
            "crates/database/src/roles.rs",
        ] {
            assert!(sql_in_store(&file(path, text)).is_empty(), "{path}");
        }
        assert!(
            sql_in_store(&file(
                "core-api/src/lib.rs",
                "// sqlx::query!(…) belongs in store.rs"
            ))
            .is_empty()
        );
    }
}
