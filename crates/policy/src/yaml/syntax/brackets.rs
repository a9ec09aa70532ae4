//! Slips between brackets: one that is not closed, a comma that is missing, text that needs quotes.

use super::{Mark, Place, Scene, Words};

impl Scene<'_> {
    /// Something between brackets is neither an item nor a key and a value.
    pub(super) fn in_brackets(&self) -> Words {
        let Some(open) = self.open.brackets.last().copied() else {
            return Words::new(
                self.at,
                1,
                "a `:` is out of place",
                "put text that has a `:` in it in quotes",
            );
        };
        if open.place.line < self.at.line {
            return self.open_bracket(open);
        }
        let close = closing(open.letter);
        let (token, place) = self.token();
        let words = token.trim_end();
        let last = words
            .rsplit_once(' ')
            .map(|(before, last)| (before.chars().count().saturating_add(1), last));
        match (self.letter(), last) {
            (':', Some((before, word))) => Words::new(
                Place {
                    column: place.column.saturating_add(before),
                    ..place
                },
                word.chars().count(),
                format!("there is no comma before `{word}`"),
                format!("write `, {word}:`; a value that has `: ` in it needs quotes"),
            ),
            (':' | '{' | '[', _) => {
                let end = self
                    .line(place.line)
                    .chars()
                    .skip(place.column.saturating_sub(1))
                    .collect::<String>();
                let value = item(&end);
                Words::new(
                    place,
                    value.chars().count(),
                    format!(
                        "text with `{}` in it needs quotes between brackets",
                        self.letter()
                    ),
                    format!("write \"{value}\""),
                )
            }
            (',', _) => Words::new(
                self.at,
                1,
                "one comma too many",
                "remove it: each comma stands behind an item",
            ),
            _ => Words::new(
                self.at,
                1,
                format!("neither `,` nor `{close}` comes here"),
                format!("write `,` before the next item, or `{close}` after the last"),
            ),
        }
    }

    /// A bracket that nothing closes: where its end belongs, as far as that can be told.
    pub(super) fn open_bracket(&self, open: Mark) -> Words {
        let close = closing(open.letter);
        let number = open.place.line;
        let line = self.line(number);
        let behind: String = line.chars().skip(open.place.column).collect();
        let (value, comment) = match behind.split_once(" #") {
            Some((value, comment)) => (value.trim(), Some(comment)),
            None => (behind.trim(), None),
        };
        let fix = match comment {
            Some(comment) if comment.contains(close) => format!(
                "a `#` behind a space begins a comment, which swallows the `{close}`: put the text with the `#` in quotes"
            ),
            _ if value.is_empty() => format!("write `{close}` where it ends"),
            Some(_) => format!("write `{close}` before the comment of line {number}"),
            None if number < self.at.line && value.ends_with(',') => format!("write `{close}` where it ends"),
            None => format!("write `{close}` at the end of line {number}"),
        };
        Words::new(
            open.place,
            1,
            format!("the `{}` that opens here is not closed", open.letter),
            fix,
        )
    }

    /// What the parser was reading between brackets: from the last separator to where it stopped.
    fn token(&self) -> (String, Place) {
        let before: Vec<char> = self
            .line(self.at.line)
            .chars()
            .take(self.at.column.saturating_sub(1))
            .collect();
        let separates = |index: &usize| {
            let letter = before.get(*index).copied().unwrap_or(' ');
            let next = before.get(index.saturating_add(1)).copied();
            matches!(letter, ',' | '{' | '[') || (letter == ':' && next.is_none_or(char::is_whitespace))
        };
        let start = (0..before.len())
            .rev()
            .find(separates)
            .map_or(0, |index| index.saturating_add(1));
        let token: String = before.iter().skip(start).collect();
        let blank = token.chars().take_while(|letter| letter.is_whitespace()).count();
        let place = Place {
            column: start.saturating_add(blank).saturating_add(1),
            ..self.at
        };
        (token.trim_start().to_owned(), place)
    }
}

/// The first item of a text: to the comma or bracket that ends it, with the brackets of its own.
fn item(text: &str) -> &str {
    let mut depth = 0_usize;
    for (index, letter) in text.char_indices() {
        match letter {
            '{' | '[' => depth = depth.saturating_add(1),
            '}' | ']' if depth == 0 => return text.get(..index).unwrap_or_default().trim(),
            '}' | ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => return text.get(..index).unwrap_or_default().trim(),
            _ => {}
        }
    }
    text.trim()
}

pub(super) const fn closing(open: char) -> char {
    if open == '[' { ']' } else { '}' }
}
