//! `portico doctor`: what is wrong on this machine or with the running system, each with what to do about it.

mod machine;
mod policy;
mod system;

use anyhow::Context as _;
use service_runtime::clock::Clock;

use crate::arguments::DoctorArguments;
use crate::data_directory::DataDirectory;
use crate::up::Endpoints;
use crate::{Outcome, output};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Grade {
    Ok,
    Warn,
    Fail,
}

/// What one check found.
#[derive(Debug)]
struct Finding {
    grade: Grade,
    what: &'static str,
    detail: String,
    /// What to do; empty when nothing.
    fix: String,
}

impl Finding {
    fn ok(what: &'static str, detail: impl Into<String>) -> Self {
        Self {
            grade: Grade::Ok,
            what,
            detail: detail.into(),
            fix: String::new(),
        }
    }

    fn warn(what: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            grade: Grade::Warn,
            what,
            detail: detail.into(),
            fix: fix.into(),
        }
    }

    fn fail(what: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            grade: Grade::Fail,
            what,
            detail: detail.into(),
            fix: fix.into(),
        }
    }
}

pub(crate) fn run(arguments: &DoctorArguments) -> anyhow::Result<Outcome> {
    let directory = arguments
        .data_dir
        .is_dir()
        .then(|| DataDirectory::open(&arguments.data_dir))
        .transpose()?;
    let endpoints = directory
        .as_ref()
        .and_then(|directory| Endpoints::read(&directory.endpoints()));

    let mut findings = vec![machine::postgresql(directory.as_ref())];
    findings.push(machine::free_space(&arguments.data_dir));
    match &directory {
        None => findings.push(Finding::ok(
            "data",
            format!(
                "{} is not there yet; `portico up` makes it",
                arguments.data_dir.display()
            ),
        )),
        Some(directory) => {
            findings.push(machine::private_files(directory));
            findings.push(machine::certificates(directory));
        }
    }
    findings.extend(policy::look(
        directory.as_ref(),
        &arguments.policies,
        Clock::system().now(),
    ));
    match (&directory, &endpoints) {
        (Some(directory), Some(endpoints)) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let found = runtime
                .context("cannot start")?
                .block_on(system::look_at(directory, endpoints));
            findings.extend(found);
        }
        _ => {
            findings.push(Finding::ok(
                "services",
                "none are running from this data directory",
            ));
            findings.push(machine::port(arguments.https_port, "--https-port"));
            findings.push(machine::port(arguments.http_port, "--http-port"));
        }
    }
    for finding in &findings {
        output::line(&as_text(finding));
    }
    let worst = findings.iter().map(|finding| finding.grade).max();
    Ok(if worst == Some(Grade::Fail) {
        Outcome::Findings
    } else {
        Outcome::Done
    })
}

fn as_text(finding: &Finding) -> String {
    let grade = match finding.grade {
        Grade::Ok => "ok",
        Grade::Warn => "warn",
        Grade::Fail => "fail",
    };
    let mut text = format!("{grade:<5} {:<13} {}", finding.what, finding.detail);
    if !finding.fix.is_empty() {
        text.push_str(&format!("\n                    → {}", finding.fix));
    }
    text
}
