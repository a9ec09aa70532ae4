//! Nothing committed names a directory of the machine it was written on.

use crate::Finding;
use crate::tree::SourceFile;

/// Where people's files live on the systems we build on. Written in halves, so that this file does not find itself.
const PERSONAL: [&str; 3] = [
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
];

/// Finds personal directories, and any of `own` (the checkout and the home directory of the machine that runs this).
///
/// Directories of one component, such as `/src`, are not searched for: they are ordinary words in a Dockerfile.
pub fn no_machine_paths(file: &SourceFile, own: &[String]) -> Vec<Finding> {
    let own = own
        .iter()
        .filter(|path| path.trim_matches('/').contains('/'))
        .map(String::as_str);
    let needles: Vec<&str> = PERSONAL.into_iter().chain(own).collect();
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        if let Some(path) = needles.iter().find(|path| stands_alone(line, path)) {
            findings.push(Finding::at_line(
                &file.path,
                index,
                format!("names a path of one machine: {path}"),
            ));
        }
    }
    findings
}

/// Whether `path` begins a path in `line`, rather than continuing one (`deploy/home/…`).
fn stands_alone(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(start, _)| {
        let before = line.get(..start).and_then(|text| text.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_personal_directory_is_found() {
        for path in PERSONAL {
            let file = SourceFile::sample("docs/a.md", &format!("first\nsee {path}someone/notes\n"));
            let findings = no_machine_paths(&file, &[]);
            assert_eq!(findings.len(), 1, "{path}");
            assert_eq!(findings[0].place, "docs/a.md:2");
        }
    }

    #[test]
    fn the_checkout_of_this_machine_is_found() {
        let own = ["/build/portico".to_owned(), "/src".to_owned()];
        let file = |text| SourceFile::sample("Makefile", text);
        assert_eq!(
            no_machine_paths(&file("cd /build/portico && make"), &own).len(),
            1
        );
        assert!(no_machine_paths(&file("WORKDIR /src"), &own).is_empty());
    }

    #[test]
    fn a_path_inside_the_tree_is_silent() {
        let text = format!("see deploy{}x and ${{HOME}}{}y", PERSONAL[1], PERSONAL[1]);
        assert!(no_machine_paths(&SourceFile::sample("a.md", &text), &[]).is_empty());
    }
}
