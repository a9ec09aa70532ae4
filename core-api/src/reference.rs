//! The text that travels with a movement: what the customer wrote on it.

use problem::FieldError;

use crate::hidden::shows;

const MAX_CHARS: usize = 140;

/// A reference as it is kept, or what is wrong with it: 1 to 140 characters, all of which show.
pub(crate) fn parse(text: Option<String>) -> Result<Option<String>, FieldError> {
    match text {
        None => Ok(None),
        Some(text) if (1..=MAX_CHARS).contains(&text.chars().count()) && shows(&text) => Ok(Some(text)),
        Some(_) => Err(FieldError::new(
            "/reference",
            "invalid_value",
            "must have 1 to 140 characters, all of which show",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_reference_is_short_and_printable() {
        assert_eq!(parse(None), Ok(None));
        assert_eq!(
            parse(Some("Rent, März 🏠".to_owned())),
            Ok(Some("Rent, März 🏠".to_owned()))
        );
        assert!(parse(Some("ü".repeat(140))).is_ok());
        for bad in [
            String::new(),
            "ü".repeat(141),
            "a\nb".to_owned(),
            "a\0".to_owned(),
            "a\u{202e}b".to_owned(),
        ] {
            assert_eq!(parse(Some(bad)).unwrap_err().pointer, "/reference");
        }
    }
}
