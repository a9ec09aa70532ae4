//! `portico policy check`: all findings of all files at once.

use ::policy::{Diagnostic, Severity, SourceFile, render, sarif};
use service_runtime::settings::variable;

use super::{files, today};
use crate::arguments::{FindingsFormat, PolicyCheckArguments};
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
        let found = match ::policy::compile(&files, environment) {
            Ok(plan) => {
                passed.push(format!(
                    "{environment}: {} routes, bundle {}",
                    plan.routes().len(),
                    plan.hash().get(..12).unwrap_or_default()
                ));
                plan.due_waivers(today())
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
    let has_errors = findings.iter().any(|finding| finding.severity == Severity::Error);
    let root = files::name_in_repository(&arguments.directory);
    match arguments.format {
        FindingsFormat::Json => output::line(&render::json(&findings)),
        FindingsFormat::Sarif => output::line(&sarif::check(&findings, &root)),
        FindingsFormat::Human => for_people(&files, &findings, &passed, has_errors),
    }
    Ok(if has_errors {
        Outcome::Findings
    } else {
        Outcome::Done
    })
}

fn for_people(files: &[SourceFile], findings: &[Diagnostic], passed: &[String], has_errors: bool) {
    if !findings.is_empty() {
        output::line(render::human(findings, files).trim_end());
        output::line("");
    }
    if !has_errors {
        output::line(&format!(
            "{} policy files are right\n  {}",
            files.len(),
            passed.join("\n  ")
        ));
        return;
    }
    let plural = if findings.len() == 1 {
        "finding"
    } else {
        "findings"
    };
    output::line(&format!(
        "{} {plural}; this bundle is not to be published",
        findings.len()
    ));
}
