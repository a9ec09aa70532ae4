//! A secret in memory: wiped when dropped, never printed, compared in constant time.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use crate::source::{self, Source};

/// A secret text, given as a [reference](crate::Reference). A literal is refused.
#[derive(Clone, Default)]
pub struct Secret {
    text: Zeroizing<String>,
    source: Option<Arc<Source>>,
}

impl Secret {
    /// The secret itself. Do not log it, store it or put it into an error.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Whether nothing was given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Where it came from, for those who follow its changes.
    #[must_use]
    pub fn source(&self) -> Option<&Arc<Source>> {
        self.source.as_ref()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self {
            text: Zeroizing::new(text),
            source: None,
        }
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(self.text.as_bytes(), other.text.as_bytes()).is_ok()
    }
}

impl Eq for Secret {}

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
        let reference = Zeroizing::new(String::deserialize(deserializer)?);
        let source = source::look_up(&reference).map_err(D::Error::custom)?;
        let text = source.text().map_err(D::Error::custom)?;
        Ok(Self {
            text,
            source: Some(source),
        })
    }
}

/// Secret bytes, given as a [reference](crate::Reference): what is there, as it is.
#[derive(Clone, Default)]
pub struct SecretBytes {
    bytes: Zeroizing<Vec<u8>>,
    source: Option<Arc<Source>>,
}

impl SecretBytes {
    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }

    /// Where it came from.
    #[must_use]
    pub fn source(&self) -> Option<&Arc<Source>> {
        self.source.as_ref()
    }

    /// What is at a reference.
    pub(crate) fn at(reference: &str) -> Result<Self, String> {
        let source = source::look_up(reference)?;
        Ok(Self {
            bytes: source.bytes(),
            source: Some(source),
        })
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            bytes: Zeroizing::new(bytes),
            source: None,
        }
    }
}

impl PartialEq for SecretBytes {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.bytes, &other.bytes).is_ok()
    }
}

impl Eq for SecretBytes {}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.bytes.is_empty() {
            "SecretBytes(empty)"
        } else {
            "SecretBytes(…)"
        })
    }
}

impl<'de> Deserialize<'de> for SecretBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let reference = Zeroizing::new(String::deserialize(deserializer)?);
        Self::at(&reference).map_err(D::Error::custom)
    }
}

/// The value of an environment variable, if it is set and valid Unicode.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads one variable")]
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_secret_is_refused_and_a_file_is_read() {
        let refused = serde_yaml::from_str::<Secret>("hunter2").unwrap_err().to_string();
        assert!(
            refused.contains("not written here") && !refused.contains("hunter2"),
            "{refused}"
        );

        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret\n").unwrap();
        let reference = format!("file:{}", file.path().display());
        let secret: Secret = serde_yaml::from_str(&reference).unwrap();
        assert_eq!(secret.expose(), "s3cret");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        let bytes: SecretBytes = serde_yaml::from_str(&reference).unwrap();
        assert_eq!(bytes.expose(), b"s3cret\n");
        assert_eq!(format!("{bytes:?}"), "SecretBytes(…)");
    }

    #[test]
    fn secrets_are_equal_when_their_texts_are() {
        let secret = |text: &str| Secret::from(text.to_owned());
        assert_eq!(secret("a"), secret("a"));
        assert_ne!(secret("a"), secret("b"));
        assert_ne!(secret("a"), secret("aa"));
        assert_ne!(SecretBytes::from(vec![1]), SecretBytes::from(vec![2]));
    }
}
