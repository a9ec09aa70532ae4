//! Opening a session, and what comes of it: a pair of tokens, or the cookie of a browser.

use axum::response::Response;
use problem::Problem;
use sqlx::PgConnection;
use uuid::Uuid;

use super::browser;
use super::error::{crypto_failure, no_signing_key, not_signed};
use super::login::answer;
use super::sessions::OpenedFrom;
use super::store::{self, NewSession};
use super::tokens::{AccessGrant, Authentication, RefreshToken};
use crate::database_problem;
use crate::ids::{SessionId, TenantId, TokenId, UserId};
use crate::state::AppState;

/// Who signs in, and is given what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    /// A program: a pair of tokens.
    Api,
    /// A browser on the bank's own pages: a cookie, and the way to its page. No token of either kind leaves the core.
    Browser,
}

/// A log-in that has shown everything that it must.
pub(super) struct LogIn<'a> {
    pub(super) user: Uuid,
    /// The hash of the password as it is made now, where the stored one is outdated.
    pub(super) rehashed: Option<&'a str>,
    pub(super) from: &'a OpenedFrom,
    /// How the user showed who he is (RFC 8176).
    pub(super) amr: &'a [&'a str],
    pub(super) channel: Channel,
}

/// A session that is open as soon as its transaction is committed.
pub(super) struct OpenSession {
    grant: AccessGrant,
    kid: String,
    refresh: RefreshToken,
    channel: Channel,
}

/// Opens a session; None when the user is not active any more.
///
/// # Errors
/// 503 when there is no key to sign its tokens with: nothing may be committed then.
pub(super) async fn open(
    state: &AppState,
    tx: &mut PgConnection,
    log_in: &LogIn<'_>,
    request_id: &str,
) -> Result<Option<OpenSession>, Problem> {
    let now = state.now();
    let refresh = RefreshToken::generate(now).map_err(crypto_failure)?;
    let (session, token) = (SessionId::new(now), TokenId::new(now));
    let address = log_in.from.address.map(|address| address.to_string());
    let amr: Vec<String> = log_in.amr.iter().map(|method| (*method).to_owned()).collect();
    let life = state.identity.lives.of(log_in.channel);
    let new_session = NewSession {
        user_id: log_in.user,
        session_id: session.uuid(),
        refresh_id: refresh.id(),
        secret_hash: &match log_in.channel {
            Channel::Api => refresh.secret_hash(),
            Channel::Browser => refresh.browser_hash(),
        },
        access_id: token.uuid(),
        idle_s: life.idle_s,
        absolute_s: life.absolute_s,
        rehashed: log_in.rehashed,
        user_agent: log_in.from.user_agent.as_deref(),
        address: address.as_deref(),
        amr: &amr,
    };
    let opened = store::open_session(tx, new_session, request_id)
        .await
        .map_err(database_problem)?;
    let Some(opened) = opened else { return Ok(None) };
    let kid = opened.kid.ok_or_else(no_signing_key)?;
    Ok(Some(OpenSession {
        grant: AccessGrant {
            user: UserId::from_uuid(log_in.user),
            session,
            tenant: TenantId::from_uuid(opened.tenant_id),
            token,
            issued_at: opened.issued_at,
            authentication: Authentication {
                amr,
                auth_time: opened.auth_time.unwrap_or(opened.issued_at),
            },
        },
        kid,
        refresh,
        channel: log_in.channel,
    }))
}

impl OpenSession {
    /// The first pair of tokens, or a browser's way to its page.
    ///
    /// # Errors
    /// 503 while the signing key cannot be had: the session is of use to nobody then.
    pub(super) async fn answer(self, state: &AppState) -> Result<Response, Problem> {
        if self.channel == Channel::Browser {
            return Ok(browser::enter_page(&self.refresh));
        }
        let identity = &state.identity;
        let access = identity
            .terms
            .sign(&identity.keys, &self.kid, &self.grant)
            .await
            .map_err(not_signed)?;
        Ok(answer(identity.terms.pair(access, &self.refresh)))
    }
}
