//! Templates that nothing has filled in: `{{ .Values.host }}`, `{% if production %}`.
//!
//! They are looked for where the parser says that no quotes, comment or block of text is around them.

use crate::diagnostic::{Findings, Span, code};

pub(super) const WHY: &str = "a gateway reads policies as they are; nothing is filled in on the way";
pub(super) const FIX: &str = "render the file before it gets here";

/// The byte at which a template begins, and the mark that begins it.
pub(super) fn find(text: &str) -> Option<(usize, &'static str)> {
    ["{{", "{%"]
        .into_iter()
        .filter_map(|mark| text.find(mark).map(|at| (at, mark)))
        .min()
}

pub(super) fn message(mark: &str) -> String {
    format!("`{mark}` begins a template, and nothing fills it in")
}

/// Reports a template in text without quotes that begins at `start`; `false` when there is none.
pub(super) fn report(text: &str, start: Span, findings: &mut Findings) -> bool {
    let Some((at, mark)) = find(text) else {
        return false;
    };
    let before = text.get(..at).unwrap_or_default().chars().count();
    let span = Span {
        column: start
            .column
            .saturating_add(u32::try_from(before).unwrap_or(u32::MAX)),
        length: 2,
        ..start
    };
    findings
        .error(code::NOT_IN_LANGUAGE, span, message(mark))
        .why(WHY)
        .fix(FIX);
    true
}
