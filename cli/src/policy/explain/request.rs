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

    fn of_options(arguments: &PolicyExplainArguments) -> Result<Self, Unreadable> {
        let scheme = if arguments.http {
            Scheme::Http
        } else {
            Scheme::Https
        };
        Ok(Self {
            method: arguments.method.clone(),
            target: arguments.path.clone().unwrap_or_default(),
            scheme,
            host: arguments.host.clone(),
            port: None,
            headers: headers(&arguments.headers)?,
            body: arguments.body.clone().map(String::into_bytes),
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
        let port = |listener: &Listener| match self.scheme {
            Scheme::Https => Some(listener.https.bind.port()),
            Scheme::Http => listener.http.as_ref().map(|http| http.bind.port()),
        };
        let found = match named {
            Some(name) => listeners.find(|listener| listener.name == name),
            None => listeners
                .find(|listener| self.port.is_some() && port(listener) == self.port)
                .or_else(|| plan.listeners().first()),
        };
        found.ok_or_else(|| Unreadable("the policy has no such listener".to_owned()))
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
