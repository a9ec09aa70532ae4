//! Rules for Markdown: links resolve, decisions have a status, invariants name the tests that hold them.

use std::collections::BTreeSet;

use crate::Finding;
use crate::tree::SourceFile;

/// What the first word after `Status:` may be.
const STATUSES: [&str; 4] = ["Proposed", "Accepted", "Superseded", "Rejected"];

/// Every decision record is numbered, titled and has a status.
pub fn decision_has_status(file: &SourceFile) -> Vec<Finding> {
    let Some(name) = file.path.strip_prefix("docs/adr/") else {
        return Vec::new();
    };
    if !name.starts_with(|character: char| character.is_ascii_digit()) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let number: String = name.chars().take_while(char::is_ascii_digit).collect();
    if number.len() != 4 || !file.text.starts_with(&format!("# {number}. ")) {
        findings.push(Finding::new(
            &file.path,
            "begins with `# NNNN. Title`, where NNNN is the number in its name",
        ));
    }
    let status = file
        .text
        .lines()
        .find_map(|line| line.trim_start_matches(['-', '*', ' ']).strip_prefix("Status:"));
    let word = status.and_then(|rest| rest.trim_matches(['*', ' ']).split_whitespace().next());
    if !word.is_some_and(|word| STATUSES.contains(&word)) {
        findings.push(Finding::new(
            &file.path,
            format!("needs a line `Status:` with one of {STATUSES:?}"),
        ));
    }
    findings
}

/// Every decision record is linked from the index, and only once per number.
pub fn decisions_are_indexed(index: &SourceFile, files: &[SourceFile]) -> Vec<Finding> {
    let names = files
        .iter()
        .filter_map(|file| file.path.strip_prefix("docs/adr/"));
    let mut numbers = BTreeSet::new();
    let mut findings = Vec::new();
    for name in names.filter(|name| name.starts_with(|character: char| character.is_ascii_digit())) {
        if !index.text.contains(&format!("]({name})")) {
            findings.push(Finding::new(&index.path, format!("does not list {name}")));
        }
        if !numbers.insert(name.chars().take(4).collect::<String>()) {
            findings.push(Finding::new(
                format!("docs/adr/{name}"),
                "has a number that another decision has",
            ));
        }
    }
    findings
}

/// Every relative link leads to a file of the tree, and its `#fragment` to a heading there.
pub fn links_resolve(file: &SourceFile, files: &[SourceFile], paths: &BTreeSet<String>) -> Vec<Finding> {
    if file.extension() != "md" {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (index, target) in links(&file.text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (path, fragment) = target.split_once('#').unwrap_or((&target, ""));
        let resolved = if path.is_empty() {
            Some(file.path.clone())
        } else {
            resolve(&file.path, path)
        };
        let Some(resolved) = resolved.filter(|path| exists(path, paths)) else {
            findings.push(Finding::at_line(
                &file.path,
                index,
                format!("`{target}` leads nowhere"),
            ));
            continue;
        };
        let page = files
            .iter()
            .find(|other| other.path == resolved && other.extension() == "md");
        if let Some(page) = page.filter(|_| !fragment.is_empty())
            && !headings(&page.text).contains(fragment)
        {
            findings.push(Finding::at_line(
                &file.path,
                index,
                format!("`{target}`: no such heading"),
            ));
        }
    }
    findings
}

/// Every row `| INV-A… | … | `file` `test` |` of the invariants names tests that exist, and numbers are unique.
pub fn invariants_are_held(page: &SourceFile, files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut numbers = BTreeSet::new();
    for (index, line) in page
        .text
        .lines()
        .enumerate()
        .filter(|(_, line)| line.starts_with("| INV-A"))
    {
        let cells: Vec<&str> = line.split(" | ").collect();
        let number = cells
            .first()
            .copied()
            .unwrap_or_default()
            .trim_start_matches("| ")
            .trim();
        if !numbers.insert(number.to_owned()) {
            findings.push(Finding::at_line(
                &page.path,
                index,
                format!("{number} is used twice"),
            ));
        }
        let held_by = cells.last().copied().unwrap_or_default();
        let tests: Vec<&str> = held_by.split('`').skip(1).step_by(2).collect();
        if tests.is_empty() {
            findings.push(Finding::at_line(
                &page.path,
                index,
                format!("{number} names no test that holds it"),
            ));
        }
        for test in tests {
            let Some((path, name)) = test.split_once("::") else {
                findings.push(Finding::at_line(
                    &page.path,
                    index,
                    format!("`{test}` is not `path::test_name`"),
                ));
                continue;
            };
            let call = format!("fn {name}(");
            if !files
                .iter()
                .any(|file| file.path == path && file.text.contains(&call))
            {
                findings.push(Finding::at_line(
                    &page.path,
                    index,
                    format!("{number}: no `{name}` in {path}"),
                ));
            }
        }
    }
    if numbers.is_empty() {
        findings.push(Finding::new(&page.path, "has no invariants table"));
    }
    findings
}

/// Finds citations of invariants that the page does not define.
pub fn cited_invariants_exist(page: &SourceFile, file: &SourceFile) -> Vec<Finding> {
    if file.extension() != "rs" || file.path.starts_with("crates/tidy/src/documents.rs") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for (start, _) in line.match_indices("INV-A") {
            let rest = line.get(start..).unwrap_or_default();
            let is_part = |character: &char| character.is_ascii_alphanumeric() || *character == '-';
            let number: String = rest.chars().take_while(is_part).collect();
            if !page.text.contains(&format!("| {number} |")) {
                findings.push(Finding::at_line(
                    &file.path,
                    index,
                    format!("cites {number}, which does not exist"),
                ));
            }
        }
    }
    findings
}

