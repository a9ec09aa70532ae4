//! Names of keys that an issuer was asked for in vain: random ones must not become requests (J37).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// A name is remembered for so long, in seconds.
const REMEMBERED_S: i64 = 120;
/// Most names that are remembered; a flood of others finds the table full, and is bounded by the interval of fetches.
const MOST: usize = 1_024;

/// A bounded table of names.
#[derive(Debug, Default)]
pub(super) struct UnknownKeys(Mutex<HashMap<String, i64>>);

impl UnknownKeys {
    pub(super) fn contains(&self, kid: &str, now_unix: i64) -> bool {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names
            .get(kid)
            .is_some_and(|since| now_unix.saturating_sub(*since) < REMEMBERED_S)
    }

    pub(super) fn insert(&self, kid: &str, now_unix: i64) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= MOST {
            names.retain(|_, since| now_unix.saturating_sub(*since) < REMEMBERED_S);
        }
        if names.len() < MOST {
            names.insert(kid.to_owned(), now_unix);
        }
    }

    /// Another set is in force: whatever was unknown may be in it.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j37_a_name_is_remembered_for_a_while_and_the_table_is_bounded() {
        let unknown = UnknownKeys::default();
        unknown.insert("a", 1_000);
        assert!(unknown.contains("a", 1_119));
        assert!(!unknown.contains("a", 1_120));
        assert!(!unknown.contains("b", 1_000));
        for name in 0..5_000 {
            unknown.insert(&name.to_string(), 1_100);
        }
        assert_eq!(unknown.0.lock().unwrap().len(), MOST);
        // Those that are over make room.
        unknown.insert("late", 2_000);
        assert!(unknown.contains("late", 2_000));
        unknown.forget();
        assert!(!unknown.contains("late", 2_000));
    }
}
