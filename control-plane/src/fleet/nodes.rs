//! `/internal/fleet`: which gateways there are, how each stands, since when and why; and letting one out or in again.

use std::collections::HashMap;

use axum::extract::State;
use chrono::{DateTime, Utc};
use fleet::{
    Active, Digest, Envelope, Observation, Position, Refused, Standing, Statement, Stream, Told, Verdict,
    judge,
};
use http::StatusCode;
use serde::Serialize;

use super::error::FleetError;
use super::store::{NodeRecord, ProcessRow, StatementRow, StreamRow};
use super::{envelopes, store, trust};
use crate::extract::{Actor, Json, Path};
use crate::state::AppState;

/// A clock that is off by more than this, milliseconds, is an alarm.
const CLOCK_ALARM_MS: i64 = 5_000;
/// How far the clock of a gateway may be off (S), whole seconds: it allows for that when it judges tokens, and for no more.
const CLOCK_ALLOWANCE_S: i64 = 30;

/// The fleet as it stands.
#[derive(Debug, Serialize)]
pub(crate) struct FleetView {
    /// Its name; null where the settings have no `fleet`.
    fleet: Option<String>,
    environment: Option<String>,
    epoch: i64,
    trust_version: i64,
    /// The last moment in which the key that signs now may do so by that document, Unix seconds; null when it names another.
    trust_until: Option<i64>,
    /// Keys that the trust document lets sign for longer than their ring does, or still although they have retired.
    trusted_too_long: Vec<String>,
    /// The database's time when this was read.
    now: DateTime<Utc>,
    /// The newest statement of each stream.
    streams: Vec<StatementView>,
    nodes: Vec<NodeView>,
}

#[derive(Debug, Serialize)]
struct StatementView {
    stream: Stream,
    position: Position,
    digest: Digest,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

/// One gateway.
#[derive(Debug, Serialize)]
struct NodeView {
    name: String,
    /// The worst of its streams; null for one that was evicted.
    standing: Option<Standing>,
    /// Since when, Unix seconds.
    since: Option<i64>,
    reason: Option<String>,
    version: Option<String>,
    boot_id: Option<String>,
    first_seen_at: DateTime<Utc>,
    last_heartbeat_at: Option<DateTime<Utc>>,
    /// Its clock minus the database's.
    clock_offset_ms: Option<i64>,
    evicted_at: Option<DateTime<Utc>>,
    /// Sides of listeners that are not open as its policy says: it must be restarted or upgraded for them.
    waiting: Vec<String>,
    /// Those that may live and speak as it: two in conflict, and for a moment two while one follows another.
    processes: Vec<ProcessRow>,
    streams: Vec<NodeStreamView>,
}

/// How a gateway stands in one stream.
#[derive(Debug, Serialize)]
struct NodeStreamView {
    stream: Stream,
    #[serde(flatten)]
    verdict: Verdict,
    /// What it should hold.
    told: Option<Position>,
    told_digest: Option<Digest>,
    /// What is in force in its memory.
    active: Option<Position>,
    active_digest: Option<Digest>,
    fingerprint: Option<String>,
    /// What it said last: of which position, how far it is, and why no further.
    stage: Option<String>,
    stage_position: Option<Position>,
    stage_shadow: bool,
    stage_at: Option<DateTime<Utc>>,
    objection: Option<serde_json::Value>,
}

impl FleetView {
    /// The standing of every gateway that was not evicted.
    pub(super) fn standings(&self) -> impl Iterator<Item = Standing> {
        self.nodes.iter().filter_map(|node| node.standing)
    }

    /// Whoever has two processes that speak as one gateway, and why that is said.
    pub(super) fn conflicts(&self) -> impl Iterator<Item = (&str, &str)> {
        let in_conflict = |node: &&NodeView| node.standing == Some(Standing::Conflict);
        self.nodes
            .iter()
            .filter(in_conflict)
            .map(|node| (node.name.as_str(), node.reason.as_deref().unwrap_or_default()))
    }

    /// Whoever lives with a clock that is off by more than five seconds, and by how many milliseconds.
    pub(super) fn clocks_off(&self) -> impl Iterator<Item = (&str, i64)> {
        let is_heard = |node: &&NodeView| {
            node.standing
                .is_some_and(|standing| standing != Standing::Unreachable)
        };
        let heard = self.nodes.iter().filter(is_heard);
        heard.filter_map(|node| {
            let offset_ms = node
                .clock_offset_ms
                .filter(|ms| ms.saturating_abs() > CLOCK_ALARM_MS)?;
            Some((node.name.as_str(), offset_ms))
        })
    }

