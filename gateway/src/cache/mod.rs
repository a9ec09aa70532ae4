//! Good answers of upstreams, kept for a while (EDG-13).
//!
//! **Invariant:** an answer is given again only to a request that is the same in everything the upstream could look at,
//! and never to somebody who could have seen a newer one.

mod changes;
mod fill;
mod flight;
mod freshness;
mod key;
mod store;

pub(crate) use changes::{Change, Mark, Subject, Subjects};
pub(crate) use fill::{Fill, Head};
pub(crate) use flight::Leader;
pub(crate) use freshness::{Directives, Lifetime, names_tag};
pub(crate) use key::{KeyHash, KeyParts};
pub(crate) use store::Answer;

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, header};
use service_runtime::shutdown::Shutdown;
use tokio::time::{MissedTickBehavior, interval};

use changes::Changes;
use flight::{Flights, Turn};
use store::{Known, Store};

/// How often what has ended is forgotten.
const SWEEP: Duration = Duration::from_secs(1);
/// While an answer could not be kept, requests for the same do not wait for each other for so long at most.
const NOT_KEPT: Duration = Duration::from_secs(10);
/// Of four parts of the memory, those for answers that are still coming.
const COMING: usize = 1;

/// What this gateway keeps.
pub(crate) struct Cache {
    store: Store,
    flights: Arc<Flights>,
    changes: Arc<Changes>,
    /// Bytes of answers that are still coming.
    coming: AtomicUsize,
    max_coming: usize,
}

/// Where a request stands that looked for an answer.
pub(crate) enum Found {
    /// Here it is; whether it was waited for.
    Answer(Arc<Answer>, bool),
    /// There is none, and whoever brings one does it for others too; how what it depends on stands.
    Lead(Box<Leader>, Mark),
    /// There is none, and it is not to be kept.
    Nothing,
}

/// What a request asks for.
pub(crate) struct Wanted<'r> {
    pub(crate) key: KeyHash,
    pub(crate) headers: &'r HeaderMap,
    /// What an answer would depend on.
    pub(crate) subjects: Subjects,
    /// A request to the upstream that takes longer holds up nobody else.
    pub(crate) patience: Duration,
    pub(crate) deadline: Instant,
}

impl Cache {
    /// Keeps at most so many bytes; nothing at all with 0.
    pub(crate) fn new(max_bytes: usize) -> Self {
        let quarter = max_bytes.checked_div(4).unwrap_or(0);
        let max_coming = quarter.saturating_mul(COMING);
        Self {
            store: Store::new(max_bytes.saturating_sub(max_coming)),
            flights: Arc::default(),
            changes: Arc::new(Changes::new()),
            coming: AtomicUsize::new(0),
            max_coming,
        }
    }

    /// What can change, by number.
    pub(crate) fn subject<T: Hash + ?Sized>(&self, parts: &T) -> Subject {
        self.changes.subject(parts)
    }

    /// How what an answer depends on stands now; `None` while it is being changed.
    pub(crate) fn mark(&self, subjects: &Subjects) -> Option<Mark> {
        self.changes.mark(subjects)
    }

    /// A change is about to be sent: what depends on these things is old from now on.
    pub(crate) fn change(&self, subjects: &Subjects, unknown_for: Duration) -> Change {
        self.changes.begin(subjects, unknown_for)
    }

    /// An answer has come that is about to be given: all that were given to this request before are old. Returns its
    /// own mark, if it may be kept.
    pub(crate) fn arrive(&self, request: Subject, mark: Option<Mark>) -> Option<Mark> {
        self.changes.arrive(request, mark)
    }

    /// Looks for an answer, and waits for one that is being brought.
    pub(crate) async fn find(&self, wanted: &Wanted<'_>) -> Found {
        let mut has_waited = false;
        loop {
            let key = match self.settled(wanted, has_waited) {
                Ok(found) => return found,
                Err(key) => key,
            };
            if Instant::now() >= wanted.deadline {
                return Found::Nothing;
            }
            // While something is being changed, nothing is kept: whoever waited would wait in vain.
            let Some(mark) = self.mark(&wanted.subjects) else {
                return Found::Nothing;
            };
            match self.flights.join(key, wanted.patience) {
                // Another's answer may have come, and its flight ended, between the look and the lead.
                Turn::Lead(leader) => {
                    return self
                        .settled(wanted, has_waited)
                        .unwrap_or_else(|_| Found::Lead(Box::new(leader), mark));
                }
                Turn::Alone => return Found::Nothing,
                Turn::Wait(waiting) => {
                    has_waited = true;
                    waiting.end(wanted.deadline).await;
                }
            }
        }
    }

    /// What is known of a request without asking for it; else the key under which to ask.
    fn settled(&self, wanted: &Wanted<'_>, has_waited: bool) -> Result<Found, KeyHash> {
        let now = Instant::now();
        match self.known(&wanted.key, wanted.headers, now) {
            (_, Some(Known::Answer(answer))) if now < answer.fresh_until && self.is_current(&answer) => {
                Ok(Found::Answer(answer, has_waited))
            }
            (_, Some(Known::NotKept)) => Ok(Found::Nothing),
            (key, _) => Err(key),
        }
    }

