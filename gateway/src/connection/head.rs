//! Strict reading of an HTTP/1 request head (RFC 9112), before pingora sees a byte of it.

use memchr::{memchr, memchr_iter, memchr2};
use policy::framing::{Fields, check_method};
use problem::catalogue;

use super::framing::{Refusal, VERSION_NOT_SUPPORTED};

/// Sizes that end a head early.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadLimits {
    /// Request line and fields together, in bytes: 431 beyond.
    pub(crate) bytes: usize,
    /// Number of fields: 431 beyond.
    pub(crate) fields: usize,
    /// The request target, in bytes: 414 beyond.
    pub(crate) target: usize,
}

/// Finds the end of a head that arrives in pieces.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    scanned: usize,
    line_start: usize,
}

impl Scanner {
    /// Looks at the bytes that have come since the last call. `Some` is the length of the head with its empty line.
    ///
    /// # Errors
    /// FR-4 as soon as a line does not end with CRLF; 431 as soon as the head is too long.
    pub(crate) fn advance(&mut self, bytes: &[u8], limits: HeadLimits) -> Result<Option<usize>, Refusal> {
        let fresh = bytes.get(self.scanned..).unwrap_or_default();
        for offset in memchr_iter(b'\n', fresh) {
            let at = self.scanned.saturating_add(offset);
            let line = bytes.get(self.line_start..at).unwrap_or_default();
            let Some((b'\r', line)) = line.split_last() else {
                return Err(Refusal::malformed(
                    "FR-4",
                    "a line of the head does not end with CRLF",
                ));
            };
            let end = at.saturating_add(1);
            if line.is_empty() {
                return if self.line_start == 0 {
                    Err(Refusal::malformed("FR-4", "the head begins with an empty line"))
                } else if end > limits.bytes {
                    Err(TOO_LARGE)
                } else {
                    Ok(Some(end))
                };
            }
            self.line_start = end;
        }
        self.scanned = bytes.len();
        if bytes.len() > limits.bytes {
            Err(TOO_LARGE)
        } else {
            Ok(None)
        }
    }
}

/// The head, or in HTTP/2 its list of fields, has more bytes than a head may have.
pub(super) const TOO_LARGE: Refusal = Refusal::new(
    catalogue::HEAD_TOO_LARGE,
    "limits.head",
    "the request head is too large",
);

/// Checks a whole head, as [`Scanner`] found it. Gives the length of the body behind it; `None` when it comes in chunks.
///
/// # Errors
/// The first rule of FR-1 to FR-9 that is broken, or 414 and 431 for sizes.
pub(crate) fn check(head: &[u8], limits: HeadLimits) -> Result<Option<u64>, Refusal> {
    let mut lines = lines(head);
    let request_line = RequestLine::parse(lines.next().unwrap_or_default(), limits)?;
    let mut fields = Fields::default();
    let mut count = 0_usize;
    for line in lines.take_while(|line| !line.is_empty()) {
        count = count.saturating_add(1);
        if count > limits.fields {
            let detail = "the request has too many headers";
            return Err(Refusal::new(catalogue::HEAD_TOO_LARGE, "limits.headers", detail));
        }
        let (name, value) = split_field(line)?;
        fields.observe_line(name, value)?;
    }
    Ok(fields.finish(request_line.method)?)
}

/// The lines of a whole head, without their ends.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0_usize;
    memchr_iter(b'\n', head).map(move |end| {
        let line = head.get(start..end).unwrap_or_default();
        start = end.saturating_add(1);
        line.strip_suffix(b"\r").unwrap_or(line)
    })
}

struct RequestLine<'h> {
    method: &'h [u8],
}

impl<'h> RequestLine<'h> {
    /// `method SP request-target SP HTTP-version`, with single spaces and nothing else (RFC 9112 §3).
    fn parse(line: &'h [u8], limits: HeadLimits) -> Result<Self, Refusal> {
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::malformed(
                "FR-4",
                "the request line is not method, target and version",
            ));
        };
        check_method(method)?;
        if version != b"HTTP/1.1" {
            // HTTP/1.0 knows neither chunks nor Host, and pingora would answer it in chunks.
            return Err(if is_version(version) {
                let detail = "the versions served are HTTP/1.1 and HTTP/2";
                Refusal::new(VERSION_NOT_SUPPORTED, "FR-9", detail)
            } else {
                Refusal::malformed("FR-9", "the request line has no HTTP version")
            });
        }
        check_target(target, limits)?;
        Ok(Self { method })
    }
}

/// `HTTP/` DIGIT `.` DIGIT (RFC 9112 §2.3).
const fn is_version(version: &[u8]) -> bool {
    matches!(
        version,
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9']
    )
}

