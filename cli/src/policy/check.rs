//! `portico policy check`: all findings of all files at once.

use ::policy::cases::Suite;
use ::policy::{Diagnostic, Plan, SourceFile, render};
use service_runtime::settings::variable;

use super::files;
use crate::arguments::{Format, PolicyCheckArguments};
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
        match ::policy::compile(&files, environment) {
            Ok(plan) => plans.push(plan),
            Err(found) => {
                for finding in found {
                    // The base files are the same in every environment.
                    if !findings.contains(&finding) {
                        findings.push(finding);
                    }
                }
            }
        }
    }
    let known = Some(plans.as_slice()).filter(|_| is_whole && findings.is_empty());
    let wrong_cases = wrong_cases(&case_files, known);
    match arguments.format {
        Format::Json => output::line(&render::json(&[&findings[..], &wrong_cases].concat())),
        Format::Human => {
            report(&files, &findings, &plans);
            report_cases(&case_files, &wrong_cases);
        }
    }
    Ok(if findings.is_empty() && wrong_cases.is_empty() {
        Outcome::Done
    } else {
        Outcome::Findings
    })
}

/// What is wrong in the case files. Names are looked up in `plans`, the policy in every environment, when it compiles.
fn wrong_cases(files: &[SourceFile], plans: Option<&[Plan]>) -> Vec<Diagnostic> {
    match Suite::read(files) {
        Ok(suite) => plans.map_or_else(Vec::new, |plans| suite.undefined_names(plans)),
        Err(findings) => findings,
    }
}

fn report(files: &[SourceFile], findings: &[Diagnostic], plans: &[Plan]) {
    if findings.is_empty() {
        output::line(&format!("{} policy files are right", files.len()));
        for plan in plans {
            output::line(&format!(
                "  {}: {} routes, bundle {}",
                plan.environment(),
                plan.routes().len(),
                plan.hash().get(..12).unwrap_or_default()
            ));
        }
        return;
    }
    output::line(render::human(findings, files).trim_end());
    output::line(&format!(
        "\n{}; nothing of this bundle would be used",
        counted(findings)
    ));
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
