//! Files of other tools that stand where a policy should: YAML has no word for what they are.

use crate::diagnostic::{Findings, Span, code};

/// How a file of another tool begins, what it is, and what leads to the policy.
const BEGINNINGS: [(&str, &str, &str); 5] = [
    (
        "version https://git-lfs.github.com/spec/",
        "this is a pointer of Git LFS, not the file itself",
        "fetch the file: `git lfs pull`",
    ),
    (
        "$ANSIBLE_VAULT;",
        "this file is encrypted by Ansible Vault",
        "keep policies in clear, for reviews and for the gateway; they hold secrets by reference only",
    ),
    (
        "diff --git ",
        "this is a patch, not a policy",
        "apply it: `git apply`",
    ),
    ("--- a/", "this is a patch, not a policy", "apply it: `git apply`"),
    (
        "-----BEGIN PGP MESSAGE-----",
        "this file is encrypted by PGP",
        "keep policies in clear, for reviews and for the gateway; they hold secrets by reference only",
    ),
];

/// Reports the first thing in a file that shows that another tool has yet to do its work.
pub(super) fn look(file: usize, text: &str, findings: &mut Findings) {
    const WHY: &str =
        "a gateway reads policies as they are; nothing is filled in, merged or decrypted on the way";
    let mut found = |line: u32, column: u32, length: usize, what: &str, fix: &str| {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let at = Span {
            file,
            line,
            column,
            length,
        };
        findings.error(code::NOT_IN_LANGUAGE, at, what).why(WHY).fix(fix);
    };
    for (begin, what, fix) in BEGINNINGS {
        if text.starts_with(begin) {
            return found(1, 1, begin.trim_end().len(), what, fix);
        }
    }
    let mut block: Option<usize> = None;
    for (number, line) in (1_u32..).zip(text.lines()) {
        let indentation = line.len().saturating_sub(line.trim_start().len());
        if block.is_some_and(|outer| indentation > outer || line.trim().is_empty()) {
            continue;
        }
        let code = code_of(line);
        block = is_block_header(&code).then_some(indentation);
        if let Some(at) = code.find("{{").or_else(|| code.find("{%")) {
            let mark = code.get(at..at.saturating_add(2)).unwrap_or_default();
            let before = code.get(..at).unwrap_or_default().chars().count();
            let column = u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1);
            let what = format!("`{mark}` begins a template, and nothing fills it in");
            return found(number, column, 2, &what, "render the file before it gets here");
        }
    }
}

/// A line with its quoted text and its comment blanked, so that places stay what they are.
fn code_of(line: &str) -> String {
    let mut open: Option<char> = None;
    let mut before = ' ';
    let mut is_comment = false;
    line.chars()
        .map(|letter| {
            is_comment |= letter == '#' && before.is_whitespace() && open.is_none();
            let is_quote = ['"', '\''].contains(&letter);
            // `''` is a quote within quotes: it opens again what it has just closed.
            let is_behind =
                before.is_whitespace() || "[{,".contains(before) || (letter, before) == ('\'', '\'');
            let begins = is_quote && open.is_none() && is_behind;
            let is_inside = is_comment || open.is_some() || begins;
            if open == Some(letter) {
                open = None;
            } else if begins && !is_comment {
                open = Some(letter);
            }
            before = letter;
            if is_inside { ' ' } else { letter }
        })
        .collect()
}

/// Whether the lines below are text of their own: `key: >-`.
fn is_block_header(code: &str) -> bool {
    let last = code.trim_end().rsplit([' ', ':']).next().unwrap_or_default();
    last.starts_with(['>', '|']) && last.len() <= 3
}

#[cfg(test)]
mod tests {
    use super::look;
    use crate::diagnostic::Findings;

    fn is_foreign(text: &str) -> bool {
        let mut findings = Findings::default();
        look(0, text, &mut findings);
        findings.len() > 0
    }

    #[test]
    fn what_other_tools_have_yet_to_do_is_seen() {
        for text in [
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "$ANSIBLE_VAULT;1.1;AES256\n3061\n",
            "diff --git a/x b/x\n",
            "version: 1\nhosts: [{{ .Values.host }}]\n",
            "{% if prod %}\nhosts: [a]\n{% endif %}\n",
            "a: >-\n  text\nb: {{ x }}\n",
        ] {
            assert!(is_foreign(text), "{text}");
        }
    }

    #[test]
    fn a_policy_that_speaks_of_templates_is_none() {
        for text in [
            "version: 1 # {{ x }}\n",
            "because: \"{{ is how templates begin\"\n",
            "because: 'don''t write {% here'\n",
            "because: >-\n  {{ is how templates begin\n\n  {% too\nb: 1\n",
            "match: { method: GET, path: \"/a/{id}\" }\n",
            "a: { b: { c: 1 } }\n",
            "a: b'{c}\n",
        ] {
            assert!(!is_foreign(text), "{text}");
        }
    }
}
