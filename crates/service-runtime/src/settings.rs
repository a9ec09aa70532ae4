//! Process settings: one YAML file per service, overridden by `SERVICE__SECTION__KEY` variables, read once.
//!
//! **Invariant:** every mistake is reported together, before anything listens. A [`Secret`] is never written in a
//! setting: it is a [reference](secrets::Reference), and all of them are resolved before the settings are read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use secrets::{ProviderSettings, Reference, Resolved};
pub use secrets::{Providers, Secret, SigningPlace, WrappingKey, providers_at_hand, variable};
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use serde_yaml::{Mapping, Value};

use crate::clock::Clock;
use crate::secrets::ServiceSecrets;

/// Which world this process runs in: it selects overlays of policies and refuses development settings in production.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Environment {
    /// A developer's machine: limits far above any test, users active at once.
    Development,
    /// An automated test.
    Test,
    /// The real thing, and what an unset `APP_ENV` means.
    #[default]
    Production,
}

impl Environment {
    /// Reads `APP_ENV`; unset means production.
    ///
    /// # Errors
    /// When the variable holds another word: a typo must not select production or development by accident.
    pub fn from_env() -> Result<Self, SettingsError> {
        match variable("APP_ENV").as_deref() {
            None | Some("") => Ok(Self::Production),
            Some(name) => name.parse().map_err(|fault| SettingsError(vec![fault])),
        }
    }

    /// The name as `APP_ENV` and `policies/environments/` spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Test => "test",
            Self::Production => "production",
        }
    }
}

