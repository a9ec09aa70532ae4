//! The tree as text.

use super::{
    scalar::{Block, Role, Scalar, spell},
    tree::{Collection, Content, Document, Item, Remark, Spacing},
};

/// Longest line that a collection with brackets may make, in characters.
const WIDTH: usize = 120;
/// Spaces that each level stands deeper.
const STEP: usize = 2;
/// Spaces before a comment beside something.
const GAP: usize = 2;

/// The canonical text.
pub(super) fn print(document: &Document<'_>) -> String {
    let mut printer = Printer::default();
    let root = &document.root;
    match &root.content {
        // The root has no line of its own.
        Content::Collection(collection) if !collection.items.is_empty() => {
            printer.beside_alone(root, 0);
            printer.items(collection, 0);
        }
        Content::Scalar(Scalar::Null) => {
            printer.remarks(&root.before, 0);
            printer.beside_alone(root, 0);
        }
        Content::Scalar(_) | Content::Collection(_) => printer.item(root, "", 0),
    }
    if !document.after.is_empty() && printer.lines.iter().any(|line| !line.is_remark) {
        printer.lines.push(Line::blank());
    }
    printer.remarks(&document.after, 0);
    printer.text()
}

/// One line of the result.
#[derive(Debug, Default)]
struct Line<'t> {
    /// Spaces before the text.
    indent: usize,
    text: String,
    /// Comments beside neighbours of the same level are aligned.
    level: usize,
    beside: Option<&'t str>,
    /// A whole-line comment, or a blank line.
    is_remark: bool,
}

#[derive(Default)]
struct Printer<'t> {
    lines: Vec<Line<'t>>,
}

impl<'t> Printer<'t> {
    fn items(&mut self, collection: &Collection<'t>, indent: usize) {
        let mut previous = None;
        for item in &collection.items {
            let first = self.lines.len();
            let label = match &item.key {
                Some(key) => format!("{}:", spell(key, Role::Key, false)),
                None => "-".to_owned(),
            };
            self.item(item, &label, indent);
            let shape = self.shape(item, first);
            if previous.is_some_and(|previous| are_parted(collection.spacing, previous, shape)) {
                self.lines.insert(first, Line::blank());
            }
            previous = Some(shape);
        }
        if !collection.after.is_empty()
            && previous.is_some_and(|last| collection.spacing == Spacing::Definitions && last == Shape::Long)
        {
            self.lines.push(Line::blank());
        }
        self.remarks(&collection.after, indent);
    }

    /// An item behind its label: `key:`, `-`, or nothing for the root.
    fn item(&mut self, item: &Item<'t>, label: &str, indent: usize) {
        self.remarks(&item.before, indent);
        let below = indent.saturating_add(STEP);
        let left = indent.saturating_add(label.chars().count()).saturating_add(1);
        let room = WIDTH.saturating_sub(left);
        let role = if label == "-" { Role::Item } else { Role::Value };
        match &item.content {
            Content::Scalar(scalar) => {
                self.set_apart(item);
                let block = scalar.block();
                let (value, lines) = match block {
                    Some(Block { header, lines }) => (header, lines),
                    None if matches!(scalar, Scalar::Null) && role == Role::Value => Default::default(),
                    None => (scalar.on_one_line(role, false), Vec::new()),
                };
                self.line(indent, join(label, &value), item.beside);
                for line in lines {
                    self.line(below, line, None);
                }
            }
            Content::Collection(collection) => match short(collection, room) {
                Some(value) => {
                    self.set_apart(item);
                    self.line(indent, join(label, &value), item.beside);
                }
                None if role == Role::Item => {
                    // Its first entry stands on the line of the dash.
                    self.beside_alone(item, indent);
                    self.set_apart(item);
                    let first = self.lines.len();
                    self.items(collection, below);
                    self.put_dash(first);
                }
                None => {
                    self.set_apart(item);
                    self.line(indent, label.to_owned(), item.beside);
                    self.items(collection, below);
                }
            },
        }
    }

    /// Puts a dash before the first line that is no comment; comments above it move out to the dash.
    fn put_dash(&mut self, first: usize) {
        for line in self.lines.iter_mut().skip(first) {
            line.indent = line.indent.saturating_sub(STEP);
            if !line.is_remark {
                line.text.insert_str(0, "- ");
                return;
            }
        }
    }

