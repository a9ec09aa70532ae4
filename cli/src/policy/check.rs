//! `portico policy check`: all findings of all files at once.

use ::policy::cases::Suite;
use ::policy::{Diagnostic, Plan, Severity, SourceFile, render, sarif};
use service_runtime::settings::variable;

use super::{files, today};
use crate::arguments::{FindingsFormat, PolicyCheckArguments};
use crate::{Outcome, output};

/// Every environment that may have an overlay.
const ENVIRONMENTS: [&str; 3] = ["development", "test", "production"];

pub(crate) fn run(arguments: &PolicyCheckArguments) -> anyhow::Result<Outcome> {
    let files = files::read(&arguments.directory)?;
    let case_files = files::read_cases(&arguments.directory)?;
    let chosen = arguments
        .env
        .clone()
        .or_else(|| variable("APP_ENV"))
        .filter(|name| !name.is_empty());
    let is_whole = chosen.is_none();
    let environments = chosen.map_or_else(|| ENVIRONMENTS.map(str::to_owned).to_vec(), |chosen| vec![chosen]);

    let mut findings: Vec<Diagnostic> = Vec::new();
    let mut plans = Vec::new();
    for environment in &environments {
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
    let compiles = plans.len() == environments.len();
    let known = Some(plans.as_slice()).filter(|_| is_whole && compiles);
    let wrong_cases = wrong_cases(&case_files, known);
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

/// What is wrong in the case files. Names are looked up in `plans`, the policy in every environment, when it compiles.
fn wrong_cases(files: &[SourceFile], plans: Option<&[Plan]>) -> Vec<Diagnostic> {
    match Suite::read(files) {
        Ok(suite) => plans.map_or_else(Vec::new, |plans| suite.undefined_names(plans)),
        Err(findings) => findings,
    }
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
            plan.hash().get(..12).unwrap_or_default()
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
