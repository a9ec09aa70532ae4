//! A pool whose login may be rotated under it: a password that is refused is fetched anew, and the request waits for that
//! instead of failing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use secrets::Source;
use service_runtime::clock::Clock;
use service_runtime::shutdown::Shutdown;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{
    ConnectOptions as _, Connection as _, Describe, Either, Execute, Executor, PgPool, Postgres, SqlStr,
    Transaction,
};
use tokio::sync::Mutex;

use crate::pool::{self, Cutoff, DatabaseSettings, connect_options, pool_options};

/// Between two questions for a login that works, while a rotation is under way.
const PAUSE: Duration = Duration::from_millis(100);

/// A pool that logs in with what its secret holds now. A clone is the same pool.
#[derive(Debug, Clone)]
pub struct Pool {
    pool: PgPool,
    login: Option<Arc<Login>>,
}

#[derive(Debug)]
struct Login {
    source: Arc<Source>,
    settings: DatabaseSettings,
    application_name: String,
    /// Where a login ends with its lease, its connections are left in time.
    cutoff: Cutoff,
    /// How often the login was replaced.
    generation: AtomicU64,
    /// Held while it is replaced: those who were refused together ask once. When that was last tried in vain.
    turn: Mutex<Option<Instant>>,
}

impl From<PgPool> for Pool {
    /// A pool whose login stays.
    fn from(pool: PgPool) -> Self {
        Self { pool, login: None }
    }
}

impl Pool {
    /// Opens a pool, as [`crate::connect`] does.
    ///
    /// # Errors
    /// When the address cannot be read, or PostgreSQL refuses the login and every other one that its provider has.
    pub async fn connect(settings: &DatabaseSettings, application_name: &str) -> anyhow::Result<Self> {
        let options = connect_options(settings, settings.url.expose(), application_name)?;
        let cutoff = Cutoff::default();
        let login = settings.url.source().map(|source| {
            Arc::new(Login {
                source: source.clone(),
                settings: settings.clone(),
                application_name: application_name.to_owned(),
                cutoff: cutoff.clone(),
                generation: AtomicU64::new(0),
                turn: Mutex::new(None),
            })
        });
        let pool = Self {
            pool: pool_options(settings, &cutoff).connect_lazy_with(options),
            login,
        };
        match pool.acquire().await {
            Ok(connection) => drop(connection),
            Err(error @ sqlx::Error::Database(_)) if !pool::is_starting(&error) => {
                return Err(error).context("the database refuses the login");
            }
            Err(error) => tracing::warn!(%error, "the database cannot be reached yet"),
        }
        Ok(pool)
    }

    /// A connection. When the login is refused, the secret is fetched anew until one is accepted or the time to acquire
    /// is over: in the middle of a rotation neither the old one nor the new one may work for a moment.
    ///
    /// # Errors
    /// Those of sqlx.
    pub async fn acquire(&self) -> sqlx::Result<PoolConnection<Postgres>> {
        let Some(login) = &self.login else {
            return self.pool.acquire().await;
        };
        let started = Instant::now();
        let patience = Duration::from_millis(login.settings.acquire_timeout_ms);
        loop {
            let generation = login.generation.load(Ordering::Acquire);
            let refused = match self.pool.acquire().await {
                Err(error) if is_refused_login(&error) => error,
                outcome => return outcome,
            };
            let left = patience.saturating_sub(started.elapsed());
            // A provider that hangs holds nobody up for longer than the database would.
            if tokio::time::timeout(left, login.replace(&self.pool, generation)).await == Ok(true) {
                continue;
            }
            if started.elapsed() >= patience {
                return Err(refused);
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "a back-off while a rotation is under way"
            )]
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// Those of sqlx.
    pub async fn begin(&self) -> sqlx::Result<Transaction<'static, Postgres>> {
        Transaction::begin(self.acquire().await?, None).await
    }

