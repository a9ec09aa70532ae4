//! How a gateway stands to what it should hold, told from what it was told and what it says. A pure function: nothing is
//! remembered, so that every control plane gives the same answer.

use serde::{Deserialize, Serialize};

use crate::{Digest, Position, Stream};

/// A gateway is live while its last heartbeat is younger than this, seconds.
pub const LIVE_S: i64 = 15;
/// Being behind for longer than this, seconds, is no delay any more.
pub const PENDING_S: i64 = 60;

/// How a gateway stands, from good to bad: the standing of a gateway is the worst of its streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Standing {
    /// What it should hold is in force in its memory.
    InSync,
    /// It was told of something less than a minute ago, and has not said that it is in force.
    Pending,
    /// The same, for longer.
    Stale,
    /// What is in its memory is not what it says it took over, or is beyond what the database knows.
    Drifted,
    /// It has refused what it should hold.
    Refused,
    /// It is of a version that cannot apply what it should hold.
    Incompatible,
    /// It has not been heard of.
    Unreachable,
    /// Two processes speak as this gateway at the same time: what one of them says is not true of the other.
    Conflict,
}

impl Standing {
    /// Every standing, from good to bad.
    pub const ALL: [Self; 8] = [
        Self::InSync,
        Self::Pending,
        Self::Stale,
        Self::Drifted,
        Self::Refused,
        Self::Incompatible,
        Self::Unreachable,
        Self::Conflict,
    ];

    /// The word in tables and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InSync => "IN_SYNC",
            Self::Pending => "PENDING",
            Self::Stale => "STALE",
            Self::Drifted => "DRIFTED",
            Self::Refused => "REFUSED",
            Self::Incompatible => "INCOMPATIBLE",
            Self::Unreachable => "UNREACHABLE",
            Self::Conflict => "CONFLICT",
        }
    }
}

/// What is known of one stream of one gateway. Times in Unix seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observation {
    /// When the gateway was heard of last; none when never.
    pub heard_at: Option<i64>,
    /// When it was seen first.
    pub first_seen_at: i64,
    /// What it should hold, and since when; none when nothing was stated.
    pub told: Option<Told>,
    /// What it says is in force in its memory; none when it says nothing of this stream.
    pub active: Option<Active>,
    /// What it has refused last, of this stream; none when what it said last was no refusal.
    pub refused: Option<Refused>,
    /// What most others have in memory with the same statement; none when that cannot be said.
    pub expected_fingerprint: Option<String>,
}

/// A statement that a gateway should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Its position.
    pub position: Position,
    /// Its digest.
    pub digest: Digest,
    /// Since when.
    pub since: i64,
}

/// What is in force in the memory of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Active {
    /// Its position and digest; none when it did not come from the control plane.
    pub statement: Option<(Position, Digest)>,
    /// Made from memory; none until a heartbeat has told it.
    pub fingerprint: Option<String>,
    /// Sides of listeners that are not open as this policy says.
    pub waiting: Vec<String>,
    /// Since when.
    pub since: i64,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The position of what was refused.
    pub position: Position,
    /// The word for programs.
    pub code: String,
    /// What people read.
    pub message: String,
    /// When.
    pub at: i64,
}

/// How a stream of a gateway stands, since when, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// How.
    pub standing: Standing,
    /// Since when, Unix seconds.
    pub since: i64,
    /// Why, in words.
    pub reason: String,
}

/// Judges one stream of one gateway at `now` (Unix seconds).
///
/// A refusal of what it should hold outweighs everything that it says is in force: it is never shown as applied.
#[must_use]
pub fn judge(stream: Stream, seen: &Observation, now: i64) -> Verdict {
    if let Some(silent) = silence(seen, now) {
        return silent;
    }
    let Some(told) = seen.told else {
        return untold(stream, seen);
    };
    if let Some(refused) = seen
        .refused
        .as_ref()
        .filter(|refused| refused.position == told.position)
    {
        return refusal(refused);
    }
    let Some(active) = &seen.active else {
        return waiting(told, "it has nothing in force", now);
    };
    match active.statement {
        None if stream == Stream::Policy && !active.waiting.is_empty() => half_in_force(active),
        None if stream == Stream::Policy => {
            let reason = "it takes its policy from a directory of its own".to_owned();
            Verdict::new(Standing::InSync, active.since, reason)
        }
        None => waiting(
            told,
            "what it has in force did not come from the control plane",
            now,
        ),
        Some((position, _)) if position < told.position => {
            waiting(told, &format!("it has {position} in force"), now)
        }
        Some(statement) => held(active, statement, told, seen.expected_fingerprint.as_deref()),
    }
}

impl Verdict {
    const fn new(standing: Standing, since: i64, reason: String) -> Self {
        Self {
            standing,
            since,
            reason,
        }
    }
}

