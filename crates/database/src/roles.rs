//! The roles of the database. They belong to the whole cluster, so they are made before the migrations.
//!
//! | role | is |
//! |---|---|
//! | `portico_owner` | owner of every schema, table and function; never logs in |
//! | `portico_core` | core-api: schemas `core` and `ledger` |
//! | `portico_control` | control-plane: schema `control` |
//! | `portico_auditor` | reads, and only reads; passes row-level security |

use anyhow::Context as _;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgConnection};

use crate::{pool, url};

/// Owner of everything; what migrations run as.
pub const OWNER: &str = "portico_owner";
/// What core-api runs as.
pub const CORE: &str = "portico_core";
/// What control-plane runs as.
pub const CONTROL: &str = "portico_control";
/// Reads everything that is granted to it, changes nothing.
pub const AUDITOR: &str = "portico_auditor";

/// Other processes may be making the same roles through another database of the cluster, where an advisory lock of
/// this one does not reach: PostgreSQL then refuses one of the two, which tries again.
const ATTEMPTS: u32 = 5;

/// Makes the roles that are missing, as NOLOGIN, and lets the current user act as them. Changes nothing when all is
/// in place.
///
/// # Errors
/// When the current user may not create roles, or the connection fails.
pub async fn ensure(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut attempt = 1;
    loop {
        match connection.execute(sqlx::raw_sql(include_str!("roles.sql"))).await {
            Err(error) if attempt < ATTEMPTS && is_lost_race(&error) => attempt += 1,
            outcome => return outcome.map(drop),
        }
    }
}

/// Lets `role` log in, with a SCRAM password or, where `pg_hba.conf` trusts it, with none.
///
/// # Errors
/// When the password holds another character than `A-Z a-z 0-9 - _`, or PostgreSQL refuses.
pub async fn allow_login(
    connection: &mut PgConnection,
    role: &str,
    password: Option<&str>,
) -> Result<(), sqlx::Error> {
    let is_plain = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if !is_plain(role) || !password.is_none_or(is_plain) {
        return Err(sqlx::Error::Protocol(
            "a role or its password holds a character that is not plain".to_owned(),
        ));
    }
    let statement = match password {
        Some(password) => format!("ALTER ROLE {role} LOGIN PASSWORD '{password}'"),
        None => format!("ALTER ROLE {role} LOGIN"),
    };
    let mut transaction = connection.begin().await?;
    // A slow or failing statement is written to the server's log, and this one holds a password. Only a superuser may
    // keep it out.
    transaction
        .execute(sqlx::raw_sql(
            "SELECT set_config(name, value, true)
               FROM (VALUES ('log_statement', 'none'), ('log_min_duration_statement', '-1'),
                            ('log_min_error_statement', 'panic')) AS quiet (name, value)
              WHERE current_setting('is_superuser') = 'on'",
        ))
        .await?;
    transaction
        .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(statement)))
        .await?;
    transaction.commit().await
}

/// What it took to let a role log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// It could already, with this password.
    Possible,
    /// The password was set: there was none, or another one, which no longer works.
    PasswordSet,
}

/// Makes sure that `role` can log in with `password` to the server and database of `admin_url`, whose user may create
/// roles. Roles belong to the whole server, so a password that works already is left alone. Returns the role's address.
///
/// # Errors
/// When the server cannot be reached, the user may not change the role, or the server's `pg_hba.conf` keeps the role
/// out whatever its password is.
pub async fn let_in(admin_url: &str, role: &str, password: &str) -> anyhow::Result<(String, Login)> {
    let address = url::for_role(admin_url, role, Some(password))?;
    if can_log_in(&address).await? {
        return Ok((address, Login::Possible));
    }
    let mut admin = pool::parse(admin_url)?
        .disable_statement_logging()
        .connect()
        .await
        .context("cannot connect to the database")?;
    let outcome = allow_login(&mut admin, role, Some(password)).await;
    drop(admin.close().await);
    outcome.with_context(|| format!("cannot let {role} log in"))?;
    if can_log_in(&address).await? {
        Ok((address, Login::PasswordSet))
    } else {
        anyhow::bail!(
            "the database server keeps {role} out: its pg_hba.conf must admit that role with a password"
        )
    }
}

/// Whether the user of `url` is let in. A server that cannot be reached, or refuses for another reason than the user
/// or the password (class 28, PostgreSQL, Appendix A), is an error.
///
/// # Errors
/// See above.
pub async fn can_log_in(url: &str) -> anyhow::Result<bool> {
    match pool::parse(url)?.disable_statement_logging().connect().await {
        Ok(connection) => {
            drop(connection.close().await);
            Ok(true)
        }
        Err(error) => {
            let code = error
                .as_database_error()
                .and_then(sqlx::error::DatabaseError::code);
            if code.is_some_and(|code| code.starts_with("28")) {
                Ok(false)
            } else {
                Err(error).context("cannot connect to the database")
            }
        }
    }
}

/// Whether PostgreSQL refused because another session changed the same role at the same moment.
fn is_lost_race(error: &sqlx::Error) -> bool {
    let Some(database) = error.as_database_error() else {
        return false;
    };
    let code = database.code();
    // duplicate_object, unique_violation, and “tuple concurrently updated”, which has no code of its own.
    matches!(code.as_deref(), Some("42710" | "23505"))
        || (code.as_deref() == Some("XX000") && database.message().contains("concurrently"))
}