/// Origin form, or `*`, of visible ASCII that RFC 3986 allows; the policy looks at the rest (PA-1 to PA-6). Pingora
/// would escape what is refused here and pass it on.
fn check_target(target: &[u8], limits: HeadLimits) -> Result<(), Refusal> {
    if target.len() > limits.target {
        let detail = "the request target is too long";
        return Err(Refusal::new(catalogue::TARGET_TOO_LONG, "limits.target", detail));
    }
    let legal = |byte: &u8| {
        matches!(byte, 0x21..=0x7e)
            && !matches!(
                byte,
                b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | b'#'
            )
    };
    let form = target == b"*" || target.first() == Some(&b'/');
    if form && target.iter().all(legal) {
        Ok(())
    } else {
        Err(Refusal::malformed(
            "PA-2",
            "the request target is not a path that a client may send",
        ))
    }
}

/// `field-name ":" OWS field-value OWS` (RFC 9112 §5). Space before the colon, folding, bare CR and NUL are refused (FR-4).
fn split_field(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Refusal::malformed("FR-4", "a header line begins with a space"));
    }
    if memchr2(b'\r', 0, line).is_some() {
        return Err(Refusal::malformed("FR-4", "a header line holds CR or NUL"));
    }
    let colon = memchr(b':', line);
    let Some((name, value)) = colon.and_then(|colon| line.split_at_checked(colon)) else {
        return Err(Refusal::malformed("FR-4", "a header line has no colon"));
    };
    if name.last().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
        return Err(Refusal::malformed(
            "FR-4",
            "there is a space before the colon of a header",
        ));
    }
    let value = value.strip_prefix(b":").unwrap_or(value);
    Ok((name, trim_whitespace(value)))
}

