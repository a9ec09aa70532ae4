//! A migrated database for one test: a clone of the template, gone when the test ends.

use std::thread;
use std::time::Duration;

use database::url::over_socket;
use service_runtime::settings::variable;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgPool};

/// The migrated database that tests clone; nobody connects to it.
pub const TEMPLATE: &str = "portico_template";

/// A database of one test. Dropping it removes the database, whoever is still connected.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    server: PgConnectOptions,
}

impl TestDatabase {
    /// Clones the template.
    ///
    /// # Panics
    /// When `TEST_DATABASE_URL` is not set or the clone fails: a test without its database has failed.
    #[expect(
        clippy::panic,
        clippy::expect_used,
        reason = "in a test a panic is the report"
    )]
    pub async fn create() -> Self {
        let Some(url) = variable("TEST_DATABASE_URL") else {
            panic!(
                "TEST_DATABASE_URL is not set. Run tests that need PostgreSQL like this:\n  \
                 cargo run -q -p test-support --bin with-postgres -- cargo nextest run -p <crate>"
            );
        };
        let server: PgConnectOptions = url.parse().expect("TEST_DATABASE_URL is a PostgreSQL address");
        let server = server.disable_statement_logging();
        let name = format!("test_{}", uuid::Uuid::new_v4().simple());
        let mut connection = server.connect().await.expect("the test server answers");
        connection
            .execute(sqlx::raw_sql(AssertSqlSafe(format!(
                "CREATE DATABASE {name} TEMPLATE {TEMPLATE}"
            ))))
            .await
            .expect("the template can be cloned");
        connection.close().await.expect("the connection closes");
        Self { name, server }
    }

    /// The database's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Address of this database as `role`, for settings that take an address.
    ///
    /// # Panics
    /// When the test server is not reached over a unix socket.
    #[must_use]
    #[expect(clippy::expect_used, reason = "in a test a panic is the report")]
    pub fn url_as(&self, role: &str) -> String {
        let socket_directory = self
            .server
            .get_socket()
            .expect("the test server listens on a unix socket");
        over_socket(socket_directory, role, None, &self.name)
    }

    /// A pool that logs in as `role`, with its rights and no others; it connects when first used.
    #[must_use]
    pub fn pool_as(&self, role: &str) -> PgPool {
        pool(self.server.clone().username(role).database(&self.name))
    }

    /// A pool as superuser: for arranging and for looking behind row-level security, never for what is tested.
    #[must_use]
    pub fn owner_pool(&self) -> PgPool {
        pool(self.server.clone().database(&self.name))
    }
}

fn pool(options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(10)
        .acquire_timeout(Duration::from_secs(10))
        .connect_lazy_with(options)
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // The test's own runtime may be the one that is dropping this.
        let remover = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let mut connection = server.connect().await?;
                let drop_it = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                connection.execute(sqlx::raw_sql(AssertSqlSafe(drop_it))).await?;
                connection.close().await?;
                anyhow::Ok(())
            })
        });
        // What stays behind goes with the cluster.
        drop(remover.join());
    }
}
