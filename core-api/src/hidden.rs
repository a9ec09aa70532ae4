//! Characters that do not show, or change how others show: no part of what people write to each other through a bank.

/// Whether a character shows nothing, or turns the order of those around it, so that a text is read as another one: control
/// characters, separators of lines and paragraphs, bidirectional embeddings, overrides and isolates (UAX #9 §2), characters
/// without width and tags. What scripts and emoji are joined by stays, and so do the two marks of direction.
pub(crate) fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{ad}'
                | '\u{200b}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
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
            "\u{a0}\u{3000}",
        ] {
            assert!(!text.chars().any(is_hidden), "{text}");
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
        ] {
            assert!(text.chars().any(is_hidden), "{}", text.escape_unicode());
        }
    }
}
