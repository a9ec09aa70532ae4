//! `POST /internal/policies` and `…/plan`: a bundle goes out, or what would happen if it did.

use axum::extract::State;
use fleet::{Digest, Phase, PolicyContent, PolicyFile, Rules, Version, members};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;

use super::bundle::ChangeView;
use super::error::PolicyError;
use super::observe::position;
use super::review::{Proposal, Review, review};
use super::rollout::{self, Beginning};
use super::store::GatewayRow;
use super::view::{RolloutView, view};
use super::{metrics, store};
use crate::extract::{Actor, Json};
use crate::fleet::{NewPolicy, oldest_gateway, state_policy};
use crate::state::AppState;

/// Most approvals that are looked at.
const MOST_APPROVALS: usize = 8;

/// A bundle to publish.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Publication {
    /// What the change is called; the same bundle under the same id is published once.
    change_id: String,
    /// The environment of the fleet that it is meant for.
    environment: String,
    /// Who made it.
    author: String,
    files: Vec<PolicyFile>,
    #[serde(default)]
    cases: Vec<PolicyFile>,
    /// The envelope of a `fleet::Approval` in which the author has signed.
    #[serde(default)]
    signature: Option<Value>,
    /// Envelopes of `fleet::Approval`.
    #[serde(default)]
    approvals: Vec<Value>,
    /// The phases that it goes through, of `shadow`, `canary`, `quarter` and `all`; without any, all of them.
    #[serde(default)]
    phases: Vec<Phase>,
    /// By how much the share of refused requests is meant to rise or fall at most, in thousandths.
    #[serde(default)]
    denials_rise: Option<u32>,
    #[serde(default)]
    denials_fall: Option<u32>,
    /// Halts a roll-out that is under way, and takes its place.
    #[serde(default)]
    emergency: bool,
    /// Publishes what was halted last.
    #[serde(default)]
    again: bool,
}

/// What a publication would do.
#[derive(Debug, Serialize)]
pub(super) struct PlanView {
    change_id: String,
    environment: String,
    /// What approvers sign.
    content: Digest,
    /// The policy in force for all; null before the first.
    in_force: Option<String>,
    risk: Option<&'static str>,
    changes: Vec<ChangeView>,
    /// How many cases ran, and passed.
    cases: usize,
    /// The grade of the audit.
    grade: &'static str,
    /// Why a second person must agree; null when nobody must.
    approval_because: Option<String>,
    /// Whether the author has signed.
    author_signed: bool,
    approvers: Vec<String>,
    /// The change whose roll-out is under way.
    under_way: Option<String>,
    /// The oldest gateway that knows every key of it.
    min_version: Version,
    /// Live gateways that are older: it is not published while there are any.
    too_old: Vec<OldGateway>,
    phases: Vec<PhaseView>,
}

/// A gateway that is too old for a policy.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct OldGateway {
    pub(super) name: String,
    pub(super) version: Version,
}

/// Which gateways would have it in a phase.
#[derive(Debug, Serialize)]
struct PhaseView {
    phase: Phase,
    gateways: Vec<String>,
}

/// Publishes a bundle. The same content under the same id again gives the same answer; other content 409.
pub(super) async fn publish_policy(
    State(state): State<AppState>,
    actor: Actor,
    Json(asked): Json<Publication>,
) -> Result<Json<RolloutView>, PolicyError> {
    let asked = asked.checked(&state)?;
    let mut tx = state.db.begin().await?;
    store::lock_fleet(&mut tx).await?;
    if let Some(known) = store::rollout(&mut tx, &asked.proposal.change_id).await? {
        return if known.content == asked.content.digest().as_bytes() {
            view(&mut tx, &known).await.map(Json)
        } else {
            Err(PolicyError::ChangeTaken(known.change_id))
        };
    }
    let under_way = store::under_way(&mut tx).await?;
    if let Some(other) = under_way.as_ref().filter(|_| !asked.proposal.is_emergency) {
        return Err(PolicyError::UnderWay(other.change_id.clone()));
    }
    let found = review(&state, &mut tx, &asked.proposal, asked.content.clone()).await?;
    asked.refuse_idle(&mut tx, &found).await?;
    found.refuse_unapproved()?;
    if let Some(other) = &under_way {
        let why = format!("{} replaces it in an emergency", asked.proposal.change_id);
        rollout::halt(&state, &mut tx, &actor, other, &why).await?;
        metrics::count_halt();
    }
    let begun = state_and_begin(&state, &mut tx, &actor, "publish", &asked, &found).await?;
    tx.commit().await?;
    tracing::info!(
        change = begun.change_id,
        author = begun.author,
        "a policy is published"
    );
    Ok(Json(begun))
}

