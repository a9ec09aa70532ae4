//! What the parser stumbles over, in words that lead to the slip: often in another line than the one it stops at.

mod brackets;
mod indentation;

use super::{
    lines::{self, Mark, Open, Place, has_content, indentation},
    template,
};
use crate::diagnostic::{Findings, Span, code};
use brackets::closing;
use granit_parser::{ErrorKind, ScanError};

/// What is told: where, what, and what to write instead.
struct Words {
    code: &'static str,
    why: &'static str,
    place: Place,
    length: usize,
    message: String,
    fix: String,
}

impl Words {
    fn new(place: Place, length: usize, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            code: code::NOT_YAML,
            why: "nothing in this file can be trusted until it parses",
            place,
            length,
            message: message.into(),
            fix: fix.into(),
        }
    }

    /// YAML that parses elsewhere and is not part of the language here.
    const fn foreign(mut self, why: &'static str) -> Self {
        self.code = code::NOT_IN_LANGUAGE;
        self.why = why;
        self
    }
}

/// The text around the place at which the parser stopped.
struct Scene<'s> {
    lines: Vec<&'s str>,
    at: Place,
    open: Open,
}

/// Reports the one slip that keeps the file from being read.
pub(super) fn report(file: usize, text: &str, error: &ScanError, findings: &mut Findings) {
    let at = Place {
        line: error.marker().line(),
        column: error.marker().col().saturating_add(1),
    };
    let lines: Vec<&str> = text.lines().collect();
    let open = lines::open_at(&lines, at);
    let words = Scene { lines, at, open }.words(error.kind());
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let span = Span {
        file,
        line: number(words.place.line),
        column: number(words.place.column),
        length: number(words.length).max(1),
    };
    findings
        .error(words.code, span, words.message)
        .why(words.why)
        .fix(words.fix);
}

