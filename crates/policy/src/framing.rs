//! What a request head must not say, whatever any policy says (RFC 9110, RFC 9112, RFC 9113).
//!
//! One place for all: the gateway asks it before anything else reads a head, and the evaluator asks it again in its
//! framing phase, so that every tool refuses what the gateway refuses.

use crate::DenialKind;
use http::HeaderMap;

/// A rule of HTTP that a head breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What kind of refusal it is.
    pub kind: DenialKind,
    /// The rule, as decisions name it: `language: one framing FR-1`.
    pub rule: &'static str,
    /// For the client; a constant, so it can hold nothing about anyone.
    pub detail: &'static str,
}

impl Fault {
    const fn malformed(rule: &'static str, detail: &'static str) -> Self {
        Self {
            kind: DenialKind::MalformedRequest,
            rule,
            detail,
        }
    }

    /// The id of the rule alone: `FR-1`.
    #[must_use]
    pub fn id(&self) -> &'static str {
        self.rule.rsplit(' ').next().unwrap_or(self.rule)
    }
}

const FR_1: &str = "language: one framing FR-1";
const FR_2: &str = "language: body length FR-2";
const FR_3: &str = "language: transfer coding FR-3";
const FR_4: &str = "language: header lines FR-4";
const FR_5: &str = "language: header names and values FR-5";
const FR_6: &str = "language: one value per header FR-6";
const FR_7: &str = "language: no body here FR-7";
const FR_8: &str = "language: expectations FR-8";
const FR_9: &str = "language: method FR-9";
const FR_10: &str = "language: connection options FR-10";

/// Every rule that a [`Fault`] can name.
pub(crate) const RULES: [&str; 10] = [FR_1, FR_2, FR_3, FR_4, FR_5, FR_6, FR_7, FR_8, FR_9, FR_10];

/// FR-9: the method is a token, and no request for a tunnel.
///
/// # Errors
/// What is wrong with it.
pub fn check_method(method: &[u8]) -> Result<(), Fault> {
    if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
        return Err(Fault::malformed(FR_9, "the method is not a token"));
    }
    if method == b"CONNECT" {
        let kind = DenialKind::MethodNotAllowed;
        let detail = "this server is no tunnel";
        return Err(Fault {
            kind,
            rule: FR_9,
            detail,
        });
    }
    Ok(())
}

/// What version-independent rules need to know of a head; fed one field at a time.
#[derive(Debug, Default)]
pub struct Fields {
    /// Which of [`SINGLE`] were there, in its order.
    seen: [bool; 9],
    content_length: Option<u64>,
    chunked: bool,
    /// Whether a body comes that no field tells of.
    unannounced: bool,
}

/// Fields that must not come twice (FR-6). `Cookie` is split by HTTP/2 clients on
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
    /// Looks at one line of an HTTP/1 head, name and value as received.
    ///
    /// # Errors
    /// FR-1 to FR-8: the rule that this field breaks.
    pub fn observe_line(&mut self, name: &[u8], value: &[u8]) -> Result<(), Fault> {
        check_name(name)?;
        if any(value, is_control) {
            return Err(Fault::malformed(FR_5, "a header value holds a control character"));
        }
        self.observe(name, value, true)
    }

    /// Looks at every field of a head that was read already, by HTTP/2 or by a tool: names and values are well-formed,
    /// and cookies may come in several fields.
    ///
    /// # Errors
    /// FR-2 to FR-8: the rule that a field breaks.
    pub fn observe_map(&mut self, headers: &HeaderMap) -> Result<(), Fault> {
        for (name, value) in headers {
            check_name(name.as_str().as_bytes())?;
            if let [b' ' | b'\t', ..] | [.., b' ' | b'\t'] = value.as_bytes() {
                // RFC 9113 §8.2.1: in HTTP/1 the space around a value is none of it.
                return Err(Fault::malformed(
                    FR_5,
                    "a header value begins or ends with a space",
                ));
            }
            self.observe(name.as_str().as_bytes(), value.as_bytes(), false)?;
        }
        Ok(())
    }

    /// Notes that a stream of HTTP/2 goes on behind its head, which needs no field.
    pub const fn observe_body(&mut self) {
        self.unannounced = true;
    }

    fn observe(&mut self, name: &[u8], value: &[u8], http1: bool) -> Result<(), Fault> {
        self.count(name, http1)?;
        if is(name, b"content-length") {
            self.content_length = Some(parse_content_length(value)?);
        } else if is(name, b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Fault::malformed(
                    FR_3,
                    "transfer-encoding must be `chunked`, once",
                ));
            }
            self.chunked = true;
        } else if is(name, b"expect") && !value.eq_ignore_ascii_case(b"100-continue") {
            let detail = "the only expectation met here is 100-continue";
            return Err(Fault {
                kind: DenialKind::ExpectationFailed,
                rule: FR_8,
                detail,
            });
        } else if is(name, b"connection") {
            check_connection(value)?;
        }
        Ok(())
    }

    fn count(&mut self, name: &[u8], http1: bool) -> Result<(), Fault> {
        let Some(index) = SINGLE.iter().position(|single| is(name, single)) else {
            return Ok(());
        };
        if index == COOKIE && !http1 {
            return Ok(());
        }
        let Some(seen) = self.seen.get_mut(index) else {
            return Ok(());
        };
        if std::mem::replace(seen, true) {
            let rule = if is(name, b"content-length") { FR_2 } else { FR_6 };
            return Err(Fault::malformed(rule, "a header that must be single came twice"));
        }
        Ok(())
    }

    /// The rules between fields, once all are seen. Gives the length of the body; `None` when it comes in chunks.
    ///
    /// # Errors
    /// FR-1 and FR-7.
    pub fn finish(&self, method: &[u8]) -> Result<Option<u64>, Fault> {
        if self.chunked && self.content_length.is_some() {
            return Err(Fault::malformed(
                FR_1,
                "content-length and transfer-encoding together",
            ));
        }
        let has_body = self.chunked || self.content_length.map_or(self.unannounced, |length| length > 0);
        if has_body && !takes_body(method) {
            return Err(Fault::malformed(FR_7, "this method takes no body"));
        }
        Ok(if self.chunked {
            None
        } else {
            Some(self.content_length.unwrap_or(0))
        })
    }
}

