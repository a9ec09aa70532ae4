//! The one form of a password.

use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

/// A password in the form that is judged and hashed: NFKC, so that the same keys on another system give the same bytes
/// (NIST SP 800-63B-4 §3.1.1.2, Unicode Standard Annex #15). Nothing is trimmed and nothing is cut off.
#[must_use]
pub fn normal(password: &str) -> Zeroizing<String> {
    // Grown once: a reallocation would leave a copy behind.
    let bytes = if password.is_ascii() {
        password.len()
    } else {
        password.nfkc().map(char::len_utf8).sum()
    };
    let mut normal = Zeroizing::new(String::with_capacity(bytes));
    normal.extend(password.nfkc());
    normal
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_same_keys_give_the_same_bytes() {
        assert_eq!(*normal("pa\u{73}s\u{302}"), *normal("pas\u{15d}"));
        assert_eq!(*normal("ﬁne ①"), "fine 1");
        assert_eq!(*normal("  spaces stay  "), "  spaces stay  ");
    }

    proptest! {
        #[test]
        fn a_normal_password_stays_as_it_is(password in "\\PC{0,64}") {
            let once = normal(&password);
            prop_assert_eq!(&*normal(&once), &*once);
        }
    }
}
