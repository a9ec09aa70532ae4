//! `portico policy test`: the cases beside a policy, decided by the evaluator that the gateway runs.

use ::policy::cases::{self, Suite};
use ::policy::{Plan, SourceFile, environments, render};

use super::files;
use crate::arguments::{Format, PolicyTestArguments};
use crate::{Outcome, Unreadable, output};

pub(crate) fn run(arguments: &PolicyTestArguments) -> anyhow::Result<Outcome> {
    let format = arguments.format;
    let directory = &arguments.directory;
    let read_both = files::read(directory).and_then(|files| Ok((files, files::read_cases(directory)?)));
    let (policies, case_files) = read_both.inspect_err(|fault| {
        files::unreadable(fault, directory, format.into())
            .iter()
            .for_each(|document| output::line(document));
    })?;
    if let Some(name) = &arguments.env {
        files::known_environment(name, &policies, format.into())?;
    }
    let plans = compile(&policies, format)?;
    let suite = read(&case_files, &environments(&policies), &plans, format)?;

    let chosen: Vec<Plan> = match &arguments.env {
        Some(name) => plans
            .into_iter()
            .filter(|plan| plan.environment() == name)
            .collect(),
        None => plans,
    };
    let filter = arguments.filter.as_deref().unwrap_or_default();
    let report = suite.run(&chosen, |file, name| {
        name.contains(filter) || file.contains(filter)
    });
    let is_whole = arguments.env.is_none() && arguments.filter.is_none();
    if report.ran == 0 && !is_whole {
        return Err(Unreadable("no case is called that, or runs in that environment".to_owned()).into());
    }
    // A case that fails may be the one that is missing.
    let untested = chosen
        .iter()
        .find(|plan| plan.environment() == "production")
        .filter(|_| is_whole && report.failures.is_empty())
        .map(|plan| report.untested(plan, &policies));
    let untested = untested.as_deref();
    output::line(&match format {
        Format::Human => cases::human(&report, untested, &policies),
        Format::Json => cases::json(&report, untested),
    });
    let is_good = report.failures.is_empty() && untested.is_none_or(<[_]>::is_empty);
    Ok(if is_good { Outcome::Done } else { Outcome::Findings })
}

/// The policy in every environment that it knows.
fn compile(policies: &[SourceFile], format: Format) -> anyhow::Result<Vec<Plan>> {
    let mut plans = Vec::new();
    for environment in environments(policies) {
        match ::policy::compile(policies, environment) {
            Ok(plan) => plans.push(plan),
            Err(findings) => {
                output::line(&match format {
                    Format::Human => render::human(&findings, policies).trim_end().to_owned(),
                    Format::Json => render::json(&findings),
                });
                return Err(Unreadable("the policy does not compile, so no case was run".to_owned()).into());
            }
        }
    }
    Ok(plans)
}

fn read(
    case_files: &[SourceFile],
    environments: &[&str],
    plans: &[Plan],
    format: Format,
) -> anyhow::Result<Suite> {
    let findings = match Suite::read(case_files) {
        Ok(suite) => {
            let undefined = suite.undefined_names(environments, plans);
            if undefined.is_empty() {
                return Ok(suite);
            }
            undefined
        }
        Err(findings) => findings,
    };
    output::line(&match format {
        Format::Human => render::findings(&findings, case_files).trim_end().to_owned(),
        Format::Json => render::json(&findings),
    });
    Err(Unreadable("the cases cannot be read, so none was run".to_owned()).into())
}
