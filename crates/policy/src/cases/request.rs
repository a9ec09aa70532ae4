//! The request of a case: as written, and as it arrives.

use super::{
    body::{self, Body},
    sent::{Request, Size},
    token::Token,
};
use crate::{
    ClientCertificate, Scheme,
    diagnostic::{Findings, Span, code},
    language,
    read::{At, Field, Mapping, header_name},
    yaml::Value,
};
use http::{HeaderName, HeaderValue};
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

/// The client of a request that names none: an address of RFC 5737.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));

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
    client_certificate: Option<At<Arc<ClientCertificate>>>,
    body: Option<Body>,
    size: Option<At<Size>>,
    answered: Option<u16>,
}

impl RequestDocument {
    /// Reads `request`.
    pub(super) fn read(field: &Field<'_>, findings: &mut Findings) -> Option<Self> {
        let request = Mapping::open(field, language::CASE_REQUEST, findings)?;
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
            client_certificate: request
                .optional("client_certificate")
                .and_then(|field| client_certificate(&field, findings)),
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
            client_certificate: self.client_certificate.or(of_case.client_certificate),
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
            client_certificate: self.client_certificate,
            body: self.body,
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

fn client_certificate(field: &Field<'_>, findings: &mut Findings) -> Option<At<Arc<ClientCertificate>>> {
    let certificate = Mapping::open(field, language::CASE_CLIENT_CERTIFICATE, findings)?;
    let authority = certificate
        .key("authority", findings)
        .and_then(|field| field.text(findings));
    let names = certificate
        .key("names", findings)
        .and_then(|field| field.list(findings, Field::text));
    let authority = authority?;
    Some(At {
        at: authority.at,
        value: Arc::new(ClientCertificate {
            authority: authority.value,
            names: names?.into_iter().map(|name| name.value).collect(),
        }),
    })
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
        // A client may send any name, also one that is refused for it.
        let known = HeaderName::from_bytes(name.value.as_bytes()).ok();
        let Some(name) = known.or_else(|| header_name(&name, findings)) else {
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
