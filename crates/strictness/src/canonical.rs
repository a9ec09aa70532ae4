//! The reader of what an upstream receives: it knows one way to frame a request, and calls everything else a fault.
//!
//! It is written apart from the rules that it judges.

/// One whole request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `GET`.
    pub method: String,
    /// As it stands in the request line.
    pub target: String,
    /// Names as received.
    pub fields: Vec<(String, String)>,
    /// Without its framing.
    pub body: Vec<u8>,
}

impl Message {
    /// The only value of a field; `None` when it is not there, or there twice.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self
            .fields
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str());
        values.next().filter(|_| values.next().is_none())
    }
}

/// What makes bytes ambiguous.
pub type Fault = &'static str;

/// The first request in `bytes` and how many of them it takes; `None` while it is not whole.
///
/// # Errors
/// What another server could read in another way.
pub fn next(bytes: &[u8]) -> Result<Option<(Message, usize)>, Fault> {
    if bytes.is_empty() {
        return Ok(None);
    }
    if has_bare_line_end(
        bytes.split(|byte| *byte == b'\n').next().unwrap_or_default(),
        bytes,
    ) {
        return Err("a line end that is no CRLF");
    }
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let (head, rest) = bytes.split_at(end.saturating_add(4));
    let head = std::str::from_utf8(head.get(..end).unwrap_or_default()).map_err(|_| "bytes above ASCII")?;
    let mut lines = head.split("\r\n");
    let request_line: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, "HTTP/1.1" | "HTTP/1.0"] = request_line.as_slice() else {
        return Err("a request line that is not three words");
    };
    let fields = lines.map(field).collect::<Result<Vec<_>, _>>()?;
    let mut message = Message {
        method: (*method).to_owned(),
        target: (*target).to_owned(),
        fields,
        body: Vec::new(),
    };
    let Some((body, length)) = body(&message, rest)? else {
        return Ok(None);
    };
    message.body = body;
    Ok(Some((message, end.saturating_add(4).saturating_add(length))))
}

/// A first line that ends without CR is told from one that has not ended yet.
fn has_bare_line_end(line: &[u8], bytes: &[u8]) -> bool {
    line.len() < bytes.len() && line.last() != Some(&b'\r')
}

fn field(line: &str) -> Result<(String, String), Fault> {
    let (name, value) = line.split_once(':').ok_or("a header line without a colon")?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err("a header name that is no token");
    }
    if value
        .bytes()
        .any(|byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f)
    {
        return Err("a control character in a header value");
    }
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}

/// The body and its length on the wire.
fn body(message: &Message, rest: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Fault> {
    let values = |name: &str| -> Vec<&str> {
        let fields = message.fields.iter();
        let named = fields.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    };
    if values("host").len() != 1 {
        return Err("not exactly one Host");
    }
    match (
        values("content-length").as_slice(),
        values("transfer-encoding").as_slice(),
    ) {
        ([], []) => Ok(Some((Vec::new(), 0))),
        ([length], []) => {
            if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err("a length that is no number");
            }
            let length: usize = length.parse().map_err(|_| "a length that nobody can hold")?;
            Ok(rest.get(..length).map(|body| (body.to_vec(), length)))
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => chunks(rest),
        ([], _) => Err("a transfer coding that is not `chunked`"),
        (_, []) => Err("more than one Content-Length"),
        (_, _) => Err("Content-Length and Transfer-Encoding"),
    }
}

fn chunks(mut rest: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Fault> {
    let whole = rest.len();
    let mut body = Vec::new();
    loop {
        let Some(end) = find(rest, b"\r\n") else {
            return Ok(None);
        };
        let (size, after) = rest.split_at(end);
        let size = std::str::from_utf8(size).map_err(|_| "a chunk size that is no number")?;
        let is_hex = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex {
            return Err("a chunk size that is no number");
        }
        let size = usize::from_str_radix(size, 16).map_err(|_| "a chunk that nobody can hold")?;
        let after = after.get(2..).unwrap_or_default();
        let Some((data, after)) = after.split_at_checked(size) else {
            return Ok(None);
        };
        body.extend_from_slice(data);
        match after.get(..2) {
            None => return Ok(None),
            Some(b"\r\n") => rest = after.get(2..).unwrap_or_default(),
            Some(_) => return Err("a chunk without its CRLF, or a trailer"),
        }
        if size == 0 {
            return Ok(Some((body, whole.saturating_sub(rest.len()))));
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<(Message, usize)>, Fault> {
        next(text.as_bytes())
    }

    #[test]
    fn one_way_to_frame_a_request_is_read() {
        let (message, length) = read("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET")
            .unwrap()
            .unwrap();
        assert_eq!((message.body.as_slice(), length), (b"abc".as_slice(), 51));
        assert_eq!(message.field("host"), Some("a"));
        let chunked =
            "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n";
        assert_eq!(read(chunked).unwrap().unwrap().0.body, b"abc");
        for part in [
            "",
            "POST /a HT",
            "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab",
        ] {
            assert_eq!(read(part), Ok(None), "{part}");
        }
    }

    #[test]
    fn every_other_way_is_a_fault() {
        let with = |fields: &str| format!("POST /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\n");
        for text in [
            with("Content-Length: 5\r\nTransfer-Encoding: chunked"),
            with("Content-Length: 0\r\nContent-Length: 0"),
            with("Content-Length: +5"),
            with("Transfer-Encoding: gzip, chunked"),
            with("Transfer-Encoding : chunked"),
            with("X: a\nTransfer-Encoding: chunked"),
            with("Host: b"),
            "GET /a HTTP/1.1\nHost: a\n\n".to_owned(),
            "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0;x\r\n\r\n".to_owned(),
        ] {
            assert!(read(&text).is_err(), "{text}");
        }
    }
}