/// OWS is spaces and tabs only; other white space stays and is refused as a control character.
fn trim_whitespace(value: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
    let end = value
        .iter()
        .rposition(|byte| !blank(byte))
        .map_or(start, |last| last.saturating_add(1));
    value.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 1_024,
        fields: 8,
        target: 256,
    };

    fn verdict(head: &[u8]) -> Result<(), (u16, &'static str)> {
        let checked = match Scanner::default().advance(head, LIMITS) {
            Ok(Some(end)) => check(&head[..end], LIMITS).map(drop),
            Ok(None) => panic!("the head has no end: {:?}", head.escape_ascii().to_string()),
            Err(refusal) => Err(refusal),
        };
        checked.map_err(|refusal| (refusal.kind.status().as_u16(), refusal.rule))
    }

    fn with(fields: &str) -> Result<(), (u16, &'static str)> {
        verdict(format!("POST /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes())
    }

    #[test]
    fn ordinary_heads_pass() {
        assert_eq!(with(""), Ok(()));
        assert_eq!(
            with("Content-Length: 12\r\nContent-Type: application/json\r\n"),
            Ok(())
        );
        assert_eq!(with("Transfer-Encoding: Chunked\r\n"), Ok(()));
        assert_eq!(with("X-Empty:\r\nX-Tab:\ta b\t\r\n"), Ok(()));
        assert_eq!(
            with("Connection: keep-alive, Upgrade\r\nExpect: 100-continue\r\n"),
            Ok(())
        );
        assert_eq!(verdict(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), Ok(()));
        assert_eq!(verdict(b"GET /a?b=%20[c]&d='e' HTTP/1.1\r\n\r\n"), Ok(()));
    }

    #[test]
    fn the_length_of_the_body_is_known_from_the_head() {
        let length = |fields: &str| {
            check(
                format!("POST /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes(),
                LIMITS,
            )
            .unwrap()
        };
        assert_eq!(length(""), Some(0));
        assert_eq!(length("Content-Length: 12\r\n"), Some(12));
        assert_eq!(length("Transfer-Encoding: chunked\r\n"), None);
    }

    #[test]
    fn fr1_fr2_fr3_fr4_fr5_fr10_each_rule_refuses_what_it_names() {
        let cases: [(&str, &str); 24] = [
            ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "FR-1"),
            ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "FR-1"),
            ("Content-Length: 3\r\nContent-Length: 3\r\n", "FR-2"),
            ("Content-Length: 3, 3\r\n", "FR-2"),
            ("Content-Length: +3\r\n", "FR-2"),
            ("Content-Length: 03\r\n", "FR-2"),
            ("Content-Length: 0x3\r\n", "FR-2"),
            ("Content-Length: 9223372036854775808\r\n", "FR-2"),
            ("Content-Length:\r\n", "FR-2"),
            ("Transfer-Encoding: gzip, chunked\r\n", "FR-3"),
            ("Transfer-Encoding: xchunked\r\n", "FR-3"),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                "FR-3",
            ),
            ("Transfer-Encoding : chunked\r\n", "FR-4"),
            (" Folded: x\r\n", "FR-4"),
            ("X-A: 1\r\n\tfolded\r\n", "FR-4"),
            ("no colon\r\n", "FR-4"),
            (": empty name\r\n", "FR-4"),
            ("X-A: a\rb\r\n", "FR-4"),
            ("X-A: a\0b\r\n", "FR-4"),
            ("X-A: a\nX-B: b\r\n", "FR-4"),
            ("X_Auth_Subject: usr_1\r\n", "FR-5"),
            ("X-(Comment): 1\r\n", "FR-5"),
            ("X-A: a\u{1}b\r\n", "FR-5"),
            ("Connection: close, Authorization\r\n", "FR-10"),
        ];
        for (fields, rule) in cases {
            assert_eq!(with(fields), Err((400, rule)), "{fields:?}");
        }
    }

    #[test]
    fn fr6_single_fields_must_be_single() {
        for name in [
            "Host",
            "Content-Type",
            "Authorization",
            "Idempotency-Key",
            "Cookie",
            "X-Request-Id",
            "traceparent",
        ] {
            let refused = with(&format!("{name}: a\r\n{}: a\r\n", name.to_uppercase()));
            assert_eq!(refused, Err((400, "FR-6")), "{name}");
        }
    }

    #[test]
    fn fr7_reading_methods_take_no_body() {
        for method in ["GET", "HEAD", "DELETE", "OPTIONS", "TRACE"] {
            let sized = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n");
            let chunked = format!("{method} / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
            let empty = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(verdict(sized.as_bytes()), Err((400, "FR-7")), "{method}");
            assert_eq!(verdict(chunked.as_bytes()), Err((400, "FR-7")), "{method}");
            assert_eq!(verdict(empty.as_bytes()), Ok(()), "{method}");
        }
    }

    #[test]
    fn fr9_request_lines_are_read_to_the_letter() {
        let cases: [(&[u8], (u16, &str)); 13] = [
            (b"GET  / HTTP/1.1\r\n\r\n", (400, "FR-4")),
            (b"GET /a b HTTP/1.1\r\n\r\n", (400, "FR-4")),
            (b" GET / HTTP/1.1\r\n\r\n", (400, "FR-4")),
            (b"\r\nGET / HTTP/1.1\r\n\r\n", (400, "FR-4")),
            (b"G@T / HTTP/1.1\r\n\r\n", (400, "FR-9")),
            (b"GET / http/1.1\r\n\r\n", (400, "FR-9")),
            (b"GET / HTTP/2.0\r\n\r\n", (505, "FR-9")),
            (b"CONNECT a:443 HTTP/1.1\r\n\r\n", (405, "FR-9")),
            (b"GET http://a/ HTTP/1.1\r\n\r\n", (400, "PA-2")),
            (b"GET /<a> HTTP/1.1\r\n\r\n", (400, "PA-2")),
            (b"GET /\xc3\xa9 HTTP/1.1\r\n\r\n", (400, "PA-2")),
            (b"GET /a#b HTTP/1.1\r\n\r\n", (400, "PA-2")),
            (
                b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
                (505, "FR-9"),
            ),
        ];
        for (head, refusal) in cases {
            assert_eq!(
                verdict(head),
                Err(refusal),
                "{:?}",
                head.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn sizes_have_their_own_statuses() {
        let long_target = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(256));
        assert_eq!(verdict(long_target.as_bytes()), Err((414, "limits.target")));
        assert_eq!(
            with(&format!("X-A: {}\r\n", "a".repeat(1_024))),
            Err((431, "limits.head"))
        );
        assert_eq!(with(&"X-A: a\r\n".repeat(8)), Err((431, "limits.headers")));
        assert_eq!(with("Expect: a-miracle\r\n"), Err((417, "FR-8")));
    }

    #[test]
    fn an_endless_line_is_cut_before_it_ends() {
        let mut scanner = Scanner::default();
        assert_eq!(scanner.advance(b"GET /", LIMITS), Ok(None));
        let endless = [b"GET /".as_slice(), &[b'a'; 2_000]].concat();
        assert_eq!(scanner.advance(&endless, LIMITS).unwrap_err().kind.status(), 431);
    }

    proptest! {
        /// Wherever a head is cut into pieces, it ends at the same place, and the body behind it is not looked at.
        #[test]
        fn pieces_make_no_difference(cut in 0_usize..60, body in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut bytes = b"POST /transfers HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n".to_vec();
            let end = bytes.len();
            bytes.extend(&body);
            let mut scanner = Scanner::default();
            let first = scanner.advance(&bytes[..cut.min(end - 1)], LIMITS);
            prop_assert_eq!(first, Ok(None));
            prop_assert_eq!(scanner.advance(&bytes, LIMITS), Ok(Some(end)));
        }

        /// No input makes the reader panic, and nothing with a bare LF in its head passes.
        #[test]
        fn nothing_hostile_gets_through(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(Some(end)) = Scanner::default().advance(&bytes, LIMITS)
                && check(&bytes[..end], LIMITS).is_ok()
            {
                let head = &bytes[..end];
                prop_assert!(head.windows(2).all(|pair| pair[1] != b'\n' || pair[0] == b'\r'));
                prop_assert!(!head.contains(&0));
            }
        }
    }
}
