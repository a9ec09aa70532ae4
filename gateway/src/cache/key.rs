//! What a kept answer is found by: a hash of everything that the upstream could look at.

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

/// A hash that nobody can find twice, so that nobody can meet another's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct KeyHash([u8; SHA256_OUTPUT_LEN]);

impl KeyHash {
    /// A number between 0 and 255, each as likely.
    pub(super) const fn first_byte(&self) -> u8 {
        let [first, ..] = self.0;
        first
    }

    /// All of it.
    pub(crate) const fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key of one of several answers to the same request, which differ by what these fields of it say.
    pub(crate) fn variant<'v>(&self, fields: impl Iterator<Item = (&'v str, &'v [u8])>) -> Self {
        let mut parts = KeyParts::default();
        parts.add(&self.0);
        for (name, value) in fields {
            parts.add(name.as_bytes());
            parts.add(value);
        }
        parts.hash()
    }
}

/// A key under construction.
pub(crate) struct KeyParts(Context);

impl Default for KeyParts {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl KeyParts {
    /// Adds a part; its length goes first, so that no two lists of parts run together to the same bytes.
    pub(crate) fn add(&mut self, part: &[u8]) {
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        self.0.update(&length.to_be_bytes());
        self.0.update(part);
    }

    /// Adds a part that may be missing, which is another thing than being empty.
    pub(crate) fn add_optional(&mut self, part: Option<&[u8]>) {
        self.add(if part.is_some() { b"1" } else { b"0" });
        self.add(part.unwrap_or_default());
    }

    /// Adds any number of parts, which do not run into what follows.
    pub(crate) fn add_all<'p>(&mut self, all: impl Iterator<Item = &'p [u8]>) {
        for part in all {
            self.add_optional(Some(part));
        }
        self.add_optional(None);
    }

    /// The key.
    pub(crate) fn hash(self) -> KeyHash {
        let mut hash = [0; SHA256_OUTPUT_LEN];
        for (to, from) in hash.iter_mut().zip(self.0.finish().as_ref()) {
            *to = *from;
        }
        KeyHash(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[&str]) -> KeyHash {
        let mut key = KeyParts::default();
        parts.iter().for_each(|part| key.add(part.as_bytes()));
        key.hash()
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_eq!(key(&["ab", "c"]), key(&["ab", "c"]));
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_ne!(key(&["ab"]), key(&["ab", ""]));
        let lists = |one: &[&str], other: &[&str]| {
            let mut key = KeyParts::default();
            key.add_all(one.iter().map(|part| part.as_bytes()));
            key.add_all(other.iter().map(|part| part.as_bytes()));
            key.hash()
        };
        assert_ne!(lists(&["a"], &["b"]), lists(&["a", "b"], &[]));
        assert_ne!(lists(&["a", "1"], &[]), lists(&["a"], &["1"]));
        let optional = |part| {
            let mut key = KeyParts::default();
            key.add_optional(part);
            key.hash()
        };
        assert_ne!(optional(None), optional(Some(b"".as_slice())));
    }
}
