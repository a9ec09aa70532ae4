//! Hashes that an older system made with bcrypt: verified, so that people keep their passwords, and never made.

use bcrypt::HashParts;

/// The most work a stored hash may ask for: 2^14 rounds, about a second. A hostile row must not hold a thread for hours.
const MAX_COST: u32 = 14;
/// The least that bcrypt knows.
const MIN_COST: u32 = 4;

/// Whether a stored text is a hash by bcrypt of a kind that is accepted: `$2a$`, `$2b$` or `$2y$`, which are the same for
/// UTF-8, with a cost up to [`MAX_COST`]. `$2x$`, made by a faulty program, is not.
pub(super) fn is_acceptable(stored: &str) -> bool {
    let is_known = ["$2a$", "$2b$", "$2y$"]
        .iter()
        .any(|prefix| stored.starts_with(prefix));
    let cost = stored.parse::<HashParts>().map(|parts| parts.get_cost());
    is_known && cost.is_ok_and(|cost| (MIN_COST..=MAX_COST).contains(&cost))
}

/// Whether it is the password: as it was typed, since older systems know no normal form, and of that the first 72 bytes,
/// which is all that bcrypt looks at.
pub(super) fn matches(password: &str, stored: &str) -> bool {
    bcrypt::verify(password, stored).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the tests of jBCrypt, and of crypt_blowfish for `$2y$`.
    const KNOWN: [(&str, &str); 5] = [
        ("", "$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s."),
        (
            "a",
            "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe",
        ),
        (
            "abcdefghijklmnopqrstuvwxyz",
            "$2a$08$aTsUwsyowQuzRrDqFflhgekJ8d9/7Z3GV3UcgvzQW3J5zMyrTvlz.",
        ),
        (
            "U*U",
            "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
        ),
        (
            "U*U",
            "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
        ),
    ];

    #[test]
    fn hashes_of_other_systems_verify() {
        for (password, stored) in KNOWN {
            assert!(is_acceptable(stored), "{stored}");
            assert!(matches(password, stored), "{stored}");
            assert!(!matches("another", stored), "{stored}");
        }
    }

    #[test]
    fn what_asks_for_too_much_or_is_of_another_kind_is_refused() {
        let (_, good) = KNOWN[1];
        for bad in [
            good.replace("$06$", "$15$"),
            good.replace("$06$", "$31$"),
            good.replace("$06$", "$99$"),
            good.replace("$06$", "$03$"),
            good.replace("$2a$", "$2x$"),
            good.replace("$2a$", "$2$"),
            format!("{good}a"),
            good.chars().take(59).collect(),
            String::new(),
        ] {
            assert!(!is_acceptable(&bad), "{bad}");
        }
    }
}
