//! Checking a value against a compiled schema.

use super::{
    fault::{MOST_FAULTS, Place, RequestFault},
    schema::{Id, Items, Members, Others, Rule, Schema},
    types::Types,
};
use crate::json::{Json, compare};
use serde_json::Number;
use smallvec::{SmallVec, smallvec};
use std::{borrow::Cow, cmp::Ordering, fmt};

/// Deepest nesting of a value.
const MOST_DEPTH: usize = 32;
/// Schemas, members and pieces of text that are looked at for one request: alternatives inside of alternatives would
/// otherwise multiply with each level of the body.
const MOST_STEPS: u32 = 50_000;
/// Bytes of text that count as one step.
const BYTES_PER_STEP: usize = 64;

/// One check of one request.
#[derive(Debug)]
pub(super) struct Check<'s> {
    schemas: &'s [Schema],
    faults: Vec<RequestFault>,
    steps_left: u32,
    depth: usize,
    /// Whether faults are only noticed: an alternative is being tried.
    is_quiet: bool,
}

/// Which members of an object some schema describes.
#[derive(Debug, Clone, Default)]
struct Described {
    is_known: SmallVec<[bool; 16]>,
    /// Whether any schema describes members at all; an object of which nothing is said holds anything.
    is_closed: bool,
}

impl Described {
    fn mark(&mut self, index: usize) {
        if let Some(is_known) = self.is_known.get_mut(index) {
            *is_known = true;
        }
    }

    fn add(&mut self, other: &Self) {
        self.is_closed |= other.is_closed;
        for (own, other) in self.is_known.iter_mut().zip(&other.is_known) {
            *own |= other;
        }
    }
}

impl<'s> Check<'s> {
    pub(super) const fn new(schemas: &'s [Schema]) -> Self {
        Self {
            schemas,
            faults: Vec::new(),
            steps_left: MOST_STEPS,
            depth: 0,
            is_quiet: false,
        }
    }

    /// Everything that was found, in the order of the document's rules.
    pub(super) fn into_faults(self) -> Vec<RequestFault> {
        self.faults
    }

    /// Whether more could be told.
    pub(super) const fn is_full(&self) -> bool {
        self.faults.len() >= MOST_FAULTS
    }

    /// Notes a fault.
    pub(super) fn fault(
        &mut self,
        place: &Place<'_>,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) {
        if !self.is_quiet && !self.is_full() {
            self.faults.push(RequestFault {
                pointer: place.pointer(),
                code,
                detail: detail.into(),
            });
        }
    }

    /// Whether a value fits; what does not is noted.
    pub(super) fn value(&mut self, id: Id, value: &Json<'_>, place: &Place<'_>) -> bool {
        if self.depth == MOST_DEPTH {
            return self.too_complex(place, "is nested too deeply");
        }
        self.depth = self.depth.saturating_add(1);
        let mut described = Described::default();
        if let Json::Map(members) = value {
            described.is_known = smallvec![false; members.len()];
        }
        let fits = self.schema(id, value, place, &mut described);
        let fits = self.closed(value, place, &described) && fits;
        self.depth = self.depth.saturating_sub(1);
        fits
    }

    /// An object of which members are described holds no others.
    fn closed(&mut self, value: &Json<'_>, place: &Place<'_>, described: &Described) -> bool {
        let Json::Map(members) = value else { return true };
        let mut fits = true;
        let strangers = members
            .iter()
            .zip(&described.is_known)
            .filter(|(_, is_known)| !**is_known);
        for ((name, _), _) in strangers.filter(|_| described.is_closed) {
            self.fault(&Place::Name(place, name), "unknown_field", UNKNOWN);
            fits = false;
        }
        fits
    }

    /// One schema, beside others that speak of the same value.
    fn schema(&mut self, id: Id, value: &Json<'_>, place: &Place<'_>, described: &mut Described) -> bool {
        if !self.step(1, place) {
            return false;
        }
        let Some(schema) = self.schemas.get(id) else {
            return false;
        };
        if !schema.types.meets(Types::of(value)) {
            self.fault(place, "invalid_type", must_be(schema.types));
            return false;
        }
        let mut fits = true;
        for rule in &schema.rules {
            fits &= self.rule(rule, value, place, described);
            if !fits && (self.is_quiet || self.steps_left == 0) {
                break;
            }
        }
        fits
    }