impl std::str::FromStr for Environment {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "development" => Ok(Self::Development),
            "test" => Ok(Self::Test),
            "production" => Ok(Self::Production),
            other => Err(format!(
                "APP_ENV: `{other}` is not one of development, test, production"
            )),
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Everything that is wrong with the settings, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError(pub Vec<String>);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} wrong in the settings:",
            if self.0.len() == 1 {
                "one thing is"
            } else {
                "several things are"
            }
        )?;
        for fault in &self.0 {
            write!(f, "\n  - {fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}

/// Reads the settings of one service: the file if one is given, then every variable that begins with the service's
/// name (`core-api` → `CORE_API__DATABASE__MAX_CONNECTIONS`).
///
/// # Errors
/// All that is wrong, at once: unknown keys, wrong types, missing secrets.
pub fn load<T: DeserializeOwned>(service: &str, file: Option<&Path>) -> Result<T, SettingsError> {
    load_checked(service, file, |_| Vec::new())
}

/// [`load`], with a check of rules between settings whose findings join the same report. What was lent for settings that are
/// wrong is given back.
///
/// # Errors
/// All that is wrong, at once.
pub fn load_checked<T: DeserializeOwned>(
    service: &str,
    file: Option<&Path>,
    check: impl Fn(&T) -> Vec<String>,
) -> Result<T, SettingsError> {
    let (mut value, overrides) = read(service, file)?;
    let origin = origin(file);
    let (providers, mut faults) = take_providers(&mut value, &overrides, &origin);
    let resolved = resolve(&value, service, &providers);
    let lent = ServiceSecrets::resolved(&resolved);
    let unresolved = unresolved(&value, &resolved);
    match resolved.within(|| parse_all(value, &overrides, &origin, &unresolved, &check)) {
        Ok(settings) if faults.is_empty() => return Ok(settings),
        Ok(_) => {}
        Err(SettingsError(more)) => faults.extend(more),
    }
    lent.give_back_now();
    Err(SettingsError(faults))
}

/// Resolves what a settings file refers to, and nothing else: for looking at secrets without starting a service. The
/// variables of `service` override the file.
///
/// # Errors
/// When the file cannot be read, or its section `secrets` is wrong.
pub fn load_secrets(service: &str, file: &Path) -> Result<Resolved, SettingsError> {
    let (mut value, overrides) = read(service, Some(file))?;
    let (providers, faults) = take_providers(&mut value, &overrides, &origin(Some(file)));
    if faults.is_empty() {
        Ok(resolve(&value, service, &providers))
    } else {
        Err(SettingsError(faults))
    }
}

fn read(service: &str, file: Option<&Path>) -> Result<(Value, Vec<Override>), SettingsError> {
    let mut value = match file {
        Some(path) => read_file(path).map_err(|fault| SettingsError(vec![fault]))?,
        None => Value::Mapping(Mapping::new()),
    };
    let overrides = overlay_variables(service, &mut value);
    Ok((value, overrides))
}

fn origin(file: Option<&Path>) -> String {
    file.map_or_else(|| "settings".to_owned(), |path| path.display().to_string())
}

/// Takes the section `secrets` out: it is the same in every service, and says how to read the others.
fn take_providers(
    value: &mut Value,
    overrides: &[Override],
    origin: &str,
) -> (ProviderSettings, Vec<String>) {
    #[derive(serde::Deserialize)]
    struct Section {
        #[serde(default)]
        secrets: ProviderSettings,
    }
    let Some(section) = value.as_mapping_mut().and_then(|map| map.remove("secrets")) else {
        return (ProviderSettings::default(), Vec::new());
    };
    let mut alone = Mapping::new();
    alone.insert(Value::from("secrets"), section);
    let read = parse_all(
        Value::Mapping(alone),
        overrides,
        origin,
        &[],
        &|section: &Section| section.secrets.faults(),
    );
    match read {
        Ok(section) => (section.secrets, Vec::new()),
        Err(SettingsError(faults)) => (ProviderSettings::default(), faults),
    }
}

/// Resolves every text that means to be a reference, all in parallel.
fn resolve(value: &Value, service: &str, providers: &ProviderSettings) -> Resolved {
    let mut references = BTreeMap::new();
    collect_references(value, &mut Vec::new(), &mut |path, text| {
        let consumer = format!("{service}: {path}");
        references
            .entry(text.to_owned())
            .or_insert_with(Vec::new)
            .push(consumer);
    });
    secrets::resolve(&references, providers, Clock::system().now())
}

/// The references that did not resolve, each with its path and the reason.
fn unresolved(value: &Value, resolved: &Resolved) -> Vec<String> {
    let reasons: BTreeMap<_, _> = resolved.faults().collect();
    let mut lines = Vec::new();
    collect_references(value, &mut Vec::new(), &mut |path, text| {
        if let Some(reason) = reasons.get(text) {
            lines.push(format!("{path}: {reason}"));
        }
    });
    lines
}

fn collect_references(value: &Value, path: &mut Vec<String>, found: &mut impl FnMut(&str, &str)) {
    match value {
        Value::String(text) if Reference::is_meant(text) => found(&path.join("."), text),
        Value::Mapping(map) => {
            for (key, child) in map {
                path.push(key.as_str().unwrap_or("?").to_owned());
                collect_references(child, path, found);
                path.pop();
            }
        }
        Value::Sequence(items) => {
            for (index, child) in items.iter().enumerate() {
                path.push(index.to_string());
                collect_references(child, path, found);
                path.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Tagged(_) => {}
    }
}

fn read_file(path: &Path) -> Result<Value, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    match serde_yaml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))? {
        Value::Null => Ok(Value::Mapping(Mapping::new())),
        value @ Value::Mapping(_) => Ok(value),
        _ => Err(format!("{}: settings are a map of sections", path.display())),
    }
}

/// A setting that came from a variable: the variable's name, the setting's path, the text.
type Override = (String, Vec<String>, String);

/// Puts `SERVICE__A__B=text` at `a.b`, and returns what it set.
fn overlay_variables(service: &str, value: &mut Value) -> Vec<Override> {
    let prefix = format!("{}__", service.replace('-', "_").to_uppercase());
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the environment"
    )]
    let mut found: Vec<Override> = std::env::vars()
        .filter_map(|(name, text)| {
            let path = name
                .strip_prefix(&prefix)?
                .split("__")
                .map(str::to_lowercase)
                .collect();
            Some((name, path, text))
        })
        .collect();
    found.sort();
    for (_, path, text) in &found {
        let scalar = serde_yaml::from_str::<Value>(text).unwrap_or_else(|_| Value::String(text.clone()));
        set(value, path, scalar);
    }
    found
}

