//! The problem types that several parts of Portico raise. A type that one slice raises stands beside that slice.

use crate::ProblemType;

/// The request cannot be read: bad JSON, a bad header, a bad path.
pub const MALFORMED_REQUEST: ProblemType =
    ProblemType::new("malformed-request", 400, "The request cannot be read");
/// The request is not one that the description of the API allows.
pub const INVALID_REQUEST: ProblemType = ProblemType::new(
    "invalid-request",
    400,
    "The request does not fit the description of the API",
);
/// No valid credentials came with the request.
pub const UNAUTHENTICATED: ProblemType =
    ProblemType::new("unauthenticated", 401, "Authentication is required");
/// The caller is known, and may not do this.
pub const FORBIDDEN: ProblemType = ProblemType::new("forbidden", 403, "This is not allowed");
/// The route is served over an encrypted connection only.
pub const HTTPS_REQUIRED: ProblemType =
    ProblemType::new("https-required", 403, "This needs an encrypted connection");
/// Nothing is taken from the client's address, or not by this route.
pub const ADDRESS_REFUSED: ProblemType = ProblemType::new("address-refused", 403, "Not from this address");
/// There is no client certificate, or not one that opens this.
pub const CLIENT_CERTIFICATE_REQUIRED: ProblemType = ProblemType::new(
    "client-certificate-required",
    403,
    "This needs a client certificate",
);
/// A page of this origin may not call this (Fetch standard, CORS).
pub const CORS_REFUSED: ProblemType = ProblemType::new("cors-refused", 403, "This origin may not do this");
/// There is no such thing, or the caller may not know of it.
pub const NOT_FOUND: ProblemType = ProblemType::new("not-found", 404, "There is no such resource");
/// The resource exists, the method does not.
pub const METHOD_NOT_ALLOWED: ProblemType = ProblemType::new(
    "method-not-allowed",
    405,
    "The resource does not support this method",
);
/// The request took too long to arrive.
pub const REQUEST_TIMEOUT: ProblemType =
    ProblemType::new("request-timeout", 408, "The request took too long");
/// The request contradicts the state of the resource.
pub const CONFLICT: ProblemType =
    ProblemType::new("conflict", 409, "The request conflicts with the current state");
/// The body is larger than this route takes.
pub const PAYLOAD_TOO_LARGE: ProblemType =
    ProblemType::new("payload-too-large", 413, "The body is too large");
/// The request target is longer than this route takes.
pub const TARGET_TOO_LONG: ProblemType =
    ProblemType::new("target-too-long", 414, "The request target is too long");
/// The body is not of a type that this route reads.
pub const UNSUPPORTED_MEDIA_TYPE: ProblemType =
    ProblemType::new("unsupported-media-type", 415, "The content type is not supported");
/// The request reached a server that does not serve its host.
pub const MISDIRECTED: ProblemType =
    ProblemType::new("misdirected-request", 421, "This host is not served here");
/// The body was understood, and breaks the rules of the operation.
pub const VALIDATION_FAILED: ProblemType =
    ProblemType::new("validation-failed", 422, "The request is not valid");
/// A rate limit is used up (draft-ietf-httpapi-ratelimit-headers).
pub const RATE_LIMITED: ProblemType = ProblemType::registered(
    "https://iana.org/assignments/http-problem-types#quota-exceeded",
    "rate-limited",
    429,
    "Too many requests",
);
/// Too many attempts to sign in, at this name or from this address. Whether the name exists, and whether the password was
/// right, it does not say.
pub const TOO_MANY_ATTEMPTS: ProblemType =
    ProblemType::new("too-many-attempts", 429, "Too many attempts to sign in");
/// The request head is larger than this server takes.
pub const HEAD_TOO_LARGE: ProblemType =
    ProblemType::new("request-head-too-large", 431, "The request head is too large");
/// Something is wrong on our side; the log knows what.
pub const INTERNAL: ProblemType = ProblemType::new("internal", 500, "Internal error");
/// The service behind the gateway gave no usable answer.
pub const UPSTREAM_UNAVAILABLE: ProblemType =
    ProblemType::new("upstream-unavailable", 502, "The service gave no usable answer");
/// The service cannot answer now and may soon.
pub const UNAVAILABLE: ProblemType = ProblemType::new("unavailable", 503, "The service is not available now");
/// Requests cannot be counted now, so they are refused.
pub const REDUCED_CAPACITY: ProblemType = ProblemType::registered(
    "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
    "temporary-reduced-capacity",
    503,
    "The service has less capacity than usual now",
);
/// The service behind the gateway did not answer in time.
pub const UPSTREAM_TIMEOUT: ProblemType =
    ProblemType::new("upstream-timeout", 504, "The service did not answer in time");

/// All of the above, for documentation and tests.
pub const ALL: [ProblemType; 25] = [
    MALFORMED_REQUEST,
    INVALID_REQUEST,
    UNAUTHENTICATED,
    FORBIDDEN,
    HTTPS_REQUIRED,
    ADDRESS_REFUSED,
    CLIENT_CERTIFICATE_REQUIRED,
    CORS_REFUSED,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    REQUEST_TIMEOUT,
    CONFLICT,
    PAYLOAD_TOO_LARGE,
    TARGET_TOO_LONG,
    UNSUPPORTED_MEDIA_TYPE,
    MISDIRECTED,
    VALIDATION_FAILED,
    RATE_LIMITED,
    TOO_MANY_ATTEMPTS,
    HEAD_TOO_LARGE,
    INTERNAL,
    UPSTREAM_UNAVAILABLE,
    UNAVAILABLE,
    REDUCED_CAPACITY,
    UPSTREAM_TIMEOUT,
];
