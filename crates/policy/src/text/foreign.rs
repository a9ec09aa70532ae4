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

/// Reports a file that another tool has yet to work on, by its beginning.
pub(super) fn look(file: usize, text: &str, findings: &mut Findings) {
    let Some((begin, what, fix)) = BEGINNINGS.iter().find(|(begin, ..)| text.starts_with(begin)) else {
        return;
    };
    let at = Span {
        file,
        line: 1,
        column: 1,
        length: u32::try_from(begin.trim_end().len()).unwrap_or(u32::MAX),
    };
    findings
        .error(code::NOT_IN_LANGUAGE, at, *what)
        .why("a gateway reads policies as they are; nothing is filled in, merged or decrypted on the way")
        .fix(*fix);
}