    /// The last moment in which the key that signs now may do so, Unix seconds.
    pub(super) const fn trust_until(&self) -> Option<i64> {
        self.trust_until
    }

    /// When the key that signs now needs another trust document soon, or needed it long ago: how many seconds are left.
    pub(super) fn trust_ends_in_s(&self) -> Option<i64> {
        let (until, now) = (self.trust_until?, self.now.timestamp());
        trust::ends_soon(until, now).then(|| until.saturating_sub(now))
    }

    /// The version of the trust document in force.
    pub(super) const fn trust_version(&self) -> i64 {
        self.trust_version
    }
}

/// Shows the fleet.
pub(super) async fn show_fleet(State(state): State<AppState>) -> Result<Json<FleetView>, FleetError> {
    Ok(Json(view(&state).await?))
}

/// Reads and judges the whole fleet.
pub(super) async fn view(state: &AppState) -> Result<FleetView, FleetError> {
    let mut tx = state.db.begin().await?;
    let trust_version = store::trust_version(&mut tx).await?.unwrap_or(0);
    let trust_until = trust::signs_until(state, &mut tx).await?;
    let epoch = store::epoch(&mut tx).await?;
    let statements = store::newest(&mut tx).await?;
    let rows = store::node_streams(&mut tx).await?;
    let nodes = store::nodes(&mut tx).await?;
    let processes = store::processes(&mut tx).await?;
    let now = store::database_time(&mut tx).await?;
    let trusted_too_long = trust::trusted_too_long(state, &mut tx, now.timestamp()).await?;
    drop(tx);

    let heads = statements.iter().map(statement).collect::<Result<Vec<_>, _>>()?;
    let seen = rows.into_iter().map(Seen::read).collect::<Result<Vec<_>, _>>()?;
    let mut expected = expected(&seen);
    expected.extend(stated_lists(state, &heads).await?);
    let mut of_node: HashMap<String, Vec<Seen>> = HashMap::new();
    for seen in seen {
        of_node.entry(seen.row.node.clone()).or_default().push(seen);
    }
    let nodes = nodes
        .into_iter()
        .map(|node| {
            let seen = of_node.remove(&node.name).unwrap_or_default();
            let of_process = processes.iter().filter(|process| process.node == node.name);
            let processes = of_process.cloned().collect();
            node_view(node, processes, &seen, &heads, &expected, now)
        })
        .collect();
    let settings = state.fleet.settings.as_ref();
    Ok(FleetView {
        fleet: settings.map(|settings| settings.name.clone()),
        environment: settings.map(|settings| settings.environment.clone()),
        epoch,
        trust_version,
        trust_until,
        trusted_too_long,
        now,
        streams: heads,
        nodes,
    })
}

/// A row of a stream of a gateway, read.
struct Seen {
    row: StreamRow,
    stream: Stream,
    active: Option<(Position, Digest)>,
    assigned: Option<Position>,
    stage_position: Option<Position>,
}

impl Seen {
    fn read(row: StreamRow) -> Result<Self, FleetError> {
        let position = |epoch: Option<i64>, seq: Option<i64>| match (epoch, seq) {
            (Some(epoch), Some(seq)) => store::position(epoch, seq).map(Some),
            _ => Ok(None),
        };
        let digest = row.active_digest.as_deref().map(store::digest).transpose()?;
        Ok(Self {
            stream: row
                .stream
                .parse()
                .map_err(|_| FleetError::Inconsistent(format!("a stream {}", row.stream)))?,
            active: position(row.active_epoch, row.active_seq)?.zip(digest),
            assigned: position(row.assigned_epoch, row.assigned_seq)?,
            stage_position: position(row.stage_epoch, row.stage_seq)?,
            row,
        })
    }

