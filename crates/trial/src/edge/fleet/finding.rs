//! What a drill has found.

use std::fmt;

use super::super::flood::Statuses;

/// One thing that was lost or came back, and what was seen.
#[derive(Debug)]
pub struct Finding {
    /// What was done, and what the policy says of it.
    pub what: &'static str,
    /// What was answered.
    pub seen: Statuses,
    /// What else was seen.
    pub note: String,
    /// Whether that is what the policy says.
    pub holds: bool,
    /// Whether it must not hold: a control shows that the drill finds what is wrong.
    pub is_control: bool,
}

impl Finding {
    /// Answers, beside those that are expected.
    pub(super) fn of(what: &'static str, seen: Statuses, expected: &[(u16, usize)]) -> Self {
        let expected: Statuses = expected.iter().copied().filter(|(_, count)| *count > 0).collect();
        Self {
            what,
            holds: seen == expected,
            seen,
            note: String::new(),
            is_control: false,
        }
    }

    /// The same, with something else that must hold as well.
    pub(super) fn and_that(mut self, (note, holds): (String, bool)) -> Self {
        self.note = note;
        self.holds &= holds;
        self
    }

    /// The same as a control.
    pub(super) const fn control(mut self) -> Self {
        self.is_control = true;
        self
    }

    /// Whether it holds, or as a control does not.
    #[must_use]
    pub const fn is_as_expected(&self) -> bool {
        self.holds != self.is_control
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.holds, self.is_control) {
            (true, false) => "ok",
            (false, false) => "BAD",
            (false, true) => "bad, as it must be",
            (true, true) => "NOT BAD",
        };
        let seen = self.seen.iter().map(|(status, count)| match status {
            0 => format!("{count} × no answer"),
            status => format!("{count} × {status}"),
        });
        let note = (!self.note.is_empty()).then(|| self.note.clone());
        let seen: Vec<String> = seen.chain(note).collect();
        write!(f, "{verdict:<18}  {:<89} {}", self.what, seen.join(", "))
    }
}
