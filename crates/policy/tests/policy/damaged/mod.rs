//! Damaged bundles: each is refused where the slip is, by the finding that leads to the fix, and by nothing misleading.
//!
//! In what replaces a piece of a shipped file, and in whole files, `§` marks the place of the first finding. Without a mark it
//! is about the whole file or bundle.

mod bytes;
mod indentation;
mod keys;
mod parts;
mod syntax;
mod values;

use crate::world::{shipped, shipped_with};
use policy::{Diagnostic, SourceFile, compile, render};
use std::fmt::Write;

/// A slip in a shipped file: what it is, the code of the finding, the file, what is replaced, by what.
type Slip = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);
/// A file beside the shipped ones: what it is, the code of the finding, its name, its text.
type Added = (&'static str, &'static str, &'static str, &'static str);

/// A damaged bundle and its first finding.
struct Damaged {
    what: String,
    files: Vec<SourceFile>,
    code: &'static str,
    file: String,
    line: u32,
    column: u32,
}

fn damaged() -> Vec<Damaged> {
    let slips = [
        keys::SLIPS,
        values::SLIPS,
        indentation::SLIPS,
        syntax::SLIPS,
        parts::SLIPS,
    ];
    let slipped = slips.into_iter().flatten().map(|(what, code, file, old, new)| {
        let files = shipped_with(file, old, new);
        (*what, *code, *file, files)
    });
    let added = [keys::ADDED, syntax::ADDED, parts::ADDED, bytes::ADDED]
        .into_iter()
        .flatten()
        .map(|(what, code, name, text)| {
            let mut files = shipped();
            files.push(SourceFile::new(*name, *text));
            (*what, *code, *name, files)
        });
    let mut all: Vec<Damaged> = slipped
        .chain(added)
        .map(|(what, code, file, mut files)| {
            let damaged = files
                .iter_mut()
                .find(|candidate| candidate.name == file)
                .expect("the damaged file");
            let place = damaged.text.split_once('§').map(|(before, _)| {
                let line = before.matches('\n').count() + 1;
                let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                (
                    u32::try_from(line).expect("short"),
                    u32::try_from(column).expect("short"),
                )
            });
            damaged.text = damaged.text.replacen('§', "", 1);
            let (line, column) = place.unwrap_or_default();
            Damaged {
                what: what.to_owned(),
                files,
                code,
                file: file.to_owned(),
                line,
                column,
            }
        })
        .collect();
    all.extend(bytes::damaged());
    all
}

fn findings(damaged: &Damaged) -> Vec<Diagnostic> {
    compile(&damaged.files, "production").err().unwrap_or_default()
}

#[test]
fn every_slip_is_found_where_it_is_and_leads_to_its_fix() {
    let all = damaged();
    assert!(all.len() >= 150, "{}", all.len());
    let mut faults = String::new();
    for damaged in &all {
        let found = findings(damaged);
        let Some(first) = found.first() else {
            let _ = writeln!(faults, "## {}: accepted", damaged.what);
            continue;
        };
        let expected = (damaged.code, damaged.file.as_str(), damaged.line, damaged.column);
        let is_told = (first.code, first.file.as_str(), first.line, first.column) == expected;
        // One slip is one finding, or the same finding wherever it shows.
        let is_one = found
            .iter()
            .all(|finding| [first.code, "P1015"].contains(&finding.code));
        let is_helpful = |finding: &Diagnostic| {
            !finding.message.is_empty()
                && !finding.why.is_empty()
                && finding.fix.as_ref().is_some_and(|fix| !fix.is_empty())
        };
        if !is_told || !is_one || !found.iter().all(is_helpful) {
            let _ = writeln!(
                faults,
                "## {}: expected {expected:?}\n{}",
                damaged.what,
                render::human(&found, &damaged.files)
            );
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

/// The messages in one list, to be read.
#[test]
fn the_messages_read_well() {
    let mut told = String::new();
    for damaged in damaged() {
        let first = findings(&damaged).into_iter().next().expect("a finding");
        let _ = writeln!(
            told,
            "{}\n    {} {}\n    {}\n",
            damaged.what,
            first.code,
            first.message,
            first.fix.unwrap_or_default()
        );
    }
    insta::assert_snapshot!(told);
}
