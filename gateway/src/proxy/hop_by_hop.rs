//! Fields of one connection, which is not the next one (RFC 9110 §7.6.1).

use http::{HeaderMap, HeaderName, header};

/// Whether a field is about one connection alone, whatever `Connection` names.
pub(super) fn is_hop_by_hop(name: &HeaderName) -> bool {
    const NAMES: [HeaderName; 7] = [
        header::CONNECTION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
    ];
    NAMES.contains(name)
        || matches!(
            name.as_str(),
            "close" | "keep-alive" | "proxy-authentication-info" | "proxy-connection" | "http2-settings"
        )
}

/// The names that `Connection` gives, in lower case.
fn nominated(fields: &HeaderMap) -> Vec<String> {
    fields
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|word| word.trim_matches([' ', '\t']).to_ascii_lowercase())
        .filter(|word| !word.is_empty())
        .collect()
}

/// Whether a field is about the connection that these fields came over.
pub(super) fn of_connection(fields: &HeaderMap) -> impl Fn(&HeaderName) -> bool + use<> {
    let nominated = nominated(fields);
    move |name| is_hop_by_hop(name) || nominated.iter().any(|nominated| nominated == name.as_str())
}

/// Removes every field of such a name. There are fewer fields than names to look for.
pub(super) fn remove(fields: &mut HeaderMap, is_such: impl Fn(&HeaderName) -> bool) {
    let found: Vec<HeaderName> = fields.keys().filter(|name| is_such(name)).cloned().collect();
    for name in found {
        fields.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::{is_hop_by_hop, nominated, remove};

    #[test]
    fn fr10_what_is_about_the_connection_of_the_client_goes_no_further() {
        let of_connection = [
            "close",
            "connection",
            "http2-settings",
            "keep-alive",
            "proxy-authenticate",
            "proxy-authentication-info",
            "proxy-authorization",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ];
        let mut fields = HeaderMap::new();
        for name in of_connection.into_iter().chain(["content-length", "host"]) {
            fields.append(name, "a".parse().unwrap());
        }
        remove(&mut fields, is_hop_by_hop);
        let mut left: Vec<_> = fields.keys().map(http::HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "host"]);
    }

    #[test]
    fn names_are_read_whatever_their_case_and_the_blanks_between_them() {
        let mut fields = HeaderMap::new();
        for line in ["close, X-Secret", " ,\tfoo ,"] {
            fields.append("connection", line.parse().unwrap());
        }
        assert_eq!(nominated(&fields), ["close", "x-secret", "foo"]);
    }
}
