//! The request of a case: as written, and as it arrives.

use super::body;
use crate::{
    RequestHead, Scheme,
    diagnostic::{Findings, Span, code},
    evaluate::head_bytes,
    read::{At, Field, Mapping, header_name},
    yaml::Value,
};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::net::{IpAddr, Ipv4Addr};

/// The client of a request that names none: an address of RFC 5737.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
/// Largest head, target or body that a case can ask for, in bytes.
const MOST_BYTES: u64 = 128 * 1024 * 1024;
/// Most header lines that a case can ask for.
const MOST_HEADERS: u64 = 1_000;

const KEYS: [&str; 12] = [
    "method", "path", "host", "client", "listener", "scheme", "headers", "origin", "token", "body", "size",
    "answered",
];

/// The keys that are written, of a case or of one of its steps.
#[derive(Debug, Clone, Default)]
pub(super) struct RequestDocument {
    method: Option<At<String>>,
    path: Option<At<String>>,
    host: Option<At<String>>,
    client: Option<IpAddr>,
    listener: Option<At<String>>,
    scheme: Option<Scheme>,
    headers: Option<Vec<(HeaderName, HeaderValue)>>,
    origin: Option<HeaderValue>,
    token: Option<Token>,
    body: Option<Vec<u8>>,
    size: Option<At<Size>>,
    answered: Option<u16>,
}

/// What checking the token of a request comes to.
#[derive(Debug, Clone)]
pub(super) enum Token {
    /// No token is sent.
    Missing,
    /// The token is no good, for whatever reason.
    Refused,
    /// No key set was ever received, so that no token can be checked.
    Unavailable,
    /// The token is good, for one provider.
    Good {
        provider: At<String>,
        subject: String,
        scopes: Vec<String>,
    },
}

/// Sizes that a request is filled up to.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    target: Option<u64>,
    head: Option<u64>,
    headers: Option<u64>,
    body: Option<u64>,
}

/// A whole request.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    /// `None`: the policy's first.
    pub(super) host: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) client: IpAddr,
    /// `None`: the policy's first.
    pub(super) listener: Option<At<String>>,
    pub(super) scheme: Scheme,
    pub(super) token: Token,
    pub(super) body: Vec<u8>,
    /// How the upstream answers, should the request get there.
    pub(super) answered: u16,
}

impl Token {
    /// The provider that is named.
    pub(super) const fn provider(&self) -> Option<&At<String>> {
        match self {
            Self::Good { provider, .. } => Some(provider),
            Self::Missing | Self::Refused | Self::Unavailable => None,
        }
    }

    /// In words, for a report.
    pub(super) fn as_words(&self) -> String {
        match self {
            Self::Missing => "no token".to_owned(),
            Self::Refused => "a token that is refused".to_owned(),
            Self::Unavailable => "a token that cannot be checked".to_owned(),
            Self::Good {
                provider, subject, ..
            } => format!("token of {subject} ({})", provider.value),
        }
    }

    fn read(field: &Field<'_>, findings: &mut Findings) -> Option<Self> {
        if matches!(field.node.value, Value::Text(_)) {
            let words = [("missing", 0), ("refused", 1), ("unavailable", 2)];
            return field.choice(&words, findings).map(|word| match word.value {
                0 => Self::Missing,
                1 => Self::Refused,
                _ => Self::Unavailable,
            });
        }
        let token = Mapping::open(field, &["provider", "subject", "scopes"], findings)?;
        let provider = token
            .required("provider", "provider: customers", findings)
            .and_then(|field| field.text(findings));
        let subject = token
            .required("subject", "subject: usr_1", findings)
            .and_then(|field| field.text(findings));
        let scopes = token.optional("scopes").map_or(Some(Vec::new()), |field| {
            let items = field.items(findings)?;
            items.iter().map(|item| item.text(findings)).collect()
        });
        Some(Self::Good {
            provider: provider?,
            subject: subject?.value,
            scopes: scopes?.into_iter().map(|scope: At<String>| scope.value).collect(),
        })
    }
}

