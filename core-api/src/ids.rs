//! Identifiers as clients see them: a prefix that names the kind, `_`, and a UUID in Crockford base32.
//!
//! **Invariant:** each identifier has exactly one spelling. The parser refuses upper case, the aliases that Crockford
//! allows to people (`i`, `l`, `o`), and a first digit above 7, so that text can be compared and hashed as it stands.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;

use aws_lc_rs::digest;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, schema::Type};
use utoipa::{PartialSchema, ToSchema};
use uuid::{Builder, NoContext, Timestamp, Uuid};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 128 bits in groups of five.
const DIGITS: usize = 26;

/// What an identifier names.
pub(crate) trait Kind {
    /// The prefix, without the `_`.
    const PREFIX: &'static str;
    /// The name of its schema in the OpenAPI document.
    const SCHEMA: &'static str;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $id:ident = $kind:ident, $prefix:literal;)*) => {$(
        #[doc = concat!("Marks `", $prefix, "_` identifiers.")]
        pub(crate) enum $kind {}
        impl Kind for $kind {
            const PREFIX: &'static str = $prefix;
            const SCHEMA: &'static str = stringify!($id);
        }
        $(#[$doc])*
        pub(crate) type $id = Id<$kind>;
    )*};
}

kinds! {
    /// A person who can log in.
    UserId = User, "usr";
    /// One login and its refresh tokens.
    SessionId = Session, "ses";
    /// A bank within the bank: users of different tenants do not see each other.
    TenantId = Tenant, "ten";
    /// A customer's account.
    AccountId = Account, "acc";
    /// A movement of money: a deposit, a withdrawal or a transfer. Also the id of its ledger entry.
    TransferId = Transfer, "txn";
    /// A device that its owner signed in with.
    DeviceId = Device, "dev";
    /// A passkey.
    PasskeyId = Passkey, "pky";
    /// One token (`jti`).
    TokenId = Token, "tok";
}

/// A typed identifier. See the module for its form.
pub(crate) struct Id<K>(Uuid, PhantomData<fn() -> K>);

/// A text that is no identifier of the wanted kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an identifier of this kind")]
pub(crate) struct InvalidId;

impl<K> Id<K> {
    /// Takes over an identifier from the database.
    pub(crate) const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid, PhantomData)
    }

    /// A new identifier, ordered by time (RFC 9562 §5.7).
    pub(crate) fn new(now: DateTime<Utc>) -> Self {
        let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
        Self::from_uuid(Uuid::new_v7(Timestamp::from_unix(
            NoContext,
            seconds,
            now.timestamp_subsec_nanos(),
        )))
    }

    /// The identifier that these parts lead to, always the same (RFC 9562 §5.8, SHA-256): the permanent identity below
    /// an idempotency key. Parts are length-prefixed, so that no two lists of parts run together.
    pub(crate) fn derived(purpose: &str, parts: &[&[u8]]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in std::iter::once(purpose.as_bytes()).chain(parts.iter().copied()) {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part);
        }
        let hash = context.finish();
        let mut bytes = [0_u8; 16];
        bytes
            .iter_mut()
            .zip(hash.as_ref())
            .for_each(|(to, from)| *to = *from);
        Self::from_uuid(Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// The UUID inside, as the database stores it.
    pub(crate) const fn uuid(self) -> Uuid {
        self.0
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<K> Eq for Id<K> {}
impl<K> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<K: Kind> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0.as_u128();
        let digits: String = (0..DIGITS)
            .rev()
            .filter_map(|place| {
                let index = usize::try_from((value >> (place * 5)) & 31).ok()?;
                ALPHABET.get(index).copied().map(char::from)
            })
            .collect();
        write!(f, "{}_{digits}", K::PREFIX)
    }
}

impl<K: Kind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<K: Kind> FromStr for Id<K> {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let digits = text
            .strip_prefix(K::PREFIX)
            .and_then(|rest| rest.strip_prefix('_'))
            .filter(|digits| digits.len() == DIGITS)
            .ok_or(InvalidId)?;
        let mut value: u128 = 0;
        for (place, byte) in digits.bytes().enumerate() {
            let digit = ALPHABET
                .iter()
                .position(|letter| *letter == byte)
                .ok_or(InvalidId)?;
            if place == 0 && digit > 7 {
                return Err(InvalidId); // 26 digits hold 130 bits, a UUID has 128
            }
            value = (value << 5) | u128::try_from(digit).map_err(|_| InvalidId)?;
        }
        Ok(Self::from_uuid(Uuid::from_u128(value)))
    }
}

impl<K: Kind> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, K: Kind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|InvalidId| {
            de::Error::invalid_value(
                de::Unexpected::Other("text"),
                &format!("an identifier `{}_…`", K::PREFIX).as_str(),
            )
        })
    }
}

impl<K: Kind> PartialSchema for Id<K> {
    fn schema() -> RefOr<Schema> {
        let example = Self::from_uuid(Uuid::from_u128(0x019a_9f6e_7c1f_7d3a_9d5b_0c2f_6f0f_3c11)).to_string();
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(format!("^{}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$", K::PREFIX)))
            .examples([example])
            .into()
    }
}

impl<K: Kind> ToSchema for Id<K> {
    fn name() -> std::borrow::Cow<'static, str> {
        K::SCHEMA.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn printing_and_parsing_are_inverse(value: u128) {
            let id = AccountId::from_uuid(Uuid::from_u128(value));
            let text = id.to_string();
            prop_assert_eq!(text.parse::<AccountId>(), Ok(id));
            prop_assert_eq!(text.len(), 30);
            prop_assert!(text.parse::<UserId>().is_err());
            prop_assert!(text.to_uppercase().parse::<AccountId>().is_err());
        }

        #[test]
        fn whatever_parses_prints_the_same(text in "(acc_)?[0-9a-zA-Z_]{0,30}") {
            if let Ok(id) = text.parse::<AccountId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }

        #[test]
        fn derived_ids_do_not_run_parts_together(a in "[a-z]{0,4}", b in "[a-z]{1,4}") {
            let joined = format!("{a}{b}");
            prop_assert_ne!(
                TransferId::derived("p", &[a.as_bytes(), b.as_bytes()]),
                TransferId::derived("p", &[joined.as_bytes(), b""])
            );
            prop_assert_eq!(TransferId::derived("p", &[b.as_bytes()]), TransferId::derived("p", &[b.as_bytes()]));
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        let good = "acc_01kafpwz0zfmx9tpr6z5qgyf0h";
        assert!(good.parse::<AccountId>().is_ok());
        for bad in [
            "acc_81kafpwz0zfmx9tpr6z5qgyf0h",
            "acc_01kafpwz0zfmx9tpr6z5qgyf0",
            "acc_01kafpwz0zfmx9tpr6z5qgyf0hh",
            "acc_0ikafpwz0zfmx9tpr6z5qgyf0h",
            "acc_0lkafpwz0zfmx9tpr6z5qgyf0h",
            "acc_0ukafpwz0zfmx9tpr6z5qgyf0h",
            "acc-01kafpwz0zfmx9tpr6z5qgyf0h",
            " acc_01kafpwz0zfmx9tpr6z5qgyf0h",
            "acc_é1kafpwz0zfmx9tpr6z5qgyf0h",
            "",
        ] {
            assert_eq!(bad.parse::<AccountId>(), Err(InvalidId), "{bad}");
        }
    }
}
