//! References to secrets: what stands in a setting in place of the secret.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a secret is. Its text form is `vault://mount/path#field[?version=N]`, `vault-lease://mount/path`, `awssm://name[#json.key][?stage=STAGE]`,
/// `file:///path[#field]`, `age:///path[#field]` or `env://NAME`; `file:PATH` and `env:NAME` are short for two of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// A field of a secret in Vault's KV version 2.
    Vault {
        /// Where the engine is mounted: one segment.
        mount: String,
        /// The secret below the mount.
        path: String,
        /// The field of the secret.
        field: String,
        /// This version and no other; the newest where it is not given.
        version: Option<u32>,
    },
    /// What an engine of Vault lends for a time, such as `database/creds/ROLE` a user and a password: all of it, as JSON.
    Lease {
        /// Where the engine is mounted: one segment.
        mount: String,
        /// What is asked for below the mount.
        path: String,
    },
    /// A secret of AWS Secrets Manager.
    Aws {
        /// Its name or ARN.
        name: String,
        /// The value in its JSON, keys joined by dots; all of it where not given.
        key: Option<String>,
        /// The staging label; `AWSCURRENT` where not given.
        stage: Option<String>,
    },
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
        /// The value in its JSON or YAML, keys joined by dots; all of it where not given.
        field: Option<String>,
    },
    /// A variable of the environment.
    Env {
        /// Its name.
        name: String,
    },
    /// A file that is encrypted with age.
    Age {
        /// Its path.
        path: PathBuf,
        /// The value in its JSON or YAML, keys joined by dots; all of it where not given.
        field: Option<String>,
    },
}

/// What is wrong with a reference. Never repeats it: it may be a secret that was written in the wrong place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReferenceError(&'static str);

const LITERAL: ReferenceError = ReferenceError(
    "a secret is not written here, as whoever reads the settings would have it: give `file:/path/to/it`, `env:NAME`, \
     `vault://mount/path#field`, `awssm://name#json.key` or `age:///path#field`",
);
const VAULT: ReferenceError = ReferenceError(
    "a reference to Vault is `vault://mount/path#field`, with `?version=3` at its end for one version; mount and path \
     have letters, digits and `._~@:+-` only",
);
const LEASE: ReferenceError = ReferenceError(
    "a reference to what Vault lends for a time is `vault-lease://mount/path`, as in \
     `vault-lease://database/creds/core`; mount and path have letters, digits and `._~@:+-` only",
);
const VERSION: ReferenceError = ReferenceError(
    "the version of a secret in Vault is a number from 1, as in `vault://mount/path#field?version=3`",
);
const AWS: ReferenceError = ReferenceError(
    "a reference to AWS Secrets Manager is `awssm://name`, `awssm://name#json.key` or either with `?stage=AWSPENDING` \
     at its end; a name has letters, digits and `/_+=.@:-` only",
);
const FILE: ReferenceError = ReferenceError(
    "a reference to a file is `file:///absolute/path` with three slashes, `#field` at its end for one field of a JSON or \
     YAML file, or `file:PATH` for all of it",
);
const ENV: ReferenceError = ReferenceError(
    "a reference to a variable is `env://NAME` or `env:NAME`; a name has letters, digits and `_` only",
);
const AGE: ReferenceError = ReferenceError(
    "a reference to an encrypted file is `age:///absolute/path` with three slashes, and `#field` at its end for one \
     field",
);

impl Reference {
    /// Whether this text means to be a reference, well-formed or not.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        ["vault:", "vault-lease:", "awssm:", "file:", "env:", "age:"]
            .iter()
            .any(|scheme| text.starts_with(scheme))
    }

    /// The provider's name in metrics and reports.
    #[must_use]
    pub const fn provider(&self) -> &'static str {
        match self {
            Self::Vault { .. } | Self::Lease { .. } => "vault",
            Self::Aws { .. } => "awssm",
            Self::File { .. } => "file",
            Self::Env { .. } => "env",
            Self::Age { .. } => "age",
        }
    }

    /// Whether another machine must answer.
    #[must_use]
    pub const fn is_remote(&self) -> bool {
        matches!(self, Self::Vault { .. } | Self::Lease { .. } | Self::Aws { .. })
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(rest) = text.strip_prefix("vault://") {
            return vault(rest);
        }
        if let Some(rest) = text.strip_prefix("vault-lease://") {
            return lease(rest);
        }
        if let Some(rest) = text.strip_prefix("awssm://") {
            return aws(rest);
        }
        if let Some(rest) = text.strip_prefix("age://") {
            let (path, field) = absolute(rest).ok_or(AGE)?;
            return Ok(Self::Age { path, field });
        }
        if let Some(rest) = text.strip_prefix("file://") {
            let (path, field) = absolute(rest).ok_or(FILE)?;
            return Ok(Self::File { path, field });
        }
        if let Some(path) = text.strip_prefix("file:") {
            let path = if path.is_empty() {
                None
            } else {
                Some(PathBuf::from(path))
            };
            return Ok(Self::File {
                path: path.ok_or(FILE)?,
                field: None,
            });
        }
        if let Some(name) = text.strip_prefix("env://").or_else(|| text.strip_prefix("env:")) {
            return env(name);
        }
        Err(match text.split_once(':').map(|(scheme, _)| scheme) {
            Some("vault") => VAULT,
            Some("vault-lease") => LEASE,
            Some("awssm") => AWS,
            Some("age") => AGE,
            _ => LITERAL,
        })
    }
}

