//! The keys of other issuers: JWK Sets in the key folder, read again whenever they change.
//!
//! **Invariant:** a set in force was accepted whole, and verifies tokens of the providers that name its file, nobody
//! else's (J28). A file that is wrong or gone changes nothing but the log, a metric and readiness (J16, J40).

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use keyring::{Expectations, MAX_JWKS_BYTES, Verifier};
use policy::{KeySource, Plan};

use super::{Examined, IssuerKeys, VerificationFailure};
use crate::metrics::METRICS;

/// The key sets of the policy's providers, by file name.
pub(crate) struct KeyFiles {
    directory: PathBuf,
    /// A name that the policy no longer uses stays: a request under way may still ask for it.
    files: ArcSwap<BTreeMap<String, Arc<KeyFile>>>,
}

/// What is known of one file.
struct KeyFile {
    /// The content at the last look, or why it could not be read.
    seen: Result<Vec<u8>, String>,
    /// The last good set.
    keys: Option<Arc<IssuerKeys>>,
    /// Why `keys` is not what the file says.
    fault: Option<String>,
}

impl KeyFiles {
    /// Knows no file yet: [`KeyFiles::look`] reads those of a policy.
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            files: ArcSwap::default(),
        }
    }

    /// Reads the files that this policy names, and takes over those that changed and are good.
    pub(crate) fn look(&self, plan: &Plan) {
        let mut files = BTreeMap::clone(&self.files.load());
        METRICS.key_file_ok.reset();
        for name in names(plan) {
            let old = files.get(name);
            let seen = self.read(name).map_err(|error| format!("{error:#}"));
            let file = match old {
                Some(old) if old.seen == seen => Arc::clone(old),
                _ => Arc::new(KeyFile::new(name, seen, old.and_then(|old| old.keys.clone()))),
            };
            METRICS
                .key_file_ok
                .with_label_values(&[name])
                .set(i64::from(file.fault.is_none()));
            files.insert(name.to_owned(), file);
        }
        self.files.store(Arc::new(files));
    }

    fn read(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let path = self.directory.join(name);
        let reading = || format!("reading {}", path.display());
        // Opening a pipe would wait for its other end, and a device has no end at all.
        if !fs::metadata(&path).with_context(reading)?.is_file() {
            bail!("{}: not a regular file", path.display());
        }
        let file = File::open(&path).with_context(reading)?;
        let mut content = Vec::new();
        // One byte more than a set may have: the reader of the set refuses it, and nothing longer is held.
        file.take(u64::try_from(MAX_JWKS_BYTES)?.saturating_add(1))
            .read_to_end(&mut content)
            .with_context(reading)?;
        Ok(content)
    }

    /// The files of a policy that hold no keys, while none of an earlier look are in force. One sentence for each.
    pub(crate) fn lacks(&self, plan: &Plan) -> Vec<String> {
        let fault = |name: &str| -> Option<String> {
            self.missing(name)?;
            let judged = self.read(name).map_err(|error| format!("{error:#}"));
            let judged = judged.and_then(|set| Verifier::from_jwks(&set).map_err(|error| error.to_string()));
            Some(format!("key file {name}: {}", judged.err()?))
        };
        names(plan).filter_map(fault).collect()
    }

    /// The number of the keys in force; `None` when there are none.
    pub(crate) fn generation(&self, name: &str) -> Option<u64> {
        Some(self.files.load().get(name)?.keys.as_ref()?.generation())
    }

    /// Whether tokens of this key are good; `None` when there are none.
    pub(crate) fn knows(&self, name: &str, kid: &str) -> Option<bool> {
        Some(self.files.load().get(name)?.keys.as_ref()?.knows(kid))
    }

    /// Verifies a token with the keys of one file, at `now_unix` (Unix seconds).
    ///
    /// # Errors
    /// The rule the token breaks, or [`VerificationFailure::NoKeys`] while there never was a good set.
    pub(crate) fn examine(
        &self,
        name: &str,
        token: &str,
        expectations: &Expectations,
        now_unix: i64,
    ) -> Result<Examined, VerificationFailure> {
        let files = self.files.load();
        let keys = files.get(name).and_then(|file| file.keys.as_ref());
        keys.ok_or(VerificationFailure::NoKeys)?
            .examine(token, expectations, now_unix)
            .map_err(VerificationFailure::Refused)
    }

    /// Why there are no keys of a file; `None` when there are.
    pub(crate) fn missing(&self, name: &str) -> Option<String> {
        match self.files.load().get(name) {
            None => Some("not read yet".to_owned()),
            Some(file) if file.keys.is_some() => None,
            Some(file) => Some(file.fault.clone().unwrap_or_default()),
        }
    }
}

impl KeyFile {
    /// Judges what was read; `old` stays when that is no key set.
    fn new(name: &str, seen: Result<Vec<u8>, String>, old: Option<Arc<IssuerKeys>>) -> Self {
        let found = match &seen {
            Ok(content) => Verifier::from_jwks(content).map_err(|error| error.to_string()),
            Err(error) => Err(error.clone()),
        };
        let (keys, fault) = match found {
            Ok((verifier, skipped)) => {
                let keys = IssuerKeys::new(verifier);
                let count = keys.count();
                tracing::info!(
                    file = name,
                    keys = count,
                    ?skipped,
                    "keys of another issuer in force"
                );
                (Some(Arc::new(keys)), None)
            }
            Err(error) if old.is_some() => {
                tracing::error!(file = name, error, "the key file is wrong: the old keys stay");
                (old, Some(error))
            }
            Err(error) => {
                tracing::error!(
                    file = name,
                    error,
                    "the key file is wrong, and there are no older keys"
                );
                (None, Some(error))
            }
        };
        Self { seen, keys, fault }
    }
}

/// The files that the providers of a policy name, each once.
fn names(plan: &Plan) -> impl Iterator<Item = &str> {
    let providers = plan.identity_providers().iter();
    let mut names: Vec<&str> = providers
        .filter_map(|provider| match &provider.keys {
            KeySource::File(name) => Some(name.as_str()),
            KeySource::Portico | KeySource::Url(_) => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter()
}