    fn refused(&self) -> Option<Refused> {
        let objection = self.row.objection.as_ref()?;
        let word = |name: &str| {
            objection
                .get(name)
                .and_then(serde_json::Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        Some(Refused {
            position: self.stage_position?,
            code: word("code"),
            message: word("message"),
            at: self.row.stage_at?.timestamp(),
        })
    }
}

/// Of key sets and policies: what is in the memory of more than half of those that have the same statement in force: of two, both.
fn expected(seen: &[Seen]) -> HashMap<(Stream, Digest), String> {
    let mut counts: HashMap<(Stream, Digest), HashMap<&str, usize>> = HashMap::new();
    for seen in seen {
        if let (Some((_, digest)), Some(fingerprint)) = (seen.active, &seen.row.fingerprint) {
            *counts
                .entry((seen.stream, digest))
                .or_default()
                .entry(fingerprint)
                .or_default() += 1;
        }
    }
    let most = |counts: HashMap<&str, usize>| {
        let all: usize = counts.values().sum();
        counts
            .into_iter()
            .find(|(_, count)| count * 2 > all)
            .map(|(found, _)| found.to_owned())
    };
    counts
        .into_iter()
        .filter_map(|(of, counts)| Some((of, most(counts)?)))
        .collect()
}

/// What is in memory of whoever has the newest lists in force, as this control plane makes it of what was stated: a fleet whose
/// gateways have all drifted has no other measure. A gateway forgets no revoked key, so its key set may rightly say more.
async fn stated_lists(
    state: &AppState,
    heads: &[StatementView],
) -> Result<Vec<((Stream, Digest), String)>, FleetError> {
    let mut lists = Vec::new();
    for head in heads {
        if !matches!(head.stream, Stream::Revocations | Stream::Blocks) {
            continue;
        }
        let stated = envelopes::blob(state, head.digest).await?;
        lists.extend(stated.and_then(|stated| Some(((head.stream, head.digest), of_content(&stated)?))));
    }
    Ok(lists)
}

/// The fingerprint of the content of a statement.
fn of_content(envelope: &[u8]) -> Option<String> {
    let envelope = Envelope::parse(envelope).ok()?;
    let statement: Statement = serde_json::from_slice(&envelope.payload).ok()?;
    Some(Digest::of(statement.content.get().as_bytes()).to_string())
}

fn statement(row: &StatementRow) -> Result<StatementView, FleetError> {
    Ok(StatementView {
        stream: row
            .stream
            .parse()
            .map_err(|_| FleetError::Inconsistent(format!("a stream {}", row.stream)))?,
        position: store::position(row.epoch, row.seq)?,
        digest: store::digest(&row.digest)?,
        created_at: row.created_at,
        expires_at: row.expires_at,
    })
}

fn node_view(
    node: NodeRecord,
    processes: Vec<ProcessRow>,
    seen: &[Seen],
    heads: &[StatementView],
    expected: &HashMap<(Stream, Digest), String>,
    now: DateTime<Utc>,
) -> NodeView {
    let streams: Vec<_> = Stream::ALL
        .into_iter()
        .map(|stream| {
            let seen = seen.iter().find(|seen| seen.stream == stream);
            stream_view(&node, stream, seen, heads, expected, now)
        })
        .collect();
    let conflict = conflict(&node, &processes);
    let clock = wrong_clock(&node);
    let of_streams = streams.iter().map(|stream| Verdict {
        reason: format!("{}: {}", stream.stream, stream.verdict.reason),
        ..stream.verdict.clone()
    });
    let worst = of_streams
        .chain(conflict)
        .chain(clock)
        .max_by_key(|verdict| (verdict.standing, std::cmp::Reverse(verdict.since)))
        .filter(|_| node.evicted_at.is_none());
    let reason = worst.as_ref().map(|worst| worst.reason.clone());
    NodeView {
        name: node.name,
        standing: worst.as_ref().map(|worst| worst.standing),
        since: worst.map(|worst| worst.since),
        reason,
        version: node.version,
        boot_id: node.boot_id,
        first_seen_at: node.first_seen_at,
        last_heartbeat_at: node.last_heartbeat_at,
        clock_offset_ms: node.clock_offset_ms,
        evicted_at: node.evicted_at,
        waiting: node.waiting,
        processes,
        streams,
    }
}

/// What is wrong when two processes speak as one gateway.
fn conflict(node: &NodeRecord, processes: &[ProcessRow]) -> Option<Verdict> {
    let since = node.conflict_since?;
    Some(Verdict {
        standing: Standing::Conflict,
        since: since.timestamp(),
        reason: format!(
            "{} processes speak as it, each with a name and a certificate that should be one's own",
            processes.len()
        ),
    })
}

/// What is wrong when the clock of a gateway is off by more than it allows for: every fresh token is one of a time to come to
/// it, or what has expired is good.
fn wrong_clock(node: &NodeRecord) -> Option<Verdict> {
    let offset_s = node.clock_offset_ms?.checked_div(1_000)?;
    let side = if offset_s < 0 { "behind" } else { "ahead of" };
    (offset_s.saturating_abs() > CLOCK_ALLOWANCE_S).then(|| Verdict {
        standing: Standing::Drifted,
        since: node.last_heartbeat_at.unwrap_or(node.first_seen_at).timestamp(),
        reason: format!(
            "its clock is {} s {side} the database's, so it judges tokens wrongly: set its clock",
            offset_s.saturating_abs()
        ),
    })
}

fn stream_view(
    node: &NodeRecord,
    stream: Stream,
    seen: Option<&Seen>,
    heads: &[StatementView],
    expected: &HashMap<(Stream, Digest), String>,
    now: DateTime<Utc>,
) -> NodeStreamView {
    let told = told(node, stream, seen, heads);
    let active = seen.and_then(|seen| seen.active);
    let observation = Observation {
        heard_at: node.last_heartbeat_at.map(|at| at.timestamp()),
        first_seen_at: node.first_seen_at.timestamp(),
        told,
        active: seen
            .filter(|seen| seen.row.fingerprint.is_some() || active.is_some())
            .map(|seen| Active {
                statement: active,
                fingerprint: seen.row.fingerprint.clone(),
                waiting: if stream == Stream::Policy {
                    node.waiting.clone()
                } else {
                    Vec::new()
                },
                since: seen.row.active_at.unwrap_or(node.first_seen_at).timestamp(),
            }),
        refused: seen.and_then(Seen::refused),
        expected_fingerprint: active.and_then(|(_, digest)| expected.get(&(stream, digest)).cloned()),
    };
    let row = seen.map(|seen| &seen.row);
    NodeStreamView {
        stream,
        verdict: judge(stream, &observation, now.timestamp()),
        told: told.map(|told| told.position),
        told_digest: told.map(|told| told.digest),
        active: active.map(|(position, _)| position),
        active_digest: active.map(|(_, digest)| digest),
        fingerprint: row.and_then(|row| row.fingerprint.clone()),
        stage: row.and_then(|row| row.stage.clone()),
        stage_position: seen.and_then(|seen| seen.stage_position),
        stage_shadow: row.is_some_and(|row| row.stage_shadow),
        stage_at: row.and_then(|row| row.stage_at),
        objection: row.and_then(|row| row.objection.clone()),
    }
}

/// What a gateway should hold in a stream: what a roll-out has assigned to it, or what everybody should.
fn told(node: &NodeRecord, stream: Stream, seen: Option<&Seen>, heads: &[StatementView]) -> Option<Told> {
    let assigned = seen.filter(|seen| !seen.row.assigned_shadow).and_then(|seen| {
        let digest = store::digest(seen.row.assigned_digest.as_deref()?).ok()?;
        Some(Told {
            position: seen.assigned?,
            digest,
            since: seen.row.assigned_at.unwrap_or(node.first_seen_at).timestamp(),
        })
    });
    assigned.or_else(|| {
        let head = heads.iter().find(|head| head.stream == stream)?;
        Some(Told {
            position: head.position,
            digest: head.digest,
            since: head.created_at.max(node.first_seen_at).timestamp(),
        })
    })
}

/// Lets a gateway out: it is told nothing more, and nobody waits for it. 404 for one that was never seen.
pub(super) async fn evict_node(
    State(state): State<AppState>,
    actor: Actor,
    Path(name): Path<String>,
) -> Result<StatusCode, FleetError> {
    set_evicted(&state, &actor, &name, true).await
}

/// Lets a gateway in again.
pub(super) async fn admit_node(
    State(state): State<AppState>,
    actor: Actor,
    Path(name): Path<String>,
) -> Result<StatusCode, FleetError> {
    set_evicted(&state, &actor, &name, false).await
}

async fn set_evicted(
    state: &AppState,
    actor: &Actor,
    name: &str,
    is_evicted: bool,
) -> Result<StatusCode, FleetError> {
    let mut tx = state.db.begin().await?;
    let Some(is_changed) = store::set_evicted(&mut tx, name, is_evicted).await? else {
        return Err(FleetError::NotFound("no gateway has this name"));
    };
    if is_changed {
        let action = if is_evicted {
            "node.evicted"
        } else {
            "node.admitted"
        };
        store::record(&mut tx, actor, action, name).await?;
        tracing::info!(node = name, actor = actor.name(), action, "the fleet was changed");
    }
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The epoch that begins.
#[derive(Debug, Serialize)]
pub(crate) struct Epoch {
    epoch: i64,
}

/// Begins the next epoch, after the database was restored: what is stated from now on lies beyond every position that the
/// lost part of its history had given away.
pub(super) async fn raise_epoch(
    State(state): State<AppState>,
    actor: Actor,
) -> Result<Json<Epoch>, FleetError> {
    let mut tx = state.db.begin().await?;
    let epoch = store::raise_epoch(&mut tx).await?;
    store::record(&mut tx, &actor, "fleet.epoch_raised", &epoch.to_string()).await?;
    tx.commit().await?;
    tracing::warn!(
        epoch,
        actor = actor.name(),
        "another epoch of the fleet has begun"
    );
    Ok(Json(Epoch { epoch }))
}
