//! The answer to a request that ends before the proxy sees it: same document, same headers, same log line as any other.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::date::get_cached_date;
use problem::catalogue;

use super::Connection;
use super::framing::Refusal;
use crate::identity::{Identity, REQUEST_ID, TRACE_RESPONSE};
use crate::metrics::{METRICS, NO_ROUTE};
use crate::server::Shared;

/// A request that breaks HTTP counts against its client like any other, as far as this gateway knows; once that is too
/// much, the client is told so instead. Whose it is cannot be known where a proxy speaks for many.
pub(crate) fn charged(shared: &Shared, connection: &Connection, refusal: Refusal) -> Refusal {
    if connection.relays.is_some() {
        return refusal;
    }
    let charges = shared
        .policies
        .current()
        .plan
        .charges_of_malformed(connection.client);
    let states = shared.limiter.charge_here(&charges);
    let refusing = states.iter().filter(|state| state.refuses());
    match refusing.map(policy::LimitState::retry_after_seconds).max() {
        Some(seconds) => Refusal {
            retry_after_s: Some(seconds),
            ..Refusal::new(
                catalogue::RATE_LIMITED,
                "floor.rate",
                "too many requests; try again later",
            )
        },
        None => refusal,
    }
}

/// A whole answer, ready to be written. The connection closes after it.
pub(super) struct Page {
    refusal: Refusal,
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    identity: Identity,
    bundle: String,
}

impl Page {
    pub(super) fn new(shared: &Shared, connection: &Connection, refusal: Refusal) -> Self {
        let identity = Identity::unknown();
        let problem = refusal.problem();
        let body = Bytes::from(problem.to_json(Some(identity.request_id())));
        let snapshot = shared.policies.current();
        let rules = snapshot.plan.response_headers(None, connection.scheme(), None);
        let set = rules.set.iter();
        let mut headers: Vec<_> = set.map(|(name, value)| (name.clone(), value.clone())).collect();
        headers.extend(rules.append);
        headers.push((
            header::CONTENT_TYPE,
            HeaderValue::from_static(problem::CONTENT_TYPE),
        ));
        headers.push((header::CONTENT_LENGTH, HeaderValue::from(body.len())));
        headers.push((header::DATE, get_cached_date()));
        let of_problem = problem.headers().iter();
        headers.extend(of_problem.map(|(name, value)| (name.clone(), value.clone())));
        headers.push((REQUEST_ID, identity.names.request_id_field().clone()));
        headers.push((TRACE_RESPONSE, identity.names.call_field().clone()));
        Self {
            refusal,
            status: problem.status(),
            headers,
            body,
            identity,
            bundle: snapshot.plan.short_hash().to_owned(),
        }
    }

    /// The answer as HTTP/1.1 bytes.
    pub(super) fn to_http1(&self) -> Vec<u8> {
        let reason = self.status.canonical_reason().unwrap_or("Refused");
        let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", self.status.as_u16()).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"connection: close\r\n\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Its headers as HTTP/2 fields without compression (RFC 7541 §6.2.2), for an answer without a body.
    pub(super) fn to_fields(&self) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in &self.headers {
            if *name == header::CONTENT_TYPE || *name == header::CONTENT_LENGTH {
                continue;
            }
            block.push(0);
            for text in [name.as_str().as_bytes(), value.as_bytes()] {
                let mut rest = text.len();
                block.push(u8::try_from(rest.min(0x7f)).unwrap_or(0x7f));
                if let Some(more) = rest.checked_sub(0x7f) {
                    rest = more;
                    while rest >= 0x80 {
                        block.push(0x80 | u8::try_from(rest & 0x7f).unwrap_or_default());
                        rest >>= 7;
                    }
                    block.push(u8::try_from(rest).unwrap_or_default());
                }
                block.extend_from_slice(text);
            }
        }
        block
    }

    /// Answers an HTTP/2 stream.
    pub(super) async fn write_to(&self, session: &mut ServerSession) {
        let written = async {
            let mut response = ResponseHeader::build_no_case(self.status, Some(self.headers.len()))?;
            for (name, value) in &self.headers {
                response.append_header(name, value)?;
            }
            session.write_response_header(Box::new(response)).await?;
            session.write_response_body(self.body.clone(), true).await
        };
        if let Err(error) = written.await {
            self.identity
                .in_scope(|| tracing::debug!(%error, "the client went away before its refusal"));
        }
    }

    /// Writes the log line of a stream or a connection that is reset with this code: there is no answer.
    pub(super) fn record_reset(&self, connection: &Connection, code: &'static str) {
        self.log(connection, None, Some(code));
    }

    /// Writes the log line and counts.
    pub(super) fn record(&self, connection: &Connection) {
        METRICS
            .requests
            .with_label_values(&[NO_ROUTE, "other", self.status.as_str()])
            .inc();
        self.log(connection, Some(self.status.as_u16()), None);
    }

    /// What is not there is not in the line.
    fn log(&self, connection: &Connection, status: Option<u16>, reason: Option<&'static str>) {
        METRICS
            .refused_heads
            .with_label_values(&[self.refusal.rule])
            .inc();
        self.identity.in_span(|| {
            tracing::info!(
                target: "access",
                request_id = self.identity.request_id(),
                trace_id = self.identity.names.trace_id(),
                listener = connection.entrance.label.as_str(),
                client = &*connection.personal_client().told(connection.entrance.personal_data),
                method = "-",
                path = "-",
                status,
                decision = "refused",
                rule = self.refusal.rule,
                reason,
                bundle = self.bundle,
                "request"
            );
        });
    }
}
