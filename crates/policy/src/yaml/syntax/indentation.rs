//! Slips between lines: wrong indentation, no colon, no space behind it, a second value.

use super::{Place, Scene, Words, has_content, indentation, value};

/// YAML ends a search for the colon of a key here.
const LONGEST_KEY: usize = 1_024;

impl Scene<'_> {
    /// A `:` where no key can be: the key before it has a value, or the line above is not complete.
    pub(super) fn second_value(&self) -> Words {
        let line = self.line(self.at.line);
        let before: String = line.chars().take(self.at.column.saturating_sub(1)).collect();
        if self.at.column > LONGEST_KEY {
            return long_key(self.at);
        }
        if let Some((key, rest)) = before.split_once(": ") {
            let skipped = rest.len().saturating_sub(rest.trim_start().len());
            let column = key.chars().count().saturating_add(3).saturating_add(skipped);
            let whole: String = line.chars().skip(column.saturating_sub(1)).collect();
            let value = value(&whole);
            return Words::new(
                Place { column, ..self.at },
                value.chars().count(),
                "text with `: ` in it needs quotes",
                format!("write \"{}\"", value.replace('"', "\\\"")),
            );
        }
        let Some((number, above)) = self.above(self.at.line) else {
            return self.no_key(self.at.line);
        };
        let (deep, shallow) = (indentation(line), indentation(above));
        let is_beside = |(_, before): (usize, &str)| indentation(before) == deep && before.contains(": ");
        if deep > shallow && self.above(number).is_some_and(is_beside) {
            return Words::new(
                Place {
                    line: number,
                    column: shallow.saturating_add(1),
                },
                above.trim().chars().count(),
                "this line is indented less than those above and below it",
                format!("write {deep} spaces before it"),
            );
        }
        match above.trim().split_once(": ") {
            Some((key, _)) if deep > shallow => Words::new(
                Place {
                    column: deep.saturating_add(1),
                    ..self.at
                },
                line.trim().chars().count(),
                format!("this line is indented deeper than line {number}, where `{key}` has a value already"),
                format!(
                    "write it with {shallow} spaces to stand beside `{key}`, or remove the value of `{key}`"
                ),
            ),
            Some(_) => self.indentation(),
            None => self.no_key(number),
        }
    }

    /// A line that should be `key: value`.
    pub(super) fn no_key(&self, number: usize) -> Words {
        let line = self.line(number);
        let text = value(line.trim());
        let place = Place {
            line: number,
            column: indentation(line).saturating_add(1),
        };
        if text
            .split(": ")
            .next()
            .is_some_and(|key| key.chars().count() > LONGEST_KEY)
        {
            return long_key(place);
        }
        let glued = text
            .split_once(':')
            .filter(|(key, rest)| !key.contains(' ') && !rest.is_empty() && !rest.starts_with(' '));
        if let Some((key, rest)) = glued {
            return Words::new(
                Place {
                    column: place.column.saturating_add(key.chars().count()),
                    ..place
                },
                1,
                "there is no space after the `:`",
                format!("write `{key}: {rest}`"),
            );
        }
        let fix = match text.split_once('=') {
            Some((key, rest)) => format!("write `{}: {}`", key.trim(), rest.trim()),
            None if is_word(text) => format!("write `{text}:`, or remove the line"),
            None => "write `key: value`, or remove the line".to_owned(),
        };
        Words::new(place, text.chars().count(), "this line has no key and value", fix)
    }

    /// A line that stands beside none of those above it, or text after the end of a value.
    pub(super) fn indentation(&self) -> Words {
        let line = self.line(self.at.line);
        let own = indentation(line);
        if self.at.column > own.saturating_add(1) {
            let text = line.split_once(": ").map_or(line.trim(), |(_, rest)| value(rest));
            return Words::new(
                self.at,
                self.rest().chars().count(),
                "text goes on after the end of the value",
                format!("put the whole value in quotes: \"{text}\""),
            );
        }
        let mut inner: Option<(usize, usize)> = None;
        let mut outer = None;
        for number in (1..self.at.line).rev() {
            let above = self.line(number);
            let depth = indentation(above);
            if !has_content(above) {
                continue;
            }
            if depth == own {
                return Words::new(
                    self.at,
                    line.trim().chars().count(),
                    format!("this is no list item, and line {number}, beside which it stands, is one"),
                    "write `- ` before it, or other spaces",
                );
            }
            if depth < own {
                outer = Some((depth, number));
                break;
            }
            if inner.is_none_or(|(least, _)| depth < least) {
                inner = Some((depth, number));
            }
        }
        let beside = |(depth, number): (usize, usize)| {
            format!("{depth} spaces before it, to stand beside line {number}")
        };
        let fix = match (inner, outer) {
            (Some(inner), Some(outer)) => format!("write {}, or {}", beside(inner), beside(outer)),
            (Some(only), None) | (None, Some(only)) => format!("write {}", beside(only)),
            (None, None) => "begin it in the first column".to_owned(),
        };
        Words::new(
            self.at,
            line.trim().chars().count(),
            format!(
                "the indentation of this line, {own}, is that of no line above that it could stand beside"
            ),
            fix,
        )
    }
}

fn is_word(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

fn long_key(place: Place) -> Words {
    Words::new(
        place,
        1,
        format!("a key of more than {LONGEST_KEY} characters"),
        "shorten it; text with `: ` in it needs quotes",
    )
}
