//! Under which keys guesses are counted, and the tokens of trusted devices.

use std::net::IpAddr;

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyring::masked;
use lockout::IPV6_NETWORKS;
use unicode_normalization::UnicodeNormalization as _;
use uuid::Uuid;

/// The form of device tokens.
const VERSION: &str = "1";

/// What a counter is kept under. It is of no use to whoever does not know the pepper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

impl Key {
    pub(super) fn to_vec(self) -> Vec<u8> {
        self.0.to_vec()
    }

    pub(super) fn is(&self, bytes: &[u8]) -> bool {
        self.0 == bytes
    }

    /// A part of it, which tells names apart in the counters of networks.
    pub(super) fn tag(&self) -> u64 {
        let first = self.0.first_chunk::<8>().copied().unwrap_or_default();
        // What JSON readers hold exactly.
        u64::from_be_bytes(first) >> 11
    }
}

/// The keys of an attempt's counters.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    pub(super) name: Key,
    pub(super) pair: Key,
    pub(super) networks: Vec<Network>,
}

/// A network that a client is in.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) key: Key,
    /// How many times the limit of an address it has.
    pub(super) times: u32,
    /// `203.0.113.7/32`; None when nobody knows where the client is.
    pub(super) network: Option<String>,
}

/// Makes keys and tokens. Every core-api that has the same pepper makes the same.
#[derive(Debug)]
pub(super) struct KeyMaker {
    counters: hmac::Key,
    devices: hmac::Key,
}

