//! The database of `up`: a private cluster, or the one that `DATABASE_URL` names.

use anyhow::Context as _;
use database::cluster::{Authentication, ClusterError, Durability, Options, PrivateCluster};
use database::roles;
use sqlx::postgres::PgConnectOptions;

use super::secrets::Secrets;
use crate::data_directory::DataDirectory;
use crate::durable_file;

/// How the services and the auditor reach the database.
#[derive(Debug)]
pub(super) struct Addresses {
    /// Role to take after connecting, where the address is another user's.
    pub(super) core_role: Option<&'static str>,
    pub(super) control_role: Option<&'static str>,
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
        core_role: None,
        control_role: None,
        auditor_url: cluster.url_for(roles::AUDITOR, None),
    })
}

/// Makes roles and tables in a database of somebody else's, which the services then use by taking their role.
pub(super) async fn prepare_given(url: &str, secrets: &Secrets) -> anyhow::Result<Addresses> {
    database::migrate(url).await.context("DATABASE_URL")?;
    write_urls(secrets, url, url, url)?;
    Ok(Addresses {
        core_role: Some(roles::CORE),
        control_role: Some(roles::CONTROL),
        auditor_url: auditor_of(url)?,
    })
}

fn write_urls(secrets: &Secrets, owner: &str, core: &str, control: &str) -> anyhow::Result<()> {
    durable_file::write(&secrets.owner_url, owner.as_bytes(), 0o600)?;
    durable_file::write(&secrets.core_url, core.as_bytes(), 0o600)?;
    durable_file::write(&secrets.control_url, control.as_bytes(), 0o600)
}

/// The same server and database without the password, acting as the auditor.
fn auditor_of(url: &str) -> anyhow::Result<String> {
    let options: PgConnectOptions = url
        .parse()
        .map_err(|_| anyhow::anyhow!("DATABASE_URL cannot be read"))?;
    let host = options.get_socket().map_or_else(
        || options.get_host().to_owned(),
        |socket| socket.to_string_lossy().into_owned(),
    );
    Ok(format!(
        "postgresql:///{}?host={host}&port={}&user={}&options=-c%20role%3D{}",
        options.get_database().unwrap_or(options.get_username()),
        options.get_port(),
        options.get_username(),
        roles::AUDITOR
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_auditors_address_holds_no_password() {
        let url = auditor_of("postgresql://admin:hunter2@db.example:5433/bank").unwrap();
        assert_eq!(
            url,
            "postgresql:///bank?host=db.example&port=5433&user=admin&options=-c%20role%3Dportico_auditor"
        );
    }
}