/// Every path of the tree that a page names as inline code exists.
pub fn paths_exist(file: &SourceFile, paths: &BTreeSet<String>) -> Vec<Finding> {
    if file.extension() != "md" || file.name() == "CHANGELOG.md" {
        return Vec::new();
    }
    let folders: BTreeSet<&str> = paths
        .iter()
        .filter_map(|path| Some(path.split_once('/')?.0))
        .collect();
    let mut findings = Vec::new();
    for (index, line) in prose(&file.text) {
        for code in line.split('`').skip(1).step_by(2) {
            let path = code.split("::").next().unwrap_or(code).trim_end_matches('/');
            let is_plain = path
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_'));
            let is_ours = path
                .split_once('/')
                .is_some_and(|(folder, _)| folders.contains(folder));
            if is_plain && is_ours && !exists(path, paths) {
                findings.push(Finding::at_line(
                    &file.path,
                    index,
                    format!("`{path}` does not exist"),
                ));
            }
        }
    }
    findings
}

/// Every metric, role or other name `portico_…` that a page mentions stands in the code.
pub fn portico_names_exist(file: &SourceFile, files: &[SourceFile]) -> Vec<Finding> {
    if file.extension() != "md" {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (index, line) in prose(&file.text) {
        for name in line
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|text| text.starts_with("portico_"))
        {
            let name: String = name
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            let is_code = |other: &&SourceFile| matches!(other.extension(), "rs" | "sql");
            if name != "portico_"
                && !files
                    .iter()
                    .filter(is_code)
                    .any(|other| has_name(&other.text, &name))
            {
                findings.push(Finding::at_line(
                    &file.path,
                    index,
                    format!("`{name}` is not in the code"),
                ));
            }
        }
    }
    findings
}

/// Whether `name` stands in `text` with no further letter, digit or underscore behind it.
fn has_name(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(start, _)| {
        let after = text
            .get(start.saturating_add(name.len())..)
            .and_then(|rest| rest.chars().next());
        !after.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// Every `make target` that a page, a workflow, a script, a hook or the Makefile itself names exists in the Makefile.
pub fn make_targets_exist(file: &SourceFile, makefile: &str) -> Vec<Finding> {
    let is_machinery = ["scripts/", ".github/", ".pre-commit-config.yaml", "Makefile"]
        .iter()
        .any(|start| file.path.starts_with(start));
    if !is_machinery && !matches!(file.extension(), "md" | "yml" | "yaml") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        // As inline code, as a line of a shell block, or as a step of a workflow.
        let inline = line.split('`').skip(1).step_by(2);
        let whole = line
            .trim_start()
            .trim_start_matches("- ")
            .trim_start_matches("run: ");
        let beginnings = inline
            .chain([whole])
            .filter_map(|text| text.strip_prefix("make "));
        // Machinery has no inline code: there, also where a command can begin, and in messages.
        let within = line
            .match_indices("make ")
            .filter(|(start, _)| is_machinery && begins_command(line.get(..*start).unwrap_or_default()))
            .filter_map(|(start, word)| line.get(start.saturating_add(word.len())..));
        let commands: BTreeSet<&str> = beginnings.chain(within).collect();
        for command in commands {
            let target: String = command
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '-')
                .collect();
            let is_defined = makefile.lines().any(|line| {
                line.split_once(':')
                    .is_some_and(|(names, _)| names.split_whitespace().any(|name| name == target))
            });
            if target.starts_with(|c: char| c.is_ascii_lowercase()) && !is_defined {
                findings.push(Finding::at_line(
                    &file.path,
                    index,
                    format!("`make {target}` does not exist"),
                ));
            }
        }
    }
    findings
}

