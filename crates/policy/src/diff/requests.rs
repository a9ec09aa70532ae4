//! Routes that come, go or answer other requests: who may call, and which other route answers instead.

use super::{
    Risk,
    judge::{Comparison, Judgement},
};
use crate::describe::{Definition, Description, Kind};

/// A route that was not there.
pub(super) fn added(comparison: &Comparison<'_>, fresh: &Definition) -> Judgement {
    let request = fresh.text("match");
    let before = answering(comparison.old, &request);
    let until_now = before
        .map(|route| format!("; until now `{}` answered, for {}", route.name(), who(route)))
        .unwrap_or_default();
    let risk = match (is_open(fresh), before) {
        (true, Some(before)) if !is_open(before) => Risk::Critical,
        (true, _) => Risk::High,
        (false, Some(before)) if is_open(before) => Risk::Low,
        (false, _) => Risk::Medium,
    };
    Judgement::new(risk, format!("{} may call {request}{until_now}", who(fresh)))
}

/// A route that is gone.
pub(super) fn removed(comparison: &Comparison<'_>, gone: &Definition) -> Judgement {
    let request = gone.text("match");
    let Some(after) = answering(comparison.new, &request) else {
        return Judgement::new(Risk::Low, format!("{request} is refused with 404 or 405"));
    };
    let risk = match (is_open(gone), is_open(after)) {
        (false, true) => Risk::Critical,
        (true, false) => Risk::Low,
        (_, _) => Risk::Medium,
    };
    Judgement::new(
        risk,
        format!(
            "{request} is answered by `{}` from now on, for {}",
            after.name(),
            who(after)
        ),
    )
}

/// The same name for other requests, or other names of parameters.
pub(super) fn another_match(
    comparison: &Comparison<'_>,
    before: &Definition,
    after: &Definition,
) -> Judgement {
    let (old, new) = (before.text("match"), after.text("match"));
    if covers(&old, &new) && covers(&new, &old) {
        return Judgement::new(
            Risk::Info,
            "a parameter has another name; the requests are the same",
        );
    }
    let (gone, fresh) = (removed(comparison, before), added(comparison, after));
    Judgement::new(
        gone.risk.max(fresh.risk),
        format!("{}; {}", fresh.consequence, gone.consequence),
    )
}

fn is_open(route: &Definition) -> bool {
    route.reference("auth").is_none()
}

/// Who may call a route: `anyone`, `tokens of customers with cash:write`.
fn who(route: &Definition) -> String {
    if is_open(route) {
        return "anyone".to_owned();
    }
    let scopes = route.text("scopes");
    let with = if scopes == "[]" {
        String::new()
    } else {
        format!(" with {scopes}")
    };
    format!("tokens of {}{with}", route.text("auth"))
}

/// The route that answers the requests of `request`, if one does: a static part goes before a parameter.
fn answering<'d>(description: &'d Description, request: &str) -> Option<&'d Definition> {
    let is_static = |route: &&Definition| -> Vec<bool> {
        route
            .text("match")
            .split('/')
            .map(|part| !part.starts_with('{'))
            .collect()
    };
    description
        .all(Kind::Route)
        .filter(|route| covers(&route.text("match"), request))
        .max_by_key(is_static)
}

/// Whether every request of `request` is one of `pattern` too.
fn covers(pattern: &str, request: &str) -> bool {
    let is_parameter = |part: &str| part.starts_with('{');
    let (mut pattern, mut request) = (pattern.split('/'), request.split('/'));
    loop {
        match (pattern.next(), request.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b || is_parameter(a) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn a_parameter_covers_a_part_and_no_more() {
        assert!(covers("GET /a/{x}", "GET /a/b"));
        assert!(covers("GET /a/{x}", "GET /a/{y}"));
        assert!(!covers("GET /a/b", "GET /a/{y}"));
        assert!(!covers("GET /a/{x}", "POST /a/b"));
        assert!(!covers("GET /a/{x}", "GET /a/b/c"));
        assert!(!covers("GET /a/{x}/c", "GET /a/b"));
    }
}
