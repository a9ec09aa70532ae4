//! What a caller gives to the compiler, and the request headers no client may set.

/// One policy file, read by the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Path relative to the policy folder, with `/` between parts: `routes/transfers.yaml`.
    pub name: String,
    /// The whole text of the file.
    pub text: String,
}

/// Request headers that the gateway removes before it forwards, in lower case: method and path overrides
/// (PA-7), addresses a client claims for itself (AD-1), and identity that only the gateway may state (AD-7).
pub const INBOUND_HEADERS_REMOVED: [&str; 22] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "forwarded",
    "x-forwarded",
    "x-forwarded-by",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-real-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "x-client-cert",
    "x-auth-subject",
    "x-auth-session",
    "x-auth-tenant",
    "x-auth-scopes",
];
