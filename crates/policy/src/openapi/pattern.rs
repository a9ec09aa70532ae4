//! `pattern`: an ECMA-262 expression as a `regex` that means the same and runs in linear time.
//!
//! What the two dialects read differently is rewritten, or refused.

use regex::{Regex, RegexBuilder};
use std::fmt::Write as _;

/// Longest expression, in bytes.
const LONGEST: usize = 512;
/// Most memory for one compiled expression, in bytes; a few thousand states.
const MOST_MEMORY: usize = 128 * 1024;
/// Most memory for its cache while it runs, in bytes.
const MOST_CACHE: usize = 256 * 1024;
/// Deepest nesting of groups.
const MOST_NESTING: u32 = 24;

/// A compiled expression. It may match anywhere in the text, unless it is anchored.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    regex: Regex,
    /// As the document writes it.
    pub(super) written: String,
}

impl Pattern {
    /// Compiles an expression.
    ///
    /// # Errors
    /// Why it cannot be enforced.
    pub(super) fn compile(written: &str) -> Result<Self, &'static str> {
        if written.len() > LONGEST {
            return Err("it is longer than 512 bytes");
        }
        let regex = RegexBuilder::new(&translated(written)?)
            .size_limit(MOST_MEMORY)
            .dfa_size_limit(MOST_CACHE)
            .nest_limit(MOST_NESTING)
            .build()
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => "it has too many states: repeat less",
                _ => "it is no expression that runs in linear time: no look-around, no back-references",
            })?;
        let written = written.to_owned();
        Ok(Self { regex, written })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

const DIGIT: &str = "0-9";
const WORD: &str = "A-Za-z0-9_";
/// ECMA-262 `WhiteSpace` and `LineTerminator`.
const SPACE: &str =
    r"\t\n\x0b\x0c\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}";
/// What `.` is not.
const LINE_ENDS: &str = r"\n\r\x{2028}\x{2029}";

/// The expression in the dialect of `regex`.
fn translated(written: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(written.len().saturating_mul(2));
    let mut letters = written.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => escape(&mut letters, &mut out, false)?,
            '[' => class(&mut letters, &mut out)?,
            // Writing to a String cannot fail.
            '.' => drop(write!(out, "[^{LINE_ENDS}]")),
            '(' if letters.peek() == Some(&'?') => {
                letters.next();
                if letters.next() != Some(':') {
                    return Err("of groups with `(?`, only `(?:…)` means the same everywhere");
                }
                out.push_str("(?:");
            }
            '{' if letters.peek() == Some(&',') => {
                return Err("`{,n}` stands for itself in some dialects: write `{0,n}`");
            }
            other => out.push(other),
        }
    }
    Ok(out)
}

type Letters<'w> = std::iter::Peekable<std::str::Chars<'w>>;

