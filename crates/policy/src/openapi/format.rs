//! `format`: what a text or a number is, beyond its type.

use super::types::Types;
use crate::{Date, json::Json};
use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

/// A format that is enforced.
#[derive(Clone, Copy)]
pub(super) enum Format {
    /// A whole number in a range: `int8` to `uint64`.
    Whole(&'static str, i128, i128),
    /// A text, and what it must be, in words.
    Text(&'static str, fn(&str) -> bool),
}

/// The words say which one it is, in every run.
impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.in_words())
    }
}

/// How a format is known.
pub(super) enum Known {
    Enforced(Format),
    /// It says how a value is shown or kept, and nothing about which values there are.
    Shown,
}

impl Format {
    /// The format of that name; `None` for one that cannot be enforced.
    pub(super) fn named(name: &str) -> Option<Known> {
        let whole = |words, least, most| Known::Enforced(Self::Whole(words, least, most));
        let text = |words, is_good| Known::Enforced(Self::Text(words, is_good));
        Some(match name {
            "int8" => whole("a whole number of 8 bits", i8::MIN.into(), i8::MAX.into()),
            "int16" => whole("a whole number of 16 bits", i16::MIN.into(), i16::MAX.into()),
            "int32" => whole("a whole number of 32 bits", i32::MIN.into(), i32::MAX.into()),
            "int64" => whole("a whole number of 64 bits", i64::MIN.into(), i64::MAX.into()),
            "uint8" => whole("a whole number from 0 to 255", 0, u8::MAX.into()),
            "uint16" => whole("a whole number from 0 to 65535", 0, u16::MAX.into()),
            "uint32" => whole("a whole number from 0, of 32 bits", 0, u32::MAX.into()),
            "uint64" => whole("a whole number from 0, of 64 bits", 0, u64::MAX.into()),
            "uuid" => text("a UUID", is_uuid),
            "ulid" => text("a ULID", is_ulid),
            "date" => text("a date such as 2027-01-31", is_date),
            "date-time" => text("a time such as 2027-01-31T12:00:00Z", is_date_time),
            "email" => text("an e-mail address", is_email),
            "ipv4" => text("an IPv4 address", |text| text.parse::<Ipv4Addr>().is_ok()),
            "ipv6" => text("an IPv6 address", |text| text.parse::<Ipv6Addr>().is_ok()),
            "uri" => text("a URI", is_uri),
            "byte" => text("base64", is_base64),
            "password" | "float" | "double" => Known::Shown,
            _ => return None,
        })
    }

    /// The types that it says something about.
    pub(super) const fn types(self) -> Types {
        match self {
            Self::Whole(..) => Types::INTEGER,
            Self::Text(..) => Types::TEXT,
        }
    }

    pub(super) const fn in_words(self) -> &'static str {
        match self {
            Self::Whole(words, ..) | Self::Text(words, _) => words,
        }
    }

    /// Whether a value is of it; a value of another type is not asked.
    pub(super) fn fits(self, value: &Json<'_>) -> bool {
        match (self, value) {
            (Self::Whole(_, least, most), Json::Number(number)) => number
                .as_i128()
                .is_none_or(|number| (least..=most).contains(&number)),
            (Self::Text(_, is_good), Json::Text(text)) => is_good(text),
            _ => true,
        }
    }
}

/// RFC 9562 §4, in either case.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// 26 digits of Crockford's base 32; the first one has three bits.
fn is_ulid(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() && !b"ILOUilou".contains(&byte);
    text.len() == 26 && text.bytes().all(is_digit) && text.bytes().next().is_some_and(|first| first <= b'7')
}

/// RFC 3339 `full-date`. The calendar repeats itself every 400 years, and people were born before our dates begin.
fn is_date(text: &str) -> bool {
    let parts = text.split_at_checked(4).filter(|_| text.len() == 10);
    let year = parts.and_then(|(year, rest)| Some((digits(year)?, rest)));
    year.is_some_and(|(year, rest)| {
        let alike = (year % 400).saturating_add(2000);
        Date::parse(&format!("{alike}{rest}")).is_some()
    })
}

/// RFC 3339 `date-time`. A leap second is one at the end of a day in UTC only.
fn is_date_time(text: &str) -> bool {
    let Some((date, rest)) = text.split_at_checked(10) else {
        return false;
    };
    let time = rest.strip_prefix(['T', 't']).filter(|_| is_date(date));
    time.and_then(time_of_day).is_some()
}