/// States the policy of a change and begins its roll-out; not while a gateway that would get it is too old for it.
pub(super) async fn state_and_begin(
    state: &AppState,
    conn: &mut PgConnection,
    actor: &Actor,
    kind: &'static str,
    asked: &Asked,
    found: &Review,
) -> Result<RolloutView, PolicyError> {
    let proposal = &asked.proposal;
    let min_version = oldest_gateway(&found.checked.content);
    let gateways = live(conn, &proposal.change_id).await?;
    let too_old = too_old(&gateways, min_version)?;
    if !too_old.is_empty() {
        return Err(PolicyError::TooOld {
            min_version,
            gateways: too_old,
        });
    }
    let policy = NewPolicy {
        content: &found.checked.content,
        change_id: &proposal.change_id,
        author: &proposal.author,
        approvers: &found.approvers,
        validity_s: state.policies.validity_s,
    };
    let position = state_policy(state, conn, &policy).await?;
    let beginning = Beginning {
        change_id: &proposal.change_id,
        kind,
        content: found.checked.digest,
        position,
        old: found.in_force,
        author: &proposal.author,
        author_signed: found.author_signed,
        approvers: &found.approvers,
        risk: found.risk.map(policy::diff::Risk::as_str),
        phases: &asked.phases,
        rules: asked.rules,
    };
    let row = rollout::begin(conn, actor, &beginning).await?;
    view(conn, &row).await
}

/// Says what publishing a bundle would do, and does nothing.
pub(super) async fn plan_policy(
    State(state): State<AppState>,
    Json(asked): Json<Publication>,
) -> Result<Json<PlanView>, PolicyError> {
    let asked = asked.checked(&state)?;
    let mut tx = state.db.begin().await?;
    let found = review(&state, &mut tx, &asked.proposal, asked.content.clone()).await?;
    let under_way = store::under_way(&mut tx).await?.map(|row| row.change_id);
    let live = live(&mut tx, &asked.proposal.change_id).await?;
    let min_version = oldest_gateway(&found.checked.content);
    let names = || live.iter().map(|row| row.name.as_str());
    let phases = asked.phases.iter().map(|phase| PhaseView {
        phase: *phase,
        gateways: members(*phase, names(), &asked.proposal.change_id)
            .into_iter()
            .map(str::to_owned)
            .collect(),
    });
    Ok(Json(PlanView {
        environment: asked.proposal.environment,
        content: found.checked.digest,
        in_force: found
            .in_force
            .and_then(|(epoch, seq)| position(epoch, seq))
            .map(|at| at.to_string()),
        risk: found.risk.map(policy::diff::Risk::as_str),
        changes: found.changes,
        cases: found.checked.cases,
        grade: found.checked.grade,
        approval_because: found.approval_because,
        author_signed: found.author_signed,
        approvers: found.approvers,
        under_way,
        min_version,
        too_old: too_old(&live, min_version)?,
        phases: phases.collect(),
        change_id: asked.proposal.change_id,
    }))
}

async fn live(conn: &mut PgConnection, change_id: &str) -> Result<Vec<GatewayRow>, PolicyError> {
    let mut rows = store::gateways(conn, change_id).await?;
    rows.retain(|row| row.is_live);
    Ok(rows)
}

