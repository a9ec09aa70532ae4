//! A list of what is revoked, made ready for questions.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, DefaultHasher, Hash as _, Hasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use fleet::{Page, PageName, StatedList};
use keyring::{MAX_REVOCATIONS, Revocation, RevocationError, masked};

use crate::fleet::fingerprint;

/// By what a token is recognised.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marks<'t> {
    pub(crate) issuer: &'t str,
    pub(crate) jti: Option<&'t str>,
    pub(crate) sid: Option<&'t str>,
    pub(crate) sub: &'t str,
    pub(crate) client_id: Option<&'t str>,
    pub(crate) kid: &'t str,
    /// Unix seconds.
    pub(crate) issued_at: i64,
}

/// Which entry a token met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Revoked {
    Token,
    Session,
    Subject,
    Client,
    Key,
}

/// Entries made ready: those of a page once for every list that names it, or those behind the last page.
#[derive(Debug)]
pub(crate) struct Entries {
    /// What a page of them is called, by what is in memory.
    page: PageName,
    named: Vec<Named>,
    /// Address, prefix, and the end of the block, Unix seconds.
    networks: Vec<(IpAddr, u8, i64)>,
    /// Those from which nobody may sign in.
    sign_in: Vec<(IpAddr, u8, i64)>,
}

/// What is revoked by its name. Nothing ends here by the clock, which may be wrong: entries leave with a newer list.
#[derive(Debug)]
struct Named {
    hash: u64,
    kind: Revoked,
    issuer: String,
    name: String,
    /// The last `iat` that is meant, Unix seconds.
    issued_until: i64,
}

/// What is revoked. What a list costs that replaces another is its new pages, and a place for each name.
#[derive(Debug, Default)]
pub(crate) struct Denied {
    seq: u64,
    generation: u64,
    count: usize,
    /// Made once: heartbeats tell it every three seconds.
    fingerprint: String,
    /// The pages, and the entries behind them.
    parts: Vec<Arc<Entries>>,
    /// Where the names are, in the order of their hashes.
    places: Vec<Place>,
    networks: Networks,
    sign_in: Networks,
}

/// Where a name is.
#[derive(Debug, Clone, Copy)]
struct Place {
    hash: u64,
    part: usize,
    entry: usize,
}

/// Blocked networks.
#[derive(Debug, Default)]
struct Networks {
    /// Network to the end of its block, Unix seconds.
    until: HashMap<(IpAddr, u8), i64>,
    /// The prefix lengths that occur, IPv4 and IPv6.
    prefixes: [Vec<u8>; 2],
}

impl Entries {
    /// Checks entries and makes them ready.
    ///
    /// # Errors
    /// When one is not valid.
    pub(crate) fn new(revocations: Vec<Revocation>) -> anyhow::Result<Self> {
        revocations.iter().try_for_each(Revocation::validate)?;
        let mut entries = Self {
            page: Page::of(&revocations)?.name,
            named: Vec::new(),
            networks: Vec::new(),
            sign_in: Vec::new(),
        };
        for revocation in revocations {
            entries.add(revocation);
        }
        Ok(entries)
    }

    fn add(&mut self, revocation: Revocation) {
        let (kind, issuer, name, issued_until) = match revocation {
            Revocation::Token {
                issuer,
                jti,
                until: _,
            } => (Revoked::Token, issuer, jti, i64::MAX),
            Revocation::Session {
                issuer,
                sid,
                until: _,
            } => (Revoked::Session, issuer, sid, i64::MAX),
            Revocation::Key {
                issuer,
                kid,
                until: _,
            } => (Revoked::Key, issuer, kid, i64::MAX),
            Revocation::Subject {
                issuer,
                sub,
                issued_until,
                until: _,
            } => (Revoked::Subject, issuer, sub, issued_until),
            Revocation::Client {
                issuer,
                client_id,
                issued_until,
                until: _,
            } => (Revoked::Client, issuer, client_id, issued_until),
            Revocation::Network {
                address,
                prefix,
                until,
            } => return self.networks.push((address, prefix, until)),
            Revocation::SignIn {
                address,
                prefix,
                until,
            } => return self.sign_in.push((address, prefix, until)),
        };
        self.named.push(Named {
            hash: hash(of_issuer(&issuer), kind, &name),
            kind,
            issuer,
            name,
            issued_until,
        });
    }

    const fn count(&self) -> usize {
        self.named.len() + self.networks.len() + self.sign_in.len()
    }
}

/// What the hashes of an issuer's names begin with. Nobody outside this process can choose names that meet.
fn of_issuer(issuer: &str) -> DefaultHasher {
    static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let mut hasher = STATE.build_hasher();
    issuer.hash(&mut hasher);
    hasher
}

fn hash(mut of_issuer: DefaultHasher, kind: Revoked, name: &str) -> u64 {
    (kind, name).hash(&mut of_issuer);
    of_issuer.finish()
}

