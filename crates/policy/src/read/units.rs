//! Numbers with their units: how a policy writes them, and how others do.

use std::time::Duration;

/// So many per so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) limit: u64,
    pub(crate) period: Duration,
}

pub(super) const TIME_UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];
pub(super) const SIZE_UNITS: [(&str, u64); 3] = [("B", 1), ("KiB", 1_024), ("MiB", 1_048_576)];

/// How others write these units, in lower case.
const OTHER_UNITS: [(&str, &str); 24] = [
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("m", "min"),
    ("mins", "min"),
    ("minute", "min"),
    ("minutes", "min"),
    ("hr", "h"),
    ("hour", "h"),
    ("hours", "h"),
    ("day", "d"),
    ("days", "d"),
    ("byte", "B"),
    ("bytes", "B"),
    ("b", "B"),
    ("k", "KiB"),
    ("kb", "KiB"),
    ("kib", "KiB"),
    ("ki", "KiB"),
    ("m", "MiB"),
    ("mb", "MiB"),
    ("mib", "MiB"),
    ("mi", "MiB"),
];

/// What was probably meant by a number with a unit of another spelling.
pub(super) fn spelt(text: &str, units: &[(&str, u64)]) -> Option<String> {
    let text: String = text.chars().filter(|letter| *letter != ' ').collect();
    let (number, unit) = split(&text)?;
    let lower = unit.to_lowercase();
    let ours = units
        .iter()
        .find(|(ours, _)| *ours == lower)
        .map(|(ours, _)| *ours);
    let theirs = OTHER_UNITS
        .iter()
        .filter(|(theirs, ours)| *theirs == lower && is_unit(units, ours))
        .map(|(_, ours)| *ours)
        .next();
    Some(format!("{number}{}", ours.or(theirs)?))
}

/// The same for a rate: `100 per minute`.
pub(super) fn spelt_rate(text: &str) -> Option<String> {
    let text = text.to_lowercase().replace("per", "/").replace(' ', "");
    let (limit, period) = text.split_once('/')?;
    let limit = number(limit).filter(|limit| *limit > 0)?;
    let period = if period.starts_with(|first: char| first.is_ascii_digit()) {
        spelt(period, &TIME_UNITS)?
    } else {
        spelt(&format!("1{period}"), &TIME_UNITS)?.split_off(1)
    };
    Some(format!("{limit}/{period}"))
}

/// A span of time as a policy would say it.
pub(crate) fn in_units(duration: Duration) -> String {
    let (milliseconds, seconds) = (duration.as_millis(), duration.as_secs());
    match seconds {
        _ if !milliseconds.is_multiple_of(1_000) => format!("{milliseconds}ms"),
        0 => "0s".to_owned(),
        _ if seconds.is_multiple_of(3_600) => format!("{}h", seconds / 3_600),
        _ if seconds.is_multiple_of(60) => format!("{}min", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

/// A number of bytes as a policy would say it.
pub(crate) fn in_bytes(bytes: u64) -> String {
    let exact = SIZE_UNITS
        .iter()
        .rev()
        .find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor));
    let (unit, factor) = exact.copied().unwrap_or(("B", 1));
    format!("{}{unit}", bytes.checked_div(factor).unwrap_or(bytes))
}

pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    number
        .checked_mul(unit_of(&TIME_UNITS, unit)?)
        .map(Duration::from_millis)
}

pub(super) fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at_checked(digits)?;
    Some((number(digits)?, unit))
}

pub(super) fn number(digits: &str) -> Option<u64> {
    is_number(digits).then(|| digits.parse().ok()).flatten()
}

pub(super) fn is_number(digits: &str) -> bool {
    !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'))
}

pub(super) fn is_unit(units: &[(&str, u64)], word: &str) -> bool {
    units.iter().any(|(unit, _)| *unit == word)
}

pub(super) fn unit_of(units: &[(&str, u64)], word: &str) -> Option<u64> {
    units
        .iter()
        .find(|(unit, _)| *unit == word)
        .map(|(_, factor)| *factor)
}
