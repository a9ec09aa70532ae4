//! From the parser's events to the tree.

use super::{Entry, MAX_DEPTH, MAX_EVENTS, Node, Value, scalar, template};
use crate::{
    diagnostic::{Findings, Span, code},
    language,
};
use granit_parser::{Event, Marker, ScalarStyle};
use std::{
    collections::HashMap,
    ops::{ControlFlow, Range},
};

/// The tree under construction.
pub(super) struct Tree<'s> {
    file: usize,
    text: &'s str,
    open: Vec<Open>,
    root: Option<Node>,
    events: usize,
    has_document: bool,
    /// Something is missing from the tree: what it would be read for is not to be reported as well.
    is_broken: bool,
}

/// A list or mapping whose end has not come yet.
enum Open {
    List(Place, Vec<Node>),
    Map(Place, Mapping),
}

/// Where something begins, and the bytes of it.
struct Place {
    at: Span,
    source: Range<usize>,
}

#[derive(Default)]
struct Mapping {
    entries: Vec<Entry>,
    places: HashMap<String, Span>,
    key: Option<Key>,
}

/// A key whose value has not come yet; with its place, and whether it stands without quotes.
enum Key {
    Text(String, Place, bool),
    /// Reported already; its value is dropped.
    Wrong,
}

const READABLE: &str = "what a route enforces must be readable where it stands";

impl<'s> Tree<'s> {
    pub(super) fn new(file: usize, text: &'s str) -> Self {
        Self {
            file,
            text,
            open: Vec::new(),
            root: None,
            events: 0,
            has_document: false,
            is_broken: false,
        }
    }

    /// The tree, when nothing of it is missing. A file without a value is an empty one.
    pub(super) fn finish(self) -> Option<Node> {
        let nothing = Node {
            value: Value::Null,
            at: Span::whole(self.file),
            source: 0..0,
        };
        (!self.is_broken).then(|| self.root.unwrap_or(nothing))
    }

