//! The words of one command, quoted as in a POSIX shell, and with the `$'…'` that browsers write.
//!
//! Nothing is expanded: a variable or a substitution is an error, because its value is known only to the shell.

use std::iter::Peekable;
use std::str::Chars;

/// Takes a command apart.
///
/// # Errors
/// What a shell would not read as one simple command; the message says what to do, and quotes no word of it.
pub(super) fn split(command: &str) -> Result<Vec<String>, String> {
    let mut reader = Reader {
        chars: command.chars().peekable(),
    };
    let mut words = Vec::new();
    while let Some(word) = reader.word()? {
        words.push(word);
    }
    Ok(words)
}

struct Reader<'c> {
    chars: Peekable<Chars<'c>>,
}

impl Reader<'_> {
    /// The next word; `None` at the end.
    fn word(&mut self) -> Result<Option<String>, String> {
        // Bytes: `$'\xc3\xa9'` is one letter in two escapes.
        let mut word: Option<Vec<u8>> = None;
        while let Some(char) = self.chars.next() {
            if char.is_whitespace() {
                if word.is_some() {
                    break;
                }
                continue;
            }
            if char == '\\' && self.skip_line_end() {
                continue;
            }
            let bytes = word.get_or_insert_default();
            match char {
                '\\' => self.escaped(bytes),
                '\'' => self.single_quoted(bytes)?,
                '"' => self.double_quoted(bytes)?,
                '$' if self.chars.next_if_eq(&'\'').is_some() => self.ansi_quoted(bytes)?,
                '$' | '`' => self.expansion(char, bytes)?,
                '|' | '&' | ';' | '<' | '>' | '(' | ')' => {
                    return Err(format!(
                        "`{char}` outside quotes ends the command in a shell: quote it, or leave out what follows"
                    ));
                }
                _ => push(bytes, char),
            }
        }
        let text = word.map(String::from_utf8).transpose();
        text.map_err(|_| "a word is not UTF-8".to_owned())
    }

    /// Whether a line ends here, which a backslash continues.
    fn skip_line_end(&mut self) -> bool {
        let carriage_return = self.chars.next_if_eq(&'\r').is_some();
        self.chars.next_if_eq(&'\n').is_some() || carriage_return
    }

    fn escaped(&mut self, bytes: &mut Vec<u8>) {
        match self.chars.next() {
            Some(char) => push(bytes, char),
            None => bytes.push(b'\\'),
        }
    }

    fn single_quoted(&mut self, bytes: &mut Vec<u8>) -> Result<(), String> {
        loop {
            match self.chars.next().ok_or_else(|| unclosed('\''))? {
                '\'' => return Ok(()),
                char => push(bytes, char),
            }
        }
    }

    /// A backslash escapes only what is special here (POSIX 2.2.3).
    fn double_quoted(&mut self, bytes: &mut Vec<u8>) -> Result<(), String> {
        loop {
            match self.chars.next().ok_or_else(|| unclosed('"'))? {
                '"' => return Ok(()),
                '\\' if self.skip_line_end() => {}
                '\\' => match self.chars.next_if(|next| matches!(next, '$' | '`' | '"' | '\\')) {
                    Some(char) => push(bytes, char),
                    None => bytes.push(b'\\'),
                },
                char @ ('$' | '`') => self.expansion(char, bytes)?,
                char => push(bytes, char),
            }
        }
    }

    /// A lone `$` is one; everything else would be replaced by the shell.
    fn expansion(&mut self, char: char, bytes: &mut Vec<u8>) -> Result<(), String> {
        let begins = |next: &char| next.is_ascii_alphanumeric() || "_{(@*#?$!-".contains(*next);
        if char == '$' && !self.chars.peek().is_some_and(begins) {
            bytes.push(b'$');
            return Ok(());
        }
        Err(
            "a variable or a substitution of your shell: write its value, or let the shell put it in by wrapping the \
             command in double quotes"
                .to_owned(),
        )
    }

    /// `$'…'` with the escapes of C.
    fn ansi_quoted(&mut self, bytes: &mut Vec<u8>) -> Result<(), String> {
        loop {
            match self.chars.next().ok_or_else(|| unclosed('\''))? {
                '\'' => return Ok(()),
                '\\' => self.ansi_escape(bytes)?,
                char => push(bytes, char),
            }
        }
    }

    fn ansi_escape(&mut self, bytes: &mut Vec<u8>) -> Result<(), String> {
        let char = self.chars.next().ok_or_else(|| unclosed('\''))?;
        let simple = match char {
            'a' => 0x07,
            'b' => 0x08,
            'e' | 'E' => 0x1b,
            'f' => 0x0c,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 0x0b,
            '\\' | '\'' | '"' | '?' => {
                push(bytes, char);
                return Ok(());
            }
            'x' => {
                let code = self.number(16, 2);
                bytes.push(
                    code.and_then(|code| u8::try_from(code).ok())
                        .ok_or_else(bad_escape)?,
                );
                return Ok(());
            }
            'u' | 'U' => {
                let code = self.number(16, if char == 'u' { 4 } else { 8 });
                push(bytes, code.and_then(char::from_u32).ok_or_else(bad_escape)?);
                return Ok(());
            }
            _ => return Err(bad_escape()),
        };
        bytes.push(simple);
        Ok(())
    }

    /// A number of at most so many digits.
    fn number(&mut self, radix: u32, digits: usize) -> Option<u32> {
        let mut number = None;
        for _ in 0..digits {
            let Some(digit) = self.chars.peek().and_then(|char| char.to_digit(radix)) else {
                break;
            };
            self.chars.next();
            number = Some(number.unwrap_or(0_u32).wrapping_mul(radix).wrapping_add(digit));
        }
        number
    }
}

