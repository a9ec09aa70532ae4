//! Cookies: reading one, and setting one that is for this host alone.

use http::{HeaderMap, HeaderValue, header};

/// The value of a cookie (RFC 6265 §5.4): pairs with `; ` between them, over as many fields as HTTP/2 made of it (RFC 9113
/// §8.2.3). The first of several.
pub(super) fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value.to_owned())
}

/// The field that sets a cookie, which begins with `__Host-`: over TLS, for all paths of this host, out of reach of scripts, and
/// not sent with what other sites post. It goes with the browser, or after so many seconds; at once after none.
pub(super) fn set_cookie(name: &str, value: &str, for_s: Option<u32>) -> Option<HeaderValue> {
    let life = for_s.map_or_else(String::new, |for_s| format!("; Max-Age={for_s}"));
    let text = format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax{life}");
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_for_this_host_and_out_of_reach_of_scripts() {
        let set = |for_s| set_cookie("__Host-a", "1", for_s).unwrap();
        assert_eq!(set(None), "__Host-a=1; Path=/; Secure; HttpOnly; SameSite=Lax");
        assert_eq!(
            set(Some(0)),
            "__Host-a=1; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0"
        );
        assert!(set_cookie("__Host-a", "1\r\n", None).is_none());
    }
}
