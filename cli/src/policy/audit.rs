//! `portico policy audit`: how strong the values of a policy are, and what it scores.

use ::policy::audit::{self, Audit, AuditSeverity};
use ::policy::{Diagnostic, SourceFile, render, sarif};
use service_runtime::settings::variable;

use super::{files, today};
use crate::arguments::{FailOn, FindingsFormat, PolicyAuditArguments};
use crate::{Outcome, Unreadable, output};

pub(crate) fn run(arguments: &PolicyAuditArguments) -> anyhow::Result<Outcome> {
    let files = files::read(&arguments.directory).inspect_err(|fault| {
        files::unreadable(fault, &arguments.directory, arguments.format)
            .iter()
            .for_each(|document| output::line(document));
    })?;
    let root = files::name_in_repository(&arguments.directory);
    let environment = arguments
        .env
        .clone()
        .or_else(|| variable("APP_ENV"))
        .filter(|name| !name.is_empty());
    let environment = environment.unwrap_or_else(|| "production".to_owned());
    files::known_environment(&environment, &files, arguments.format)?;
    match audit::audit(&files, &environment, today()) {
        Ok(audit) => {
            output::line(audited(&audit, arguments.format, &files, &root).trim_end());
            let is_open = audit.open(severity(arguments.fail_on)).next().is_some();
            Ok(if is_open { Outcome::Findings } else { Outcome::Done })
        }
        Err(findings) => {
            output::line(refused(&findings, arguments.format, &files, &root).trim_end());
            let fault = "the policy does not compile, so there is nothing to audit";
            Err(Unreadable(fault.to_owned()).into())
        }
    }
}

fn audited(audit: &Audit, format: FindingsFormat, files: &[SourceFile], root: &str) -> String {
    match format {
        FindingsFormat::Human => audit::human(audit, files),
        FindingsFormat::Json => audit::json(audit),
        FindingsFormat::Sarif => audit::sarif(audit, root),
    }
}

fn refused(findings: &[Diagnostic], format: FindingsFormat, files: &[SourceFile], root: &str) -> String {
    match format {
        FindingsFormat::Human => render::human(findings, files),
        FindingsFormat::Json => render::json(findings),
        FindingsFormat::Sarif => sarif::check(findings, root),
    }
}

const fn severity(fail_on: FailOn) -> AuditSeverity {
    match fail_on {
        FailOn::Critical => AuditSeverity::Critical,
        FailOn::High => AuditSeverity::High,
        FailOn::Medium => AuditSeverity::Medium,
        FailOn::Low => AuditSeverity::Low,
        FailOn::Info => AuditSeverity::Info,
    }
}
