//! One case as written: a request and what must become of it, or several in a row.

use super::{
    expect::{self, Expectation},
    request::RequestDocument,
    sent::Request,
};
use crate::{
    Plan,
    diagnostic::{Findings, Span, code},
    language,
    read::{At, Field, Mapping},
};
use std::time::Duration;

/// Longest pause between two steps.
const LONGEST_PAUSE: Duration = Duration::from_hours(24 * 31);

/// One case, ready to run.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) environment: Environment,
    pub(super) steps: Vec<Step>,
    /// Whether it was written with `steps`, so that a report names the step.
    pub(super) has_steps: bool,
}

/// Where a case runs.
#[derive(Debug, Clone)]
pub(super) enum Environment {
    All,
    Named(At<String>),
    /// None is written: production.
    Production,
}

/// Some requests, one after the other without a pause, and what must become of each of them.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) at: Span,
    pub(super) after: Duration,
    pub(super) times: u64,
    pub(super) request: Request,
    pub(super) expected: Vec<Expectation>,
}

/// A step before what its case says for all steps is filled in.
struct StepDocument {
    path: String,
    at: Span,
    after: Option<At<Duration>>,
    times: u64,
    request: RequestDocument,
    expected: Vec<Expectation>,
}

impl Case {
    /// Reads one case.
    pub(super) fn read(field: &Field<'_>, findings: &mut Findings) -> Option<Self> {
        let before = findings.len();
        let case = Mapping::open(field, language::CASE, findings)?;
        let environment = match case.optional("environment") {
            None => Some(Environment::Production),
            Some(field) => field.text(findings).map(|name| match name.value.as_str() {
                "all" => Environment::All,
                _ => Environment::Named(name),
            }),
        };
        let request = request(&case, findings);
        let expected = expected(&case, findings);
        let steps = match case.optional("steps") {
            Some(steps) => read_steps(&steps, findings),
            None => vec![StepDocument::whole(field)],
        };
        if findings.len() > before {
            return None;
        }
        let finish = |step: StepDocument| step.finish(&request, &expected, findings);
        let steps: Vec<Option<Step>> = steps.into_iter().map(finish).collect();
        Some(Self {
            environment: environment?,
            steps: steps.into_iter().collect::<Option<_>>()?,
            has_steps: case.optional("steps").is_some(),
        })
    }

    /// Whether it runs in the environment of this plan.
    pub(super) fn runs_in(&self, plan: &Plan) -> bool {
        match &self.environment {
            Environment::All => true,
            Environment::Named(name) => name.value == plan.environment(),
            Environment::Production => plan.environment() == "production",
        }
    }
}

fn request(place: &Mapping<'_>, findings: &mut Findings) -> RequestDocument {
    place
        .optional("request")
        .and_then(|field| RequestDocument::read(&field, findings))
        .unwrap_or_default()
}

fn expected(place: &Mapping<'_>, findings: &mut Findings) -> Vec<Expectation> {
    place
        .optional("expect")
        .map(|field| expect::read(&field, findings))
        .unwrap_or_default()
}

fn read_steps(field: &Field<'_>, findings: &mut Findings) -> Vec<StepDocument> {
    let Some(items) = field.items(findings) else {
        return Vec::new();
    };
    if items.is_empty() {
        findings
            .error(code::BAD_LIST, field.node.at, format!("{} is empty", field.path))
            .why("a case without a request can never fail")
            .fix("write at least one step, or leave `steps` out");
    }
    let mut steps = Vec::with_capacity(items.len());
    for (number, mut item) in (1_usize..).zip(items) {
        item.path = format!("{}[{number}]", field.path);
        steps.extend(StepDocument::read(&item, number == 1, findings));
    }
    steps
}

impl StepDocument {
    /// The only step of a case without `steps`.
    fn whole(case: &Field<'_>) -> Self {
        Self {
            path: case.path.clone(),
            at: case.key_at,
            after: None,
            times: 1,
            request: RequestDocument::default(),
            expected: Vec::new(),
        }
    }

    fn read(field: &Field<'_>, is_first: bool, findings: &mut Findings) -> Option<Self> {
        let step = Mapping::open(field, language::CASE_STEP, findings)?;
        let after = step.optional("after");
        if let Some(after) = after.as_ref().filter(|_| is_first) {
            findings
                .error(
                    code::NO_EFFECT,
                    after.key_at,
                    "nothing comes before the first step",
                )
                .why("every case begins with fresh counters, so waiting changes nothing")
                .fix("remove it, or move it to a later step");
        }
        Some(Self {
            path: field.path.clone(),
            at: field.key_at,
            after: after.and_then(|field| field.duration(LONGEST_PAUSE, findings)),
            times: step.optional("times").map_or(1, |field| {
                let times = field.number(1..=language::MOST_TIMES, findings);
                times.map_or(1, |times| times.value)
            }),
            request: request(&step, findings),
            expected: expected(&step, findings),
        })
    }

    fn finish(
        self,
        request: &RequestDocument,
        expected: &[Expectation],
        findings: &mut Findings,
    ) -> Option<Step> {
        let expected = expect::merged(expected, self.expected);
        if expected.is_empty() {
            findings
                .error(
                    code::EXPECTS_NOTHING,
                    self.at,
                    format!("{} expects nothing", self.path),
                )
                .why("it could never fail")
                .fix("add `expect: { decision: permit }`, or what else must become of the request");
        }
        expect::refuse_contradictions(&expected, findings);
        let request = self.request.or(request).finish(&self.path, self.at, findings);
        Some(Step {
            at: self.at,
            after: self.after.map_or(Duration::ZERO, |after| after.value),
            times: self.times,
            request: request?,
            expected,
        })
    }
}
