//! A refusal before any policy is asked: the rules of a head are in [`policy::framing`], for both versions and every tool.
//!
//! **Invariant:** what is refused here never reaches pingora's parser, the policy, or an upstream.

use policy::framing::Fault;
use problem::{Problem, ProblemType, catalogue};

use crate::proxy::problem_type;

/// `Expect` asks for something that we do not do (RFC 9110 §10.1.1).
pub(crate) const EXPECTATION_FAILED: ProblemType =
    ProblemType::new("expectation-failed", 417, "The expectation cannot be met");
/// The client has more requests under way than one may have.
pub(crate) const TOO_MANY_AT_ONCE: ProblemType =
    ProblemType::new("too-many-at-once", 429, "Too many requests at once");
/// A version of HTTP that is not served here.
pub(crate) const VERSION_NOT_SUPPORTED: ProblemType = ProblemType::new(
    "http-version-not-supported",
    505,
    "This version of HTTP is not supported",
);

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What the client is told.
    pub(crate) kind: ProblemType,
    /// The rule that is broken: `FR-1`.
    pub(crate) rule: &'static str,
    /// For the client; a constant, so it can hold nothing about anyone.
    pub(crate) detail: &'static str,
    /// When it is worth trying again, in seconds; for a client that has sent too many of them.
    pub(crate) retry_after_s: Option<u64>,
}

impl Refusal {
    /// Waiting does not make such a request better.
    pub(crate) const fn new(kind: ProblemType, rule: &'static str, detail: &'static str) -> Self {
        Self {
            kind,
            rule,
            detail,
            retry_after_s: None,
        }
    }

    pub(crate) const fn malformed(rule: &'static str, detail: &'static str) -> Self {
        Self::new(catalogue::MALFORMED_REQUEST, rule, detail)
    }

    /// What the client reads.
    pub(crate) fn problem(&self) -> Problem {
        let problem = Problem::new(self.kind).detail(self.detail);
        match self.retry_after_s {
            Some(seconds) => problem.retry_after(seconds),
            None => problem,
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::new(problem_type(fault.kind), fault.id(), fault.detail)
    }
}
