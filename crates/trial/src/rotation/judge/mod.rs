//! The invariants of key rotation, INV-1 to INV-6, as pure functions of what was seen.
//!
//! Tokens and published key sets count in whole seconds: `iat` is a second that has begun, `sign_until` and `verify_until`
//! are rounded up. The bounds below count from these published values, as every verifier must.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::evidence::{Absence, Evidence, Key, Micros, Origin, Request, SECOND, Snapshot, Target, Token};

/// The ring whose keys sign access tokens.
const ACCESS: &str = "access";
/// How long the destruction of a private part may take once it is due: control planes look twice a second, and may be dead for
/// a moment.
const DESTRUCTION_S: i64 = 5;

/// A rule that must hold whatever fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// INV-1: no valid token is ever refused.
    NoValidTokenRefused,
    /// INV-2: no retired or revoked key is accepted.
    NoRetiredKeyAccepted,
    /// INV-3: no token forged with a retained old key is accepted.
    NoForgedTokenAccepted,
    /// INV-4: exactly one key of a ring is active, and only active keys sign.
    OneActiveKey,
    /// INV-5: a key is published to every gateway before it is activated.
    PublishedBeforeActive,
    /// INV-6: after the rollback window no private part is left anywhere.
    PrivatePartGone,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::NoValidTokenRefused,
        Self::NoRetiredKeyAccepted,
        Self::NoForgedTokenAccepted,
        Self::OneActiveKey,
        Self::PublishedBeforeActive,
        Self::PrivatePartGone,
    ];

    /// Its id, as the documents use it.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::NoValidTokenRefused => "INV-1",
            Self::NoRetiredKeyAccepted => "INV-2",
            Self::NoForgedTokenAccepted => "INV-3",
            Self::OneActiveKey => "INV-4",
            Self::PublishedBeforeActive => "INV-5",
            Self::PrivatePartGone => "INV-6",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// One case in which an invariant did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// The gateway that showed it, if one did.
    pub gateway: Option<usize>,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.seen)
    }
}

/// Every violation of every invariant.
pub(super) fn judge(evidence: &Evidence) -> Vec<Violation> {
    let case = Case::new(evidence);
    let mut violations = Vec::new();
    let mut add = |invariant, seen: Vec<Seen>| {
        violations.extend(seen.into_iter().map(|(gateway, seen)| Violation {
            invariant,
            gateway,
            seen,
        }));
    };
    add(Invariant::NoValidTokenRefused, case.valid_tokens_refused());
    add(Invariant::NoRetiredKeyAccepted, case.retired_keys_accepted());
    add(Invariant::NoForgedTokenAccepted, case.forged_tokens_accepted());
    add(Invariant::OneActiveKey, case.not_one_active_key());
    add(Invariant::OneActiveKey, case.signed_by_others());
    add(Invariant::PublishedBeforeActive, case.activated_unseen());
    add(Invariant::PrivatePartGone, case.private_parts_left());
    violations
}

/// What was seen, and at which gateway.
type Seen = (Option<usize>, String);

/// The evidence, with what is looked up often at hand.
struct Case<'a> {
    evidence: &'a Evidence,
    keys: HashMap<&'a str, &'a Key>,
    ended: HashMap<&'a str, Micros>,
    /// With the first answer after each: none comes at the end of time.
    absences: Vec<(Absence, Micros)>,
}

impl<'a> Case<'a> {
    fn new(evidence: &'a Evidence) -> Self {
        let ended = &evidence.ended_sessions;
        Self {
            evidence,
            keys: evidence.keys.iter().map(|key| (key.kid.as_str(), key)).collect(),
            ended: ended
                .iter()
                .map(|(session, at)| (session.as_str(), *at))
                .collect(),
            absences: evidence
                .absences
                .iter()
                .map(|absence| (*absence, first_answer(evidence, absence)))
                .collect(),
        }
    }

    /// Requests with their tokens, and the key that signed these where the database knows it.
    fn requests(&self) -> impl Iterator<Item = (&'a Request, &'a Token, Option<&'a Key>)> {
        self.evidence.requests.iter().filter_map(|request| {
            let token = self.evidence.tokens.get(request.token)?;
            Some((request, token, self.keys.get(token.kid.as_str()).copied()))
        })
    }

