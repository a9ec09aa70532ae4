//! `portico policy …`: the policy crate, for people and for CI.

mod arguments;
mod audit;
mod bundle;
mod check;
mod diff;
mod explain;
pub(crate) mod files;
mod fmt;
mod rollout;
mod schema;
mod show;
mod table;
mod test;

use ::policy::Date;
use serde_json::json;
use service_runtime::clock::Clock;

use crate::arguments::{Format, PolicyCommand};
use crate::{Outcome, output};

pub(crate) use arguments::{PolicyDiffArguments, PolicyShowCommand, RunningArguments, SHOW_EXAMPLES};
pub(crate) use files::{read, write_shipped};
pub(crate) use rollout::{
    PolicyApproveArguments, PolicyHaltArguments, PolicyPublishArguments, PolicyRollbackArguments,
    RolloutArguments,
};

pub(crate) fn run(command: PolicyCommand) -> anyhow::Result<Outcome> {
    match command {
        PolicyCommand::Check(arguments) => check::run(&arguments),
        PolicyCommand::Test(arguments) => test::run(&arguments),
        PolicyCommand::Audit(arguments) => audit::run(&arguments),
        PolicyCommand::Fmt(arguments) => fmt::run(&arguments),
        PolicyCommand::Explain(arguments) => {
            let format = arguments.format;
            explain::run(*arguments).inspect_err(|fault| tell(fault, format))
        }
        PolicyCommand::Schema => schema::run(),
        PolicyCommand::Diff(arguments) => {
            diff::run(&arguments).inspect_err(|fault| tell(fault, arguments.format))
        }
        PolicyCommand::Plan(arguments) => rollout::plan(&arguments),
        PolicyCommand::Publish(arguments) => rollout::publish(&arguments),
        PolicyCommand::Approve(arguments) => rollout::approve(&arguments),
        PolicyCommand::Rollback(arguments) => rollout::rollback(&arguments),
        PolicyCommand::Halt(arguments) => rollout::halt(&arguments),
        PolicyCommand::Status(arguments) => rollout::status(&arguments),
        PolicyCommand::History(arguments) => rollout::history(&arguments),
        PolicyCommand::Drift(arguments) => rollout::drift(&arguments),
        PolicyCommand::Show(command) => {
            show::run(&command).inspect_err(|fault| tell(fault, show::common(&command).format))
        }
    }
}

/// For programs: they wait for a document, not for an exit code.
fn tell(fault: &anyhow::Error, format: Format) {
    if format == Format::Json {
        output::line(&json!({ "error": format!("{fault:#}") }).to_string());
    }
}

/// The last day of a waiver ends with this day, in UTC.
fn today() -> Date {
    Date::of_unix_time(Clock::system().now().timestamp())
}
