//! The languages that people are spoken to in, and which one a reader gets.

use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};

/// A language of mails and pages (ISO 639-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum Language {
    /// English, for whoever asks for none of the others.
    #[default]
    #[serde(rename = "en")]
    English,
    /// Spanish.
    #[serde(rename = "es")]
    Spanish,
    /// French.
    #[serde(rename = "fr")]
    French,
    /// German.
    #[serde(rename = "de")]
    German,
}

impl Language {
    pub(crate) const ALL: [Self; 4] = [Self::English, Self::Spanish, Self::French, Self::German];

    /// The code.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Spanish => "es",
            Self::French => "fr",
            Self::German => "de",
        }
    }

    /// What its speakers call it.
    pub(crate) const fn own_name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::Spanish => "Español",
            Self::French => "Français",
            Self::German => "Deutsch",
        }
    }

    /// The language of a code; regions do not matter.
    pub(crate) fn parse(tag: &str) -> Option<Self> {
        let primary = tag.split('-').next()?;
        Self::ALL
            .into_iter()
            .find(|language| primary.eq_ignore_ascii_case(language.as_str()))
    }

    /// What a request asks for with `Accept-Language` (RFC 9110 §12.5.4); None when it asks for none of ours.
    pub(crate) fn asked_for(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(header::ACCEPT_LANGUAGE).iter();
        let ranges = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        let mut best = None;
        for range in ranges {
            let mut parts = range.split(';').map(str::trim);
            let weight = parts
                .clone()
                .skip(1)
                .find_map(|part| part.strip_prefix("q="))
                .map_or(Some(1_000), thousandths);
            let language = parts.next().and_then(Self::parse);
            if let (Some(language), Some(weight @ 1..)) = (language, weight)
                && best.is_none_or(|(_, most)| weight > most)
            {
                best = Some((language, weight));
            }
        }
        best.map(|(language, _)| language)
    }
}

/// A weight (RFC 9110 §12.4.2) in thousandths.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_weight = matches!(whole, "0" | "1")
        && fraction.len() <= 3
        && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let value: u16 = format!("{whole}{fraction:0<3}").parse().ok()?;
    (is_weight && value <= 1_000).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_heaviest_language_of_ours_is_taken_the_first_of_equals() {
        for (value, wanted) in [
            ("", None),
            ("nl", None),
            ("*", None),
            ("de", Some("de")),
            ("de-AT,en;q=0.5", Some("de")),
            ("nl, fr;q=0.8, ES-mx;q=0.9", Some("es")),
            ("en;q=0.5,de;q=0.50", Some("en")),
            ("en;q=0, fr;q=0.001", Some("fr")),
            ("en;q=2, fr;q=x, es;q=0.1", Some("es")),
            ("dement, frisian", None),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, HeaderValue::from_static(value))]);
            assert_eq!(
                Language::asked_for(&headers).map(Language::as_str),
                wanted,
                "{value}"
            );
        }
        let mut two = HeaderMap::new();
        two.append(header::ACCEPT_LANGUAGE, HeaderValue::from_static("nl"));
        two.append(header::ACCEPT_LANGUAGE, HeaderValue::from_static("fr;q=0.1"));
        assert_eq!(Language::asked_for(&two), Some(Language::French));
    }
}