fn set(value: &mut Value, path: &[String], leaf: Value) {
    let Some((key, rest)) = path.split_first() else {
        *value = leaf;
        return;
    };
    if !value.is_mapping() {
        *value = Value::Mapping(Mapping::new());
    }
    if let Value::Mapping(map) = value {
        let child = map.entry(Value::String(key.clone())).or_insert(Value::Null);
        set(child, rest, leaf);
    }
}

/// Serde stops at the first fault; taking the faulty key away and trying again finds the next. One of a list is taken away as a
/// whole: what else is missing in it stands in `unresolved`.
fn parse_all<T: DeserializeOwned>(
    mut value: Value,
    overrides: &[Override],
    origin: &str,
    unresolved: &[String],
    check: &impl Fn(&T) -> Vec<String>,
) -> Result<T, SettingsError> {
    let mut faults = Vec::new();
    let mut taken = Taken::default();
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(value.clone()) {
            Ok(settings) => {
                // What was taken away is not missed as well.
                faults.extend(
                    check(&settings)
                        .into_iter()
                        .filter(|fault| !taken.has_told(fault)),
                );
                return if faults.is_empty() {
                    Ok(settings)
                } else {
                    Err(SettingsError(faults))
                };
            }
            Err(error) => error,
        };
        let message = error.inner().to_string();
        let mut path: Vec<String> = error
            .path()
            .iter()
            .filter_map(|segment| match segment {
                Segment::Map { key } => Some(key.clone()),
                Segment::Seq { index } => Some(index.to_string()),
                Segment::Enum { .. } | Segment::Unknown => None,
            })
            .collect();
        if let Some(key) = unknown_key(&message)
            && path.last() != Some(&key)
        {
            path.push(key);
        }
        let from_variable = overrides.iter().find(|(_, at, _)| *at == path);
        // A text that happens to look like a number or a boolean is still a text.
        if let Some((_, at, text)) = from_variable
            && !matches!(find(&value, at), Some(Value::String(_)))
        {
            set(&mut value, at, Value::String(text.clone()));
            continue;
        }
        let place =
            from_variable.map_or_else(|| origin.to_owned(), |(name, _, _)| format!("variable {name}"));
        let written = taken.as_written(&path);
        // A list without what was taken out of it may have a length that is wrong.
        if !taken.paths.contains(&written.join(".")) {
            faults.push(format!("{place}: {}: {message}", written.join(".")));
        }
        if !remove(&mut value, &path) {
            return Err(SettingsError(faults));
        }
        let Some(one) = taken.note(&written) else { continue };
        for line in unresolved.iter().filter(|line| line.starts_with(&one)) {
            if !line.starts_with(&format!("{}: ", written.join("."))) {
                faults.push(format!("{origin}: {line}"));
            }
        }
    }
}

/// What was taken out of settings because it is faulty, by where it is written.
#[derive(Debug, Default)]
struct Taken {
    /// Dotted paths, and those of the lists that they are in.
    paths: BTreeSet<String>,
    /// Places in lists, each under the path of its list.
    of_lists: BTreeSet<(String, usize)>,
}

impl Taken {
    /// Whether a fault is about nothing but what was taken away.
    fn has_told(&self, fault: &str) -> bool {
        let subjects = fault.split_once(": ").map_or("", |(subjects, _)| subjects);
        subjects.split(", ").any(|subject| self.paths.contains(subject))
    }

    /// A path as the file has it: a list from which something was taken counts otherwise.
    fn as_written(&self, path: &[String]) -> Vec<String> {
        let mut written: Vec<String> = Vec::new();
        for part in path {
            let list = written.join(".");
            let place = part.parse::<usize>().map(|place| {
                let before = self.of_lists.range((list.clone(), 0)..=(list, usize::MAX));
                let shifted =
                    |place, taken: &(String, usize)| if taken.1 <= place { place + 1 } else { place };
                before.fold(place, shifted).to_string()
            });
            written.push(place.unwrap_or_else(|_| part.clone()));
        }
        written
    }

