//! What a person says about himself when he registers: address and name.

use crate::hidden::shows;

const MAX_EMAIL_BYTES: usize = 254;
const MAX_LOCAL_BYTES: usize = 64;
const MAX_NAME_CHARS: usize = 200;

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
}

/// A name as it is kept: trimmed, 1 to 200 characters, all of which show.
pub(super) fn full_name(text: &str) -> Option<String> {
    let name = text.trim();
    let length = name.chars().count();
    ((1..=MAX_NAME_CHARS).contains(&length) && shows(name)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