/// Whether a command can follow `before` in a line of a script, a workflow or a message: `(make up)`, `run: make up`.
fn begins_command(before: &str) -> bool {
    let is_sign = |c: char| "(`'\":;|&!@#-".contains(c);
    let is_word = |word: &str| {
        matches!(
            word,
            "run" | "exec" | "then" | "else" | "do" | "sudo" | "use" | "try"
        )
    };
    let trimmed = before.trim_end();
    trimmed.ends_with(is_sign) && (trimmed.len() < before.len() || !trimmed.ends_with('-'))
        || trimmed.is_empty()
        || (trimmed.len() < before.len() && trimmed.split_whitespace().next_back().is_some_and(is_word))
}

/// Command lines `portico …` that a page shows, as words after `portico`: inline code and lines of shell blocks.
/// Alternatives and placeholders end a command, so that what is left can be asked for its help.
pub fn portico_commands(file: &SourceFile) -> Vec<(usize, Vec<String>)> {
    if file.extension() != "md" {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let inline = line.split('`').skip(1).step_by(2);
        for text in inline.chain([line
            .trim_start()
            .trim_start_matches("$ ")
            .trim_start_matches("sudo ")])
        {
            let Some(command) = text.strip_prefix("portico ") else {
                continue;
            };
            let is_word = |word: &&str| {
                let plain = word
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '/'));
                plain && *word != "-"
            };
            let words: Vec<String> = command
                .split_whitespace()
                .take_while(is_word)
                .map(str::to_owned)
                .collect();
            if !words.is_empty() {
                found.push((index, words));
            }
        }
    }
    found
}

/// Targets of the inline links of a page with their line, code left out.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in prose(text) {
        // Odd pieces between backticks are code.
        let line: String = line.split('`').step_by(2).collect();
        for rest in line.split("](").skip(1) {
            if let Some((target, _)) = rest.split_once(')') {
                found.push((index, target.split(" \"").next().unwrap_or(target).to_owned()));
            }
        }
    }
    found
}

/// The anchors that a page's headings get.
fn headings(text: &str) -> BTreeSet<String> {
    prose(text)
        .filter_map(|(_, line)| line.strip_prefix('#'))
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .map(|title| {
            let kept = title
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// Lines outside fenced code.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        if is_fence {
            is_code = !is_code;
        }
        !is_code && !is_fence
    })
}

/// `target` as seen from the folder of `page`, or nothing when it leaves the tree.
fn resolve(page: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in target.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop()?;
        } else {
            parts.push(part);
        }
    }
    Some(parts.join("/"))
}