    /// Every time that a key signed: most signed once.
    fn terms(&self) -> impl Iterator<Item = &'a Key> {
        self.evidence.keys.iter().chain(&self.evidence.called_back)
    }

    /// INV-1: a 401 needs a token that nobody issued, that is over, whose session is over, or whose key is revoked; a 503
    /// of the gateway itself needs a gateway that has not heard the control plane for too long.
    fn valid_tokens_refused(&self) -> Vec<Seen> {
        let mut seen = Vec::new();
        for (request, token, key) in self.requests() {
            let is_refused = match request.status {
                401 => true,
                503 => request.target == Target::Gateway && !self.may_be_stale(request),
                _ => false,
            };
            let has_ended = |ended: Option<Micros>| ended.is_some_and(|at| at <= request.received);
            let may_be_refused = token.origin == Origin::Forged
                || request.received >= token.expires_at_s * SECOND
                || has_ended(self.ended.get(token.session.as_str()).copied())
                || has_ended(key.and_then(|key| key.revoked));
            if is_refused && !may_be_refused {
                seen.push(described(request, token));
            }
        }
        seen
    }

    fn may_be_stale(&self, request: &Request) -> bool {
        let max_age = self.evidence.terms.max_age_s * SECOND;
        self.evidence.cut_off.iter().any(|cut| {
            cut.gateway == request.gateway && cut.from + max_age <= request.received && request.sent <= cut.to
        })
    }

    /// INV-2: nothing is accepted of a key 2 S after its `verify_until`, or R after its revocation.
    fn retired_keys_accepted(&self) -> Vec<Seen> {
        let terms = &self.evidence.terms;
        let mut seen = Vec::new();
        for (request, token, key) in self.requests().filter(is_accepted) {
            let retired = key
                .and_then(|key| key.verify_until_s)
                .map(|last| (last + 2 * terms.skew_s) * SECOND);
            let revoked = key
                .and_then(|key| key.revoked)
                .map(|at| at + terms.revocation_s * SECOND);
            let last = retired.into_iter().chain(revoked).min();
            if last.is_some_and(|last| request.sent > last) {
                seen.push(described(request, token));
            }
        }
        seen
    }

    /// INV-3: nothing is accepted that was forged with an `iat` more than S after the key's `sign_until`.
    fn forged_tokens_accepted(&self) -> Vec<Seen> {
        let skew_s = self.evidence.terms.skew_s;
        let is_late = |token: &Token, key: Option<&Key>| {
            let sign_until = key.and_then(|key| key.sign_until_s);
            sign_until.is_some_and(|last| token.issued_at_s > last + skew_s)
        };
        self.requests()
            .filter(is_accepted)
            .filter(|(_, token, key)| token.origin == Origin::Forged && is_late(token, *key))
            .map(|(request, token, _)| described(request, token))
            .collect()
    }

    /// INV-4: every snapshot has one active key in each ring, and where one key ends the next begins.
    fn not_one_active_key(&self) -> Vec<Seen> {
        let snapshots = self
            .evidence
            .snapshots
            .iter()
            .filter(|snapshot| snapshot.active != 1);
        let mut seen: Vec<Seen> = snapshots
            .map(|snapshot| {
                let Snapshot { ring, active, at } = snapshot;
                (None, format!("{active} active keys in ring {ring} at {at}"))
            })
            .collect();
        let mut rings: BTreeMap<&str, Vec<&Key>> = BTreeMap::new();
        for key in self.terms().filter(|key| key.activated.is_some()) {
            rings.entry(&key.ring).or_default().push(key);
        }
        for (ring, mut keys) in rings {
            keys.sort_by_key(|key| key.activated);
            for (key, next) in keys.iter().zip(keys.iter().skip(1)) {
                if signing_end(key) != next.activated {
                    let gap = format!(
                        "in ring {ring} {} does not end where {} begins",
                        key.kid, next.kid
                    );
                    seen.push((None, gap));
                }
            }
            if keys.last().is_some_and(|last| signing_end(last).is_some()) {
                seen.push((None, format!("in ring {ring} the last key has ended")));
            }
        }
        seen
    }

    /// INV-4: every issued token is signed by a key that was active within N of its `iat`.
    fn signed_by_others(&self) -> Vec<Seen> {
        let overlap = self.evidence.terms.overlap_s * SECOND;
        let mut seen = Vec::new();
        for token in self
            .evidence
            .tokens
            .iter()
            .filter(|token| token.origin == Origin::Issued)
        {
            let (from, to) = (
                token.issued_at_s * SECOND - overlap,
                (token.issued_at_s + 1) * SECOND + overlap,
            );
            let was_active = self.terms().filter(|key| key.kid == token.kid).any(|key| {
                let begins = key.activated.is_some_and(|activated| activated <= to);
                begins && signing_end(key).is_none_or(|end| from <= end)
            });
            if !was_active {
                let (kid, at) = (&token.kid, token.issued_at_s);
                seen.push((None, format!("{kid} signed at {at} and was not active")));
            }
        }
        seen
    }

    /// INV-5: at each activation every gateway held a key set with the key. A gateway that held none at all verified nothing, nor
    /// did one that was dead: that one held the key before its first answer.
    fn activated_unseen(&self) -> Vec<Seen> {
        let mut gateways: Vec<usize> = self.evidence.held.iter().map(|held| held.gateway).collect();
        gateways.sort_unstable();
        gateways.dedup();
        let mut seen = Vec::new();
        for key in self.terms().filter(|key| key.ring == ACCESS) {
            let Some(activated) = key.activated else { continue };
            for gateway in &gateways {
                if let Some(when) = self.did_not_hold(*gateway, key, activated) {
                    let unseen = format!("gateway {gateway} did not hold {} {when}", key.kid);
                    seen.push((Some(*gateway), unseen));
                }
            }
        }
        seen
    }

    /// When a gateway should have held a key that was activated at this moment, and did not.
    fn did_not_hold(&self, gateway: usize, key: &Key, activated: Micros) -> Option<&'static str> {
        let mut absences = self
            .absences
            .iter()
            .filter(|(absence, _)| absence.gateway == gateway);
        // What one process held, the next one does not.
        let begun = absences.clone().map(|(absence, _)| absence.to);
        let begun = begun.filter(|to| *to <= activated).max().unwrap_or_default();
        let away = absences.find(|(absence, first)| (absence.from..*first).contains(&activated));
        let (from, until) = away.map_or((begun, activated), |(absence, first)| (absence.to, *first));
        let held = self.evidence.held.iter().filter(|held| held.gateway == gateway);
        let held: Vec<i64> = held
            .filter(|held| (from..until).contains(&held.at))
            .map(|held| held.seq)
            .collect();
        let is_silent = until == Micros::MAX || (away.is_none() && held.is_empty());
        let knew = held
            .iter()
            .any(|seq| key.published_seq.is_some_and(|published| *seq >= published));
        match (is_silent || knew, away) {
            (true, _) => None,
            (false, None) => Some("when it was activated"),
            (false, Some(_)) => Some("when it came back and answered"),
        }
    }

    /// INV-6: a dump gives away no key that has stopped signing longer ago than the rollback window; it does give away the
    /// active one, or nobody has looked. Whoever has no key-encryption key does not look.
    fn private_parts_left(&self) -> Vec<Seen> {
        let Some(dump) = &self.evidence.dump else {
            return Vec::new();
        };
        let window = (self.evidence.terms.rollback_s + DESTRUCTION_S) * SECOND;
        let mut seen = Vec::new();
        let mut found_active = false;
        for kid in &dump.opened {
            let Some(key) = self.keys.get(kid.as_str()) else {
                seen.push((None, format!("{kid} can be opened and is no key")));
                continue;
            };
            found_active |= key.activated.is_some() && signing_end(key).is_none();
            let must_be_gone = key.revoked.is_some_and(|at| at <= dump.at)
                || key.retiring.is_some_and(|at| at + window < dump.at);
            if must_be_gone {
                seen.push((None, format!("{kid} can be opened from a dump")));
            }
        }
        if !found_active {
            seen.push((
                None,
                "the search of the dump did not even find the active key".to_owned(),
            ));
        }
        seen
    }
}

/// When the first answer came of a gateway that was started again.
fn first_answer(evidence: &Evidence, absence: &Absence) -> Micros {
    let answered = evidence.requests.iter().filter(|request| {
        request.gateway == absence.gateway && request.sent >= absence.to && request.status != 0
    });
    answered
        .map(|request| request.received)
        .min()
        .unwrap_or(Micros::MAX)
}

/// When a key stopped signing.
fn signing_end(key: &Key) -> Option<Micros> {
    key.retiring.into_iter().chain(key.revoked).min()
}

fn is_accepted((request, ..): &(&Request, &Token, Option<&Key>)) -> bool {
    (200..300).contains(&request.status)
}

fn described(request: &Request, token: &Token) -> Seen {
    let Request {
        gateway,
        status,
        code,
        sent,
        received,
        target,
        ..
    } = request;
    let Token {
        kid,
        issued_at_s,
        expires_at_s,
        hash,
        ..
    } = token;
    let hash: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let seen = format!(
        "gateway {gateway} ({target:?}) answered {status} {code} to token {hash} of {kid}, iat {issued_at_s}, exp {expires_at_s}, sent {sent}, received {received}"
    );
    (Some(*gateway), seen)
}

#[cfg(test)]
mod tests;
