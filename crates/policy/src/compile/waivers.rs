//! Waivers: which findings they take back, and which take back none.

use super::Compiler;
use crate::{
    diagnostic::{Place, code},
    document::Document,
    plan::Waiver,
};
use std::collections::HashSet;

/// Whether a waiver takes this finding back; remembers that it did.
pub(super) fn covers<'d>(
    document: &'d Document,
    used: &mut HashSet<(&'static str, &'d str)>,
    code: &str,
    key: &str,
) -> bool {
    let waiver = document.waivers.iter().find(|named| {
        let written = named.value.as_ref();
        written.is_some_and(|written| written.rule.value == code && written.key.value == key)
    });
    if let Some(waiver) = waiver {
        used.insert(("waivers", &waiver.name));
    }
    waiver.is_some()
}

impl Compiler<'_> {
    /// The waivers as the plan holds them, by name.
    pub(super) fn waivers(&self) -> Vec<Waiver> {
        let mut waivers: Vec<Waiver> = self
            .document
            .waivers
            .iter()
            .filter_map(|named| {
                let written = named.value.as_ref()?;
                Some(Waiver {
                    name: named.name.clone(),
                    code: written.rule.value.clone(),
                    key: written.key.value.clone(),
                    because: written.because.value.clone(),
                    until: written.until.value,
                    rule: self.rule(named.at, &named.path),
                    until_at: Place::of(written.until.at, self.files),
                })
            })
            .collect();
        waivers.sort_by(|a, b| a.name.cmp(&b.name));
        waivers
    }

    /// Told only when nothing else is wrong: the audit says the same about waivers of its own rules.
    pub(super) fn unused_waivers(&mut self) {
        if self.findings.len() > 0 {
            return;
        }
        for named in &self.document.waivers {
            let Some(written) = named.value.as_ref().filter(|written| written.is_of_compiler()) else {
                continue;
            };
            if !self.used.contains(&("waivers", named.name.as_str())) {
                let (code, key) = (&written.rule.value, &written.key.value);
                self.findings
                    .error(
                        code::WAIVES_NOTHING,
                        written.key.at,
                        format!("`{}` waives nothing: there is no {code} at `{key}`", named.name),
                    )
                    .why("it would wave through, unseen, whatever is written there later")
                    .fix("remove it, or write the key as the finding names it");
            }
        }
    }
}
