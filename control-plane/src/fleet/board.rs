//! What every gateway should hold, in memory as the database has it, and the task that keeps it so.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fleet::{Digest, Pointer, Position, Stream};
use sqlx::PgConnection;
use tokio::time::{Instant, MissedTickBehavior, sleep_until};

use super::error::FleetError;
use super::nodes::FleetView;
use super::store::{HeadRow, NodeRow};
use super::{denials, metrics, nodes, publish, store};
use crate::announcements::{self, Listener};
use crate::state::AppState;

/// The channels on which the database announces what is to be published or told.
const CHANNELS: [&str; 2] = ["portico_fleet", "portico_key_ring"];
/// Shortest time from one look to the next: a list is stated whole, and changes that come in a flood are one statement.
const GAP: Duration = Duration::from_millis(200);
/// How often the database is asked when no announcement comes: an upper bound for a lost one.
const POLL: Duration = Duration::from_secs(1);
/// How old the picture may be before it is no longer called fresh.
const FRESH: Duration = Duration::from_secs(5);
/// How often lists are swept and standings counted.
const UPKEEP: Duration = Duration::from_secs(15);

/// A statement that somebody should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) position: Position,
    pub(super) digest: Digest,
    pub(super) bytes: u64,
}

impl Head {
    fn pointer(self, stream: Stream, shadow: bool) -> Pointer {
        Pointer {
            stream,
            position: self.position,
            digest: self.digest,
            bytes: self.bytes,
            shadow,
        }
    }
}

/// What one gateway is told beside what all are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Assigned {
    is_evicted: bool,
    /// The policy of its stage of a roll-out, and whether it is only to try it.
    policy: Option<(Head, bool)>,
}

/// Where every stream stands, for everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Board {
    /// The version of the trust document in force; 0 for none.
    trust: i64,
    /// The newest statement of each stream that goes to everybody at once.
    heads: BTreeMap<Stream, Head>,
    /// The policy of gateways that no roll-out has assigned another one.
    policy: Option<Head>,
    nodes: HashMap<String, Assigned>,
    /// When all of this was stated and read last; none while something could not be stated.
    pub(super) read_at: Option<Instant>,
}

impl Board {
    /// What this gateway should hold; none when it was evicted.
    pub(super) fn pointers(&self, node: &str) -> Option<Vec<Pointer>> {
        let assigned = self.nodes.get(node).copied().unwrap_or_default();
        if assigned.is_evicted {
            return None;
        }
        let in_force = match assigned.policy {
            Some((head, false)) => Some(head),
            _ => self.policy,
        };
        let mut pointers = self.with_policy(in_force);
        if let Some((head, true)) = assigned.policy {
            pointers.push(head.pointer(Stream::Policy, true));
        }
        Some(pointers)
    }

    /// What a gateway should hold that no roll-out has assigned anything.
    pub(super) fn for_everybody(&self) -> Vec<Pointer> {
        self.with_policy(self.policy)
    }

    fn with_policy(&self, policy: Option<Head>) -> Vec<Pointer> {
        let heads = self.heads.iter().map(|(stream, head)| (*stream, *head));
        let policy = policy.map(|head| (Stream::Policy, head));
        let all = heads.chain(policy);
        all.map(|(stream, head)| head.pointer(stream, false)).collect()
    }

    /// The version of the trust document in force.
    pub(super) const fn trust(&self) -> i64 {
        self.trust
    }

    /// Whether somebody who is told nothing new may believe that there is nothing new.
    pub(super) fn is_fresh(&self) -> bool {
        self.read_at.is_some_and(|read_at| read_at.elapsed() < FRESH)
    }
}

/// Publishes and keeps the board up to date until shutdown: by announcement, and by asking every second in case one was
/// lost.
pub(crate) async fn follow(state: AppState) {
    let mut ticks = tokio::time::interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut listener: Option<Listener> = None;
    let mut was_well = true;
    let mut upkeep_at = Instant::now();
    let mut not_before = Instant::now();
    loop {
        tokio::select! {
            () = state.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
            is_alive = announcements::next(&mut listener) => if !is_alive { listener = None },
        }
        tokio::select! {
            () = state.shutdown.cancelled() => return,
            () = sleep_until(not_before) => {}
        }
        announcements::take_all(&mut listener);
        let is_upkeep_due = Instant::now() >= upkeep_at;
        if is_upkeep_due {
            upkeep_at = Instant::now() + UPKEEP;
        }
        let done = round(&state, &mut listener, is_upkeep_due).await;
        was_well = note(was_well, done.as_ref().err());
        not_before = Instant::now() + GAP;
    }
}

