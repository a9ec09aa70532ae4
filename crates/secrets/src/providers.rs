//! Every provider of a process, and one question to all of them: what is at this reference?

use std::sync::Arc;

use chrono::{DateTime, Utc};
use zeroize::Zeroizing;

use crate::age_file::AgeFiles;
use crate::document::field_of;
use crate::{Aws, Fault, Lease, ProviderSettings, Reference, Vault, variable};

/// Longest secret file that is read, bytes.
const LONGEST: u64 = 1 << 20;

/// A secret as its provider gave it.
#[derive(Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The secret.
    pub bytes: Zeroizing<Vec<u8>>,
    /// The provider's name for this version of it.
    pub version: Option<String>,
    /// Since when there has been this version.
    pub since: Option<DateTime<Utc>>,
    /// For how long it was lent; none where it has no end.
    pub lease: Option<Lease>,
}

impl std::fmt::Debug for Fetched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetched")
            .field("version", &self.version)
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}

/// The providers of a process.
#[derive(Debug, Default)]
pub struct Providers {
    vault: Option<Result<Arc<Vault>, Fault>>,
    aws: Option<Result<Arc<Aws>, Fault>>,
    age: Option<AgeFiles>,
}

impl Providers {
    /// The providers that the settings describe. One that cannot be prepared fails when it is asked.
    #[must_use]
    pub fn new(settings: &ProviderSettings) -> Self {
        Self {
            vault: settings
                .vault
                .as_ref()
                .map(|vault| Vault::new(vault).map(Arc::new)),
            aws: settings.aws.as_ref().map(|aws| Aws::new(aws).map(Arc::new)),
            age: settings.age.as_ref().map(AgeFiles::new),
        }
    }

    /// Vault, for keys that stay there.
    ///
    /// # Errors
    /// When the settings describe none, or it cannot be prepared.
    pub fn vault(&self) -> Result<&Arc<Vault>, Fault> {
        configured(self.vault.as_ref(), "vault").and_then(|vault| vault.as_ref().map_err(Clone::clone))
    }

    /// AWS, for keys that stay there.
    ///
    /// # Errors
    /// When the settings describe none, or it cannot be prepared.
    pub fn aws(&self) -> Result<&Arc<Aws>, Fault> {
        configured(self.aws.as_ref(), "aws").and_then(|aws| aws.as_ref().map_err(Clone::clone))
    }

    /// What is at this reference now. Never empty.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn get(&self, reference: &Reference) -> Result<Fetched, Fault> {
        let fetched = match reference {
            Reference::Vault {
                mount,
                path,
                field,
                version,
            } => self.vault()?.read(mount, path, field, *version).await?,
            Reference::Lease { mount, path } => self.vault()?.lend(mount, path).await?,
            Reference::Aws { name, key, stage } => {
                self.aws()?.read(name, key.as_deref(), stage.as_deref()).await?
            }
            Reference::File { .. } | Reference::Env { .. } | Reference::Age { .. } => {
                self.get_local(reference)?
            }
        };
        if fetched.bytes.is_empty() {
            return Err(Fault::Missing("is empty".to_owned()));
        }
        Ok(fetched)
    }

    /// Has what was lent for longer: the lease from now on.
    ///
    /// # Errors
    /// See [`Fault`].
    pub(crate) async fn renew(&self, lease: &Lease) -> Result<Lease, Fault> {
        self.vault()?.renew_lease(lease).await
    }

    /// Gives back what was lent.
    ///
    /// # Errors
    /// See [`Fault`].
    pub(crate) async fn end(&self, lease: &Lease) -> Result<(), Fault> {
        self.vault()?.end_lease(lease).await
    }

    /// Other values that may work while a secret is being rotated: the one that comes next, and the one before.
    pub async fn neighbours(&self, reference: &Reference, version: Option<&str>) -> Vec<Fetched> {
        let mut found = Vec::new();
        for neighbour in neighbours_of(reference, version) {
            found.extend(self.get(&neighbour).await.ok());
        }
        found
    }

    fn get_local(&self, reference: &Reference) -> Result<Fetched, Fault> {
        let (whole, field, since) = match reference {
            Reference::File { path, field } => (read(path)?, field, written(path)),
            Reference::Age { path, field } => {
                let age = configured(self.age.as_ref(), "age")?;
                (age.read(path)?, field, written(path))
            }
            Reference::Env { name } => {
                let text = variable(name).ok_or_else(|| Fault::Missing("is not set".to_owned()))?;
                (Zeroizing::new(text.into_bytes()), &None, None)
            }
            Reference::Vault { .. } | Reference::Lease { .. } | Reference::Aws { .. } => {
                return Err(Fault::Unconfigured("is on another machine".to_owned()));
            }
        };
        Ok(Fetched {
            bytes: match field {
                Some(field) => field_of(&whole, field)?,
                None => whole,
            },
            version: None,
            since,
            lease: None,
        })
    }
}

fn configured<'a, T>(provider: Option<&'a T>, name: &str) -> Result<&'a T, Fault> {
    provider.ok_or_else(|| {
        Fault::Unconfigured(format!(
            "the settings do not say how to reach it: add `secrets.{name}`"
        ))
    })
}

fn read(path: &std::path::Path) -> Result<Zeroizing<Vec<u8>>, Fault> {
    use std::io::Read as _;
    let said = |error: &std::io::Error| {
        let text = error.to_string();
        match error.kind() {
            std::io::ErrorKind::NotFound => Fault::Missing(text),
            _ => Fault::Refused(text),
        }
    };
    let file = std::fs::File::open(path).map_err(|error| said(&error))?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(LONGEST)
        .read_to_end(&mut bytes)
        .map_err(|error| said(&error))?;
    Ok(bytes)
}

fn written(path: &std::path::Path) -> Option<DateTime<Utc>> {
    std::fs::metadata(path).ok()?.modified().ok().map(Into::into)
}

fn neighbours_of(reference: &Reference, version: Option<&str>) -> Vec<Reference> {
    match reference {
        Reference::Aws {
            name,
            key,
            stage: None,
        } => ["AWSPENDING", "AWSPREVIOUS"]
            .into_iter()
            .map(|stage| Reference::Aws {
                name: name.clone(),
                key: key.clone(),
                stage: Some(stage.to_owned()),
            })
            .collect(),
        Reference::Vault {
            mount,
            path,
            field,
            version: None,
        } => version
            .and_then(|version| version.parse::<u32>().ok()?.checked_sub(1))
            .filter(|before| *before > 0)
            .map(|before| Reference::Vault {
                mount: mount.clone(),
                path: path.clone(),
                field: field.clone(),
                version: Some(before),
            })
            .into_iter()
            .collect(),
        _ => Vec::new(),
    }
}
