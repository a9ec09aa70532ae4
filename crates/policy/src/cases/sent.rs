//! The request of a case as it arrives, filled up to the sizes that are asked for.

use super::{body::Body, token::Token};
use crate::{
    ClientCertificate, RequestHead, Scheme,
    diagnostic::Findings,
    evaluate::head_bytes,
    language,
    read::{At, Field, Mapping},
};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::{net::IpAddr, sync::Arc};

/// Largest head or target that a case can ask for, in bytes: it is made.
const LARGEST_HEAD: u64 = 128 * 1024;
/// Largest body that a case can ask for, in bytes: it is only announced.
const LARGEST_BODY: u64 = 128 * 1024 * 1024;

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
    pub(super) client_certificate: Option<At<Arc<ClientCertificate>>>,
    /// `None` when the case says nothing of it: then it is supposed to be as the service wants it.
    pub(super) body: Option<Body>,
    /// How the upstream answers, should the request get there.
    pub(super) answered: u16,
}

/// Sizes that a request is filled up to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Size {
    target: Option<u64>,
    head: Option<u64>,
    headers: Option<u64>,
    body: Option<u64>,
}

impl Size {
    /// Reads `size`.
    pub(super) fn read(field: &Field<'_>, findings: &mut Findings) -> Option<At<Self>> {
        let size = Mapping::open(field, language::CASE_SIZE, findings)?;
        let mut bytes = |key, most| {
            let field = size.optional(key)?;
            field.size(most, findings).map(|size| size.value)
        };
        let (target, head) = (bytes("target", LARGEST_HEAD), bytes("head", LARGEST_HEAD));
        let body = bytes("body", LARGEST_BODY);
        let headers = size
            .optional("headers")
            .and_then(|field| field.number(1..=language::MOST_CASE_HEADERS, findings));
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

impl Request {
    /// Fields that follow from other keys.
    pub(super) fn fill_in(&mut self, origin: Option<HeaderValue>) {
        if let Some(origin) = origin {
            self.headers.insert(header::ORIGIN, origin);
        }
        let has_token = !matches!(self.token, Token::Missing);
        if has_token && !self.headers.contains_key(header::AUTHORIZATION) {
            self.headers
                .insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer supposed"));
        }
        let Some(body) = &self.body else { return };
        let length = body.bytes.len();
        if length > 0 && !self.headers.contains_key(header::CONTENT_LENGTH) {
            self.headers
                .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        if body.is_json && !self.headers.contains_key(header::CONTENT_TYPE) {
            self.headers
                .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
    }

    /// Fills the request up to exactly these sizes.
    ///
    /// # Errors
    /// What is larger already, with its size.
    pub(super) fn fill_up(&mut self, size: Size) -> Result<(), String> {
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

    /// Whether the method has a body of which nothing is said.
    pub(super) fn supposes_content(&self) -> bool {
        self.body.is_none() && matches!(self.method.as_str(), "POST" | "PUT" | "PATCH")
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
