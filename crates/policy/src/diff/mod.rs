//! What another bundle would change, by how much it opens.
//!
//! Facts are compared, not files: what is enforced in the same way is no difference, however it is written. Law: the
//! changes from A to B and from B to A are about the same keys.

mod addresses;
mod header_field;
mod judge;
mod limits;
mod pair;
mod references;
mod requests;
mod table;

use crate::{
    Rule,
    describe::{Definition, Description, Fact, Kind},
};
use judge::Comparison;
use std::{collections::BTreeSet, fmt};

/// How much a change opens. What lets more through is medium or above, what lets less through low or below; only what
/// lets hardly anything through is high, because it closes the doors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Risk {
    /// Names, reasons and other things that decide no request.
    Info,
    /// Tighter; whoever relied on the room may be refused.
    Low,
    /// Looser.
    Medium,
    /// Looser where it protects people or accounts.
    High,
    /// A door is open.
    Critical,
}

/// The bundle in which the place of a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The old one: it is there no more in the new.
    Old,
    /// The new one.
    New,
}

/// One difference between two bundles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// How much it opens.
    pub risk: Risk,
    /// What differs, by its full name in the new bundle, or in the old one when it is gone: `routes.login.auth`.
    pub key: String,
    /// Its full name in the old bundle, when it is another.
    pub was: Option<String>,
    /// The old value; `None` when it was not there.
    pub old: Option<String>,
    /// The new value; `None` when it is gone.
    pub new: Option<String>,
    /// What that means for requests, in words.
    pub consequence: String,
    /// Where it is written.
    pub place: Rule,
    /// In which bundle that place is.
    pub side: Side,
    /// Keys that take their value from this one and change with it.
    pub followers: Vec<String>,
}

impl Risk {
    /// Every risk, the least first.
    pub const ALL: [Self; 5] = [Self::Info, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Every difference, the riskiest first.
#[must_use]
pub fn diff(old: &Description, new: &Description) -> Vec<Change> {
    let pairs = pair::pair(old, new);
    let comparison = Comparison {
        old,
        new,
        pairs: &pairs,
    };
    let mut found = Vec::new();
    for (before, after) in &pairs.both {
        found.extend(renamed(&comparison, before, after));
        found.extend(facts(&comparison, before, after));
    }
    for gone in &pairs.removed {
        found.push(removed(&comparison, gone));
    }
    for fresh in &pairs.added {
        found.push(added(&comparison, fresh));
    }
    let mut changes = folded(found);
    changes.sort_by(|a, b| b.risk.cmp(&a.risk).then_with(|| a.key.cmp(&b.key)));
    changes
}

/// A change, and the keys that its two values come from when they are not written at its own key.
struct Found {
    change: Change,
    follows: BTreeSet<String>,
}

fn renamed(comparison: &Comparison<'_>, before: &Definition, after: &Definition) -> Option<Found> {
    let is_moved = comparison.is_moved(before, after);
    // The parts of a renamed definition are told with it.
    if before.key == after.key || (before.owner.is_some() && before.name() == after.name() && !is_moved) {
        return None;
    }
    let name = |definition: &Definition| match &definition.owner {
        Some(owner) if is_moved => owner.clone(),
        _ => definition.name().to_owned(),
    };
    let judgement = comparison.renamed(before, after);
    Some(Found::new(Change {
        risk: judgement.risk,
        key: after.key.clone(),
        was: Some(before.key.clone()),
        old: Some(name(before)),
        new: Some(name(after)),
        consequence: judgement.consequence,
        place: after.place.clone(),
        side: Side::New,
        followers: Vec::new(),
    }))
}

fn facts(comparison: &Comparison<'_>, before: &Definition, after: &Definition) -> Vec<Found> {
    let fresh = after
        .facts
        .iter()
        .filter(|fact| before.fact(&fact.name).is_none());
    let sides = before
        .facts
        .iter()
        .map(|fact| (Some(fact), after.fact(&fact.name)));
    sides
        .chain(fresh.map(|fact| (None, Some(fact))))
        .filter_map(|(old, new)| fact(comparison, (before, after), (old, new)))
        .collect()
}

fn fact(
    comparison: &Comparison<'_>,
    (before, after): (&Definition, &Definition),
    (old, new): (Option<&Fact>, Option<&Fact>),
) -> Option<Found> {
    let either = new.or(old)?;
    let is_equal = match (old, new) {
        (Some(old), Some(new)) => comparison.pairs.are_equal(&old.value, &new.value),
        _ => before.kind == Kind::Route && comes_with_another(&either.name),
    };
    if is_equal {
        return None;
    }
    let judgement = comparison.fact((before, after), (old, new));
    let (owner, side) = if new.is_some() {
        (after, Side::New)
    } else {
        (before, Side::Old)
    };
    let (key, old_key) = (owner.key_of(&either.name), before.key_of(&either.name));
    Some(Found {
        follows: [old, new]
            .into_iter()
            .flatten()
            .filter_map(|fact| fact.follows.clone())
            .collect(),
        change: Change {
            risk: judgement.risk,
            was: Some(old_key).filter(|was| *was != key),
            key,
            old: old.map(|fact| fact.value.to_string()),
            new: new.map(|fact| fact.value.to_string()),
            consequence: judgement.consequence,
            place: either.place.clone(),
            side,
            followers: Vec::new(),
        },
    })
}

/// Facts that a route has only beside a certain `auth`, or beside an upstream.
fn comes_with_another(name: &str) -> bool {
    matches!(name, "because" | "scopes") || name.starts_with("timeouts.")
}

fn removed(comparison: &Comparison<'_>, gone: &Definition) -> Found {
    let judgement = comparison.removed(gone);
    Found::new(Change {
        risk: judgement.risk,
        key: gone.key.clone(),
        was: None,
        old: Some(judge::summary(gone)),
        new: None,
        consequence: judgement.consequence,
        place: gone.place.clone(),
        side: Side::Old,
        followers: Vec::new(),
    })
}

fn added(comparison: &Comparison<'_>, fresh: &Definition) -> Found {
    let judgement = comparison.added(fresh);
    Found::new(Change {
        risk: judgement.risk,
        key: fresh.key.clone(),
        was: None,
        old: None,
        new: Some(judge::summary(fresh)),
        consequence: judgement.consequence,
        place: fresh.place.clone(),
        side: Side::New,
        followers: Vec::new(),
    })
}

impl Found {
    const fn new(change: Change) -> Self {
        Self {
            change,
            follows: BTreeSet::new(),
        }
    }
}

/// A change that only follows another is told with that one.
fn folded(found: Vec<Found>) -> Vec<Change> {
    let (followers, mut leaders): (Vec<Found>, Vec<Found>) =
        found.into_iter().partition(|one| !one.follows.is_empty());
    let mut alone = Vec::new();
    for follower in followers {
        let is_leader = |leader: &Found| {
            let names = [Some(&leader.change.key), leader.change.was.as_ref()];
            names
                .into_iter()
                .flatten()
                .any(|name| follower.follows.contains(name))
                && (&leader.change.old, &leader.change.new) == (&follower.change.old, &follower.change.new)
        };
        match leaders.iter_mut().find(|leader| is_leader(leader)) {
            Some(leader) => leader.change.followers.push(follower.change.key),
            None => alone.push(follower),
        }
    }
    leaders.into_iter().chain(alone).map(|one| one.change).collect()
}
