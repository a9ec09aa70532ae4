//! Whether a form comes from one of our pages, shown to this browser.
//!
//! Two things must hold. The browser says where the request comes from, and that is here (Fetch Metadata, and `Origin`). And the
//! form carries an HMAC under a secret that stands in a cookie no other site and no script can read: that of the session, or, for
//! whoever has none, one that was made for that. So a form of one browser, or of one session, is good in no other.

use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};
use zeroize::Zeroizing;

use crate::identity::cookies::{cookie, set_cookie};

/// The field of a form's token.
pub(super) const FIELD: &str = "form_token";
const COOKIE: &str = "__Host-form";
const BYTES: usize = 32;
/// What is signed.
const PURPOSE: &[u8] = b"portico form v1";

/// What the forms of somebody without a session are signed with.
pub(super) struct GuestSecret {
    secret: Zeroizing<[u8; BYTES]>,
    /// Whether the browser has it already.
    is_known: bool,
}

impl GuestSecret {
    /// That of the cookie, or a new one; None without randomness.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        if let Some(secret) = Self::sent(headers) {
            return Some(secret);
        }
        let mut secret = Zeroizing::new([0_u8; BYTES]);
        rand::fill(secret.as_mut_slice()).ok()?;
        Some(Self {
            secret,
            is_known: false,
        })
    }

    fn sent(headers: &HeaderMap) -> Option<Self> {
        let text = Zeroizing::new(cookie(headers, COOKIE)?);
        let decoded = Zeroizing::new(URL_SAFE_NO_PAD.decode(text.as_bytes()).ok()?);
        Some(Self {
            secret: Zeroizing::new(decoded.as_slice().try_into().ok()?),
            is_known: true,
        })
    }

    /// The key of its forms.
    pub(super) fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_slice())
    }

    /// The field that gives it to the browser, unless it has it.
    pub(super) fn cookie(&self) -> Option<HeaderValue> {
        let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(self.secret.as_slice()));
        (!self.is_known)
            .then(|| set_cookie(COOKIE, &text, None))
            .flatten()
    }
}

/// The token of forms under a key.
pub(super) fn token(key: &hmac::Key) -> String {
    URL_SAFE_NO_PAD.encode(hmac::sign(key, PURPOSE).as_ref())
}

/// Whether a form has the token of this key.
pub(super) fn is_signed(key: &hmac::Key, token: &str) -> bool {
    URL_SAFE_NO_PAD
        .decode(token)
        .is_ok_and(|tag| hmac::verify(key, PURPOSE, &tag).is_ok())
}

/// Whether a browser says that one of our own pages sends this. One that says nothing is left to the token.
pub(super) fn is_from_here(headers: &HeaderMap) -> bool {
    let site = headers.get_all("sec-fetch-site").iter();
    let mut sites = site.map(|site| site == "same-origin" || site == "none");
    let mut origins = headers.get_all(header::ORIGIN).iter();
    sites.all(|is_ours| is_ours) && origins.all(|origin| is_our_origin(origin, headers))
}

/// The gateway says by which of our names it was asked; no page of ours is served without TLS.
fn is_our_origin(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let host = headers
        .get("x-forwarded-host")
        .or_else(|| headers.get(header::HOST));
    let (Some(origin), Some(host)) = (origin.to_str().ok(), host.and_then(|host| host.to_str().ok())) else {
        return false;
    };
    origin
        .strip_prefix("https://")
        .is_some_and(|named| named.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = fields.iter().map(|(name, value)| {
            (
                http::HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        });
        pairs.collect()
    }

    #[test]
    fn only_our_own_pages_send_forms() {
        let host = ("x-forwarded-host", "bank.example:8443");
        for (fields, wanted) in [
            (vec![host], true),
            (vec![host, ("sec-fetch-site", "same-origin")], true),
            (vec![host, ("sec-fetch-site", "none")], true),
            (vec![host, ("sec-fetch-site", "same-site")], false),
            (vec![host, ("sec-fetch-site", "cross-site")], false),
            (vec![host, ("sec-fetch-site", "Same-Origin")], false),
            (vec![host, ("origin", "https://bank.example:8443")], true),
            (vec![host, ("origin", "https://Bank.Example:8443")], true),
            (vec![host, ("origin", "https://bank.example")], false),
            (vec![host, ("origin", "http://bank.example:8443")], false),
            (vec![host, ("origin", "https://evil.example")], false),
            (vec![host, ("origin", "null")], false),
            (vec![("origin", "https://bank.example")], false),
            (
                vec![
                    host,
                    ("sec-fetch-site", "same-origin"),
                    ("origin", "https://evil.example"),
                ],
                false,
            ),
        ] {
            assert_eq!(is_from_here(&headers(&fields)), wanted, "{fields:?}");
        }
    }

    #[test]
    fn a_token_is_good_under_its_own_secret_alone() {
        let (ours, other) = (HeaderMap::new(), HeaderMap::new());
        let (ours, other) = (GuestSecret::of(&ours).unwrap(), GuestSecret::of(&other).unwrap());
        let token = token(&ours.key());
        assert!(is_signed(&ours.key(), &token));
        assert!(!is_signed(&other.key(), &token));
        for wrong in ["", "x", &token.to_lowercase(), &format!("{token}=")] {
            assert!(!is_signed(&ours.key(), wrong), "{wrong}");
        }
        let set = ours.cookie().unwrap();
        let sent = set.to_str().unwrap().split(';').next().unwrap();
        let again = GuestSecret::of(&headers(&[("cookie", sent)])).unwrap();
        assert!(is_signed(&again.key(), &token));
        assert!(again.cookie().is_none());
    }
}
