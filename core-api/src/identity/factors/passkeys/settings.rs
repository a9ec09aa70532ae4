//! On whose pages passkeys are made and used.

use serde::Deserialize;
use service_runtime::settings::Environment;
use webauthn_rs::prelude::Url;

/// Passkeys. Without these settings there are none.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasskeySettings {
    /// The domain that passkeys are bound to, for good: under another one, none of them is good any more.
    pub rp_id: String,
    /// The pages that may ask for them, such as `https://bank.example`. The host is `rp_id`, or ends with it.
    pub origins: Vec<String>,
    /// The bank's name, as browsers show it.
    #[serde(default = "bank")]
    pub name: String,
}

fn bank() -> String {
    "Portico".to_owned()
}

impl PasskeySettings {
    /// What is wrong with these settings, one line each.
    pub(crate) fn faults(&self, environment: Environment) -> Vec<String> {
        let mut faults = Vec::new();
        if !is_domain(&self.rp_id) {
            faults.push("passkeys.rp_id: must be a domain in lower case, such as `bank.example`".to_owned());
        }
        if self.name.trim().is_empty() {
            faults.push("passkeys.name: must not be empty".to_owned());
        }
        if self.origins.is_empty() {
            faults.push("passkeys.origins: must name one, such as `https://bank.example`".to_owned());
        }
        let of_origins = self.origins.iter().filter_map(|origin| {
            let fault = self.fault_of(origin, environment)?;
            Some(format!("passkeys.origins: {origin:?} {fault}"))
        });
        faults.extend(of_origins);
        faults
    }

    fn fault_of(&self, origin: &str, environment: Environment) -> Option<String> {
        let Ok(url) = Url::parse(origin) else {
            return Some("is no address, such as `https://bank.example`".to_owned());
        };
        let host = url.domain().unwrap_or_default();
        let is_clear =
            environment != Environment::Production && url.scheme() == "http" && host == "localhost";
        if url.scheme() != "https" && !is_clear {
            return Some("must begin with https://; http://localhost is for development".to_owned());
        }
        if url.origin().ascii_serialization() != origin {
            return Some(
                "must be an origin: no path, no final slash, no port that goes without saying".to_owned(),
            );
        }
        let is_within = host == self.rp_id || host.ends_with(&format!(".{}", self.rp_id));
        (!is_within).then(|| format!("is not within the domain `{}`", self.rp_id))
    }
}

/// Whether a browser takes a passkey for this: `localhost`, or labels with a dot between them that are no address.
fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(is_plain)
    };
    let is_address = text
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    text == "localhost" || (text.contains('.') && !is_address && text.split('.').all(is_label))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(rp_id: &str, origins: &[&str]) -> PasskeySettings {
        PasskeySettings {
            rp_id: rp_id.to_owned(),
            origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
            name: bank(),
        }
    }

    #[test]
    fn an_origin_is_within_the_domain_and_protected() {
        for (rp_id, origin) in [
            ("bank.example", "https://bank.example"),
            ("bank.example", "https://app.bank.example:8443"),
            ("localhost", "https://localhost:8443"),
        ] {
            let settings = with(rp_id, &[origin]);
            assert_eq!(
                settings.faults(Environment::Production),
                Vec::<String>::new(),
                "{origin}"
            );
            assert!(super::super::Passkeys::new(&settings).is_ok(), "{origin}");
        }
        let clear = with("localhost", &["http://localhost:3000"]);
        assert_eq!(clear.faults(Environment::Development), Vec::<String>::new());
        assert_eq!(clear.faults(Environment::Production).len(), 1);
        for (rp_id, origins) in [
            ("bank.example", vec!["https://bank.example.org"]),
            ("bank.example", vec!["https://mybank.example"]),
            ("bank.example", vec!["http://bank.example"]),
            ("bank.example", vec!["https://bank.example/"]),
            ("bank.example", vec!["https://bank.example:443"]),
            ("bank.example", vec!["https://bank.example/app"]),
            ("bank.example", vec!["https://Bank.example"]),
            ("bank.example", vec!["https://ada@bank.example"]),
            ("bank.example", vec!["bank.example"]),
            ("bank.example", vec!["android:apk-key-hash:abc"]),
            ("bank.example", vec![]),
            ("example", vec!["https://bank.example"]),
            (
                "Bank.example",
                vec!["https://bank.example", "https://bank.example"],
            ),
            ("127.0.0.1", vec!["https://127.0.0.1"]),
            ("", vec!["https://bank.example"]),
        ] {
            assert!(
                !with(rp_id, &origins).faults(Environment::Development).is_empty(),
                "{rp_id} {origins:?}"
            );
        }
    }
}
