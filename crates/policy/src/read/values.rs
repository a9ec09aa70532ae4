//! Single values with their units.

use super::{
    At, Field,
    units::{
        Rate, SIZE_UNITS, TIME_UNITS, duration, in_bytes, in_units, is_unit, number, spelt, spelt_rate,
        split, unit_of,
    },
};
use crate::{
    Date,
    diagnostic::{Findings, Span, code},
    suggest,
    text::hidden,
    yaml::Value,
};
use std::{collections::HashMap, hash::Hash, ops::RangeInclusive, time::Duration};

const LONGEST_SENTENCE: usize = 400;
const WHY_A_SENTENCE: &str = "an auditor reads this sentence instead of asking you";

impl Field<'_> {
    /// A span of time with its unit, above zero and no more than `most`.
    pub(crate) fn duration(&self, most: Duration, findings: &mut Findings) -> Option<At<Duration>> {
        self.duration_within(Duration::from_millis(1)..=most, findings)
    }

    /// A span of time with its unit, in a range.
    pub(crate) fn duration_within(
        &self,
        range: RangeInclusive<Duration>,
        findings: &mut Findings,
    ) -> Option<At<Duration>> {
        let text = self.with_unit("15s", code::BAD_DURATION, findings)?;
        match duration(&text.value) {
            Some(duration) if !range.contains(&duration) => {
                let (least, most) = (in_units(*range.start()), in_units(*range.end()));
                let why = if duration > *range.end() {
                    "it would hardly ever end"
                } else {
                    "nobody could keep to it"
                };
                findings
                    .error(
                        code::BAD_DURATION,
                        text.at,
                        format!("{} is out of range: `{}`", self.path, text.value),
                    )
                    .why(why)
                    .fix(format!("at least {least}, at most {most}"));
                None
            }
            Some(duration) => Some(At {
                value: duration,
                at: text.at,
            }),
            None => {
                let spelt = spelt(&text.value, &TIME_UNITS).filter(|spelt| *spelt != text.value);
                let fix = spelt.map_or_else(
                    || "a whole number and one of ms, s, min, h, d: `15s`".to_owned(),
                    |duration| format!("write `{duration}`"),
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

    /// The same in whole seconds: what is sent and compared has no smaller unit.
    pub(crate) fn seconds(
        &self,
        range: RangeInclusive<Duration>,
        findings: &mut Findings,
    ) -> Option<At<Duration>> {
        let duration = self.duration_within(range, findings)?;
        if duration.value.subsec_nanos() > 0 {
            let up = Duration::from_secs(duration.value.as_secs().saturating_add(1));
            findings
                .error(
                    code::BAD_DURATION,
                    duration.at,
                    format!("{} is counted in whole seconds", self.path),
                )
                .why("the rest of a second would be cut off")
                .fix(format!("write `{}`, or another whole number", in_units(up)));
            return None;
        }
        Some(duration)
    }

    /// A number of bytes with its unit, no more than `most`.
    pub(crate) fn size(&self, most: u64, findings: &mut Findings) -> Option<At<u64>> {
        self.size_within(0..=most, findings)
    }

    /// A number of bytes with its unit, in a range.
    pub(crate) fn size_within(&self, range: RangeInclusive<u64>, findings: &mut Findings) -> Option<At<u64>> {
        let text = self.with_unit("16KiB", code::BAD_SIZE, findings)?;
        let size =
            split(&text.value).and_then(|(number, unit)| number.checked_mul(unit_of(&SIZE_UNITS, unit)?));
        match size {
            Some(size) if range.contains(&size) => Some(At {
                value: size,
                at: text.at,
            }),
            Some(size) => {
                let (what, why) = if size > *range.end() {
                    ("large", "the gateway holds what it checks in memory")
                } else {
                    ("small", "no request could keep to it")
                };
                findings
                    .error(
                        code::BAD_SIZE,
                        text.at,
                        format!("{} is too {what}: `{}`", self.path, text.value),
                    )
                    .why(why)
                    .fix(format!(
                        "at least {}, at most {}",
                        in_bytes(*range.start()),
                        in_bytes(*range.end())
                    ));
                None
            }
            None => {
                let spelt = spelt(&text.value, &SIZE_UNITS).filter(|spelt| *spelt != text.value);
                let fix = spelt.map_or_else(
                    || "a whole number and one of B, KiB, MiB: `16KiB`".to_owned(),
                    |size| format!("write `{size}`"),
                );
                findings
                    .error(code::BAD_SIZE, text.at, format!("`{}` is not a size", text.value))
                    .why("units are never guessed")
                    .fix(fix);
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
            let is_in_range = !rate.period.is_zero() && rate.period <= Duration::from_hours(24 * 31);
            (rate.limit > 0 && is_in_range && rate.period.subsec_nanos() == 0).then_some(rate)
        });
        if rate.is_none() {
            let spelt = spelt_rate(&text.value).filter(|spelt| *spelt != text.value);
            let fix = spelt.map_or_else(
                || {
                    "a whole number above zero, `/`, and whole seconds up to 31d: `100/min`, `5/15min`"
                        .to_owned()
                },
                |rate| format!("write `{rate}`"),
            );
            findings
                .error(code::BAD_RATE, text.at, format!("`{}` is not a rate", text.value))
                .why("units are never guessed")
                .fix(fix);
        }
        rate.map(|value| At { value, at: text.at })
    }

    /// A part of a whole, from 1 % to `most` %.
    pub(crate) fn percent(&self, most: u64, findings: &mut Findings) -> Option<At<u64>> {
        let text = self.with_unit("10%", code::BAD_NUMBER, findings)?;
        let percent = text
            .value
            .strip_suffix('%')
            .and_then(number)
            .filter(|percent| (1..=most).contains(percent));
        if percent.is_none() {
            findings
                .error(
                    code::BAD_NUMBER,
                    text.at,
                    format!("{} cannot be `{}`", self.path, text.value),
                )
                .why("anything else would have to be rounded or guessed")
                .fix(format!("a whole number from 1 to {most} and `%`: `10%`"));
        }
        percent.map(|value| At { value, at: text.at })
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
            let message = match written {
                Some(number) => format!("{} is out of range: {number}", self.path),
                None => format!("{} must be a whole number", self.path),
            };
            let plain = match &self.node.value {
                Value::Text(text) => {
                    number(&text.replace(['_', ',', ' '], "")).filter(|number| range.contains(number))
                }
                _ => None,
            };
            let fix = plain.map_or_else(
                || {
                    format!(
                        "a number from {} to {}, in digits, without quotes",
                        range.start(),
                        range.end()
                    )
                },
                |number| format!("write `{number}`, in digits, without quotes"),
            );
            findings
                .error(code::BAD_NUMBER, at, message)
                .why("anything else would have to be rounded or guessed")
                .fix(fix);
        }
        value.map(|value| At {
            value,
            at: self.node.at,
        })
    }

    /// A date, in quotes or not: YAML may take the bare one for text or for a number.
    pub(crate) fn date(&self, (why, fix): (&str, &str), findings: &mut Findings) -> Option<At<Date>> {
        let text = match &self.node.value {
            Value::Text(text) | Value::Number(text) => text,
            Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => {
                return self.text(findings).and(None);
            }
        };
        let date = Date::parse(text);
        if date.is_none() {
            findings
                .error(code::BAD_DATE, self.node.at, format!("`{text}` is not a date"))
                .why(why)
                .fix(fix);
        }
        date.map(|value| At {
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
                self.wrong_type("true or false", findings);
                None
            }
        }
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&str, T)], findings: &mut Findings) -> Option<At<T>> {
        let text = self.word_for_choice(choices, findings)?;
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

    /// What stands where one of a few words is wanted. A boolean or a number needs quotes only when it is one of them.
    fn word_for_choice<T>(&self, choices: &[(&str, T)], findings: &mut Findings) -> Option<At<String>> {
        let written = match &self.node.value {
            Value::Number(number) => number.clone(),
            Value::Bool(value) => value.to_string(),
            Value::Null | Value::Text(_) | Value::List(_) | Value::Map(_) => return self.text(findings),
        };
        if choices.iter().any(|(word, _)| *word == written) {
            return self.text(findings);
        }
        Some(At {
            value: written,
            at: self.node.at,
        })
    }

    /// Why something is as it is: a sentence of some words, and no promise to write one.
    pub(crate) fn reason(&self, findings: &mut Findings) -> Option<At<String>> {
        const PROMISES: [&str; 6] = ["todo", "tbd", "fixme", "xxx", "n/a", "later"];
        let reason = self.sentence(findings)?;
        let mut words = reason.value.split_whitespace();
        let first = words.next().unwrap_or_default();
        let is_promise = PROMISES.iter().any(|promise| {
            first
                .trim_end_matches([':', '.', ',', '!', '?'])
                .eq_ignore_ascii_case(promise)
        });
        // Scripts without spaces say more in a word.
        let is_word = words.next().is_none() && first.is_ascii();
        if !is_promise && !is_word {
            return Some(reason);
        }
        let fault = if is_promise {
            "promises a reason and gives none"
        } else {
            "is a word and no reason"
        };
        findings
            .error(code::BAD_TEXT, reason.at, format!("{} {fault}", self.path))
            .why(WHY_A_SENTENCE)
            .fix("say in a sentence why this may be so: who accepted it, and what protects it instead");
        None
    }

    /// Text that is not empty, without control characters and not too long.
    pub(crate) fn sentence(&self, findings: &mut Findings) -> Option<At<String>> {
        let text = self.text(findings)?;
        let trimmed = text.value.trim();
        let hides = trimmed.chars().find_map(|letter| match letter {
            '\n' => Some("a line break"),
            letter => hidden(letter),
        });
        let fault = match hides {
            Some(what) => format!("has {what} in it"),
            None if trimmed.len() < 3 => "says nothing".to_owned(),
            None if trimmed.chars().count() > LONGEST_SENTENCE => "is too long".to_owned(),
            None => {
                return Some(At {
                    value: trimmed.to_owned(),
                    at: text.at,
                });
            }
        };
        findings
            .error(code::BAD_TEXT, text.at, format!("{} {fault}", self.path))
            .why(WHY_A_SENTENCE)
            .fix(format!(
                "one plain sentence of at most {LONGEST_SENTENCE} characters"
            ));
        None
    }

    /// Text made only of bytes that `allowed` accepts, and not empty.
    pub(crate) fn word(
        &self,
        what: &str,
        allowed: fn(u8) -> bool,
        findings: &mut Findings,
    ) -> Option<At<String>> {
        let text = self.text(findings)?;
        let is_anything = text.value == "*";
        if is_anything || text.value.is_empty() || text.value.len() > 256 || !text.value.bytes().all(allowed)
        {
            let fix = if is_anything {
                format!("write {what} in full: there are no wildcards")
            } else {
                let foreign = suggest::foreign_letter(&text.value);
                format!("write {what}: visible ASCII without spaces, 1 to 256 characters{foreign}")
            };
            findings
                .error(code::BAD_TEXT, text.at, format!("`{}` is not {what}", text.value))
                .why("it is compared byte for byte and would never match")
                .fix(fix);
            return None;
        }
        Some(text)
    }

    /// A list with at least one item, each read by `read`, none twice.
    pub(crate) fn list<T: Clone + Eq + Hash>(
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
        let mut places: HashMap<T, Span> = HashMap::with_capacity(items.len());
        let mut complete = true;
        for item in &items {
            let Some(value) = read(item, findings) else {
                complete = false;
                continue;
            };
            if let Some(first) = places.get(&value.value) {
                findings
                    .error(
                        code::BAD_LIST,
                        value.at,
                        format!("the same item twice in {}", self.path),
                    )
                    .why("one of them was probably meant to be another")
                    .fix("remove it")
                    .related(*first, "first here");
                continue;
            }
            places.insert(value.value.clone(), value.at);
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
