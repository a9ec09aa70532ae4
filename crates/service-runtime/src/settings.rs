//! Process settings: one YAML file per service, overridden by `SERVICE__SECTION__KEY` variables, read once.
//!
//! **Invariant:** every mistake is reported together, before anything listens. A [`Secret`] is never written in a
//! setting: it is the name of a file or of a variable.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_path_to_error::Segment;
use serde_yaml::{Mapping, Value};
use zeroize::Zeroizing;

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

/// A secret text, given as `file:/path` or `env:NAME`. A literal is refused.
#[derive(Clone, Default)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The secret itself. Do not log it, store it or put it into an error.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether nothing was given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() {
            "Secret(empty)"
        } else {
            "Secret(…)"
        })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let reference = String::deserialize(deserializer)?;
        let text = if let Some(path) = reference.strip_prefix("file:") {
            let text = std::fs::read_to_string(path)
                .map_err(|error| D::Error::custom(format!("secret file {path}: {error}")))?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        } else if let Some(name) = reference.strip_prefix("env:") {
            variable(name).ok_or_else(|| D::Error::custom(format!("secret variable {name} is not set")))?
        } else {
            return Err(D::Error::custom(
                "a secret is not written here: give `file:/path/to/it` or `env:NAME`",
            ));
        };
        if text.is_empty() {
            return Err(D::Error::custom("the secret is empty"));
        }
        Ok(Self(Zeroizing::new(text)))
    }
}

/// Secret bytes from a file, given as `file:/path`: the file's content as it is.
#[derive(Clone, Default)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() {
            "SecretBytes(empty)"
        } else {
            "SecretBytes(…)"
        })
    }
}

impl<'de> Deserialize<'de> for SecretBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let reference = String::deserialize(deserializer)?;
        let path = reference
            .strip_prefix("file:")
            .ok_or_else(|| D::Error::custom("secret bytes come from a file: give `file:/path/to/it`"))?;
        let bytes =
            std::fs::read(path).map_err(|error| D::Error::custom(format!("secret file {path}: {error}")))?;
        if bytes.is_empty() {
            return Err(D::Error::custom(format!("secret file {path} is empty")));
        }
        Ok(Self(Zeroizing::new(bytes)))
    }
}

/// One version of a secret of which several are in use, so that one can follow another.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionedSecret {
    /// The version, from 1.
    pub version: i32,
    /// The secret, `file:/path`.
    pub secret: SecretBytes,
}

/// Reads the settings of one service: the file if one is given, then every variable that begins with the service's
/// name (`core-api` → `CORE_API__DATABASE__MAX_CONNECTIONS`).
///
/// # Errors
/// All that is wrong, at once: unknown keys, wrong types, missing secrets.
pub fn load<T: DeserializeOwned>(service: &str, file: Option<&Path>) -> Result<T, SettingsError> {
    load_checked(service, file, |_| Vec::new())
}

/// [`load`], with a check of rules between settings whose findings join the same report.
///
/// # Errors
/// All that is wrong, at once.
pub fn load_checked<T: DeserializeOwned>(
    service: &str,
    file: Option<&Path>,
    check: impl Fn(&T) -> Vec<String>,
) -> Result<T, SettingsError> {
    let mut value = match file {
        Some(path) => read_file(path).map_err(|fault| SettingsError(vec![fault]))?,
        None => Value::Mapping(Mapping::new()),
    };
    let overrides = overlay_variables(service, &mut value);
    let origin = file.map_or_else(|| "settings".to_owned(), |path| path.display().to_string());
    parse_all(value, &overrides, &origin, &check)
}

/// The value of an environment variable, if it is set and valid Unicode.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the environment"
    )]
    std::env::var(name).ok()
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

/// Serde stops at the first fault; taking the faulty key away and trying again finds the next.
fn parse_all<T: DeserializeOwned>(
    mut value: Value,
    overrides: &[Override],
    origin: &str,
    check: &impl Fn(&T) -> Vec<String>,
) -> Result<T, SettingsError> {
    let mut faults = Vec::new();
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(value.clone()) {
            Ok(settings) => {
                faults.extend(check(&settings));
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
        faults.push(format!("{place}: {}: {message}", path.join(".")));
        if !remove(&mut value, &path) {
            return Err(SettingsError(faults));
        }
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
        // A fault inside a list: the whole list goes, as its length may matter.
        Value::Sequence(items) => {
            let had = !items.is_empty();
            items.clear();
            had
        }
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

    #[derive(Debug, Deserialize, PartialEq, Default)]
    #[serde(deny_unknown_fields, default)]
    struct Sample {
        name: String,
        database: Database,
    }

    #[derive(Debug, Deserialize, PartialEq, Default)]
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
        parse_all(value, &overrides, "sample.yaml", &|sample: &Sample| {
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

    #[test]
    fn a_literal_secret_is_refused_and_a_file_is_read() {
        let refused = serde_yaml::from_str::<Secret>("hunter2").unwrap_err().to_string();
        assert!(
            refused.contains("not written here") && !refused.contains("hunter2"),
            "{refused}"
        );

        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret\n").unwrap();
        let secret: Secret = serde_yaml::from_str(&format!("file:{}", file.path().display())).unwrap();
        assert_eq!(secret.expose(), "s3cret");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn a_misspelt_environment_is_refused() {
        assert_eq!("production".parse(), Ok(Environment::Production));
        assert!("prod".parse::<Environment>().is_err());
    }
}