fn push(bytes: &mut Vec<u8>, char: char) {
    bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
}

fn unclosed(quote: char) -> String {
    format!("a {quote} is never closed: was the command copied whole?")
}

fn bad_escape() -> String {
    "an escape in $'…' that is not known".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &str) -> Vec<String> {
        split(command).unwrap()
    }

    #[test]
    fn words_are_those_of_a_shell() {
        for (command, expected) in [
            ("", &[][..]),
            ("  a  b\tc\n", &["a", "b", "c"]),
            (r"'a b' c''d", &["a b", "cd"]),
            (r#""a b" """#, &["a b", ""]),
            (r#"'a\'b"c'd""#, &[r"a\bc'd"]),
            (r"a\ b \\ \'", &["a b", r"\", "'"]),
            (r#""\"\\\$\`\n""#, &[r#""\$`\n"#]),
            ("a \\\n  b \\\r\n c", &["a", "b", "c"]),
            ("\"a\\\nb\"", &["ab"]),
            ("it costs 5$ \"$\" $", &["it", "costs", "5$", "$", "$"]),
            (r"$'a\'b\n\t\x21\u0021\u00e9\xc3\xa9'z", &["a'b\n\t!!ééz"]),
        ] {
            assert_eq!(words(command), expected, "{command}");
        }
    }

    #[test]
    fn what_only_a_shell_can_know_is_an_error() {
        for command in [
            "curl $url",
            "curl \"$url\"",
            "curl ${url}",
            "curl $(cat url)",
            "curl `cat url`",
            "curl \"`cat url`\"",
        ] {
            assert!(split(command).unwrap_err().contains("variable"), "{command}");
        }
        for command in ["a | b", "a; b", "a && b", "a > b", "a?b=1&c=2", "(a)"] {
            assert!(
                split(command).unwrap_err().contains("outside quotes"),
                "{command}"
            );
        }
        for command in ["'a", "\"a", "$'a", "$'a\\"] {
            assert!(split(command).unwrap_err().contains("never closed"), "{command}");
        }
        assert!(split(r"$'\ud800'").is_err() && split(r"$'\q'").is_err() && split(r"$'\xff'").is_err());
    }

    #[test]
    fn no_message_quotes_a_word() {
        for command in [
            "curl -H 'Bearer secret",
            "curl -H \"Bearer secret\" $x",
            "curl secret | b",
        ] {
            assert!(!split(command).unwrap_err().contains("secret"));
        }
        assert_eq!(words("curl -H 'a: b'").len(), 3);
    }
}
