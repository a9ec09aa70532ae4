//! Which kept answers a change has made old: those that were asked for before the change was sent, or while it was.
//!
//! **Invariant:** whoever has seen the answer to a change is given nothing that was asked for before that answer.
//!
//! Changes are numbered; the table knows the last one of each thing (a person, a path) that has changed. It has a fixed
//! size: in a full set, what changed longest ago makes room, and from then on all that is not in the set counts as changed
//! then. That costs answers which were asked for before, never their truth.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// With 10,000 open sockets, each of which is a change of a person and a path under way, one set in 2,000 is full.
const SETS: usize = 8_192;
/// Things that a set has room for.
const WAYS: usize = 8;

/// The last change of one thing; empty with number 0.
#[derive(Default, Clone, Copy)]
struct Slot {
    subject: u64,
    changed: u64,
    under_way: u32,
    /// Until then, a change may still happen whose end nobody saw; milliseconds since the table was made.
    unknown_until_ms: u64,
}

#[derive(Default)]
struct Set {
    slots: [Slot; WAYS],
    /// What has no slot has changed no later than this.
    others_changed: u64,
    /// Changes under way that found no slot: all of the set waits for them, and for those that nobody knows of.
    others_under_way: u32,
    others_unknown_until_ms: u64,
}

/// Where a change is counted while it is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Own,
    Others,
}

/// The table.
pub(crate) struct Changes {
    sets: Box<[Mutex<Set>]>,
    hasher: RandomState,
    started: Instant,
    /// The number of the last change of all.
    last: AtomicU64,
}

/// One thing that can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subject(u64);

/// What an answer depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subjects {
    /// For whom it is, in all of their sessions; nobody where it is for everyone.
    pub(crate) person: Option<Subject>,
    /// The path, whoever asks.
    pub(crate) path: Subject,
    /// The request itself, whatever `Vary` tells apart: its answers follow each other.
    pub(crate) request: Subject,
}

/// What an answer depends on, each with the last change that it may know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark([Option<(Subject, u64)>; 3]);

/// A change on its way. Dropped before it is settled, nobody knows whether and when it happens.
pub(crate) struct Change {
    table: Arc<Changes>,
    places: [Option<(Subject, Place)>; 2],
    unknown_for: Duration,
}

impl Changes {
    pub(super) fn new() -> Self {
        Self::with_sets(SETS)
    }