fn vault(rest: &str) -> Result<Reference, ReferenceError> {
    let (place, field) = rest.split_once('#').ok_or(VAULT)?;
    let (mount, path) = place.split_once('/').ok_or(VAULT)?;
    let (field, version) = match field.split_once("?version=") {
        Some((field, version)) => (field, Some(version)),
        None => (field, None),
    };
    let version = match version.map(str::parse::<u32>) {
        None => None,
        Some(Ok(version)) if version >= 1 => Some(version),
        Some(_) => return Err(VERSION),
    };
    if !is_segment(mount) || !path.split('/').all(is_segment) || !is_field(field) {
        return Err(VAULT);
    }
    Ok(Reference::Vault {
        mount: mount.to_owned(),
        path: path.to_owned(),
        field: field.to_owned(),
        version,
    })
}

fn lease(rest: &str) -> Result<Reference, ReferenceError> {
    let (mount, path) = rest.split_once('/').ok_or(LEASE)?;
    if !is_segment(mount) || !path.split('/').all(is_segment) {
        return Err(LEASE);
    }
    Ok(Reference::Lease {
        mount: mount.to_owned(),
        path: path.to_owned(),
    })
}

fn aws(rest: &str) -> Result<Reference, ReferenceError> {
    let (place, stage) = match rest.split_once("?stage=") {
        Some((place, stage)) => (place, Some(stage)),
        None => (rest, None),
    };
    let (name, key) = match place.split_once('#') {
        Some((name, key)) => (name, Some(key)),
        None => (place, None),
    };
    let is_name = |text: &str, more: &str| {
        (1..=2048).contains(&text.len())
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    if !is_name(name, "/_+=.@:-")
        || stage.is_some_and(|stage| !is_name(stage, "_+=.@-"))
        || key.is_some_and(|key| !is_field(key))
    {
        return Err(AWS);
    }
    Ok(Reference::Aws {
        name: name.to_owned(),
        key: key.map(str::to_owned),
        stage: stage.map(str::to_owned),
    })
}

fn env(name: &str) -> Result<Reference, ReferenceError> {
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_name {
        Ok(Reference::Env {
            name: name.to_owned(),
        })
    } else {
        Err(ENV)
    }
}

/// `/path[#field]`.
fn absolute(rest: &str) -> Option<(PathBuf, Option<String>)> {
    let (path, field) = match rest.split_once('#') {
        Some((path, field)) => (path, Some(field)),
        None => (rest, None),
    };
    if !path.starts_with('/') || path.len() < 2 || field.is_some_and(|field| !is_field(field)) {
        return None;
    }
    Some((PathBuf::from(path), field.map(str::to_owned)))
}

/// A segment of a path that means the same in every URL.
fn is_segment(text: &str) -> bool {
    !matches!(text, "" | "." | "..")
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._~@:+-".contains(c))
}

fn is_field(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| !c.is_control() && !matches!(c, '#' | '?' | ' '))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vault {
                mount,
                path,
                field,
                version,
            } => {
                write!(f, "vault://{mount}/{path}#{field}")?;
                version.map_or(Ok(()), |version| write!(f, "?version={version}"))
            }
            Self::Lease { mount, path } => write!(f, "vault-lease://{mount}/{path}"),
            Self::Aws { name, key, stage } => {
                write!(f, "awssm://{name}")?;
                key.as_ref().map_or(Ok(()), |key| write!(f, "#{key}"))?;
                stage.as_ref().map_or(Ok(()), |stage| write!(f, "?stage={stage}"))
            }
            // The short form cannot begin with two slashes.
            Self::File { path, field: None } if path.as_os_str().as_encoded_bytes().starts_with(b"//") => {
                write!(f, "file://{}", path.display())
            }
            Self::File { path, field: None } => write!(f, "file:{}", path.display()),
            Self::File {
                path,
                field: Some(field),
            } => write!(f, "file://{}#{field}", path.display()),
            Self::Env { name } => write!(f, "env:{name}"),
            Self::Age { path, field } => {
                write!(f, "age://{}", path.display())?;
                field.as_ref().map_or(Ok(()), |field| write!(f, "#{field}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Reference, ReferenceError> {
        text.parse()
    }

    #[test]
    fn every_form_is_read() {
        assert_eq!(
            read("vault://kv/bank/core#password?version=3"),
            Ok(Reference::Vault {
                mount: "kv".to_owned(),
                path: "bank/core".to_owned(),
                field: "password".to_owned(),
                version: Some(3),
            })
        );
        assert_eq!(
            read("awssm://prod/db#login.password?stage=AWSPENDING"),
            Ok(Reference::Aws {
                name: "prod/db".to_owned(),
                key: Some("login.password".to_owned()),
                stage: Some("AWSPENDING".to_owned()),
            })
        );
        for (long, short) in [
            ("file:///run/secrets/kek", "file:/run/secrets/kek"),
            ("env://PEPPER", "env:PEPPER"),
        ] {
            assert_eq!(read(long), read(short), "{long}");
            assert_eq!(read(long).unwrap().to_string(), short);
        }
        assert_eq!(
            read("age:///etc/bank/secrets.age#pepper").unwrap(),
            Reference::Age {
                path: "/etc/bank/secrets.age".into(),
                field: Some("pepper".to_owned())
            }
        );
    }

    #[test]
    fn a_short_form_takes_its_path_as_it_is() {
        let Reference::File { path, field } = read("file:/odd/na#me").unwrap() else {
            panic!("no file")
        };
        assert_eq!((path.to_str(), field), (Some("/odd/na#me"), None));
    }

    #[test]
    fn what_is_wrong_is_said_and_never_repeated() {
        for (text, says) in [
            ("hunter2", "not written here"),
            ("https://user:hunter2@vault/kv", "not written here"),
            ("vault://hunter2", "vault://mount/path#field"),
            ("vault:kv/hunter2#x", "vault://mount/path#field"),
            ("vault://kv/../hunter2#x", "vault://mount/path#field"),
            ("vault://kv/a b/hunter2#x", "vault://mount/path#field"),
            ("vault://kv/hunter2#", "vault://mount/path#field"),
            ("vault://kv/hunter2#x?version=0", "a number from 1"),
            ("vault://kv/hunter2#x?version=two", "a number from 1"),
            ("vault://kv/hunter2?version=2#x", "vault://mount/path#field"),
            ("vault-lease://hunter2", "vault-lease://mount/path"),
            (
                "vault-lease://database/hunter2#password",
                "vault-lease://mount/path",
            ),
            ("vault-lease:hunter2", "vault-lease://mount/path"),
            ("awssm://", "awssm://name"),
            ("awssm://hunter2#", "awssm://name"),
            ("awssm://hunter2?stage=", "awssm://name"),
            ("awssm://hunter2?version=3", "awssm://name"),
            ("file:", "three slashes"),
            ("file://run/hunter2", "three slashes"),
            ("file:///run/hunter2#", "three slashes"),
            ("age://hunter2", "three slashes"),
            ("age:/hunter2", "three slashes"),
            ("env:", "env://NAME"),
            ("env:2hunter2", "env://NAME"),
            ("env:HUNTER 2", "env://NAME"),
            ("", "not written here"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_reference_reads_as_it_is_written(text in r"(vault://[a-z]{1,4}/[a-z]{1,4}(/[a-z.]{1,3}x)?#[a-z.]{1,5}(\?version=[1-9])?|vault-lease://[a-z]{1,4}/[a-z]{1,4}(/[a-z.]{1,3}x)?|awssm://[a-z/]{1,8}(#[a-z.]{1,4})?(\?stage=[A-Z]{1,4})?|file:/{1,3}[a-z/#]{1,8}|age:///[a-z]{1,5}(#[a-z]{1,3})?|env:(//)?[A-Z_]{1,5})") {
            if let Ok(reference) = read(&text) {
                prop_assert_eq!(read(&reference.to_string()), Ok(reference));
            }
        }

        #[test]
        fn no_text_breaks_the_reader(text in ".{0,80}") {
            if let Err(error) = read(&text) {
                prop_assert!(text.len() < 6 || !error.to_string().contains(&text));
            }
        }
    }
}