/// The time, with its offset.
fn time_of_day(text: &str) -> Option<()> {
    let (hour, minute, rest) = hour_and_minute(text)?;
    let (second, rest) = rest.strip_prefix(':')?.split_at_checked(2)?;
    let second = digits(second)?;
    let rest = match rest.strip_prefix('.') {
        None => rest,
        Some(fraction) => {
            let offset = fraction.trim_start_matches(|letter: char| letter.is_ascii_digit());
            (offset.len() < fraction.len()).then_some(offset)?
        }
    };
    let offset_minutes = match rest {
        "Z" | "z" => 0,
        offset => {
            let (sign, time) = offset.split_at_checked(1)?;
            let (hours, minutes, end) = hour_and_minute(time)?;
            let offset = i32::try_from(hours.checked_mul(60)?.checked_add(minutes)?).ok()?;
            match (sign, end) {
                ("+", "") => offset,
                ("-", "") => offset.checked_neg()?,
                _ => return None,
            }
        }
    };
    let minutes = i32::try_from(hour.checked_mul(60)?.checked_add(minute)?).ok()?;
    let in_utc = minutes.checked_sub(offset_minutes)?.rem_euclid(24 * 60);
    (second < 60 || (second == 60 && in_utc == 24 * 60 - 1)).then_some(())
}

/// `23:59`, and what follows.
fn hour_and_minute(text: &str) -> Option<(u32, u32, &str)> {
    let (hour, rest) = text.split_at_checked(2)?;
    let (minute, rest) = rest.strip_prefix(':')?.split_at_checked(2)?;
    let (hour, minute) = (digits(hour)?, digits(minute)?);
    (hour < 24 && minute < 60).then_some((hour, minute, rest))
}

fn digits(text: &str) -> Option<u32> {
    text.parse()
        .ok()
        .filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Stricter than RFC 5321 on purpose, as mailbox providers are: no quoting, no comments, no addresses for domains.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let is_atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    let is_local = local.len() <= 64
        && local
            .split('.')
            .all(|atom| !atom.is_empty() && atom.bytes().all(is_atom));
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    is_local && domain.contains('.') && domain.split('.').all(is_label) && text.len() <= 254
}

/// RFC 3986: a scheme, and characters that a URI may have.
fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let is_scheme = scheme.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    let mut escapes = rest.split('%');
    escapes.next();
    let is_escape = |after: &str| {
        after
            .as_bytes()
            .first_chunk::<2>()
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    is_scheme && rest.bytes().all(is_plain) && escapes.all(is_escape) && rest.matches('#').count() < 2
}

/// RFC 4648 §4, with its padding.
fn is_base64(text: &str) -> bool {
    let plain = text
        .strip_suffix("==")
        .or_else(|| text.strip_suffix('='))
        .unwrap_or(text);
    text.len().is_multiple_of(4)
        && plain
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_of_their_format_to_the_letter() {
        let good = [
            ("uuid", "019a9f6e-7c1f-7d3a-9d5b-0c2f6f0f3c11"),
            ("ulid", "01kafpwz0zfmx9tprc5xqgyf0h"),
            ("date", "2028-02-29"),
            ("date", "1904-02-29"),
            ("date-time", "2027-01-31T12:00:00Z"),
            ("date-time", "2027-01-31t12:00:00.123456+14:00"),
            ("date-time", "1990-12-31T15:59:60-08:00"),
            ("email", "alice.o'hara+1@mail.example"),
            ("ipv4", "203.0.113.7"),
            ("ipv6", "2001:db8::1"),
            ("uri", "urn:request:1"),
            ("uri", "https://a.example/%C3%A9?x=1#y"),
            ("byte", "YQ=="),
        ];
        let bad = [
            ("uuid", "019a9f6e7c1f7d3a9d5b0c2f6f0f3c11"),
            ("uuid", "{19a9f6e-7c1f-7d3a-9d5b-0c2f6f0f3c11"),
            ("ulid", "81kafpwz0zfmx9tprc5xqgyf0h"),
            ("ulid", "01kafpwz0zfmx9tprc5xqgyf0u"),
            ("date", "2027-02-29"),
            ("date", "2027-2-9"),
            ("date", "1900-02-29"),
            ("date-time", "2027-01-31 12:00:00Z"),
            ("date-time", "2027-01-31T12:00:00"),
            ("date-time", "2027-01-31T24:00:00Z"),
            ("date-time", "2027-01-31T12:00:60Z"),
            ("date-time", "2027-01-31T12:00:00.Z"),
            ("date-time", "2027-01-31T12:00:00+1:00"),
            ("date-time", "2027-01-31T12:00:0é"),
            ("email", "alice"),
            ("email", "alice@example"),
            ("email", " alice@mail.example"),
            ("email", "a..b@mail.example"),
            ("email", "a@-mail.example"),
            ("ipv4", "203.0.113.07"),
            ("ipv6", "2001:db8:::1"),
            ("uri", "/path"),
            ("uri", "https://a.example/%zz"),
            ("uri", "https://a.example/ b"),
            ("byte", "YQ"),
            ("byte", "Y Q="),
        ];
        let fits = |name: &str, text: &str| match Format::named(name) {
            Some(Known::Enforced(format)) => format.fits(&Json::Text(text.into())),
            _ => panic!("{name}"),
        };
        for (name, text) in good {
            assert!(fits(name, text), "{name} {text}");
        }
        for (name, text) in bad {
            assert!(!fits(name, text), "{name} {text}");
        }
    }
}