/// Those that would refuse the policy, for there are keys in it that came after them.
fn too_old(gateways: &[GatewayRow], min_version: Version) -> Result<Vec<OldGateway>, PolicyError> {
    let mut too_old = Vec::new();
    for row in gateways {
        let Some(text) = &row.version else { continue };
        let unreadable = |_| PolicyError::Inconsistent(format!("a gateway of version {text}"));
        let version: Version = text.parse().map_err(unreadable)?;
        if version < min_version {
            let name = row.name.clone();
            too_old.push(OldGateway { name, version });
        }
    }
    Ok(too_old)
}

/// A publication whose words are right.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) proposal: Proposal,
    pub(super) content: PolicyContent,
    pub(super) phases: Vec<Phase>,
    pub(super) rules: Rules,
    pub(super) again: bool,
}

impl Publication {
    fn checked(self, state: &AppState) -> Result<Asked, PolicyError> {
        let invalid = |why: &str| Err(PolicyError::Invalid(why.to_owned()));
        let Some(environment) = state.fleet.environment() else {
            return invalid("this control plane has no fleet: its settings have no `fleet`");
        };
        if self.environment != environment {
            return Err(PolicyError::Invalid(format!(
                "this control plane is of {environment}, the change is for {}",
                self.environment
            )));
        }
        if !is_id(&self.change_id) {
            return invalid(
                "a change id is 1 to 128 of A-Z a-z 0-9 . _ : / # @ -, and begins with a letter or digit",
            );
        }
        if !(1..=64).contains(&self.author.len()) || self.author.chars().any(char::is_control) {
            return invalid("an author has 1 to 64 characters");
        }
        if self.approvals.len() > MOST_APPROVALS {
            return invalid("at most 8 approvals");
        }
        let mut rules = state.policies.rules;
        rules.denials_rise = self.denials_rise.unwrap_or(rules.denials_rise);
        rules.denials_fall = self.denials_fall.unwrap_or(rules.denials_fall);
        Ok(Asked {
            phases: phases(self.phases)?,
            rules,
            content: PolicyContent {
                files: self.files,
                cases: self.cases,
            },
            proposal: Proposal {
                change_id: self.change_id,
                environment: self.environment,
                author: self.author,
                signature: self.signature,
                approvals: self.approvals,
                is_emergency: self.emergency,
            },
            again: self.again,
        })
    }
}

fn is_id(id: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/#@-".contains(&byte);
    (1..=128).contains(&id.len())
        && id.bytes().all(is_inner)
        && id
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric())
}

/// In order, each once, and with `all` at the end: a roll-out that ends before all would never be complete.
fn phases(asked: Vec<Phase>) -> Result<Vec<Phase>, PolicyError> {
    let every = vec![Phase::Shadow, Phase::Canary, Phase::Quarter, Phase::All];
    if asked.is_empty() {
        return Ok(every);
    }
    let is_in_order = asked.is_sorted_by(|one, next| one < next);
    if is_in_order && asked.last() == Some(&Phase::All) {
        return Ok(asked);
    }
    Err(PolicyError::Invalid(
        "phases are of shadow, canary, quarter, all: in this order, each once, `all` last".to_owned(),
    ))
}

impl Asked {
    /// Refuses what is in force already, and what was halted last, unless that is meant.
    async fn refuse_idle(&self, conn: &mut PgConnection, found: &Review) -> Result<(), PolicyError> {
        if found.is_same && !self.proposal.is_emergency {
            return Err(PolicyError::NoChange);
        }
        let last = store::rollouts(conn, 1).await?.into_iter().next();
        let is_halted = last.filter(|last| {
            last.phase == Phase::Halted.as_str() && last.content == found.checked.digest.as_bytes()
        });
        match is_halted {
            Some(last) if !self.again => Err(PolicyError::JustHalted(last.change_id)),
            _ => Ok(()),
        }
    }
}
