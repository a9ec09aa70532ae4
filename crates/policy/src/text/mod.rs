//! Whether a file is text that reads as what it is: the right size, UTF-8, and no character that hides.

mod foreign;

use crate::{
    diagnostic::{Findings, Span, code},
    source::{Encoding, MAX_BUNDLE_BYTES, Refusal, SourceFile},
};

/// More characters of one file than this are not listed: it is no text, or one habit of one editor.
const MOST_CHARACTERS: usize = 10;

/// Reports what keeps a file from being parsed at all; `false` when there is such a thing.
pub(crate) fn is_readable(file: usize, source: &SourceFile, findings: &mut Findings) -> bool {
    let before = findings.len();
    if source
        .name
        .contains(|letter: char| hidden(letter).is_some() || "\u{fffd}\n\t:\\".contains(letter))
    {
        findings
            .error(
                code::NOT_A_POLICY,
                Span::whole(file),
                "the name of the file has a character that hides, or reads as something else",
            )
            .why("it would be told apart from another file by what nobody can see, or name a line in it")
            .fix("name it with a-z, 0-9, `_` and `-`");
    }
    match &source.refusal {
        Some(refusal) => refused(file, source, refusal, findings),
        None if source.text.len() > SourceFile::most_bytes(&source.name) => {
            refused(file, source, &Refusal::TooLarge, findings);
        }
        None => {
            characters(file, &source.text, findings);
            if !SourceFile::is_api_document(&source.name) {
                foreign::look(file, &source.text, findings);
            }
        }
    }
    findings.len() == before
}

/// Why a character may not stand in a policy, in words; `None` when it may.
pub(crate) const fn hidden(letter: char) -> Option<&'static str> {
    Some(match letter {
        '\t' | '\n' | ' '..='~' => return None,
        '\r' => "a carriage return without a line feed",
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' => "a control character",
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            "a character that turns the direction of writing"
        }
        '\u{a0}'
        | '\u{1680}'
        | '\u{2000}'..='\u{200a}'
        | '\u{202f}'
        | '\u{205f}'
        | '\u{2800}'
        | '\u{3000}' => "a character that looks like a space and is none",
        '\u{2028}' | '\u{2029}' => "a line break that is none for YAML",
        '\u{ad}'
        | '\u{34f}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200d}'
        | '\u{2060}'..='\u{2065}'
        | '\u{206a}'..='\u{206f}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffc}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}' => "a character that cannot be seen",
        letter if letter as u32 & 0xfffe == 0xfffe => "a code point that is no character",
        _ => return None,
    })
}

fn characters(file: usize, text: &str, findings: &mut Findings) {
    let mut found = 0_usize;
    for (line, text) in (1_u32..).zip(text.split('\n')) {
        let text = text.strip_suffix('\r').unwrap_or(text);
        for (column, letter) in (1_u32..).zip(text.chars()) {
            let Some(what) = hidden(letter) else { continue };
            let at = Span {
                file,
                line,
                column,
                length: 1,
            };
            let is_mark = letter == '\u{feff}' && (line, column) == (1, 1);
            let what = if is_mark { "a byte order mark" } else { what };
            findings
                .error(
                    code::HIDDEN_CHARACTER,
                    at,
                    format!("{what}: U+{:04X}", u32::from(letter)),
                )
                .why("the policy would read other than it is")
                .fix(fix(letter, is_mark));
            found = found.saturating_add(1);
            // One of these is in every line, or the file is no text.
            if matches!(letter, '\r' | '\0') || found == MOST_CHARACTERS {
                return;
            }
        }
    }
}

const fn fix(letter: char, is_mark: bool) -> &'static str {
    match letter {
        '\u{feff}' if is_mark => "save the file as UTF-8 without a byte order mark",
        '\r' => "save the file with line feeds (LF) at the end of lines",
        '\0' => "this is probably no text: put the right file in its place",
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{3000}' => "type a space",
        _ => "remove it",
    }
}

