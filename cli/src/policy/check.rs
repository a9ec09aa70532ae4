//! `portico policy check`: all findings of all files at once.

use ::policy::{Diagnostic, SourceFile, render};
use service_runtime::settings::variable;

use super::files;
use crate::arguments::{Format, PolicyCheckArguments};
use crate::{Outcome, output};

/// Every environment that may have an overlay.
const ENVIRONMENTS: [&str; 3] = ["development", "test", "production"];

pub(crate) fn run(arguments: &PolicyCheckArguments) -> anyhow::Result<Outcome> {
    let files = files::read(&arguments.directory)?;
    let chosen = arguments
        .env
        .clone()
        .or_else(|| variable("APP_ENV"))
        .filter(|name| !name.is_empty());
    let environments = chosen.map_or_else(|| ENVIRONMENTS.map(str::to_owned).to_vec(), |chosen| vec![chosen]);

    let mut findings: Vec<Diagnostic> = Vec::new();
    let mut passed = Vec::new();
    for environment in &environments {
        match ::policy::compile(&files, environment) {
            Ok(plan) => passed.push(format!(
                "{environment}: {} routes, bundle {}",
                plan.routes().len(),
                plan.hash().get(..12).unwrap_or_default()
            )),
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
    report(arguments.format, &files, &findings, &passed);
    Ok(if findings.is_empty() {
        Outcome::Done
    } else {
        Outcome::Findings
    })
}

fn report(format: Format, files: &[SourceFile], findings: &[Diagnostic], passed: &[String]) {
    match format {
        Format::Json => output::line(&render::json(findings)),
        Format::Human if findings.is_empty() => {
            output::line(&format!(
                "{} policy files are right\n  {}",
                files.len(),
                passed.join("\n  ")
            ));
        }
        Format::Human => {
            output::line(render::human(findings, files).trim_end());
            let plural = if findings.len() == 1 {
                "finding"
            } else {
                "findings"
            };
            output::line(&format!(
                "\n{} {plural}; nothing of this bundle would be used",
                findings.len()
            ));
        }
    }
}
