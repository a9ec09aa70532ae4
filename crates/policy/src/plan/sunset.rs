//! Routes that were to be gone: told by those who know the date.

use super::{Plan, Route};
use crate::{Date, Diagnostic, Severity, diagnostic::code};

impl Plan {
    /// A warning for each route that goes on although clients were told that it is gone by `today`.
    #[must_use]
    pub fn due_sunsets(&self, today: Date) -> Vec<Diagnostic> {
        self.routes.iter().filter_map(|route| due(route, today)).collect()
    }
}

fn due(route: &Route, today: Date) -> Option<Diagnostic> {
    let sunset = route.retirement.sunset.filter(|sunset| today >= *sunset)?;
    let place = route.retirement.sunset_at.as_ref()?;
    Some(Diagnostic {
        code: code::PAST_SUNSET,
        severity: Severity::Warning,
        file: place.file.clone(),
        line: place.line,
        column: place.column,
        length: place.length,
        message: format!("{} was to be gone on {sunset}", route.rule.key()),
        why: "clients were told so, and who goes on using it was not".to_owned(),
        fix: Some("remove the route, or decide anew until when it lives".to_owned()),
        related: None,
    })
}