    /// Takes one event; breaks when the rest of the file is not to be looked at.
    pub(super) fn take(
        &mut self,
        event: Event<'_>,
        at: &granit_parser::Span,
        findings: &mut Findings,
    ) -> ControlFlow<()> {
        let span = self.span(at);
        self.events = self.events.saturating_add(1);
        let is_too_deep = self.open.len() > MAX_DEPTH;
        if self.events > MAX_EVENTS || is_too_deep {
            let what = if is_too_deep { "deep" } else { "long" };
            findings
                .error(code::NOT_IN_LANGUAGE, span, format!("too {what} for a policy"))
                .why("a policy that deep or that long cannot be reviewed")
                .fix("split it, or nest less");
            self.is_broken = true;
            return ControlFlow::Break(());
        }
        if let Some(tag) = at.tag_span() {
            findings
                .error(
                    code::NOT_IN_LANGUAGE,
                    self.span(&tag),
                    "tags (`!`) are not part of the policy language",
                )
                .why("a tag changes what a value means without showing it")
                .fix("write the plain value; text that begins with `!` needs quotes");
        }
        match event {
            Event::DocumentStart(..) if self.has_document => {
                findings
                    .error(
                        code::NOT_IN_LANGUAGE,
                        span,
                        "more than one YAML document in a file",
                    )
                    .why("the second document would be easy to overlook")
                    .fix("put it in a file of its own");
                self.is_broken = true;
                return ControlFlow::Break(());
            }
            Event::DocumentStart(..) => self.has_document = true,
            Event::Anchor(..) => reference(span, findings),
            Event::Alias(..) | Event::UnresolvedAlias(..) => {
                reference(span, findings);
                self.is_broken = true;
                self.add(self.place(at).node(Value::Null), true, findings);
            }
            Event::Scalar(text, style, ..) => self.scalar(&text, style, at, findings),
            Event::SequenceStart(..) => self.open.push(Open::List(self.place(at), Vec::new())),
            Event::MappingStart(..) if self.begins_template(at) => {
                template::report("{{", span, findings);
                self.is_broken = true;
                return ControlFlow::Break(());
            }
            Event::MappingStart(..) => self.open.push(Open::Map(self.place(at), Mapping::default())),
            Event::SequenceEnd | Event::MappingEnd => self.close(at, findings),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, at: &granit_parser::Span, findings: &mut Findings) {
        let is_plain = style == ScalarStyle::Plain;
        if style == ScalarStyle::DoubleQuoted {
            self.disguised(at, findings);
        }
        let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        if !is_block && at.end.line() > at.start.line() {
            self.is_broken = true;
            self.runs_on(text, is_plain, at, findings);
        }
        if style == ScalarStyle::Folded {
            self.swallowed(at, findings);
        }
        if is_plain {
            self.is_broken |= template::report(text, self.span(at), findings);
        }
        let value = if is_plain {
            scalar::resolve(text)
        } else {
            Value::Text(text.to_owned())
        };
        self.add(self.place(at).node(value), is_plain, findings);
    }

    /// `{{`: for YAML a mapping whose key is a mapping, which no policy has.
    fn begins_template(&self, at: &granit_parser::Span) -> bool {
        let rest = at.start.byte_offset().and_then(|start| self.text.get(start..));
        rest.is_some_and(|rest| rest.starts_with("{{"))
    }

    /// A key that stands as deep as the text of the block above it: it would be a part of that text, and be gone.
    fn swallowed(&mut self, at: &granit_parser::Span, findings: &mut Findings) {
        let bytes = at.start.byte_offset().zip(at.end.byte_offset());
        let raw = bytes.and_then(|(start, end)| self.text.get(start..end));
        let lines = raw.unwrap_or_default().lines().enumerate().skip(1);
        for (below, line) in lines {
            let text = line.trim();
            let Some(key) = block_key(text) else { continue };
            let indentation = line.len().saturating_sub(line.trim_start().len());
            let start = Marker::new(0, at.start.line().saturating_add(below), indentation);
            let span = Span {
                length: chars(key),
                ..self.span(&granit_parser::Span::empty(start))
            };
            findings
                .error(
                    code::NOT_IN_LANGUAGE,
                    span,
                    format!("`{key}:` would be a part of the text that begins above"),
                )
                .why("a key that is indented too deep would silently be gone")
                .fix(format!(
                    "move `{key}` to the left, to where it belongs; if it is text, say it in other words"
                ));
            self.is_broken = true;
            return;
        }
    }

    /// Letters that are written as escapes: `\u006eone` is `none` for the gateway and not for who reads or searches.
    fn disguised(&mut self, at: &granit_parser::Span, findings: &mut Findings) {
        let bytes = at.start.byte_offset().zip(at.end.byte_offset());
        let raw = bytes.and_then(|(start, end)| self.text.get(start..end));
        let Some((before, escape, letter)) = raw.and_then(disguise) else {
            return;
        };
        self.is_broken = true;
        let before = before.rsplit('\n').next().unwrap_or_default();
        let start = self.span(at);
        let span = Span {
            column: start.column.saturating_add(chars(before)),
            length: chars(escape),
            ..start
        };
        findings
            .error(
                code::NOT_IN_LANGUAGE,
                span,
                format!("`{escape}` is only another way to write `{letter}`"),
            )
            .why("who reads the policy, or searches it for a word, would not see it")
            .fix(format!("write `{letter}`"));
    }

    /// `? key`, whose value stands behind a `:` that may be in another line.
    fn is_marked_key(&self, node: &Node) -> bool {
        // Nothing but the blanks beside it is looked at: a line can be as long as a file.
        const BLANK: [char; 2] = [' ', '\t'];
        let before = self.text.get(..node.source.start).unwrap_or_default();
        let before = before.trim_end_matches(BLANK).strip_suffix('?');
        let is_marked = before.is_some_and(|before| {
            let before = before.trim_end_matches(BLANK);
            before.is_empty() || before.ends_with(['\n', '{', ',', '[', '-'])
        });
        let behind = self.text.get(node.source.end..).unwrap_or_default();
        let behind = behind.trim_start_matches(BLANK);
        is_marked || behind.is_empty() || behind.starts_with(['\n', '\r', '#'])
    }

    /// Text that goes on in the next line, which a slip of the hand does as easily as intent.
    fn runs_on(&self, text: &str, is_plain: bool, at: &granit_parser::Span, findings: &mut Findings) {
        const WHY: &str = "a slip in the next line would silently become a part of this value";
        if !is_plain {
            findings
                .error(
                    code::NOT_IN_LANGUAGE,
                    self.span(at),
                    format!("the quote that opens here closes in line {} only", at.end.line()),
                )
                .why(WHY)
                .fix("close it in its line; long text goes below `>-`, without quotes");
        } else if text.starts_with('-') {
            findings
                .error(code::NOT_YAML, self.span(at), "there is no space after `-`")
                .why("without it the lines are one text and not a list")
                .fix("write `- ` before every item");
        } else {
            let next = at.start.line().saturating_add(1);
            // One that is only counted needs no place, and looking for the line costs.
            let line = (!findings.is_full()).then(|| self.text.lines().nth(at.start.line()));
            let line = line.flatten().unwrap_or_default();
            let indentation = line.len().saturating_sub(line.trim_start().len());
            let place = Marker::new(0, next, indentation);
            let span = Span {
                length: chars(line.trim()),
                ..self.span(&granit_parser::Span::empty(place))
            };
            findings
                .error(
                    code::NOT_IN_LANGUAGE,
                    span,
                    "this line would be a part of the text in the line above",
                )
                .why(WHY)
                .fix("mend its indentation or a missing `:`; long text goes below `>-`");
        }
    }

    fn close(&mut self, end: &granit_parser::Span, findings: &mut Findings) {
        let whole = |Place { at: start, source }: Place| {
            let is_one_line = usize::try_from(start.line).is_ok_and(|line| line == end.end.line());
            let column = u32::try_from(end.end.col())
                .unwrap_or(start.column)
                .saturating_add(1);
            let length = if is_one_line {
                column.saturating_sub(start.column).max(1)
            } else {
                1
            };
            Place {
                at: Span { length, ..start },
                source,
            }
        };
        match self.open.pop() {
            Some(Open::List(place, items)) => {
                self.add(whole(place).node(Value::List(items)), false, findings);
            }
            Some(Open::Map(place, mapping)) => {
                self.add(whole(place).node(Value::Map(mapping.entries)), false, findings);
            }
            None => {}
        }
    }

    /// Adds a value to what is open: as an item, a key, or the value of a key.
    fn add(&mut self, node: Node, is_plain: bool, findings: &mut Findings) {
        let is_key = matches!(self.open.last(), Some(Open::Map(_, mapping)) if mapping.key.is_none());
        let is_marked = is_key && self.is_marked_key(&node);
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List(_, items)) => items.push(node),
            Some(Open::Map(_, mapping)) => match mapping.key.take() {
                None if is_marked => {
                    self.is_broken = true;
                    mapping.key = Some(marked_key(&node, findings));
                }
                None => {
                    self.is_broken |= matches!(&node.value, Value::Text(text) if is_plain && text == "<<");
                    mapping.key = Some(key(node, is_plain, findings));
                }
                Some(Key::Wrong) => {}
                Some(Key::Text(key, place, is_plain)) => {
                    let (key, node) = if is_plain {
                        spaced(key, place.at, node, findings)
                    } else {
                        (key, node)
                    };
                    mapping.add(key, place, node, findings);
                }
            },
        }
    }

    fn place(&self, at: &granit_parser::Span) -> Place {
        let bytes = at.start.byte_offset().zip(at.end.byte_offset());
        Place {
            at: self.span(at),
            source: bytes.map_or(0..0, |(start, end)| start..end),
        }
    }

    fn span(&self, at: &granit_parser::Span) -> Span {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let length = if at.end.line() == at.start.line() {
            at.end.col().saturating_sub(at.start.col())
        } else {
            let rest = at.start.byte_offset().and_then(|start| self.text.get(start..));
            let line = rest.and_then(|rest| rest.lines().next()).unwrap_or_default();
            line.trim_end().chars().count()
        };
        Span {
            file: self.file,
            line: number(at.start.line()),
            column: number(at.start.col().saturating_add(1)),
            length: number(length).max(1),
        }
    }
}

