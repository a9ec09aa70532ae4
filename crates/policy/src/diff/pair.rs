//! Which definition of the old bundle is which of the new one, also after a renaming.

use crate::describe::{Definition, Description, Kind, Value};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The definitions of two bundles, matched.
pub(super) struct Pairs<'d> {
    pub(super) both: Vec<(&'d Definition, &'d Definition)>,
    pub(super) removed: Vec<&'d Definition>,
    pub(super) added: Vec<&'d Definition>,
    /// Old full name to new full name.
    names: BTreeMap<&'d str, &'d str>,
}

/// Matches definitions. A route is what it answers, whatever it is called; anything else is its name, or else what it
/// says. A limit is its name within its owner, or else what it says there, or else its name anywhere.
pub(super) fn pair<'d>(old: &'d Description, new: &'d Description) -> Pairs<'d> {
    let mut pairs = Pairs {
        both: Vec::new(),
        removed: old.definitions.iter().collect(),
        added: new.definitions.iter().collect(),
        names: BTreeMap::new(),
    };
    let alone = |definition: &Definition| definition.owner.is_none();
    let by_requests = |one: &Definition| (one.kind == Kind::Route).then(|| shape(one));
    pairs.take(by_requests, by_requests);
    let by_name = |one: &Definition| alone(one).then(|| one.key.clone());
    pairs.take(by_name, by_name);
    let by_content = |one: &Definition| alone(one).then(|| content(one));
    pairs.take(by_content, by_content);

    let names = pairs.names.clone();
    let old_owner = |one: &Definition| names.get(one.owner.as_deref()?).map(|owner| (*owner).to_owned());
    let new_owner = |one: &Definition| one.owner.clone();
    let within = |owner: Option<String>, word: &str| Some(format!("{} {word}", owner?));
    pairs.take(
        |one| within(old_owner(one), one.name()),
        |one| within(new_owner(one), one.name()),
    );
    pairs.take(
        |one| within(old_owner(one), &content(one)),
        |one| within(new_owner(one), &content(one)),
    );
    let by_limit = |one: &Definition| (one.kind == Kind::Limit).then(|| one.name().to_owned());
    pairs.take(by_limit, by_limit);

    let (gone, fresh) = (keys(&pairs.removed), keys(&pairs.added));
    // What goes or comes together with its owner is told with it.
    pairs.removed.retain(|definition| !is_part_of(definition, &gone));
    pairs.added.retain(|definition| !is_part_of(definition, &fresh));
    pairs
}

impl<'d> Pairs<'d> {
    /// Matches what has the same mark, in order where several have; what has none is left.
    fn take(
        &mut self,
        old_mark: impl Fn(&Definition) -> Option<String>,
        new_mark: impl Fn(&Definition) -> Option<String>,
    ) {
        let mut marked: BTreeMap<String, VecDeque<&'d Definition>> = BTreeMap::new();
        for after in &self.added {
            if let Some(mark) = new_mark(after) {
                marked.entry(mark).or_default().push_back(after);
            }
        }
        let mut taken = BTreeSet::new();
        for before in std::mem::take(&mut self.removed) {
            let found = old_mark(before).and_then(|mark| marked.get_mut(&mark)?.pop_front());
            match found {
                None => self.removed.push(before),
                Some(after) => {
                    taken.insert(after.key.as_str());
                    self.names.insert(&before.key, &after.key);
                    self.both.push((before, after));
                }
            }
        }
        self.added.retain(|after| !taken.contains(after.key.as_str()));
    }

    /// Whether two values say the same; a reference means what it refers to, whatever that is called.
    pub(super) fn are_equal(&self, old: &Value, new: &Value) -> bool {
        match (old, new) {
            (Value::Reference(old), Value::Reference(new)) => {
                self.names.get(old.as_str()) == Some(&new.as_str())
            }
            (Value::References(old), Value::References(new)) => {
                let renamed = |key: &String| self.names.get(key.as_str()).map(|key| (*key).to_owned());
                old.iter()
                    .map(renamed)
                    .collect::<Option<BTreeSet<String>>>()
                    .as_ref()
                    == Some(new)
            }
            _ => old == new,
        }
    }
}

fn keys(definitions: &[&Definition]) -> BTreeSet<String> {
    definitions
        .iter()
        .map(|definition| definition.key.clone())
        .collect()
}

fn is_part_of(definition: &Definition, owners: &BTreeSet<String>) -> bool {
    definition
        .owner
        .as_ref()
        .is_some_and(|owner| owners.contains(owner))
}

/// The requests of a route; what its parameters are called means nothing.
fn shape(route: &Definition) -> String {
    let request = route.text("match");
    let part = |part: &str| {
        if part.starts_with('{') {
            "{}".to_owned()
        } else {
            part.to_owned()
        }
    };
    request.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// Everything that it says, its name aside.
fn content(definition: &Definition) -> String {
    let facts: BTreeMap<&str, &Value> = definition
        .facts
        .iter()
        .map(|fact| (fact.name.as_str(), &fact.value))
        .collect();
    format!("{:?} {facts:?}", definition.kind)
}
