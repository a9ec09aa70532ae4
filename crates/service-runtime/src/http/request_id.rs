//! The id of one request: on every answer, every log line and every problem document.

use std::fmt;

use uuid::Builder;

use super::random;
use crate::clock::Clock;

/// 8 to 64 characters of `[A-Za-z0-9._-]` (rule AD-8), so that it can stand in a header, a log line and a URN.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(String);

impl RequestId {
    /// A new id, ordered by time to the millisecond (UUID version 7).
    #[must_use]
    pub fn new() -> Self {
        let now_ms = u64::try_from(Clock::system().now().timestamp_millis()).unwrap_or(0);
        let id = Builder::from_unix_timestamp_millis(now_ms, &random::bytes()).into_uuid();
        Self(id.to_string())
    }

    /// Takes over an id that came with the request, if it has the allowed form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        ((8..=64).contains(&text.len()) && text.bytes().all(allowed)).then(|| Self(text.to_owned()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::new()
    }
}

impl From<RequestId> for String {
    fn from(id: RequestId) -> Self {
        id.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_ids_are_taken_over() {
        assert!(RequestId::parse("0123-abc.DEF_9").is_some());
        for bad in [
            "short",
            "with space 123",
            "new\nline12",
            "quote\"1234",
            &"x".repeat(65),
        ] {
            assert_eq!(RequestId::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_new_id_tells_its_time_and_is_nobody_elses() {
        let (first, second) = (RequestId::new(), RequestId::new());
        assert_ne!(first, second);
        assert_eq!(RequestId::parse(first.as_str()), Some(first.clone()));
        let uuid: uuid::Uuid = first.as_str().parse().unwrap();
        assert_eq!(uuid.get_version_num(), 7);
        let (seconds, _) = uuid.get_timestamp().unwrap().to_unix();
        assert!(
            Clock::system()
                .now()
                .timestamp()
                .abs_diff(i64::try_from(seconds).unwrap())
                < 3_600
        );
    }
}
