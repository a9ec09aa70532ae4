//! What the control plane says is no longer good although nothing in a token shows it (J41).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Most entries of a list: what a control plane may publish and a gateway must hold.
pub const MAX_REVOCATIONS: usize = 20_000;
/// Longest name in an entry, in bytes.
const MAX_NAME_BYTES: usize = 512;

/// Everything that is revoked now. A newer list replaces an older one whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationList {
    /// Grows with every change; a holder never goes back to a smaller one.
    pub seq: u64,
    /// In no order.
    pub revocations: Vec<Revocation>,
}

/// One entry. `until` is in Unix seconds: after it the entry means nothing, because the tokens it is about have expired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Revocation {
    /// One token, by its `jti`.
    Token {
        /// The `iss` of the token.
        issuer: String,
        /// Its `jti`.
        jti: String,
        /// When the entry ends.
        until: i64,
    },
    /// The tokens of one session.
    Session {
        /// The `iss` of the tokens.
        issuer: String,
        /// Their `sid`.
        sid: String,
        /// When the entry ends.
        until: i64,
    },
    /// The tokens of one subject that were issued up to a moment.
    Subject {
        /// The `iss` of the tokens.
        issuer: String,
        /// Their `sub`.
        sub: String,
        /// The last `iat` that is meant, Unix seconds.
        issued_until: i64,
        /// When the entry ends.
        until: i64,
    },
    /// The tokens of one client that were issued up to a moment.
    Client {
        /// The `iss` of the tokens.
        issuer: String,
        /// Their `client_id` or `azp`.
        client_id: String,
        /// The last `iat` that is meant, Unix seconds.
        issued_until: i64,
        /// When the entry ends.
        until: i64,
    },
    /// The tokens of one key.
    Key {
        /// The `iss` of the tokens.
        issuer: String,
        /// Their `kid`.
        kid: String,
        /// When the entry ends.
        until: i64,
    },
    /// Clients with these addresses.
    Network {
        /// The first address.
        address: IpAddr,
        /// The length of the prefix in bits.
        prefix: u8,
        /// When the entry ends.
        until: i64,
    },
    /// Clients with these addresses, where credentials are tried; everything else is open to them.
    SignIn {
        /// The first address.
        address: IpAddr,
        /// The length of the prefix in bits.
        prefix: u8,
        /// When the entry ends.
        until: i64,
    },
}

/// Why a list is refused. The holder keeps the one it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RevocationError {
    /// More than [`MAX_REVOCATIONS`] entries.
    #[error("the list has more than {MAX_REVOCATIONS} entries")]
    TooMany,
    /// An entry has an empty or very long name.
    #[error("an entry has an empty name or one of more than {MAX_NAME_BYTES} bytes")]
    Name,
    /// A network with a prefix that is longer than its address, or with bits beyond it.
    #[error("an entry is no network")]
    Network,
}

impl RevocationList {
    /// Checks the whole list.
    ///
    /// # Errors
    ///
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), RevocationError> {
        if self.revocations.len() > MAX_REVOCATIONS {
            return Err(RevocationError::TooMany);
        }
        self.revocations.iter().try_for_each(Revocation::validate)
    }
}

impl Revocation {
    /// When the entry ends, Unix seconds.
    #[must_use]
    pub const fn until(&self) -> i64 {
        match self {
            Self::Token { until, .. }
            | Self::Session { until, .. }
            | Self::Subject { until, .. }
            | Self::Client { until, .. }
            | Self::Key { until, .. }
            | Self::Network { until, .. }
            | Self::SignIn { until, .. } => *until,
        }
    }

