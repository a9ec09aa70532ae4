//! `portico policy …`: the policy crate, for people and for CI.

mod arguments;
mod audit;
mod bundle;
mod check;
mod diff;
mod explain;
pub(crate) mod files;
mod fmt;
mod schema;
mod show;
mod table;
mod test;

use ::policy::Date;
use service_runtime::clock::Clock;

use crate::Outcome;
use crate::arguments::PolicyCommand;

pub(crate) use arguments::{PolicyDiffArguments, PolicyShowCommand, RunningArguments, SHOW_EXAMPLES};
pub(crate) use files::{read, write_shipped};

pub(crate) fn run(command: PolicyCommand) -> anyhow::Result<Outcome> {
    match command {
        PolicyCommand::Check(arguments) => check::run(&arguments),
        PolicyCommand::Test(arguments) => test::run(&arguments),
        PolicyCommand::Audit(arguments) => audit::run(&arguments),
        PolicyCommand::Fmt(arguments) => fmt::run(&arguments),
        PolicyCommand::Explain(arguments) => explain::run(*arguments),
        PolicyCommand::Schema => schema::run(),
        PolicyCommand::Diff(arguments) => diff::run(&arguments),
        PolicyCommand::Show(command) => show::run(&command),
    }
}

/// The last day of a waiver ends with this day, in UTC.
fn today() -> Date {
    Date::of_unix_time(Clock::system().now().timestamp())
}
