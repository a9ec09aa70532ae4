//! A waiver in force: what it waives, why, and until when.

use super::{Plan, Rule};
use crate::{
    Date, Diagnostic, Severity,
    diagnostic::{Place, code},
};

/// From this many days before its end on, a waiver is told of.
const SOON_DAYS: i64 = 14;

/// An exception from one rule at one key.
#[derive(Debug, Clone)]
pub struct Waiver {
    /// Name in the policy.
    pub name: String,
    /// Code of the finding that it takes back: `P3006`, `A1301`.
    pub code: String,
    /// The key that the finding is about: `routes.upload.limits.body`.
    pub key: String,
    /// The reason given in the policy.
    pub because: String,
    /// The last day of it, UTC.
    pub until: Date,
    /// Where it is written.
    pub rule: Rule,
    pub(crate) until_at: Place,
}

impl Waiver {
    /// Whether its last day is over.
    #[must_use]
    pub fn is_expired(&self, today: Date) -> bool {
        today > self.until
    }

    fn due(&self, today: Date) -> Option<Diagnostic> {
        let left = self.until.days_since(today);
        let (name, until) = (&self.name, self.until);
        let (code, severity, message) = if self.is_expired(today) {
            let message = format!("waiver `{name}` expired: its last day was {until}");
            (code::WAIVER_EXPIRED, Severity::Error, message)
        } else if left <= SOON_DAYS {
            let when = match left {
                0 => "today".to_owned(),
                1 => "tomorrow".to_owned(),
                left => format!("in {left} days"),
            };
            let message = format!("waiver `{name}` ends {when}: its last day is {until}");
            (code::WAIVER_EXPIRES_SOON, Severity::Warning, message)
        } else {
            return None;
        };
        Some(Diagnostic {
            code,
            severity,
            file: self.until_at.file.clone(),
            line: self.until_at.line,
            column: self.until_at.column,
            length: self.until_at.length,
            message,
            why: "an exception that nobody decides on again becomes the rule".to_owned(),
            fix: Some(format!(
                "mend {} ({}), or decide anew until when",
                self.key, self.code
            )),
            related: None,
        })
    }
}

impl Plan {
    /// Every waiver, by name, expired ones included: the compiler does not know the date.
    #[must_use]
    pub fn waivers(&self) -> &[Waiver] {
        &self.waivers
    }

    /// The waivers whose last day is over.
    pub fn expired_waivers(&self, today: Date) -> impl Iterator<Item = &Waiver> {
        self.waivers.iter().filter(move |waiver| waiver.is_expired(today))
    }

    /// What to tell about waivers on this day: an error for each that has expired, a warning for each that soon will.
    #[must_use]
    pub fn due_waivers(&self, today: Date) -> Vec<Diagnostic> {
        self.waivers
            .iter()
            .filter_map(|waiver| waiver.due(today))
            .collect()
    }
}