    /// Checks one entry.
    ///
    /// # Errors
    ///
    /// The rule that is broken.
    pub fn validate(&self) -> Result<(), RevocationError> {
        let (issuer, name) = match self {
            Self::Token { issuer, jti, .. } => (issuer, jti),
            Self::Session { issuer, sid, .. } => (issuer, sid),
            Self::Subject { issuer, sub, .. } => (issuer, sub),
            Self::Client {
                issuer, client_id, ..
            } => (issuer, client_id),
            Self::Key { issuer, kid, .. } => (issuer, kid),
            Self::Network { address, prefix, .. } | Self::SignIn { address, prefix, .. } => {
                return match masked(*address, *prefix) {
                    Some(network) if network == *address => Ok(()),
                    _ => Err(RevocationError::Network),
                };
            }
        };
        let is_name = |text: &str| !text.is_empty() && text.len() <= MAX_NAME_BYTES;
        if is_name(issuer) && is_name(name) {
            Ok(())
        } else {
            Err(RevocationError::Name)
        }
    }
}

/// The network of an address; `None` when the prefix is longer than the address.
#[must_use]
pub fn masked(address: IpAddr, prefix: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => {
            let zeros = 32_u32.checked_sub(u32::from(prefix))?;
            let mask = u32::MAX.checked_shl(zeros).unwrap_or(0);
            Some(IpAddr::V4((address.to_bits() & mask).into()))
        }
        IpAddr::V6(address) => {
            let zeros = 128_u32.checked_sub(u32::from(prefix))?;
            let mask = u128::MAX.checked_shl(zeros).unwrap_or(0);
            Some(IpAddr::V6((address.to_bits() & mask).into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn j41_an_entry_of_each_kind_is_read_and_anything_else_is_refused() {
        let good = json!({"seq": 7, "revocations": [
            {"kind": "token", "issuer": "https://a.example", "jti": "tok_1", "until": 9},
            {"kind": "session", "issuer": "https://a.example", "sid": "ses_1", "until": 9},
            {"kind": "subject", "issuer": "https://a.example", "sub": "usr_1", "issued_until": 5, "until": 9},
            {"kind": "client", "issuer": "https://a.example", "client_id": "app", "issued_until": 5, "until": 9},
            {"kind": "key", "issuer": "https://a.example", "kid": "k1", "until": 9},
            {"kind": "network", "address": "203.0.113.0", "prefix": 24, "until": 9},
        ]});
        let list: RevocationList = serde_json::from_value(good.clone()).unwrap();
        assert_eq!(list.validate(), Ok(()));
        assert_eq!(serde_json::to_value(&list).unwrap(), good);
        for bad in [
            json!({"kind": "token", "issuer": "https://a.example", "jti": "tok_1"}),
            json!({"kind": "token", "issuer": "https://a.example", "jti": "tok_1", "until": 9, "sub": "usr_1"}),
            json!({"kind": "everything", "until": 9}),
            json!({"kind": "network", "address": "bank.example", "prefix": 24, "until": 9}),
        ] {
            let list = json!({"seq": 7, "revocations": [bad]});
            assert!(
                serde_json::from_value::<RevocationList>(list.clone()).is_err(),
                "{list}"
            );
        }
    }

    #[test]
    fn j41_lists_are_bounded_and_networks_are_networks() {
        let token = |jti: &str| Revocation::Token {
            issuer: "https://a.example".to_owned(),
            jti: jti.to_owned(),
            until: 9,
        };
        let list = |revocations| RevocationList { seq: 1, revocations };
        assert_eq!(list(vec![token("a"); MAX_REVOCATIONS]).validate(), Ok(()));
        assert_eq!(
            list(vec![token("a"); MAX_REVOCATIONS + 1]).validate(),
            Err(RevocationError::TooMany)
        );
        for name in [String::new(), "x".repeat(513)] {
            assert_eq!(list(vec![token(&name)]).validate(), Err(RevocationError::Name));
        }
        for (address, prefix, expected) in [
            ("203.0.113.0", 24, Ok(())),
            ("0.0.0.0", 0, Ok(())),
            ("2001:db8::", 32, Ok(())),
            ("::", 0, Ok(())),
            ("203.0.113.7", 24, Err(RevocationError::Network)),
            ("203.0.113.7", 33, Err(RevocationError::Network)),
            ("2001:db8::1", 64, Err(RevocationError::Network)),
        ] {
            let address = address.parse().unwrap();
            let network = Revocation::Network {
                address,
                prefix,
                until: 9,
            };
            assert_eq!(network.validate(), expected, "{address}/{prefix}");
        }
    }
}