fn refused(file: usize, source: &SourceFile, refusal: &Refusal, findings: &mut Findings) {
    let (code, message, why, fix) = match refusal {
        Refusal::NotUtf8(encoding, line, column) => {
            let at = Span {
                file,
                line: *line,
                column: *column,
                length: 1,
            };
            return not_utf8(at, *encoding, &source.name, findings);
        }
        Refusal::TooLarge => (
            code::FILE_TOO_LARGE,
            format!(
                "the file is larger than {} KiB",
                SourceFile::most_bytes(&source.name) / 1024
            ),
            "a policy that large cannot be reviewed, and parsing it would cost every reload",
            "split it: each section may be spread over several files".to_owned(),
        ),
        Refusal::WrongName => (
            code::NOT_A_POLICY,
            "not a policy file, which ends in `.yaml`".to_owned(),
            "a policy under a wrong name would silently not be there",
            better_name(&source.name),
        ),
        Refusal::NotAFile(what) => (
            code::NOT_A_POLICY,
            format!("this is {what}, not a file"),
            "what it looks like would silently not be there",
            "put a regular file in its place, or move it out of the policy folder".to_owned(),
        ),
        Refusal::Unreadable(reason) => (
            code::NOT_A_POLICY,
            format!("cannot be read: {reason}"),
            "what it says would silently not be there",
            "let whoever checks and enforces the policy read it, or move it out of the policy folder"
                .to_owned(),
        ),
        Refusal::TooDeep => (
            code::BUNDLE_TOO_LARGE,
            "too many folders deep".to_owned(),
            "a policy that is hidden that deep is not reviewed, or this is a link into itself",
            "move its files up".to_owned(),
        ),
        Refusal::TooMany(most) => (
            code::BUNDLE_TOO_LARGE,
            format!("the folder holds more than {most} files and folders"),
            "it is probably not the policy folder, and the rest of it was not read",
            "give the folder that holds the policy files; one file can hold many routes".to_owned(),
        ),
        Refusal::TooManyBytes => return bundle_too_large(findings),
    };
    findings.error(code, Span::whole(file), message).why(why).fix(fix);
}

/// Reports that the files together are too large.
pub(crate) fn bundle_too_large(findings: &mut Findings) {
    findings
        .error(
            code::BUNDLE_TOO_LARGE,
            Span::bundle(),
            format!(
                "the files together are larger than {} KiB",
                MAX_BUNDLE_BYTES / 1024
            ),
        )
        .why("a policy that large cannot be reviewed, and compiling it would cost every reload")
        .fix("remove what nobody needs, or serve the rest from another gateway");
}

fn better_name(name: &str) -> String {
    let is_yaml = |ending: &str| matches!(ending.to_ascii_lowercase().as_str(), "yml" | "yaml");
    match name.rsplit_once('.').filter(|(_, ending)| is_yaml(ending)) {
        Some((stem, _)) => format!("rename it to `{stem}.yaml`"),
        None => {
            "move it out of the policy folder; only `*.yaml` is read, `*.md` and `*.schema.json` are left out"
                .to_owned()
        }
    }
}

fn not_utf8(at: Span, encoding: Encoding, name: &str, findings: &mut Findings) {
    let (what, from) = match encoding {
        Encoding::Utf16LittleEndian => (
            "this file is UTF-16 (low byte first), not UTF-8",
            Some("UTF-16LE"),
        ),
        Encoding::Utf16BigEndian => (
            "this file is UTF-16 (high byte first), not UTF-8",
            Some("UTF-16BE"),
        ),
        Encoding::Utf32LittleEndian => (
            "this file is UTF-32 (low byte first), not UTF-8",
            Some("UTF-32LE"),
        ),
        Encoding::Utf32BigEndian => (
            "this file is UTF-32 (high byte first), not UTF-8",
            Some("UTF-32BE"),
        ),
        Encoding::Latin1 => (
            "this byte is not UTF-8; the file is probably Latin-1 or Windows-1252",
            Some("WINDOWS-1252"),
        ),
        Encoding::Binary => ("this byte is not UTF-8, and the file is probably no text", None),
    };
    let fix = match from {
        Some(from) => {
            format!("save it as UTF-8 without a byte order mark: `iconv -f {from} -t UTF-8 {name}`")
        }
        None => "put the right file in its place".to_owned(),
    };
    findings
        .error(code::NOT_UTF8, at, what)
        .why("the same bytes would be different text to different readers")
        .fix(fix);
}