    fn rule(&mut self, rule: &Rule, value: &Json<'_>, place: &Place<'_>, described: &mut Described) -> bool {
        match (rule, value) {
            (Rule::All(ids), _) => {
                let mut fits = true;
                for id in ids {
                    fits &= self.schema(*id, value, place, described);
                }
                fits
            }
            (Rule::Any(ids), _) => self.alternatives(ids, false, value, place, described),
            (Rule::One(ids), _) => self.alternatives(ids, true, value, place, described),
            (Rule::Not(id), _) => {
                let fits = !self.quietly(|check| check.value(*id, value, place));
                // Without steps, nothing has been refuted.
                self.expect(fits && self.steps_left > 0, place, "invalid_value", || {
                    "is excluded".into()
                })
            }
            (Rule::OneOfValues(values), _) => {
                let is_listed = values.iter().any(|listed| listed.is_same(value));
                self.expect(is_listed, place, "invalid_value", || one_of(values))
            }
            (Rule::ReadOnly, _) => self.expect(false, place, "read_only", || "cannot be set".into()),
            (rule, Json::Text(text)) => self.text(rule, text, value, place),
            (rule, Json::Number(number)) => self.number(rule, number, value, place),
            (rule, Json::List(items)) => self.list(rule, items, place),
            (rule, Json::Map(members)) => self.map(rule, members, value, place, described),
            _ => true,
        }
    }

    /// `anyOf` and `oneOf`. What a failed alternative says is told when it is the only one for values of this type.
    fn alternatives(
        &mut self,
        ids: &[Id],
        only_one: bool,
        value: &Json<'_>,
        place: &Place<'_>,
        described: &mut Described,
    ) -> bool {
        let mut fitting = 0_usize;
        for id in ids {
            let mut tried = described.clone();
            if self.quietly(|check| check.schema(*id, value, place, &mut tried)) {
                described.add(&tried);
                fitting = fitting.saturating_add(1);
            }
        }
        if fitting == 0 {
            let of_type = |id: &&Id| {
                let schema = self.schemas.get(**id);
                schema.is_some_and(|schema| schema.types.meets(Types::of(value)))
            };
            let mut candidates = ids.iter().filter(of_type);
            if let (Some(only), None) = (candidates.next(), candidates.next())
                && !self.is_quiet
            {
                return self.schema(*only, value, place, described);
            }
        }
        let fits = if only_one { fitting == 1 } else { fitting > 0 };
        let detail = if fitting > 1 {
            "fits more than one of the alternatives"
        } else {
            "fits none of the alternatives"
        };
        self.expect(fits, place, "invalid_value", || detail.into())
    }

    fn text(&mut self, rule: &Rule, text: &str, value: &Json<'_>, place: &Place<'_>) -> bool {
        let length = || count(text.chars().count());
        match rule {
            Rule::MinLength(least) => self.expect(length() >= *least, place, "too_short", || {
                format!("must have {least} characters or more").into()
            }),
            Rule::MaxLength(most) => self.expect(length() <= *most, place, "too_long", || {
                format!("must have {most} characters or fewer").into()
            }),
            Rule::Pattern(pattern) => {
                let steps = u32::try_from(text.len().div_ceil(BYTES_PER_STEP)).unwrap_or(u32::MAX);
                self.step(steps, place)
                    && self.expect(pattern.matches(text), place, "invalid_format", || {
                        format!("must match {}", pattern.written).into()
                    })
            }
            Rule::Format(format) => self.expect(format.fits(value), place, "invalid_format", || {
                must_be(format.in_words())
            }),
            _ => true,
        }
    }

    fn number(&mut self, rule: &Rule, number: &Number, value: &Json<'_>, place: &Place<'_>) -> bool {
        use Ordering::{Equal, Greater, Less};
        let is = |bound: &Number, wanted: &[Ordering]| {
            compare(number, bound).is_some_and(|order| wanted.contains(&order))
        };
        let (fits, words, bound): (bool, &str, &dyn fmt::Display) = match rule {
            Rule::Minimum(bound) => (is(bound, &[Greater, Equal]), "must not be below", bound),
            Rule::Maximum(bound) => (is(bound, &[Less, Equal]), "must not be above", bound),
            Rule::Above(bound) => (is(bound, &[Greater]), "must be above", bound),
            Rule::Below(bound) => (is(bound, &[Less]), "must be below", bound),
            Rule::MultipleOf(step) => {
                let rest = number.as_i128().and_then(|number| number.checked_rem(*step));
                (rest == Some(0), "must be a multiple of", step)
            }
            Rule::Format(format) => (format.fits(value), "must be", &format.in_words()),
            _ => return true,
        };
        self.expect(fits, place, "out_of_range", || format!("{words} {bound}").into())
    }

