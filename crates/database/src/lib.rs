//! The one PostgreSQL database of Portico: its roles, its migrations, connection pools, and a private cluster run from
//! the host's PostgreSQL binaries where no database is given.
//!
//! This crate knows how to reach and prepare the database. What is in the tables is the services' business.

#![warn(missing_docs)]

pub mod cluster;
pub mod failure;
pub mod login;
pub mod pool;
pub mod process;
pub mod roles;
pub mod socket_directory;
pub mod url;

use anyhow::Context as _;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgConnection};

pub use failure::Failure;
pub use login::Pool;
pub use pool::{DatabaseSettings, connect};

/// The migrations of `migrations/`, embedded. They are applied in order and never edited once released.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// Makes the roles, then applies every migration that is missing, as `portico_owner`. Doing it twice changes nothing,
/// and two processes that do it at once take turns.
///
/// `url` names a user that may create roles, or the superuser of a private cluster.
///
/// # Errors
/// When the database cannot be reached, the user may not create the roles, a migration fails (it is rolled back), or
/// the database was migrated by another version of Portico whose migrations differ.
pub async fn migrate(url: &str) -> anyhow::Result<()> {
    let options = pool::parse(url)?;
    let mut connection = options
        .connect()
        .await
        .context("cannot connect to the database")?;
    let outcome = migrate_on(&mut connection).await;
    // A connection that is being closed cannot change what was committed.
    drop(connection.close().await);
    outcome
}

async fn migrate_on(connection: &mut PgConnection) -> anyhow::Result<()> {
    // Two migrators take turns; the lock ends with the connection.
    connection
        .execute(sqlx::raw_sql("SELECT pg_advisory_lock(7305807081235)"))
        .await
        .context("cannot wait for another migration to end")?;
    roles::ensure(connection)
        .await
        .context("cannot make the database roles")?;
    // The record of applied migrations lives in a schema of its own, so that nothing needs the right to write in `public`.
    connection
        .execute(sqlx::raw_sql(
            "SET ROLE portico_owner;
             SET client_min_messages = warning;
             CREATE SCHEMA IF NOT EXISTS migration;
             SET search_path = migration;",
        ))
        .await
        .context("cannot prepare the migrations: the user must be able to become portico_owner")?;
    match MIGRATOR.run(&mut *connection).await {
        Ok(()) => Ok(()),
        Err(error @ (MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_))) => Err(error)
            .context(
                "this database was migrated by another version of Portico; use that version or a newer one",
            ),
        Err(error) => Err(error).context("a migration failed and was rolled back"),
    }
}
