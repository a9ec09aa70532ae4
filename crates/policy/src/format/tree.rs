//! A policy file as it is printed: its tree, each comment at what it speaks about.

use super::scalar::Scalar;

/// A whole file.
#[derive(Debug)]
pub(super) struct Document<'t> {
    pub(super) root: Item<'t>,
    /// Comments after the last section.
    pub(super) after: Vec<Remark<'t>>,
}

/// An entry of a mapping or an item of a list.
#[derive(Debug)]
pub(super) struct Item<'t> {
    /// The key, in a mapping.
    pub(super) key: Option<String>,
    pub(super) content: Content<'t>,
    /// Whole-line comments above it.
    pub(super) before: Vec<Remark<'t>>,
    /// A blank line parts it from them.
    pub(super) is_set_apart: bool,
    /// The comment on its line.
    pub(super) beside: Option<&'t str>,
}

/// A whole-line comment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remark<'t> {
    pub(super) text: &'t str,
    /// A blank line stands above it.
    pub(super) is_set_apart: bool,
}

#[derive(Debug)]
pub(super) enum Content<'t> {
    Scalar(Scalar),
    Collection(Collection<'t>),
}

/// A mapping or a list.
#[derive(Debug)]
pub(super) struct Collection<'t> {
    pub(super) is_mapping: bool,
    /// Written with brackets.
    pub(super) is_flow: bool,
    pub(super) items: Vec<Item<'t>>,
    /// Whole-line comments below the last item.
    pub(super) after: Vec<Remark<'t>>,
    pub(super) spacing: Spacing,
}

/// Where blank lines stand between the items of a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spacing {
    /// Between all but single values: the sections of a file.
    Sections,
    /// Around whatever takes more than one line: the definitions of a section.
    Definitions,
    /// Nowhere.
    Together,
}
