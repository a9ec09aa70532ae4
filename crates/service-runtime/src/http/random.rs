//! Random bytes for names, fetched from the system many at a time: a call for each would cost more than the name.

use std::cell::RefCell;

/// Bytes that one call fetches.
const FETCHED: usize = 1024;

/// Bytes that nobody has been given yet; those before `at` are used up.
struct Fetched {
    bytes: [u8; FETCHED],
    at: usize,
}

thread_local! {
    static FETCHED_BY_THREAD: RefCell<Fetched> = const {
        RefCell::new(Fetched { bytes: [0; FETCHED], at: FETCHED })
    };
}

/// Bytes that nobody can guess, and nobody else has.
pub(super) fn bytes<const N: usize>() -> [u8; N] {
    const { assert!(N <= FETCHED) };
    FETCHED_BY_THREAD.with_borrow_mut(|fetched| {
        loop {
            if let Some(bytes) = fetched.take() {
                return bytes;
            }
            fetched.fetch();
        }
    })
}

impl Fetched {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let rest = self.bytes.get_mut(self.at..)?;
        let next = rest.first_chunk_mut::<N>()?;
        self.at = self.at.saturating_add(N);
        // Given out once, and kept nowhere.
        Some(std::mem::replace(next, [0; N]))
    }

    #[expect(
        clippy::expect_used,
        reason = "without random numbers nothing of a bank is safe"
    )]
    fn fetch(&mut self) {
        getrandom::fill(&mut self.bytes).expect("the system has random numbers");
        self.at = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_bytes_are_given_out_twice() {
        let of_a_thread = || (0..1_000).map(|_| bytes::<10>()).collect::<Vec<_>>();
        let other = std::thread::spawn(of_a_thread);
        let all: HashSet<_> = of_a_thread().into_iter().chain(other.join().unwrap()).collect();
        assert_eq!(all.len(), 2_000);
        assert!(!all.contains(&[0; 10]));
    }

    #[test]
    fn a_rest_that_is_too_short_is_not_stretched() {
        let mut fetched = Fetched {
            bytes: [7; FETCHED],
            at: FETCHED - 3,
        };
        assert_eq!(fetched.take::<4>(), None);
        assert_eq!(fetched.take::<3>(), Some([7; 3]));
        assert_eq!(fetched.take::<1>(), None);
    }
}
