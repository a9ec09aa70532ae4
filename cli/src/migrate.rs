//! `portico migrate`: roles, then migrations.

use anyhow::Context as _;
use service_runtime::settings::variable;

use crate::arguments::MigrateArguments;
use crate::{Outcome, Unreadable, output};

pub(crate) fn run(arguments: &MigrateArguments) -> anyhow::Result<Outcome> {
    let url = match &arguments.database_url_file {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| Unreadable(format!("{}: {error}", path.display())))?
            .trim()
            .to_owned(),
        None => variable("DATABASE_URL").ok_or_else(|| {
            Unreadable("which database? Set DATABASE_URL or give --database-url-file FILE".to_owned())
        })?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(database::migrate(&url))?;
    output::line(&format!(
        "the database has all {} migrations",
        database::MIGRATOR.iter().count()
    ));
    Ok(Outcome::Done)
}
