//! A policy that was stated, compiled for this gateway and tried on its own cases: nothing is in force by that.

use fleet::{Objection, PolicyContent, PolicyFile, Statement};
use policy::cases::Suite;
use policy::{Diagnostic, MAX_BUNDLE_BYTES, Plan, SourceFile, Upstream, environments};
use service_runtime::settings::Environment;

use super::blobs::objection;
use super::lists::content;
use super::{Fleet, lock};
use crate::settings::Settings;
use crate::tls::check_upstream_files;

/// A policy that compiles here and meets its cases.
pub(super) struct Compiled {
    pub(super) plan: Plan,
    pub(super) files: Vec<SourceFile>,
}

/// Compiles the policy of a statement for this gateway, with every limit that a directory has, and runs its cases.
///
/// # Errors
/// The first finding, or the first case that fails.
pub(super) fn compile(
    statement: &Statement,
    environment: Environment,
    settings: &Settings,
) -> Result<Compiled, Objection> {
    let PolicyContent { files, cases } = content(statement)?;
    let bytes = files.iter().chain(&cases).map(|file| file.text.len());
    if bytes.fold(0_usize, usize::saturating_add) > MAX_BUNDLE_BYTES.saturating_mul(2) {
        return Err(objection(
            "too_large",
            "the policy and its cases are larger than a folder may be",
        ));
    }
    let (files, cases) = (source_files(&files)?, source_files(&cases)?);
    let plan =
        policy::compile(&files, environment.as_str()).map_err(|findings| finding("compile", &findings))?;
    let missing = settings.missing_for(&plan);
    if !missing.is_empty() {
        return Err(objection("settings", missing.join("; ")));
    }
    run_cases(&plan, &files, &cases)?;
    Ok(Compiled { plan, files })
}

/// In the order of their names, each once.
fn source_files(files: &[PolicyFile]) -> Result<Vec<SourceFile>, Objection> {
    let is_in_order = files.windows(2).all(|pair| match pair {
        [one, next] => one.name < next.name,
        _ => true,
    });
    let total = files
        .iter()
        .map(|file| file.text.len())
        .fold(0_usize, usize::saturating_add);
    if !is_in_order || files.iter().any(|file| file.name.is_empty()) {
        return Err(objection(
            "malformed",
            "files are named, each once, and sorted by name",
        ));
    }
    if total > MAX_BUNDLE_BYTES {
        let message = format!("files of {total} bytes, of at most {MAX_BUNDLE_BYTES}");
        return Err(objection("too_large", message));
    }
    let read = |file: &PolicyFile| SourceFile::from_bytes(&file.name, file.text.as_bytes());
    Ok(files.iter().map(read).collect())
}

fn run_cases(plan: &Plan, files: &[SourceFile], cases: &[SourceFile]) -> Result<(), Objection> {
    let suite = Suite::read(cases).map_err(|findings| finding("cases", &findings))?;
    let plans = std::slice::from_ref(plan);
    let undefined = suite.undefined_names(&environments(files), plans);
    if !undefined.is_empty() {
        return Err(finding("cases", &undefined));
    }
    let report = suite.run(plans, |_, _| true);
    let Some(failure) = report.failures.first() else {
        return Ok(());
    };
    let difference = failure.differences.first().map(|difference| {
        let (key, expected, got) = (&difference.key, &difference.expected, &difference.got);
        format!(": {key} is {got}, expected {expected}")
    });
    Err(Objection {
        code: "cases".to_owned(),
        path: Some(format!("{}:{}", failure.file, failure.line)),
        message: format!(
            "{} of {} cases fail; {}{}",
            report.failures.len(),
            report.ran,
            failure.case,
            difference.unwrap_or_default()
        ),
    })
}

fn finding(code: &str, findings: &[Diagnostic]) -> Objection {
    let first = findings.first();
    Objection {
        code: code.to_owned(),
        path: first.map(|first| format!("{}:{}:{}", first.file, first.line, first.column)),
        message: match first {
            Some(first) => format!("{}: {} ({} in all)", first.code, first.message, findings.len()),
            None => "it does not compile".to_owned(),
        },
    }
}

impl Fleet {
    /// Compiles a policy that has not been in force here: every file that it names must be there, too.
    ///
    /// # Errors
    /// The first finding, the first case that fails, or the files that are missing or wrong.
    pub(super) fn compile(&self, statement: &Statement) -> Result<Compiled, Objection> {
        let compiled = compile(statement, self.environment, &self.gateway)?;
        let lacks = self.lacks(&compiled.plan);
        if lacks.is_empty() {
            Ok(compiled)
        } else {
            Err(objection("files", lacks.join("; ")))
        }
    }

    /// The files that a policy names and this gateway has not, one sentence for each. What is in force needs no file.
    fn lacks(&self, plan: &Plan) -> Vec<String> {
        let mut lacks = lock(&self.tls_files).lacks(plan);
        lacks.extend(self.sources.files.lacks(plan));
        let in_force = self.policies().map(|policies| policies.current());
        let is_known = |upstream: &Upstream| {
            let mut known = in_force.iter().flat_map(|snapshot| snapshot.plan.upstreams());
            known.any(|known| known.name == upstream.name && known.tls == upstream.tls)
        };
        for upstream in plan.upstreams().iter().filter(|it| !is_known(it)) {
            let Some(tls) = &upstream.tls else { continue };
            let checked = check_upstream_files(&self.gateway.certificate_dir, tls, self.clock.now());
            lacks.extend(
                checked
                    .err()
                    .map(|error| format!("upstreams.{}.tls: {error:#}", upstream.name)),
            );
        }
        lacks
    }
}
