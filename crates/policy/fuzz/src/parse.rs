//! A policy file of any bytes: it compiles, or is refused with findings that anyone can use.

use super::bundles::OTHER;
use policy::{Diagnostic, SourceFile, Unformatted, compile, format, render};

/// More findings than this are counted, not told.
const MOST: usize = 201;

/// Findings of a text that says nothing yet: nothing around it would change them.
const UNREADABLE: [&str; 5] = ["P1001", "P1002", "P1007", "P1011", "P1012"];

/// Formats the bytes and compiles them as all there is; then, when they can be read, as a file beside another and as its overlay.
///
/// # Panics
/// When a promise of the compiler is broken.
pub fn parse(bytes: &[u8]) {
    let alone = [SourceFile::from_bytes("any.yaml", bytes)];
    formatted(&alone[0]);
    let findings = check(&alone, "production");
    if findings.iter().any(|finding| UNREADABLE.contains(&finding.code)) {
        return;
    }
    let with = |name: &str| {
        [
            SourceFile::new("other.yaml", OTHER),
            SourceFile::from_bytes(name, bytes),
        ]
    };
    check(&with("any.yaml"), "production");
    check(&with("environments/development.yaml"), "development");
    check(&with("environments/development.yaml"), "production");
}

/// The canonical form of a file says the same, and is its own canonical form.
fn formatted(file: &SourceFile) {
    match format(file) {
        Ok(text) => assert_eq!(format(&SourceFile::new("any.yaml", text.clone())), Ok(text)),
        Err(Unformatted::Findings(findings)) => assert!(!findings.is_empty()),
        Err(Unformatted::Fault(fault)) => panic!("{fault}"),
    }
}

fn check(files: &[SourceFile], environment: &str) -> Vec<Diagnostic> {
    let mut reversed = files.to_vec();
    reversed.reverse();
    match (compile(files, environment), compile(&reversed, environment)) {
        (Ok(plan), Ok(other)) => {
            assert_eq!(plan.hash(), other.hash(), "the order of files changes the plan");
            Vec::new()
        }
        (Err(findings), Err(_)) => {
            told(&findings, files);
            findings
        }
        (one, other) => panic!("{} or {}, by the order of files", one.is_ok(), other.is_ok()),
    }
}

fn told(findings: &[Diagnostic], files: &[SourceFile]) {
    assert!(
        !findings.is_empty() && findings.len() <= MOST,
        "{}",
        findings.len()
    );
    for finding in findings {
        let words = [
            &finding.message,
            &finding.why,
            finding.fix.as_ref().expect("a fix"),
        ];
        assert!(
            words
                .iter()
                .all(|word| !word.is_empty() && word.chars().count() < 1_000),
            "{finding:?}"
        );
        assert!(
            !words
                .iter()
                .any(|word| word.contains(|letter: char| letter.is_control())),
            "{finding:?}"
        );
        let file = files.iter().find(|file| file.name == finding.file);
        // A place is a line that is there, or the end of the file.
        let lines = file.map_or(0, |file| file.text.lines().count() + 1);
        assert!(
            usize::try_from(finding.line).is_ok_and(|line| line <= lines),
            "{finding:?} of {lines}"
        );
        assert_eq!(finding.line == 0, finding.column == 0, "{finding:?}");
    }
    let human = render::human(findings, files);
    assert!(
        !human.contains(|letter: char| letter.is_control() && letter != '\n'),
        "{human}"
    );
    assert!(render::json(findings).starts_with('['));
}
