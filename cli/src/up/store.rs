//! The database of `up`: a private cluster, or the one that `DATABASE_URL` names.

use anyhow::{Context as _, bail};
use database::cluster::{Authentication, ClusterError, Durability, Options, PrivateCluster};
use database::roles::{self, Login};
use fleet::Roots;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection, Row as _};

use super::logs::Terminal;
use super::secrets::Secrets;
use crate::data_directory::DataDirectory;
use crate::durable_file;

/// Which session has a database: `portic` and `up`, as a number of eight bytes.
const CLAIM: i64 = 0x706f_7274_6963_7570;
/// How long the session of a system that has just been killed may take to end.
const CLAIM_WITHIN: &str = "5s";
/// `lock_not_available` (PostgreSQL, Appendix A).
const TAKEN: &str = "55P03";

/// How people reach the database; the services' addresses are among the secrets.
#[derive(Debug)]
pub(super) struct Addresses {
    /// Address of the read-only auditor, without a password.
    pub(super) auditor_url: String,
    /// Holds a given database while the system runs.
    _claim: Option<PgConnection>,
}

/// Starts the private cluster of a data directory.
pub(super) async fn start_cluster(
    directory: &DataDirectory,
    secrets: &Secrets,
) -> Result<PrivateCluster, ClusterError> {
    PrivateCluster::start(Options {
        directory: directory.postgres(),
        superuser_password: secrets.superuser_password.clone(),
        authentication: Authentication::Passwords,
        durability: Durability::Full,
    })
    .await
}

/// Makes roles and tables in the private cluster, and writes the services' addresses.
pub(super) async fn prepare_cluster(
    cluster: &PrivateCluster,
    secrets: &Secrets,
) -> anyhow::Result<Addresses> {
    let owner_url = cluster.owner_url();
    database::migrate(&owner_url).await?;
    cluster
        .allow_logins(&[
            (roles::CORE, &secrets.core_password),
            (roles::CONTROL, &secrets.control_password),
        ])
        .await
        .context("cannot let the database roles log in")?;
    let core_url = cluster.url_for(roles::CORE, Some(&secrets.core_password));
    let control_url = cluster.url_for(roles::CONTROL, Some(&secrets.control_password));
    write_urls(secrets, &owner_url, &core_url, &control_url)?;
    Ok(Addresses {
        auditor_url: cluster.url_for(roles::AUDITOR, None),
        _claim: None,
    })
}

/// Makes roles and tables in a database of somebody else's, and lets the services log in to it as their roles: whoever
/// takes over a service has no other user's rights to fall back to. What the operator should know is said. A database of
/// another system is left as it is.
pub(super) async fn prepare_given(
    url: &str,
    secrets: &Secrets,
    terminal: &Terminal,
) -> anyhow::Result<Addresses> {
    let claim = claim(url, &secrets.fleet_root_public)
        .await
        .context("DATABASE_URL")?;
    database::migrate(url).await.context("DATABASE_URL")?;
    let mut addresses = Vec::new();
    for (role, password) in [
        (roles::CORE, &secrets.core_password),
        (roles::CONTROL, &secrets.control_password),
    ] {
        let (address, login) = roles::let_in(url, role, password).await.context("DATABASE_URL")?;
        if login == Login::PasswordSet {
            terminal.say(&format!(
                "{role} has a new password on the given server; another system there that used the old one must be \
                 started again"
            ));
        }
        addresses.push(address);
    }
    let [core_url, control_url] = addresses.as_slice() else {
        bail!("a service has no database address")
    };
    write_urls(secrets, url, core_url, control_url)?;
    let auditor_url = database::url::for_role(url, roles::AUDITOR, None)?;
    // It may well need a password, which is not ours to make.
    if !roles::can_log_in(&auditor_url).await.unwrap_or(false) {
        terminal.say(&format!(
            "{0} cannot log in without a password; to read as it: ALTER ROLE {0} LOGIN, and \\password {0} in psql",
            roles::AUDITOR
        ));
    }
    Ok(Addresses {
        auditor_url,
        _claim: Some(claim),
    })
}

/// Takes a database for one system, until the connection ends: two of them would both be the fleet `portico` with its
/// gateway `gateway`, and a key that one of the gateways has taken over would count as known to both. One that another root
/// has signed for belongs to another data directory, which alone can open what is sealed in it.
async fn claim(url: &str, root: &str) -> anyhow::Result<PgConnection> {
    let options = database::pool::parse(url)?.disable_statement_logging();
    let mut connection = options
        .connect()
        .await
        .context("cannot connect to the database")?;
    let lock =
        format!("SET lock_timeout = '{CLAIM_WITHIN}'; SELECT pg_advisory_lock({CLAIM}); RESET lock_timeout");
    match connection.execute(sqlx::raw_sql(AssertSqlSafe(lock))).await {
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(TAKEN) => bail!(
            "another `portico up` runs on this database, and both would be the same fleet and gateway: stop it, or give this one a database of its own"
        ),
        locked => locked.map(drop)?,
    }
    let document = trust_document(&mut connection).await?;
    let roots = Roots::new([root], 1)?;
    if document.is_some_and(|document| roots.read(&document, super::fleet::NAME, 0).is_err()) {
        bail!(
            "the system of this database has another root than this data directory, which could open nothing in it: start it with the --data-dir that it was made with, or give this one a database of its own"
        );
    }
    Ok(connection)
}

/// The newest trust document of a database; none in one that is new.
async fn trust_document(connection: &mut PgConnection) -> anyhow::Result<Option<Vec<u8>>> {
    let table = "SELECT to_regclass('control.trust') IS NOT NULL";
    let is_there: bool = connection.fetch_one(sqlx::raw_sql(table)).await?.try_get(0)?;
    if !is_there {
        return Ok(None);
    }
    roles::ensure(connection).await?;
    let mut reading = connection.begin().await?;
    let role = format!("SET LOCAL ROLE {}", roles::OWNER);
    reading.execute(sqlx::raw_sql(AssertSqlSafe(role))).await?;
    let newest = "SELECT envelope FROM control.trust ORDER BY version DESC LIMIT 1";
    let row = reading.fetch_optional(sqlx::raw_sql(newest)).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

fn write_urls(secrets: &Secrets, owner: &str, core: &str, control: &str) -> anyhow::Result<()> {
    durable_file::write(&secrets.owner_url, owner.as_bytes(), 0o600)?;
    durable_file::write(&secrets.core_url, core.as_bytes(), 0o600)?;
    durable_file::write(&secrets.control_url, control.as_bytes(), 0o600)
}