/// FR-7: whether a request with this method may have a body.
pub(crate) const fn takes_body(method: &[u8]) -> bool {
    !matches!(method, b"GET" | b"HEAD" | b"DELETE" | b"OPTIONS" | b"TRACE")
}

/// FR-5: a token (RFC 9110 §5.6.2) without underscores, which application servers confuse with hyphens.
fn check_name(name: &[u8]) -> Result<(), Fault> {
    if name.is_empty() {
        return Err(Fault::malformed(FR_4, "a header has no name"));
    }
    if !name.iter().all(|byte| is_token(*byte) && *byte != b'_') {
        let detail = if name.contains(&b'_') {
            "a header name holds an underscore"
        } else {
            "a header name holds an illegal character"
        };
        return Err(Fault::malformed(FR_5, detail));
    }
    if is_disguised(name) {
        return Err(Fault::malformed(
            FR_5,
            "a header name looks like one that frames the body",
        ));
    }
    Ok(())
}

/// Whether lenient servers would take this name for one that frames the body: `Transfer---Encoding`, `Content.Length`.
fn is_disguised(name: &[u8]) -> bool {
    let letters = name.iter().filter(|byte| byte.is_ascii_alphanumeric());
    let frames = match name.first() {
        Some(b'c' | b'C') => b"contentlength".as_slice(),
        Some(b't' | b'T') => b"transferencoding".as_slice(),
        _ => return false,
    };
    letters.map(u8::to_ascii_lowercase).eq(frames.iter().copied())
        && !is(name, b"content-length")
        && !is(name, b"transfer-encoding")
}

/// FR-2: digits only, no leading zero, and small enough for every reader on the way.
fn parse_content_length(value: &[u8]) -> Result<u64, Fault> {
    let fault = Fault::malformed(FR_2, "content-length must be one decimal number");
    let canonical = match value {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !canonical {
        return Err(fault);
    }
    let text = std::str::from_utf8(value).map_err(|_| fault)?;
    text.parse::<u64>()
        .ok()
        .filter(|length| i64::try_from(*length).is_ok())
        .ok_or(fault)
}

/// A nominated field is removed on the way: nobody may nominate `Authorization` or our identity headers.
fn check_connection(value: &[u8]) -> Result<(), Fault> {
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
        Err(Fault::malformed(
            FR_10,
            "connection names a field that it may not name",
        ))
    }
}

fn is(name: &[u8], expected: &[u8]) -> bool {
    name.eq_ignore_ascii_case(expected)
}

/// `tchar` of RFC 9110 §5.6.2.
#[must_use]
pub fn is_token(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)).copied().unwrap_or(false)
}

/// Looked up, because every byte of every field name is asked twice.
#[expect(
    clippy::indexing_slicing,
    reason = "the compiler evaluates it, and a byte is below 256"
)]
static TOKEN: [bool; 256] = {
    let legal = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut table = [false; 256];
    let mut rest: &[u8] = legal;
    while let [byte, others @ ..] = rest {
        table[*byte as usize] = true;
        rest = others;
    }
    table
};

/// Whether any byte is such a one. Looks at all of them, which a processor does many at a time.
fn any(bytes: &[u8], is_such: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(false, |found, byte| found | is_such(*byte))
}

const fn is_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7f
}
