//! Which coding a client takes (RFC 9110 §12.5.3).

use http::{HeaderMap, header};

/// A way to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Brotli,
    Gzip,
}

impl Coding {
    /// Its name in the protocol.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

/// Weights in thousandths; `None` where nothing was said.
#[derive(Default)]
struct Weights {
    brotli: Option<u16>,
    gzip: Option<u16>,
    identity: Option<u16>,
    others: Option<u16>,
}

/// The coding that the client likes best; `None` for the answer as it is, and for a field that cannot be read.
pub(crate) fn negotiate(headers: &HeaderMap) -> Option<Coding> {
    let mut weights = Weights::default();
    for line in headers.get_all(header::ACCEPT_ENCODING) {
        for word in line.to_str().ok()?.split(',') {
            let word = word.trim_matches([' ', '\t']);
            if !word.is_empty() {
                weights.note(word)?;
            }
        }
    }
    let others = weights.others.unwrap_or(0);
    let brotli = weights.brotli.unwrap_or(others);
    let gzip = weights.gzip.unwrap_or(others);
    // Said of it nothing, the answer as it is is acceptable, and liked less than whatever is named.
    let identity = weights.identity.unwrap_or(0);
    let (coding, weight) = if brotli >= gzip {
        (Coding::Brotli, brotli)
    } else {
        (Coding::Gzip, gzip)
    };
    (weight > 0 && weight >= identity).then_some(coding)
}

impl Weights {
    fn note(&mut self, word: &str) -> Option<()> {
        let (name, weight) = match word.split_once(';') {
            None => (word, 1_000),
            Some((name, parameter)) => (name.trim_end_matches([' ', '\t']), weight(parameter)?),
        };
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let slot = if is("br") {
            &mut self.brotli
        } else if is("gzip") || is("x-gzip") {
            &mut self.gzip
        } else if is("identity") {
            &mut self.identity
        } else if name == "*" {
            &mut self.others
        } else {
            return Some(());
        };
        // What comes twice counts by what is less.
        *slot = Some(slot.map_or(weight, |before| before.min(weight)));
        Some(())
    }
}

/// `q=0.5` in thousandths (RFC 9110 §12.4.2).
fn weight(parameter: &str) -> Option<u16> {
    let text = parameter.trim_matches([' ', '\t']);
    let value = text.strip_prefix("q=").or_else(|| text.strip_prefix("Q="))?;
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn chosen(lines: &[&str]) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::ACCEPT_ENCODING, HeaderValue::from_str(line).unwrap());
        }
        negotiate(&headers).map(Coding::as_str)
    }

    #[test]
    fn a_client_gets_what_it_likes_best_of_what_is_spoken() {
        for (said, coding) in [
            ("gzip, deflate, br, zstd", Some("br")),
            ("gzip, deflate", Some("gzip")),
            ("x-gzip", Some("gzip")),
            ("BR;q=0.5, GZip;q=0.6", Some("gzip")),
            ("br;q=1.000, gzip;q=1.0", Some("br")),
            ("br ; q=0.1", Some("br")),
            ("*", Some("br")),
            ("br;q=0, *", Some("gzip")),
            ("*;q=0, gzip", Some("gzip")),
            ("identity;q=0, gzip", Some("gzip")),
            ("identity;q=0.5, gzip;q=0.5", Some("gzip")),
            ("identity, gzip;q=0.5", None),
            ("br;q=0, br", None),
            ("br;q=0.000", None),
            ("identity;q=0", None),
            ("zstd, compress", None),
            ("*;q=0", None),
            ("", None),
            ("br;q=2", None),
            ("br;q=0.1234", None),
            ("br;q=-1", None),
            ("br;level=1", None),
            ("gzip;q=", None),
        ] {
            assert_eq!(chosen(&[said]), coding, "{said}");
        }
        assert_eq!(chosen(&[]), None);
        assert_eq!(chosen(&["gzip;q=0.3", "br;q=0.2"]), Some("gzip"));
    }

    proptest! {
        #[test]
        fn what_a_client_refuses_it_never_gets(
            others in proptest::collection::vec("(br|gzip|identity|\\*|zstd)(;q=(0|1|0\\.[0-9]{1,3}))?", 0..5),
            refused in "(br|gzip)",
        ) {
            let mut list = others;
            list.push(format!("{refused};q=0"));
            prop_assert_ne!(chosen(&[&list.join(", ")]), Some(refused.as_str()));
        }

        #[test]
        fn the_order_of_writing_decides_nothing(
            list in proptest::collection::vec("(br|gzip|identity|\\*);q=0\\.[0-9]", 0..6),
        ) {
            let mut turned = list.clone();
            turned.reverse();
            prop_assert_eq!(chosen(&[&list.join(",")]), chosen(&[&turned.join(" , ")]));
        }

        #[test]
        fn any_text_is_read(text in "[ -~\\t]{0,80}") {
            let _ = chosen(&[&text]);
        }
    }
}
