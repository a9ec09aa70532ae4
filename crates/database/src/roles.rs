//! The roles of the database. They belong to the whole cluster, so they are made before the migrations.
//!
//! | role | is |
//! |---|---|
//! | `portico_owner` | owner of every schema, table and function; never logs in |
//! | `portico_core` | core-api: schemas `core` and `ledger` |
//! | `portico_control` | control-plane: schema `control` |
//! | `portico_auditor` | reads, and only reads; passes row-level security |

use sqlx::{Connection as _, Executor as _, PgConnection};

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
    // A slow or failing statement is written to the server's log, and this one holds a password.
    transaction
        .execute(sqlx::raw_sql(
            "SET LOCAL log_statement = 'none';
             SET LOCAL log_min_duration_statement = -1;
             SET LOCAL log_min_error_statement = 'panic';",
        ))
        .await?;
    transaction
        .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(statement)))
        .await?;
    transaction.commit().await
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
