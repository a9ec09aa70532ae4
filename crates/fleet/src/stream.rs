//! The four streams, and where one stands.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a statement is about. Each stream goes on by itself: a policy that is refused holds no revocation up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Routes, limits and rules: a bundle of policy files with its cases. Rolled out in stages.
    Policy,
    /// The public keys that verify Portico's tokens. To everybody at once.
    Keyset,
    /// Tokens, sessions, subjects, clients and keys that are no longer good. To everybody at once.
    Revocations,
    /// Networks that are blocked for a time. To everybody at once.
    Blocks,
}

/// A word that is no stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown stream; the streams are policy, keyset, revocations, blocks")]
pub struct UnknownStream;

impl Stream {
    /// Every stream.
    pub const ALL: [Self; 4] = [Self::Policy, Self::Keyset, Self::Revocations, Self::Blocks];

    /// The word in messages, tables and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Keyset => "keyset",
            Self::Revocations => "revocations",
            Self::Blocks => "blocks",
        }
    }

    /// The `payloadType` of its envelopes.
    #[must_use]
    pub const fn payload_type(self) -> &'static str {
        match self {
            Self::Policy => "application/vnd.portico.policy+json",
            Self::Keyset => "application/vnd.portico.keyset+json",
            Self::Revocations => "application/vnd.portico.revocations+json",
            Self::Blocks => "application/vnd.portico.blocks+json",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Stream {
    type Err = UnknownStream;

    fn from_str(word: &str) -> Result<Self, UnknownStream> {
        Self::ALL
            .into_iter()
            .find(|stream| stream.as_str() == word)
            .ok_or(UnknownStream)
    }
}

/// Where a stream stands, written `epoch.seq`. Only ever grows: a rollback is a new position with old content.
///
/// The epoch grows when the database was restored from a backup, so that positions which the lost part of its history had
/// given away are not given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Position {
    /// Compared first.
    pub epoch: u64,
    /// Compared second.
    pub seq: u64,
}

/// A text that is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a position is written epoch.seq, in decimal")]
pub struct InvalidPosition;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.seq)
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (epoch, seq) = text.split_once('.').ok_or(InvalidPosition)?;
        Ok(Self {
            epoch: number(epoch)?,
            seq: number(seq)?,
        })
    }
}

/// Digits alone, without leading zeros: one position has one spelling.
fn number(digits: &str) -> Result<u64, InvalidPosition> {
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_plain || (digits.len() > 1 && digits.starts_with('0')) {
        return Err(InvalidPosition);
    }
    digits.parse().map_err(|_| InvalidPosition)
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_has_one_spelling_and_the_epoch_weighs_more() {
        let position = Position { epoch: 3, seq: 118 };
        assert_eq!(position.to_string(), "3.118");
        assert_eq!("3.118".parse(), Ok(position));
        assert!(position > "2.9000".parse().unwrap() && position < "3.119".parse().unwrap());
        for wrong in [
            "3",
            "3.",
            ".3",
            "03.1",
            "3.01",
            "+3.1",
            "3.-1",
            "3.1.1",
            "3.18446744073709551616",
        ] {
            assert_eq!(wrong.parse::<Position>(), Err(InvalidPosition), "{wrong}");
        }
    }
}
