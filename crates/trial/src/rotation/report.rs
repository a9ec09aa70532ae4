//! What a run came to: counts, violations, and the targets T-K1 to T-K6, T-X3 and T-X4.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::evidence::{Evidence, LogIn, Micros, Origin, Request, SECOND, Target};
use super::judge::{Invariant, Violation, judge};
use super::storm::Storm;

/// A time from one moment to another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// Its first moment.
    pub from: Micros,
    /// Its last one.
    pub to: Micros,
}

/// A time in which something went on because of which no request may fail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spell {
    /// The row of the targets.
    pub row: &'static str,
    /// When it was.
    pub span: Span,
    /// Requests and log-ins that were sent meanwhile.
    pub requests: usize,
    /// Log-ins among them.
    pub log_ins: usize,
    /// Those that were answered with 5xx, or not at all.
    pub failed: usize,
}

impl Spell {
    fn counted(self, issued: &[&Request], log_ins: &[LogIn]) -> Self {
        let span = self.span.from..self.span.to;
        let requests = issued.iter().map(|request| (request.sent, request.status));
        let of_log_ins = log_ins.iter().map(|log_in| (log_in.sent, log_in.status));
        let within = |(sent, status): (Micros, u16)| span.contains(&sent).then_some(status);
        let log_ins = of_log_ins.clone().filter_map(within).count();
        let all: Vec<u16> = requests.chain(of_log_ins).filter_map(within).collect();
        let failed = all.iter().filter(|status| **status == 0 || **status >= 500);
        Self {
            requests: all.len(),
            log_ins,
            failed: failed.count(),
            ..self
        }
    }

    fn fault(&self) -> Option<String> {
        let Self {
            row,
            requests,
            log_ins,
            failed,
            ..
        } = self;
        if *log_ins == 0 || *log_ins == *requests {
            return Some(format!("{row}: nobody came"));
        }
        (*failed > 0).then(|| format!("{row}: {failed} of {requests} requests failed"))
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    /// What did not hold.
    pub violations: Vec<Violation>,
    /// How often the ring turned.
    pub rotations: usize,
    /// How often a control plane was killed in the middle.
    pub crashes: usize,
    /// How often a gateway was killed at a step of one, and came back.
    pub gateway_deaths: usize,
    /// How many keys were called back, and signed again.
    pub called_back: usize,
    /// Requests with tokens that issuers had made.
    pub requests: usize,
    /// Of these, how often each status came; 0 for no answer.
    pub statuses: BTreeMap<u16, usize>,
    /// Of these, how many were accepted although another key signed already.
    pub with_older_keys: usize,
    /// Requests with forged tokens: accepted, as nobody can tell yet, and refused.
    pub forged: (usize, usize),
    /// Requests with tokens of keys that had retired, and of keys that were revoked, sent when none may be accepted any more.
    pub past_the_bound: (usize, usize),
    /// Tokens that were issued.
    pub tokens: usize,
    /// Log-ins by status; 0 for no answer.
    pub log_ins: BTreeMap<u16, usize>,
    /// Looks at the rings from outside.
    pub snapshots: usize,
    /// Private keys that a dump gave to who has the key-encryption key.
    pub opened: usize,
    /// Whether the database refused other material under a name that was taken.
    pub kid_reuse_refused: bool,
    /// From each revocation until the last token of the key was sent that a gateway still accepted, for each gateway.
    pub revocations: Vec<Micros>,
    /// Tokens of keys that nobody knows.
    pub storms: Vec<Storm>,
    /// What may fail no request.
    pub spells: Vec<Spell>,
    /// Whether somebody had the key-encryption key, to forge tokens and to search the dump.
    is_searched: bool,
    /// p99 of verifications at gateways, in microseconds: without rotations, and with them and no fault.
    pub p99: (Micros, Micros),
}

impl Report {
    pub(super) fn new(
        evidence: &Evidence,
        crashes: usize,
        kid_reuse_refused: bool,
        storms: Vec<Storm>,
        spells: Vec<Spell>,
        (quiet, rotating): (Span, Span),
    ) -> Self {
        let is_forged = |request: &&Request| {
            let token = evidence.tokens.get(request.token);
            token.is_some_and(|token| token.origin == Origin::Forged)
        };
        let (forged, issued): (Vec<&Request>, Vec<&Request>) = evidence.requests.iter().partition(is_forged);
        let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
        for request in &issued {
            *statuses.entry(request.status).or_default() += 1;
        }
        let mut of_log_ins: BTreeMap<u16, usize> = BTreeMap::new();
        for log_in in &evidence.log_ins {
            *of_log_ins.entry(log_in.status).or_default() += 1;
        }
        let accepted =
            |requests: &[&Request]| requests.iter().filter(|request| request.status == 200).count();
        let refused = forged.iter().filter(|request| request.status == 401).count();
        let is_access = |ring: &str| ring == "access";
        let signed = evidence.keys.iter().chain(&evidence.called_back);
        let activated = signed.filter(|key| is_access(&key.ring) && key.activated.is_some());
        Self {
            violations: judge(evidence),
            // The first key was active before anything turned.
            rotations: activated.count().saturating_sub(1),
            crashes,
            gateway_deaths: evidence.absences.len(),
            called_back: evidence.called_back.len(),
            requests: issued.len(),
            with_older_keys: with_older_keys(evidence, &issued),
            forged: (accepted(&forged), refused),
            past_the_bound: past_the_bound(evidence),
            tokens: evidence
                .tokens
                .iter()
                .filter(|token| token.origin == Origin::Issued)
                .count(),
            log_ins: of_log_ins,
            snapshots: evidence.snapshots.len(),
            opened: evidence.dump.as_ref().map_or(0, |dump| dump.opened.len()),
            is_searched: evidence.dump.is_some(),
            kid_reuse_refused,
            revocations: revocations(evidence),
            storms,
            spells: spells
                .into_iter()
                .map(|spell| spell.counted(&issued, &evidence.log_ins))
                .collect(),
            p99: (p99(&issued, quiet), p99(&issued, rotating)),
            statuses,
        }
    }

