//! Connection pools: one per service, with deadlines on everything.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Deserialize;
use service_runtime::settings::Secret;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgPool};
use tracing::log::LevelFilter;
use zeroize::ZeroizeOnDrop;

/// A connection that has rested this long is asked whether it lives before it is used; one that has just answered is not,
/// for asking costs a round trip. What dies in between is a failed request that its client may repeat.
const STALE: Duration = Duration::from_secs(1);

/// How a service reaches the database.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseSettings {
    /// Address, as a reference to a secret; it holds a password. With `address`, the login alone, as JSON with `username` and
    /// `password`: what Vault's database engine lends, and what AWS keeps of its databases.
    pub url: Secret,
    /// Address without a login, such as `postgresql://db.internal/portico`.
    pub address: Option<String>,
    /// Role to act as after connecting, where the address names another user.
    pub role: Option<String>,
    /// Most connections of the pool at once; the control plane listens on one more.
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
            address: None,
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
        } else if let Err(error) = address(self, self.url.expose()) {
            faults.push(format!("database: {error}"));
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
    let pool = pool_options(settings, &Cutoff::default()).connect_lazy_with(options);
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
    let mut options = address(settings, url)?
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

/// Connections that are older than a moment are used no more: their user will soon be gone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cutoff(Arc<Mutex<Option<Instant>>>);

impl Cutoff {
    /// From now on, those that are open are used no more; statements under way end.
    pub(crate) fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn is_for(&self, age: Duration) -> bool {
        let moment = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        moment.is_some_and(|moment| age > moment.elapsed())
    }
}

/// How many connections there are, and how long each is used.
pub(crate) fn pool_options(settings: &DatabaseSettings, cutoff: &Cutoff) -> PgPoolOptions {
    let (on_the_way_out, on_the_way_back) = (cutoff.clone(), cutoff.clone());
    PgPoolOptions::new()
        .max_connections(settings.max_connections)
        .acquire_timeout(Duration::from_millis(settings.acquire_timeout_ms))
        .max_lifetime(Duration::from_secs(u64::from(settings.max_lifetime_s)))
        .test_before_acquire(false)
        .after_release(move |_, used| {
            let is_over = on_the_way_back.is_for(used.age);
            Box::pin(async move { Ok(!is_over) })
        })
        .before_acquire(move |connection, used| {
            let is_over = on_the_way_out.is_for(used.age);
            Box::pin(async move {
                if is_over {
                    return Ok(false);
                }
                if used.idle_for >= STALE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
}

/// What Vault lends and AWS keeps; more may stand beside it.
#[derive(Deserialize, ZeroizeOnDrop)]
struct LoginText {
    username: String,
    password: String,
}

/// Where to log in, and as whom. No error repeats what it read.
fn address(settings: &DatabaseSettings, secret: &str) -> anyhow::Result<PgConnectOptions> {
    let Some(address) = &settings.address else {
        return parse(secret);
    };
    if ["@", "user=", "password="]
        .iter()
        .any(|part| address.contains(part))
    {
        anyhow::bail!(
            "`address` names a user, but who logs in, and with which password, stands in the secret of `url`"
        );
    }
    let login: LoginText = serde_json::from_str(secret).map_err(|_| {
        anyhow::anyhow!(
            "the secret of `url` is no JSON with `username` and `password`, as it must be beside `address`"
        )
    })?;
    Ok(parse(address)?
        .username(&login.username)
        .password(&login.password))
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

    #[test]
    fn a_login_and_an_address_may_come_from_two_places() {
        let settings = |address: &str| DatabaseSettings {
            address: Some(address.to_owned()),
            ..DatabaseSettings::default()
        };
        let login = r#"{"username": "v-core-1", "password": "hunter2/@:", "engine": "postgres"}"#;
        let read = address(&settings("postgresql://db.internal:6432/portico"), login).unwrap();
        assert_eq!(
            (
                read.get_host(),
                read.get_port(),
                read.get_username(),
                read.get_database()
            ),
            ("db.internal", 6432, "v-core-1", Some("portico"))
        );
        for (place, login, says) in [
            ("postgresql://ada@db.internal/portico", login, "names a user"),
            ("postgresql:///portico?user=ada", login, "names a user"),
            ("postgresql://db.internal/portico", "hunter2", "no JSON"),
            ("db.internal", login, "cannot be read"),
        ] {
            let error = address(&settings(place), login).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("hunter2"), "{error}");
        }
    }
}
