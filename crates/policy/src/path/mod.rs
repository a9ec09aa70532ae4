//! One canonical spelling of a path, decided once: what is matched is what is limited, logged and forwarded.
//!
//! **Invariant:** a path that is not already canonical is refused (PA-1, PA-2), so the gateway and the service
//! behind it can never read it differently.

/// Most parameters of a query (PA-6): servers make a table of them before anybody looks at one.
const MOST_PARAMETERS: usize = 128;

/// A request target in canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// The path, from its `/`.
    pub(crate) path: &'a str,
    /// The query, without its `?`.
    pub(crate) query: Option<&'a str>,
}

/// Why a target is refused: the rule and a sentence for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// `path PA-2` and so on.
    pub(crate) rule: &'static str,
    /// What is wrong, without repeating what the client sent.
    pub(crate) detail: &'static str,
}

const fn pa2(detail: &'static str) -> Fault {
    Fault {
        rule: "language: path PA-2",
        detail,
    }
}

const fn pa3(detail: &'static str) -> Fault {
    Fault {
        rule: "language: path PA-3",
        detail,
    }
}

/// Splits and checks a request target as received.
pub(crate) fn target(received: &str) -> Result<Target<'_>, Fault> {
    let (path, query) = match received.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (received, None),
    };
    check_path(path)?;
    if let Some(query) = query {
        check_query(query)?;
    }
    Ok(Target { path, query })
}

/// Checks that a path is in canonical form.
pub(crate) fn check_path(path: &str) -> Result<(), Fault> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err(Fault {
            rule: "language: path PA-1",
            detail: "the target must be a path that begins with /",
        });
    };
    let has_high_bytes = check_characters(path)?;
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        if segment.is_empty() && segments.peek().is_some() {
            return Err(pa2("the path has an empty segment"));
        }
        if matches!(segment, "." | "..") {
            return Err(pa2("the path has a dot segment"));
        }
    }
    if has_high_bytes && std::str::from_utf8(&decoded(path)).is_err() {
        return Err(pa2("the path is not UTF-8"));
    }
    Ok(())
}

/// Checks every byte and escape; answers whether any escape stands for a byte above ASCII.
fn check_characters(path: &str) -> Result<bool, Fault> {
    let mut has_high_bytes = false;
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => has_high_bytes |= check_escape(bytes.next(), bytes.next())?,
            b'\\' => return Err(pa2("the path has a backslash")),
            b';' => return Err(pa2("the path has parameters")),
            b'#' => return Err(pa2("the target has a fragment")),
            b'/' => {}
            _ if is_plain(byte) => {}
            _ => return Err(pa2("the path has a character that must be escaped")),
        }
    }
    Ok(has_high_bytes)
}

fn check_escape(high: Option<u8>, low: Option<u8>) -> Result<bool, Fault> {
    let bad = pa2("the path has a broken percent escape");
    let (high, low) = high.zip(low).ok_or(bad)?;
    let byte = nibble(high)
        .zip(nibble(low))
        .map(|(high, low)| (high << 4) | low)
        .ok_or(bad)?;
    match byte {
        b'.' => Err(pa2("the path has an escaped dot")),
        b'/' | b'\\' => Err(pa2("the path has an escaped slash or backslash")),
        b'%' => Err(pa2("the path is escaped twice")),
        0..=0x1f | 0x7f => Err(pa2("the path has an escaped control character")),
        _ if is_unreserved(byte) => Err(pa3("the path escapes a character that needs no escape")),
        _ if high.is_ascii_lowercase() || low.is_ascii_lowercase() => {
            Err(pa3("percent escapes are written with capital letters"))
        }
        _ => Ok(byte >= 0x80),
    }
}

/// Checks a query: only characters of RFC 3986 §3.4 (and brackets), every escape whole, so that it can be
/// copied into a `Location` or to an upstream as it is (RD-5).
fn check_query(query: &str) -> Result<(), Fault> {
    let mut bytes = query.bytes();
    while let Some(byte) = bytes.next() {
        let fits = match byte {
            b'%' => bytes.next().and_then(nibble).is_some() && bytes.next().and_then(nibble).is_some(),
            b'/' | b'?' | b';' | b'[' | b']' => true,
            _ => is_plain(byte),
        };
        if !fits {
            return Err(Fault {
                rule: "language: path PA-2",
                detail: "the query has a character that must be escaped",
            });
        }
    }
    if query.split('&').nth(MOST_PARAMETERS).is_some() {
        return Err(Fault {
            rule: "language: path PA-6",
            detail: "the query has too many parameters",
        });
    }
    Ok(())
}

fn decoded(path: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let escaped = (byte == b'%')
            .then(|| Some((bytes.next().and_then(nibble)? << 4) | bytes.next().and_then(nibble)?))
            .flatten();
        decoded.push(escaped.unwrap_or(byte));
    }
    decoded
}

/// How a service that decodes before it routes would read a canonical path; `None` when it is the same text.
///
/// Escapes above ASCII stay: no route is written with other letters than ASCII ones.
pub(crate) fn with_ascii_unescaped(path: &str) -> Option<String> {
    if !path.contains('%') {
        return None;
    }
    let mut parts = path.split('%');
    let mut read = parts.next().unwrap_or_default().to_owned();
    let mut is_other = false;
    for part in parts {
        let byte = part
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(u8::is_ascii).zip(part.get(2..)) {
            Some((byte, rest)) => {
                read.push(char::from(byte));
                read.push_str(rest);
                is_other = true;
            }
            None => {
                read.push('%');
                read.push_str(part);
            }
        }
    }
    is_other.then_some(read)
}

/// Upper or lower case hex digit to its value.
fn nibble(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// RFC 3986 §2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// `pchar` of RFC 3986 §3.3 without `;` and escapes.
const fn is_plain(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@'
        )
}

#[cfg(test)]
mod tests;