impl Denied {
    /// Puts a list together from the pages that it names, in their order.
    ///
    /// # Errors
    /// When an entry is not valid, or there are too many.
    pub(crate) fn new(list: StatedList, mut parts: Vec<Arc<Entries>>) -> anyhow::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let in_memory = StatedList {
            pages: parts.iter().map(|part| part.page).collect(),
            ..list
        };
        let fingerprint = fingerprint(&in_memory);
        parts.push(Arc::new(Entries::new(in_memory.revocations)?));
        let count = parts.iter().map(|part| part.count()).sum();
        if count > MAX_REVOCATIONS {
            return Err(RevocationError::TooMany.into());
        }
        let (mut networks, mut sign_in) = (Networks::default(), Networks::default());
        for part in &parts {
            networks.block(&part.networks);
            sign_in.block(&part.sign_in);
        }
        Ok(Self {
            seq: in_memory.seq,
            generation: NEXT.fetch_add(1, Ordering::Relaxed),
            count,
            fingerprint,
            places: places(&parts),
            parts,
            networks,
            sign_in,
        })
    }

    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Tells the list from every other.
    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    pub(super) fn seq_metric(&self) -> i64 {
        i64::try_from(self.seq).unwrap_or(i64::MAX)
    }

    pub(super) fn count_metric(&self) -> i64 {
        i64::try_from(self.count).unwrap_or(i64::MAX)
    }

    pub(super) fn token(&self, marks: Marks<'_>) -> Option<Revoked> {
        let of_issuer = of_issuer(marks.issuer);
        let is_revoked = |kind: Revoked, name: &str| {
            self.named(hash(of_issuer.clone(), kind, name)).any(|named| {
                named.kind == kind
                    && named.name == name
                    && named.issuer == marks.issuer
                    && marks.issued_at <= named.issued_until
            })
        };
        let shown = [
            (Revoked::Key, Some(marks.kid)),
            (Revoked::Token, marks.jti),
            (Revoked::Session, marks.sid),
            (Revoked::Subject, Some(marks.sub)),
            (Revoked::Client, marks.client_id),
        ];
        let mut kinds = shown
            .into_iter()
            .filter_map(|(kind, name)| is_revoked(kind, name?).then_some(kind));
        kinds.next()
    }

    /// Those with this hash: one as a rule, of two entries about one thing both, and what meets by chance.
    fn named(&self, hash: u64) -> impl Iterator<Item = &Named> {
        let first = self.places.partition_point(|place| place.hash < hash);
        let places = self.places.iter().skip(first);
        places
            .take_while(move |place| place.hash == hash)
            .filter_map(|place| self.parts.get(place.part)?.named.get(place.entry))
    }

    /// Whether anything is revoked by its name.
    pub(crate) const fn has_names(&self) -> bool {
        !self.places.is_empty()
    }

    pub(super) fn has_networks(&self) -> bool {
        !self.networks.until.is_empty()
    }

    /// Whether a client is in a blocked network at `now_unix` (Unix seconds).
    pub(super) fn client(&self, client: IpAddr, now_unix: i64) -> bool {
        self.networks.end(client, now_unix).is_some()
    }

    /// For how many seconds a client may not sign in; `None` when it may.
    pub(super) fn sign_in(&self, client: IpAddr, now_unix: i64) -> Option<u64> {
        let until = self.sign_in.end(client, now_unix)?;
        Some(until.abs_diff(now_unix).max(1))
    }
}

/// Where the names of these parts are, in the order of their hashes.
fn places(parts: &[Arc<Entries>]) -> Vec<Place> {
    let mut places = Vec::new();
    for (part, entries) in parts.iter().enumerate() {
        let named = entries.named.iter().enumerate();
        places.extend(named.map(|(entry, named)| Place {
            hash: named.hash,
            part,
            entry,
        }));
    }
    places.sort_unstable_by_key(|place| place.hash);
    places
}

impl Networks {
    /// Of two blocks of one network, the longer counts.
    fn block(&mut self, networks: &[(IpAddr, u8, i64)]) {
        let [v4, v6] = &mut self.prefixes;
        for (address, prefix, until) in networks.iter().copied() {
            let prefixes = if address.is_ipv4() { &mut *v4 } else { &mut *v6 };
            if !prefixes.contains(&prefix) {
                prefixes.push(prefix);
            }
            let known = self.until.entry((address, prefix)).or_insert(until);
            *known = until.max(*known);
        }
    }

    /// The latest end of a block that a client is in at `now_unix` (Unix seconds).
    fn end(&self, client: IpAddr, now_unix: i64) -> Option<i64> {
        let client = client.to_canonical();
        let [v4, v6] = &self.prefixes;
        let prefixes = if client.is_ipv4() { v4 } else { v6 };
        let of_prefix =
            |prefix: &u8| masked(client, *prefix).and_then(|network| self.until.get(&(network, *prefix)));
        let ends = prefixes.iter().filter_map(of_prefix).copied();
        ends.filter(|until| now_unix <= *until).max()
    }
}