impl Place {
    const fn node(self, value: Value) -> Node {
        Node {
            value,
            at: self.at,
            source: self.source,
        }
    }
}

impl Mapping {
    fn add(&mut self, key: String, place: Place, value: Node, findings: &mut Findings) {
        let key_at = place.at;
        if let Some(first) = self.places.get(&key) {
            findings
                .error(
                    code::DUPLICATE_KEY,
                    key_at,
                    format!("key `{key}` is written twice"),
                )
                .why("one of the two would silently lose")
                .fix("keep one of them")
                .related(*first, "first written here");
            return;
        }
        self.places.insert(key.clone(), key_at);
        self.entries.push(Entry {
            key,
            key_at,
            key_source: place.source,
            value,
        });
    }
}

/// `{ burst:20 }` is one key for YAML. Reported, and read as it was meant, so that nothing else is.
fn spaced(key: String, at: Span, value: Node, findings: &mut Findings) -> (String, Node) {
    let is_word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || b"_-".contains(&byte))
    };
    let parts = key
        .split_once(':')
        .filter(|(name, rest)| is_word(name) && !rest.is_empty() && !rest.starts_with("//"))
        .filter(|_| matches!(value.value, Value::Null));
    let Some((name, rest)) = parts else {
        return (key, value);
    };
    let colon = Span {
        column: at.column.saturating_add(chars(name)),
        length: 1,
        ..at
    };
    findings
        .error(code::NOT_YAML, colon, "there is no space after the `:`")
        .why("without it the whole word is a key that has no value")
        .fix(format!("write `{name}: {rest}`"));
    let value = Node {
        value: scalar::resolve(rest),
        at,
        ..value
    };
    (name.to_owned(), value)
}

