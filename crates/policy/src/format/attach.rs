//! Which comment belongs to what.
//!
//! A whole-line comment belongs to what follows it, unless it stands deeper than that: then it closes the block above.
//! A comment beside something belongs to what ends, or opens, on its line.

use super::{
    comments::Comment,
    layout::Layout,
    scalar::Scalar,
    tree::{Collection, Content, Document, Item, Remark, Spacing},
};
use crate::yaml::{Entry, Node, Value};

/// Attaches the comments of `text` to its tree.
pub(super) fn build<'t>(text: &'t str, root: &Node, comments: &[Comment<'t>]) -> Document<'t> {
    let layout = Layout { text, comments };
    let mut builder = Builder { layout, next: 0 };
    let mut above = Above::default();
    let (root, _) = builder.item(Place::root(text), None, root, &mut above);
    let rest = builder.comments_before(text.len());
    let after = rest.iter().map(|comment| builder.remark(comment)).collect();
    Document { root, after }
}

/// Where an item stands in the text.
#[derive(Debug, Clone, Copy)]
struct Place {
    start: usize,
    /// Column of its first character, from 1; 0 for the root.
    column: usize,
    /// Where whatever follows it begins; the bracket that closes its collection when there is none.
    until: Option<usize>,
}

impl Place {
    const fn root(text: &str) -> Self {
        Self {
            start: 0,
            column: 0,
            until: Some(text.len()),
        }
    }
}

/// Comments found on the way to a value.
#[derive(Debug, Default)]
struct Above<'t> {
    whole_lines: Vec<Remark<'t>>,
    beside: Vec<&'t str>,
}

struct Builder<'t, 'c> {
    layout: Layout<'t, 'c>,
    /// How many comments have found their place.
    next: usize,
}

impl<'t, 'c> Builder<'t, 'c> {
    /// Builds an item and says where it ends.
    fn item(
        &mut self,
        place: Place,
        entry: Option<&Entry>,
        node: &Node,
        above: &mut Above<'t>,
    ) -> (Item<'t>, usize) {
        let is_set_apart = !above.whole_lines.is_empty() && self.layout.is_below_blank_line(place.start);
        let (content, end) = self.content(place, node, above);
        let until = place.until.unwrap_or_else(|| self.layout.closing_bracket(end));
        let beside = self.comments_beside(end, until);
        above.beside.extend(beside.iter().map(|comment| comment.text));
        // Only one fits on a line.
        let beside = above.beside.pop();
        let mut before = std::mem::take(&mut above.whole_lines);
        before.extend(above.beside.drain(..).map(|text| Remark {
            text,
            is_set_apart: false,
        }));
        let item = Item {
            key: entry.map(|entry| entry.key.clone()),
            content,
            before,
            is_set_apart,
            beside,
        };
        (item, end)
    }

    fn content(&mut self, place: Place, node: &Node, above: &mut Above<'t>) -> (Content<'t>, usize) {
        let children: Vec<(Option<&Entry>, &Node)> = match &node.value {
            Value::List(items) => items.iter().map(|item| (None, item)).collect(),
            Value::Map(entries) => entries.iter().map(|entry| (Some(entry), &entry.value)).collect(),
            value @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_)) => {
                self.gather(node.source.start, above);
                let scalar = Scalar::new(value, self.layout.style(node));
                let written = self.layout.text.get(node.source.clone()).unwrap_or_default();
                let end = node.source.start.saturating_add(written.trim_end().len());
                return (Content::Scalar(scalar), end);
            }
        };
        let is_flow = self.layout.rest(node.source.start).starts_with(['[', '{']);
        let mut collection = Collection {
            is_mapping: matches!(node.value, Value::Map(_)),
            is_flow,
            items: Vec::with_capacity(children.len()),
            after: Vec::new(),
            spacing: Spacing::Together,
        };
        if children.is_empty() {
            let bracket = self.layout.closing_bracket(node.source.end);
            self.gather(bracket, above);
            return (Content::Collection(collection), bracket.saturating_add(1));
        }
        if is_flow {
            self.gather(node.source.start, above);
        }
        let end = self.children(place, node, &children, &mut collection, above);
        (Content::Collection(collection), end)
    }

    fn children(
        &mut self,
        place: Place,
        node: &Node,
        children: &[(Option<&Entry>, &Node)],
        collection: &mut Collection<'t>,
        above: &mut Above<'t>,
    ) -> usize {
        let mut end = node.source.end;
        for (index, (entry, child)) in children.iter().enumerate() {
            let start = self.layout.start((*entry, child));
            let mut above_child = Above::default();
            self.gather(start, &mut above_child);
            if index == 0 {
                above.beside.append(&mut above_child.beside);
            }
            let next = children.get(index.saturating_add(1));
            let until = match next {
                Some(next) => Some(self.layout.start(*next)),
                None if collection.is_flow => None,
                None => place.until,
            };
            let column = match entry {
                Some(_) => self.layout.column(start),
                // A list is said to begin at its first dash, or just behind.
                None => self
                    .layout
                    .column(node.source.start)
                    .min(self.layout.column(start).saturating_sub(2)),
            };
            let place = Place { start, column, until };
            let (item, item_end) = self.item(place, *entry, child, &mut above_child);
            collection.items.push(item);
            end = item_end;
        }
        if collection.is_flow {
            let bracket = self.layout.closing_bracket(end);
            let rest = self.comments_before(bracket);
            collection.after = rest.iter().map(|comment| self.remark(comment)).collect();
            return bracket.saturating_add(1);
        }
        // Whatever is left at the end of the file belongs to the file.
        if place.column > 0 {
            let until = place.until.unwrap_or_else(|| self.layout.closing_bracket(end));
            while let Some(comment) = self.deeper_comment(until, place.column) {
                collection.after.push(self.remark(&comment));
            }
        }
        end
    }

    /// Takes the comments before `at`: whole lines, and those beside something.
    fn gather(&mut self, at: usize, above: &mut Above<'t>) {
        for comment in self.comments_before(at) {
            if comment.is_whole_line {
                above.whole_lines.push(self.remark(comment));
            } else {
                above.beside.push(comment.text);
            }
        }
    }

    fn comments_before(&mut self, at: usize) -> &'c [Comment<'t>] {
        self.take_while(|comment| comment.at < at)
    }

    /// Takes the comments on the line where something ended.
    fn comments_beside(&mut self, end: usize, until: usize) -> &'c [Comment<'t>] {
        let line = self.layout.rest(end).split('\n').next().unwrap_or_default();
        let until = until.min(end.saturating_add(line.len()));
        self.take_while(|comment| comment.at < until && !comment.is_whole_line)
    }

    fn deeper_comment(&mut self, until: usize, column: usize) -> Option<Comment<'t>> {
        let comment = *self.layout.comments.get(self.next)?;
        let is_deeper =
            comment.at < until && comment.is_whole_line && self.layout.column(comment.at) > column;
        is_deeper.then(|| {
            self.next = self.next.saturating_add(1);
            comment
        })
    }

    fn take_while(&mut self, is_taken: impl Fn(&Comment<'t>) -> bool) -> &'c [Comment<'t>] {
        let rest = self.layout.comments.get(self.next..).unwrap_or_default();
        let count = rest.iter().take_while(|comment| is_taken(comment)).count();
        self.next = self.next.saturating_add(count);
        rest.get(..count).unwrap_or_default()
    }

    fn remark(&self, comment: &Comment<'t>) -> Remark<'t> {
        Remark {
            text: comment.text,
            is_set_apart: self.layout.is_below_blank_line(comment.at),
        }
    }
}
