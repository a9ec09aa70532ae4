//! Whether an upstream has agreed to what it was asked for (RFC 6455 §4.1). Who answers 101 to anything has not read the
//! handshake, and what nobody has offered means one thing to a side and another to the other.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, header};

use super::words;

/// What a server adds to the key (§1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What is wrong with the answer to a handshake with these fields; `None` when the socket is open.
pub(super) fn fault(offer: &HeaderMap, answer: &HeaderMap) -> Option<&'static str> {
    let says = |name, word: &str| words(answer, &name).any(|said| said.eq_ignore_ascii_case(word));
    if !says(header::UPGRADE, "websocket") || !says(header::CONNECTION, "upgrade") {
        return Some("an upgrade to something else than a WebSocket");
    }
    let mut accepted = answer.get_all(header::SEC_WEBSOCKET_ACCEPT).into_iter();
    let given = accepted.next().map(HeaderValue::as_bytes);
    let is_of_key = accept(offer).is_some_and(|expected| given == Some(expected.as_bytes()));
    if !is_of_key || accepted.next().is_some() {
        return Some("an agreement to another handshake");
    }
    let mut extensions = answer.get_all(header::SEC_WEBSOCKET_EXTENSIONS).into_iter();
    if !extensions.all(|line| are_offered(offer, line)) {
        return Some("an extension that was not offered");
    }
    let mut protocols = answer.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    if protocols.next().is_some_and(|chosen| !is_offered(offer, chosen)) || protocols.next().is_some() {
        return Some("a protocol that was not offered");
    }
    None
}

/// What belongs to the key of a handshake.
fn accept(offer: &HeaderMap) -> Option<String> {
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(offer.get(header::SEC_WEBSOCKET_KEY)?.as_bytes());
    digest.update(GUID);
    Some(STANDARD.encode(digest.finish()))
}

/// Whether all of these extensions were offered, whatever their parameters.
fn are_offered(offer: &HeaderMap, chosen: &HeaderValue) -> bool {
    let is_there = |extension: &str| {
        let mut offered = words(offer, &header::SEC_WEBSOCKET_EXTENSIONS);
        offered.any(|offered| name(offered) == name(extension))
    };
    chosen
        .to_str()
        .is_ok_and(|chosen| chosen.split(',').all(is_there))
}

/// An extension without its parameters.
fn name(extension: &str) -> &str {
    extension.split(';').next().unwrap_or_default().trim()
}

/// Whether this protocol was offered.
fn is_offered(offer: &HeaderMap, chosen: &HeaderValue) -> bool {
    words(offer, &header::SEC_WEBSOCKET_PROTOCOL).any(|offered| offered.as_bytes() == chosen.as_bytes())
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let fields = lines.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            )
        });
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name, value);
        }
        map
    }

    /// The example of RFC 6455 §1.3, and more on both sides.
    fn fault_of(
        offered: &[(&'static str, &'static str)],
        answered: &[(&'static str, &'static str)],
    ) -> Option<&'static str> {
        let key = [("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")];
        let agreed = [
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ];
        fault(
            &fields(&[&key[..], offered].concat()),
            &fields(&[&agreed[..], answered].concat()),
        )
    }

    #[test]
    fn only_what_was_offered_may_be_chosen() {
        let (extensions, protocol) = ("sec-websocket-extensions", "sec-websocket-protocol");
        let offers = [
            (extensions, "permessage-deflate; client_max_window_bits, x"),
            (protocol, "chat, log"),
        ];
        for chosen in [
            &[][..],
            &[(extensions, "permessage-deflate; server_max_window_bits=10")],
            &[(extensions, "x"), (extensions, "permessage-deflate")],
            &[(protocol, "log")],
        ] {
            assert_eq!(fault_of(&offers, chosen), None, "{chosen:?}");
        }
        for wrong in [
            &[(extensions, "y")][..],
            &[(extensions, "x, y")],
            &[(extensions, "x"), (extensions, "caf\u{e9}")],
            &[(protocol, "Chat")],
            &[(protocol, "chat, log")],
            &[(protocol, "chat"), (protocol, "chat")],
            &[("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")],
        ] {
            assert!(fault_of(&offers, wrong).is_some(), "{wrong:?}");
        }
        assert!(fault_of(&[], &[(extensions, "x")]).is_some());
        assert!(fault_of(&[], &[(protocol, "chat")]).is_some());
    }
}