impl KeyMaker {
    /// Derives both keys from the pepper; the labels keep them apart from every other use of it.
    pub(super) fn derive(pepper: &[u8]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, pepper);
        let derived = |label: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, label).as_ref());
        Self {
            counters: derived(b"portico gate counters v1"),
            devices: derived(b"portico trusted devices v1"),
        }
    }

    /// The keys of an attempt at a name, as it was typed, from an address. Nobody's address is one address.
    pub(super) fn of(&self, name: &str, client: Option<IpAddr>) -> Keys {
        let name = self.name(name);
        let networks = self.networks(client);
        let nearest = networks.first().map_or(name, |network| network.key);
        Keys {
            name,
            pair: self.key("pair", &[&name.0, &nearest.0]),
            networks,
        }
    }

    /// One key for all spellings of a name: NFKC, case folded, without space around it.
    pub(super) fn name(&self, name: &str) -> Key {
        let folded: String = name
            .trim()
            .nfkc()
            .flat_map(char::to_uppercase) // ß and SS are one
            .flat_map(char::to_lowercase)
            .collect();
        self.key("name", &[folded.as_bytes()])
    }

    pub(super) fn device(&self, device: Uuid) -> Key {
        self.key("device", &[device.as_bytes()])
    }

    /// Of the wrong codes of a person.
    pub(super) fn codes(&self, user: Uuid) -> Key {
        self.key("otp", &[user.as_bytes()])
    }

    fn networks(&self, client: Option<IpAddr>) -> Vec<Network> {
        let Some(client) = client.map(|client| client.to_canonical()) else {
            let key = self.key("network", &[b"unknown"]);
            return vec![Network {
                key,
                times: 1,
                network: None,
            }];
        };
        let prefixes: &[(u8, u32)] = match client {
            IpAddr::V4(_) => &[(32, 1)],
            IpAddr::V6(_) => &IPV6_NETWORKS,
        };
        let network = |(prefix, times): &(u8, u32)| {
            let network = format!("{}/{prefix}", masked(client, *prefix)?);
            Some(Network {
                key: self.key("network", &[network.as_bytes()]),
                times: *times,
                network: Some(network),
            })
        };
        prefixes.iter().filter_map(network).collect()
    }

    fn key(&self, kind: &str, parts: &[&[u8]]) -> Key {
        let mut context = hmac::Context::with_key(&self.counters);
        for part in std::iter::once(kind.as_bytes()).chain(parts.iter().copied()) {
            // The length goes first, so that no two lists of parts run together.
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part);
        }
        let mut key = [0_u8; 32];
        key.iter_mut()
            .zip(context.sign().as_ref())
            .for_each(|(to, from)| *to = *from);
        Key(key)
    }

    /// What a device shows so that guesses elsewhere do not lock it: `1.<device>.<issued>.<code>`. The code is over the name,
    /// too: shown with another one, the token means nothing. It proves nothing about who uses the device.
    pub(super) fn device_token(&self, device: Uuid, issued: i64, name: Key) -> String {
        let body = format!("{VERSION}.{}.{issued}", device.simple());
        let code = URL_SAFE_NO_PAD.encode(self.code(&body, name));
        format!("{body}.{code}")
    }

    /// The device of a token that was made for this name.
    pub(super) fn read_device_token(&self, token: &str, name: Key) -> Option<Uuid> {
        let (body, code) = token.rsplit_once('.')?;
        let code = URL_SAFE_NO_PAD.decode(code).ok()?;
        constant_time::verify_slices_are_equal(self.code(body, name).as_ref(), &code).ok()?;
        let mut parts = body.split('.');
        (parts.next() == Some(VERSION)).then_some(())?;
        parts.next()?.parse().ok()
    }

    fn code(&self, body: &str, name: Key) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.devices);
        context.update(&name.0); // of fixed length: name and body cannot run together
        context.update(body.as_bytes());
        context.sign()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maker() -> KeyMaker {
        KeyMaker::derive(b"pepper of the tests")
    }

    #[test]
    fn all_spellings_of_a_name_are_one_and_no_two_names_are() {
        let maker = maker();
        let alice = maker.name("alice@example.com");
        for same in [
            "ALICE@example.com",
            " alice@EXAMPLE.com\n",
            "ａｌｉｃｅ@example.com",
            "Alice@Example.Com",
        ] {
            assert_eq!(maker.name(same), alice, "{same}");
        }
        assert_eq!(maker.name("straße"), maker.name("STRASSE"));
        for other in ["alice@example.org", "alice @example.com", ""] {
            assert_ne!(maker.name(other), alice, "{other}");
        }
        assert_ne!(KeyMaker::derive(b"another").name("alice@example.com"), alice);
    }

    #[test]
    fn l16_an_ipv6_client_is_its_network_and_an_ipv4_client_is_itself() {
        let maker = maker();
        let networks = |address: &str| {
            let networks = maker.of("a", Some(address.parse().unwrap())).networks;
            networks
                .into_iter()
                .map(|network| (network.network.unwrap(), network.times))
                .collect::<Vec<_>>()
        };
        let named = |network: &str, times| (network.to_owned(), times);
        assert_eq!(networks("203.0.113.7"), [named("203.0.113.7/32", 1)]);
        assert_eq!(networks("::ffff:203.0.113.7"), [named("203.0.113.7/32", 1)]);
        let wanted = [
            named("2001:db8:1:2::/64", 1),
            named("2001:db8:1::/56", 3),
            named("2001:db8:1::/48", 5),
        ];
        assert_eq!(networks("2001:db8:1:2:3:4:5:6"), wanted);
        assert_eq!(networks("2001:db8:1:2:ffff::1"), wanted);
        let (unknown, known) = (maker.of("a", None), maker.of("a", Some("::1".parse().unwrap())));
        assert_eq!(unknown.networks.len(), 1);
        assert_ne!(unknown.pair, known.pair);
    }

    #[test]
    fn a_device_token_is_good_for_one_name_and_for_nothing_that_was_changed() {
        let maker = maker();
        let (alice, bob) = (maker.name("alice"), maker.name("bob"));
        let device = Uuid::now_v7();
        let token = maker.device_token(device, 1_700_000_000, alice);
        assert_eq!(maker.read_device_token(&token, alice), Some(device));
        assert_eq!(maker.read_device_token(&token, bob), None);
        assert_eq!(KeyMaker::derive(b"other").read_device_token(&token, alice), None);
        for place in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[place] = if bytes[place] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(maker.read_device_token(&changed, alice), None, "{changed}");
        }
        let short: String = token.chars().take(token.len() - 1).collect();
        for wrong in ["", ".", "...", "1.x.1.x", &short] {
            assert_eq!(maker.read_device_token(wrong, alice), None, "{wrong}");
        }
    }
}
