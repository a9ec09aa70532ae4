//! W3C Trace Context, level 1: which trace a request belongs to.

use std::fmt;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use super::random;

/// Length of a `traceparent` field value of version 00.
const TEXT: usize = 55;

/// The trace id, the id of the calling span, and whether the trace is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    sampled: bool,
}

impl TraceContext {
    /// Begins a new trace.
    #[must_use]
    pub fn new() -> Self {
        Self {
            // Zero is no valid id, here and below.
            trace_id: u128::from_be_bytes(random::bytes()).max(1),
            span_id: random_span_id(),
            sampled: true,
        }
    }

    /// Reads a `traceparent` field strictly (rule AD-9): version `ff`, upper-case hex, zero ids and a wrong length are
    /// refused; flags other than “sampled” are dropped.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let extra = parts.next().is_some();
        let form = [(version, 2), (trace, 32), (span, 16), (flags, 2)];
        if !form.iter().all(|(part, length)| is_lower_hex(part, *length)) {
            return None;
        }
        if version == "ff" || (version == "00" && extra) {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
        let span_id = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        Some(Self {
            trace_id,
            span_id,
            sampled,
        })
    }

    /// The same trace, one call further: what goes to the next service.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            span_id: random_span_id(),
            ..*self
        }
    }

    /// The trace id as 32 hexadecimal digits, as logs write it.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// The `traceparent` field value: `00-<trace id>-<span id>-<flags>`.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; TEXT] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let [_, _, _, rest @ ..] = &mut text;
        let (trace, rest) = rest.split_at_mut(2 * size_of::<u128>());
        write_hex(trace, &self.trace_id.to_be_bytes());
        if let [_, span @ .., _, _, sampled] = rest {
            write_hex(span, &self.span_id.to_be_bytes());
            *sampled = b'0' + u8::from(self.sampled);
        }
        text
    }

    /// The same facts for OpenTelemetry, as the remote parent of our span.
    #[must_use]
    pub fn to_span_context(&self) -> SpanContext {
        let flags = if self.sampled {
            TraceFlags::SAMPLED
        } else {
            TraceFlags::default()
        };
        SpanContext::new(
            TraceId::from(self.trace_id),
            SpanId::from(self.span_id),
            flags,
            true,
            TraceState::default(),
        )
    }
}

impl Default for TraceContext {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for TraceContext {
    /// The `traceparent` field value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_bytes()))
    }
}

/// Bytes as lower-case hexadecimal digits; `fmt` takes ten times as long for 128 bits.
fn write_hex(text: &mut [u8], bytes: &[u8]) {
    let digit = |number: u8| number + if number < 10 { b'0' } else { b'a' - 10 };
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}

fn is_lower_hex(part: &str, length: usize) -> bool {
    part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn random_span_id() -> u64 {
    u64::from_be_bytes(random::bytes()).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_traceparent_survives_the_round_trip() {
        let context = TraceContext::parse(GOOD).unwrap();
        assert_eq!(context.to_string(), GOOD);
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");

        let child = context.child();
        assert_eq!(child.trace_id(), context.trace_id());
        assert_ne!(child.to_string(), GOOD);
    }

    #[test]
    fn ad9_everything_else_is_refused() {
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "00-4bf92f3577b34da6a3ce929d0e0e473-000f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_later_version_may_carry_more() {
        assert!(
            TraceContext::parse("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what").is_some()
        );
    }
}
