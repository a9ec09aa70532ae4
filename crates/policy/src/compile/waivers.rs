//! Waivers: which findings they take back, and which take back none.

use super::Compiler;
use crate::{
    diagnostic::{Place, code},
    document::Document,
    language,
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

    /// A waiver of the audit at a place that there is not. The audit tells of one that waives nothing at its place.
    pub(super) fn misplaced_waivers(&mut self) {
        for named in &self.document.waivers {
            let Some(written) = named.value.as_ref().filter(|written| !written.is_of_compiler()) else {
                continue;
            };
            let key = &written.key;
            let mut parts = key.value.split('.');
            let (section, name) = (parts.next().unwrap_or_default(), parts.next());
            let names = self.document.names_of(section);
            let fix = match (names, name) {
                (None, _) if language::BASE.iter().any(|known| known.name == section) => continue,
                (None, _) if section == "rates" => continue,
                (None, _) => {
                    let sections = language::BASE.iter().map(|known| known.name);
                    self.findings.suggest(section, sections)
                }
                (Some(_), None) => continue,
                (Some(names), Some(name)) if names.iter().any(|known| known.eq_ignore_ascii_case(name)) => {
                    continue;
                }
                (Some(names), Some(name)) => self.findings.suggest(name, names.into_iter()),
            };
            if self.document.is_partial {
                continue;
            }
            self.findings
                .error(
                    code::WAIVES_NOTHING,
                    key.at,
                    format!("`{}` waives nothing: there is no `{}`", named.name, key.value),
                )
                .why("it would wave through, unseen, whatever is written there later")
                .fix(fix);
        }
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
