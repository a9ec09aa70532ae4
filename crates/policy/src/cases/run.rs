//! Running cases: each request through the evaluator, on counters that belong to its case alone.

use super::{
    Suite,
    coverage::{Proof, proofs},
    document::{Case, Step},
    expect::Expectation,
    seen::Seen,
    supposed::{Counters, Supposed},
};
use crate::{Decision, Outcome, PhaseTrace, Plan, Scheme, diagnostic::Span, is_failure, read::Named};
use std::{collections::BTreeSet, time::Duration};

/// Longest target in a report, in characters.
const SHOWN: usize = 100;

/// What came of running cases.
#[derive(Debug, Default)]
pub struct Report {
    /// How many cases ran. One that runs in several environments counts once.
    pub ran: usize,
    /// The cases that failed, in the order of their files; once for each environment.
    pub failures: Vec<Failure>,
    /// Routes with what some case expects of them and saw.
    pub(super) covered: BTreeSet<(String, Proof)>,
}

/// A case that failed, with the first request that showed it.
#[derive(Debug)]
pub struct Failure {
    /// Name of the case.
    pub case: String,
    /// The environment it ran in.
    pub environment: String,
    /// File of the case.
    pub file: String,
    /// Line of the case, or of its step, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// The request in words, and which one of the case it is.
    pub request: String,
    /// What is not as expected.
    pub differences: Vec<Difference>,
    /// Every phase that ran for this request.
    pub trace: Vec<PhaseTrace>,
}

/// An expectation that is not met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The key of `expect`, or the name of a header field.
    pub key: String,
    /// What the case expects.
    pub expected: String,
    /// What was seen.
    pub got: String,
    /// Line of the expectation, from 1.
    pub line: u32,
}

impl Suite {
    /// Runs the cases that `wanted` accepts by file and name, each in its environments among `plans`.
    #[must_use]
    pub fn run(&self, plans: &[Plan], wanted: impl Fn(&str, &str) -> bool) -> Report {
        let mut report = Report::default();
        for (named, case) in self.each() {
            let file = self.file(named.at);
            let mut plans = plans
                .iter()
                .filter(|plan| case.runs_in(plan) && wanted(file, &named.name))
                .peekable();
            report.ran = report.ran.saturating_add(usize::from(plans.peek().is_some()));
            for plan in plans {
                let failure = self.run_case(plan, named, case, &mut report.covered);
                report.failures.extend(failure);
            }
        }
        report
    }

    fn file(&self, at: Span) -> &str {
        self.files.get(at.file).map_or("", |file| file.name.as_str())
    }

    fn run_case(
        &self,
        plan: &Plan,
        named: &Named<Case>,
        case: &Case,
        covered: &mut BTreeSet<(String, Proof)>,
    ) -> Option<Failure> {
        let mut counters = Counters::default();
        for (number, step) in (1_usize..).zip(&case.steps) {
            counters.pass(step.after);
            for time in 1..=step.times {
                let outcome = ask(plan, step, &counters);
                let seen = Seen::new(plan, &step.request, &outcome);
                let differences = differences(step, &seen);
                if differences.is_empty() {
                    covered.extend(proofs(step, &outcome));
                    continue;
                }
                return Some(Failure {
                    case: named.name.clone(),
                    environment: plan.environment().to_owned(),
                    file: self.file(step.at).to_owned(),
                    line: step.at.line,
                    column: step.at.column,
                    request: format!(
                        "{}{}",
                        moment(case, number, step, time, &counters),
                        words(plan, step)
                    ),
                    differences,
                    trace: outcome.trace,
                });
            }
        }
        None
    }
}

/// Sends the request of a step once, and the upstream's answer to it.
fn ask(plan: &Plan, step: &Step, counters: &Counters) -> Outcome {
    let request = &step.request;
    let (listener, host) = (listener(plan, step), host(plan, step));
    let by_name = plan.listeners().iter().find(|it| it.name == listener);
    let port = by_name.map_or(443, |listener| listener.https.bind.port());
    let mut head = request.head(listener, port, host);
    if plan.body_needed(&head).is_some() {
        head.body = Some(request.body.as_ref().map_or(b"{}", |body| &body.bytes));
    }
    let evidence = Supposed {
        counters,
        token: &request.token,
        client_certificate: request.client_certificate.as_ref().map(|shown| &shown.value),
        supposes_content: request.supposes_content(),
    };
    let outcome = plan.explain(&head, &evidence);
    let is_permit = matches!(outcome.decision, Decision::Permit(_));
    if !is_permit || !is_failure(request.answered) {
        counters.refund(&outcome.failure_charges);
    }
    outcome
}

fn listener<'s>(plan: &'s Plan, step: &'s Step) -> &'s str {
    match &step.request.listener {
        Some(listener) => &listener.value,
        None => plan.listeners().first().map_or("", |first| first.name.as_str()),
    }
}

fn host<'s>(plan: &'s Plan, step: &'s Step) -> &'s str {
    match &step.request.host {
        Some(host) => host,
        None => plan.hosts().first().map_or("", String::as_str),
    }
}

fn differences(step: &Step, seen: &Seen<'_>) -> Vec<Difference> {
    let difference = |expectation: &Expectation| {
        Some(Difference {
            key: expectation.key.as_str().to_owned(),
            expected: expectation.value.clone(),
            got: seen.instead_of(expectation)?,
            line: expectation.at.line,
        })
    };
    step.expected.iter().filter_map(difference).collect()
}

/// Which request of a case it is: `step 2, time 6 of 7, after 12s: `.
fn moment(case: &Case, number: usize, step: &Step, time: u64, counters: &Counters) -> String {
    if !case.has_steps {
        return String::new();
    }
    let time = match step.times {
        1 => String::new(),
        times => format!(", time {time} of {times}"),
    };
    let after = match counters.elapsed() {
        Duration::ZERO => String::new(),
        elapsed => format!(", after {elapsed:?}"),
    };
    format!("step {number}{time}{after}: ")
}

/// The request in words: `GET https://api.bank.example/api/v1/me from 203.0.113.7, token of usr_1`.
fn words(plan: &Plan, step: &Step) -> String {
    let request = &step.request;
    let scheme = match request.scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    let length = request.target.chars().count();
    let target = if length > SHOWN {
        let begin: String = request.target.chars().take(SHOWN).collect();
        format!("{begin}… ({length} characters)")
    } else {
        request.target.clone()
    };
    let certificate = match &request.client_certificate {
        Some(certificate) => format!(", client certificate of {}", certificate.value.names.join(", ")),
        None => String::new(),
    };
    format!(
        "{} {scheme}://{}{target} from {}, {}{certificate}",
        request.method,
        host(plan, step),
        request.client,
        request.token.as_words()
    )
}