    fn with_sets(sets: usize) -> Self {
        Self {
            sets: (0..sets).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            started: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    /// The number of a thing, by its parts. Two of them that meet in one are one thing.
    pub(crate) fn subject<T: Hash + ?Sized>(&self, parts: &T) -> Subject {
        Subject(self.hasher.hash_one(parts))
    }

    fn set(&self, subject: Subject) -> Option<MutexGuard<'_, Set>> {
        let sets = u64::try_from(self.sets.len()).ok()?;
        let index = usize::try_from(subject.0.checked_rem(sets)?).ok()?;
        let set = self.sets.get(index)?;
        Some(set.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Taken with the set of the subject locked, so that its numbers only grow.
    fn next(&self) -> u64 {
        self.last.fetch_add(1, Ordering::SeqCst).saturating_add(1)
    }

    /// The number of its last change; `None` while it is being changed.
    fn stand(&self, subject: Subject) -> Option<u64> {
        self.set(subject)?.stand(subject, self.now_ms())
    }

    /// How things stand; `None` while one of them is being changed.
    pub(crate) fn mark(&self, subjects: &Subjects) -> Option<Mark> {
        let Subjects {
            person,
            path,
            request,
        } = *subjects;
        // First the number: a change that comes between is a newer one.
        let last = self.last.load(Ordering::SeqCst);
        let all = [person, Some(path), Some(request)];
        for subject in all.into_iter().flatten() {
            self.stand(subject)?;
        }
        Some(Mark(all.map(|subject| subject.map(|subject| (subject, last)))))
    }

    /// Whether nothing has changed since.
    pub(crate) fn is_current(&self, mark: &Mark) -> bool {
        let mut marked = mark.0.iter().flatten();
        marked.all(|(subject, last)| self.stand(*subject).is_some_and(|changed| changed <= *last))
    }

    /// An answer has come, newer than all that were given to this request before, and than all that were asked for
    /// before it came. Returns its own mark, if it may be kept.
    pub(crate) fn arrive(&self, request: Subject, mark: Option<Mark>) -> Option<Mark> {
        let mark = mark.filter(|mark| self.is_current(mark));
        let mut set = self.set(request)?;
        let before = set.stand(request, self.now_ms());
        let number = self.next();
        set.change(request, number);
        drop(set);
        let Mark([person, path, asked]) = mark?;
        // Another answer may have come since it was looked at.
        let is_only_one = before
            .zip(asked)
            .is_some_and(|(before, (_, last))| before <= last);
        is_only_one.then_some(Mark([person, path, Some((request, number))]))
    }

    /// A change of a person and a path is about to be sent. When its end is not seen, it may still happen for
    /// `unknown_for`.
    pub(crate) fn begin(self: &Arc<Self>, changed: &Subjects, unknown_for: Duration) -> Change {
        let places = [changed.person, Some(changed.path)].map(|subject| {
            let subject = subject?;
            let mut set = self.set(subject)?;
            let number = self.next();
            Some((subject, set.begin(subject, number)))
        });
        Change {
            table: self.clone(),
            places,
            unknown_for,
        }
    }
}

impl Set {
    fn stand(&self, subject: Subject, now_ms: u64) -> Option<u64> {
        let own = self.slots.iter().find(|slot| slot.is_of(subject));
        let is_still = self.others_under_way == 0
            && self.others_unknown_until_ms <= now_ms
            && own.is_none_or(|own| own.under_way == 0 && own.unknown_until_ms <= now_ms);
        is_still.then_some(own.map_or(self.others_changed, |own| own.changed))
    }

    /// Notes a change; its slot, unless every slot has a change under way.
    fn change(&mut self, subject: Subject, number: u64) -> Option<&mut Slot> {
        let Some(place) = self.place_for(subject) else {
            self.others_changed = number;
            return None;
        };
        let slot = self.slots.get_mut(place)?;
        if !slot.is_of(subject) {
            self.others_changed = self.others_changed.max(slot.changed);
            self.others_unknown_until_ms = self.others_unknown_until_ms.max(slot.unknown_until_ms);
            *slot = Slot {
                subject: subject.0,
                ..Slot::default()
            };
        }
        slot.changed = number;
        Some(slot)
    }

    /// Its own slot, or that of what changed longest ago and is not being changed. An empty one comes before all.
    fn place_for(&self, subject: Subject) -> Option<usize> {
        let own = self.slots.iter().position(|slot| slot.is_of(subject));
        own.or_else(|| {
            let at_rest = self
                .slots
                .iter()
                .enumerate()
                .filter(|(_, slot)| slot.under_way == 0);
            at_rest
                .min_by_key(|(_, slot)| slot.changed)
                .map(|(place, _)| place)
        })
    }

    fn begin(&mut self, subject: Subject, number: u64) -> Place {
        if let Some(slot) = self.change(subject, number) {
            slot.under_way = slot.under_way.saturating_add(1);
            Place::Own
        } else {
            self.others_under_way = self.others_under_way.saturating_add(1);
            Place::Others
        }
    }

    /// A change under way has ended, or nobody will know until `unknown_until_ms`.
    fn end(&mut self, subject: Subject, place: Place, unknown_until_ms: u64) {
        let (under_way, until_ms) = match place {
            Place::Others => (&mut self.others_under_way, &mut self.others_unknown_until_ms),
            // A slot with a change under way makes no room.
            Place::Own => match self.slots.iter_mut().find(|slot| slot.is_of(subject)) {
                Some(slot) => (&mut slot.under_way, &mut slot.unknown_until_ms),
                None => return,
            },
        };
        *under_way = under_way.saturating_sub(1);
        *until_ms = (*until_ms).max(unknown_until_ms);
    }
}

impl Slot {
    const fn is_of(&self, subject: Subject) -> bool {
        self.changed != 0 && self.subject == subject.0
    }
}

impl Change {
    /// It has happened, or will never.
    pub(crate) fn settle(mut self) {
        self.unknown_for = Duration::ZERO;
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        let unknown_until_ms = match u64::try_from(self.unknown_for.as_millis()) {
            Ok(0) => 0,
            Ok(unknown_ms) => self.table.now_ms().saturating_add(unknown_ms),
            Err(_) => u64::MAX,
        };
        for (subject, place) in self.places.into_iter().flatten() {
            if let Some(mut set) = self.table.set(subject) {
                set.end(subject, place, unknown_until_ms);
            }
        }
    }
}

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;
