//! `policies` of `control-plane.yaml`: what a bundle must be to go out, and how it does.

use std::path::{Path, PathBuf};

use fleet::{Approver, Rules};
use policy::audit::AuditSeverity;
use policy::diff::Risk;
use serde::{Deserialize, Deserializer, de};
use service_runtime::settings::Environment;

/// Shortest and longest validity of a stated policy, seconds: an hour to 31 days.
const VALIDITY_S: std::ops::RangeInclusive<u32> = 3_600..=31 * 24 * 3_600;
/// Longest time to watch a phase in production, seconds: a day.
const LONGEST_BAKE_S: u32 = 24 * 3_600;
/// Shortest time to watch a phase in production, seconds.
const SHORTEST_BAKE_S: u32 = 60;

/// How policies go out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicySettings {
    /// A YAML file of `approvers`, and of `authors` beside them, each with a `name` and a `public` key; read at each publication.
    /// Without it nothing can be approved.
    pub approvers: Option<PathBuf>,
    /// The lowest risk that wants a second person: `info`, `low`, `medium`, `high` or `critical`; `never` for development.
    #[serde(deserialize_with = "approval_from")]
    pub approval_from: Option<Risk>,
    /// The lowest severity of an open finding of the audit that refuses a bundle: `critical`, `high`, `medium` or `low`.
    #[serde(deserialize_with = "severity")]
    pub audit_fail_on: AuditSeverity,
    /// How long a gateway may take a policy over, seconds. It is signed anew when half of that has passed.
    pub validity_s: u32,
    /// How often a roll-out is looked at, milliseconds.
    pub interval_ms: u32,
    /// When a roll-out goes on, and what stops it.
    pub rules: Rules,
}

impl Default for PolicySettings {
    fn default() -> Self {
        Self {
            approvers: None,
            approval_from: Some(Risk::High),
            audit_fail_on: AuditSeverity::High,
            validity_s: 7 * 24 * 3_600,
            interval_ms: 1_000,
            rules: Rules::default(),
        }
    }
}

fn approval_from<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Risk>, D::Error> {
    let word = String::deserialize(deserializer)?;
    if word == "never" {
        return Ok(None);
    }
    let risk = Risk::ALL.into_iter().find(|risk| risk.as_str() == word);
    risk.map(Some)
        .ok_or_else(|| de::Error::custom("one of info, low, medium, high, critical, never"))
}

fn severity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AuditSeverity, D::Error> {
    let word = String::deserialize(deserializer)?;
    [
        AuditSeverity::Low,
        AuditSeverity::Medium,
        AuditSeverity::High,
        AuditSeverity::Critical,
    ]
    .into_iter()
    .find(|severity| severity.as_str() == word)
    .ok_or_else(|| de::Error::custom("one of low, medium, high, critical"))
}

/// The people whose signatures count.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct People {
    /// Who may agree to the change of another.
    pub(super) approvers: Vec<Approver>,
    /// Who may sign as the author of a change: those who stand there, and every approver.
    #[serde(default)]
    pub(super) authors: Vec<Approver>,
}

impl People {
    /// Reads them: each name and each key once, so that nobody is two of them.
    pub(super) fn read(file: &Path) -> Result<Self, String> {
        let wrong = |why: String| format!("{}: {why}", file.display());
        let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        let mut people: Self = serde_yaml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        people.authors.extend(people.approvers.iter().cloned());
        for (index, person) in people.authors.iter().enumerate() {
            if !person.has_a_key() {
                return Err(wrong(format!(
                    "the key of {} is not 32 bytes in base64url",
                    person.name
                )));
            }
            let is_other = |other: &Approver| other.name != person.name && other.public != person.public;
            if !people.authors.iter().take(index).all(is_other) {
                return Err(wrong(format!("{} or its key stands there twice", person.name)));
            }
        }
        Ok(people)
    }
}

impl PolicySettings {
    /// Everything that is wrong, one line each; the file of approvers is read.
    pub(crate) fn faults(&self, environment: Environment) -> Vec<String> {
        let mut faults = Vec::new();
        if let Some(Err(fault)) = self.approvers.as_deref().map(People::read) {
            faults.push(format!("policies.approvers: {fault}"));
        }
        if !VALIDITY_S.contains(&self.validity_s) {
            faults.push("policies.validity_s: from 3600 to 2678400".to_owned());
        }
        if !(50..=60_000).contains(&self.interval_ms) {
            faults.push("policies.interval_ms: from 50 to 60000".to_owned());
        }
        for (key, seconds) in [
            ("bake_s", self.rules.bake_s),
            ("evidence_s", self.rules.evidence_s),
        ] {
            if seconds > LONGEST_BAKE_S {
                faults.push(format!("policies.rules.{key}: at most {LONGEST_BAKE_S}"));
            }
        }
        if environment == Environment::Production {
            if self.approval_from.is_none() {
                faults.push(
                    "policies.approval_from: `never` is for development; `high` in production".to_owned(),
                );
            }
            if self.rules.bake_s < SHORTEST_BAKE_S {
                faults.push(format!(
                    "policies.rules.bake_s: {} is for development; in production at least {SHORTEST_BAKE_S}",
                    self.rules.bake_s
                ));
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_slips_are_found() {
        let settings: PolicySettings =
            serde_yaml::from_str("{approval_from: never, audit_fail_on: critical, rules: {bake_s: 5}}")
                .unwrap();
        assert_eq!(
            (settings.approval_from, settings.audit_fail_on),
            (None, AuditSeverity::Critical)
        );
        assert_eq!(settings.faults(Environment::Development), Vec::<String>::new());
        assert_eq!(settings.faults(Environment::Production).len(), 2);
        assert_eq!(
            PolicySettings::default().faults(Environment::Production),
            Vec::<String>::new()
        );
        for wrong in [
            "{approval_from: sometimes}",
            "{audit_fail_on: info}",
            "{phases: []}",
        ] {
            assert!(serde_yaml::from_str::<PolicySettings>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_approver_stands_in_the_file_once_with_a_key() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("approvers.yaml");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            People::read(&file).map(|people| people.authors)
        };
        let (one, two) = ("A".repeat(43), format!("B{}", "A".repeat(42)));
        let entry = |name: &str, key: &str| format!("  - {{name: {name}, public: {key}}}\n");
        let good = format!("approvers:\n{}{}", entry("grace", &one), entry("ada", &two));
        assert_eq!(read(&good).unwrap().len(), 2);
        let twice = format!("approvers:\n{}{}", entry("grace", &one), entry("ada", &one));
        assert!(read(&twice).unwrap_err().contains("twice"));
        let short = format!("approvers:\n{}", entry("grace", "AAAA"));
        assert!(read(&short).unwrap_err().contains("32 bytes"));
        let author = format!(
            "approvers:\n{}authors:\n{}",
            entry("grace", &one),
            entry("ada", &two)
        );
        assert_eq!(read(&author).unwrap().len(), 2);
        let both = format!(
            "approvers:\n{}authors:\n{}",
            entry("grace", &one),
            entry("ada", &one)
        );
        assert!(read(&both).unwrap_err().contains("twice"));
        assert!(People::read(&dir.path().join("nowhere.yaml")).is_err());
    }
}