/// Whether it has not been heard of for too long.
fn silence(seen: &Observation, now: i64) -> Option<Verdict> {
    let Some(heard_at) = seen.heard_at else {
        let reason = "it has never sent a heartbeat".to_owned();
        return Some(Verdict::new(Standing::Unreachable, seen.first_seen_at, reason));
    };
    let silent_s = now.saturating_sub(heard_at);
    (silent_s > LIVE_S).then(|| {
        Verdict::new(
            Standing::Unreachable,
            heard_at,
            format!("no heartbeat for {silent_s} s"),
        )
    })
}

fn refusal(refused: &Refused) -> Verdict {
    let standing = if refused.code == "unsupported" {
        Standing::Incompatible
    } else {
        Standing::Refused
    };
    Verdict::new(
        standing,
        refused.at,
        format!("{}: {}", refused.code, refused.message),
    )
}

/// What it holds is not behind what it should hold.
fn held(
    active: &Active,
    (position, digest): (Position, Digest),
    told: Told,
    expected: Option<&str>,
) -> Verdict {
    let drifted = |reason| Verdict::new(Standing::Drifted, active.since, reason);
    if position > told.position {
        let known = told.position;
        return drifted(format!(
            "it has {position} in force, and the database knows {known} at most: was the database restored?"
        ));
    }
    if digest != told.digest {
        return drifted(format!("it has another statement at {position} in force"));
    }
    if !active.waiting.is_empty() {
        return half_in_force(active);
    }
    match (active.fingerprint.as_deref(), expected) {
        (Some(found), Some(expected)) if found != expected => drifted(format!(
            "in its memory is {found}, and in most others' {expected}, of the same statement"
        )),
        _ => Verdict::new(
            Standing::InSync,
            active.since.max(told.since),
            format!("{position} is in force"),
        ),
    }
}

/// Sockets are opened once: a listener that a policy adds, moves or removes waits for another process.
fn half_in_force(active: &Active) -> Verdict {
    let reason = format!(
        "{} not as its policy says until it is restarted or upgraded",
        match active.waiting.as_slice() {
            [one] => format!("the side {one} of a listener is"),
            sides => format!("the sides {} of listeners are", sides.join(", ")),
        }
    );
    Verdict::new(Standing::Drifted, active.since, reason)
}

/// Nothing was stated in this stream.
fn untold(stream: Stream, seen: &Observation) -> Verdict {
    if let Some(active) = seen.active.as_ref().filter(|active| !active.waiting.is_empty()) {
        return half_in_force(active);
    }
    let held = seen.active.as_ref().filter(|active| active.statement.is_some());
    match held {
        Some(active) => Verdict {
            standing: Standing::Drifted,
            since: active.since,
            reason: format!(
                "it has a {stream} of the control plane in force, and the database knows of none"
            ),
        },
        None => Verdict {
            standing: Standing::InSync,
            since: seen.first_seen_at,
            reason: "nothing was stated".to_owned(),
        },
    }
}

