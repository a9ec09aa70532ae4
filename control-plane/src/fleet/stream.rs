//! `GET /fleet/v1/stream`: a gateway is told what it should hold, at once when it changes.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::PoisonError;
use std::time::Duration;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::{Event, Sse};
use fleet::{Digest, Pointer, Position, Stream};
use futures::stream;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::error::FleetError;
use super::member::Member;
use crate::extract::Query;
use crate::state::AppState;

/// How often a stream that has nothing to tell says that it lives.
const COMMENT: Duration = Duration::from_secs(5);
/// How often it is looked whether it may be said, when it was due and could not be.
const COMMENT_AGAIN: Duration = Duration::from_millis(200);
/// Most gateways that are told at once.
const MOST_GATEWAYS: usize = 1_024;
/// Most streams of one gateway: while it is upgraded it has two processes.
const MOST_STREAMS: usize = 2;

/// Where the gateway stands.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamQuery {
    /// `policy:3.118,keyset:3.9001`; streams that it holds nothing of are left out.
    #[serde(default)]
    have: String,
}

/// Tells pointers to everything that the gateway should hold and does not, then a comment: that was all. Then each change as
/// it comes, and that nothing has changed every five seconds. Comments come only while it is known what there is to tell.
///
/// It ends when the gateway is evicted, when it opens two others, when the trust document changes (who dials in fetches
/// it), and when the process stops. 503 when all streams are taken.
pub(super) async fn open_stream(
    State(state): State<AppState>,
    Member(node): Member,
    Query(query): Query<StreamQuery>,
) -> Result<impl IntoResponse, FleetError> {
    let have = parse(&query.have)?;
    let mut board = state.fleet.board.subscribe();
    board.mark_changed();
    let trust = board.borrow().trust();
    let telling = Telling {
        place: Place::take(&state, &node)?,
        state,
        node,
        board,
        trust,
        have,
        tries: Tries::Unknown,
        waiting: Vec::new(),
        comment_at: Instant::now(),
    };
    let events = stream::unfold(telling, |mut telling| async move {
        let event = telling.next().await?;
        Some((Ok::<_, Infallible>(event), telling))
    });
    Ok((
        [("cache-control", "no-store"), ("x-accel-buffering", "no")],
        Sse::new(events),
    ))
}

/// The positions that a gateway holds.
fn parse(have: &str) -> Result<HashMap<Stream, Position>, FleetError> {
    let wrong = || FleetError::Invalid("`have` is written policy:3.118,keyset:3.9001, each stream once");
    let mut held = HashMap::new();
    for part in have.split(',').filter(|part| !part.is_empty()) {
        let (stream, position) = part.split_once(':').ok_or_else(wrong)?;
        let (stream, position) = (
            stream.parse().map_err(|_| wrong())?,
            position.parse().map_err(|_| wrong())?,
        );
        if held.insert(stream, position).is_some() {
            return Err(wrong());
        }
    }
    Ok(held)
}

/// What a gateway tries beside the policy in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tries {
    /// One that has just dialled in may still try what it was told before.
    Unknown,
    Nothing,
    This(Digest),
}

/// One stream under way.
struct Telling {
    state: AppState,
    node: String,
    /// Given back when the stream ends.
    place: Place,
    board: watch::Receiver<Board>,
    /// The version of the trust document with which it began.
    trust: i64,
    /// What the gateway holds or was told of.
    have: HashMap<Stream, Position>,
    tries: Tries,
    waiting: Vec<Pointer>,
    comment_at: Instant,
}

