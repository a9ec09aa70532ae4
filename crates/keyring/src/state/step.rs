//! What may happen to a ring, and what it becomes.

use super::{Bounds, KeyState, Ring, RingKey};

/// Something that may happen to a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The first start: a ring gets an active key and a standby.
    Initialise {
        /// Kid of the key that signs at once; nobody can hold an older key set.
        active: String,
        /// Kid of the first standby.
        standby: String,
    },
    /// A key is made, and told to nobody yet.
    Generate {
        /// Its kid.
        kid: String,
    },
    /// A key that has signed nothing is set aside; in the place of a standby another one is published.
    Abort {
        /// Its kid.
        kid: String,
        /// Kid of the new standby.
        standby: String,
    },
    /// The successor takes over; where it was the standby, a new one is published.
    Rotate {
        /// Kid of the new standby.
        standby: String,
        /// The lowest `seq` that a live gateway holds; none where no gateway is live, or none verifies with this ring.
        held_seq: Option<u64>,
    },
    /// A retiring key is called back: it is published again, and takes over once every guard lets it.
    Reinstate {
        /// Its kid.
        kid: String,
    },
    /// A key is no longer good, at once and for ever. In the place of the active key the standby signs, whatever its age.
    Revoke {
        /// Its kid.
        kid: String,
        /// Kid of the new standby, where the old one is used up.
        standby: String,
    },
    /// Retiring keys past their `verify_until` are retired (guard G4).
    Retire,
    /// Private parts past the rollback window are destroyed (INV-6).
    Purge,
}

/// Why an event does not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RingRefusal {
    /// The ring has keys already.
    #[error("the ring is initialised")]
    Initialised,
    /// The ring has no active key or no standby.
    #[error("the ring is not initialised")]
    NotInitialised,
    /// Some verifier may not know the successor yet (guard G2).
    #[error("the standby key may be activated in {retry_after_s} s")]
    StandbyTooYoung {
        /// Seconds until it may be activated; at least 1.
        retry_after_s: i64,
    },
    /// A live gateway does not know the successor yet (guard G2).
    #[error("a gateway holds key set {held_seq}, and {wanted_seq} tells of the successor")]
    GatewaysBehind {
        /// What it holds.
        held_seq: u64,
        /// What it must hold.
        wanted_seq: u64,
    },
    /// A kid is in the ring already.
    #[error("the kid is in use")]
    KidInUse,
    /// No key has this kid.
    #[error("the ring has no such key")]
    UnknownKid,
    /// The key is in another state than the event is about.
    #[error("the key is {0}")]
    WrongState(KeyState),
    /// The private part is gone or about to go, or the key verifies no more.
    #[error("the rollback window is over")]
    WindowOver,
    /// Another key was called back and has not taken over yet.
    #[error("another key is being reinstated")]
    Reinstating,
}

/// What a ring becomes when `event` happens at `now` (Unix seconds). An event with nothing to do gives the ring unchanged.
///
/// # Errors
///
/// The guard that stands against it; the ring then stays as it is.
pub fn step(ring: &Ring, event: &Event, now: i64, bounds: &Bounds) -> Result<Ring, RingRefusal> {
    let mut next = ring.clone();
    match event {
        Event::Initialise { active, standby } => initialise(&mut next, active, standby, now)?,
        Event::Generate { kid } => {
            is_new(ring, kid)?;
            next.keys.push(RingKey::generated(kid));
        }
        Event::Abort { kid, standby } => abort(&mut next, kid, standby, now)?,
        Event::Rotate { standby, held_seq } => rotate(&mut next, standby, *held_seq, now, bounds)?,
        Event::Reinstate { kid } => reinstate(&mut next, kid, now, bounds)?,
        Event::Revoke { kid, standby } => revoke(&mut next, kid, standby, now)?,
        Event::Retire => retire(&mut next, now),
        Event::Purge => purge(&mut next, now, bounds),
    }
    Ok(next)
}

fn is_new(ring: &Ring, kid: &str) -> Result<(), RingRefusal> {
    match ring.key(kid) {
        None => Ok(()),
        Some(_) => Err(RingRefusal::KidInUse),
    }
}

fn find<'r>(ring: &'r mut Ring, kid: &str) -> Result<&'r mut RingKey, RingRefusal> {
    let key = ring.keys.iter_mut().find(|key| key.kid == kid);
    key.ok_or(RingRefusal::UnknownKid)
}

/// Tells verifiers of a new standby, with the next `seq`.
fn publish(ring: &mut Ring, kid: &str, now: i64) -> Result<(), RingRefusal> {
    is_new(ring, kid)?;
    ring.seq += 1;
    ring.keys.push(RingKey::published(kid, ring.seq, now));
    Ok(())
}

