//! The compiled form of schemas: one rule for each keyword, schemas by number so that they may lead to themselves.

use super::{format::Format, pattern::Pattern, types::Types};
use crate::json::Json;
use serde_json::Number;

/// The number of a schema in its operation.
pub(super) type Id = usize;

/// One schema: a value is of one of its types, and keeps every rule.
#[derive(Debug, Clone)]
pub(super) struct Schema {
    pub(super) types: Types,
    pub(super) rules: Vec<Rule>,
}

impl Schema {
    /// The one that no value fits, as `false` means.
    pub(super) const fn never() -> Self {
        Self {
            types: Types::NONE,
            rules: Vec::new(),
        }
    }

    /// The one that every value fits, as `true` and `{}` mean.
    pub(super) const fn anything() -> Self {
        Self {
            types: Types::ANY,
            rules: Vec::new(),
        }
    }
}

/// One keyword. It says something about values of its own type only.
#[derive(Debug, Clone)]
pub(super) enum Rule {
    /// `enum` and `const`.
    OneOfValues(Vec<Json<'static>>),
    /// In characters.
    MinLength(u64),
    MaxLength(u64),
    Pattern(Pattern),
    Format(Format),
    Minimum(Number),
    Maximum(Number),
    Above(Number),
    Below(Number),
    /// A whole number above zero, of whole numbers.
    MultipleOf(i128),
    MinItems(u64),
    MaxItems(u64),
    UniqueItems,
    Items(Items),
    MinMembers(u64),
    MaxMembers(u64),
    Members(Members),
    /// `propertyNames`.
    Names(Id),
    /// `$ref` and `allOf`.
    All(Vec<Id>),
    Any(Vec<Id>),
    One(Vec<Id>),
    Not(Id),
    /// What only answers may hold.
    ReadOnly,
}

impl Rule {
    /// The schemas that speak of the same value.
    pub(super) fn in_place(&self) -> &[Id] {
        match self {
            Self::All(ids) | Self::Any(ids) | Self::One(ids) => ids,
            Self::Not(id) => std::slice::from_ref(id),
            _ => &[],
        }
    }
}

/// `prefixItems` and `items`.
#[derive(Debug, Clone)]
pub(super) struct Items {
    pub(super) first: Vec<Id>,
    pub(super) rest: Option<Id>,
}

/// `properties`, `required` and `additionalProperties`.
#[derive(Debug, Clone)]
pub(super) struct Members {
    /// By name, sorted.
    pub(super) known: Vec<(String, Id)>,
    pub(super) required: Vec<String>,
    pub(super) others: Others,
    /// Whether `properties` is written: then what nobody describes is refused, unless `others` takes it.
    pub(super) is_described: bool,
}

/// Members of other names.
#[derive(Debug, Clone, Copy)]
pub(super) enum Others {
    /// Nothing is said.
    Unsaid,
    /// None, whatever other schemas of the same object describe.
    Refused,
    /// Any.
    Taken,
    /// Those that fit.
    Fitting(Id),
}
