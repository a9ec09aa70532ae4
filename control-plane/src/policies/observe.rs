//! A roll-out as it stands: its gateways, what they have served since the phase began, and for how long it was watched.
//!
//! Time counts only while a control plane watches. One that was away, or a database that was, makes no gateway silent or
//! late.

use chrono::{DateTime, TimeDelta, Utc};
use fleet::{Next, Objection, Phase, Position, RolloutNode, Rules, ShadowCounts, Traffic, step, step_back};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::PgConnection;

use super::count::{self, Reading};
use super::error::PolicyError;
use super::store;
use super::store::{GatewayRow, RolloutRow, ServedRows};

/// A longer time between two looks is one in which nobody watched.
const GAP: TimeDelta = TimeDelta::seconds(5);

/// A gateway in a roll-out.
#[derive(Debug, Clone)]
pub(super) struct Gateway {
    pub(super) node: RolloutNode,
    pub(super) is_live: bool,
    /// Whether it has the policy in this phase; none when the roll-out has not met it yet.
    pub(super) in_group: Option<bool>,
    /// Whether its last heartbeat was sent with the policy in force: what it counts from there on is of the policy.
    serves_it: bool,
    /// How long the phase had been watched when it was healthy last, or was given the policy.
    healthy_ms: i64,
    /// How far it is with the policy of the roll-out, in its own words.
    pub(super) stage: Option<String>,
    pub(super) reading: Option<Reading>,
    /// What it had served some minutes ago.
    earlier: Option<Reading>,
}

/// A roll-out, its gateways and the time.
#[derive(Debug)]
pub(super) struct Observed {
    /// Whether it is a rollback.
    is_back: bool,
    pub(super) phase: Phase,
    pub(super) phases: Vec<Phase>,
    pub(super) rules: Rules,
    pub(super) before: Traffic,
    pub(super) gateways: Vec<Gateway>,
    pub(super) now: DateTime<Utc>,
    pub(super) watched_ms: i64,
    pub(super) watching_since: DateTime<Utc>,
}

/// Looks at a roll-out; nothing is written.
pub(super) async fn observe(conn: &mut PgConnection, row: &RolloutRow) -> Result<Observed, PolicyError> {
    let rows = store::gateways(conn, &row.change_id).await?;
    let now = store::database_time(conn).await?;
    let passed = (now - row.looked_at).max(TimeDelta::zero());
    let is_watched = passed <= GAP;
    let watching_since = if is_watched { row.watching_since } else { now };
    let watched_ms = if is_watched {
        row.watched_ms.saturating_add(passed.num_milliseconds())
    } else {
        row.watched_ms
    };
    let phase = phase(&row.phase)?;
    let position = (row.epoch, row.seq);
    let gateways = rows
        .into_iter()
        .map(|row| gateway(row, position, phase, (now, watching_since), watched_ms))
        .collect::<Result<_, _>>()?;
    Ok(Observed {
        is_back: row.kind == "rollback",
        phase,
        phases: row
            .phases
            .iter()
            .map(|word| self::phase(word))
            .collect::<Result<_, _>>()?,
        rules: read(row.rules.clone())?,
        before: read(row.before.clone())?,
        gateways,
        now,
        watched_ms,
        watching_since,
    })
}

fn gateway(
    row: GatewayRow,
    (epoch, seq): (i64, i64),
    phase: Phase,
    (now, watching_since): (DateTime<Utc>, DateTime<Utc>),
    watched_ms: i64,
) -> Result<Gateway, PolicyError> {
    let is_ours = (row.stage_epoch, row.stage_seq) == (Some(epoch), Some(seq));
    let stage = row.stage.filter(|_| is_ours);
    let word = stage.as_deref().unwrap_or_default();
    let is_healthy = match phase {
        // What one of two processes says is not true of the other.
        _ if row.is_twofold => false,
        Phase::Shadow => row.stage_shadow && matches!(word, "active" | "healthy"),
        _ => !row.stage_shadow && word == "healthy",
    };
    let healthy_ms = match (row.in_group, row.healthy_ms) {
        (Some(true), Some(healthy_ms)) if !is_healthy => healthy_ms,
        _ => watched_ms,
    };
    let unhealthy_ms = watched_ms.saturating_sub(healthy_ms);
    let is_in = row.in_group == Some(true) && phase != Phase::Shadow;
    let serves_it = (row.active_epoch, row.active_seq) == (Some(epoch), Some(seq))
        && row
            .heard_at
            .zip(row.active_at)
            .is_some_and(|(heard_at, active_at)| heard_at >= active_at);
    let objection = row
        .objection
        .filter(|_| is_ours)
        .map(read::<Objection>)
        .transpose()?;
    let reading = match (row.boot_id, row.traffic) {
        // Each would be counted whole whenever it follows the other.
        (Some(boot_id), Some(traffic)) if !row.is_twofold => Some(Reading {
            boot_id,
            traffic: read(traffic)?,
        }),
        _ => None,
    };
    let before = match (row.counted_boot_id, row.counted) {
        (Some(boot_id), Some(traffic)) => Some(Reading {
            boot_id,
            traffic: read(traffic)?,
        }),
        _ => None,
    };
    let earlier = row.earlier.map(read::<Reading>).transpose()?;
    let served = row.served.map(read::<Traffic>).transpose()?.unwrap_or_default();
    let served = match &reading {
        // Between the pointer and the policy it serves with the old one, which says nothing of the new.
        Some(now) if serves_it || !is_in => count::counted(&served, before.as_ref(), now),
        _ => served,
    };
    let shadow = row.shadow.map(read::<ShadowCounts>).transpose()?;
    let shadow = shadow.filter(|counts| Some(counts.position) == position(epoch, seq));
    let heard_at = row.heard_at.unwrap_or(watching_since).max(watching_since);
    Ok(Gateway {
        node: RolloutNode {
            name: row.name,
            silent_s: (now - heard_at).num_seconds(),
            is_healthy,
            unhealthy_s: unhealthy_ms.checked_div(1_000).unwrap_or(0),
            objection,
            traffic: served,
            shadow,
        },
        is_live: row.is_live,
        in_group: row.in_group,
        serves_it,
        healthy_ms,
        stage,
        reading,
        earlier,
    })
}