    fn list(&mut self, rule: &Rule, items: &[Json<'_>], place: &Place<'_>) -> bool {
        let length = count(items.len());
        match rule {
            Rule::MinItems(least) => self.expect(length >= *least, place, "too_few", || {
                format!("must have {least} items or more").into()
            }),
            Rule::MaxItems(most) => self.expect(length <= *most, place, "too_many", || {
                format!("must have {most} items or fewer").into()
            }),
            Rule::UniqueItems => self.unique(items, place),
            Rule::Items(rule) => self.items(rule, items, place),
            _ => true,
        }
    }

    fn unique(&mut self, items: &[Json<'_>], place: &Place<'_>) -> bool {
        for (index, item) in items.iter().enumerate() {
            if !self.step(u32::try_from(index).unwrap_or(u32::MAX), place) {
                return false;
            }
            if items.iter().take(index).any(|earlier| earlier.is_same(item)) {
                self.fault(&Place::Index(place, index), "repeated", "may be given once");
                return false;
            }
        }
        true
    }

    fn items(&mut self, rule: &Items, items: &[Json<'_>], place: &Place<'_>) -> bool {
        let mut fits = true;
        for (index, item) in items.iter().enumerate() {
            if let Some(id) = rule.first.get(index).copied().or(rule.rest) {
                fits &= self.value(id, item, &Place::Index(place, index));
            }
            if !fits && (self.is_quiet || self.is_full()) {
                return false;
            }
        }
        fits
    }

    fn map(
        &mut self,
        rule: &Rule,
        members: &[(Cow<'_, str>, Json<'_>)],
        value: &Json<'_>,
        place: &Place<'_>,
        described: &mut Described,
    ) -> bool {
        let length = count(members.len());
        match rule {
            Rule::MinMembers(least) => self.expect(length >= *least, place, "too_few", || {
                format!("must have {least} members or more").into()
            }),
            Rule::MaxMembers(most) => self.expect(length <= *most, place, "too_many", || {
                format!("must have {most} members or fewer").into()
            }),
            Rule::Names(id) => {
                let mut fits = true;
                for (name, _) in members {
                    let text = Json::Text(Cow::Borrowed(name));
                    fits &= self.value(*id, &text, &Place::Name(place, name));
                }
                fits
            }
            Rule::Members(rule) => self.members(rule, members, value, place, described),
            _ => true,
        }
    }

    fn members(
        &mut self,
        rule: &Members,
        members: &[(Cow<'_, str>, Json<'_>)],
        value: &Json<'_>,
        place: &Place<'_>,
        described: &mut Described,
    ) -> bool {
        described.is_closed |= rule.is_described;
        let mut fits = true;
        for name in rule.required.iter().filter(|name| value.get(name).is_none()) {
            self.fault(&Place::Name(place, name), "missing_field", "is required");
            fits = false;
        }
        for (index, (name, member)) in members.iter().enumerate() {
            if !fits && (self.is_quiet || self.is_full()) {
                return false;
            }
            let at = Place::Name(place, name);
            let known = rule.known.binary_search_by(|(known, _)| known.as_str().cmp(name));
            let schema = known
                .ok()
                .and_then(|index| rule.known.get(index))
                .map(|(_, id)| *id);
            match (schema, rule.others) {
                (Some(id), _) | (None, Others::Fitting(id)) => fits &= self.value(id, member, &at),
                (None, Others::Taken) => {}
                (None, Others::Unsaid) => continue,
                (None, Others::Refused) => {
                    self.fault(&at, "unknown_field", UNKNOWN);
                    fits = false;
                }
            }
            described.mark(index);
        }
        fits
    }

    /// Tries something without telling what is wrong with it.
    fn quietly(&mut self, attempt: impl FnOnce(&mut Self) -> bool) -> bool {
        let was_quiet = std::mem::replace(&mut self.is_quiet, true);
        let fits = attempt(self);
        self.is_quiet = was_quiet;
        fits
    }

    fn expect(
        &mut self,
        fits: bool,
        place: &Place<'_>,
        code: &'static str,
        detail: impl FnOnce() -> Cow<'static, str>,
    ) -> bool {
        if !fits && !self.is_quiet {
            self.fault(place, code, detail());
        }
        fits
    }

    /// Goes some steps further; whoever has none left is refused.
    fn step(&mut self, steps: u32, place: &Place<'_>) -> bool {
        if self.steps_left == 0 {
            return false;
        }
        self.steps_left = self.steps_left.saturating_sub(steps);
        self.steps_left > 0 || self.too_complex(place, "takes too long to check")
    }

    /// Ends the whole check. That is told although an alternative is being tried: what is not known to fit is refused.
    fn too_complex(&mut self, place: &Place<'_>, detail: &'static str) -> bool {
        self.steps_left = 0;
        let was_quiet = std::mem::replace(&mut self.is_quiet, false);
        self.fault(place, "too_complex", detail);
        self.is_quiet = was_quiet;
        false
    }
}

pub(super) const UNKNOWN: &str = "is not a member of this request";

fn must_be(what: impl fmt::Display) -> Cow<'static, str> {
    format!("must be {what}").into()
}

/// The texts and numbers of an `enum`, as far as they are worth reading.
fn one_of(values: &[Json<'_>]) -> Cow<'static, str> {
    const MOST: usize = 12;
    let words: Option<Vec<String>> = values
        .iter()
        .map(|value| match value {
            Json::Text(text) => Some(text.clone().into_owned()),
            Json::Number(number) => Some(number.to_string()),
            Json::Bool(value) => Some(value.to_string()),
            Json::Null => Some("null".to_owned()),
            Json::List(_) | Json::Map(_) => None,
        })
        .collect();
    match words {
        Some(words) if words.len() <= MOST => must_be(words.join(" or ")),
        _ => "must be one of the listed values".into(),
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
