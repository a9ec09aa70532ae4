//! Every way in which work for the fleet fails, and what a client is told of it.

use axum::response::{IntoResponse, Response};
use problem::{Problem, ProblemType, catalogue};

use crate::database_problem;

/// There is no room for another entry.
const LIST_FULL: ProblemType = ProblemType::new("list-full", 409, "The list has no room for another entry");
/// A gateway that was evicted.
const NODE_EVICTED: ProblemType = ProblemType::new("node-evicted", 403, "This gateway is not of the fleet");
/// A row of the database that says something else than what was signed.
const NOT_AS_SIGNED: ProblemType = ProblemType::new(
    "policy-not-as-signed",
    409,
    "A stored policy is not what was signed",
);
/// A trust document that is not accepted.
const TRUST_REFUSED: ProblemType = ProblemType::new("trust-refused", 409, "The trust document is refused");

/// Why work for the fleet failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FleetError {
    /// What was sent breaks a rule.
    #[error("{0}")]
    Invalid(&'static str),
    /// What is named does not exist.
    #[error("{0}")]
    NotFound(&'static str),
    /// A certificate that does not say which gateway it is for.
    #[error("a certificate without one DNS name")]
    UnnamedCertificate,
    /// A request on the socket that does not say which gateway it is of.
    #[error("a request without x-node")]
    Unnamed,
    /// The gateway was evicted.
    #[error("this gateway was evicted")]
    Evicted,
    /// A trust document is not what the roots have signed for this fleet, or older than the one in force.
    #[error(transparent)]
    Trust(#[from] fleet::TrustError),
    /// A trust document with which nothing could be signed for gateways any more.
    #[error("the trust document does not name the key that signs now")]
    TrustWithoutSigner,
    /// There are no pinned roots, so no trust document can be believed.
    #[error("the settings name no roots")]
    NoRoots,
    /// No trust document that names the key which signs is in force: no gateway would believe a statement.
    #[error("no trust document in force names the key that signs")]
    NoTrust,
    /// A policy in the database is not what a trusted key has signed.
    #[error("the policy at {position} in the database is not what was signed: {why}")]
    NotAsSigned { position: fleet::Position, why: String },
    /// A policy was signed by a key that was revoked since: whoever stole it could have made the policy.
    #[error("the policy at {position} was signed by {keyid}, which was revoked")]
    SignerRevoked {
        position: fleet::Position,
        keyid: String,
    },
    /// All streams are taken.
    #[error("all streams are taken")]
    Crowded,
    /// Rows break a rule that only this service could have broken.
    #[error("inconsistent fleet: {0}")]
    Inconsistent(String),
    /// PostgreSQL.
    #[error("database failure")]
    Database(#[from] sqlx::Error),
}

impl From<FleetError> for Problem {
    fn from(error: FleetError) -> Self {
        match error {
            FleetError::Invalid(detail) => Self::new(catalogue::VALIDATION_FAILED).detail(detail),
            FleetError::NotFound(detail) => Self::new(catalogue::NOT_FOUND).detail(detail),
            FleetError::UnnamedCertificate => Self::new(catalogue::FORBIDDEN).detail(
                "the certificate of a gateway has one DNS name, of a-z, 0-9, `-` and `.`: that is its name",
            ),
            FleetError::Unnamed => Self::new(catalogue::MALFORMED_REQUEST).detail(
                "x-node must name the gateway: 1 to 63 of a-z, 0-9, `-` and `.`, at its ends a letter or digit",
            ),
            FleetError::Evicted => {
                Self::new(NODE_EVICTED).detail("an operator lets it in again with `portico fleet admit`")
            }
            FleetError::Trust(error) => Self::new(TRUST_REFUSED).detail(error.to_string()),
            FleetError::TrustWithoutSigner => Self::new(TRUST_REFUSED)
                .detail("it does not name the key that signs now: rotate or revoke that first"),
            FleetError::NoRoots => Self::new(TRUST_REFUSED)
                .detail("the settings of the control plane name no `fleet.roots` that could have signed it"),
            FleetError::NoTrust => Self::new(TRUST_REFUSED)
                .detail("gateways would not believe what this control plane signs: `portico trust sign`"),
            error @ FleetError::NotAsSigned { .. } => Self::new(NOT_AS_SIGNED).detail(format!(
                "{error}; nothing of it is signed again: find out who wrote it, and publish the policy from its files"
            )),
            error @ FleetError::SignerRevoked { .. } => Self::new(NOT_AS_SIGNED).detail(format!(
                "{error}, and since then nothing has stated the same again: publish it from its files with `portico policy publish \
                 --at-once`"
            )),
            FleetError::Crowded => Self::new(catalogue::UNAVAILABLE)
                .detail("every stream is taken")
                .retry_after(5),
            FleetError::Database(error) if breaks(&error, "denial_list_room") => Self::new(LIST_FULL)
                .detail("take entries back, or revoke the subject or the key instead of single tokens"),
            FleetError::Database(error) if breaks(&error, "denial_list_size") => Self::new(LIST_FULL).detail(
                "the names in it are so long that it would be larger than gateways read: take entries back, or revoke the key \
                 instead of single tokens",
            ),
            FleetError::Database(error) => database_problem::of(error),
            error @ FleetError::Inconsistent(_) => Self::internal(error),
        }
    }
}

impl IntoResponse for FleetError {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}

fn breaks(error: &sqlx::Error, constraint: &str) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| error.constraint() == Some(constraint))
}
