//! Tests that do not check on every machine are listed in `docs/testing.md`, and say so in one way.

use crate::Finding;
use crate::tree::SourceFile;

/// Written in halves, so that this file does not find itself.
const CALL: &str = concat!("skips::", "skip(");
const BY_HAND: &str = concat!("SKIP", "PED");
/// Where the one way is.
const OWN: &str = "crates/skips/";

/// Every test that can skip stands in the table with its file, every one in the table can skip, and nobody prints it by hand.
pub fn are_listed(page: &SourceFile, files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let listed: Vec<(&str, &str)> = page.text.lines().flat_map(row).collect();
    let mut skipping: Vec<(&str, &str)> = Vec::new();
    for file in files
        .iter()
        .filter(|file| file.extension() == "rs" && !file.path.starts_with(OWN))
    {
        let mut function = "";
        for (index, line) in file.text.lines().enumerate() {
            function = name(line).unwrap_or(function);
            if line.contains(concat!("\"SKIP", "PED")) {
                findings.push(Finding::at_line(
                    &file.path,
                    index,
                    format!("prints `{BY_HAND}` by hand; call `skips::skip`"),
                ));
            }
            if !line.contains(CALL) {
                continue;
            }
            skipping.push((function, file.path.as_str()));
            if !listed.contains(&(function, file.path.as_str())) {
                findings.push(Finding::at_line(
                    &file.path,
                    index,
                    format!("`{function}` can skip and is not in the table of {}", page.path),
                ));
            }
        }
    }
    let never = listed.iter().filter(|row| !skipping.contains(row));
    findings.extend(
        never.map(|(test, path)| Finding::new(&page.path, format!("`{test}` in `{path}` never skips"))),
    );
    findings
}

/// Tests and their file in a row of the table.
fn row(line: &str) -> Vec<(&str, &str)> {
    let Some((tests, rest)) = line.strip_prefix("| `").and_then(|row| row.split_once("` in `")) else {
        return Vec::new();
    };
    let path = rest.split('`').next().unwrap_or_default();
    tests.split("` and `").map(|test| (test, path)).collect()
}

/// The name of a function that begins in this line.
fn name(line: &str) -> Option<&str> {
    let (_, rest) = line.trim_start().split_once("fn ")?;
    rest.split(['(', '<']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_is_not_listed_and_one_that_never_skips_are_found() {
        let page = SourceFile::sample(
            "docs/testing.md",
            "| test | checks only |\n| `a` and `b` in `cli/tests/x.rs` | as root |\n",
        );
        let call = CALL;
        let check = |text: String| are_listed(&page, &[SourceFile::sample("cli/tests/x.rs", &text)]).len();
        let both = format!(
            "fn a() {{\n    {call}\"\");\n}}\nasync fn b() {{\n    {call}\"\");\n    {call}\"\");\n}}\n"
        );
        assert_eq!(check(both.clone()), 0);
        assert_eq!(
            check(format!("{both}fn c() {{\n    {call}\"\");\n}}\n")),
            1,
            "not listed"
        );
        assert_eq!(
            check(format!("fn a() {{\n    {call}\"\");\n}}\n")),
            1,
            "b never skips"
        );
        assert_eq!(
            check(format!("{both}    println!(\"{BY_HAND}\");\n")),
            1,
            "by hand"
        );
    }
}
