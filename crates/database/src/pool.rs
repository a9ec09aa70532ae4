//! Connection pools: one per service, with deadlines on everything.

use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use service_runtime::settings::Secret;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgPool};
use tracing::log::LevelFilter;

/// A connection that has rested this long is asked whether it lives before it is used; one that has just answered is not,
/// for asking costs a round trip. What dies in between is a failed request that its client may repeat.
const STALE: Duration = Duration::from_secs(1);

/// How a service reaches the database.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseSettings {
    /// Address, as a reference to a secret; it holds a password.
    pub url: Secret,
    /// Role to act as after connecting, where the address names another user.
    pub role: Option<String>,
    /// Most connections at once.
    pub max_connections: u32,
    /// How long a request waits for a connection, milliseconds.
    pub acquire_timeout_ms: u64,
    /// How long one statement may run, milliseconds; PostgreSQL cancels it then.
    pub statement_timeout_ms: u64,
    /// How long a connection is used before it is replaced, seconds: the longest that a login outlives its rotation.
    pub max_lifetime_s: u32,
    /// A statement that takes longer is logged, without its values, milliseconds.
    pub slow_query_ms: u64,
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            role: None,
            max_connections: 16,
            acquire_timeout_ms: 2_000,
            statement_timeout_ms: 5_000,
            max_lifetime_s: 1_800,
            slow_query_ms: 250,
        }
    }
}

impl DatabaseSettings {
    /// What is wrong with these settings, one line each.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.url.is_empty() {
            faults.push("database.url: is required, as a reference such as `file:/path/to/it` or `vault://mount/path#field`".to_owned());
        } else if parse(self.url.expose()).is_err() {
            faults.push("database.url: is not a PostgreSQL address".to_owned());
        }
        for (name, value) in [
            ("max_connections", u64::from(self.max_connections)),
            ("acquire_timeout_ms", self.acquire_timeout_ms),
            ("statement_timeout_ms", self.statement_timeout_ms),
            ("max_lifetime_s", u64::from(self.max_lifetime_s)),
        ] {
            if value == 0 {
                faults.push(format!("database.{name}: must be above 0"));
            }
        }
        faults
    }
}

/// Opens a pool. A database that is down now may come up later, so that is said in the log and is no error: readiness
/// says it too, and the pool connects when it can. A wrong password, role or database is an error.
///
/// # Errors
/// When the address cannot be read or PostgreSQL refuses the login.
pub async fn connect(settings: &DatabaseSettings, application_name: &str) -> anyhow::Result<PgPool> {
    let options = connect_options(settings, settings.url.expose(), application_name)?;
    let pool = pool_options(settings).connect_lazy_with(options);
    match pool.acquire().await {
        Ok(connection) => drop(connection),
        Err(error @ sqlx::Error::Database(_)) if !is_starting(&error) => {
            return Err(error).context("the database refuses the login");
        }
        Err(error) => tracing::warn!(%error, "the database cannot be reached yet"),
    }
    Ok(pool)
}

/// How one connection is made: who logs in, and the deadlines of the session.
pub(crate) fn connect_options(
    settings: &DatabaseSettings,
    url: &str,
    application_name: &str,
) -> anyhow::Result<PgConnectOptions> {
    let mut options = parse(url)?
        .application_name(application_name)
        .options([
            ("statement_timeout", settings.statement_timeout_ms.to_string()),
            (
                "lock_timeout",
                settings.statement_timeout_ms.min(2_000).to_string(),
            ),
            ("idle_in_transaction_session_timeout", "5000".to_owned()),
            ("timezone", "UTC".to_owned()),
            ("jit", "off".to_owned()),
        ])
        .log_statements(LevelFilter::Trace)
        .log_slow_statements(LevelFilter::Warn, Duration::from_millis(settings.slow_query_ms));
    if let Some(role) = &settings.role {
        options = options.options([("role", role)]);
    }
    Ok(options)
}

/// How many connections there are, and how long each is used.
pub(crate) fn pool_options(settings: &DatabaseSettings) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(settings.max_connections)
        .acquire_timeout(Duration::from_millis(settings.acquire_timeout_ms))
        .max_lifetime(Duration::from_secs(u64::from(settings.max_lifetime_s)))
        .test_before_acquire(false)
        .before_acquire(|connection, used| {
            Box::pin(async move {
                if used.idle_for >= STALE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
}

/// Reads a database address without ever repeating it in an error: it may hold a password.
///
/// # Errors
/// When it is none.
pub fn parse(url: &str) -> anyhow::Result<PgConnectOptions> {
    let options: Result<PgConnectOptions, sqlx::Error> = url.parse();
    options.map_err(|_| {
        anyhow::anyhow!("the database address cannot be read: it must look like postgresql://user@host/name")
    })
}

/// Whether the server answered that it is starting, stopping or full: class 57P, and 53300 (PostgreSQL, Appendix A).
pub(crate) fn is_starting(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code.starts_with("57P") || code == "53300")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_address_is_not_repeated() {
        let error = parse("postgres//user:hunter2@x").unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }

    #[test]
    fn settings_report_every_fault() {
        let settings = DatabaseSettings {
            max_connections: 0,
            acquire_timeout_ms: 0,
            ..DatabaseSettings::default()
        };
        assert_eq!(settings.faults().len(), 3);
    }
}
