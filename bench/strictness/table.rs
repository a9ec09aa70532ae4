//! What each server makes of each case, counted.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use strictness::desync::{self, Tier};
use strictness::http1::{Case, Expected, cases};
use strictness::{Patience, Recorded, http2};

use crate::candidate::Candidate;

/// No server is as patient as that with a request that does not end.
const DEADLINE: Duration = Duration::from_secs(4);

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Refused,
    /// Passed on in one framing.
    PassedOn,
    /// Passed on, and what the upstream got can be read in two ways.
    Ambiguous,
}

fn fate(recorded: &Recorded) -> Fate {
    if !recorded.faults.is_empty() {
        return Fate::Ambiguous;
    }
    let is_hidden = |target: &str| target.ends_with("/hidden");
    if recorded.messages.iter().all(|message| is_hidden(&message.target)) {
        Fate::Refused
    } else {
        Fate::PassedOn
    }
}

/// Whether a legal request arrived as it was sent.
fn has_arrived(recorded: &Recorded, case: &Case) -> bool {
    let Expected::Passed(arrivals) = &case.expected else {
        return false;
    };
    recorded.faults.is_empty()
        && recorded.messages.len() == arrivals.len()
        && recorded.messages.iter().zip(arrivals).all(|(message, arrival)| {
            message.method == arrival.method
                && message.target == arrival.target
                && message.body == arrival.body
        })
}

/// Counts of one server for one rule: malformed and refused, passed on, ambiguous; legal and refused on purpose; legal and
/// arrived.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    malformed: [u32; 3],
    strict: [u32; 3],
    legal: [u32; 2],
}

impl Counts {
    fn cells(&self) -> String {
        let [refused, passed_on, ambiguous] = self.malformed;
        let [strict, passed, more] = self.strict;
        let [arrived, lost] = self.legal;
        let strict_passed = passed.saturating_add(more);
        format!(" {refused} / {passed_on} / {ambiguous} | {strict} / {strict_passed} | {arrived} / {lost} |")
    }

    fn add(&mut self, other: &Self) {
        let add =
            |sum: &mut [u32], more: &[u32]| sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        add(&mut self.malformed, &other.malformed);
        add(&mut self.strict, &other.strict);
        add(&mut self.legal, &other.legal);
    }
}

/// HTTP/1.1.
pub(crate) async fn requests(candidates: &[Candidate], details: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    for candidate in candidates {
        let server = candidate.server(b"http/1.1")?;
        let mut rules: BTreeMap<&str, Counts> = BTreeMap::new();
        let mut total = Counts::default();
        for case in cases() {
            let patience = Patience {
                answers: match &case.expected {
                    Expected::Passed(arrivals) => arrivals.len(),
                    Expected::Refused(_) | Expected::Stricter(_) => 1,
                },
                linger: Duration::from_millis(100),
                deadline: DEADLINE,
            };
            candidate.upstream.take();
            let answers = server.send(&case.bytes, patience).await?;
            let recorded = candidate.upstream.take();
            let mut counts = Counts::default();
            let (place, is_right) = match &case.expected {
                Expected::Refused(_) => (
                    counts.malformed.get_mut(fate(&recorded) as usize),
                    fate(&recorded) == Fate::Refused,
                ),
                Expected::Stricter(_) => (counts.strict.get_mut(fate(&recorded) as usize), true),
                Expected::Passed(_) => {
                    let arrived = has_arrived(&recorded, &case);
                    (counts.legal.get_mut(usize::from(!arrived)), arrived)
                }
            };
            if let Some(place) = place {
                *place += 1;
            }
            if details && !is_right {
                writeln!(
                    out,
                    "{} {} {}: {:?}, {:?}",
                    candidate.name,
                    case.rule,
                    case.name,
                    answers.statuses,
                    fate(&recorded)
                )?;
            }
            rules.entry(case.rule).or_default().add(&counts);
            total.add(&counts);
        }
        writeln!(
            out,
            "\n| {} | malformed: refused / passed on / passed on ambiguous | legal, refused by Portico on purpose: refused / passed on | legal: arrived / not |",
            candidate.name
        )?;
        writeln!(out, "| --- | --- | --- | --- |")?;
        for (rule, counts) in &rules {
            writeln!(out, "| {rule} |{}", counts.cells())?;
        }
        writeln!(out, "| all |{}", total.cells())?;
    }
    Ok(())
}

/// The corpus of HTTP Desync Guardian.
pub(crate) async fn corpus(candidates: &[Candidate], details: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(
        out,
        "\n| HTTP Desync Guardian: refused / passed on / passed on ambiguous | compliant | acceptable | ambiguous | severe |"
    )?;
    writeln!(out, "| --- | --- | --- | --- | --- |")?;
    for candidate in candidates {
        let server = candidate.server(b"http/1.1")?;
        let mut tiers: BTreeMap<Tier, [u32; 3]> = BTreeMap::new();
        for entry in desync::corpus()? {
            let patience = Patience {
                answers: 1,
                linger: Duration::from_millis(100),
                deadline: DEADLINE,
            };
            candidate.upstream.take();
            let answers = server.send(&entry.bytes, patience).await?;
            // A path or a method that no route has was read, and is not refused for how it was written.
            let is_read = matches!(answers.statuses.first(), Some(404 | 405));
            let fate = fate(&candidate.upstream.take());
            let fate = if is_read { Fate::PassedOn } else { fate };
            if let Some(count) = tiers.entry(entry.tier).or_default().get_mut(fate as usize) {
                *count += 1;
            }
            if details && entry.tier.is_dangerous() && fate != Fate::Refused {
                writeln!(
                    out,
                    "{} {:?} {}: {:?}, {fate:?}",
                    candidate.name, entry.tier, entry.name, answers.statuses
                )?;
            }
        }
        let cells: String = tiers
            .values()
            .map(|[refused, passed_on, ambiguous]| format!(" {refused} / {passed_on} / {ambiguous} |"))
            .collect();
        writeln!(out, "| {} |{cells}", candidate.name)?;
    }
    Ok(())
}

/// HTTP/2.
pub(crate) async fn frames(candidates: &[Candidate], details: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "\n| RFC 9113 | kept | not kept |\n| --- | --- | --- |")?;
    for candidate in candidates {
        let server = candidate.server(b"h2")?;
        let (mut kept, mut missed) = (0_u32, Vec::new());
        for case in http2::cases() {
            let ending = server.converse(&case, DEADLINE).await?;
            if case.expected.is_met_by(&ending) {
                kept += 1;
            } else {
                if details {
                    writeln!(
                        out,
                        "{} {} {}: {:?} {:?} {:?}",
                        candidate.name, case.section, case.name, ending.goaway, ending.reset, ending.status
                    )?;
                }
                missed.push(case.section);
            }
        }
        writeln!(
            out,
            "| {} | {kept} | {}: {} |",
            candidate.name,
            missed.len(),
            missed.join(", ")
        )?;
    }
    Ok(())
}
