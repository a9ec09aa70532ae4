//! Identity: people register, log in, refresh their tokens, log out.
//!
//! **Invariant:** the database decides whether a session is live, in the statement that acts on it. A valid signature
//! alone reads and moves nothing.

mod bcrypt_hash;
mod breached_file;
mod browser;
mod calibrate;
mod caller;
mod change_password;
mod client_network;
mod cookies;
mod email_change;
mod error;
mod factors;
mod gate;
mod hash_pool;
mod hash_queue;
mod keys;
mod login;
mod logout;
#[cfg(test)]
mod mail_tests;
mod me;
mod open_session;
mod operate;
#[cfg(test)]
mod operate_tests;
mod pages;
mod password_hash;
mod password_reset;
#[cfg(test)]
mod password_tests;
mod passwords;
mod profile;
mod refresh;
mod register;
mod secret_text;
mod sessions;
mod store;
#[cfg(test)]
mod tests;
mod tickets;
mod tokens;
mod verify_email;

use std::time::Duration;

use database::Pool;
use keyring::{ClaimsForm, Expectations, TokenAlgorithm};
use service_runtime::shutdown::Shutdown;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use self::breached_file::follow_breached_file;
pub use self::calibrate::{Calibration, calibrate};
pub(crate) use self::caller::{
    AccountsRead, AccountsWrite, Caller, CashWrite, SESSION_ENDED, TransfersRead, TransfersWrite,
    session_ended,
};
use self::factors::Factors;
pub use self::factors::{FactorReset, PasskeySettings};
pub(crate) use self::factors::{Operation, StepUpErrors, StepUpToken, reset_factors};
use self::gate::Gate;
pub use self::gate::PolicyReader;
pub(crate) use self::gate::{PolicyFolder, follow_policy, purge_gate, unlock};
use self::keys::Keys;
use self::open_session::Channel;
pub(crate) use self::operate::operate;
pub use self::operate::{AccountDeed, AccountDone};
use self::pages::Pages;
pub(crate) use self::pages::routes as page_routes;
use self::passwords::Passwords;
use self::tokens::TokenTerms;
use crate::mail::Post;
use crate::metrics;
use crate::settings::{SessionSettings, Settings};
use crate::state::AppState;

/// Verifiers and clocks differ by a little; more than this is wrong (J26).
const LEEWAY_S: u32 = 30;
/// The largest lifetime that is believed, whatever the issuer did (J27).
const MAX_LIFETIME_S: u32 = 900;
/// A user counts as active for this long after the last log-in or refresh, seconds.
const ACTIVE_WINDOW_S: i32 = 900;
/// Reads of the rings that this process may miss before no rotation waits for it.
const MISSED_READS: u64 = 3;
/// How often active users are counted.
const COUNT_EVERY: Duration = Duration::from_secs(15);

/// What every customer's token allows.
const CUSTOMER_SCOPES: [&str; 9] = [
    "accounts:read",
    "accounts:write",
    "devices:write",
    "factors:write",
    "password:write",
    "sessions:read",
    "sessions:write",
    "transfers:read",
    "transfers:write",
];

/// Everything that identity needs at run time.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) keys: Keys,
    expectations: Expectations,
    terms: TokenTerms,
    pub(crate) gate: Gate,
    passwords: Passwords,
    pub(crate) factors: Factors,
    auto_activate: bool,
    lives: Lives,
    pages: Pages,
}

/// How long a session lives, seconds.
#[derive(Debug, Clone, Copy)]
struct Life {
    idle_s: i32,
    absolute_s: i32,
}

/// The lives of sessions.
#[derive(Debug, Clone, Copy)]
struct Lives {
    api: Life,
    browser: Life,
}

impl Lives {
    fn new(settings: &SessionSettings) -> anyhow::Result<Self> {
        let life = |idle_s, absolute_s| -> anyhow::Result<Life> {
            Ok(Life {
                idle_s: i32::try_from(idle_s)?,
                absolute_s: i32::try_from(absolute_s)?,
            })
        };
        Ok(Self {
            api: life(settings.idle_s, settings.absolute_s)?,
            browser: life(settings.browser_idle_s, settings.browser_absolute_s)?,
        })
    }

    const fn of(&self, channel: Channel) -> Life {
        match channel {
            Channel::Api => self.api,
            Channel::Browser => self.browser,
        }
    }
}

impl Identity {
    /// Reads the file of breached passwords and starts the hashing threads; reads no key yet.
    pub(crate) fn start(settings: &Settings, db: Pool, post: Post) -> anyhow::Result<Self> {
        let mut scopes: Vec<String> = CUSTOMER_SCOPES.map(str::to_owned).to_vec();
        if settings.self_service_cash {
            scopes.push("cash:write".to_owned());
        }
        Ok(Self {
            keys: Keys::new(db, settings.key_encryption_keys()?, settings.providers.clone()),
            expectations: Expectations {
                issuer: settings.tokens.issuer.clone(),
                audiences: vec![settings.tokens.audience.clone()],
                clients: Vec::new(),
                algorithms: vec![TokenAlgorithm::EdDSA, TokenAlgorithm::ES256],
                token_type: "at+jwt".to_owned(),
                max_lifetime_s: MAX_LIFETIME_S,
                leeway_s: LEEWAY_S,
                form: ClaimsForm::default(),
            },
            terms: TokenTerms {
                issuer: settings.tokens.issuer.clone(),
                audience: settings.tokens.audience.clone(),
                lifetime_s: settings.tokens.lifetime_s,
                scopes,
            },
            gate: Gate::new(settings.password.pepper.expose().as_bytes(), post),
            passwords: Passwords::start(&settings.password)?,
            factors: Factors::new(settings)?,
            auto_activate: settings.auto_activate,
            lives: Lives::new(&settings.sessions)?,
            pages: Pages::new(&settings.second_factor.bank)?,
        })
    }
}

/// Reads the signing keys again and again, so that a rotation is known before its first token arrives.
pub(crate) async fn refresh_keys(state: AppState, every: Duration, shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(every);
    let live_s = i32::try_from(every.as_secs().saturating_mul(MISSED_READS)).unwrap_or(i32::MAX);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = ticks.tick() => {}
        }
        if let Err(error) = state.identity.keys.reload_and_say(live_s).await {
            tracing::warn!(%error, "the signing keys cannot be read; the last ones stay in use");
        }
    }
    // Nobody waits for a process that ended; one that could not say so is waited for until its time is over.
    drop(state.identity.keys.reload_and_say(0).await);
}

/// Keeps `portico_active_users` up to date.
pub(crate) async fn count_active_users(db: Pool, shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(COUNT_EVERY);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match store::active_users(&db, ACTIVE_WINDOW_S).await {
            Ok(count) => metrics::active_users(count),
            Err(error) => tracing::warn!(%error, "active users cannot be counted"),
        }
    }
}

/// The routes of this slice.
pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(register::register))
        .routes(routes!(login::login))
        .routes(routes!(refresh::refresh))
        .routes(routes!(logout::logout))
        .routes(routes!(verify_email::verify_email))
        .routes(routes!(verify_email::resend_verification))
        .routes(routes!(password_reset::forgot_password))
        .routes(routes!(password_reset::reset_password))
        .routes(routes!(me::show_me))
        .routes(routes!(change_password::change_password))
        .routes(routes!(email_change::change_email))
        .routes(routes!(email_change::keep_email))
        .merge(sessions::routes())
        .merge(gate::routes())
        .merge(factors::routes())
}
