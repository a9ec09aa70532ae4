//! `portico user …`: what operators do for people who cannot sign in.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use core_api::{AccountDeed, AccountDone, FactorReset, Settings};
use service_runtime::settings::load;

use crate::data_directory::DataDirectory;
use crate::{Outcome, output};

/// What can be done.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  portico user unlock ada@bank.example
  portico user reset-factors ada@bank.example
  portico user end-sessions ada@bank.example   a phone is stolen
  portico user disable ada@bank.example        nobody signs in as ada until `enable`

The audit trail says that it was done, each time. Passwords stay as they are, and
trusted devices too but for `end-sessions` and `disable`.")]
pub(crate) enum UserCommand {
    /// Let somebody try again at once who is locked out by failed log-ins.
    Unlock(UserArguments),
    /// Remove the second factors of somebody who has lost them and the recovery codes. Every session of the person ends, and a
    /// mail says so. Make sure first who asks.
    ResetFactors(UserArguments),
    /// Sign somebody out everywhere: every session ends, its tokens are refused by the core at once and by gateways within a
    /// second while their list is less than half full, and no device is trusted any more.
    EndSessions(UserArguments),
    /// Let nobody sign in as this person any more; every session ends as with `end-sessions`.
    Disable(UserArguments),
    /// Let a person sign in again whose account is disabled.
    Enable(UserArguments),
}

/// Options of `portico user …`.
#[derive(Debug, Args)]
pub(crate) struct UserArguments {
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
        UserCommand::ResetFactors(arguments) => reset_factors(arguments),
        UserCommand::EndSessions(arguments) => operate(arguments, AccountDeed::SignOut),
        UserCommand::Disable(arguments) => operate(arguments, AccountDeed::Disable),
        UserCommand::Enable(arguments) => operate(arguments, AccountDeed::Enable),
    }
}

fn unlock(arguments: &UserArguments) -> anyhow::Result<Outcome> {
    let is_known = with_settings(arguments, |settings| core_api::unlock(settings, &arguments.email))?;
    if is_known {
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

fn reset_factors(arguments: &UserArguments) -> anyhow::Result<Outcome> {
    let reset = with_settings(arguments, |settings| {
        core_api::reset_factors(settings, &arguments.email)
    })?;
    let email = &arguments.email;
    let (told, outcome) = match reset {
        FactorReset::Done => (
            format!("{email} signs in with the password alone, and is signed out everywhere"),
            Outcome::Done,
        ),
        FactorReset::NoFactor => (
            format!("{email} has no second factor; wrong codes are forgotten"),
            Outcome::Done,
        ),
        FactorReset::Nobody => (format!("nobody signs in as {email}"), Outcome::Findings),
    };
    output::line(&told);
    Ok(outcome)
}

fn operate(arguments: &UserArguments, deed: AccountDeed) -> anyhow::Result<Outcome> {
    let email = &arguments.email;
    let done = with_settings(arguments, |settings| core_api::operate(settings, email, deed))?;
    let Some(AccountDone { is_changed, sessions }) = done else {
        output::line(&format!("nobody signs in as {email}"));
        return Ok(Outcome::Findings);
    };
    output::line(&match (deed, is_changed) {
        (AccountDeed::SignOut, _) => {
            format!("{email} is signed out everywhere; sessions that ended: {sessions}")
        }
        (AccountDeed::Disable, true) => format!("{email} is disabled; sessions that ended: {sessions}"),
        (AccountDeed::Disable, false) => {
            format!("{email} was disabled before; sessions that ended: {sessions}")
        }
        (AccountDeed::Enable, true) => format!("{email} is enabled"),
        (AccountDeed::Enable, false) => format!("{email} was not disabled"),
    });
    Ok(Outcome::Done)
}

/// Does something with the settings of core-api, and gives back what was lent for it.
fn with_settings<T>(
    arguments: &UserArguments,
    work: impl FnOnce(&Settings) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let file = match &arguments.settings {
        Some(file) => file.clone(),
        None => DataDirectory::open(&arguments.data_dir)?.settings_of("core-api"),
    };
    let settings: Settings = load("core-api", Some(&file))?;
    let done = work(&settings);
    settings.secrets().give_back_now();
    done
}
