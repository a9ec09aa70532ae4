//! Every rule that can decide a request, by the name that `explain` and the access log give it.

use crate::{Plan, Route, framing, plan::Rule};

/// Rules of the language that some decision names, beside those of [`framing`]. A test finds one that is missing.
const OF_LANGUAGE: [&str; 15] = [
    "language: address AD-1",
    "language: body length FR-2",
    "language: hosts",
    "language: limits are counted or the answer is no",
    "language: listener",
    "language: no cors, no other origin",
    "language: no document, nothing to check",
    "language: no limit here",
    "language: nothing to compare",
    "language: path PA-1",
    "language: path PA-2",
    "language: path PA-3",
    "language: path PA-6",
    "language: redirect RD-1",
    "language: routes",
];

/// The names of all rules of a plan.
pub(super) fn names(plan: &Plan) -> Vec<&str> {
    let listeners = plan.listeners.iter().flat_map(|listener| {
        let http = listener.http.as_ref().map(|http| &http.rule);
        [&listener.rule, &listener.https.rule].into_iter().chain(http)
    });
    let floor = &plan.floor;
    let of_floor = [&floor.rule, &plan.hosts_rule].into_iter();
    let of_floor = of_floor.chain(floor.deny_from.as_ref().map(|from| &from.rule));
    let of_floor = of_floor.chain(floor.rate.iter().map(|limit| &limit.rule));
    let of_routes = plan.routes.iter().flat_map(|route| of_route(route));
    let written = listeners.chain(of_floor).chain(of_routes).map(Rule::key);
    let mut names: Vec<&str> = written.chain(OF_LANGUAGE).chain(framing::RULES).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn of_route(route: &Route) -> impl Iterator<Item = &Rule> {
    let rules = &route.rules;
    let own = [
        &route.rule,
        &rules.matched,
        &rules.auth,
        &rules.scopes,
        &rules.body,
        &rules.target,
        &route.headers.rule,
    ];
    let certificate = route.client_certificate.as_ref().map(|needed| &needed.rule);
    let addresses = route.allow_from.as_ref().map(|from| &from.rule);
    let cors = route.cors.as_ref().map(|cors| &cors.rule);
    let limits = route.rates().map(|limit| &limit.rule);
    let operation = route.operation.as_ref().map(|operation| &operation.rule);
    own.into_iter()
        .chain(certificate)
        .chain(addresses)
        .chain(cors)
        .chain(limits)
        .chain(operation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_of_the_language_can_be_expected() {
        let sources = [
            include_str!("../evaluate/access.rs"),
            include_str!("../evaluate/address.rs"),
            include_str!("../evaluate/charges.rs"),
            include_str!("../evaluate/cors.rs"),
            include_str!("../evaluate/framing.rs"),
            include_str!("../evaluate/mod.rs"),
            include_str!("../evaluate/validation.rs"),
            include_str!("../framing.rs"),
            include_str!("../path/mod.rs"),
        ];
        let mut used: Vec<&str> = sources
            .iter()
            .flat_map(|source| source.split('"'))
            .filter(|text| text.starts_with("language: "))
            .collect();
        used.sort_unstable();
        used.dedup();
        let mut known = [&OF_LANGUAGE[..], &framing::RULES].concat();
        known.sort_unstable();
        known.dedup();
        assert_eq!(known, used);
    }
}
