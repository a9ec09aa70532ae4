//! `portico user …`: what operators do for people who cannot sign in.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use service_runtime::settings::load;

use crate::data_directory::DataDirectory;
use crate::{Outcome, output};

/// What can be done.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  portico user unlock ada@bank.example

The audit trail says that it was done, each time. Sessions, passwords and trusted devices stay as they are.")]
pub(crate) enum UserCommand {
    /// Let somebody try again at once who is locked out by failed log-ins.
    Unlock(UnlockArguments),
}

/// Options of `portico user unlock`.
#[derive(Debug, Args)]
pub(crate) struct UnlockArguments {
    /// The address that the person signs in with.
    #[arg(value_name = "EMAIL")]
    email: String,
    /// Data directory of the system.
    #[arg(long, value_name = "DIR", default_value = ".portico")]
    data_dir: PathBuf,
    /// Settings file of core-api, instead of the one in the data directory.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

pub(crate) fn run(command: &UserCommand) -> anyhow::Result<Outcome> {
    match command {
        UserCommand::Unlock(arguments) => unlock(arguments),
    }
}

fn unlock(arguments: &UnlockArguments) -> anyhow::Result<Outcome> {
    let file = match &arguments.settings {
        Some(file) => file.clone(),
        None => DataDirectory::open(&arguments.data_dir)?.settings_of("core-api"),
    };
    let settings: core_api::Settings = load("core-api", Some(&file))?;
    let is_known = core_api::unlock(&settings, &arguments.email);
    settings.secrets().give_back_now();
    if is_known? {
        output::line(&format!("{} may try again", arguments.email));
        Ok(Outcome::Done)
    } else {
        output::line(&format!(
            "nobody signs in as {}; what was counted of it is forgotten",
            arguments.email
        ));
        Ok(Outcome::Findings)
    }
}