    /// The invariants that did not hold.
    #[must_use]
    pub fn broken(&self) -> BTreeSet<Invariant> {
        self.violations
            .iter()
            .map(|violation| violation.invariant)
            .collect()
    }

    /// The invariants that did not hold at one gateway.
    #[must_use]
    pub fn broken_at(&self, gateway: usize) -> BTreeSet<Invariant> {
        let here = self
            .violations
            .iter()
            .filter(|violation| violation.gateway == Some(gateway));
        here.map(|violation| violation.invariant).collect()
    }

    /// What is wrong with a run that must be good: violations, and what it did not try.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self.violations.iter().map(ToString::to_string).collect();
        for (is_missing, fault) in [
            (!self.statuses.contains_key(&200), "no token was accepted"),
            (
                self.with_older_keys == 0 && self.rotations > 0,
                "no token outlived the activity of its key",
            ),
            (
                self.forged.0 == 0 && self.is_searched,
                "no forged token looked real while its key verified",
            ),
            (
                self.forged.1 == 0 && self.is_searched,
                "no forged token was refused",
            ),
            (
                self.past_the_bound.0 == 0 && self.is_searched,
                "no retired key was tried after its bound",
            ),
            (
                self.past_the_bound.1 == 0 && !self.revocations.is_empty(),
                "no revoked key was tried after its bound",
            ),
            (
                !self.kid_reuse_refused,
                "the database took other material under a kid that was taken",
            ),
        ] {
            if is_missing {
                faults.push(fault.to_owned());
            }
        }
        faults.extend(self.log_ins.iter().filter_map(log_in_fault));
        faults.extend(self.spells.iter().filter_map(Spell::fault));
        faults.extend(self.storms.iter().flat_map(Storm::faults));
        faults
    }
}

