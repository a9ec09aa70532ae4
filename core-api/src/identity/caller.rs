//! Who is calling: the verified bearer token, checked here again although the gateway has checked it.
//!
//! **Invariant:** a handler can get a [`Caller`] only by naming the scope it needs, and a [`Caller`] can read only
//! through [`Caller::begin_read`], which checks the session in the database.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use chrono::{DateTime, Utc};
use database::Pool;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
use keyring::Claims;
use problem::{Problem, ProblemType, catalogue};
use service_runtime::http::RequestId;
use sqlx::{Postgres, Transaction};

use super::browser::Browser;
use super::keys::Verification;
use super::store;
use crate::ids::{SessionId, TenantId, UserId};
use crate::metrics;
use crate::state::AppState;

/// The session was ended, or the user is not active any more.
pub(crate) const SESSION_ENDED: ProblemType = ProblemType::new("session-ended", 401, "The session has ended");

/// What a route asks of its callers.
pub(crate) trait Scope: Send + Sync {
    /// The scope that the token must carry; None asks for a valid token only.
    const NAME: Option<&'static str>;
}

macro_rules! scopes {
    ($($(#[$doc:meta])* $scope:ident = $name:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub(crate) enum $scope {}
        impl Scope for $scope {
            const NAME: Option<&'static str> = $name;
        }
    )*};
}

scopes! {
    /// Any valid token.
    AnyScope = None;
    /// Reading one's accounts and entries.
    AccountsRead = Some("accounts:read");
    /// Opening accounts.
    AccountsWrite = Some("accounts:write");
    /// Reading one's transfers.
    TransfersRead = Some("transfers:read");
    /// Making transfers.
    TransfersWrite = Some("transfers:write");
    /// Removing devices that one signed in with.
    DevicesWrite = Some("devices:write");
    /// Adding and removing one's second factors, and confirming operations with them.
    FactorsWrite = Some("factors:write");
    /// Seeing where one is logged in.
    SessionsRead = Some("sessions:read");
    /// Naming and ending one's sessions.
    SessionsWrite = Some("sessions:write");
    /// Changing one's password.
    PasswordWrite = Some("password:write");
    /// Deposits and withdrawals.
    CashWrite = Some("cash:write");
}

/// What every customer may, and so whoever has signed in with a browser.
pub(super) trait OfCustomers: Scope {}

impl OfCustomers for AnyScope {}
impl OfCustomers for DevicesWrite {}
impl OfCustomers for FactorsWrite {}
impl OfCustomers for SessionsRead {}
impl OfCustomers for SessionsWrite {}
impl OfCustomers for PasswordWrite {}

/// A caller whose token is valid and carries the scope `S`.
#[derive(Debug, Clone)]
pub(crate) struct Caller<S> {
    /// The user the token speaks for.
    pub(crate) user: UserId,
    /// The session the token belongs to; whether it is live, the database says.
    pub(crate) session: SessionId,
    /// The user's tenant.
    pub(crate) tenant: TenantId,
    /// The id of this request, for the audit record.
    pub(crate) request_id: String,
    scope: PhantomData<S>,
}

impl<S: Scope> FromRequestParts<AppState> for Caller<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let token = bearer(&parts.headers)
            .ok_or_else(|| challenge(Problem::new(catalogue::UNAUTHENTICATED), "Bearer"))?;
        let now: DateTime<Utc> = state.now();
        let expectations = &state.identity.expectations;
        let claims = match state
            .identity
            .keys
            .verify(token, expectations, now.timestamp())
            .await
        {
            Ok(claims) => claims,
            Err(Verification::Refused(refusal)) => {
                metrics::token_refusal(refusal.as_str());
                return Err(invalid_token());
            }
            Err(Verification::NoKeys) => {
                return Err(Problem::new(catalogue::UNAVAILABLE)
                    .detail("tokens cannot be verified now")
                    .retry_after(1));
            }
        };
        let caller = Self::from_claims(&claims, request_id(parts)).ok_or_else(invalid_token)?;
        if let Some(named) = parts.headers.get("x-auth-subject") {
            // The gateway says whom it let in; if that is somebody else, one of us is being fooled.
            if named.to_str().ok() != Some(claims.sub.as_str()) {
                metrics::token_refusal("gateway_subject");
                return Err(invalid_token());
            }
        }
        match S::NAME {
            Some(scope) if !claims.has_scope(scope) => Err(missing_scope(scope)),
            _ => Ok(caller),
        }
    }
}

impl<S> Caller<S> {
    fn from_claims(claims: &Claims, request_id: String) -> Option<Self> {
        Some(Self {
            user: claims.sub.parse().ok()?,
            session: claims.sid.as_deref()?.parse().ok()?,
            tenant: claims.tid.as_deref()?.parse().ok()?,
            request_id,
            scope: PhantomData,
        })
    }

    /// The caller behind the cookie of a browser.
    pub(super) fn of_browser(browser: &Browser, request_id: String) -> Self
    where
        S: OfCustomers,
    {
        Self {
            user: browser.user,
            session: browser.session,
            tenant: browser.tenant,
            request_id,
            scope: PhantomData,
        }
    }

    /// Begins a read: checks that the session is live, and shows this user's rows and no others.
    pub(crate) async fn begin_read(&self, db: &Pool) -> Result<Transaction<'static, Postgres>, Problem> {
        let mut tx = db.begin().await.map_err(crate::database_problem)?;
        let live = store::enter_session(&mut tx, self.session.uuid(), self.user.uuid(), self.tenant.uuid())
            .await
            .map_err(crate::database_problem)?;
        if live { Ok(tx) } else { Err(session_ended()) }
    }
}

/// The id that the runtime gave this request.
pub(super) fn request_id(parts: &Parts) -> String {
    parts
        .extensions
        .get::<RequestId>()
        .map_or_else(String::new, |id| id.as_str().to_owned())
}

/// The token of `Authorization: Bearer …` (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Says no more than that the token is not good: a forger learns nothing.
fn invalid_token() -> Problem {
    challenge(
        Problem::new(catalogue::UNAUTHENTICATED),
        r#"Bearer error="invalid_token""#,
    )
}

/// The session behind a valid token is over: log in again.
pub(crate) fn session_ended() -> Problem {
    challenge(Problem::new(SESSION_ENDED), r#"Bearer error="invalid_token""#)
}

fn missing_scope(scope: &'static str) -> Problem {
    let problem = Problem::new(catalogue::FORBIDDEN).detail(format!("this needs the scope {scope}"));
    match HeaderValue::from_str(&format!(r#"Bearer error="insufficient_scope", scope="{scope}""#)) {
        Ok(value) => problem.header(header::WWW_AUTHENTICATE, value),
        Err(_) => problem,
    }
}

/// RFC 9110 §11.6.1: every 401 names the scheme.
fn challenge(problem: Problem, value: &'static str) -> Problem {
    problem.header(header::WWW_AUTHENTICATE, HeaderValue::from_static(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::CUSTOMER_SCOPES;

    #[test]
    fn a_browser_may_what_every_customer_may_and_no_more() {
        const fn of<S: OfCustomers>() -> Option<&'static str> {
            S::NAME
        }
        let scopes = [
            of::<AnyScope>(),
            of::<DevicesWrite>(),
            of::<FactorsWrite>(),
            of::<SessionsRead>(),
            of::<SessionsWrite>(),
            of::<PasswordWrite>(),
        ];
        for scope in scopes.into_iter().flatten() {
            assert!(CUSTOMER_SCOPES.contains(&scope), "{scope}");
        }
    }
}
