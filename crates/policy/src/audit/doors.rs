//! Open doors: what anyone may do, and what is open beside or inside what is locked.

use super::{AuditRule, AuditSeverity, Auditor};
use crate::plan::Route;
use http::Method;

static OPEN_CHANGE: AuditRule = AuditRule::new(
    "A1404",
    AuditSeverity::Critical,
    "anyone may replace, change, delete, or write what is protected",
    "no token says who did it, and nothing stops the next one",
    "OWASP API2:2023, API5:2023",
);
static OPEN_OPERATIONS: AuditRule = AuditRule::new(
    "A1405",
    AuditSeverity::High,
    "a path for operators is open to anyone",
    "metrics, consoles and debug pages tell how to attack, and some obey",
    "OWASP API8:2023, API9:2023",
);
static OPEN_OBJECTS: AuditRule = AuditRule::new(
    "A1406",
    AuditSeverity::High,
    "objects by id, open to anyone",
    "whoever counts or guesses ids gets every object, and no token says who it was",
    "OWASP API1:2023, API2:2023",
);
static OPEN_BESIDE_LOCKED: AuditRule = AuditRule::new(
    "A1407",
    AuditSeverity::High,
    "open inside, or as the list of, what is protected",
    "what the protected route guards is told by the door next to it",
    "OWASP API1:2023, API5:2023",
);

pub(super) static RULES: [&AuditRule; 4] =
    [&OPEN_CHANGE, &OPEN_OPERATIONS, &OPEN_OBJECTS, &OPEN_BESIDE_LOCKED];

impl Auditor<'_> {
    pub(super) fn doors(&mut self) {
        for route in self.plan.routes().iter().filter(|route| !route.is_protected()) {
            self.door(route);
        }
    }

    fn door(&mut self, route: &Route) {
        let key = format!("{}.auth", route.rule.key());
        let what = format!("`{} {}`", route.method, route.path);
        let changes = matches!(route.method, Method::PUT | Method::PATCH | Method::DELETE)
            || (route.writes() && route.has_id() && !route.is_log_in());
        if changes {
            self.find(
                &OPEN_CHANGE,
                key.as_str(),
                format!("anyone may {what}"),
                "name an identity provider in `auth`, and scopes",
            );
        } else if let Some(locked) = self.locked_below(route) {
            let (name, locked) = (&locked.name, format!("{} {}", locked.method, locked.path));
            self.find(
                &OPEN_CHANGE,
                key.as_str(),
                format!("anyone may {what}, but `{name}` protects `{locked}`"),
                format!("`auth` as in `{name}`, and scopes"),
            );
        } else if route.has_id() {
            self.find(
                &OPEN_OBJECTS,
                key.as_str(),
                format!("anyone may {what}, with any id"),
                "name an identity provider in `auth`, and scopes; what is public has a path without ids",
            );
        } else if let Some(locked) = self.locked_beside(route) {
            let (name, locked) = (&locked.name, format!("{} {}", locked.method, locked.path));
            self.find(
                &OPEN_BESIDE_LOCKED,
                key.as_str(),
                format!("anyone may {what}, but `{name}` protects `{locked}`"),
                format!("`auth` as in `{name}`, or a path elsewhere for what is public"),
            );
        }
        if route.is_operations() {
            self.find(
                &OPEN_OPERATIONS,
                key,
                format!("anyone may {what}"),
                "remove the route, or protect it; services have a private port for this",
            );
        }
    }

    /// A protected route at the same path as this open write, or below it: `POST /transfers` makes what
    /// `GET /transfers/{id}` protects. Who registers has no token yet.
    fn locked_below(&self, open: &Route) -> Option<&Route> {
        if !open.writes() || open.is_log_in() || open.is_registration() {
            return None;
        }
        let routes = self.plan.routes().iter().map(AsRef::as_ref);
        let mut locked = routes.filter(|route| route.is_protected());
        locked.find(|locked| {
            let rest = locked.path.strip_prefix(open.path.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// A protected route whose path this open one is inside of, or lists. What is public to read may be protected to
    /// write. Where credentials are tried, nobody has a token yet, wherever the path is.
    fn locked_beside(&self, open: &Route) -> Option<&Route> {
        if open.is_log_in() {
            return None;
        }
        let routes = self.plan.routes().iter().map(AsRef::as_ref);
        let mut locked = routes.filter(|route| route.is_protected() && (open.writes() || !route.writes()));
        locked.find(|locked| {
            is_inside(&open.path, &locked.path) || (!open.writes() && lists(&open.path, &locked.path))
        })
    }
}

/// Whether a path begins as a template does: `/accounts/mine/limits` is inside `/accounts/{id}`. A template of
/// parameters alone says nothing about what it holds. The same path with another method is no part of itself.
fn is_inside(path: &str, template: &str) -> bool {
    let is_parameter = |part: &str| part.starts_with('{');
    let mut parts = path.split('/').skip(1);
    let mut names_something = false;
    for of_template in template.split('/').skip(1) {
        match parts.next() {
            Some(part) if part == of_template => names_something |= !is_parameter(part),
            Some(_) if is_parameter(of_template) => {}
            _ => return false,
        }
    }
    names_something && path != template
}

/// Whether one path lists what the other gives one by one: `/accounts` and `/accounts/{id}`.
fn lists(list: &str, one: &str) -> bool {
    one.strip_prefix(list)
        .and_then(|rest| rest.strip_prefix("/{"))
        .is_some_and(|rest| !rest.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::is_inside;

    #[test]
    fn a_path_is_inside_what_it_begins_with() {
        for (path, template) in [
            ("/accounts/mine", "/accounts/{id}"),
            ("/accounts/mine/limits", "/accounts/{id}"),
            ("/accounts/all", "/accounts"),
            ("/a/b/c", "/a/{x}/c"),
        ] {
            assert!(is_inside(path, template), "{path} {template}");
        }
        for (path, template) in [
            ("/accounts", "/accounts"),
            ("/accounts", "/accounts/{id}"),
            ("/accounts-of-others", "/accounts"),
            ("/health", "/{tenant}"),
            ("/a/b/d", "/a/{x}/c"),
            ("/", "/accounts"),
        ] {
            assert!(!is_inside(path, template), "{path} {template}");
        }
    }
}
