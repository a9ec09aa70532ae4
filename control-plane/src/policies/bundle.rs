//! What a bundle must be before it goes out: the gateway's compiler, the bundle's own cases, and the audit.

use fleet::{Digest, PolicyContent, PolicyFile};
use policy::audit::{Audit, AuditSeverity, audit};
use policy::cases::Suite;
use policy::{Date, Diagnostic, MAX_BUNDLE_BYTES, Plan, SourceFile, environments};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::error::PolicyError;
use super::store;
use crate::fleet::{FleetError, recall_policy};
use crate::state::AppState;

/// Most findings that an answer tells.
const MOST_FINDINGS: usize = 50;

/// A bundle that may go out, as far as it alone can say.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) content: PolicyContent,
    pub(super) digest: Digest,
    pub(super) files: Vec<SourceFile>,
    /// How many cases ran.
    pub(super) cases: usize,
    /// The grade of the audit.
    pub(super) grade: &'static str,
}

/// Checks a bundle as one environment runs it, on the day `today`.
///
/// # Errors
///
/// The findings of the first check that refuses it.
pub(super) fn check(
    mut content: PolicyContent,
    environment: &str,
    fail_on: AuditSeverity,
    today: Date,
) -> Result<Checked, PolicyError> {
    content.sort();
    let (files, cases) = (
        source_files(&content.files, "policy")?,
        source_files(&content.cases, "case")?,
    );
    let plan = policy::compile(&files, environment).map_err(|found| refused("compiler", &found))?;
    let cases = run_cases(&plan, &files, &cases)?;
    let audited = audit(&files, environment, today).map_err(|found| refused("compiler", &found))?;
    refuse_weak(&audited, fail_on)?;
    Ok(Checked {
        digest: content.digest(),
        content,
        files,
        cases,
        grade: audited.score.grade.grade,
    })
}

/// Files with a name each, not more than a folder may hold.
fn source_files(files: &[PolicyFile], kind: &str) -> Result<Vec<SourceFile>, PolicyError> {
    let invalid = |why: String| Err(PolicyError::Invalid(why));
    let bytes = files
        .iter()
        .fold(0_usize, |sum, file| sum.saturating_add(file.text.len()));
    if bytes > MAX_BUNDLE_BYTES {
        return invalid(format!(
            "{kind} files of {bytes} bytes, of at most {MAX_BUNDLE_BYTES}"
        ));
    }
    let is_named = |file: &PolicyFile| !file.name.is_empty() && file.name.len() <= 512;
    if !files.iter().all(is_named) {
        return invalid(format!("each {kind} file has a name of 1 to 512 bytes"));
    }
    if let Some([one, _]) = files.windows(2).find_map(|pair| {
        <&[PolicyFile; 2]>::try_from(pair)
            .ok()
            .filter(|[one, next]| one.name == next.name)
    }) {
        return invalid(format!("{} is given twice", one.name));
    }
    if kind == "policy" && files.is_empty() {
        return invalid("a bundle without a policy file decides nothing".to_owned());
    }
    let read = |file: &PolicyFile| SourceFile::from_bytes(&file.name, file.text.as_bytes());
    Ok(files.iter().map(read).collect())
}

fn run_cases(plan: &Plan, files: &[SourceFile], cases: &[SourceFile]) -> Result<usize, PolicyError> {
    let suite = Suite::read(cases).map_err(|found| refused("case files", &found))?;
    let plans = std::slice::from_ref(plan);
    let undefined = suite.undefined_names(&environments(files), plans);
    if !undefined.is_empty() {
        return Err(refused("case files", &undefined));
    }
    let report = suite.run(plans, |_, _| true);
    if report.failures.is_empty() {
        return Ok(report.ran);
    }
    let findings = report.failures.iter().map(|failure| {
        let first = failure.differences.first();
        let message = first.map_or_else(
            || failure.request.clone(),
            |it| {
                format!(
                    "{}: {} is {}, expected {}",
                    failure.request, it.key, it.got, it.expected
                )
            },
        );
        json!({
            "code": "case", "file": failure.file, "line": failure.line, "column": failure.column,
            "message": format!("{} fails: {message}", failure.case),
        })
    });
    Err(PolicyError::Refused {
        check: "cases",
        findings: findings.take(MOST_FINDINGS).collect(),
    })
}

fn refuse_weak(audited: &Audit, fail_on: AuditSeverity) -> Result<(), PolicyError> {
    let findings: Vec<Value> = audited
        .open(fail_on)
        .map(|finding| {
            json!({
                "code": finding.rule.id, "severity": finding.rule.severity.as_str(), "file": finding.file,
                "line": finding.line, "column": finding.column, "message": finding.message, "fix": finding.fix,
            })
        })
        .take(MOST_FINDINGS)
        .collect();
    if findings.is_empty() {
        return Ok(());
    }
    Err(PolicyError::Refused {
        check: "audit",
        findings,
    })
}

fn refused(check: &'static str, found: &[Diagnostic]) -> PolicyError {
    let findings = found.iter().map(|finding| {
        json!({
            "code": finding.code, "file": finding.file, "line": finding.line, "column": finding.column,
            "message": finding.message, "why": finding.why, "fix": finding.fix,
        })
    });
    PolicyError::Refused {
        check,
        findings: findings.take(MOST_FINDINGS).collect(),
    }
}

/// What was stated at a position. Where the key that signed it was revoked since, the same policy counts as it was stated at
/// another time.
///
/// # Errors
///
/// When nothing was, or it is not what was signed.
pub(super) async fn stated(
    state: &AppState,
    conn: &mut PgConnection,
    position: (i64, i64),
) -> Result<PolicyContent, PolicyError> {
    match stated_at(state, conn, position).await {
        Err(PolicyError::Fleet(revoked @ FleetError::SignerRevoked { .. })) => {
            for other in store::same_policy(conn, position).await? {
                if let Ok(content) = stated_at(state, conn, other).await {
                    return Ok(content);
                }
            }
            Err(revoked.into())
        }
        stated => stated,
    }
}

async fn stated_at(
    state: &AppState,
    conn: &mut PgConnection,
    position: (i64, i64),
) -> Result<PolicyContent, PolicyError> {
    let missing = || PolicyError::NotFound("no policy was stated at this position");
    let envelope = store::envelope(conn, position).await?.ok_or_else(missing)?;
    Ok(recall_policy(state, conn, &envelope, position).await?)
}

/// The same of the policy in force; none where it is not what was signed, which is said: something else can be published, and
/// what does harm can be halted.
pub(super) async fn believed(
    state: &AppState,
    conn: &mut PgConnection,
    position: (i64, i64),
) -> Result<Option<PolicyContent>, PolicyError> {
    match stated(state, conn, position).await {
        Err(PolicyError::Fleet(error @ FleetError::NotAsSigned { .. })) => {
            tracing::error!(%error, "SOMEBODY ELSE HAS WRITTEN A POLICY INTO THE DATABASE, and nobody goes back to it");
            Ok(None)
        }
        Err(PolicyError::Fleet(error @ FleetError::SignerRevoked { .. })) => {
            tracing::error!(%error, "nobody goes back to this policy");
            Ok(None)
        }
        stated => stated.map(Some),
    }
}

/// One difference from what is in force.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ChangeView {
    pub(super) risk: &'static str,
    pub(super) key: String,
    pub(super) was: Option<String>,
    pub(super) old: Option<String>,
    pub(super) new: Option<String>,
    pub(super) consequence: String,
    /// `file:line`.
    pub(super) place: String,
}
