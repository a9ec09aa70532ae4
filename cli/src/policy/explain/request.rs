//! The request that is explained, from the options of the command line or from a curl command.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use policy::{Listener, Plan, Scheme};
use std::io::Read as _;
use std::sync::Arc;

use super::curl;
use crate::Unreadable;
use crate::arguments::PolicyExplainArguments;

/// Longest curl command that is read from standard input, in bytes.
const MAX_COMMAND_BYTES: u64 = 1024 * 1024;

/// One request, as a client would send it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    pub(super) scheme: Scheme,
    /// `None` for the first of the policy.
    pub(super) host: Option<String>,
    /// The port it goes to, where that is known.
    pub(super) port: Option<u16>,
    pub(super) headers: HeaderMap,
    /// `None` when nothing was said of a body.
    pub(super) body: Option<Vec<u8>>,
}

impl Request {
    /// Reads what was given.
    ///
    /// # Errors
    /// [`Unreadable`] when a header line or the curl command cannot be read.
    pub(super) fn read(arguments: &PolicyExplainArguments) -> Result<Self, Unreadable> {
        let mut request = match arguments.curl.as_deref() {
            None => Self::of_options(arguments)?,
            Some("-") => curl::request(&standard_input()?)?,
            Some(command) => curl::request(command)?,
        };
        if arguments.subject.is_some() && !request.headers.contains_key(header::AUTHORIZATION) {
            let supposed = HeaderValue::from_static("Bearer supposed");
            request.headers.insert(header::AUTHORIZATION, supposed);
        }
        Ok(request)
    }

    /// Whether nothing was said of a body that the method has: then nobody knows what is in it.
    pub(super) fn says_no_body(&self) -> bool {
        self.body.is_none() && matches!(self.method.as_str(), "POST" | "PUT" | "PATCH")
    }

    fn of_options(arguments: &PolicyExplainArguments) -> Result<Self, Unreadable> {
        let scheme = if arguments.http {
            Scheme::Http
        } else {
            Scheme::Https
        };
        let mut headers = headers(&arguments.headers)?;
        let body = arguments.body.clone().map(String::into_bytes);
        if let Some(length) = body.as_ref().map(Vec::len).filter(|length| *length > 0)
            && !headers.contains_key(header::TRANSFER_ENCODING)
        {
            headers
                .entry(header::CONTENT_LENGTH)
                .or_insert(HeaderValue::from(length));
        }
        let is_json = |body: &Vec<u8>| serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
        if body.as_ref().is_some_and(is_json) {
            headers
                .entry(header::CONTENT_TYPE)
                .or_insert(HeaderValue::from_static("application/json"));
        }
        Ok(Self {
            method: arguments.method.clone(),
            target: arguments.path.clone().unwrap_or_default(),
            scheme,
            host: arguments.host.clone(),
            port: None,
            headers,
            body,
        })
    }

    /// The listener that the request comes in at: the one that is named, else the only one on its port, else the first.
    ///
    /// # Errors
    /// [`Unreadable`] when the policy has none of this name.
    pub(super) fn listener<'p>(
        &self,
        plan: &'p Plan,
        named: Option<&str>,
    ) -> Result<&'p Arc<Listener>, Unreadable> {
        let mut listeners = plan.listeners().iter();
        let found = match named {
            Some(name) => listeners.find(|listener| listener.name == name),
            None => self.on_port(plan).or_else(|| plan.listeners().first()),
        };
        found.ok_or_else(|| {
            let known: Vec<&str> = plan.listeners().iter().map(|it| it.name.as_str()).collect();
            Unreadable(format!(
                "the policy has no such listener: {}",
                policy::suggestion(named.unwrap_or_default(), &known)
            ))
        })
    }

    /// The listener whose port is that of the URL.
    fn on_port<'p>(&self, plan: &'p Plan) -> Option<&'p Arc<Listener>> {
        let port = |listener: &Listener| match self.scheme {
            Scheme::Https => Some(listener.https.bind.port()),
            Scheme::Http => listener.http.as_ref().map(|http| http.bind.port()),
        };
        let mut listeners = plan.listeners().iter();
        listeners.find(|listener| self.port.is_some() && port(listener) == self.port)
    }

    /// What is supposed of the listener, when the URL names a port that none has.
    pub(super) fn remark(&self, plan: &Plan, named: Option<&str>) -> Option<String> {
        let port = self
            .port
            .filter(|_| named.is_none() && self.on_port(plan).is_none())?;
        let first = plan.listeners().first()?;
        Some(format!(
            "no listener of this policy is on port {port}: decided as on `{}`; --listener names another",
            first.name
        ))
    }
}

fn headers(lines: &[String]) -> Result<HeaderMap, Unreadable> {
    let mut headers = HeaderMap::new();
    for line in lines {
        // The line may hold a token: no more than its first word is told.
        let first = line.split([':', ' ']).next().unwrap_or_default();
        let wrong = || Unreadable(format!("--header `{first}…`: write `Name: value`"));
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
        headers.append(name, HeaderValue::from_str(value.trim()).map_err(|_| wrong())?);
    }
    Ok(headers)
}

fn standard_input() -> Result<String, Unreadable> {
    let mut command = String::new();
    std::io::stdin()
        .take(MAX_COMMAND_BYTES)
        .read_to_string(&mut command)
        .map_err(|error| Unreadable(format!("--curl -: reading standard input: {error}")))?;
    Ok(command)
}