fn key(node: Node, is_plain: bool, findings: &mut Findings) -> Key {
    let (at, source) = (node.at, node.source);
    match node.value {
        Value::Text(text) if is_plain && text == "<<" => {
            findings
                .error(
                    code::NOT_IN_LANGUAGE,
                    at,
                    "merge keys (`<<`) are not part of the policy language",
                )
                .why(READABLE)
                .fix("write the keys out");
            Key::Wrong
        }
        Value::Text(text) => Key::Text(text, Place { at, source }, is_plain),
        value @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Map(_)) => {
            findings
                .error(
                    code::WRONG_TYPE,
                    at,
                    format!("a key must be text, this is {}", value.kind()),
                )
                .why("no key of the policy language is a number, a list or a mapping")
                .fix("write the name of the key; text that is no word needs quotes");
            Key::Wrong
        }
    }
}

fn marked_key(node: &Node, findings: &mut Findings) -> Key {
    let fix = match &node.value {
        Value::Text(key) => format!("write `{key}: ` and the value behind it, in one line"),
        _ => "write `key: value` in one line".to_owned(),
    };
    findings
        .error(
            code::NOT_IN_LANGUAGE,
            node.at,
            "keys behind a `?` are not part of the policy language",
        )
        .why("key and value would stand in two lines, where a search for them finds neither")
        .fix(fix);
    Key::Wrong
}

/// The first escape of a printable ASCII character in double-quoted text: what stands before it, the escape, what it is.
fn disguise(quoted: &str) -> Option<(&str, &str, char)> {
    let mut rest = quoted;
    while let Some((_, escape)) = rest.split_once('\\') {
        let digits = match escape.chars().next()? {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0_usize,
        };
        let length = digits.saturating_add(1);
        let code = escape
            .get(1..length)
            .and_then(|code| u32::from_str_radix(code, 16).ok());
        let letter = code.and_then(char::from_u32).filter(char::is_ascii_graphic);
        if let Some(letter) = letter.filter(|_| digits > 0) {
            let start = quoted.len().saturating_sub(escape.len()).saturating_sub(1);
            let end = start.saturating_add(length).saturating_add(1);
            return Some((quoted.get(..start)?, quoted.get(start..end)?, letter));
        }
        // The character behind the backslash is no backslash of its own.
        let mut letters = escape.chars();
        letters.next();
        rest = letters.as_str();
    }
    None
}

/// The key or header that a line of text would set if it stood elsewhere.
fn block_key(line: &str) -> Option<&str> {
    let (name, rest) = line.split_once(':')?;
    let is_end = rest.is_empty() || rest.starts_with(' ');
    let is_header = name.contains('-')
        && name.split('-').all(|word| {
            word.starts_with(|first: char| first.is_ascii_uppercase())
                && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
    (is_end && (is_header || language::is_key(name))).then_some(name)
}

fn reference(at: Span, findings: &mut Findings) {
    findings
        .error(
            code::NOT_IN_LANGUAGE,
            at,
            "anchors and aliases (`&`, `*`) are not part of the policy language",
        )
        .why(READABLE)
        .fix("write the value out; text that begins with `&` or `*` needs quotes");
}

fn chars(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}
