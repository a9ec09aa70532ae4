//! `lockout`: when guesses at passwords are refused. The core carries it out; nothing of it is decided by the gateway's plan.

use crate::{
    diagnostic::{Findings, Span, code},
    language,
    read::{At, Field, Mapping},
};
use lockout::{AddressRules, DeviceRules, NameRules, PairRules, Rules, TotalRules};
use std::{ops::RangeInclusive, time::Duration};

const LONGEST_STEP: Duration = Duration::from_hours(24 * 30);
const ANY_TIME: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24 * 400);

/// The section as written.
#[derive(Debug, Clone)]
pub(crate) struct LockoutDocument {
    pub(crate) rules: Rules,
}

/// What an overlay says of addresses.
#[derive(Debug, Clone)]
pub(crate) struct LockoutOverlay {
    pub(crate) failures: At<u32>,
    pub(crate) names: At<u32>,
}

impl LockoutDocument {
    /// Reads the section.
    pub(crate) fn read(field: &Field<'_>, findings: &mut Findings) -> Option<Self> {
        let lockout = Mapping::open(field, language::LOCKOUT, findings)?;
        let part = |key: &str, keys, findings: &mut Findings| {
            let field = lockout.key(key, findings)?;
            Mapping::open(&field, keys, findings)
        };
        let name = part("name", language::LOCKOUT_NAME, findings);
        let pair = part("name_and_address", language::LOCKOUT_PAIR, findings);
        let device = part("device", language::LOCKOUT_DEVICE, findings);
        let total = part("total", language::LOCKOUT_TOTAL, findings);
        let address = part("address", language::LOCKOUT_ADDRESS, findings);
        let name = name.and_then(|of| {
            let (after, decay_s) = (number(&of, "after", findings), seconds(&of, "decay", findings));
            let steps_s = steps(&of, "steps", findings);
            Some(NameRules {
                after: after?,
                steps_s: steps_s?,
                decay_s: decay_s?,
            })
        });
        let pair = pair.and_then(|of| {
            let (failures, per_s) = (number(&of, "failures", findings), seconds(&of, "per", findings));
            Some(PairRules {
                failures: failures?,
                per_s: per_s?,
            })
        });
        let device = device.and_then(|of| {
            let (after, most) = (number(&of, "after", findings), number(&of, "most", findings));
            let trusted_for_s = seconds(&of, "trusted_for", findings);
            Some(DeviceRules {
                after: after?,
                trusted_for_s: trusted_for_s?,
                most: most?,
            })
        });
        let total = total.and_then(|of| {
            let (untrusted, trusted) = (
                number(&of, "untrusted", findings),
                number(&of, "trusted", findings),
            );
            Some(TotalRules {
                untrusted: untrusted?,
                trusted: trusted?,
            })
        });
        let address = address.and_then(|of| {
            let (failures, names) = (number(&of, "failures", findings), number(&of, "names", findings));
            let (per_s, block_s) = (seconds(&of, "per", findings), steps(&of, "block", findings));
            Some(AddressRules {
                failures: failures?,
                names: names?,
                per_s: per_s?,
                block_s: block_s?,
            })
        });
        let rules = Rules {
            name: name?,
            pair: pair?,
            device: device?,
            total: total?,
            address: address?,
        };
        refuse_nonsense(field, &rules, findings)?;
        Some(Self { rules })
    }
}

impl LockoutOverlay {
    /// Reads the section of an overlay.
    pub(crate) fn read(field: &Field<'_>, findings: &mut Findings) -> Option<Self> {
        let lockout = Mapping::open(field, language::OVERLAY_LOCKOUT, findings)?;
        let because = lockout
            .key("because", findings)
            .and_then(|field| field.reason(findings));
        let address = lockout
            .key("address", findings)
            .and_then(|field| Mapping::open(&field, language::OVERLAY_LOCKOUT_ADDRESS, findings))?;
        let (failures, names) = (
            number_at(&address, "failures", findings),
            number_at(&address, "names", findings),
        );
        because?;
        Some(Self {
            failures: failures?,
            names: names?,
        })
    }
}

/// What the numbers come to together, and what each may be: the crate that counts knows it.
fn refuse_nonsense(field: &Field<'_>, rules: &Rules, findings: &mut Findings) -> Option<()> {
    let faults = rules.faults();
    for fault in &faults {
        let key = fault.key.replace("pair.", "name_and_address.");
        let at = place(field, &key).unwrap_or(field.key_at);
        findings
            .error(
                code::NO_LOCKOUT,
                at,
                format!("{}.{key} {}", field.path, fault.what),
            )
            .why("guesses would not be stopped as the policy reads")
            .fix("write a number that keeps to it; the language reference shows those that Portico ships");
    }
    faults.is_empty().then_some(())
}

/// Where a value below a field stands.
fn place(field: &Field<'_>, key: &str) -> Option<Span> {
    let mut node = field.node;
    for part in key.split('.') {
        let crate::yaml::Value::Map(entries) = &node.value else {
            return None;
        };
        node = &entries.iter().find(|entry| entry.key == part)?.value;
    }
    Some(node.at)
}

fn number(of: &Mapping<'_>, key: &str, findings: &mut Findings) -> Option<u32> {
    number_at(of, key, findings).map(|number| number.value)
}

fn number_at(of: &Mapping<'_>, key: &str, findings: &mut Findings) -> Option<At<u32>> {
    let field = of.key(key, findings)?;
    let number = field.number(1..=language::MOST_FAILURES, findings)?;
    Some(At {
        value: u32::try_from(number.value).ok()?,
        at: number.at,
    })
}

fn seconds(of: &Mapping<'_>, key: &str, findings: &mut Findings) -> Option<u32> {
    let field = of.key(key, findings)?;
    whole(field.seconds(ANY_TIME, findings)?.value)
}

fn steps(of: &Mapping<'_>, key: &str, findings: &mut Findings) -> Option<Vec<u32>> {
    let field = of.key(key, findings)?;
    let steps = field.list(findings, |item, findings| {
        item.seconds(Duration::from_secs(1)..=LONGEST_STEP, findings)
    })?;
    steps.iter().map(|step| whole(step.value)).collect()
}

fn whole(time: Duration) -> Option<u32> {
    u32::try_from(time.as_secs()).ok()
}