    /// An answer for when there is no other, which may have ended.
    pub(crate) fn find_stale(&self, key: &KeyHash, headers: &HeaderMap) -> Option<Arc<Answer>> {
        let now = Instant::now();
        match self.known(key, headers, now).1 {
            Some(Known::Answer(answer)) if now < answer.stale_until && self.is_current(&answer) => {
                Some(answer)
            }
            _ => None,
        }
    }

    fn is_current(&self, answer: &Answer) -> bool {
        self.changes.is_current(&answer.mark)
    }

    /// What is known for a request, and under which key.
    fn known(&self, key: &KeyHash, headers: &HeaderMap, now: Instant) -> (KeyHash, Option<Known>) {
        match self.store.get(key, now) {
            Some(Known::Varies(names)) => {
                let variant = variant(key, &names, headers);
                (variant, self.store.get(&variant, now))
            }
            known => (*key, known),
        }
    }

    /// Keeps an answer that came whole for a request with these fields.
    pub(crate) fn keep(&self, key: KeyHash, vary: &[HeaderName], headers: &HeaderMap, answer: Answer) {
        if !self.is_current(&answer) {
            return;
        }
        let until = answer.stale_until.max(answer.fresh_until);
        let key = if vary.is_empty() {
            key
        } else {
            if !self.store.put(key, Known::Varies(vary.into()), until) {
                return;
            }
            variant(&key, vary, headers)
        };
        self.store.put(key, Known::Answer(Arc::new(answer)), until);
    }

    /// An answer came that must not be kept: others need not wait for the next one.
    pub(crate) fn note_not_kept(&self, key: &KeyHash, headers: &HeaderMap, kept_for: Duration) {
        let now = Instant::now();
        let (key, _) = self.known(key, headers, now);
        if let Some(until) = now.checked_add(kept_for.min(NOT_KEPT)) {
            self.store.put(key, Known::NotKept, until);
        }
    }

    /// Forgets everything: the policy has changed.
    pub(crate) fn clear(&self) {
        self.store.clear();
    }

    /// Room for more bytes of an answer that is coming; they are given back by [`Cache::release`].
    fn reserve(&self, bytes: usize) -> bool {
        let before = self.coming.fetch_add(bytes, Ordering::Relaxed);
        let has_room = before.saturating_add(bytes) <= self.max_coming;
        if !has_room {
            self.release(bytes);
        }
        has_room
    }

    fn release(&self, bytes: usize) {
        self.coming.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The key of the answer to a request with these fields. Every line of a field counts, in its order.
fn variant(key: &KeyHash, names: &[HeaderName], headers: &HeaderMap) -> KeyHash {
    let fields = names.iter().flat_map(|name| {
        let lines = headers.get_all(name).iter();
        lines.map(|line| (name.as_str(), line.as_bytes()))
    });
    key.variant(fields)
}

/// The fields of the request that an answer says it differs by, in one order; `None` when it cannot be told for whom it
/// is.
pub(crate) fn vary(headers: &HeaderMap) -> Option<Vec<HeaderName>> {
    const MOST: usize = 8;
    let mut names = Vec::new();
    for line in headers.get_all(header::VARY) {
        for word in line.to_str().ok()?.split(',').map(str::trim) {
            if word.is_empty() {
                continue;
            }
            // `*` is no name.
            let name = HeaderName::from_bytes(word.as_bytes())
                .ok()
                .filter(|name| name != "*")?;
            names.push(name);
        }
    }
    names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    (names.len() <= MOST).then_some(names)
}

/// Forgets what has ended, until the gateway stops.
pub(crate) async fn sweep(cache: Arc<Cache>, shutdown: Shutdown) {
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => cache.store.sweep(Instant::now()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use tokio::task::JoinSet;

    use super::*;

    /// Looks until there is an answer, and brings it when it is the one to do so; whether it was.
    async fn leads(cache: &Arc<Cache>, name: &str) -> bool {
        let headers = HeaderMap::new();
        let mut parts = KeyParts::default();
        parts.add(name.as_bytes());
        let key = parts.hash();
        let wanted = Wanted {
            key,
            headers: &headers,
            subjects: Subjects {
                person: None,
                path: cache.subject("path"),
                request: cache.subject("request"),
            },
            patience: Duration::from_secs(60),
            deadline: Instant::now().checked_add(Duration::from_secs(60)).unwrap(),
        };
        match cache.find(&wanted).await {
            Found::Answer(..) => false,
            Found::Nothing => panic!("{name} is kept"),
            Found::Lead(leader, mark) => {
                let head = Head {
                    key,
                    vary: Vec::new(),
                    headers: HeaderMap::new(),
                    lifetime: Lifetime {
                        age: Duration::ZERO,
                        fresh: Duration::from_secs(60),
                        stale: Duration::ZERO,
                    },
                    mark,
                    largest: 100,
                };
                let fill = Fill::new(cache.clone(), head, Some(leader));
                fill.push(&Bytes::from_static(b"1.08"))
                    .expect("there is room")
                    .complete(&headers);
                true
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn of_those_who_come_at_one_moment_one_asks() {
        let cache = Arc::new(Cache::new(1 << 24));
        for round in 0..5_000 {
            let name = format!("round {round}");
            let crowd = (0..3).map(|_| {
                let (cache, name) = (cache.clone(), name.clone());
                async move { leads(&cache, &name).await }
            });
            let crowd: JoinSet<_> = crowd.collect();
            let asked = crowd.join_all().await.into_iter().filter(|leads| *leads);
            assert_eq!(asked.count(), 1, "{name}");
        }
    }
}
