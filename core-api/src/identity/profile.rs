//! What a person says about himself when he registers: address, name, password.

use std::collections::BTreeSet;

use problem::FieldError;
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

const MAX_EMAIL_BYTES: usize = 254;
const MAX_LOCAL_BYTES: usize = 64;
const MAX_NAME_CHARS: usize = 200;
const MAX_PASSWORD_CHARS: usize = 128;
const MIN_DISTINCT_CHARS: usize = 6;
/// A local part shorter than this is in too many passwords by chance.
const MIN_CONTEXT_CHARS: usize = 3;

/// An e-mail address in its one spelling: lower case, ASCII, no quoting, no comments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Email(String);

impl Email {
    /// Reads an address. Stricter than RFC 5321 on purpose: what this refuses, mailbox providers do too.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        let (local, domain) = text.rsplit_once('@')?;
        let is_atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
        let local_good = local.len() <= MAX_LOCAL_BYTES
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
        let domain_good = domain.contains('.') && domain.split('.').all(is_label);
        (local_good && domain_good && text.len() <= MAX_EMAIL_BYTES).then_some(Self(text))
    }

    /// The address.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    fn local(&self) -> &str {
        self.0.split('@').next().unwrap_or_default()
    }
}

/// A name as it is kept: trimmed, 1 to 200 characters, none of them a control character.
pub(super) fn full_name(text: &str) -> Option<String> {
    let name = text.trim();
    let length = name.chars().count();
    ((1..=MAX_NAME_CHARS).contains(&length) && !name.chars().any(char::is_control)).then(|| name.to_owned())
}

/// A password in the form that is hashed (NFKC, so that the same keys on another system give the same bytes).
pub(super) fn normal_password(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.nfkc().collect())
}

/// Every rule that a new password breaks. Lengths count code points.
pub(super) fn password_faults(password: &str, min_length: usize, email: Option<&Email>) -> Vec<FieldError> {
    let fault = |code: &str, detail: String| FieldError {
        pointer: "/password".to_owned(),
        code: code.to_owned(),
        detail,
    };
    let mut faults = Vec::new();
    let length = password.chars().count();
    if length < min_length {
        faults.push(fault(
            "too_short",
            format!("must have at least {min_length} characters"),
        ));
    }
    if length > MAX_PASSWORD_CHARS {
        faults.push(fault(
            "too_long",
            format!("must have at most {MAX_PASSWORD_CHARS} characters"),
        ));
    }
    if password.chars().collect::<BTreeSet<_>>().len() < MIN_DISTINCT_CHARS {
        faults.push(fault(
            "low_diversity",
            format!("must have at least {MIN_DISTINCT_CHARS} different characters"),
        ));
    }
    let contains_local = email
        .map(Email::local)
        .is_some_and(|local| local.len() >= MIN_CONTEXT_CHARS && password.to_lowercase().contains(local));
    if contains_local {
        faults.push(fault(
            "contains_context",
            "must not contain the name of the e-mail address".to_owned(),
        ));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn codes(password: &str) -> Vec<String> {
        let email = Email::parse("alice.smith@example.com").unwrap();
        password_faults(password, 12, Some(&email))
            .into_iter()
            .map(|fault| fault.code)
            .collect()
    }

    #[test]
    fn every_broken_rule_is_named() {
        assert_eq!(codes("correct horse battery"), Vec::<String>::new());
        assert_eq!(codes("aaa"), ["too_short", "low_diversity"]);
        assert_eq!(codes(&"ab".repeat(100)), ["too_long", "low_diversity"]);
        assert_eq!(codes("xAlice.Smithx12"), ["contains_context"]);
        assert_eq!(codes(""), ["too_short", "low_diversity"]);
        // Twelve code points, though twice as many bytes.
        assert_eq!(codes("äöüßéèêëìíîï"), Vec::<String>::new());
    }

    #[test]
    fn addresses_have_one_spelling() {
        for (text, wanted) in [
            ("Alice@Example.COM", Some("alice@example.com")),
            (" a.b+c@x-y.example ", Some("a.b+c@x-y.example")),
            ("a@b", None),
            ("@b.c", None),
            ("a@", None),
            ("a..b@c.d", None),
            (".a@c.d", None),
            ("a b@c.d", None),
            ("a@-b.c", None),
            ("a@b..c", None),
            ("\"a\"@b.c", None),
            ("a@b.c\n", Some("a@b.c")),
            ("a\u{0}@b.c", None),
            ("ä@b.c", None),
            ("a@b.c@d.e", None),
        ] {
            assert_eq!(Email::parse(text).as_ref().map(Email::as_str), wanted, "{text:?}");
        }
        assert!(Email::parse(&format!("{}@b.c", "a".repeat(65))).is_none());
        assert!(Email::parse(&format!("a@{}.c", "b".repeat(300))).is_none());
    }

    #[test]
    fn the_same_keys_give_the_same_bytes() {
        assert_eq!(
            *normal_password("pa\u{73}s\u{302}"),
            *normal_password("pas\u{15d}")
        );
    }

    proptest! {
        #[test]
        fn parsing_an_address_again_changes_nothing(text in "[a-zA-Z.+@-]{1,20}@[a-z.-]{1,20}") {
            if let Some(email) = Email::parse(&text) {
                prop_assert_eq!(Email::parse(email.as_str()), Some(email));
            }
        }

        #[test]
        fn a_name_is_trimmed_and_bounded(text in "\\PC{0,250}") {
            if let Some(name) = full_name(&text) {
                prop_assert_eq!(name.trim(), name.as_str());
                prop_assert!((1..=200).contains(&name.chars().count()));
            }
        }
    }
}
