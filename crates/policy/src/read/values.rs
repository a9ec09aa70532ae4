//! Single values with their units.

use super::{At, Field};
use crate::{
    diagnostic::{Findings, code},
    suggest,
    yaml::Value,
};
use std::{ops::RangeInclusive, time::Duration};

/// So many per so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) limit: u64,
    pub(crate) period: Duration,
}

const TIME_UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];
const SIZE_UNITS: [(&str, u64); 3] = [("B", 1), ("KiB", 1_024), ("MiB", 1_048_576)];

impl Field<'_> {
    /// A span of time with its unit, above zero and no more than `most`.
    pub(crate) fn duration(&self, most: Duration, findings: &mut Findings) -> Option<At<Duration>> {
        let text = self.with_unit("15s", code::BAD_DURATION, findings)?;
        match duration(&text.value) {
            Some(duration) if duration.is_zero() || duration > most => {
                findings
                    .error(
                        code::BAD_DURATION,
                        text.at,
                        format!("{} is out of range: `{}`", self.path, text.value),
                    )
                    .why("it would switch the protection off, or never end")
                    .fix(format!("more than zero, at most {}s", most.as_secs()));
                None
            }
            Some(duration) => Some(At {
                value: duration,
                at: text.at,
            }),
            None => {
                let fix = text
                    .value
                    .strip_suffix('m')
                    .filter(|number| is_number(number))
                    .map_or_else(
                        || "a whole number and one of ms, s, min, h, d: `15s`".to_owned(),
                        |number| format!("write `{number}min`"),
                    );
                findings
                    .error(
                        code::BAD_DURATION,
                        text.at,
                        format!("`{}` is not a span of time", text.value),
                    )
                    .why("units are never guessed")
                    .fix(fix);
                None
            }
        }
    }

    /// A number of bytes with its unit, no more than `most`.
    pub(crate) fn size(&self, most: u64, findings: &mut Findings) -> Option<At<u64>> {
        let text = self.with_unit("16KiB", code::BAD_SIZE, findings)?;
        let size =
            split(&text.value).and_then(|(number, unit)| number.checked_mul(unit_of(&SIZE_UNITS, unit)?));
        match size {
            Some(size) if size <= most => Some(At {
                value: size,
                at: text.at,
            }),
            Some(_) => {
                findings
                    .error(
                        code::BAD_SIZE,
                        text.at,
                        format!("{} is too large: `{}`", self.path, text.value),
                    )
                    .why("the gateway holds what it checks in memory")
                    .fix(format!("at most {most} bytes"));
                None
            }
            None => {
                findings
                    .error(code::BAD_SIZE, text.at, format!("`{}` is not a size", text.value))
                    .why("units are never guessed")
                    .fix("a whole number and one of B, KiB, MiB: `16KiB`");
                None
            }
        }
    }

    /// So many per so long: `100/min`, `5/15min`.
    pub(crate) fn rate(&self, findings: &mut Findings) -> Option<At<Rate>> {
        let text = self.with_unit("100/min", code::BAD_RATE, findings)?;
        let rate = text.value.split_once('/').and_then(|(limit, period)| {
            let period = if is_unit(&TIME_UNITS, period) {
                format!("1{period}")
            } else {
                period.to_owned()
            };
            let rate = Rate {
                limit: number(limit)?,
                period: duration(&period)?,
            };
            (rate.limit > 0 && !rate.period.is_zero() && rate.period <= Duration::from_hours(24 * 31))
                .then_some(rate)
        });
        if rate.is_none() {
            findings
                .error(code::BAD_RATE, text.at, format!("`{}` is not a rate", text.value))
                .why("units are never guessed")
                .fix(
                    "a whole number above zero, `/`, and a span of time of at most 31d: `100/min`, `5/15min`",
                );
        }
        rate.map(|value| At { value, at: text.at })
    }

    /// A whole number in a range.
    pub(crate) fn number(&self, range: RangeInclusive<u64>, findings: &mut Findings) -> Option<At<u64>> {
        let written = match &self.node.value {
            Value::Number(text) => number(text),
            Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => None,
        };
        let value = written.filter(|number| range.contains(number));
        if value.is_none() {
            let at = if matches!(self.node.value, Value::Null) {
                self.key_at
            } else {
                self.node.at
            };
            findings
                .error(
                    code::BAD_NUMBER,
                    at,
                    format!("{} must be a whole number", self.path),
                )
                .why("anything else would have to be rounded or guessed")
                .fix(format!(
                    "a number from {} to {}, in digits, without quotes",
                    range.start(),
                    range.end()
                ));
        }
        value.map(|value| At {
            value,
            at: self.node.at,
        })
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self, findings: &mut Findings) -> Option<At<bool>> {
        match &self.node.value {
            Value::Bool(value) => Some(At {
                value: *value,
                at: self.node.at,
            }),
            Value::Null | Value::Number(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                self.wrong_type("a boolean (true or false)", findings);
                None
            }
        }
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&str, T)], findings: &mut Findings) -> Option<At<T>> {
        let text = self.text(findings)?;
        let chosen = choices
            .iter()
            .find(|(word, _)| *word == text.value)
            .map(|(_, value)| *value);
        if chosen.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            findings
                .error(
                    code::NOT_A_CHOICE,
                    text.at,
                    format!("{} cannot be `{}`", self.path, text.value),
                )
                .why("a word without a meaning would enforce nothing")
                .fix(suggest::fix(&text.value, &words));
        }
        chosen.map(|value| At { value, at: text.at })
    }

    /// Text that is not empty, without control characters and not too long.
    pub(crate) fn sentence(&self, findings: &mut Findings) -> Option<At<String>> {
        let text = self.text(findings)?;
        let trimmed = text.value.trim();
        if trimmed.len() < 3 || trimmed.len() > 400 || trimmed.contains(char::is_control) {
            findings
                .error(code::BAD_TEXT, text.at, format!("{} says nothing", self.path))
                .why("an auditor reads this sentence instead of asking you")
                .fix("one plain sentence of at most 400 characters");
            return None;
        }
        Some(At {
            value: trimmed.to_owned(),
            at: text.at,
        })
    }

    /// Text made only of bytes that `allowed` accepts, and not empty.
    pub(crate) fn word(
        &self,
        what: &str,
        allowed: fn(u8) -> bool,
        findings: &mut Findings,
    ) -> Option<At<String>> {
        let text = self.text(findings)?;
        if text.value.is_empty() || text.value.len() > 256 || !text.value.bytes().all(allowed) {
            findings
                .error(code::BAD_TEXT, text.at, format!("`{}` is not {what}", text.value))
                .why("it is compared byte for byte and would never match")
                .fix(format!(
                    "write {what}: visible ASCII without spaces, 1 to 256 characters"
                ));
            return None;
        }
        Some(text)
    }

    /// A list with at least one item, each read by `read`, none twice.
    pub(crate) fn list<T: Clone + PartialEq>(
        &self,
        findings: &mut Findings,
        mut read: impl FnMut(&Self, &mut Findings) -> Option<At<T>>,
    ) -> Option<Vec<At<T>>> {
        let items = self.items(findings)?;
        if items.is_empty() {
            findings
                .error(code::BAD_LIST, self.node.at, format!("{} is empty", self.path))
                .why("an empty list would allow nothing, or everything, depending on the reader")
                .fix("write at least one item, or leave the key out where that is allowed");
            return None;
        }
        let mut list: Vec<At<T>> = Vec::with_capacity(items.len());
        let mut complete = true;
        for item in &items {
            let Some(value) = read(item, findings) else {
                complete = false;
                continue;
            };
            if let Some(first) = list.iter().find(|earlier| earlier.value == value.value) {
                findings
                    .error(
                        code::BAD_LIST,
                        value.at,
                        format!("the same item twice in {}", self.path),
                    )
                    .why("one of them was probably meant to be another")
                    .fix("remove it")
                    .related(first.at, "first here");
                continue;
            }
            list.push(value);
        }
        complete.then_some(list)
    }

    /// Text, or a complaint about a bare number that shows the missing unit.
    fn with_unit(&self, example: &str, code: &'static str, findings: &mut Findings) -> Option<At<String>> {
        if let Value::Number(written) = &self.node.value {
            findings
                .error(code, self.node.at, format!("`{written}` has no unit"))
                .why("units are never guessed")
                .fix(format!("write the unit, as in `{example}`"));
            return None;
        }
        self.text(findings)
    }
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    number
        .checked_mul(unit_of(&TIME_UNITS, unit)?)
        .map(Duration::from_millis)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at_checked(digits)?;
    Some((number(digits)?, unit))
}

fn number(digits: &str) -> Option<u64> {
    is_number(digits).then(|| digits.parse().ok()).flatten()
}

pub(super) fn is_number(digits: &str) -> bool {
    !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'))
}

fn is_unit(units: &[(&str, u64)], word: &str) -> bool {
    units.iter().any(|(unit, _)| *unit == word)
}

fn unit_of(units: &[(&str, u64)], word: &str) -> Option<u64> {
    units
        .iter()
        .find(|(unit, _)| *unit == word)
        .map(|(_, factor)| *factor)
}