impl Size {
    fn read(field: &Field<'_>, findings: &mut Findings) -> Option<At<Self>> {
        let size = Mapping::open(field, &["target", "head", "headers", "body"], findings)?;
        let mut bytes = |key| {
            let field = size.optional(key)?;
            field.size(MOST_BYTES, findings).map(|size| size.value)
        };
        let (target, head, body) = (bytes("target"), bytes("head"), bytes("body"));
        let headers = size
            .optional("headers")
            .and_then(|field| field.number(1..=MOST_HEADERS, findings));
        Some(At {
            value: Self {
                target,
                head,
                headers: headers.map(|number| number.value),
                body,
            },
            at: field.key_at,
        })
    }
}

impl RequestDocument {
    /// Reads `request`.
    pub(super) fn read(field: &Field<'_>, findings: &mut Findings) -> Option<Self> {
        let request = Mapping::open(field, &KEYS, findings)?;
        let mut text = |key| request.optional(key).and_then(|field| field.text(findings));
        let (method, path, host, listener) = (text("method"), text("path"), text("host"), text("listener"));
        let schemes = [("http", Scheme::Http), ("https", Scheme::Https)];
        Some(Self {
            method,
            path,
            host,
            listener,
            client: request
                .optional("client")
                .and_then(|field| address(&field, findings)),
            scheme: request
                .optional("scheme")
                .and_then(|field| field.choice(&schemes, findings))
                .map(|scheme| scheme.value),
            headers: request.optional("headers").map(|field| headers(&field, findings)),
            origin: request
                .optional("origin")
                .and_then(|field| field.header_value(findings))
                .map(|origin| origin.value),
            token: request
                .optional("token")
                .and_then(|field| Token::read(&field, findings)),
            body: request
                .optional("body")
                .and_then(|field| body::read(&field, findings)),
            size: request
                .optional("size")
                .and_then(|field| Size::read(&field, findings)),
            answered: request
                .optional("answered")
                .and_then(|field| field.number(200..=599, findings))
                .and_then(|status| u16::try_from(status.value).ok()),
        })
    }

    /// What a step says, and what its case says where the step is silent.
    pub(super) fn or(self, of_case: &Self) -> Self {
        let of_case = of_case.clone();
        Self {
            method: self.method.or(of_case.method),
            path: self.path.or(of_case.path),
            host: self.host.or(of_case.host),
            client: self.client.or(of_case.client),
            listener: self.listener.or(of_case.listener),
            scheme: self.scheme.or(of_case.scheme),
            headers: self.headers.or(of_case.headers),
            origin: self.origin.or(of_case.origin),
            token: self.token.or(of_case.token),
            body: self.body.or(of_case.body),
            size: self.size.or(of_case.size),
            answered: self.answered.or(of_case.answered),
        }
    }

    /// The request as it arrives.
    pub(super) fn finish(self, place: &str, at: Span, findings: &mut Findings) -> Option<Request> {
        let (Some(method), Some(path)) = (&self.method, &self.path) else {
            let missing = if self.method.is_none() { "method" } else { "path" };
            findings
                .error(
                    code::NO_REQUEST,
                    at,
                    format!("{place} has no request with a `{missing}`"),
                )
                .why("nothing would be asked of the policy")
                .fix("add `request: { method: GET, path: /api/v1/me }`");
            return None;
        };
        let mut request = Request {
            method: method.value.clone(),
            target: path.value.clone(),
            host: self.host.map(|host| host.value),
            headers: self.headers.unwrap_or_default().into_iter().collect(),
            client: self.client.unwrap_or(CLIENT),
            listener: self.listener,
            scheme: self.scheme.unwrap_or(Scheme::Https),
            token: self.token.unwrap_or(Token::Missing),
            body: self.body.unwrap_or_default(),
            answered: self.answered.unwrap_or(200),
        };
        request.fill_in(self.origin);
        if let Some(size) = self.size {
            let filled = request.fill_up(size.value);
            if let Err(natural) = filled {
                findings
                    .error(
                        code::IMPOSSIBLE_SIZE,
                        size.at,
                        format!("the request cannot be that small: {natural}"),
                    )
                    .why("it would be tested with another size than the one written")
                    .fix("write a larger size, or shorten the request");
                return None;
            }
        }
        Some(request)
    }
}

