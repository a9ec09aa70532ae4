//! Characters that do not show, or change how others show: no part of what people write to each other through a bank.

/// Whether a text shows, all of it: something in it is seen, and nothing in it hides or turns the order of what is around it, so
/// that it is read as another one. Not in it are control characters, separators of lines and paragraphs, bidirectional
/// embeddings, overrides and isolates (UAX #9 §2), fillers, characters without width, and tags. What scripts and emoji are joined
/// by stays, and so do marks of direction.
pub(crate) fn shows(text: &str) -> bool {
    let is_seen = |letter: char| !letter.is_whitespace() && !is_joining(letter);
    !text.chars().any(hides) && text.chars().any(is_seen)
}

/// Alone, these show nothing; between others they have a meaning.
const fn is_joining(letter: char) -> bool {
    matches!(letter, '\u{200c}'..='\u{200f}' | '\u{61c}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

fn hides(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{ad}'
                | '\u{34f}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_shows() {
        for text in [
            "Rent, M\u{e4}rz \u{1f3e0}",
            "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}",
            "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
            "\u{5d0}\u{200f} (1)",
            "\u{2764}\u{fe0f}",
        ] {
            assert!(shows(text), "{text}");
        }
    }

    #[test]
    fn what_is_read_as_something_else_does_not() {
        for text in [
            "invoice\u{202e}gnp.exe",
            "a\u{2066}b",
            "a\u{2028}b",
            "pay\u{200b}pal",
            "\u{feff}a",
            "a\u{2060}b",
            "a\u{e0041}",
            "a\nb",
            "a\0",
            "a\u{85}",
            "pay\u{3164}pal",
            "\u{3164}",
            "\u{200d}\u{200f}",
            " \u{a0}\u{3000}",
            "",
        ] {
            assert!(!shows(text), "{}", text.escape_unicode());
        }
    }
}
