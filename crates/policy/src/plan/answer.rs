//! What answers carry: security headers and CORS fields, prebuilt.

use super::{Plan, Route, Rule};
use crate::evaluate::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

/// What to change on an answer before it leaves, in this order: remove, set, append.
#[derive(Debug, Clone)]
pub struct ResponseHeaders<'p> {
    /// Replace whatever the answer has.
    pub set: HeaderMap,
    /// Add beside what the answer has (`Vary`).
    pub append: Vec<(HeaderName, HeaderValue)>,
    /// Remove from the answer.
    pub remove: &'p [HeaderName],
}

/// A header profile, ready to be sent.
#[derive(Debug)]
pub(crate) struct Profile {
    pub(crate) over_https: HeaderMap,
    pub(crate) over_http: HeaderMap,
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

/// Fields that an answer has beside those of its profile: no copy of the map has to grow for them.
const ADDED: usize = 14;

impl Profile {
    /// Makes a profile; an upstream's own CORS fields are always removed.
    pub(crate) fn new(
        set: impl ExactSizeIterator<Item = (HeaderName, HeaderValue)>,
        mut remove: Vec<HeaderName>,
        rule: Rule,
    ) -> Self {
        remove.extend(CORS_FIELDS.iter().cloned());
        let mut over_https = HeaderMap::with_capacity(set.len().saturating_add(ADDED));
        over_https.extend(set);
        // RD-4: a browser ignores HSTS in clear, and anyone on the path could have put it there.
        let mut over_http = over_https.clone();
        over_http.remove(header::STRICT_TRANSPORT_SECURITY);
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
        let mut set = match scheme {
            Scheme::Https => profile.over_https.clone(),
            Scheme::Http => profile.over_http.clone(),
        };
        for (name, value) in route.into_iter().flat_map(|route| &route.retirement.fields) {
            set.insert(name, value.clone());
        }
        let mut append = Vec::new();
        if let Some(cors) = route.and_then(|route| route.cors.as_ref()) {
            append.push((header::VARY, HeaderValue::from_static("Origin")));
            if let Some(allowed) = origin.and_then(|origin| cors.allowed_origin(origin)) {
                set.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed.clone());
                set.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, cors.expose.clone());
                if cors.credentials {
                    let yes = HeaderValue::from_static("true");
                    set.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
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