impl Scene<'_> {
    fn words(&self, kind: &ErrorKind) -> Words {
        // A quote, a template or a conflict marker explains whatever the parser says.
        let cause = self.conflict().or_else(|| self.open.quote.map(open_quote));
        if let Some(words) = cause.or_else(|| self.template()) {
            return words;
        }
        match kind {
            ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabInPlainScalar
            | ErrorKind::TabAtBlockScalarStart
            | ErrorKind::InvalidBlockEntryWhitespace
            | ErrorKind::InvalidMappingValueWhitespace => self.tab(),
            ErrorKind::InvalidTrailingSingleQuotedScalar | ErrorKind::InvalidTrailingDoubleQuotedScalar => {
                self.after_quote(*kind == ErrorKind::InvalidTrailingSingleQuotedScalar)
            }
            ErrorKind::ExpectedFlowMappingSeparator
            | ErrorKind::ExpectedFlowSequenceSeparator
            | ErrorKind::UnexpectedEofFlowMapping
            | ErrorKind::UnexpectedEofFlowSequence
            | ErrorKind::UnexpectedEofImplicitFlowMapping
            | ErrorKind::InvalidColonPlacement
            | ErrorKind::InvalidFlowScalarIndent
            | ErrorKind::FlowMappingValueAdjacentCollection => self.in_brackets(),
            ErrorKind::UnclosedFlowCollection { open } => self.open_bracket(Mark {
                letter: *open,
                place: self.at,
            }),
            ErrorKind::MismatchedFlowCollectionEnd { open, close } => Words::new(
                self.at,
                1,
                format!("`{open}` is closed by `{close}`"),
                format!("close it with `{}`", closing(*open)),
            ),
            ErrorKind::MisplacedFlowCollectionEnd => Words::new(
                self.at,
                1,
                format!("`{}` closes nothing", self.letter()),
                "remove it, or open the bracket that it closes",
            ),
            ErrorKind::MappingValueNotAllowed => self.second_value(),
            ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => self.no_key(self.at.line),
            ErrorKind::ExpectedBlockMappingKey
            | ErrorKind::ExpectedBlockSequenceEntry
            | ErrorKind::InvalidIndentation
            | ErrorKind::InvalidBlockScalarIndent => self.indentation(),
            _ => self.character(kind),
        }
    }

    /// Slips that one character makes where it stands.
    fn character(&self, kind: &ErrorKind) -> Words {
        let here = |message: String, fix: &str| Words::new(self.at, 1, message, fix);
        match kind {
            ErrorKind::UnexpectedCharacter { character } => {
                let value = value(self.rest());
                Words::new(
                    self.at,
                    value.chars().count(),
                    match character {
                        '`' => "text without quotes cannot begin with a back quote".to_owned(),
                        other => format!("text without quotes cannot begin with `{other}`"),
                    },
                    format!("write \"{value}\""),
                )
            }
            ErrorKind::MissingAnchorOrAliasName => here(
                "anchors and aliases (`&`, `*`) are not part of the policy language".to_owned(),
                "text that begins with `&` or `*` needs quotes: \"*\"",
            )
            .foreign("what a route enforces must be readable where it stands"),
            ErrorKind::ExpectedDocumentStart if self.letter() != '%' => self.behind_the_end(),
            ErrorKind::DirectiveDisallowed | ErrorKind::ExpectedDocumentStart => here(
                "directives (`%`) are not part of the policy language".to_owned(),
                "remove the line",
            )
            .foreign("it changes how everything below it is read"),
            ErrorKind::RecursionLimitExceeded => here("too deep for a policy".to_owned(), "nest less")
                .foreign("a policy that deep cannot be reviewed"),
            ErrorKind::InvalidBlockScalarHeader | ErrorKind::ZeroBlockScalarIndent => here(
                "text that begins with `|` or `>` is a block, whose text begins in the next line".to_owned(),
                "begin the text in the next line, indented; or put it in quotes",
            ),
            ErrorKind::CommentNotSeparated => here(
                "there is no space before `#`".to_owned(),
                "write a space before the comment",
            ),
            ErrorKind::BlockSequenceEntryNotAllowed => here(
                "a list cannot begin behind its key".to_owned(),
                "write the items in brackets, or begin the list in the next line",
            ),
            ErrorKind::BlockEntryInFlowCollection | ErrorKind::PlainScalarStartsWithDashFlowIndicator => {
                here(
                    "`-` begins no item inside brackets".to_owned(),
                    "separate the items by commas; a lone `-` needs quotes",
                )
            }
            ErrorKind::UnknownQuotedScalarEscape
            | ErrorKind::InvalidQuotedScalarHexEscape
            | ErrorKind::InvalidUnicodeEscape
            | ErrorKind::InvalidLowSurrogate
            | ErrorKind::InvalidLowSurrogateHexEscape
            | ErrorKind::MissingLowSurrogate
            | ErrorKind::UnpairedLowSurrogate => self.escape(),
            ErrorKind::UnexpectedEofBlockMapping
            | ErrorKind::ExpectedNodeContent
            | ErrorKind::UnexpectedEof => here(
                "no value can begin like this".to_owned(),
                "write a value; text that begins with `,`, `]`, `}` or `%` needs quotes",
            ),
            kind => here(
                format!("not valid YAML: {kind}"),
                "compare the line with its neighbours: indentation, a colon and a space after the key, quotes and brackets in pairs",
            ),
        }
    }

    /// Text where the file has ended: behind `...`, or behind the bracket that closes all of it.
    fn behind_the_end(&self) -> Words {
        let length = self.rest().trim_end().chars().count();
        let is_table = |number: &usize| self.line(*number).trim_start().starts_with('[');
        if (1..self.at.line).any(|number| self.line(number).trim_end() == "...") {
            return Words::new(
                self.at,
                length,
                "text behind the end of the document (`...`)",
                "remove the line `...`",
            )
            .foreign("a second document would be easy to overlook");
        }
        if (1..=self.at.line).rev().take(2).any(|number| is_table(&number)) {
            return Words::new(
                self.at,
                length,
                "this is no YAML: it looks like TOML",
                "write sections as `routes:` and keys as `key: value`, each deeper than what it belongs to",
            );
        }
        Words::new(
            self.at,
            length,
            "text behind the bracket that ends the file",
            "remove it, or write it as a key between the brackets",
        )
    }

    /// The marks that version control leaves when two edits meet.
    fn conflict(&self) -> Option<Words> {
        let is_mark = |line: &&str| {
            ["<<<<<<< ", ">>>>>>> "].iter().any(|mark| line.starts_with(mark)) || *line == "======="
        };
        let index = self.lines.iter().position(is_mark)?;
        let place = Place {
            line: index.saturating_add(1),
            column: 1,
        };
        Some(Words::new(
            place,
            self.line(place.line).chars().count(),
            "a conflict of two edits is not resolved",
            "keep one of the two, and remove the lines with `<<<<<<<`, `=======` and `>>>>>>>`",
        ))
    }

    /// A template in the line at which the parser stopped, or one that has the first line to itself.
    fn template(&self) -> Option<Words> {
        let alone = (1..self.at.line).find(|number| {
            let line = self.line(*number).trim_start();
            template::find(line).is_some_and(|(at, _)| at == 0)
        });
        let number = alone.unwrap_or(self.at.line);
        let line = self.line(number);
        let (at, mark) = template::find(line)?;
        let place = Place {
            line: number,
            column: line.get(..at)?.chars().count().saturating_add(1),
        };
        Some(Words::new(place, 2, template::message(mark), template::FIX).foreign(template::WHY))
    }

    fn tab(&self) -> Words {
        let with_tab = (1..=self.at.line).rev().find_map(|line| {
            let text = self.line(line);
            let blank = text.get(..text.len().saturating_sub(text.trim_start().len()))?;
            Some(Place {
                line,
                column: blank.find('\t')?.saturating_add(1),
            })
        });
        Words::new(
            with_tab.unwrap_or(self.at),
            1,
            "a tab where YAML wants spaces",
            "write spaces: every tool counts the columns of a tab differently",
        )
    }

    fn after_quote(&self, is_single: bool) -> Words {
        if self
            .open
            .brackets
            .last()
            .is_some_and(|open| open.place.line == self.at.line)
        {
            return Words::new(
                self.at,
                1,
                "there is no comma after the quoted text",
                "write `,` between the two",
            );
        }
        let inside = if is_single {
            "write a quote inside as `''`"
        } else {
            "write a quote inside as `\\\"`"
        };
        Words::new(
            self.at,
            self.rest().chars().count(),
            "text goes on after the closing quote",
            format!("put all of it in quotes ({inside}), or none"),
        )
    }

    fn escape(&self) -> Words {
        const ESCAPES: &str = "0abtnvfre \"/\\N_LPxuU";
        let line = self.line(self.at.line);
        let letters: Vec<char> = line.chars().collect();
        let mut column = self.at.column;
        let mut place = self.at;
        while let Some(letter) = letters.get(column.saturating_sub(1)) {
            if *letter == '\\' {
                let next = letters.get(column).copied().unwrap_or(' ');
                if !ESCAPES.contains(next) || matches!(next, 'x' | 'u' | 'U') {
                    place = Place { column, ..self.at };
                    break;
                }
                column = column.saturating_add(1);
            }
            column = column.saturating_add(1);
        }
        Words::new(
            place,
            2,
            "this means nothing after `\\` in double quotes",
            "write `\\\\` for a backslash, or use single quotes, where it means itself",
        )
    }

    fn line(&self, number: usize) -> &str {
        number
            .checked_sub(1)
            .and_then(|index| self.lines.get(index))
            .copied()
            .unwrap_or_default()
    }

    /// The nearest line above that says something.
    fn above(&self, number: usize) -> Option<(usize, &str)> {
        (1..number)
            .rev()
            .map(|number| (number, self.line(number)))
            .find(|(_, line)| has_content(line))
    }

    /// The character at which the parser stopped.
    fn letter(&self) -> char {
        self.rest().chars().next().unwrap_or(' ')
    }

    /// The line from there on.
    fn rest(&self) -> &str {
        let line = self.line(self.at.line);
        let skip = self.at.column.saturating_sub(1);
        line.char_indices()
            .nth(skip)
            .and_then(|(index, _)| line.get(index..))
            .unwrap_or_default()
    }
}

fn open_quote(open: Mark) -> Words {
    Words::new(
        open.place,
        1,
        "the quote that opens here is not closed in its line",
        format!(
            "close it with `{}`; long text goes below `>-`, without quotes",
            open.letter
        ),
    )
}

/// A value as it stands in its line, without the comment behind it.
fn value(text: &str) -> &str {
    text.split(" #").next().unwrap_or_default().trim()
}
