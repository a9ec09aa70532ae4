//! What answers carry: security headers and CORS fields, prebuilt.

use super::{Plan, Route, Rule};
use crate::evaluate::Scheme;
use http::{HeaderName, HeaderValue, Method, header};

/// What to change on an answer before it leaves, in this order: remove, set, append.
#[derive(Debug, Clone)]
pub struct ResponseHeaders<'p> {
    /// Replace whatever the answer has.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Add beside what the answer has (`Vary`).
    pub append: Vec<(HeaderName, HeaderValue)>,
    /// Remove from the answer.
    pub remove: &'p [HeaderName],
}

/// A header profile, ready to be sent.
#[derive(Debug)]
pub(crate) struct Profile {
    pub(crate) over_https: Vec<(HeaderName, HeaderValue)>,
    pub(crate) over_http: Vec<(HeaderName, HeaderValue)>,
    pub(crate) remove: Vec<HeaderName>,
    pub(crate) rule: Rule,
}

/// A CORS profile, ready to be sent.
#[derive(Debug)]
pub(crate) struct Cors {
    pub(crate) origins: Vec<(String, HeaderValue)>,
    pub(crate) methods: Vec<Method>,
    pub(crate) headers: Vec<HeaderName>,
    pub(crate) allow_methods: HeaderValue,
    pub(crate) allow_headers: HeaderValue,
    pub(crate) expose: HeaderValue,
    pub(crate) credentials: bool,
    pub(crate) max_age: HeaderValue,
    pub(crate) rule: Rule,
}

impl Cors {
    /// What to answer in `Access-Control-Allow-Origin`: the same origin, byte for byte, or `*`.
    pub(crate) fn allowed_origin(&self, origin: &str) -> Option<&HeaderValue> {
        self.origins
            .iter()
            .find(|(allowed, _)| allowed == origin || allowed == "*")
            .map(|(_, value)| value)
    }
}

/// CORS fields that upstreams must not set: only the policy decides about origins.
pub(crate) static CORS_FIELDS: [HeaderName; 6] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
];

impl Profile {
    /// Makes a profile; an upstream's own CORS fields are always removed.
    pub(crate) fn new(
        over_https: Vec<(HeaderName, HeaderValue)>,
        mut remove: Vec<HeaderName>,
        rule: Rule,
    ) -> Self {
        remove.extend(CORS_FIELDS.iter().cloned());
        // RD-4: a browser ignores HSTS in clear, and anyone on the path could have put it there.
        let over_http = over_https
            .iter()
            .filter(|(name, _)| name != header::STRICT_TRANSPORT_SECURITY)
            .cloned()
            .collect();
        Self {
            over_https,
            over_http,
            remove,
            rule,
        }
    }
}

impl Plan {
    /// The headers every answer carries: the profile of the route (or of the floor) and CORS. HSTS is left out
    /// over plain HTTP (RD-4). `origin` is the `Origin` header of the request. `route` is that of the outcome,
    /// so that refusals (401, 429) can be read by an allowed origin too.
    #[must_use]
    pub fn response_headers<'p>(
        &'p self,
        route: Option<&'p Route>,
        scheme: Scheme,
        origin: Option<&str>,
    ) -> ResponseHeaders<'p> {
        let profile = route.map_or(&self.floor_headers, |route| &route.headers);
        let fields = match scheme {
            Scheme::Https => &profile.over_https,
            Scheme::Http => &profile.over_http,
        };
        // Room for the CORS fields and for what the gateway adds.
        let mut set = Vec::with_capacity(fields.len().saturating_add(8));
        set.extend(fields.iter().cloned());
        set.extend(
            route
                .into_iter()
                .flat_map(|route| route.retirement.fields.iter().cloned()),
        );
        let mut append = Vec::new();
        if let Some(cors) = route.and_then(|route| route.cors.as_ref()) {
            append.push((header::VARY, HeaderValue::from_static("Origin")));
            if let Some(allowed) = origin.and_then(|origin| cors.allowed_origin(origin)) {
                set.push((header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed.clone()));
                set.push((header::ACCESS_CONTROL_EXPOSE_HEADERS, cors.expose.clone()));
                if cors.credentials {
                    set.push((
                        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
                        HeaderValue::from_static("true"),
                    ));
                }
            }
        }
        ResponseHeaders {
            set,
            append,
            remove: &profile.remove,
        }
    }
}
