//! `portico revoke …` and `portico block …`: what every gateway refuses from now on.

mod arguments;
mod block;
mod revoke;

pub(crate) use arguments::{BlockCommand, RevokeCommand};
pub(crate) use block::run as block;
pub(crate) use revoke::run as revoke;

/// When it is in force. The `seq` of a list is no position: changes in a flood are stated once, and a list is stated again
/// although nothing has changed.
const FOLLOWED: &str =
    "every gateway refuses it within a second, and `portico fleet status` shows one that does not follow";

/// Seconds of `90s`, `15m`, `24h` or `30d`.
fn seconds(text: &str) -> Result<u32, String> {
    let wrong = || "a time is a whole number and its unit, like 90s, 15m, 24h or 30d".to_owned();
    let (digits, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or_else(wrong)?;
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u32 = digits.parse().map_err(|_| wrong())?;
    number
        .checked_mul(factor)
        .filter(|seconds| *seconds > 0)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        for (text, expected) in [("90s", 90), ("15m", 900), ("24h", 86_400), ("30d", 2_592_000)] {
            assert_eq!(seconds(text), Ok(expected));
        }
        for wrong in ["", "s", "15", "1.5h", "-1s", "0s", "99999d", "15 m", "1ü"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
