//! What is told of changes, also when the table is too small for all of them.

use std::collections::HashMap;

use proptest::prelude::*;

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

/// What happens to few things, in a table or in a model that forgets nothing.
#[derive(Debug, Clone)]
enum Event {
    Ask(u8),
    Begin(u8),
    /// The oldest change under way is settled, or its end is not seen.
    Settle,
    Lose,
    /// The answer to the oldest question has come.
    Arrive,
}

fn event(things: u8) -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..things).prop_map(Event::Ask),
        4 => (0..things).prop_map(Event::Begin),
        3 => Just(Event::Settle),
        1 => Just(Event::Lose),
        3 => Just(Event::Arrive),
    ]
}

/// What holds of each thing, without a bound: the times of its last change and its last answer, by the count of events.
#[derive(Default)]
struct Model {
    changed: HashMap<u8, usize>,
    answered: HashMap<u8, usize>,
    under_way: HashMap<u8, usize>,
    lost: Vec<u8>,
}

impl Model {
    fn is_still(&self, thing: u8) -> bool {
        self.under_way.get(&thing).is_none_or(|count| *count == 0) && !self.lost.contains(&thing)
    }

    /// Whether nothing of it has happened since, but for an answer at `answered`.
    fn is_current(&self, thing: u8, asked: usize, answered: Option<usize>) -> bool {
        let is_before = |event: Option<&usize>| event.is_none_or(|event| *event < asked);
        let last = self.answered.get(&thing);
        self.is_still(thing)
            && is_before(self.changed.get(&thing))
            && (is_before(last) || last == answered.as_ref())
    }
}

/// Lets all of it happen to a table of one set and to a model: what each says of every question, one after the other.
/// Each thing is a path, and a request of its own: two numbers in the table.
fn said_by_both(events: Vec<Event>) -> Vec<(bool, bool)> {
    let table = Arc::new(Changes::with_sets(1));
    let of = |thing: u8| Subjects {
        person: None,
        path: table.subject(&("path", thing)),
        request: table.subject(&("request", thing)),
    };
    let (mut model, mut said) = (Model::default(), Vec::new());
    let (mut asked, mut kept, mut under_way) = (Vec::new(), Vec::new(), Vec::new());
    for (now, event) in events.into_iter().enumerate() {
        match event {
            Event::Ask(thing) => {
                let mark = table.mark(&of(thing));
                said.push((mark.is_some(), model.is_still(thing)));
                asked.push((thing, now, mark, model.is_still(thing)));
            }
            Event::Begin(thing) => {
                model.changed.insert(thing, now);
                *model.under_way.entry(thing).or_default() += 1;
                under_way.push((thing, table.begin(&of(thing), LONG)));
            }
            Event::Settle | Event::Lose if under_way.is_empty() => {}
            Event::Settle | Event::Lose => {
                let (thing, change) = under_way.remove(0);
                *model.under_way.get_mut(&thing).unwrap() -= 1;
                if matches!(event, Event::Settle) {
                    change.settle();
                } else {
                    model.lost.push(thing);
                }
            }
            Event::Arrive if asked.is_empty() => {}
            Event::Arrive => {
                let (thing, at, mark, was_still) = asked.remove(0);
                let may_be_kept = was_still && model.is_current(thing, at, None);
                let mark = table.arrive(of(thing).request, mark);
                model.answered.insert(thing, now);
                said.push((mark.is_some(), may_be_kept));
                kept.extend(mark.map(|mark| (thing, at, now, mark)));
            }
        }
        for (thing, asked, answered, mark) in &kept {
            let is_current = model.is_current(*thing, *asked, Some(*answered));
            said.push((table.is_current(mark), is_current));
        }
    }
    said
}

proptest! {
    /// However full it is, what is old is never called current, and what is being changed never still.
    #[test]
    fn a_full_table_costs_answers_and_never_truth(events in prop::collection::vec(event(30), 0..200)) {
        for (table, model) in said_by_both(events) {
            prop_assert!(!table || model);
        }
    }

    /// And where there is room for all, nothing else is lost.
    #[test]
    fn things_that_the_table_has_room_for_cost_each_other_nothing(
        events in prop::collection::vec(event(4), 0..100),
    ) {
        for (table, model) in said_by_both(events) {
            prop_assert_eq!(table, model);
        }
    }
}

#[test]
fn what_changes_in_a_full_set_under_way_is_waited_for() {
    let changes = Arc::new(Changes::with_sets(1));
    let thing = |number: usize| of(&changes, None, &number.to_string(), "1");
    let under_way: Vec<_> = (0..=WAYS)
        .map(|number| changes.begin(&thing(number), LONG))
        .collect();
    assert_eq!(changes.mark(&thing(WAYS)), None, "it has found no slot");
    assert_eq!(
        changes.mark(&thing(WAYS + 1)),
        None,
        "nobody can tell it from that one"
    );
    under_way.into_iter().for_each(Change::settle);
    assert!(changes.mark(&thing(WAYS)).is_some());
}
