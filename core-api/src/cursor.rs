//! Page cursors: opaque to clients, and authenticated, so that nobody can make the database walk where he likes.

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Bytes of the authentication code that travel along.
const TAG_BYTES: usize = 16;
/// One version byte and the position.
const BODY_BYTES: usize = 9;
const VERSION: u8 = 1;

/// Makes and reads cursors. Every core-api that shares the key-encryption key reads the cursors of the others.
#[derive(Debug)]
pub(crate) struct CursorKey {
    key: hmac::Key,
    /// Keys of older secrets, whose cursors are read still.
    older: Vec<hmac::Key>,
}

/// A cursor that we did not make, or made for another list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of this list")]
pub(crate) struct InvalidCursor;

impl CursorKey {
    /// Derives the key from a process secret; the label keeps it apart from every other use of that secret.
    pub(crate) fn derive(secret: &[u8]) -> Self {
        Self {
            key: derived(secret),
            older: Vec::new(),
        }
    }

    /// Reads cursors of an older secret as well: a client that pages while the secret changes goes on.
    pub(crate) fn accepting(mut self, secret: &[u8]) -> Self {
        self.older.push(derived(secret));
        self
    }

    /// The cursor for “after this position” of the list that `scope` names.
    pub(crate) fn seal(&self, scope: &str, position: i64) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&position.to_be_bytes());
        let tag = tag(&self.key, scope, &bytes);
        bytes.extend(tag.as_ref().iter().take(TAG_BYTES));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The position in a cursor of the list that `scope` names.
    pub(crate) fn open(&self, scope: &str, cursor: &str) -> Result<i64, InvalidCursor> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| InvalidCursor)?;
        let (body, found) = bytes.split_at_checked(BODY_BYTES).ok_or(InvalidCursor)?;
        let is_of = |key: &hmac::Key| {
            let wanted = tag(key, scope, body);
            let wanted = wanted.as_ref().get(..TAG_BYTES);
            wanted.is_some_and(|wanted| constant_time::verify_slices_are_equal(wanted, found).is_ok())
        };
        if !std::iter::once(&self.key).chain(&self.older).any(is_of) {
            return Err(InvalidCursor);
        }
        match body.split_first() {
            Some((&VERSION, position)) => position
                .try_into()
                .map(i64::from_be_bytes)
                .map_err(|_| InvalidCursor),
            _ => Err(InvalidCursor),
        }
    }
}

fn derived(secret: &[u8]) -> hmac::Key {
    let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let key = hmac::sign(&root, b"portico page cursor v1");
    hmac::Key::new(hmac::HMAC_SHA256, key.as_ref())
}

fn tag(key: &hmac::Key, scope: &str, body: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(body); // of fixed length: scope and body cannot run together
    context.update(scope.as_bytes());
    context.sign()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_opens_for_its_own_list_only(position: i64, scope in "[a-z:_0-9]{1,40}", other in "[a-z:_0-9]{1,40}") {
            let key = CursorKey::derive(b"secret");
            let cursor = key.seal(&scope, position);
            prop_assert_eq!(key.open(&scope, &cursor), Ok(position));
            prop_assert_eq!(key.open(&other, &cursor).is_ok(), other == scope);
            prop_assert_eq!(CursorKey::derive(b"another").open(&scope, &cursor), Err(InvalidCursor));
            let newer = CursorKey::derive(b"another").accepting(b"secret");
            prop_assert_eq!(newer.open(&scope, &cursor), Ok(position));
            prop_assert_eq!(key.open(&scope, &newer.seal(&scope, position)), Err(InvalidCursor));
        }

        #[test]
        fn a_changed_cursor_does_not_open(position: i64, at in 0_usize..34, to in "[A-Za-z0-9_-]") {
            let key = CursorKey::derive(b"secret");
            let mut cursor = key.seal("s", position);
            prop_assume!(cursor.get(at..=at).is_some_and(|digit| digit != to));
            cursor.replace_range(at..=at, &to);
            // The last digit carries unused bits, which the decoder refuses unless they are zero.
            prop_assert_eq!(key.open("s", &cursor), Err(InvalidCursor));
        }

        #[test]
        fn garbage_does_not_open(text in ".{0,60}") {
            prop_assert_eq!(CursorKey::derive(b"secret").open("s", &text), Err(InvalidCursor));
        }
    }
}