    fn shape(&self, item: &Item<'t>, first: usize) -> Shape {
        let lines = self.lines.iter().skip(first);
        match (&item.content, lines.filter(|line| !line.is_remark).count()) {
            (Content::Scalar(_), 1) => Shape::Value,
            (Content::Collection(_), 1) => Shape::Short,
            _ => Shape::Long,
        }
    }

    fn set_apart(&mut self, item: &Item<'t>) {
        if item.is_set_apart {
            self.lines.push(Line::blank());
        }
    }

    /// The comment beside an item, on a line of its own.
    fn beside_alone(&mut self, item: &Item<'t>, indent: usize) {
        let remark = item.beside.map(|text| Remark {
            text,
            is_set_apart: false,
        });
        self.remarks(remark.as_slice(), indent);
    }

    fn remarks(&mut self, remarks: &[Remark<'t>], indent: usize) {
        for (index, remark) in remarks.iter().enumerate() {
            if remark.is_set_apart && index > 0 {
                self.lines.push(Line::blank());
            }
            self.lines.push(Line {
                indent,
                text: remark.text.to_owned(),
                is_remark: true,
                ..Line::default()
            });
        }
    }

    fn line(&mut self, indent: usize, text: String, beside: Option<&'t str>) {
        self.lines.push(Line {
            indent,
            text,
            level: indent,
            beside,
            is_remark: false,
        });
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for block in self.lines.chunk_by(Line::aligns_with) {
            let widest = block.iter().map(Line::width).max().unwrap_or_default();
            for line in block {
                text.push_str(&line.with_comment(widest.saturating_add(GAP)));
                text.push('\n');
            }
        }
        text
    }
}

impl Line<'_> {
    fn blank() -> Self {
        Self {
            is_remark: true,
            ..Self::default()
        }
    }

    fn width(&self) -> usize {
        self.indent.saturating_add(self.text.chars().count())
    }

    fn aligns_with(&self, next: &Self) -> bool {
        self.beside.is_some() && next.beside.is_some() && self.level == next.level
    }

    fn with_comment(&self, column: usize) -> String {
        let Self { indent, text, .. } = self;
        match self.beside {
            Some(comment) => {
                let gap = column.saturating_sub(self.width());
                format!("{:indent$}{text}{:gap$}{comment}", "", "")
            }
            None if text.is_empty() => String::new(),
            None => format!("{:indent$}{text}", ""),
        }
    }
}

/// How much room an item took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// One line, a single value.
    Value,
    /// One line, a collection.
    Short,
    /// More than a line.
    Long,
}

fn are_parted(spacing: Spacing, above: Shape, below: Shape) -> bool {
    match spacing {
        Spacing::Sections => above != Shape::Value || below != Shape::Value,
        Spacing::Definitions => above == Shape::Long || below == Shape::Long,
        Spacing::Together => false,
    }
}

fn join(label: &str, value: &str) -> String {
    if label.is_empty() || value.is_empty() {
        format!("{label}{value}")
    } else {
        format!("{label} {value}")
    }
}

/// A collection on one line, if it was written with brackets, holds no comment and fits into `room` characters.
fn short(collection: &Collection<'_>, room: usize) -> Option<String> {
    if collection.items.is_empty() {
        return flow(collection);
    }
    let is_short = |text: &String| text.chars().count() <= room;
    flow(collection).filter(|text| collection.is_flow && is_short(text))
}

fn flow(collection: &Collection<'_>) -> Option<String> {
    let items: Option<Vec<String>> = collection.items.iter().map(flow_item).collect();
    let items = items.filter(|_| collection.after.is_empty())?.join(", ");
    Some(match (collection.is_mapping, items.is_empty()) {
        (true, true) => "{}".to_owned(),
        (true, false) => format!("{{ {items} }}"),
        (false, _) => format!("[{items}]"),
    })
}

fn flow_item(item: &Item<'_>) -> Option<String> {
    if !item.before.is_empty() || item.beside.is_some() {
        return None;
    }
    let role = if item.key.is_some() {
        Role::Value
    } else {
        Role::Item
    };
    let value = match &item.content {
        Content::Scalar(scalar) => scalar.on_one_line(role, true),
        Content::Collection(collection) => flow(collection)?,
    };
    Some(match &item.key {
        Some(key) => format!("{}: {value}", spell(key, Role::Key, true)),
        None => value,
    })
}
