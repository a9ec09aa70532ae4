//! OpenAPI documents: bodies that nothing describes, or that a description lets hold anything.

use super::{AuditRule, AuditSeverity, Auditor};
use crate::plan::{Route, RouteTarget};
use http::Method;

static NOT_DESCRIBED: AuditRule = AuditRule::new(
    "A1801",
    AuditSeverity::Low,
    "a body that no OpenAPI document describes",
    "whatever is sent gets to the service: members that it was not meant to set, types and sizes that it does not expect",
    "OWASP API3:2023; OWASP ASVS 5.0 2.2.1",
);
static DESCRIBED_AS_ANYTHING: AuditRule = AuditRule::new(
    "A1802",
    AuditSeverity::Low,
    "a body that may have members of any name",
    "it reads as if the body were checked, and a member that nobody thought of still gets to the service",
    "OWASP API3:2023; OWASP ASVS 5.0 15.3.3",
);

pub(super) static RULES: [&AuditRule; 2] = [&NOT_DESCRIBED, &DESCRIBED_AS_ANYTHING];

impl Auditor<'_> {
    pub(super) fn api_documents(&mut self) {
        for route in self.plan.routes() {
            let key = format!("{}.upstream", route.rule.key());
            let request = format!("`{} {}`", route.method, route.path);
            match &route.operation {
                None if takes_body(route) => self.find(
                    &NOT_DESCRIBED,
                    key,
                    format!("the body of {request} is not checked"),
                    "describe it in the `openapi` of its upstream",
                ),
                Some(operation) if operation.takes_anything() => self.find(
                    &DESCRIBED_AS_ANYTHING,
                    key,
                    format!("the document lets the body of {request} hold anything"),
                    "`properties` in the schema of the body, and no `additionalProperties: true`",
                ),
                Some(_) | None => {}
            }
        }
    }
}

fn takes_body(route: &Route) -> bool {
    let is_forwarded = matches!(route.target, RouteTarget::Upstream(..));
    is_forwarded && matches!(route.method, Method::POST | Method::PUT | Method::PATCH)
}
