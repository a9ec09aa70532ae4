//! Which kept answers a change has made old: those that were asked for before the change was sent, or while it was.
//!
//! **Invariant:** whoever has seen the answer to a change is given nothing that was asked for before that answer.
//!
//! Things that can change (people, paths) are numbers in a table of fixed size. Two that meet in one number cost each
//! other their answers, never their truth.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// With 10,000 open sockets, each of which is a change under way, six of seven people still have a number to themselves.
const SLOTS: u64 = 65_536;

#[derive(Default)]
struct Slot {
    begun: AtomicU64,
    under_way: AtomicU32,
    /// Until then, a change may still happen whose end nobody saw; milliseconds since the table was made.
    unknown_until_ms: AtomicU64,
}

/// The table.
pub(crate) struct Changes {
    slots: Box<[Slot]>,
    hasher: RandomState,
    started: Instant,
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

/// What an answer depends on, as it stood when it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark([Option<(Subject, u64)>; 3]);

/// A change on its way. Dropped before it is settled, nobody knows whether and when it happens.
pub(crate) struct Change {
    table: Arc<Changes>,
    subjects: [Option<Subject>; 2],
    unknown_for: Duration,
}

impl Changes {
    pub(super) fn new() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Slot::default()).collect(),
            hasher: RandomState::new(),
            started: Instant::now(),
        }
    }

    /// The number of a thing, by its parts.
    pub(crate) fn subject<T: Hash + ?Sized>(&self, parts: &T) -> Subject {
        let hash = self.hasher.hash_one(parts);
        Subject(hash.checked_rem(SLOTS).unwrap_or(0))
    }

    fn slot(&self, subject: Subject) -> Option<&Slot> {
        self.slots.get(usize::try_from(subject.0).ok()?)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How things stand; `None` while one of them is being changed.
    pub(crate) fn mark(&self, subjects: &Subjects) -> Option<Mark> {
        let Subjects {
            person,
            path,
            request,
        } = *subjects;
        Some(Mark([
            self.stand(person)?,
            self.stand(Some(path))?,
            self.stand(Some(request))?,
        ]))
    }

    #[expect(
        clippy::option_option,
        reason = "no subject is settled; a subject under change is not"
    )]
    fn stand(&self, subject: Option<Subject>) -> Option<Option<(Subject, u64)>> {
        let Some(subject) = subject else { return Some(None) };
        let slot = self.slot(subject)?;
        // In this order: a change counts itself under way before it counts itself begun.
        let begun = slot.begun.load(Ordering::SeqCst);
        let is_still = slot.under_way.load(Ordering::SeqCst) == 0
            && slot.unknown_until_ms.load(Ordering::SeqCst) <= self.now_ms();
        is_still.then_some(Some((subject, begun)))
    }

    /// Whether nothing has changed since.
    pub(crate) fn is_current(&self, mark: &Mark) -> bool {
        mark.0.iter().all(|seen| {
            let subject = seen.map(|(subject, _)| subject);
            self.stand(subject).as_ref() == Some(seen)
        })
    }

    /// An answer has come, newer than all that were given to this request before, and than all that were asked for
    /// before it came. Returns its own mark, if it may be kept.
    pub(crate) fn arrive(&self, request: Subject, mark: Option<Mark>) -> Option<Mark> {
        let current = mark.filter(|mark| self.is_current(mark));
        let begun = self.slot(request)?.begun.fetch_add(1, Ordering::SeqCst);
        let Mark([person, path, _]) = current?;
        Some(Mark([person, path, Some((request, begun.wrapping_add(1)))]))
    }

    /// A change of a person and a path is about to be sent. When its end is not seen, it may still happen for
    /// `unknown_for`.
    pub(crate) fn begin(self: &Arc<Self>, changed: &Subjects, unknown_for: Duration) -> Change {
        let subjects = [changed.person, Some(changed.path)];
        for slot in subjects
            .iter()
            .flatten()
            .filter_map(|subject| self.slot(*subject))
        {
            slot.under_way.fetch_add(1, Ordering::SeqCst);
            slot.begun.fetch_add(1, Ordering::SeqCst);
        }
        Change {
            table: self.clone(),
            subjects,
            unknown_for,
        }
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
        let unknown_ms = u64::try_from(self.unknown_for.as_millis()).unwrap_or(u64::MAX);
        let until = self.table.now_ms().saturating_add(unknown_ms);
        let slots = self.subjects.iter().flatten();
        for slot in slots.filter_map(|subject| self.table.slot(*subject)) {
            if unknown_ms > 0 {
                slot.unknown_until_ms.fetch_max(until, Ordering::SeqCst);
            }
            slot.under_way.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_hours(1);

    fn of(changes: &Changes, person: Option<&str>, path: &str, request: &str) -> Subjects {
        Subjects {
            person: person.map(|person| changes.subject(&["person", person])),
            path: changes.subject(&["path", path]),
            request: changes.subject(&["request", request]),
        }
    }

    #[test]
    fn what_was_asked_for_before_or_during_a_change_is_old() {
        let changes = Arc::new(Changes::new());
        let read = of(&changes, Some("alice"), "/balance", "1");
        let transfer = of(&changes, Some("alice"), "/transfers", "2");
        let before = changes.mark(&read).unwrap();
        assert!(changes.is_current(&before));
        let (first, second) = (changes.begin(&transfer, LONG), changes.begin(&transfer, LONG));
        assert!(!changes.is_current(&before), "from the moment it is sent");
        assert_eq!(changes.mark(&read), None, "nothing is kept meanwhile");
        first.settle();
        assert_eq!(changes.mark(&read), None, "another one is under way");
        second.settle();
        let after = changes.mark(&read).unwrap();
        assert!(changes.is_current(&after) && !changes.is_current(&before));
    }

    #[test]
    fn a_change_whose_end_nobody_saw_may_still_happen_for_a_while() {
        let changes = Arc::new(Changes::new());
        drop(changes.begin(&of(&changes, Some("alice"), "/a", "1"), LONG));
        assert_eq!(changes.mark(&of(&changes, Some("alice"), "/b", "2")), None);
        assert_eq!(changes.mark(&of(&changes, None, "/a", "3")), None);
        assert!(changes.mark(&of(&changes, Some("bob"), "/b", "4")).is_some());
    }

    #[test]
    fn of_answers_to_one_request_none_is_kept_behind_a_newer_one() {
        let changes = Arc::new(Changes::new());
        let read = of(&changes, Some("alice"), "/balance", "1");
        let (slow, quick) = (changes.mark(&read), changes.mark(&read));
        let kept = changes.arrive(read.request, quick).unwrap();
        assert!(changes.is_current(&kept));
        assert_eq!(
            changes.arrive(read.request, slow),
            None,
            "it may be the older one"
        );
        assert!(!changes.is_current(&kept), "and may be the newer one");
        let next = changes.arrive(read.request, changes.mark(&read)).unwrap();
        assert_eq!(
            changes.arrive(read.request, None),
            None,
            "one that is not to be kept"
        );
        assert!(!changes.is_current(&next), "was given all the same");
    }
}