impl Observed {
    /// Who has the policy in this phase.
    pub(super) fn group(&self) -> Vec<RolloutNode> {
        self.part(true)
    }

    /// Who has not.
    pub(super) fn rest(&self) -> Vec<RolloutNode> {
        self.part(false)
    }

    fn part(&self, in_group: bool) -> Vec<RolloutNode> {
        let is_part = |gateway: &&Gateway| gateway.in_group.unwrap_or(false) == in_group;
        let part = self.gateways.iter().filter(is_part);
        part.map(|gateway| gateway.node.clone()).collect()
    }

    /// Gateways that can be given something now.
    pub(super) fn live(&self) -> impl Iterator<Item = &str> {
        let live = self.gateways.iter().filter(|gateway| gateway.is_live);
        live.map(|gateway| gateway.node.name.as_str())
    }

    /// What the roll-out does next. Without a gateway that it could be tried on, it waits, unless the fleet has none.
    pub(super) fn next(&self) -> Next {
        let group = self.group();
        if group.is_empty() && !self.phase.is_over() {
            return if self.gateways.is_empty() {
                Next::Advance(Phase::Done)
            } else {
                Next::Wait("no gateway is there to try it on".to_owned())
            };
        }
        if self.is_back {
            return match step_back(self.phase, &group, &self.rules) {
                Next::Advance(_) => Next::Advance(self.following()),
                other => other,
            };
        }
        let watched_s = self.watched_ms.checked_div(1_000).unwrap_or(0);
        match step(
            self.phase,
            watched_s,
            &group,
            &self.rest(),
            &self.before,
            &self.rules,
        ) {
            Next::Advance(_) => Next::Advance(self.following()),
            other => other,
        }
    }

    /// The phase after this one, of those that were chosen.
    fn following(&self) -> Phase {
        let later = self.phases.iter().copied().filter(|phase| *phase > self.phase);
        later.min().unwrap_or(Phase::Done)
    }

    /// What is known of every gateway in a phase, to be written down; one that begins counts from here. Who has been given the
    /// policy and does not serve it yet counts from the first word that it sends with it.
    pub(super) fn served(&self, phase: Phase, group: impl Fn(&Gateway) -> bool, begins: bool) -> ServedRows {
        let mut rows = ServedRows::default();
        for gateway in &self.gateways {
            let counts = phase == Phase::Shadow || !group(gateway) || gateway.serves_it;
            let reading = gateway.reading.as_ref().filter(|_| counts);
            let served = if begins {
                Traffic::default()
            } else {
                gateway.node.traffic.clone()
            };
            rows.nodes.push(gateway.node.name.clone());
            rows.in_group.push(group(gateway));
            rows.healthy_ms.push(if begins { 0 } else { gateway.healthy_ms });
            rows.served.push(json(&served));
            rows.counted.push(reading.map(|reading| json(&reading.traffic)));
            rows.boot_ids.push(reading.map(|reading| reading.boot_id.clone()));
        }
        rows
    }

    /// What gateways served under the old policy in this phase, when that is enough to compare with; what was known before
    /// otherwise.
    pub(super) fn measure(&self) -> Traffic {
        let is_old = |gateway: &&Gateway| self.phase == Phase::Shadow || gateway.in_group != Some(true);
        let old = self
            .gateways
            .iter()
            .filter(is_old)
            .map(|gateway| &gateway.node.traffic);
        let served = count::sum(old);
        if served.requests >= self.rules.least_requests {
            served
        } else {
            self.before.clone()
        }
    }

    /// What all of them served in the last minutes, five to fifteen of them.
    pub(super) fn lately(&self) -> Traffic {
        let served = self.gateways.iter().filter_map(|gateway| {
            let now = gateway.reading.as_ref()?;
            Some(count::counted(&Traffic::default(), gateway.earlier.as_ref(), now))
        });
        count::sum(&served.collect::<Vec<_>>())
    }
}

/// The phase of a column.
pub(super) fn phase(word: &str) -> Result<Phase, PolicyError> {
    Phase::ALL
        .into_iter()
        .find(|phase| phase.as_str() == word)
        .ok_or_else(|| PolicyError::Inconsistent(format!("a phase {word}")))
}

/// The position of two columns.
pub(super) fn position(epoch: i64, seq: i64) -> Option<Position> {
    Some(Position {
        epoch: u64::try_from(epoch).ok()?,
        seq: u64::try_from(seq).ok()?,
    })
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T, PolicyError> {
    serde_json::from_value(value).map_err(|error| PolicyError::Inconsistent(error.to_string()))
}

/// Counters as a column has them.
pub(super) fn json(traffic: &Traffic) -> Value {
    // A struct of numbers always has a JSON form.
    serde_json::to_value(traffic).unwrap_or(Value::Null)
}