/// Listens first, then publishes and reads: a change in between is announced.
///
/// The board is read whether or not all could be stated; it is fresh only when it was.
async fn round(
    state: &AppState,
    listener: &mut Option<Listener>,
    is_upkeep_due: bool,
) -> Result<(), FleetError> {
    if !listener.as_ref().is_some_and(|open| open.is_current(&state.db)) {
        *listener = Some(Listener::open(&state.db, &CHANNELS).await?);
    }
    let published = publish::publish_due(state).await;
    let mut board = read(&mut *state.db.acquire().await?).await?;
    board.read_at = matches!(published, Ok(true)).then(Instant::now);
    state.fleet.board.send_if_modified(|known| {
        let (mut before, mut after) = (known.clone(), board.clone());
        (before.read_at, after.read_at) = (None, None);
        *known = board;
        before != after
    });
    if is_upkeep_due {
        let mut conn = state.db.acquire().await?;
        denials::sweep(&mut conn).await?;
        store::prune(&mut conn).await?;
        drop(conn);
        let fleet = nodes::view(state).await?;
        metrics::show(&fleet);
        warn(&fleet);
    }
    published.map(drop)
}

/// Says what somebody must look at, every time.
fn warn(fleet: &FleetView) {
    for (node, why) in fleet.conflicts() {
        tracing::error!(
            node,
            why,
            "TWO GATEWAYS HAVE ONE NAME: rotations wait for both, and roll-outs leave them out"
        );
    }
    for (node, offset_ms) in fleet.clocks_off() {
        tracing::error!(
            node,
            offset_ms,
            "THE CLOCK OF A GATEWAY IS WRONG: beyond 30 s it judges tokens wrongly"
        );
    }
    if let Some(left_s) = fleet.trust_ends_in_s().filter(|left_s| is_worth_saying(*left_s)) {
        tracing::error!(
            left_s,
            "THE TRUST DOCUMENT ENDS SOON: after that nothing is stated, and routes with `revocations_within` close: `portico trust sign`"
        );
    }
}

/// Every hour while there is time, every time on the last day.
fn is_worth_saying(left_s: i64) -> bool {
    let since_the_hour = left_s.rem_euclid(3_600);
    left_s < 24 * 3_600 || since_the_hour < i64::try_from(UPKEEP.as_secs()).unwrap_or(i64::MAX)
}

/// Says once when it fails, not every second, and once when it is well again.
fn note(was_well: bool, error: Option<&FleetError>) -> bool {
    match (was_well, error) {
        (true, Some(error)) => {
            tracing::warn!(%error, cause = ?error, "gateways cannot be told what is new; they keep what they hold");
        }
        (false, None) => tracing::info!("gateways are told again what is new"),
        _ => {}
    }
    error.is_none()
}

async fn read(conn: &mut PgConnection) -> Result<Board, FleetError> {
    let trust = store::trust_version(conn).await?.unwrap_or(0);
    let mut board = Board {
        trust,
        ..Board::default()
    };
    for row in store::heads(conn).await? {
        let stream = row.stream()?;
        board.heads.insert(stream, head(&row)?);
    }
    if let Some(row) = store::default_policy(conn).await? {
        board.policy = Some(head(&row)?);
    }
    for row in store::assigned(conn).await? {
        let assigned = Assigned {
            is_evicted: row.is_evicted,
            policy: policy(&row)?,
        };
        board.nodes.insert(row.name, assigned);
    }
    Ok(board)
}

fn policy(row: &NodeRow) -> Result<Option<(Head, bool)>, FleetError> {
    let (Some(epoch), Some(seq), Some(digest), Some(bytes)) = (row.epoch, row.seq, &row.digest, row.bytes)
    else {
        return Ok(None);
    };
    let head = Head {
        position: store::position(epoch, seq)?,
        digest: store::digest(digest)?,
        bytes: u64::try_from(bytes).unwrap_or(0),
    };
    Ok(Some((head, row.shadow)))
}

fn head(row: &HeadRow) -> Result<Head, FleetError> {
    Ok(Head {
        position: store::position(row.epoch, row.seq)?,
        digest: store::digest(&row.digest)?,
        bytes: u64::try_from(row.bytes).unwrap_or(0),
    })
}
