//! What an upstream answers against the rules is no answer (FR-12): two readers would read it differently.

use http::{StatusCode, Version, header};
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType, Result};

/// Refuses a head that frames its body in no way or in two, and a switch of protocols, which is never asked for here.
///
/// Both framings at once are seen before, by `upstreams::answer_head`: pingora takes `Content-Length` away.
///
/// # Errors
/// `InvalidHTTPHeader` of the upstream: 502.
pub(super) fn check(response: &mut ResponseHeader) -> Result<()> {
    let fault = |what: &'static str| Error::explain(ErrorType::InvalidHTTPHeader, what).into_up();
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(fault("a switch of protocols that nobody asked for"));
    }
    let mut lengths = response.headers.get_all(header::CONTENT_LENGTH).iter();
    let is_number = |value: &http::HeaderValue| {
        let digits = value.as_bytes();
        !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
    };
    if lengths.next().is_some_and(|length| !is_number(length)) || lengths.next().is_some() {
        return Err(fault("not one length"));
    }
    let mut codings = response.headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    if codings.next().is_some_and(|coding| !is_chunked(coding)) || codings.next().is_some() {
        return Err(fault("a transfer coding that is not `chunked`"));
    }
    // The version of an answer is that of the server that gives it, which is the gateway (RFC 9110 §6.2).
    response.set_version(Version::HTTP_11);
    Ok(())
}
