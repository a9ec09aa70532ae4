//! A list of what is revoked, made ready for questions.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use keyring::{Revocation, RevocationList, masked};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Revoked {
    Token,
    Session,
    Subject,
    Client,
    Key,
}

/// What is revoked, by what it is about.
#[derive(Debug, Default)]
pub(super) struct Denied {
    seq: u64,
    generation: u64,
    count: usize,
    /// Made once: a list of several megabytes is told of every three seconds.
    fingerprint: String,
    issuers: HashMap<String, OfIssuer>,
    networks: Networks,
    /// Those from which nobody may sign in.
    sign_in: Networks,
}

/// Blocked networks.
#[derive(Debug, Default)]
struct Networks {
    /// Network to the end of its block, Unix seconds.
    until: HashMap<(IpAddr, u8), i64>,
    /// The prefix lengths that occur, IPv4 and IPv6.
    prefixes: [Vec<u8>; 2],
}

/// What is revoked of one issuer. Nothing ends here by the clock, which may be wrong: entries leave with a newer list.
#[derive(Debug, Default)]
struct OfIssuer {
    tokens: HashSet<String>,
    sessions: HashSet<String>,
    keys: HashSet<String>,
    /// Name to the last `iat` that is meant, Unix seconds.
    subjects: HashMap<String, i64>,
    clients: HashMap<String, i64>,
}

impl Denied {
    pub(super) fn new(list: RevocationList) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mut denied = Self {
            seq: list.seq,
            generation: NEXT.fetch_add(1, Ordering::Relaxed),
            count: list.revocations.len(),
            fingerprint: fingerprint(&list),
            ..Self::default()
        };
        for revocation in list.revocations {
            denied.add(revocation);
        }
        denied
    }

    fn add(&mut self, revocation: Revocation) {
        // Of two entries about one thing, the wider counts.
        let later = |map: &mut HashMap<String, i64>, name: String, time: i64| {
            let known = map.entry(name).or_insert(time);
            *known = time.max(*known);
        };
        match revocation {
            Revocation::Token {
                issuer,
                jti,
                until: _,
            } => {
                self.of(issuer).tokens.insert(jti);
            }
            Revocation::Session {
                issuer,
                sid,
                until: _,
            } => {
                self.of(issuer).sessions.insert(sid);
            }
            Revocation::Key {
                issuer,
                kid,
                until: _,
            } => {
                self.of(issuer).keys.insert(kid);
            }
            Revocation::Subject {
                issuer,
                sub,
                issued_until,
                until: _,
            } => later(&mut self.of(issuer).subjects, sub, issued_until),
            Revocation::Client {
                issuer,
                client_id,
                issued_until,
                until: _,
            } => later(&mut self.of(issuer).clients, client_id, issued_until),
            Revocation::Network {
                address,
                prefix,
                until,
            } => self.networks.block(address, prefix, until),
            Revocation::SignIn {
                address,
                prefix,
                until,
            } => self.sign_in.block(address, prefix, until),
        }
    }

    fn of(&mut self, issuer: String) -> &mut OfIssuer {
        self.issuers.entry(issuer).or_default()
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
        let issuer = self.issuers.get(marks.issuer)?;
        let covers = |map: &HashMap<String, i64>, name: &str| {
            map.get(name)
                .is_some_and(|issued_until| marks.issued_at <= *issued_until)
        };
        let is_in = |set: &HashSet<String>, name: Option<&str>| name.is_some_and(|name| set.contains(name));
        if issuer.keys.contains(marks.kid) {
            Some(Revoked::Key)
        } else if is_in(&issuer.tokens, marks.jti) {
            Some(Revoked::Token)
        } else if is_in(&issuer.sessions, marks.sid) {
            Some(Revoked::Session)
        } else if covers(&issuer.subjects, marks.sub) {
            Some(Revoked::Subject)
        } else if marks
            .client_id
            .is_some_and(|client| covers(&issuer.clients, client))
        {
            Some(Revoked::Client)
        } else {
            None
        }
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

impl Networks {
    fn block(&mut self, address: IpAddr, prefix: u8, until: i64) {
        let [v4, v6] = &mut self.prefixes;
        let prefixes = if address.is_ipv4() { v4 } else { v6 };
        if !prefixes.contains(&prefix) {
            prefixes.push(prefix);
        }
        let known = self.until.entry((address, prefix)).or_insert(until);
        *known = until.max(*known);
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
