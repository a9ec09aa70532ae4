//! The policies that go out: one that is good, and some that do harm in a way of their own.

use std::net::SocketAddr;

/// What is upper case is the bundle's own.
const POLICY: &str = r#"
version: 1
listeners:
  edge: { https: { bind: "127.0.0.1:8443", tls: { min: "1.2", certificate: gateway } } }
hosts: [edge.example]
IDENTITYupstreams:
  open: { address: "http://UPSTREAM", authorization: strip, timeouts: { connect: 1s, read: 20s, total: 30s } }
  core: { address: "unix:core-api.sock", authorization: forward, timeouts: { connect: 1s, read: 20s, total: 30s } }
headers:
  api:
    set: { X-Content-Type-Options: nosniff, X-Generation: "GENERATION" }
    remove: [Server]
floor:
  limits: { head: 16KiB, headers: 64, target: 4KiB, body: 64KiB }
  timeouts: { head: 5s, body: 10s }
  headers: api
  rate:
    per-address: { limit: 1000000/s, burst: 1000000, key: [address] }
routes:
  fast: { match: { method: METHOD, path: /fast }, AUTH, upstream: open }
  login: { match: { method: POST, path: /api/v1/auth/login }, auth: none, because: the credentials are in the body, upstream: core }
  register: { match: { method: POST, path: /api/v1/auth/register }, auth: none, because: a new customer has no token yet, upstream: core }
"#;

/// An issuer whose keys lie in a file.
const PARTNERS: &str = "identity:
  partners: { issuer: https://partner.example, audiences: [bank], algorithms: [EdDSA], type: at+jwt, max_lifetime: 60s, leeway: 1s, keys: file:partners }
";

/// How clients are let in.
const OPEN: &str = "auth: none, because: a drill asks without a token";

/// What is wrong with a policy that compiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its upstream is an address at which nobody listens: requests are answered 502.
    NobodyListens,
    /// It refuses what passed before.
    Refuses,
    /// It leads to an upstream that takes a fifth of a second for each answer.
    IsSlow,
    /// It wants the keys of an issuer in a file, and no gateway has a folder for such: they refuse it.
    NoKeys,
}

/// A policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bundle {
    /// `X-Generation` of every answer.
    pub generation: usize,
    /// What is wrong with it.
    pub fault: Option<Fault>,
    /// Routes that nobody asks for.
    pub routes: usize,
}

impl Bundle {
    /// A good one.
    #[must_use]
    pub const fn good(generation: usize) -> Self {
        Self {
            generation,
            fault: None,
            routes: 0,
        }
    }

    /// One that does harm.
    #[must_use]
    pub const fn bad(generation: usize, fault: Fault) -> Self {
        Self {
            fault: Some(fault),
            ..Self::good(generation)
        }
    }

    /// Its file, with the upstream that is well and the one that is slow.
    pub(super) fn text(&self, upstream: SocketAddr, slow: SocketAddr) -> String {
        let has = |fault| self.fault == Some(fault);
        let upstream = match self.fault {
            // Port 9 (discard) of loopback, which nobody serves.
            Some(Fault::NobodyListens) => SocketAddr::from(([127, 0, 0, 1], 9)),
            Some(Fault::IsSlow) => slow,
            _ => upstream,
        };
        let pick = |is_bad: bool, bad: &'static str, good: &'static str| if is_bad { bad } else { good };
        let mut text = POLICY
            .replace("UPSTREAM", &upstream.to_string())
            .replace("GENERATION", &self.generation.to_string())
            .replace("METHOD", pick(has(Fault::Refuses), "POST", "GET"))
            .replace(
                "AUTH",
                pick(has(Fault::NoKeys), "auth: partners, scopes: []", OPEN),
            )
            .replace("IDENTITY", pick(has(Fault::NoKeys), PARTNERS, ""));
        for number in 0..self.routes {
            text.push_str(&format!(
                "  route_{number}: {{ match: {{ method: GET, path: \"/of/{number}/{{id}}\" }}, auth: none, because: it makes the policy long, upstream: open }}\n"
            ));
        }
        text
    }
}
