//! `portico policy check`: all findings of all files at once.

use ::policy::cases::Suite;
use ::policy::{Diagnostic, Plan, Severity, SourceFile, environments, render, sarif};
use service_runtime::settings::variable;

use super::{files, today};
use crate::arguments::{FindingsFormat, PolicyCheckArguments};
use crate::{Outcome, output};

pub(crate) fn run(arguments: &PolicyCheckArguments) -> anyhow::Result<Outcome> {
    let directory = &arguments.directory;
    let read = files::read(directory).and_then(|files| Ok((files, files::read_cases(directory)?)));
    let (files, case_files) = read.inspect_err(|fault| {
        files::unreadable(fault, directory, arguments.format)
            .iter()
            .for_each(|document| output::line(document));
    })?;
    let chosen = arguments
        .env
        .clone()
        .or_else(|| variable("APP_ENV"))
        .filter(|name| !name.is_empty());
    if let Some(chosen) = &chosen {
        files::known_environment(chosen, &files, arguments.format)?;
    }
    let all = || environments(&files).into_iter().map(str::to_owned).collect();
    let chosen: Vec<String> = chosen.map_or_else(all, |chosen| vec![chosen]);

    let mut findings: Vec<Diagnostic> = Vec::new();
    let mut plans = Vec::new();
    for environment in &chosen {
        let found = match ::policy::compile(&files, environment) {
            Ok(plan) => {
                let mut due = plan.due_waivers(today());
                due.extend(plan.due_sunsets(today()));
                plans.push(plan);
                due
            }
            Err(found) => found,
        };
        for finding in found {
            // The base files are the same in every environment.
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    }
    let wrong_cases = wrong_cases(&case_files, &files, &mut plans);
    plans.retain(|plan| chosen.iter().any(|chosen| chosen == plan.environment()));
    let all = [&findings[..], &wrong_cases].concat();
    match arguments.format {
        FindingsFormat::Json => output::line(&render::json(&all)),
        FindingsFormat::Sarif => {
            let root = files::name_in_repository(&arguments.directory);
            output::line(&sarif::check(&all, &root));
        }
        FindingsFormat::Human => {
            report(&files, &findings, &plans);
            report_cases(&case_files, &wrong_cases);
        }
    }
    let has_errors = has_errors(&findings) || !wrong_cases.is_empty();
    Ok(if has_errors {
        Outcome::Findings
    } else {
        Outcome::Done
    })
}

fn has_errors(findings: &[Diagnostic]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

/// What is wrong in the case files, whichever environment is asked about: their names must be right in every one that
/// compiles. `plans` gets those that are missing.
fn wrong_cases(case_files: &[SourceFile], policies: &[SourceFile], plans: &mut Vec<Plan>) -> Vec<Diagnostic> {
    let suite = match Suite::read(case_files) {
        Ok(suite) if suite.is_empty() => return Vec::new(),
        Ok(suite) => suite,
        Err(findings) => return findings,
    };
    if policies.iter().any(|file| file.refusal.is_some()) {
        // What was not read may define the names.
        return Vec::new();
    }
    let environments = environments(policies);
    for environment in &environments {
        if plans.iter().all(|plan| plan.environment() != *environment) {
            plans.extend(::policy::compile(policies, environment));
        }
    }
    suite.undefined_names(&environments, plans)
}

fn report(files: &[SourceFile], findings: &[Diagnostic], plans: &[Plan]) {
    if !findings.is_empty() {
        output::line(render::human(findings, files).trim_end());
        output::line("");
    }
    if has_errors(findings) {
        let fate = if plans.is_empty() {
            "nothing of this bundle would be used"
        } else {
            "this bundle is not to be published"
        };
        output::line(&format!("{}; {fate}", counted(findings)));
        return;
    }
    output::line(&format!("{} policy files are right", files.len()));
    for plan in plans {
        output::line(&format!(
            "  {}: {} routes, bundle {}",
            plan.environment(),
            plan.routes().len(),
            plan.short_hash()
        ));
    }
}

/// Cases are no part of the bundle: what is wrong in them stops no gateway.
fn report_cases(files: &[SourceFile], findings: &[Diagnostic]) {
    if !findings.is_empty() {
        output::line(&format!("\n{}", render::findings(findings, files).trim_end()));
        output::line(&format!("\n{} in the cases; they cannot run", counted(findings)));
    }
}

fn counted(findings: &[Diagnostic]) -> String {
    match findings.len() {
        1 => "1 finding".to_owned(),
        many => format!("{many} findings"),
    }
}
