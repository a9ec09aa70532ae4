//! Rules of a request head that hold before any policy is asked (RFC 9112, RFC 9113). One place for both versions.
//!
//! **Invariant:** what this module refuses never reaches pingora's parser, the policy, or an upstream.

use http::HeaderMap;
use problem::{ProblemType, catalogue};

/// `Expect` asks for something that we do not do (RFC 9110 §10.1.1).
pub(crate) const EXPECTATION_FAILED: ProblemType =
    ProblemType::new("expectation-failed", 417, "The expectation cannot be met");
/// A version of HTTP that is not served here.
pub(crate) const VERSION_NOT_SUPPORTED: ProblemType = ProblemType::new(
    "http-version-not-supported",
    505,
    "This version of HTTP is not supported",
);

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What the client is told.
    pub(crate) kind: ProblemType,
    /// The rule that is broken: `FR-1`.
    pub(crate) rule: &'static str,
    /// For the client; a constant, so it can hold nothing about anyone.
    pub(crate) detail: &'static str,
}

impl Refusal {
    pub(crate) const fn malformed(rule: &'static str, detail: &'static str) -> Self {
        Self {
            kind: catalogue::MALFORMED_REQUEST,
            rule,
            detail,
        }
    }
}

/// What version-independent rules need to know of a head; fed one field at a time.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    seen: u16,
    content_length: Option<u64>,
    chunked: bool,
}

/// Fields that must not come twice (FR-6), with their bit in [`Fields::seen`]. `Cookie` is split by HTTP/2 clients on
/// purpose (RFC 9113 §8.2.3), so it is single in HTTP/1 only.
const SINGLE: [&[u8]; 9] = [
    b"host",
    b"content-length",
    b"content-type",
    b"authorization",
    b"idempotency-key",
    b"x-request-id",
    b"traceparent",
    b"expect",
    b"cookie",
];
const COOKIE: usize = 8;

/// What `Connection` may name: nothing that would take a field away from us or from the upstream.
const CONNECTION_OPTIONS: [&[u8]; 5] = [b"close", b"keep-alive", b"upgrade", b"te", b"http2-settings"];

impl Fields {
    /// Looks at one field of an HTTP/1 head; `name` as received.
    ///
    /// # Errors
    /// FR-1 to FR-8: the rule that this field breaks.
    pub(crate) fn observe_http1(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        check_name(name)?;
        if value.iter().any(|byte| is_control(*byte)) {
            return Err(Refusal::malformed(
                "FR-5",
                "a header value holds a control character",
            ));
        }
        self.observe(name, value, true)
    }

    /// Looks at every field of an HTTP/2 head. The h2 crate has checked names, values and pseudo-header fields (FR-11).
    ///
    /// # Errors
    /// FR-2 to FR-8: the rule that a field breaks.
    pub(crate) fn observe_http2(&mut self, headers: &HeaderMap) -> Result<(), Refusal> {
        for (name, value) in headers {
            check_name(name.as_str().as_bytes())?;
            self.observe(name.as_str().as_bytes(), value.as_bytes(), false)?;
        }
        Ok(())
    }

    fn observe(&mut self, name: &[u8], value: &[u8], http1: bool) -> Result<(), Refusal> {
        self.count(name, http1)?;
        if is(name, b"content-length") {
            self.content_length = Some(parse_content_length(value)?);
        } else if is(name, b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::malformed(
                    "FR-3",
                    "transfer-encoding must be `chunked`, once",
                ));
            }
            self.chunked = true;
        } else if is(name, b"expect") && !value.eq_ignore_ascii_case(b"100-continue") {
            let detail = "the only expectation met here is 100-continue";
            return Err(Refusal {
                kind: EXPECTATION_FAILED,
                rule: "FR-8",
                detail,
            });
        } else if is(name, b"connection") {
            check_connection(value)?;
        }
        Ok(())
    }

    fn count(&mut self, name: &[u8], http1: bool) -> Result<(), Refusal> {
        let Some(index) = SINGLE.iter().position(|single| is(name, single)) else {
            return Ok(());
        };
        if index == COOKIE && !http1 {
            return Ok(());
        }
        let bit = 1_u16 << index;
        if self.seen & bit != 0 {
            let rule = if is(name, b"content-length") {
                "FR-2"
            } else {
                "FR-6"
            };
            return Err(Refusal::malformed(
                rule,
                "a header that must be single came twice",
            ));
        }
        self.seen |= bit;
        Ok(())
    }

    /// The rules between fields, once all are seen. Gives the length of the body; `None` when it comes in chunks.
    ///
    /// # Errors
    /// FR-1 and FR-7.
    pub(crate) fn finish(&self, method: &[u8]) -> Result<Option<u64>, Refusal> {
        if self.chunked && self.content_length.is_some() {
            return Err(Refusal::malformed(
                "FR-1",
                "content-length and transfer-encoding together",
            ));
        }
        let has_body = self.chunked || self.content_length.is_some_and(|length| length > 0);
        if has_body && matches!(method, b"GET" | b"HEAD" | b"DELETE" | b"OPTIONS" | b"TRACE") {
            return Err(Refusal::malformed("FR-7", "this method takes no body"));
        }
        Ok(if self.chunked {
            None
        } else {
            Some(self.content_length.unwrap_or(0))
        })
    }
}

/// FR-5: a token (RFC 9110 §5.6.2) without underscores, which application servers confuse with hyphens.
fn check_name(name: &[u8]) -> Result<(), Refusal> {
    if name.is_empty() {
        return Err(Refusal::malformed("FR-4", "a header has no name"));
    }
    if name.contains(&b'_') {
        return Err(Refusal::malformed("FR-5", "a header name holds an underscore"));
    }
    if !name.iter().all(|byte| is_token(*byte)) {
        return Err(Refusal::malformed(
            "FR-5",
            "a header name holds an illegal character",
        ));
    }
    Ok(())
}

/// FR-2: digits only, no leading zero, and small enough for every reader on the way.
fn parse_content_length(value: &[u8]) -> Result<u64, Refusal> {
    let refusal = Refusal::malformed("FR-2", "content-length must be one decimal number");
    let canonical = match value {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !canonical {
        return Err(refusal);
    }
    let text = std::str::from_utf8(value).map_err(|_| refusal)?;
    text.parse::<u64>()
        .ok()
        .filter(|length| i64::try_from(*length).is_ok())
        .ok_or(refusal)
}

/// A nominated field is removed on the way: nobody may nominate `Authorization` or our identity headers.
fn check_connection(value: &[u8]) -> Result<(), Refusal> {
    let allowed = value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|option| !option.is_empty())
        .all(|option| {
            CONNECTION_OPTIONS
                .iter()
                .any(|allowed| option.eq_ignore_ascii_case(allowed))
        });
    if allowed {
        Ok(())
    } else {
        Err(Refusal::malformed(
            "FR-10",
            "connection names a field that it may not name",
        ))
    }
}

fn is(name: &[u8], expected: &[u8]) -> bool {
    name.eq_ignore_ascii_case(expected)
}

/// `tchar` of RFC 9110 §5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

const fn is_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7f
}
