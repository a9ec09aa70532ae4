//! The refusals of the identity slice.

use std::collections::BTreeMap;

use passwords::{Profile, Violation};
use problem::{Problem, ProblemType, catalogue};
use utoipa::IntoResponses;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::{RefOr, Response};

use super::hash_pool::PoolError;
use super::hash_queue::Priority;
use super::keys::KeyError;
use super::passwords::fault;
use super::tokens::CryptoFailure;
use crate::database_problem;
use crate::documentation::{problems, responses_of};

/// The address or the password is wrong, or the user is not active: which one, nobody is told.
pub(super) const INVALID_CREDENTIALS: ProblemType = ProblemType::new(
    "invalid-credentials",
    401,
    "The e-mail address or the password is wrong",
);
/// The refresh token is none that was ever given out.
pub(super) const INVALID_REFRESH_TOKEN: ProblemType =
    ProblemType::new("invalid-refresh-token", 401, "The refresh token is not valid");
/// Another request used this token a moment ago.
pub(super) const REFRESH_SUPERSEDED: ProblemType = ProblemType::new(
    "refresh-superseded",
    401,
    "The refresh token was just used by another request",
);
/// The token had been used before: taken for theft.
pub(super) const REFRESH_REUSED: ProblemType = ProblemType::new(
    "refresh-reused",
    401,
    "The refresh token was used before; the session has been ended",
);

/// As many passwords are checked as can be.
pub(super) const AUTH_BUSY: ProblemType =
    ProblemType::new("auth-busy", 503, "Too many passwords are being checked");
/// Two changes of a password at once: the other one was first.
pub(super) const PASSWORD_CHANGED: ProblemType = ProblemType::new(
    "password-changed",
    409,
    "Another request has changed the password",
);
/// The ticket of a mail is none, was used, was replaced by a later one, or is over.
pub(super) const INVALID_TICKET: ProblemType =
    ProblemType::new("invalid-ticket", 403, "The link is not valid, or not any more");
/// The password of the caller is another.
pub(super) const WRONG_PASSWORD: ProblemType =
    ProblemType::new("wrong-password", 403, "The password is wrong");

problems! {
    /// What the use of a ticket may be refused with.
    TicketErrors: INVALID_TICKET;
    /// What a change of the address may be refused with.
    EmailChangeErrors: WRONG_PASSWORD, super::factors::STEP_UP_REQUIRED, catalogue::TOO_MANY_ATTEMPTS, AUTH_BUSY, super::caller::SESSION_ENDED;
    /// What a log-in may be refused with.
    LoginErrors: INVALID_CREDENTIALS, super::factors::MFA_REQUIRED, catalogue::TOO_MANY_ATTEMPTS, AUTH_BUSY;
    /// What a refresh may be refused with.
    RefreshErrors: INVALID_REFRESH_TOKEN, REFRESH_SUPERSEDED, REFRESH_REUSED, super::caller::SESSION_ENDED,
        crate::idempotency::KEY_MALFORMED;
}

/// What a registration may be refused with.
pub(super) struct RegistrationErrors;

impl IntoResponses for RegistrationErrors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        password_responses("/password", &[AUTH_BUSY, catalogue::VALIDATION_FAILED])
    }
}

/// What a new password by the ticket of a mail may be refused with.
pub(super) struct ResetErrors;

impl IntoResponses for ResetErrors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        password_responses(
            "/password",
            &[INVALID_TICKET, AUTH_BUSY, catalogue::VALIDATION_FAILED],
        )
    }
}

/// What the change of a password may be refused with.
pub(super) struct ChangeErrors;

impl IntoResponses for ChangeErrors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let kinds = [
            WRONG_PASSWORD,
            PASSWORD_CHANGED,
            catalogue::TOO_MANY_ATTEMPTS,
            AUTH_BUSY,
            catalogue::VALIDATION_FAILED,
        ];
        password_responses("/new_password", &kinds)
    }
}

/// The responses of these types; the 422 has an example with every rule of passwords.
fn password_responses(pointer: &str, kinds: &[ProblemType]) -> BTreeMap<String, RefOr<Response>> {
    let mut responses = responses_of(kinds);
    let all = Violation::all(Profile::default());
    let problem = all.iter().fold(
        Problem::new(catalogue::VALIDATION_FAILED),
        |problem, violation| problem.fault(fault(pointer, violation)),
    );
    let example = ExampleBuilder::new()
        .summary("Every rule that a password can break")
        .value(serde_json::to_value(problem.to_document(None)).ok())
        .build();
    if let Some(RefOr::T(response)) = responses.get_mut("422")
        && let Some(RefOr::T(content)) = response.content.get_mut(problem::CONTENT_TYPE)
    {
        let name = catalogue::VALIDATION_FAILED.slug().to_owned();
        content.examples.insert(name, example.into());
    }
    responses
}

/// Too many passwords at once is for the client to try again, the later the less it matters; anything else is ours.
pub(super) fn hashing_busy(error: PoolError) -> Problem {
    match error {
        PoolError::Busy(priority) => {
            Problem::new(AUTH_BUSY)
                .member("code", "auth_busy")
                .retry_after(match priority {
                    Priority::Trusted => 1,
                    Priority::LogIn => 2,
                    Priority::Registration => 3,
                })
        }
        PoolError::Hash(error) => Problem::internal(error),
        PoolError::Rules(error) => Problem::internal(error),
    }
}

/// There is no key to sign with: nothing was written.
pub(super) fn no_signing_key() -> Problem {
    tracing::error!("there is no active signing key in the ring `access`");
    Problem::new(catalogue::UNAVAILABLE)
        .detail("tokens cannot be issued now")
        .retry_after(1)
}

/// A token cannot be signed: 503 while the key that signs cannot be opened or the key ring read, and when the ring has
/// turned since the database named the key. What was written for the token is of use to nobody, so all of it may be repeated.
pub(super) fn not_signed(error: KeyError) -> Problem {
    match error {
        KeyError::Database(error) => database_problem(error),
        KeyError::NoActive => {
            tracing::warn!("the ring `access` turned before a token was signed");
            Problem::new(catalogue::UNAVAILABLE)
                .detail("tokens cannot be issued now")
                .retry_after(1)
        }
        // Silence of its keeper, or a version that this process was not given: another process may have it.
        KeyError::Custody(error) => {
            tracing::error!(%error, "the active signing key cannot be opened");
            Problem::new(catalogue::UNAVAILABLE)
                .detail("tokens cannot be issued now")
                .retry_after(1)
        }
        error => Problem::internal(error),
    }
}

pub(super) fn crypto_failure(error: CryptoFailure) -> Problem {
    Problem::internal(error)
}
