//! The session of a browser: a cookie with 256 random bits, of which the database knows the SHA-256 and which session they are of.
//!
//! **Invariant:** a cookie opens what the statement that reads it finds live. Whatever ends a session ends its browser, at once; a
//! log-in and a change of what protects the account give another cookie, and the one before is good no more.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use problem::Problem;

use super::cookies::{cookie, set_cookie};
use super::error::crypto_failure;
use super::pages::PAGE_OF_PERSON;
use super::store::{self, Rotation};
use super::tokens::RefreshToken;
use crate::database_problem;
use crate::ids::{SessionId, TenantId, TokenId, UserId};
use crate::languages::Language;
use crate::state::AppState;

/// The cookie of a session. The prefix holds it to this host, over TLS, for all paths.
const COOKIE: &str = "__Host-session";

/// A browser whose session is live.
pub(super) struct Browser {
    token: RefreshToken,
    pub(super) session: SessionId,
    pub(super) user: UserId,
    pub(super) tenant: TenantId,
    /// What the person has said to prefer.
    pub(super) language: Option<Language>,
}

/// Whose browser sent these headers; None when its session is over, or there was none.
///
/// # Errors
/// 503 without the database.
pub(super) async fn enter(state: &AppState, headers: &HeaderMap) -> Result<Option<Browser>, Problem> {
    let Some(token) = token_of(headers) else {
        return Ok(None);
    };
    let idle_s = state.identity.lives.browser.idle_s;
    let entered = store::enter_browser(&state.db, token.id(), &token.browser_hash(), idle_s)
        .await
        .map_err(database_problem)?;
    Ok(entered.map(|entered| Browser {
        token,
        session: SessionId::from_uuid(entered.session_id),
        user: UserId::from_uuid(entered.user_id),
        tenant: TenantId::from_uuid(entered.tenant_id),
        language: entered.language.as_deref().and_then(Language::parse),
    }))
}

/// The cookie that was sent, whether or not it is good.
pub(super) fn token_of(headers: &HeaderMap) -> Option<RefreshToken> {
    RefreshToken::parse_cookie(&cookie(headers, COOKIE)?)
}

impl Browser {
    /// What its forms are signed with.
    pub(super) fn form_key(&self) -> aws_lc_rs::hmac::Key {
        self.token.form_key()
    }

    /// Gives the browser another token in place of this one, after what protects the account has changed. None when the session
    /// has ended meanwhile.
    ///
    /// # Errors
    /// 503 without the database.
    pub(super) async fn renew(&self, state: &AppState, request_id: &str) -> Result<Option<Renewed>, Problem> {
        let now = state.now();
        let successor = RefreshToken::generate(now).map_err(crypto_failure)?;
        let rotation = Rotation {
            refresh_id: self.token.id(),
            secret_hash: &self.token.browser_hash(),
            new_refresh_id: successor.id(),
            new_secret_hash: &successor.browser_hash(),
            new_access_id: TokenId::new(now).uuid(),
            request_key_hash: None,
            // Nobody repeats it.
            replay_sealed: &[],
            idle_s: state.identity.lives.browser.idle_s,
        };
        let rotated = store::rotate(&state.db, rotation, request_id)
            .await
            .map_err(database_problem)?;
        Ok((rotated.outcome == "rotated").then_some(Renewed(successor)))
    }
}

/// The token that a browser has from now on.
pub(super) struct Renewed(RefreshToken);

impl Renewed {
    /// What its forms are signed with.
    pub(super) fn form_key(&self) -> aws_lc_rs::hmac::Key {
        self.0.form_key()
    }

    /// The field that gives it.
    pub(super) fn cookie(&self) -> Option<HeaderValue> {
        set_cookie(COOKIE, &self.0.to_cookie(), None)
    }
}

/// What a browser gets that has signed in.
pub(super) fn enter_page(token: &RefreshToken) -> Response {
    let Some(cookie) = set_cookie(COOKIE, &token.to_cookie(), None) else {
        return Problem::internal("a cookie is no header").into_response();
    };
    let fields = [
        (header::LOCATION, HeaderValue::from_static(PAGE_OF_PERSON)),
        (header::SET_COOKIE, cookie),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (StatusCode::SEE_OTHER, fields).into_response()
}

/// The field that takes the cookie back.
pub(super) fn forget() -> Option<HeaderValue> {
    set_cookie(COOKIE, "", Some(0))
}
