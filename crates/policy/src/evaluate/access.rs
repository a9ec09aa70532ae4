//! Who is it, may it, and is the body within its limit.

use super::{Denial, DenialKind, Evaluation, Phase, Principal, Stop, TokenFailure, framing::length};
use crate::plan::{IdentityProvider, Route, RouteAuth, Rule};
use http::{HeaderValue, header};
use std::sync::Arc;

static RULE_BODY_LENGTH: Rule = Rule::of_language("language: body length FR-2");
static RULE_NO_SCOPES: Rule = Rule::of_language("language: nothing to compare");

impl Evaluation<'_> {
    /// The principal behind the bearer token (RFC 6750 §2.1); `None` on a route for anyone.
    pub(super) fn authentication(&mut self, route: &Arc<Route>) -> Result<Option<Arc<Principal>>, Stop> {
        let provider = match &route.auth {
            RouteAuth::Anyone { .. } => {
                self.skip(Phase::Authentication, &route.rules.auth, "for anyone");
                return Ok(None);
            }
            RouteAuth::Provider(provider) => Arc::clone(provider),
        };
        let principal = self.principal(route, &provider)?;
        if let Some(within) = route.revocations_within
            && !self.evidence.knows_revocations(within)
        {
            let rule = route.rules.revocations.clone();
            let detail = "whether the token was revoked cannot be known now; try again";
            return Err(self.unavailable(rule, STALE_REVOCATIONS, detail));
        }
        self.pass(Phase::Authentication, &route.rules.auth, "the token is good");
        Ok(Some(principal))
    }

    /// The name by which the client's certificate opens the route (TLS-6), as its place in the list of the policy; `None`
    /// on a route that needs no certificate.
    pub(super) fn client_certificate(&mut self, route: &Route) -> Result<Option<usize>, Stop> {
        let Some(wanted) = &route.client_certificate else {
            return Ok(None);
        };
        let found = self.evidence.client_certificate().and_then(|certificate| {
            if certificate.authority != wanted.authority {
                return Err("another_client_authority");
            }
            wanted
                .names
                .iter()
                .position(|name| certificate.names.contains(name))
                .ok_or("another_client_name")
        });
        match found {
            Ok(name) => {
                self.pass(
                    Phase::Authentication,
                    &wanted.rule,
                    "the client certificate is good",
                );
                Ok(Some(name))
            }
            Err(reason) => {
                let mut denial = Denial::new(
                    DenialKind::ClientCertificate,
                    Phase::Authentication,
                    wanted.rule.clone(),
                    "this needs a client certificate that it is open to",
                );
                denial.reason = reason;
                Err(self.deny(denial))
            }
        }
    }

    fn principal(&mut self, route: &Route, provider: &IdentityProvider) -> Result<Arc<Principal>, Stop> {
        let mut values = self.head.headers.get_all(header::AUTHORIZATION).iter();
        let (first, second) = (values.next(), values.next());
        let Some(authorization) = first else {
            return Err(self.unauthenticated(route, "missing", "a bearer token is needed", "Bearer"));
        };
        let token = authorization
            .to_str()
            .ok()
            .filter(|_| second.is_none())
            .and_then(bearer);
        let Some(token) = token else {
            return Err(self.unauthenticated(
                route,
                "malformed",
                "the Authorization header is not one bearer token",
                INVALID,
            ));
        };
        match self.evidence.authenticate(provider, token) {
            Ok(principal) => Ok(principal),
            // The reason is for us: telling it to a client would help to forge a better token.
            Err(TokenFailure::Refused(reason)) => {
                Err(self.unauthenticated(route, reason, "the bearer token is not accepted", INVALID))
            }
            Err(TokenFailure::Unavailable(reason)) => {
                let detail = "tokens cannot be checked now; try again";
                Err(self.unavailable(route.rules.auth.clone(), reason, detail))
            }
        }
    }

    fn unavailable(&mut self, rule: Rule, reason: &'static str, detail: &'static str) -> Stop {
        let mut denial = Denial::new(DenialKind::Unavailable, Phase::Authentication, rule, detail);
        denial.reason = reason;
        denial.retry_after_s = Some(RETRY_AFTER_S);
        denial
            .headers
            .push((header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S)));
        self.deny(denial)
    }

    fn unauthenticated(
        &mut self,
        route: &Route,
        reason: &'static str,
        detail: &'static str,
        challenge: &'static str,
    ) -> Stop {
        let rule = route.rules.auth.clone();
        let mut denial = Denial::new(DenialKind::Unauthenticated, Phase::Authentication, rule, detail);
        denial.reason = reason;
        denial
            .headers
            .push((header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge)));
        self.deny(denial)
    }

    /// Every scope of the route must be in the token, compared exactly (J32: no prefixes, no case folding).
    pub(super) fn authorization(&mut self, route: &Route, principal: Option<&Principal>) -> Result<(), Stop> {
        if route.scopes.is_empty() {
            self.skip(Phase::Authorization, &RULE_NO_SCOPES, "no scope is asked for");
            return Ok(());
        }
        let holds = |scope: &String| principal.is_some_and(|principal| principal.scopes.contains(scope));
        if route.scopes.iter().all(holds) {
            self.pass(Phase::Authorization, &route.rules.scopes, "every scope is there");
            return Ok(());
        }
        let rule = route.rules.scopes.clone();
        let mut denial = Denial::new(
            DenialKind::InsufficientScope,
            Phase::Authorization,
            rule,
            "the token lacks a scope",
        );
        let challenge = format!(
            "Bearer error=\"insufficient_scope\", scope=\"{}\"",
            route.scopes.join(" ")
        );
        if let Ok(challenge) = HeaderValue::from_str(&challenge) {
            denial.headers.push((header::WWW_AUTHENTICATE, challenge));
        }
        Err(self.deny(denial))
    }

    /// The route's own sizes, and the announced length of the body.
    pub(super) fn body(&mut self, route: &Route) -> Result<(), Stop> {
        self.head_sizes(&route.limits, &route.rule)?;
        let announced = match self.head.headers.get(header::CONTENT_LENGTH) {
            None => None,
            Some(value) => {
                let digits = value
                    .to_str()
                    .ok()
                    .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
                let Some(length) = digits.and_then(|digits| digits.parse::<u64>().ok()) else {
                    return Err(self.refuse(
                        DenialKind::MalformedRequest,
                        Phase::Body,
                        &RULE_BODY_LENGTH,
                        "Content-Length is not a number",
                    ));
                };
                Some(length)
            }
        };
        let read = self.head.body.map(|body| length(body.len()));
        if announced
            .max(read)
            .is_some_and(|length| length > route.limits.body)
        {
            return Err(self.refuse(
                DenialKind::PayloadTooLarge,
                Phase::Body,
                &route.rules.body,
                "the body is larger than this route takes",
            ));
        }
        self.pass(Phase::Body, &route.rules.body, "within the limit");
        Ok(())
    }
}

const INVALID: &str = "Bearer error=\"invalid_token\"";
/// The word for the log when a route wants to know more of revocations than the gateway does.
const STALE_REVOCATIONS: &str = "stale_revocations";
/// How long a client waits before it asks again when no key set is there, in seconds.
const RETRY_AFTER_S: u64 = 5;

/// The token of `Bearer <token>` (RFC 6750 §2.1, `b64token`); the scheme ignores case (RFC 9110 §11.1).
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    // All bytes are looked at, which a processor does many at a time.
    let is_token = |byte: u8| {
        byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
    };
    let is_whole = token.bytes().fold(true, |whole, byte| whole & is_token(byte));
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && is_whole).then_some(token)
}
