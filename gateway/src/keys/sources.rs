//! Whose keys verify the tokens of which provider: one place to ask, wherever they come from.
//!
//! **Invariant:** the keys of a source verify tokens of the providers that name it, nobody else's (J28).

use std::sync::Arc;

use keyring::Expectations;
use policy::{KeySource, Plan};

use super::{Examined, KeyFiles, KeyStore, KeyUrls, VerificationFailure};

/// All keys of this gateway.
pub(crate) struct KeySources {
    /// Portico's own.
    pub(crate) portico: Arc<KeyStore>,
    pub(crate) files: KeyFiles,
    pub(crate) urls: Arc<KeyUrls>,
}

impl KeySources {
    /// Looks at the files that this policy names, and follows the addresses that it names.
    pub(crate) fn look(&self, plan: &Plan) {
        self.files.look(plan);
        self.urls.look(plan);
    }

    /// The number of the keys in force at `now_unix`; `None` when there are none.
    pub(crate) fn generation(&self, source: &KeySource, now_unix: i64) -> Option<u64> {
        match source {
            KeySource::Portico => self.portico.generation(),
            KeySource::File(name) => self.files.generation(name),
            KeySource::Url(url) => self.urls.generation(url, now_unix),
        }
    }

    /// Verifies a token at `now_unix` (Unix seconds).
    ///
    /// # Errors
    /// The rule the token breaks, or that it cannot be known.
    pub(crate) fn examine(
        &self,
        source: &KeySource,
        token: &str,
        expectations: &Expectations,
        now_unix: i64,
    ) -> Result<Examined, VerificationFailure> {
        match source {
            KeySource::Portico => self.portico.examine(token, expectations, now_unix),
            KeySource::File(name) => self.files.examine(name, token, expectations, now_unix),
            KeySource::Url(url) => self.urls.examine(url, token, expectations, now_unix),
        }
    }

    /// Whether a token of this key would still be verified; `None` when there are no keys that count.
    pub(crate) fn knows(&self, source: &KeySource, kid: &str, now_unix: i64) -> Option<bool> {
        match source {
            KeySource::Portico => self.portico.knows(kid),
            KeySource::File(name) => self.files.knows(name, kid),
            KeySource::Url(url) => self.urls.knows(url, kid, now_unix),
        }
    }

    /// Why tokens of this source cannot be verified; `None` when they can (J40).
    pub(crate) fn missing(&self, source: &KeySource, now_unix: i64) -> Option<String> {
        match source {
            KeySource::Portico => self.portico.missing(),
            KeySource::File(name) => self.files.missing(name),
            KeySource::Url(url) => self.urls.missing(url, now_unix),
        }
    }
}
