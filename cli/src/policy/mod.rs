//! `portico policy …`: the policy crate, for people and for CI.

mod check;
mod explain;
pub(crate) mod files;
mod fmt;
mod schema;

use crate::Outcome;
use crate::arguments::PolicyCommand;

pub(crate) use files::{read, write_shipped};

pub(crate) fn run(command: PolicyCommand) -> anyhow::Result<Outcome> {
    match command {
        PolicyCommand::Check(arguments) => check::run(&arguments),
        PolicyCommand::Fmt(arguments) => fmt::run(&arguments),
        PolicyCommand::Explain(arguments) => explain::run(&arguments),
        PolicyCommand::Schema => schema::run(),
    }
}