fn waiting(told: Told, what: &str, now: i64) -> Verdict {
    let is_late = now.saturating_sub(told.since) > PENDING_S;
    Verdict {
        standing: if is_late {
            Standing::Stale
        } else {
            Standing::Pending
        },
        since: told.since,
        reason: format!("{what}, and should have {}", told.position),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn digest(byte: u8) -> Digest {
        Digest::from([byte; 32])
    }

    fn position(seq: u64) -> Position {
        Position { epoch: 1, seq }
    }

    fn in_sync() -> Observation {
        Observation {
            heard_at: Some(NOW - 3),
            first_seen_at: NOW - 1_000,
            told: Some(Told {
                position: position(7),
                digest: digest(7),
                since: NOW - 100,
            }),
            active: Some(Active {
                statement: Some((position(7), digest(7))),
                fingerprint: Some("f".to_owned()),
                waiting: Vec::new(),
                since: NOW - 99,
            }),
            refused: None,
            expected_fingerprint: Some("f".to_owned()),
        }
    }

    fn standing(change: impl FnOnce(&mut Observation)) -> Standing {
        let mut seen = in_sync();
        change(&mut seen);
        judge(Stream::Policy, &seen, NOW).standing
    }

    #[test]
    fn each_standing_has_its_cause() {
        assert_eq!(standing(|_| {}), Standing::InSync);
        assert_eq!(
            standing(|seen| seen.heard_at = Some(NOW - LIVE_S - 1)),
            Standing::Unreachable
        );
        assert_eq!(standing(|seen| seen.heard_at = None), Standing::Unreachable);
        let behind = |since| {
            move |seen: &mut Observation| {
                seen.active.as_mut().unwrap().statement = Some((position(6), digest(6)));
                seen.told.as_mut().unwrap().since = since;
            }
        };
        assert_eq!(standing(behind(NOW - PENDING_S)), Standing::Pending);
        assert_eq!(standing(behind(NOW - PENDING_S - 1)), Standing::Stale);
        let ahead =
            |seen: &mut Observation| seen.active.as_mut().unwrap().statement = Some((position(8), digest(8)));
        assert_eq!(standing(ahead), Standing::Drifted);
        let other =
            |seen: &mut Observation| seen.active.as_mut().unwrap().statement = Some((position(7), digest(8)));
        assert_eq!(standing(other), Standing::Drifted);
        assert_eq!(
            standing(|seen| seen.expected_fingerprint = Some("g".to_owned())),
            Standing::Drifted
        );
        assert_eq!(standing(|seen| seen.told = None), Standing::Drifted);
        let half_open =
            |seen: &mut Observation| seen.active.as_mut().unwrap().waiting = vec!["public.http".to_owned()];
        assert_eq!(standing(half_open), Standing::Drifted);
        for (code, expected) in [
            ("compile", Standing::Refused),
            ("unsupported", Standing::Incompatible),
        ] {
            let refuse = |seen: &mut Observation| {
                seen.refused = Some(Refused {
                    position: position(7),
                    code: code.to_owned(),
                    message: "no".to_owned(),
                    at: NOW - 1,
                });
            };
            assert_eq!(standing(refuse), expected);
        }
    }

    #[test]
    fn a_gateway_with_a_directory_of_its_own_is_in_order_and_keys_from_elsewhere_are_not() {
        let mut seen = in_sync();
        seen.active.as_mut().unwrap().statement = None;
        assert_eq!(judge(Stream::Policy, &seen, NOW).standing, Standing::InSync);
        assert_eq!(judge(Stream::Keyset, &seen, NOW).standing, Standing::Stale);
        seen.active.as_mut().unwrap().waiting = vec!["public.http".to_owned(), "public.https".to_owned()];
        let waits = judge(Stream::Policy, &seen, NOW);
        assert_eq!(waits.standing, Standing::Drifted);
        assert_eq!(
            waits.reason,
            "the sides public.http, public.https of listeners are not as its policy says until it is restarted or upgraded"
        );
    }

    prop_compose! {
        fn observations()(
            heard_at in prop::option::of(NOW - 40..NOW + 5),
            told in prop::option::of((0..3_u64, 0..2_u8, NOW - 120..NOW + 5)),
            active in prop::option::of((prop::option::of((0..3_u64, 0..2_u8)), prop::option::of("[fg]"),
                                        prop::collection::vec("[a-z]{1,4}[.]http", 0..2), NOW - 120..NOW)),
            refused in prop::option::of((0..3_u64, prop::sample::select(vec!["compile", "unsupported"]), NOW - 120..NOW)),
            expected_fingerprint in prop::option::of("[fg]"),
        ) -> Observation {
            Observation {
                heard_at,
                first_seen_at: NOW - 500,
                told: told.map(|(seq, byte, since)| Told { position: position(seq), digest: digest(byte), since }),
                active: active.map(|(statement, fingerprint, waiting, since)| Active {
                    statement: statement.map(|(seq, byte)| (position(seq), digest(byte))),
                    fingerprint,
                    waiting,
                    since,
                }),
                refused: refused.map(|(seq, code, at)| Refused {
                    position: position(seq),
                    code: code.to_owned(),
                    message: "no".to_owned(),
                    at,
                }),
                expected_fingerprint,
            }
        }
    }

    proptest! {
        /// A refusal of what a gateway should hold is never shown as applied, nor is one that is not heard of.
        #[test]
        fn what_was_refused_and_who_is_silent_are_never_in_sync(seen in observations()) {
            let verdict = judge(Stream::Keyset, &seen, NOW);
            let is_refused = matches!((&seen.refused, seen.told), (Some(refused), Some(told)) if refused.position == told.position);
            let is_silent = seen.heard_at.is_none_or(|at| NOW - at > LIVE_S);
            prop_assert_eq!(verdict.standing == Standing::Unreachable, is_silent);
            if is_refused && !is_silent {
                prop_assert!(matches!(verdict.standing, Standing::Refused | Standing::Incompatible));
            }
        }

        /// In sync means that exactly what was told is in memory.
        #[test]
        fn in_sync_means_that_it_holds_what_it_was_told(seen in observations()) {
            if judge(Stream::Keyset, &seen, NOW).standing == Standing::InSync {
                let held = seen.active.as_ref().and_then(|active| active.statement);
                let is_whole = seen.active.as_ref().is_none_or(|active| active.waiting.is_empty());
                prop_assert!(held.is_none() || is_whole);
                prop_assert_eq!(held, seen.told.map(|told| (told.position, told.digest)));
            }
        }

        /// Time alone mends nothing, and nothing began in the future of its cause.
        #[test]
        fn a_standing_gets_no_better_by_waiting(seen in observations(), later in 0..200_i64) {
            let (now, then) = (judge(Stream::Keyset, &seen, NOW), judge(Stream::Keyset, &seen, NOW + later));
            prop_assert!(then.standing >= now.standing);
            prop_assert!(!now.reason.is_empty());
        }
    }
}