/// Whether a file or folder of that name is in the tree.
fn exists(path: &str, paths: &BTreeSet<String>) -> bool {
    let folder = format!("{path}/");
    path.is_empty() || paths.contains(path) || paths.iter().any(|other| other.starts_with(&folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile::sample(path, text)
    }

    #[test]
    fn a_decision_without_a_status_is_found() {
        let good = "# 0001. One binary\n\n- Status: Accepted\n";
        assert!(decision_has_status(&file("docs/adr/0001-one-binary.md", good)).is_empty());
        let superseded = "# 0001. One binary\n\n**Status:** Superseded by 0002\n";
        assert!(decision_has_status(&file("docs/adr/0001-one-binary.md", superseded)).is_empty());
        let silent = "# 0001. One binary\n\nText.\n";
        assert_eq!(
            decision_has_status(&file("docs/adr/0001-one-binary.md", silent)).len(),
            1
        );
        assert_eq!(
            decision_has_status(&file("docs/adr/0001-a.md", "# 0001. A\n\nStatus: maybe\n")).len(),
            1
        );
        assert_eq!(decision_has_status(&file("docs/adr/0002-a.md", good)).len(), 1);
    }

    #[test]
    fn a_decision_that_is_not_indexed_or_shares_a_number_is_found() {
        let index = file("docs/adr/README.md", "- [One](0001-one.md)\n");
        let files = [file("docs/adr/0001-one.md", ""), file("docs/adr/0001-two.md", "")];
        assert_eq!(decisions_are_indexed(&index, &files).len(), 2);
        assert!(decisions_are_indexed(&index, &files[..1]).is_empty());
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let other = file("docs/other.md", "# A Title, twice\n");
        let check = |text: &str| {
            let page = file("docs/page.md", text);
            let files = [page.clone(), other.clone()];
            let paths = files.iter().map(|file| file.path.clone()).collect();
            links_resolve(&page, &files, &paths).len()
        };
        assert_eq!(check("[gone](gone.md)"), 1);
        assert_eq!(check("[out](../../etc/passwd)"), 1);
        assert_eq!(check("[no heading](other.md#nothing)"), 1);
        assert_eq!(
            check("[ok](other.md#a-title-twice) [up](../docs/other.md) [web](https://example.com/x)"),
            0
        );
        assert_eq!(check("`[code](gone.md)`\n```\n[code](gone.md)\n```\n"), 0);
    }

    #[test]
    fn a_path_that_does_not_exist_is_found() {
        let paths = ["gateway/src/lib.rs".to_owned(), "docs/a.md".to_owned()].into();
        let check = |text: &str| paths_exist(&file("docs/a.md", text), &paths).len();
        assert_eq!(
            check(
                "`gateway/src/lib.rs`, `gateway/src/`, `gateway/src/lib.rs::a_test`, `gateway/src/<slice>.rs`"
            ),
            0
        );
        assert_eq!(check("`gateway/src/gone.rs`"), 1);
        assert_eq!(check("`application/json`, `etc/passwd`, gateway/src/gone.rs"), 0);
    }

    #[test]
    fn a_metric_that_does_not_exist_is_found() {
        let code = [file(
            "gateway/src/metrics.rs",
            "\"portico_requests_total\", \"portico_core\"",
        )];
        let check = |text: &str| portico_names_exist(&file("docs/a.md", text), &code).len();
        assert_eq!(
            check("`portico_requests_total`, `portico_requests_total{route}` and `portico_…`"),
            0
        );
        assert_eq!(check("`portico_requests`"), 1);
        assert_eq!(check("`portico_nothing_total`"), 1);
    }

    #[test]
    fn a_make_target_that_does_not_exist_is_found() {
        let makefile = ".PHONY: up\nup: build\n\tcargo run\ntest lint: build\n";
        let check = |text: &str| make_targets_exist(&file("README.md", text), makefile).len();
        assert_eq!(
            check("`make up`, `make lint` and\nmake test    # everything\n"),
            0
        );
        assert_eq!(check("`make upp`"), 1);
        assert_eq!(check("      - run: make nothing\n"), 1);
        assert_eq!(check("This will make nobody cry. `make -j2`"), 0);
    }

    #[test]
    fn a_make_target_that_a_script_or_a_hook_names_is_found() {
        let check = |path: &str, text: &str| make_targets_exist(&file(path, text), "up:\n").len();
        let script = "echo \"nothing is built (make build)\"\n";
        assert_eq!(check("scripts/policy-check-if-built", script), 1);
        assert_eq!(check("core-api/openapi.txt", script), 0);
        assert_eq!(check(".pre-commit-config.yaml", "        entry: make gone\n"), 1);
        assert_eq!(
            check(".github/workflows/ci.yml", "      - run: cd a && make gone\n"),
            1
        );
        assert_eq!(
            check(
                ".github/workflows/ci.yml",
                "# The same for everybody: make gone.\n"
            ),
            1
        );
        assert_eq!(check("Makefile", "\techo \"it is stale: run make gone\"\n"), 1);
        assert_eq!(
            check(
                "scripts/a",
                "# The tools that make installs; need cmake now.\nmake up && make up\n"
            ),
            0
        );
    }

    #[test]
    fn commands_are_read_up_to_their_first_placeholder() {
        let page = file(
            "README.md",
            "`portico policy check DIR` and\n```sh\nportico keys list --data-dir .portico\n```\n",
        );
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            portico_commands(&page),
            vec![(0, words("policy check")), (2, words("keys list --data-dir"))]
        );
        assert!(portico_commands(&file("README.md", "portico is a door; `porticos open`")).len() <= 1);
    }

    #[test]
    fn an_invariant_without_a_real_test_is_found() {
        let tests = [file("gateway/tests/a.rs", "fn it_holds() {}")];
        let check = |row: &str| invariants_are_held(&file("docs/architecture.md", row), &tests).len();
        assert_eq!(
            check("| INV-A1 | Fails closed. | `gateway/tests/a.rs::it_holds` |"),
            0
        );
        assert_eq!(
            check("| INV-A1 | Fails closed. | `gateway/tests/a.rs::it_is_gone` |"),
            1
        );
        assert_eq!(check("| INV-A1 | Fails closed. | review |"), 1);
        assert_eq!(check("no table"), 1);
    }

    #[test]
    fn a_citation_of_an_unknown_invariant_is_found() {
        let page = file("docs/architecture.md", "| INV-A1 | Fails closed. | x |");
        assert!(cited_invariants_exist(&page, &file("a.rs", "/// (INV-A1)")).is_empty());
        assert_eq!(
            cited_invariants_exist(&page, &file("a.rs", "/// (INV-A12)")).len(),
            1
        );
    }
}