    /// How often the login was replaced. Who keeps a connection of his own leaves it when this has grown: its user will soon be
    /// gone.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.login
            .as_ref()
            .map_or(0, |login| login.generation.load(Ordering::Acquire))
    }

    /// One connection beside the pool, for who keeps it: opened when it is first used, with the login of today. A refused login
    /// is an error there.
    #[must_use]
    pub fn apart(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(self.pool.options().get_acquire_timeout())
            .connect_lazy_with(self.pool.connect_options().as_ref().clone())
    }

    /// Ends it: waits for what is under way.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Takes a newer login when its secret changes, before the old one is refused; until `shutdown`.
    pub async fn follow(self, shutdown: Shutdown) {
        let Some(login) = &self.login else { return };
        let mut changes = login.source.follow();
        loop {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = shutdown.cancelled() => return,
            }
            let generation = login.generation.load(Ordering::Acquire);
            if !login.replace(&self.pool, generation).await {
                tracing::warn!("the database does not accept the new login yet; the old one stays");
            }
        }
    }
}

impl Login {
    /// Finds a login that works and gives it to the pool, unless somebody did since `generation`. Returns whether the
    /// pool has another one now.
    async fn replace(&self, pool: &PgPool, generation: u64) -> bool {
        let mut in_vain = self.turn.lock().await;
        if self.generation.load(Ordering::Acquire) != generation {
            return true;
        }
        if in_vain.is_some_and(|last| last.elapsed() < PAUSE) {
            return false;
        }
        for text in self.source.candidates().await {
            if self.take(pool, generation, &text).await {
                *in_vain = None;
                return true;
            }
        }
        // What was lent may have been taken back before its time.
        if self.source.lend_anew(Clock::system().now()).await
            && let Ok(text) = self.source.text()
            && self.take(pool, generation, &text).await
        {
            *in_vain = None;
            return true;
        }
        *in_vain = Some(Instant::now());
        false
    }

    /// Gives a login to the pool, if PostgreSQL accepts it.
    async fn take(&self, pool: &PgPool, generation: u64, text: &str) -> bool {
        let Ok(options) = connect_options(&self.settings, text, &self.application_name) else {
            return false;
        };
        if !self.is_accepted(&options).await {
            return false;
        }
        pool.set_connect_options(options);
        if self.source.is_lent() {
            self.cutoff.now();
        }
        self.generation
            .store(generation.wrapping_add(1), Ordering::Release);
        // What the report says; the value is in use already.
        drop(self.source.refresh(Clock::system().now()).await);
        tracing::info!(reference = %self.source.reference(), "the database login was replaced");
        true
    }

    async fn is_accepted(&self, options: &PgConnectOptions) -> bool {
        let patience = Duration::from_millis(self.settings.acquire_timeout_ms);
        match tokio::time::timeout(patience, options.connect()).await {
            Ok(Ok(connection)) => {
                // A probe that does not end well was accepted all the same.
                drop(connection.close().await);
                true
            }
            _ => false,
        }
    }
}

/// Whether PostgreSQL refused who logs in: 28P01 is a wrong password, 28000 a user who may not log in (any more).
fn is_refused_login(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code == "28P01" || code == "28000")
}

/// Statements that are run on the pool itself.
impl<'p> Executor<'p> for &'_ Pool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, sqlx::Result<Either<PgQueryResult, PgRow>>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        // Collected: the connection must outlive the stream of its rows, and no statement here returns many.
        let rows = async move {
            let mut connection = pool.acquire().await?;
            connection.fetch_many(query).try_collect::<Vec<_>>().await
        };
        stream::once(rows)
            .map_ok(|rows| stream::iter(rows.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<PgRow>>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        Box::pin(async move { pool.acquire().await?.fetch_optional(query).await })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, sqlx::Result<PgStatement>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move { pool.acquire().await?.prepare_with(sql, parameters).await })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<Describe<Postgres>>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move { pool.acquire().await?.describe(sql).await })
    }
}