impl Request {
    /// Fields that follow from other keys.
    fn fill_in(&mut self, origin: Option<HeaderValue>) {
        if let Some(origin) = origin {
            self.headers.insert(header::ORIGIN, origin);
        }
        let has_token = !matches!(self.token, Token::Missing);
        if has_token && !self.headers.contains_key(header::AUTHORIZATION) {
            self.headers
                .insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer supposed"));
        }
        if !self.body.is_empty() && !self.headers.contains_key(header::CONTENT_LENGTH) {
            self.headers
                .insert(header::CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        }
    }

    /// Fills the request up to exactly these sizes.
    ///
    /// # Errors
    /// What is larger already, with its size.
    fn fill_up(&mut self, size: Size) -> Result<(), String> {
        if let Some(body) = size.body {
            self.headers
                .insert(header::CONTENT_LENGTH, HeaderValue::from(body));
        }
        if let Some(wanted) = size.target {
            let missing = missing(wanted, self.target.len())
                .ok_or_else(|| format!("its target has {} bytes", self.target.len()))?;
            let first = if self.target.contains('?') { "x" } else { "?" };
            self.target
                .extend(first.chars().chain(std::iter::repeat('x')).take(missing));
        }
        if size.head.is_some() {
            self.headers.insert(&LONG_LINE, HeaderValue::from_static(""));
        }
        if let Some(wanted) = size.headers {
            let lines = self.headers.len();
            let missing = missing(wanted, lines).ok_or_else(|| format!("it has {lines} header lines"))?;
            for _ in 0..missing {
                self.headers.append(&SHORT_LINE, HeaderValue::from_static("x"));
            }
        }
        if let Some(wanted) = size.head {
            let bytes = head_bytes(&self.method, &self.target, &self.headers);
            let filler = wanted
                .checked_sub(bytes)
                .and_then(|missing| HeaderValue::from_str(&"x".repeat(usize::try_from(missing).ok()?)).ok())
                .ok_or_else(|| format!("its head has {bytes} bytes"))?;
            self.headers.insert(&LONG_LINE, filler);
        }
        Ok(())
    }

    /// The head, on a listener of the policy.
    pub(super) fn head<'r>(&'r self, listener: &'r str, https_port: u16, host: &'r str) -> RequestHead<'r> {
        RequestHead {
            listener,
            scheme: self.scheme,
            method: &self.method,
            target: &self.target,
            host,
            headers: &self.headers,
            client: self.client,
            body: None,
            https_port,
        }
    }
}

/// Lines that fill a head up, by number and by length.
static SHORT_LINE: HeaderName = HeaderName::from_static("x-short-line");
static LONG_LINE: HeaderName = HeaderName::from_static("x-long-line");

fn missing(wanted: u64, there: usize) -> Option<usize> {
    usize::try_from(wanted).ok()?.checked_sub(there)
}

fn address(field: &Field<'_>, findings: &mut Findings) -> Option<IpAddr> {
    let text = field.text(findings)?;
    let address = text.value.parse().ok();
    if address.is_none() {
        findings
            .error(
                code::BAD_ADDRESS,
                text.at,
                format!("`{}` is not the address of a client", text.value),
            )
            .why("clients are told apart by their address")
            .fix("an IP address without a port: `203.0.113.7`, `2001:db8::1`");
    }
    address
}

/// Header lines: a value, or a list of values for several lines of one name.
fn headers(field: &Field<'_>, findings: &mut Findings) -> Vec<(HeaderName, HeaderValue)> {
    let mut lines = Vec::new();
    for (name, field) in field.pairs(findings) {
        let Some(name) = header_name(&name, findings) else {
            continue;
        };
        let values = if matches!(field.node.value, Value::List(_)) {
            field.items(findings).unwrap_or_default()
        } else {
            vec![field]
        };
        for value in values {
            lines.extend(
                value
                    .header_value(findings)
                    .map(|value| (name.clone(), value.value)),
            );
        }
    }
    lines
}
