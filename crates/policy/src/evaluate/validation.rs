//! Validation: what the OpenAPI document of the upstream says of the request.

use super::{Denial, DenialKind, Evaluation, Phase, Stop};
use crate::{
    openapi::{Operation, RequestFault, Unfit},
    plan::{Route, Rule},
};

static RULE_NO_DOCUMENT: Rule = Rule::of_language("language: no document, nothing to check");

/// Whether a document says what the body of a route may hold.
pub(super) fn reads_body(route: &Route) -> bool {
    route
        .operation
        .as_ref()
        .is_some_and(|operation| operation.reads_body())
}

impl Evaluation<'_> {
    /// The operation, unless its request is only supposed.
    fn asked<'r>(&self, route: &'r Route) -> Option<&'r Operation> {
        let operation = route.operation.as_deref();
        operation.filter(|_| !self.evidence.supposes_content())
    }

    /// Parameters in the path, the query and the header; the type of the body.
    pub(super) fn validate_head(&mut self, route: &Route) -> Result<(), Stop> {
        let Some(operation) = self.asked(route) else {
            return Ok(());
        };
        let target = self.target()?;
        let checked = operation.check_head(target.path, target.query, self.head.headers);
        checked.map_err(|unfit| self.unfit(&operation.rule, unfit))
    }

    /// The body itself. A limit may have had it read of a route that no document describes.
    pub(super) fn validate_body(&mut self, route: &Route) -> Result<(), Stop> {
        let Some(operation) = self.asked(route).filter(|operation| operation.reads_body()) else {
            return Ok(());
        };
        let Some(body) = self.head.body else {
            // Nobody read it, so nothing is known of it.
            let detail = "the request cannot be decided now";
            return Err(self.refuse(
                DenialKind::Unavailable,
                Phase::Validation,
                &operation.rule,
                detail,
            ));
        };
        let checked = operation.check_body(self.head.headers, body);
        checked.map_err(|unfit| self.unfit(&operation.rule, unfit))
    }

    /// The end of the phase, for whoever reads what each came to.
    pub(super) fn validated(&mut self, route: &Route) {
        match &route.operation {
            Some(operation) if self.evidence.supposes_content() => {
                let detail = "not asked: nothing was said of the header and the body";
                self.skip(Phase::Validation, &operation.rule, detail);
            }
            Some(operation) => self.pass(Phase::Validation, &operation.rule, "as the document describes it"),
            None => self.skip(Phase::Validation, &RULE_NO_DOCUMENT, "nothing is checked"),
        }
    }

    fn unfit(&mut self, rule: &Rule, unfit: Unfit) -> Stop {
        match unfit {
            Unfit::MediaType(detail) => {
                self.refuse(DenialKind::UnsupportedMediaType, Phase::Validation, rule, detail)
            }
            Unfit::Faults(errors) => {
                let detail = in_words(&errors);
                let mut denial = Denial::new(
                    DenialKind::InvalidRequest,
                    Phase::Validation,
                    rule.clone(),
                    detail,
                );
                if let Some(first) = errors.first() {
                    denial.reason = first.code;
                }
                denial.errors = errors;
                self.deny(denial)
            }
        }
    }
}

/// The first fault, and how many more there are.
fn in_words(errors: &[RequestFault]) -> String {
    let Some(first) = errors.first() else {
        return "the request does not fit its description".to_owned();
    };
    let place = if first.pointer.is_empty() {
        "the body"
    } else {
        &first.pointer
    };
    let more = match errors.len() {
        0 | 1 => String::new(),
        several => format!(", and {} more", several.saturating_sub(1)),
    };
    format!("{place} {}{more}", first.detail)
}
