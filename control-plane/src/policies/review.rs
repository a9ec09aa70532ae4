//! What a publication would do: how it differs from what is in force, how risky that is, and whether a second person must
//! agree.

use std::collections::BTreeSet;

use fleet::{Approval, PolicyContent, PolicyFile};
use policy::cases::Suite;
use policy::describe::describe;
use policy::diff::{Risk, diff};
use policy::{Date, SourceFile};
use serde_json::Value;
use sqlx::PgConnection;

use super::bundle::{self, ChangeView, Checked};
use super::error::PolicyError;
use super::settings::People;
use super::store;
use crate::state::AppState;

/// The risk of taking cases out.
const DROPPING: Risk = Risk::High;

/// A change that somebody wants to publish.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) change_id: String,
    pub(super) environment: String,
    pub(super) author: String,
    /// An envelope in which the author has signed.
    pub(super) signature: Option<Value>,
    pub(super) approvals: Vec<Value>,
    /// It is to replace a roll-out that is under way.
    pub(super) is_emergency: bool,
}

/// What came of looking at it.
#[derive(Debug)]
pub(super) struct Review {
    pub(super) checked: Checked,
    /// The policy in force for all.
    pub(super) in_force: Option<(i64, i64)>,
    /// Whether every file and case is the same as in force.
    pub(super) is_same: bool,
    pub(super) changes: Vec<ChangeView>,
    /// The highest; none when nothing differs, `critical` where there is nothing to compare with.
    pub(super) risk: Option<Risk>,
    /// Why a second person must agree; none when nobody must.
    pub(super) approval_because: Option<String>,
    /// Whether the author has proven to be the author.
    pub(super) author_signed: bool,
    /// Who has agreed.
    pub(super) approvers: Vec<String>,
}

/// Looks at a bundle that is proposed. Signatures are checked when there are any, wanted or not.
///
/// # Errors
///
/// When the bundle is refused, or a signature counts for nothing.
pub(super) async fn review(
    state: &AppState,
    conn: &mut PgConnection,
    proposal: &Proposal,
    content: PolicyContent,
) -> Result<Review, PolicyError> {
    let today = Date::of_unix_time(store::database_time(conn).await?.timestamp());
    let in_force = store::in_force(conn).await?;
    let old = match in_force {
        Some(position) => bundle::believed(state, conn, position).await?,
        None => None,
    };
    let (environment, fail_on) = (proposal.environment.clone(), state.policies.audit_fail_on);
    // Compiling and running cases takes long enough to hold up a runtime of two threads.
    let looked = tokio::task::spawn_blocking(move || {
        let checked = bundle::check(content, &environment, fail_on, today)?;
        let is_same = old.as_ref().is_some_and(|old| old.digest() == checked.digest);
        let (risk, changes) = match old {
            Some(old) => differences(&old, &checked, &environment)?,
            None => (Some(Risk::Critical), Vec::new()),
        };
        Ok::<_, PolicyError>((checked, is_same, risk, changes))
    });
    let (checked, is_same, risk, changes) = looked
        .await
        .map_err(|error| PolicyError::Inconsistent(format!("the compiler did not end: {error}")))??;
    let approvers = signatures(state, proposal, &checked).await?;
    Ok(Review {
        approval_because: approval_because(state, proposal, risk, in_force.is_none()),
        checked,
        in_force,
        is_same,
        changes,
        risk,
        author_signed: proposal.signature.is_some(),
        approvers,
    })
}

impl Review {
    /// Refuses it when somebody must agree, and nobody has; or when nobody knows whether that is a second person.
    pub(super) fn refuse_unapproved(&self) -> Result<(), PolicyError> {
        match &self.approval_because {
            Some(because) if self.approvers.is_empty() => Err(PolicyError::ApprovalWanted {
                risk: because.clone(),
                content: self.checked.digest.to_string(),
            }),
            Some(_) if !self.author_signed => Err(PolicyError::AuthorUnproven),
            _ => Ok(()),
        }
    }
}