impl Telling {
    /// The next thing to say; none when the stream is over.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(pointer) = self.waiting.pop() {
                // A struct of strings and numbers always has a JSON form.
                return Event::default().event("pointer").json_data(pointer).ok();
            }
            let shutdown = self.state.shutdown.clone();
            tokio::select! {
                // A comment says that everything was told, so what there is to tell comes before it.
                biased;
                () = shutdown.cancelled() => return None,
                () = self.place.ended.cancelled() => return None,
                changed = self.board.changed() => {
                    changed.ok()?;
                    self.look()?;
                }
                () = sleep_until(self.comment_at) => {
                    let is_fresh = self.board.borrow().is_fresh();
                    self.comment_at = Instant::now() + if is_fresh { COMMENT } else { COMMENT_AGAIN };
                    if is_fresh {
                        return Some(Event::default().comment(""));
                    }
                }
            }
        }
    }

    /// Compares the board with what the gateway holds; none when it is to hear nothing more.
    fn look(&mut self) -> Option<()> {
        let board = self.board.borrow_and_update();
        if board.trust() != self.trust {
            return None;
        }
        let mut pointers = board.pointers(&self.node)?;
        drop(board);
        let tried = pointers.iter().find(|pointer| pointer.shadow);
        let tries = tried.map_or(Tries::Nothing, |pointer| Tries::This(pointer.digest));
        pointers.retain(|pointer| self.is_news(pointer, tries));
        self.tries = tries;
        let in_force = pointers.iter().filter(|pointer| !pointer.shadow);
        self.have
            .extend(in_force.map(|pointer| (pointer.stream, pointer.position)));
        // The last is told first, and what ends a stolen token must not wait behind a policy.
        pointers.sort_by_key(|pointer| (pointer.shadow, urgency(pointer.stream)));
        pointers.reverse();
        self.waiting = pointers;
        Some(())
    }

    /// A holder of something newer is told nothing: it could only refuse. `portico fleet status` shows it.
    fn is_news(&self, pointer: &Pointer, tries: Tries) -> bool {
        if pointer.shadow {
            return self.tries != tries;
        }
        // The policy that it holds, named again, ends what it tries beside it.
        let ends_a_trial =
            pointer.stream == Stream::Policy && tries == Tries::Nothing && self.tries != Tries::Nothing;
        self.have
            .get(&pointer.stream)
            .is_none_or(|held| *held < pointer.position || (ends_a_trial && *held == pointer.position))
    }
}

const fn urgency(stream: Stream) -> u8 {
    match stream {
        Stream::Revocations => 0,
        Stream::Blocks => 1,
        Stream::Keyset => 2,
        Stream::Policy => 3,
    }
}

/// A place among the streams.
struct Place {
    state: AppState,
    node: String,
    ended: CancellationToken,
}

impl Place {
    /// Takes a place, and ends the oldest stream of the same gateway when it has too many: one that it lost without noticing.
    fn take(state: &AppState, node: &str) -> Result<Self, FleetError> {
        let mut streams = state.fleet.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if streams.len() >= MOST_GATEWAYS && !streams.contains_key(node) {
            return Err(FleetError::Crowded);
        }
        let ended = CancellationToken::new();
        let of_node = streams.entry(node.to_owned()).or_default();
        of_node.push_back(ended.clone());
        if of_node.len() > MOST_STREAMS
            && let Some(oldest) = of_node.pop_front()
        {
            oldest.cancel();
        }
        drop(streams);
        Ok(Self {
            state: state.clone(),
            node: node.to_owned(),
            ended,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut streams = self
            .state
            .fleet
            .streams
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.ended.cancel();
        if let Some(of_node) = streams.get_mut(&self.node) {
            of_node.retain(|stream| !stream.is_cancelled());
            if of_node.is_empty() {
                streams.remove(&self.node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_gateway_holds_is_read_strictly() {
        assert!(parse("").unwrap().is_empty());
        let held = parse("policy:3.118,keyset:3.9001").unwrap();
        assert_eq!(held[&Stream::Keyset].to_string(), "3.9001");
        for wrong in [
            "policy",
            "policy:3",
            "routes:1.1",
            "policy:1.1,policy:1.2",
            "policy:1.1;keyset:1.1",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
