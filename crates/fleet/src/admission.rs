//! The rules by which a gateway believes a statement.

use crate::envelope::{Envelope, EnvelopeError};
use crate::trust::{Trust, TrustedKey};
use crate::{Position, Statement, Stream, Version};

/// The version of the form of `content` that this build reads and writes.
pub(crate) const SCHEMA: u32 = 1;
/// How far ahead of our clock the moment of a signature may be, seconds.
const CLOCK_SKEW_S: i64 = 300;

/// The gateway that asks.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// Its fleet.
    pub fleet: &'a str,
    /// Its environment, as `APP_ENV` spells it.
    pub environment: &'a str,
    /// Its name, as its certificate says.
    pub name: &'a str,
    /// Its version.
    pub version: Version,
    /// What it can do beyond the first version, by name.
    pub features: &'a [&'a str],
}

/// Why a statement is not taken over. The holder keeps what it has, and says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No envelope.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// No signature of a key that the trust document names.
    #[error("no trusted key has signed it")]
    Unsigned,
    /// The key is trusted, and its signature is wrong.
    #[error("the signature of {0} is wrong")]
    Signature(String),
    /// The key was trusted for another time.
    #[error("the key {0} may not sign at this time")]
    KeyTime(String),
    /// Signed, and still no statement that this build understands.
    #[error("the statement cannot be read: {0}")]
    Malformed(String),
    /// It goes on with another stream.
    #[error("the statement is of another stream")]
    Stream,
    /// It is for another fleet, environment or gateway.
    #[error("the statement is for another {0}")]
    Target(&'static str),
    /// Its position is not beyond the one that was reached.
    #[error("the position {offered} is not beyond {reached}")]
    Replayed {
        /// The position of the statement.
        offered: Position,
        /// The highest that was ever taken over.
        reached: Position,
    },
    /// It may not be taken over any more.
    #[error("the statement has expired")]
    Expired,
    /// It was signed in our future: one of the two clocks is wrong.
    #[error("the statement is of a time to come")]
    TimeToCome,
    /// It wants a newer gateway.
    #[error("the statement wants {0}")]
    Unsupported(String),
}

impl Refusal {
    /// A word for messages and metric labels.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Envelope(EnvelopeError::TooLarge) => "too_large",
            Self::Envelope(EnvelopeError::Malformed) => "no_envelope",
            Self::Unsigned => "unsigned",
            Self::Signature(_) => "bad_signature",
            Self::KeyTime(_) => "key_not_valid",
            Self::Malformed(_) => "malformed",
            Self::Stream => "wrong_stream",
            Self::Target(_) => "wrong_target",
            Self::Replayed { .. } => "replayed",
            Self::Expired => "expired",
            Self::TimeToCome => "time_to_come",
            Self::Unsupported(_) => "unsupported",
        }
    }
}

impl Statement {
    /// The version of the form of `content` that this build writes.
    pub const SCHEMA: u32 = SCHEMA;
}

/// Reads a statement that is to be taken over at `now` (Unix seconds): signed by a key that is trusted now and was when it
/// signed, for this gateway, beyond `reached`, neither expired nor of a time to come, and within what this build can do.
///
/// # Errors
///
/// The first rule that is broken.
pub fn admit(
    bytes: &[u8],
    stream: Stream,
    trust: &Trust,
    member: &Member<'_>,
    reached: Option<Position>,
    now: i64,
) -> Result<Statement, Refusal> {
    let (statement, key) = read(bytes, stream, trust, member)?;
    if let Some(reached) = reached.filter(|reached| statement.position <= *reached) {
        return Err(Refusal::Replayed {
            offered: statement.position,
            reached,
        });
    }
    if !key.covers(now) {
        return Err(Refusal::KeyTime(key.keyid.clone()));
    }
    if statement.expires_at < now {
        return Err(Refusal::Expired);
    }
    if statement.created_at > now + CLOCK_SKEW_S {
        return Err(Refusal::TimeToCome);
    }
    Ok(statement)
}

/// Reads a statement that was taken over before, from a disk: everything that [`admit`] asks for but time and position. A
/// gateway starts with what it had, however long the control plane is away; a key that the trust document in force no longer
/// names ends that, too.
///
/// # Errors
///
/// The first rule that is broken.
pub fn readmit(
    bytes: &[u8],
    stream: Stream,
    trust: &Trust,
    member: &Member<'_>,
) -> Result<Statement, Refusal> {
    read(bytes, stream, trust, member).map(|(statement, _)| statement)
}

fn read<'t>(
    bytes: &[u8],
    stream: Stream,
    trust: &'t Trust,
    member: &Member<'_>,
) -> Result<(Statement, &'t TrustedKey), Refusal> {
    let envelope = Envelope::parse(bytes)?;
    let key = signer(&envelope, trust)?;
    if envelope.payload_type != stream.payload_type() {
        return Err(Refusal::Stream);
    }
    let statement: Statement =
        serde_json::from_slice(&envelope.payload).map_err(|error| Refusal::Malformed(error.to_string()))?;
    if statement.stream != stream {
        return Err(Refusal::Stream);
    }
    if !key.covers(statement.created_at) {
        return Err(Refusal::KeyTime(key.keyid.clone()));
    }
    is_for(&statement, member)?;
    is_supported(&statement, member)?;
    Ok((statement, key))
}

/// The first trusted key that has signed. A wrong signature in a trusted name is worth more than “unsigned” in a log.
fn signer<'t>(envelope: &Envelope, trust: &'t Trust) -> Result<&'t TrustedKey, Refusal> {
    let signed = envelope.signed_bytes();
    let mut refusal = Refusal::Unsigned;
    for signature in &envelope.signatures {
        let Some(key) = trust.key(&signature.keyid) else {
            continue;
        };
        if key.has_signed(&signed, &signature.sig) {
            return Ok(key);
        }
        refusal = Refusal::Signature(key.keyid.clone());
    }
    Err(refusal)
}

fn is_for(statement: &Statement, member: &Member<'_>) -> Result<(), Refusal> {
    let target = &statement.target;
    if target.fleet != member.fleet {
        return Err(Refusal::Target("fleet"));
    }
    if target.environment != member.environment {
        return Err(Refusal::Target("environment"));
    }
    if !target.nodes.is_empty() && target.nodes.iter().all(|name| name != member.name) {
        return Err(Refusal::Target("gateway"));
    }
    Ok(())
}

fn is_supported(statement: &Statement, member: &Member<'_>) -> Result<(), Refusal> {
    if statement.schema != SCHEMA {
        return Err(Refusal::Unsupported(format!("schema {}", statement.schema)));
    }
    if statement.min_version > member.version {
        return Err(Refusal::Unsupported(format!("version {}", statement.min_version)));
    }
    let missing = statement
        .features
        .iter()
        .find(|feature| !member.features.contains(&feature.as_str()));
    missing.map_or(Ok(()), |feature| {
        Err(Refusal::Unsupported(format!("the feature {feature}")))
    })
}