/// A log-in may be asked to come again, and a gateway that is dead answers nothing. No other answer is one.
fn log_in_fault((status, count): (&u16, &usize)) -> Option<String> {
    (!matches!(status, 0 | 200 | 503)).then(|| format!("{count} log-ins were answered {status}"))
}

/// Accepted requests whose token a key had signed that was not the active one any more.
fn with_older_keys(evidence: &Evidence, issued: &[&Request]) -> usize {
    let retiring: BTreeMap<&str, Micros> = evidence
        .keys
        .iter()
        .filter_map(|key| Some((key.kid.as_str(), key.retiring?)))
        .collect();
    let is_older = |request: &&&Request| {
        let token = evidence.tokens.get(request.token);
        let end = token.and_then(|token| retiring.get(token.kid.as_str()));
        request.status == 200 && end.is_some_and(|end| request.sent > *end)
    };
    issued.iter().filter(is_older).count()
}

/// Requests after the bound of INV-2: with retired keys, and with revoked ones.
fn past_the_bound(evidence: &Evidence) -> (usize, usize) {
    let terms = &evidence.terms;
    let sent_after = |bounds: BTreeMap<&str, Micros>| {
        let is_after = |request: &&Request| {
            let token = evidence.tokens.get(request.token);
            let bound = token.and_then(|token| bounds.get(token.kid.as_str()));
            bound.is_some_and(|bound| request.sent > *bound)
        };
        evidence.requests.iter().filter(is_after).count()
    };
    let retired = evidence.keys.iter().filter_map(|key| {
        let bound = (key.verify_until_s? + 2 * terms.skew_s) * SECOND;
        Some((key.kid.as_str(), bound))
    });
    let revoked = evidence.keys.iter().filter_map(|key| {
        let bound = key.revoked? + terms.revocation_s * SECOND;
        Some((key.kid.as_str(), bound))
    });
    (sent_after(retired.collect()), sent_after(revoked.collect()))
}

fn revocations(evidence: &Evidence) -> Vec<Micros> {
    let gateways: BTreeSet<usize> = evidence.held.iter().map(|held| held.gateway).collect();
    let mut latencies = Vec::new();
    for key in &evidence.keys {
        let Some(revoked) = key.revoked else { continue };
        for gateway in &gateways {
            let is_of_key = |request: &&Request| {
                let token = evidence.tokens.get(request.token);
                request.gateway == *gateway && token.is_some_and(|token| token.kid == key.kid)
            };
            let accepted = evidence.requests.iter().filter(is_of_key);
            let last = accepted
                .filter(|request| request.status == 200)
                .map(|request| request.sent)
                .max();
            latencies.push(last.map_or(0, |last| (last - revoked).max(0)));
        }
    }
    latencies
}

