//! What an envelope says: where a stream stands now, for whom, and what it holds.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{Digest, Position, Stream};

/// The payload of an envelope. Unknown members are refused, never ignored: what a gateway does not understand it must not
/// claim to apply.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The stream that goes on with it.
    pub stream: Stream,
    /// Where the stream stands with it.
    pub position: Position,
    /// The envelope before it in this stream; none for the first.
    pub previous: Option<Digest>,
    /// When it was signed, Unix seconds.
    pub created_at: i64,
    /// After this no gateway takes it over that does not hold it already, Unix seconds.
    pub expires_at: i64,
    /// Whom it is for.
    pub target: Target,
    /// The version of the form of `content`.
    pub schema: u32,
    /// The oldest gateway that can apply it: of a policy, the one that knows all of its keys.
    pub min_version: Version,
    /// What a gateway must be able to do to apply it, by name.
    pub features: Vec<String>,
    /// The change that it belongs to, for people and for the audit record.
    pub change_id: String,
    /// Who made it.
    pub author: String,
    /// Who else agreed to it.
    pub approvers: Vec<String>,
    /// A [`PolicyContent`], a `keyring::KeySet`, or a [`StatedList`](crate::StatedList), as the stream says.
    pub content: Box<RawValue>,
}

/// Whom a statement is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The fleet.
    pub fleet: String,
    /// The environment, as `APP_ENV` spells it.
    pub environment: String,
    /// The gateways, by name; empty for all of the fleet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
}

/// The content of the `policy` stream: the files as their authors wrote them, and the cases that they must meet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyContent {
    /// The files of the bundle, sorted by name.
    pub files: Vec<PolicyFile>,
    /// The files of its cases (`*.test.yaml`), sorted by name; a gateway runs them before it takes the bundle over.
    pub cases: Vec<PolicyFile>,
}

impl PolicyContent {
    /// What a bundle is called in approvals and in the history: the SHA-256 of its canonical JSON. The same files and cases
    /// have the same digest, in whatever order they came.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut sorted = self.clone();
        sorted.sort();
        // A struct of strings always has a JSON form.
        Digest::of(&serde_json::to_vec(&sorted).unwrap_or_default())
    }

    /// Puts files and cases in the order of their names, in which they are stated.
    pub fn sort(&mut self) {
        for files in [&mut self.files, &mut self.cases] {
            files.sort_by(|one, next| one.name.cmp(&next.name));
        }
    }
}

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// Its path below the directory, with `/`.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A version of Portico, `major.minor.patch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64, pub u64, pub u64);

impl Version {
    /// What every gateway of a fleet has at least.
    pub const FIRST: Self = Self(0, 1, 0);
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl FromStr for Version {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('.').map(str::parse::<u64>);
        let mut next = || parts.next().and_then(Result::ok);
        let version = (next(), next(), next());
        match (version, parts.next()) {
            ((Some(major), Some(minor), Some(patch)), None) => Ok(Self(major, minor, patch)),
            _ => Err("a version is written major.minor.patch"),
        }
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}
