//! What the evaluator is told about a request.

use http::HeaderMap;
use std::net::IpAddr;

/// How the request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// In clear.
    Http,
    /// Over TLS.
    Https,
}

/// One request as received, before anything is decoded or removed.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// Name of the listener in the policy.
    pub listener: &'a str,
    /// How it came in.
    pub scheme: Scheme,
    /// Method, as received.
    pub method: &'a str,
    /// Path and query, as received: `/api/v1/me?x=1`.
    pub target: &'a str,
    /// `Host` header or `:authority`, as received; empty when missing.
    pub host: &'a str,
    /// Header lines, as received.
    pub headers: &'a HeaderMap,
    /// Address of the client (AD-1).
    pub client: IpAddr,
    /// The whole body, where it is known: [`crate::Plan::body_needed`] and [`crate::Plan::begin`] tell where it must be.
    pub body: Option<&'a [u8]>,
    /// The port on which clients reach the HTTPS side of this listener, for the redirect.
    pub https_port: u16,
}