fn p99(issued: &[&Request], span: Span) -> Micros {
    let within = issued.iter().filter(|request| {
        request.target == Target::Gateway
            && (span.from..span.to).contains(&request.sent)
            && request.status == 200
    });
    let mut latencies: Vec<Micros> = within.map(|request| request.received - request.sent).collect();
    latencies.sort_unstable();
    let rank = (latencies.len() * 99).div_ceil(100);
    latencies.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn list(counts: &BTreeMap<u16, usize>) -> String {
    let counts = counts.iter().map(|(status, count)| match status {
        0 => format!("{count} without an answer"),
        status => format!("{count} × {status}"),
    });
    counts.collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | count |\n| --- | --- |")?;
        writeln!(f, "| rotations, revocations among them | {} |", self.rotations)?;
        writeln!(
            f,
            "| control planes killed in the middle of one | {} |",
            self.crashes
        )?;
        writeln!(
            f,
            "| gateways killed at a step of one, and started again | {} |",
            self.gateway_deaths
        )?;
        writeln!(f, "| keys called back, which sign again | {} |", self.called_back)?;
        writeln!(f, "| tokens issued | {} |", self.tokens)?;
        writeln!(f, "| log-ins | {} |", list(&self.log_ins))?;
        writeln!(f, "| requests with issued tokens | {} |", self.requests)?;
        writeln!(f, "| their answers | {} |", list(&self.statuses))?;
        writeln!(
            f,
            "| accepted while a newer key signed | {} |",
            self.with_older_keys
        )?;
        let (accepted, refused) = self.forged;
        writeln!(
            f,
            "| forged tokens while their key verified, accepted | {accepted} |"
        )?;
        writeln!(f, "| forged tokens refused | {refused} |")?;
        let (retired, revoked) = self.past_the_bound;
        writeln!(f, "| requests after the bound of a retired key | {retired} |")?;
        writeln!(f, "| requests after the bound of a revoked key | {revoked} |")?;
        writeln!(f, "| looks at the rings | {} |", self.snapshots)?;
        writeln!(
            f,
            "| private keys in the last dump that opened | {} |",
            self.opened
        )?;
        for spell in &self.spells {
            let ms = (spell.span.to - spell.span.from) / 1_000;
            writeln!(
                f,
                "| {}, {ms} ms: requests, log-ins among them, and those that failed | {}, {}, {} |",
                spell.row, spell.requests, spell.log_ins, spell.failed
            )?;
        }
        for storm in &self.storms {
            writeln!(
                f,
                "| tokens of keys that nobody knows, in {} ms, and their answers; asked for keys because of them: another issuer, the control plane | {}: {}; {}, {} |",
                storm.lasted.as_millis(),
                storm.tokens(),
                list(&storm.answers),
                storm.asked_issuer,
                storm.asked_control_plane
            )?;
        }
        for invariant in Invariant::ALL {
            let found = self
                .violations
                .iter()
                .filter(|violation| violation.invariant == invariant);
            writeln!(f, "| violations of {invariant} | {} |", found.count())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spell(requests: &[(Micros, u16)], log_ins: &[(Micros, u16)]) -> Option<String> {
        let request = |&(sent, status): &(Micros, u16)| Request {
            token: 0,
            gateway: 0,
            target: Target::Core,
            sent,
            received: sent,
            status,
            code: "",
        };
        let requests: Vec<Request> = requests.iter().map(request).collect();
        let log_ins: Vec<LogIn> = log_ins
            .iter()
            .map(|&(sent, status)| LogIn { sent, status })
            .collect();
        let spell = Spell {
            row: "T-X3",
            span: Span { from: 10, to: 20 },
            ..Spell::default()
        };
        spell
            .counted(&requests.iter().collect::<Vec<_>>(), &log_ins)
            .fault()
    }

    #[test]
    fn a_log_in_is_done_or_asked_to_come_again() {
        for (status, is_good) in [
            (200, true),
            (503, true),
            (0, true),
            (401, false),
            (500, false),
            (502, false),
        ] {
            assert_eq!(log_in_fault((&status, &1)).is_none(), is_good, "{status}");
        }
    }

    #[test]
    fn what_fails_in_a_spell_is_a_fault_and_so_is_a_spell_to_which_nobody_came() {
        let good = [(10, 200), (19, 401)];
        assert_eq!(spell(&good, &[(12, 200)]), None);
        let outside = [(9, 503), (10, 200), (20, 0)];
        assert_eq!(spell(&outside, &[(12, 200)]), None);
        for (requests, log_ins) in [
            ([(11, 503), (12, 200)], [(12, 200)]),
            ([(11, 0), (12, 200)], [(12, 200)]),
            ([(11, 200), (12, 200)], [(12, 500)]),
        ] {
            let fault = spell(&requests, &log_ins).unwrap();
            assert_eq!(fault, "T-X3: 1 of 3 requests failed");
        }
        for (requests, log_ins) in [([(9, 200)], [(12, 200)]), ([(12, 200)], [(9, 200)])] {
            assert_eq!(spell(&requests, &log_ins).unwrap(), "T-X3: nobody came");
        }
    }
}
