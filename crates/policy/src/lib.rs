//! The policy language of Portico: parse, check, compile and evaluate. Pure: no clock, no I/O, no async.
//!
//! **Invariant:** only [`Plan::evaluate`] can make a [`Permit`], and whatever cannot be decided is denied.
#![doc = include_str!("../README.md")]
#![warn(missing_docs)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod audit;
pub mod cases;
mod compile;
mod date;
pub mod describe;
mod diagnostic;
pub mod diff;
mod document;
mod evaluate;
mod format;
pub mod framing;
pub mod gcra;
mod header_strength;
mod json;
pub mod language;
mod openapi;
mod path;
mod plan;
mod read;
pub mod render;
mod route_path;
pub mod sarif;
mod secret;
mod source;
mod suggest;
mod text;
mod yaml;

pub use compile::{compile, environments};
pub use date::Date;
pub use diagnostic::{Diagnostic, Related, Severity};
pub use evaluate::{
    Action, Answer, Charge, Charges, ClientCertificate, Decision, Denial, DenialKind, Evidence, LimitState,
    LimitStates, Outcome, Paused, Permit, Phase, PhaseResult, PhaseTrace, Principal, Progress, RequestHead,
    Scheme, TokenFailure,
};
pub use format::{Unformatted, format};
pub use openapi::RequestFault;
pub use plan::{
    AcmeChallenge, AddressList, AddressRule, Algorithm, Breaker, Cache, CacheKey, Certificate,
    ClientCertificateRule, ClientSource, Compression, Count, CountIn, Ejection, Fallback, Floor, HealthCheck,
    HttpListener, HttpsListener, IdentityProvider, KeySource, KeyUrl, Limits, Listener, Mode, OnStoreDown,
    Plan, RateKey, RateLimit, ResponseHeaders, Retirement, Retries, Route, RouteAuth, RouteTarget, Rule,
    ScopesClaim, Served, Timeouts, TlsVersion, TrustedProxies, Upstream, UpstreamAddress,
    UpstreamAuthorization, UpstreamTls, Waiver, WebSocket, is_failure,
};
pub use source::{
    Encoding, INBOUND_HEADERS_REMOVED, MAX_API_DOCUMENT_BYTES, MAX_BUNDLE_BYTES, MAX_FILE_BYTES, Refusal,
    SourceFile,
};
pub use suggest::fix as suggestion;