/// What differs, the riskiest first. An old bundle that compiles no more, under a newer compiler, differs in everything.
fn differences(
    old: &PolicyContent,
    new: &Checked,
    environment: &str,
) -> Result<(Option<Risk>, Vec<ChangeView>), PolicyError> {
    let Ok(described) = describe(&sources(&old.files), environment) else {
        return Ok((Some(Risk::Critical), Vec::new()));
    };
    let dropped = dropped_cases(&sources(&old.cases), &sources(&new.content.cases));
    let new = describe(&new.files, environment)
        .map_err(|_| PolicyError::Inconsistent("a bundle that compiles cannot be described".to_owned()))?;
    let changes = diff(&described, &new);
    let risks = changes.iter().map(|change| change.risk);
    let risk = risks.chain(dropped.as_ref().map(|_| DROPPING)).max();
    let views = changes.into_iter().map(|change| ChangeView {
        risk: change.risk.as_str(),
        place: change.place.as_str().to_owned(),
        key: change.key,
        was: change.was,
        old: change.old,
        new: change.new,
        consequence: change.consequence,
    });
    Ok((risk, dropped.into_iter().chain(views).collect()))
}

fn sources(files: &[PolicyFile]) -> Vec<SourceFile> {
    let read = |file: &PolicyFile| SourceFile::from_bytes(&file.name, file.text.as_bytes());
    files.iter().map(read).collect()
}

/// Cases of the old bundle that the new one does not have: whoever takes a case out gets a policy past it that it refuses.
fn dropped_cases(old: &[SourceFile], new: &[SourceFile]) -> Option<ChangeView> {
    let (old, new) = (Suite::read(old).ok()?, Suite::read(new).ok()?);
    let kept: BTreeSet<&str> = new.names().collect();
    let dropped: Vec<&str> = old.names().filter(|name| !kept.contains(name)).collect();
    (!dropped.is_empty()).then(|| ChangeView {
        risk: DROPPING.as_str(),
        key: "tests".to_owned(),
        was: None,
        old: Some(dropped.join(", ")),
        new: None,
        consequence: "nothing asks any more for what these cases asked for".to_owned(),
        place: "tests/".to_owned(),
    })
}

fn approval_because(
    state: &AppState,
    proposal: &Proposal,
    risk: Option<Risk>,
    is_first: bool,
) -> Option<String> {
    let from = state.policies.approval_from?;
    if proposal.is_emergency {
        return Some("it replaces a roll-out that is under way".to_owned());
    }
    let risk = risk.filter(|risk| *risk >= from)?;
    Some(if is_first {
        "it is the first policy of this fleet".to_owned()
    } else {
        format!("its risk is {risk}")
    })
}

/// Who has agreed: every signature must be good, or none counts.
async fn signatures(
    state: &AppState,
    proposal: &Proposal,
    checked: &Checked,
) -> Result<Vec<String>, PolicyError> {
    if proposal.approvals.is_empty() && proposal.signature.is_none() {
        return Ok(Vec::new());
    }
    let Some(file) = state.policies.approvers.clone() else {
        return Err(PolicyError::Approvers(
            "the settings of the control plane name no file of `policies.approvers`, so no signature counts"
                .to_owned(),
        ));
    };
    let people = tokio::task::spawn_blocking(move || People::read(&file))
        .await
        .map_err(|error| PolicyError::Inconsistent(error.to_string()))?
        .map_err(PolicyError::Approvers)?;
    let change = Approval {
        content: checked.digest,
        change_id: proposal.change_id.clone(),
        environment: proposal.environment.clone(),
        author: proposal.author.clone(),
        approver: String::new(),
    };
    if let Some(signature) = &proposal.signature {
        Approval::check_author(signature.to_string().as_bytes(), &people.authors, &change)
            .map_err(PolicyError::Author)?;
    }
    let mut names = Vec::new();
    for approval in &proposal.approvals {
        let name = Approval::check(approval.to_string().as_bytes(), &people.approvers, &change)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}
