//! What became of a request, as expectations see it.

use super::{
    expect::{ABSENT, ANSWER, DENY, Expectation, Key, PERMIT, PRESENT},
    sent::Request,
};
use crate::{Action, Decision, Outcome, Phase, Plan, Rule, Served};
use http::{HeaderMap, HeaderName, HeaderValue, header};

static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// An outcome and the header fields of the answer, as far as the gateway makes them.
pub(super) struct Seen<'o> {
    outcome: &'o Outcome,
    headers: HeaderMap,
    removed: &'o [HeaderName],
}

impl<'o> Seen<'o> {
    pub(super) fn new(plan: &'o Plan, request: &Request, outcome: &'o Outcome) -> Self {
        let origin = request
            .headers
            .get(header::ORIGIN)
            .and_then(|origin| origin.to_str().ok());
        let rules = plan.response_headers(outcome.route.as_deref(), request.scheme, origin);
        let mut headers = rules.set;
        for (name, value) in rules.append {
            headers.append(name, value);
        }
        let mut own: &[(HeaderName, HeaderValue)] = &[];
        match &outcome.decision {
            Decision::Permit(_) => {}
            Decision::Deny(denial) => {
                own = &denial.headers;
                // A problem document (RFC 9457), which nobody may keep.
                let problem = HeaderValue::from_static("application/problem+json");
                headers.insert(header::CONTENT_TYPE, problem);
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            }
            Decision::Respond(answer) => own = &answer.headers,
        }
        headers.extend(own.iter().cloned());
        let is_redirect = headers.contains_key(header::LOCATION);
        if let Some(limit) = outcome.tightest().filter(|_| !is_redirect) {
            headers.insert(&RATE_LIMIT, limit.rate_limit_field());
            headers.insert(&RATE_LIMIT_POLICY, limit.policy_field());
        }
        Self {
            outcome,
            headers,
            removed: rules.remove,
        }
    }

    /// `permit`, `deny` or `answer`.
    pub(super) const fn decision(&self) -> &'static str {
        match self.outcome.decision {
            Decision::Permit(_) => PERMIT,
            Decision::Deny(_) => DENY,
            Decision::Respond(_) => ANSWER,
        }
    }

    /// What is there instead of what was expected; `None` when the expectation is met.
    pub(super) fn instead_of(&self, expectation: &Expectation) -> Option<String> {
        if let Key::Header(name) = &expectation.key {
            return self.header_instead_of(name, &expectation.value);
        }
        let seen = self.value(&expectation.key);
        if seen.as_ref() == Some(&expectation.value) {
            return None;
        }
        Some(match (&expectation.key, &self.outcome.decision) {
            (Key::Decision, Decision::Deny(denial)) => {
                format!("{DENY} with {}: {}", denial.kind.status(), denial.detail)
            }
            (Key::Decision, Decision::Respond(answer)) => format!("{ANSWER} with {}", answer.status),
            (_, decision) => seen.unwrap_or_else(|| {
                let ended = match decision {
                    Decision::Permit(_) => "was permitted",
                    Decision::Deny(_) => "was denied",
                    Decision::Respond(_) => "was answered by the gateway",
                };
                format!("none: the request {ended}")
            }),
        })
    }

    fn value(&self, key: &Key) -> Option<String> {
        let text = |text: &str| Some(text.to_owned());
        match key {
            Key::Decision => text(self.decision()),
            Key::Status => self.status().map(|status| status.to_string()),
            Key::Phase => self.ended().and_then(|(phase, _)| text(phase.as_str())),
            Key::Rule => match &self.outcome.decision {
                Decision::Permit(permit) => text(permit.route().rule.key()),
                Decision::Deny(_) | Decision::Respond(_) => {
                    self.ended().and_then(|(_, rule)| text(rule.key()))
                }
            },
            Key::Route => self.outcome.route.as_ref().and_then(|route| text(&route.name)),
            Key::Upstream => match self.action()? {
                Action::Upstream(upstream) => text(&upstream.name),
                Action::Serve(_) => None,
            },
            Key::Serve => match self.action()? {
                Action::Upstream(_) => None,
                Action::Serve(Served::Jwks) => text("jwks"),
                Action::Serve(Served::Live) => text("live"),
                Action::Serve(Served::Ready) => text("ready"),
            },
            Key::Path => match &self.outcome.decision {
                Decision::Permit(permit) => text(permit.canonical_path()),
                Decision::Deny(_) | Decision::Respond(_) => None,
            },
            Key::Violated => self.violated(),
            Key::Header(name) => self.header(name),
        }
    }

    /// The status of the gateway's own answer.
    const fn status(&self) -> Option<u16> {
        match &self.outcome.decision {
            Decision::Permit(_) => None,
            Decision::Deny(denial) => Some(denial.kind.status()),
            Decision::Respond(answer) => Some(answer.status),
        }
    }

    /// Where the request ended, when it went no further.
    fn ended(&self) -> Option<(Phase, &Rule)> {
        match &self.outcome.decision {
            Decision::Permit(_) => None,
            Decision::Deny(denial) => Some((denial.phase, &denial.rule)),
            Decision::Respond(answer) => Some((answer.phase, &answer.rule)),
        }
    }

    fn action(&self) -> Option<Action<'_>> {
        match &self.outcome.decision {
            Decision::Permit(permit) => Some(permit.action()),
            Decision::Deny(_) | Decision::Respond(_) => None,
        }
    }

    fn violated(&self) -> Option<String> {
        let Decision::Deny(denial) = &self.outcome.decision else {
            return None;
        };
        let mut names = denial.violated_policies.clone();
        names.sort_unstable();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// Every line of a field in one, as a recipient may join them (RFC 9110 §5.3).
    fn header(&self, name: &HeaderName) -> Option<String> {
        let lines: Vec<_> = self
            .headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    }

    fn header_instead_of(&self, name: &HeaderName, expected: &str) -> Option<String> {
        let from_upstream =
            matches!(self.action(), Some(Action::Upstream(_))) && !self.removed.contains(name);
        match (expected, self.header(name)) {
            (ABSENT, None) if !from_upstream => None,
            (PRESENT, Some(_)) => None,
            (expected, Some(seen)) => (seen != expected).then_some(seen),
            (_, None) if from_upstream => Some("whatever the upstream sends".to_owned()),
            (_, None) => Some(ABSENT.to_owned()),
        }
    }
}
