//! A look at the text of a file that does not parse: what is open at a place, and what stands around it.

/// A place in the text: line and column from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// A bracket or quote and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) letter: char,
    pub(super) place: Place,
}

/// What has been opened before a place and not closed.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// Brackets, the innermost last.
    pub(super) brackets: Vec<Mark>,
    /// The first quote that is not closed in its own line; what follows it is not looked at.
    pub(super) quote: Option<Mark>,
}

/// Number of spaces that a line begins with.
pub(super) fn indentation(line: &str) -> usize {
    line.len().saturating_sub(line.trim_start_matches(' ').len())
}

/// Whether a line is neither empty nor only a comment.
pub(super) fn has_content(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

/// Reads lines as YAML does, as far as quotes, brackets, comments and blocks of text go, up to a place.
pub(super) fn open_at(lines: &[&str], until: Place) -> Open {
    let mut open = Open::default();
    // The indentation above which lines belong to a block of text (`>-`, `|`).
    let mut block: Option<usize> = None;
    for (index, line) in lines.iter().enumerate().take(until.line) {
        let is_inside = |block: &usize| line.trim().is_empty() || indentation(line) > *block;
        if block.as_ref().is_some_and(is_inside) {
            continue;
        }
        block = None;
        let code = open.line(index.saturating_add(1), line, until);
        if open.quote.is_some() {
            break;
        }
        let header = code.rsplit([' ', '\t']).next().unwrap_or_default();
        let is_header = header.starts_with(['|', '>'])
            && header
                .chars()
                .skip(1)
                .all(|letter| matches!(letter, '+' | '-' | '0'..='9'));
        if is_header && open.brackets.is_empty() {
            block = Some(indentation(line));
        }
    }
    open
}

impl Open {
    /// Reads one line; answers it without its comment.
    fn line(&mut self, number: usize, line: &str, until: Place) -> String {
        let mut code = String::new();
        let mut letters = line.chars().enumerate().peekable();
        let mut begins_value = true;
        while let Some((index, letter)) = letters.next() {
            let place = Place {
                line: number,
                column: index.saturating_add(1),
            };
            if letter == '#' && code.chars().last().is_none_or(char::is_whitespace) {
                break;
            }
            code.push(letter);
            let is_before = place < until;
            let next = letters.peek().map(|(_, next)| *next);
            match letter {
                '"' | '\'' if begins_value => {
                    if !closes(letter, &mut letters) {
                        self.quote = Some(Mark { letter, place });
                        return code;
                    }
                    begins_value = false;
                }
                '[' | '{' if is_before && (begins_value || !self.brackets.is_empty()) => {
                    self.brackets.push(Mark { letter, place });
                    begins_value = true;
                }
                ']' | '}' if is_before => {
                    self.brackets.pop();
                    begins_value = false;
                }
                ',' => begins_value = !self.brackets.is_empty(),
                ':' | '-' | '?' => begins_value = next.is_none_or(char::is_whitespace),
                letter if letter.is_whitespace() => {}
                _ => begins_value = false,
            }
        }
        code.trim_end().to_owned()
    }
}

/// Reads on to the closing quote; `false` when the line ends before it.
fn closes(quote: char, letters: &mut std::iter::Peekable<impl Iterator<Item = (usize, char)>>) -> bool {
    while let Some((_, letter)) = letters.next() {
        if letter == '\\' && quote == '"' {
            letters.next();
        } else if letter == quote {
            // Two single quotes are one that belongs to the text.
            let is_doubled = quote == '\'' && letters.peek().is_some_and(|(_, next)| *next == quote);
            if !is_doubled {
                return true;
            }
            letters.next();
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::{Mark, Place, open_at};

    fn open(text: &str, line: usize, column: usize) -> (Vec<char>, Option<(char, usize, usize)>) {
        let lines: Vec<&str> = text.lines().collect();
        let open = open_at(&lines, Place { line, column });
        let quote = open
            .quote
            .map(|Mark { letter, place }| (letter, place.line, place.column));
        (open.brackets.iter().map(|mark| mark.letter).collect(), quote)
    }

    #[test]
    fn brackets_are_followed_into_text_that_ends_them() {
        assert_eq!(open("a: { b: [1, 2\nc: 3", 2, 2), (vec!['{', '['], None));
        assert_eq!(open("a: /x/{id}\nb: [c]\n", 3, 1), (vec![], None));
        assert_eq!(open("a: { b: \"}\", c: '{' } # {\n", 2, 1), (vec![], None));
        assert_eq!(open("a: { b: /x/{id} }", 1, 13), (vec!['{', '{'], None));
    }

    #[test]
    fn a_quote_is_found_where_it_opens() {
        assert_eq!(open("a: \"x\nb: \"y\"\n", 2, 1), (vec![], Some(('"', 1, 4))));
        assert_eq!(open("a: it's\nb: 'it''s'\nc: \"a\\\"\"\n", 4, 1), (vec![], None));
        assert_eq!(
            open("a: >-\n  'none; \"x\n  y\nb: 'z", 4, 5),
            (vec![], Some(('\'', 4, 4)))
        );
        assert_eq!(open("a: [x, 'y]\n", 1, 9), (vec!['['], Some(('\'', 1, 8))));
    }
}
