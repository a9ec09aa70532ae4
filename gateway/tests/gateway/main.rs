//! The gateway as clients meet it: real sockets, real TLS, a scripted core and a scripted control plane.
//!
//! Tests name the rule they prove (J10, FR-1, AD-7, …); the rules stand in the docs of the policy language.
#![cfg(test)]
#![expect(
    clippy::disallowed_methods,
    reason = "tasks of a test end with its runtime: nothing has to wait for them"
)]

mod access_log;
mod acme;
mod authentication;
mod authority;
mod bound_tokens;
mod cache;
mod certificates;
mod client_authorities;
mod client_certificates;
mod clients;
mod compression;
mod core_service;
mod cross_origin;
mod enforcement;
mod failures;
mod fleet;
mod forwarding;
mod gateway_process;
mod http2;
mod issuer_keys;
mod issuer_service;
mod key_service;
mod limits;
mod platform;
mod profiles;
mod public_keys;
mod raw_upstream;
mod reload;
mod revocations;
mod smuggling;
mod sockets;
mod stated;
mod stopping;
mod strictness;
mod tls;
mod tls_upstream;
mod token_attacks;
mod token_rules;
mod traces;
mod trusted_proxies;
mod upstream_process;
mod upstreams;
mod validation;
mod websocket;