    /// The beginning of all paths that are gone with one of a list.
    fn note(&mut self, written: &[String]) -> Option<String> {
        let mut one = None;
        let mut at = String::new();
        for part in written {
            if let Ok(place) = part.parse() {
                self.paths.insert(at.clone());
                self.of_lists.insert((at.clone(), place));
            }
            at = if at.is_empty() {
                part.clone()
            } else {
                format!("{at}.{part}")
            };
            if part.parse::<usize>().is_ok() {
                one = Some(format!("{at}."));
            }
        }
        self.paths.insert(at);
        one
    }
}

fn unknown_key(message: &str) -> Option<String> {
    let rest = message.strip_prefix("unknown field `")?;
    rest.split_once('`').map(|(key, _)| key.to_owned())
}

fn find<'v>(value: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(value, |at, key| at.get(key.as_str()))
}

fn remove(value: &mut Value, path: &[String]) -> bool {
    let Some((key, rest)) = path.split_first() else {
        return false;
    };
    match value {
        Value::Mapping(map) if rest.is_empty() => map.remove(key.as_str()).is_some(),
        Value::Mapping(map) => map.get_mut(key.as_str()).is_some_and(|child| remove(child, rest)),
        // A fault in one of a list: that one goes, and the others are looked at.
        Value::Sequence(items) => match key.parse::<usize>() {
            Ok(place) if place < items.len() => {
                items.remove(place);
                true
            }
            _ => false,
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Tagged(_) => false,
    }
}

/// Resolves a path that a settings file names: relative paths count from the file's own directory.
#[must_use]
pub fn relative_to(file: &Path, path: &Path) -> PathBuf {
    file.parent()
        .map_or_else(|| path.to_owned(), |parent| parent.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize, PartialEq, Default)]
    #[serde(deny_unknown_fields, default)]
    struct Sample {
        name: String,
        database: Database,
    }

    #[derive(Debug, serde::Deserialize, PartialEq, Default)]
    #[serde(deny_unknown_fields, default)]
    struct Database {
        max_connections: u16,
        host: String,
        ports: Vec<u16>,
    }

    fn parse(yaml: &str, variables: &[(&str, &str)]) -> Result<Sample, SettingsError> {
        let mut value: Value = serde_yaml::from_str(yaml).unwrap();
        let mut overrides = Vec::new();
        for (path, text) in variables {
            let at: Vec<String> = path.split('.').map(str::to_owned).collect();
            set(&mut value, &at, serde_yaml::from_str(text).unwrap());
            overrides.push((format!("VAR_{path}"), at, (*text).to_owned()));
        }
        parse_all(value, &overrides, "sample.yaml", &[], &|sample: &Sample| {
            if sample.name.is_empty() {
                vec!["sample.yaml: name: is required".to_owned()]
            } else {
                Vec::new()
            }
        })
    }

    #[test]
    fn every_mistake_is_reported_together() {
        let faults = parse(
            "nmae: x\ndatabase: {max_connections: many, hots: a, ports: [1, x]}\n",
            &[],
        )
        .unwrap_err()
        .0
        .join("\n");

        assert!(faults.contains("nmae"), "{faults}");
        assert!(faults.contains("database.max_connections"), "{faults}");
        assert!(faults.contains("database.hots"), "{faults}");
        assert!(faults.contains("database.ports"), "{faults}");
        assert!(faults.contains("name: is required"), "{faults}");
        assert_eq!(faults.lines().count(), 5, "{faults}");
    }

    #[test]
    fn variables_override_the_file_and_are_named_when_wrong() {
        let good = parse(
            "name: a\ndatabase: {max_connections: 3}",
            &[("database.max_connections", "9")],
        )
        .unwrap();
        assert_eq!(good.database.max_connections, 9);

        let bad = parse("name: a", &[("database.max_connections", "nine")]).unwrap_err();
        assert!(
            bad.0[0].starts_with("variable VAR_database.max_connections: "),
            "{bad}"
        );
    }

    #[test]
    fn a_variable_that_looks_like_a_number_can_be_a_text() {
        let sample = parse("{}", &[("name", "12345"), ("database.host", "true")]).unwrap();
        assert_eq!(
            (sample.name.as_str(), sample.database.host.as_str()),
            ("12345", "true")
        );
    }

    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Secretive {
        pepper: Secret,
        other: Secret,
        kek: WrappingKey,
        nested: BTreeMap<String, Secret>,
        #[serde(default)]
        older: Vec<Older>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Older {
        #[expect(dead_code, reason = "it is read")]
        secret: Secret,
        #[expect(dead_code, reason = "it is read")]
        version: u8,
    }

    fn check(settings: &Secretive) -> Vec<String> {
        let missing = settings
            .pepper
            .is_empty()
            .then(|| "pepper: is required".to_owned());
        let few = settings.older.len() == 1;
        let few = few.then(|| "older, other: too few".to_owned());
        missing.into_iter().chain(few).collect()
    }

    #[test]
    fn every_secret_that_is_missing_is_reported_with_every_other_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("core.yaml");
        std::fs::write(
            &file,
            "pepper: env:PORTICO_NOT_SET\nother: hunter2\nkek: vault://kv/bank#kek\nnested: {a: 'file:///none#x', b: 'awssm:x'}\n\
             older: [{version: 1, secret: 'env:PORTICO_A'}, {typo: 2, secret: 'file:/dev/null', version: 2}, {version: x, secret: 'env:PORTICO_C'}, {version: 4, secret: 'env:PORTICO_D'}, {version: 5, secret: 'file:/etc/hostname'}]\n\
             typo: 1\nsecrets: {refresh_every_s: 0, vault: {address: 'http://vault', auth: {token_file: /none}}}\n",
        )
        .unwrap();
        let said = load_checked::<Secretive>("secretive", Some(&file), check).unwrap_err();
        let all = said.0.join("\n");
        for expected in [
            "secrets.vault.address: must begin with https://",
            "secrets.refresh_every_s: must be above 0",
            "pepper: env:PORTICO_NOT_SET: is not set",
            "other: a secret is not written here",
            "kek: vault://kv/bank#kek: ",
            "nested.a: file:///none#x: No such file",
            "older.0.secret: env:PORTICO_A: is not set",
            "older.1.typo: unknown field",
            "older.1.secret: file:/dev/null: is empty",
            "older.2.",
            "older.3.secret: env:PORTICO_D: is not set",
            "typo: ",
        ] {
            assert!(all.contains(expected), "{expected} in\n{all}");
        }
        assert!(!all.contains("is required"), "not twice:\n{all}");
        assert!(
            !all.contains("too few"),
            "nothing is said of what was taken away:\n{all}"
        );
        assert!(!all.contains("hunter2"), "{all}");
    }

    #[test]
    fn secrets_are_read_where_the_file_says_and_know_who_uses_them() {
        let folder = tempfile::tempdir().unwrap();
        let (file, kek) = (folder.path().join("core.yaml"), folder.path().join("kek"));
        std::fs::write(&kek, "{\"kek\": \"s3cret\"}").unwrap();
        let reference = format!("file://{}#kek", kek.display());
        std::fs::write(
            &file,
            format!("pepper: {reference}\nkek: {reference}\nsecrets: {{max_age_days: 30}}\n"),
        )
        .unwrap();
        let settings = load_checked::<Secretive>("core-api", Some(&file), check).unwrap();
        let WrappingKey::Secret(kek) = &settings.kek else {
            panic!("{:?} is read", settings.kek);
        };
        assert_eq!(
            (settings.pepper.expose(), kek.expose()),
            ("s3cret", b"s3cret".as_slice())
        );
        let status = settings.pepper.source().unwrap().status();
        assert_eq!(status.consumers, ["core-api: pepper", "core-api: kek"]);
        assert_eq!(status.reference, reference);
    }

    #[test]
    fn a_misspelt_environment_is_refused() {
        assert_eq!("production".parse(), Ok(Environment::Production));
        assert!("prod".parse::<Environment>().is_err());
    }
}
