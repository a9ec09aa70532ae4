//! HTTP/1.1 requests (RFC 9112), and what is right to do with each.

mod bodies;
mod fields;
mod framing;
mod heads;
mod targets;

/// Behind everything that must be refused: the request that an attacker hopes will be read as a second one.
const HIDDEN: &str = "GET /v1/items/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A request, and what is right to do with it.
#[derive(Debug, Clone)]
pub struct Case {
    /// The rule of the gateway that it tries: `FR-1`.
    pub rule: &'static str,
    /// What it is, in words.
    pub name: String,
    /// What is sent.
    pub bytes: Vec<u8>,
    /// What is right.
    pub expected: Expected,
}

/// What is right to do with a request.
#[derive(Debug, Clone)]
pub enum Expected {
    /// It breaks a rule, or two servers may read it in two ways: nothing of it may be passed on. The gateway answers with
    /// this status, and closes.
    Refused(u16),
    /// It is legal, and the gateway refuses it on purpose, with this status.
    Stricter(u16),
    /// It is legal and arrives, as these requests.
    Passed(Vec<Arrival>),
}

/// A request as it must arrive.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// `GET`.
    pub method: &'static str,
    /// Path and query.
    pub target: String,
    /// The body, whatever its framing.
    pub body: &'static [u8],
    /// Fields with their only value, or `None` for one that must not arrive.
    pub fields: Vec<(&'static str, Option<&'static str>)>,
}

impl Arrival {
    fn new(method: &'static str, target: &str, body: &'static [u8]) -> Self {
        Self {
            method,
            target: target.to_owned(),
            body,
            fields: Vec::new(),
        }
    }

    fn with(mut self, name: &'static str, value: Option<&'static str>) -> Self {
        self.fields.push((name, value));
        self
    }
}

/// Every case, in the order of the rules.
#[must_use]
pub fn cases() -> Vec<Case> {
    [
        framing::cases(),
        heads::cases(),
        fields::cases(),
        bodies::cases(),
        targets::cases(),
    ]
    .concat()
}

fn case(rule: &'static str, name: &str, bytes: Vec<u8>, expected: Expected) -> Case {
    Case {
        rule,
        name: name.to_owned(),
        bytes,
        expected,
    }
}

/// Bytes that are refused, with [`HIDDEN`] behind them.
fn refused(rule: &'static str, name: &str, head: &[u8]) -> Case {
    let bytes = [head, HIDDEN.as_bytes()].concat();
    case(rule, name, bytes, Expected::Refused(400))
}

/// A POST with these fields (and what follows them) that is refused.
fn post_refused(rule: &'static str, name: &str, fields: &[u8]) -> Case {
    let start = b"POST /v1/items HTTP/1.1\r\nHost: localhost\r\n";
    refused(rule, name, &[start, fields].concat())
}

/// A POST with these fields and what follows them, which arrives with this body.
fn post_passed(rule: &'static str, name: &str, fields: &str, body: &'static [u8]) -> Case {
    passed(
        rule,
        name,
        &format!("POST /v1/items HTTP/1.1\r\nHost: localhost\r\n{fields}"),
        Arrival::new("POST", "/v1/items", body),
    )
}

fn passed(rule: &'static str, name: &str, bytes: &str, arrival: Arrival) -> Case {
    case(
        rule,
        name,
        bytes.as_bytes().to_vec(),
        Expected::Passed(vec![arrival]),
    )
}

impl Case {
    /// The same, refused with another status.
    fn status(mut self, status: u16) -> Self {
        self.expected = match self.expected {
            Expected::Stricter(_) => Expected::Stricter(status),
            Expected::Refused(_) | Expected::Passed(_) => Expected::Refused(status),
        };
        self
    }

    /// The same, refused although it is legal.
    fn legal(mut self) -> Self {
        if let Expected::Refused(status) = self.expected {
            self.expected = Expected::Stricter(status);
        }
        self
    }
}

/// For the name of a case.
fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
