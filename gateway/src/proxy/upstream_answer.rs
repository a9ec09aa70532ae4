//! What an upstream answers against the rules is no answer (FR-12): two readers would read it differently.

use http::{HeaderName, StatusCode, Version, header};
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType, Result};

use super::hop_by_hop::of_connection;

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

/// Takes away what is about the connection to the upstream (RFC 9110 §7.6.1). Its framing stays: pingora reads it, and frames
/// anew. `Alt-Svc` goes, too: where else clients reach the service, an upstream does not know.
pub(super) fn forget_connection(response: &mut ResponseHeader) {
    const FRAMING: [HeaderName; 2] = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
    let is_of_connection = of_connection(&response.headers);
    let is_such =
        |name: &&HeaderName| !FRAMING.contains(name) && (is_of_connection(name) || **name == header::ALT_SVC);
    let found: Vec<HeaderName> = response.headers.keys().filter(is_such).cloned().collect();
    for name in found {
        response.remove_header(&name);
    }
}
