//! Money: whole minor units of one currency. Never a fraction, never a float.

#![deny(clippy::arithmetic_side_effects)]

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, schema::Type};
use utoipa::{PartialSchema, ToSchema};

/// The largest amount of one movement, in minor units: below 2^53, so exact in every JSON reader.
pub(crate) const MAX_AMOUNT_MINOR: i64 = 1_000_000_000_000_000;

/// What one movement moves: 1 to 10^15 minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub(crate) struct Amount(i64);

/// A number outside 1 to 10^15.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("amount must be between 1 and {MAX_AMOUNT_MINOR} minor units")]
pub(crate) struct AmountOutOfRange;

impl Amount {
    /// The number of minor units.
    pub(crate) const fn minor(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for Amount {
    type Error = AmountOutOfRange;

    fn try_from(minor: i64) -> Result<Self, AmountOutOfRange> {
        if (1..=MAX_AMOUNT_MINOR).contains(&minor) {
            Ok(Self(minor))
        } else {
            Err(AmountOutOfRange)
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    /// Takes a JSON integer and nothing else: no string, no fraction, no exponent.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let minor = i64::deserialize(deserializer)?;
        Self::try_from(minor).map_err(|AmountOutOfRange| {
            de::Error::invalid_value(
                de::Unexpected::Signed(minor),
                &"an integer between 1 and 1000000000000000",
            )
        })
    }
}

impl PartialSchema for Amount {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .description(Some("Minor units: cents of a dollar, yen, fils of a dinar."))
            .minimum(Some(1_u64))
            .maximum(Some(1_000_000_000_000_000_u64))
            .examples([2_500])
            .into()
    }
}

impl ToSchema for Amount {
    fn name() -> std::borrow::Cow<'static, str> {
        "Amount".into()
    }
}

/// An ISO 4217 code by form. Whether the bank keeps that currency, the ledger says.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Currency([u8; 3]);

/// A text that is not three capital letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a currency is three capital letters (ISO 4217)")]
pub(crate) struct InvalidCurrency;

impl Currency {
    /// The code as text.
    pub(crate) fn as_str(&self) -> &str {
        // Constructed from ASCII capitals only.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::str::FromStr for Currency {
    type Err = InvalidCurrency;

    fn from_str(text: &str) -> Result<Self, InvalidCurrency> {
        let code: [u8; 3] = text.as_bytes().try_into().map_err(|_| InvalidCurrency)?;
        if code.iter().all(u8::is_ascii_uppercase) {
            Ok(Self(code))
        } else {
            Err(InvalidCurrency)
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|InvalidCurrency| {
            de::Error::invalid_value(de::Unexpected::Other("text"), &"three capital letters (ISO 4217)")
        })
    }
}

impl PartialSchema for Currency {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("ISO 4217 code."))
            .pattern(Some("^[A-Z]{3}$"))
            .examples(["EUR"])
            .into()
    }
}

impl ToSchema for Currency {
    fn name() -> std::borrow::Cow<'static, str> {
        "Currency".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_amount_survives_json_exactly(minor in 1..=MAX_AMOUNT_MINOR) {
            let amount = Amount::try_from(minor).unwrap();
            let text = serde_json::to_string(&amount).unwrap();
            prop_assert_eq!(&text, &minor.to_string()); // I20
            prop_assert_eq!(serde_json::from_str::<Amount>(&text).unwrap(), amount);
        }

        #[test]
        fn nothing_outside_the_range_is_an_amount(minor: i64) {
            prop_assert_eq!(Amount::try_from(minor).is_ok(), (1..=MAX_AMOUNT_MINOR).contains(&minor));
        }

        #[test]
        fn a_currency_prints_as_it_was_read(text in ".{0,4}") {
            if let Ok(currency) = text.parse::<Currency>() {
                prop_assert_eq!(currency.to_string(), text);
            }
        }
    }

    #[test]
    fn only_a_json_integer_is_an_amount() {
        for bad in [
            "1.0",
            "1e3",
            "\"1\"",
            "0",
            "-1",
            "null",
            "true",
            "1000000000000001",
            "18446744073709551616",
            "[1]",
        ] {
            assert!(serde_json::from_str::<Amount>(bad).is_err(), "{bad}");
        }
    }
}