/// What follows a backslash.
fn escape(letters: &mut Letters<'_>, out: &mut String, is_in_class: bool) -> Result<(), &'static str> {
    let letter = letters.next().ok_or("it ends in a backslash")?;
    let set = match letter {
        'd' | 'D' => DIGIT,
        'w' | 'W' => WORD,
        's' | 'S' => SPACE,
        'b' | 'B' if !is_in_class => {
            // In ECMA-262, words are ASCII.
            let _ = write!(out, "(?-u:\\{letter})");
            return Ok(());
        }
        'n' | 'r' | 't' | 'f' | 'v' => {
            out.extend(['\\', letter]);
            return Ok(());
        }
        'x' => return hexadecimal(letters, 2, out),
        'u' => return hexadecimal(letters, 4, out),
        'p' | 'P' => return property(letter, letters, out),
        punctuation if punctuation.is_ascii_punctuation() && !"<>".contains(punctuation) => {
            out.extend(['\\', punctuation]);
            return Ok(());
        }
        _ => return Err("it has an escape that other dialects read differently"),
    };
    match (letter.is_ascii_uppercase(), is_in_class) {
        (false, true) => out.push_str(set),
        (false, false) => drop(write!(out, "[{set}]")),
        (true, false) => drop(write!(out, "[^{set}]")),
        (true, true) => return Err("`\\D`, `\\W` and `\\S` in brackets: write out what is meant"),
    }
    Ok(())
}

/// `\xHH`, `\uHHHH`.
fn hexadecimal(letters: &mut Letters<'_>, digits: usize, out: &mut String) -> Result<(), &'static str> {
    let written: String = letters.by_ref().take(digits).collect();
    let number = u32::from_str_radix(&written, 16)
        .ok()
        .filter(|_| written.len() == digits);
    let letter = number
        .and_then(char::from_u32)
        .ok_or("it has an escape of a character that is none")?;
    let _ = write!(out, "\\x{{{:x}}}", u32::from(letter));
    Ok(())
}

/// `\p{L}`.
fn property(letter: char, letters: &mut Letters<'_>, out: &mut String) -> Result<(), &'static str> {
    if letters.next() != Some('{') {
        return Err("a property is written `\\p{L}`");
    }
    let name: String = letters.by_ref().take_while(|letter| *letter != '}').collect();
    if name.is_empty()
        || !name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return Err("a property is written `\\p{L}`");
    }
    let _ = write!(out, "\\{letter}{{{name}}}");
    Ok(())
}

/// Brackets. `regex` knows sets of sets, `&&`, `--` and `~~` in them; ECMA-262 does not.
fn class(letters: &mut Letters<'_>, out: &mut String) -> Result<(), &'static str> {
    out.push('[');
    if letters.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    if letters.peek() == Some(&']') {
        return Err("empty brackets: nothing, or everything, fits");
    }
    let mut before = None;
    while let Some(letter) = letters.next() {
        match letter {
            ']' => {
                out.push(']');
                return Ok(());
            }
            '\\' => escape(letters, out, true)?,
            '[' | '&' | '~' => out.extend(['\\', letter]),
            '-' if before == Some('-') => return Err("`--` in brackets is read in two ways: write `\\-`"),
            other => out.push(other),
        }
        before = Some(letter);
    }
    Err("a bracket is not closed")
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::compile(pattern).unwrap().matches(text)
    }

    #[test]
    fn what_two_dialects_read_differently_means_what_the_document_means() {
        assert!(
            matches(r"^\d$", "7") && !matches(r"^\d$", "\u{667}"),
            "digits are ASCII"
        );
        assert!(!matches(r"^\w$", "é") && matches(r"^\W$", "é"));
        assert!(matches(r"^\s$", "\u{feff}") && !matches(r"^\s$", "\u{85}"));
        assert!(!matches("^.$", "\u{2028}") && matches("^.$", "é"));
        assert!(matches("^[a[b]$", "[") && matches("^[a&&b]$", "&") && matches("^[~~]$", "~"));
        assert!(matches(r"^[\w.-]+$", "a.b-c") && !matches(r"^[\w.-]+$", "a b"));
        assert!(!matches("^a$", "a\n"), "`$` is the end of the text");
        assert!(matches("b", "abc"), "anywhere, unless anchored");
        assert!(matches(r"^\u00e9\x41\p{Lu}$", "éAÉ"));
    }

    #[test]
    fn what_cannot_be_enforced_is_refused() {
        let large = "(?:a{1000}){1000}";
        for pattern in [
            "(?=a)b",
            "(?<!a)b",
            r"(a)\1",
            "(?i)a",
            "(?<n>a)",
            "[]",
            "[^]",
            "[a",
            "a{,3}",
            r"\A",
            r"\z",
            r"\cA",
            r"[\D]",
            "[+--]",
            r"\p",
            r"\ud800",
            "(",
            r"\",
            large,
            &"a".repeat(513),
        ] {
            assert!(Pattern::compile(pattern).is_err(), "{pattern}");
        }
    }
}
