//! Every way in which a policy does not go out, and what a client is told of it.

use axum::response::{IntoResponse, Response};
use fleet::{ApprovalError, Version};
use problem::{Problem, ProblemType, catalogue};
use serde_json::Value;

use super::publish::OldGateway;
use crate::database_problem;
use crate::fleet::FleetError;

/// The bundle does not compile, its cases fail, or the audit finds it too weak.
const POLICY_REFUSED: ProblemType = ProblemType::new("policy-refused", 422, "The policy is refused");
/// Another change has this name.
const CHANGE_TAKEN: ProblemType = ProblemType::new("change-taken", 409, "Another change has this id");
/// One roll-out at a time.
const UNDER_WAY: ProblemType = ProblemType::new("rollout-under-way", 409, "Another roll-out is under way");
/// A second person must agree.
const APPROVAL_WANTED: ProblemType = ProblemType::new("approval-wanted", 403, "A second person must agree");
/// The author must have signed.
const AUTHOR_UNPROVEN: ProblemType = ProblemType::new("author-unproven", 403, "The author must sign");
/// The roll-out of this content was halted just now.
const JUST_HALTED: ProblemType =
    ProblemType::new("just-halted", 409, "The last roll-out of this content was halted");
/// A gateway that would get it does not know every key of it.
const TOO_OLD: ProblemType = ProblemType::new("gateway-too-old", 409, "A gateway is too old for this policy");
/// The last thing that happened was that gateways went back.
const WENT_BACK: ProblemType = ProblemType::new("went-back", 409, "The policy before is in force already");
/// It is in force already.
const NO_CHANGE: ProblemType = ProblemType::new("no-change", 409, "This policy is in force already");

/// Why a policy does not go out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyError {
    /// What was sent breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// What is named does not exist.
    #[error("{0}")]
    NotFound(&'static str),
    /// The bundle is not fit: which check says so, and each finding.
    #[error("the {check} refuses it")]
    Refused {
        check: &'static str,
        findings: Vec<Value>,
    },
    /// Other content has gone out under this id.
    #[error("the change {0} had other content")]
    ChangeTaken(String),
    /// A roll-out is not over.
    #[error("the roll-out of {0} is under way")]
    UnderWay(String),
    /// The risk wants a second person.
    #[error("the risk is {risk}")]
    ApprovalWanted { risk: String, content: String },
    /// A rollback to what is older than the policy before, which one person cannot decide.
    #[error("{0}")]
    PublishInstead(String),
    /// Nobody has proven to be the author.
    #[error("the author has not signed")]
    AuthorUnproven,
    /// The author's signature counts for nothing.
    #[error("the author's signature is refused: {0}")]
    Author(ApprovalError),
    /// An approval counts for nothing.
    #[error("an approval is refused: {0}")]
    Approval(#[from] ApprovalError),
    /// The approvers cannot be read.
    #[error("{0}")]
    Approvers(String),
    /// The same content was halted last.
    #[error("the roll-out of {0} was halted")]
    JustHalted(String),
    /// Gateways that would refuse it, for there are keys in it that came after them.
    #[error("{} gateways are older than {min_version}", .gateways.len())]
    TooOld {
        min_version: Version,
        gateways: Vec<OldGateway>,
    },
    /// Nobody says how much further back.
    #[error("{0} went back already")]
    WentBack(String),
    /// The same content is in force.
    #[error("this content is in force")]
    NoChange,
    /// Rows break a rule that only this service could have broken.
    #[error("inconsistent roll-out: {0}")]
    Inconsistent(String),
    /// It cannot be stated.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// PostgreSQL.
    #[error("database failure")]
    Database(#[from] sqlx::Error),
}

impl From<PolicyError> for Problem {
    fn from(error: PolicyError) -> Self {
        match error {
            PolicyError::Invalid(detail) => Self::new(catalogue::VALIDATION_FAILED).detail(detail),
            PolicyError::NotFound(detail) => Self::new(catalogue::NOT_FOUND).detail(detail),
            PolicyError::Refused { check, findings } => Self::new(POLICY_REFUSED)
                .detail(format!(
                    "the {check} refuses it with {} findings; nothing was published",
                    findings.len()
                ))
                .member("check", check)
                .member("findings", findings),
            PolicyError::ChangeTaken(change) => Self::new(CHANGE_TAKEN).detail(format!(
                "{change} went out with other content: give this change an id of its own"
            )),
            PolicyError::UnderWay(change) => Self::new(UNDER_WAY)
                .detail(format!(
                    "{change} is not over: wait for it, `portico policy halt` it, or replace it with --emergency"
                ))
                .member("change_id", change),
            PolicyError::ApprovalWanted { risk, content } => Self::new(APPROVAL_WANTED)
                .detail(format!(
                    "{risk}: somebody else on the list of approvers signs it with `portico policy approve`, and you give the \
                     file as --approval"
                ))
                .member("content", content),
            PolicyError::PublishInstead(because) => Self::new(APPROVAL_WANTED).detail(format!(
                "{because}: a rollback beyond the policy before is not for one person; publish its files with `portico policy \
                 publish --at-once`, and somebody else signs that"
            )),
            PolicyError::AuthorUnproven => Self::new(AUTHOR_UNPROVEN).detail(
                "where a second person must agree, the first one must be known: sign with `portico policy publish --key`, with \
                 a key that the file of `policies.approvers` has for the author",
            ),
            PolicyError::Author(error) => {
                Self::new(AUTHOR_UNPROVEN).detail(format!("the signature counts for nothing: {error}"))
            }
            PolicyError::Approval(error) => {
                Self::new(APPROVAL_WANTED).detail(format!("the approval counts for nothing: {error}"))
            }
            PolicyError::Approvers(fault) => Self::new(APPROVAL_WANTED).detail(fault),
            PolicyError::JustHalted(change) => Self::new(JUST_HALTED).detail(format!(
                "{change} was halted with the same content: `portico policy status` says why; publish it with --again if the \
                 cause is gone"
            )),
            PolicyError::TooOld {
                min_version,
                gateways,
            } => {
                let each = gateways.iter().map(|old| format!("{} ({})", old.name, old.version));
                Self::new(TOO_OLD)
                    .detail(format!(
                        "it has a key that came with {min_version}; upgrade these first, or evict them: {}; nothing was published",
                        each.collect::<Vec<_>>().join(", ")
                    ))
                    .member("min_version", min_version.to_string())
            }
            PolicyError::WentBack(change) => Self::new(WENT_BACK)
                .detail(format!(
                    "{change} was the last roll-out, and gateways went back by it: `portico policy history` says to what; to go \
                     further back, name it with --to"
                ))
                .member("change_id", change),
            PolicyError::NoChange => Self::new(NO_CHANGE).detail("every file and case is the same"),
            PolicyError::Fleet(error) => error.into(),
            PolicyError::Database(error) => database_problem::of(error),
            error @ PolicyError::Inconsistent(_) => Self::internal(error),
        }
    }
}

impl IntoResponse for PolicyError {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}
