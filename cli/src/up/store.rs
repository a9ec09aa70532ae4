//! The database of `up`: a private cluster, or the one that `DATABASE_URL` names.

use anyhow::{Context as _, bail};
use database::cluster::{Authentication, ClusterError, Durability, Options, PrivateCluster};
use database::roles::{self, Login};

use super::logs::Terminal;
use super::secrets::Secrets;
use crate::data_directory::DataDirectory;
use crate::durable_file;

/// How people reach the database; the services' addresses are among the secrets.
#[derive(Debug)]
pub(super) struct Addresses {
    /// Address of the read-only auditor, without a password.
    pub(super) auditor_url: String,
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
    })
}

/// Makes roles and tables in a database of somebody else's, and lets the services log in to it as their roles: whoever
/// takes over a service has no other user's rights to fall back to. What the operator should know is said.
pub(super) async fn prepare_given(
    url: &str,
    secrets: &Secrets,
    terminal: &Terminal,
) -> anyhow::Result<Addresses> {
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
    Ok(Addresses { auditor_url })
}

fn write_urls(secrets: &Secrets, owner: &str, core: &str, control: &str) -> anyhow::Result<()> {
    durable_file::write(&secrets.owner_url, owner.as_bytes(), 0o600)?;
    durable_file::write(&secrets.core_url, core.as_bytes(), 0o600)?;
    durable_file::write(&secrets.control_url, control.as_bytes(), 0o600)
}