fn initialise(ring: &mut Ring, active: &str, standby: &str, now: i64) -> Result<(), RingRefusal> {
    if ring.seq > 0 || !ring.keys.is_empty() {
        return Err(RingRefusal::Initialised);
    }
    let mut first = RingKey::published(active, ring.seq + 1, now);
    first.state = KeyState::Active;
    ring.keys.push(first);
    publish(ring, standby, now)
}

fn abort(ring: &mut Ring, kid: &str, standby: &str, now: i64) -> Result<(), RingRefusal> {
    let key = find(ring, kid)?;
    let was_standby = key.is_standby();
    if !was_standby && key.state != KeyState::Generated {
        return Err(RingRefusal::WrongState(key.state));
    }
    key.end(KeyState::Aborted);
    if was_standby {
        publish(ring, standby, now)?;
    }
    Ok(())
}

fn rotate(
    ring: &mut Ring,
    standby: &str,
    held_seq: Option<u64>,
    now: i64,
    bounds: &Bounds,
) -> Result<(), RingRefusal> {
    let successor = ring.successor().ok_or(RingRefusal::NotInitialised)?;
    let active = ring.active().ok_or(RingRefusal::NotInitialised)?;
    may_activate(successor, held_seq, now, bounds)?;
    let (successor, active, uses_standby) =
        (successor.kid.clone(), active.kid.clone(), successor.is_standby());
    find(ring, &active)?.retire(now, bounds);
    find(ring, &successor)?.state = KeyState::Active;
    if uses_standby {
        publish(ring, standby, now)
    } else {
        ring.seq += 1;
        Ok(())
    }
}

/// Guard G2: every verifier knows it, by time and by word.
fn may_activate(
    successor: &RingKey,
    held_seq: Option<u64>,
    now: i64,
    bounds: &Bounds,
) -> Result<(), RingRefusal> {
    let (Some(published_at), Some(wanted_seq)) = (successor.published_at, successor.published_seq) else {
        return Err(RingRefusal::WrongState(successor.state));
    };
    let retry_after_s = published_at + i64::from(bounds.standby_dwell_s) - now;
    if retry_after_s > 0 {
        return Err(RingRefusal::StandbyTooYoung { retry_after_s });
    }
    match held_seq {
        Some(held_seq) if held_seq < wanted_seq => Err(RingRefusal::GatewaysBehind { held_seq, wanted_seq }),
        _ => Ok(()),
    }
}

fn reinstate(ring: &mut Ring, kid: &str, now: i64, bounds: &Bounds) -> Result<(), RingRefusal> {
    let under_way = ring.successor().is_some_and(|key| !key.is_standby());
    let seq = ring.seq + 1;
    let key = find(ring, kid)?;
    if key.state != KeyState::Retiring {
        return Err(RingRefusal::WrongState(key.state));
    }
    let window_end = key
        .retiring_at
        .map(|retiring_at| retiring_at + i64::from(bounds.rollback_window_s));
    let is_open = |end: Option<i64>| end.is_some_and(|end| now < end);
    if !key.has_private || !is_open(window_end) || !is_open(key.verify_until) {
        return Err(RingRefusal::WindowOver);
    }
    if under_way {
        return Err(RingRefusal::Reinstating);
    }
    *key = RingKey {
        reinstated_at: Some(now),
        ..RingKey::published(kid, seq, now)
    };
    ring.seq = seq;
    Ok(())
}

fn revoke(ring: &mut Ring, kid: &str, standby: &str, now: i64) -> Result<(), RingRefusal> {
    let replacement = ring.standby().map(|key| key.kid.clone());
    let key = find(ring, kid)?;
    let (state, was_standby) = (key.state, key.is_standby());
    match state {
        KeyState::Revoked => return Ok(()),
        KeyState::Retired | KeyState::Aborted => return Err(RingRefusal::WrongState(state)),
        KeyState::Generated | KeyState::Published | KeyState::Active | KeyState::Retiring => {}
    }
    key.end(KeyState::Revoked);
    if state == KeyState::Active {
        find(ring, &replacement.ok_or(RingRefusal::NotInitialised)?)?.state = KeyState::Active;
    }
    if was_standby || state == KeyState::Active {
        publish(ring, standby, now)
    } else {
        ring.seq += 1;
        Ok(())
    }
}

fn retire(ring: &mut Ring, now: i64) {
    let is_due = |key: &RingKey| {
        key.state == KeyState::Retiring && key.verify_until.is_some_and(|verify_until| now >= verify_until)
    };
    if ring.keys.iter().any(is_due) {
        ring.seq += 1;
    }
    for key in ring.keys.iter_mut().filter(|key| is_due(key)) {
        key.end(KeyState::Retired);
    }
}

fn purge(ring: &mut Ring, now: i64, bounds: &Bounds) {
    let window = i64::from(bounds.rollback_window_s);
    for key in &mut ring.keys {
        if key
            .retiring_at
            .is_some_and(|retiring_at| now >= retiring_at + window)
        {
            key.has_private = false;
        }
    }
}
