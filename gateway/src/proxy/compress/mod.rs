//! Answers compressed on their way to clients that take it.
//!
//! Only where the policy says so, which it can only on routes for anyone: where an answer repeats something of the request
//! beside a secret, its length would give the secret away (BREACH).

mod accept;
mod encoder;

pub(crate) use accept::{Coding, negotiate};
pub(crate) use encoder::Encoder;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use policy::Compression;

use super::context::RequestContext;
use super::request;
use crate::cache::Directives;

/// Looks at an answer, and begins to compress it when that may be done and is worth it.
///
/// # Errors
/// When a field cannot be written, which never happens.
pub(super) fn begin(
    session: &Session,
    ctx: &mut RequestContext,
    response: &mut ResponseHeader,
) -> Result<()> {
    let route = ctx.route.clone();
    let Some(compression) = route.as_ref().and_then(|route| route.compression.as_ref()) else {
        return Ok(());
    };
    if !fits(response, compression) {
        return Ok(());
    }
    // Also when this client takes none: what stands between must not give it another's answer.
    response.append_header(header::VARY, "Accept-Encoding")?;
    let Some(coding) = ctx.coding.filter(|_| is_large(&response.headers, compression)) else {
        return Ok(());
    };
    let is_head = session.req_header().method == Method::HEAD;
    if !is_head {
        let Some(encoder) = Encoder::new(coding) else {
            return Ok(());
        };
        ctx.encoder = Some(encoder);
        response.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    }
    response.remove_header(&header::CONTENT_LENGTH);
    response.remove_header(&header::ACCEPT_RANGES);
    response.insert_header(header::CONTENT_ENCODING, coding.as_str())?;
    // Other bytes are the same answer only to whoever does not count them (RFC 9110 §8.8.3).
    let tag = response.headers.get(header::ETAG).map(HeaderValue::as_bytes);
    if let Some(tag) = tag.filter(|tag| !tag.starts_with(b"W/")) {
        let weak = HeaderValue::from_bytes(&[b"W/", tag].concat());
        match weak {
            Ok(weak) => response.insert_header(header::ETAG, weak)?,
            Err(_) => drop(response.remove_header(&header::ETAG)),
        }
    }
    Ok(())
}

/// Whether an answer may be compressed, whoever asks.
fn fits(response: &ResponseHeader, compression: &Compression) -> bool {
    const NEVER: [&str; 7] = [
        "set-cookie",
        "content-encoding",
        "content-range",
        "content-digest",
        "repr-digest",
        "digest",
        "content-md5",
    ];
    let headers = &response.headers;
    response.status == StatusCode::OK
        && !NEVER.iter().any(|name| headers.contains_key(*name))
        && !Directives::of(headers).no_transform
        && is_of_type(headers, &compression.types)
}

fn is_of_type(headers: &HeaderMap, types: &[String]) -> bool {
    let Some(written) = request::text(headers, &header::CONTENT_TYPE) else {
        return false;
    };
    let written = written.split(';').next().unwrap_or_default().trim();
    types.iter().any(|known| known.eq_ignore_ascii_case(written))
}

/// Whether it is worth it; an answer that does not say how long it is may be.
fn is_large(headers: &HeaderMap, compression: &Compression) -> bool {
    let length = request::text(headers, &header::CONTENT_LENGTH);
    length
        .and_then(|length| length.parse::<u64>().ok())
        .is_none_or(|length| length >= compression.over)
}

/// Compresses the next part, and sends on what there is of it: an answer that comes slowly goes on doing so.
///
/// # Errors
/// When the compressor fails, which it never does.
pub(super) fn next(ctx: &mut RequestContext, part: &mut Option<Bytes>, is_end: bool) -> Result<()> {
    let Some(mut encoder) = ctx.encoder.take() else {
        return Ok(());
    };
    let failed =
        |error| pingora::Error::because(pingora::ErrorType::InternalError, "compressing an answer", error);
    let input = part.take().unwrap_or_default();
    if is_end {
        *part = Some(encoder.finish(&input).map_err(failed)?);
        return Ok(());
    }
    if !input.is_empty() {
        *part = Some(encoder.encode(&input).map_err(failed)?);
    }
    ctx.encoder = Some(encoder);
    Ok(())
}
