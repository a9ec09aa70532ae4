//! Where a log-in came from, as its owner sees it later.

use std::net::IpAddr;

use http::{HeaderMap, header};

const MAX_AGENT_CHARS: usize = 200;

/// The program and the address of a client, as the gateway says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::identity) struct OpenedFrom {
    /// The start of its `User-Agent`, without control characters.
    pub(in crate::identity) user_agent: Option<String>,
    /// Its address; the database keeps the network alone.
    pub(in crate::identity) address: Option<IpAddr>,
}

impl OpenedFrom {
    /// Reads the headers of a request. The gateway replaces what a client says in `X-Forwarded-For`.
    pub(in crate::identity) fn read(headers: &HeaderMap) -> Self {
        let text = |name| {
            headers
                .get(name)
                .map(|value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()))
        };
        let agent = text(header::USER_AGENT.as_str()).map(|agent| {
            agent
                .chars()
                .filter(|char| !char.is_control())
                .take(MAX_AGENT_CHARS)
                .collect::<String>()
        });
        Self {
            user_agent: agent.filter(|agent| !agent.trim().is_empty()),
            address: text("x-forwarded-for")
                .and_then(|address| address.trim().parse().ok())
                .map(|address: IpAddr| address.to_canonical()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(agent: &[u8], address: &str) -> (Option<String>, Option<String>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, http::HeaderValue::from_bytes(agent).unwrap());
        headers.insert("x-forwarded-for", address.parse().unwrap());
        let from = OpenedFrom::read(&headers);
        (from.user_agent, from.address.map(|address| address.to_string()))
    }

    #[test]
    fn what_is_no_address_and_no_name_is_nothing() {
        assert_eq!(OpenedFrom::read(&HeaderMap::new()), OpenedFrom::default());
        assert_eq!(read(b"  ", "unknown"), (None, None));
        assert_eq!(
            read(b"curl/8", "192.0.2.7, 198.51.100.1"),
            (Some("curl/8".to_owned()), None)
        );
        assert_eq!(
            read(b"curl/8", "::ffff:192.0.2.7").1.as_deref(),
            Some("192.0.2.7")
        );
    }

    #[test]
    fn a_long_or_strange_name_is_cut_and_stays_text() {
        let (agent, _) = read(&[b'x'; 5_000], "192.0.2.7");
        assert_eq!(agent.unwrap().len(), MAX_AGENT_CHARS);
        let (agent, _) = read("tab\there, byte \u{1f511}".as_bytes(), "192.0.2.7");
        assert_eq!(agent.as_deref(), Some("tabhere, byte \u{1f511}"));
        let (agent, _) = read(b"byte \xff", "192.0.2.7");
        assert_eq!(agent.as_deref(), Some("byte \u{fffd}"));
    }
}
