//! A calendar date (Gregorian, UTC) without a clock: whoever asks brings today along.

use serde::{Serialize, Serializer};
use std::fmt;

/// A day, such as the last one of a waiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

const FIRST_YEAR: u16 = 1970;
const LAST_YEAR: u16 = 9999;
const SECONDS_OF_A_DAY: i64 = 86_400;

impl Date {
    /// Reads `YYYY-MM-DD`; `None` when it is written differently or there is no such day.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut part = |digits: usize| {
            let part = parts.next()?;
            (part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit())).then_some(part)
        };
        let (year, month, day) = (part(4)?, part(2)?, part(2)?);
        let date = Self {
            year: year.parse().ok()?,
            month: month.parse().ok()?,
            day: day.parse().ok()?,
        };
        let is_day = date.year >= FIRST_YEAR
            && (1..=12).contains(&date.month)
            && (1..=days_of_month(date.year, date.month)).contains(&date.day);
        (is_day && parts.next().is_none()).then_some(date)
    }

    /// The day that this Unix time (in seconds) falls on, UTC; the first or last day that a date can be when it
    /// falls outside.
    #[must_use]
    pub fn of_unix_time(seconds: i64) -> Self {
        let mut days = seconds.div_euclid(SECONDS_OF_A_DAY).max(0);
        for year in FIRST_YEAR..=LAST_YEAR {
            for month in 1..=12 {
                let length = days_of_month(year, month);
                if let Some(day) = u8::try_from(days).ok().filter(|days| *days < length) {
                    return Self {
                        year,
                        month,
                        day: day.saturating_add(1),
                    };
                }
                days = days.saturating_sub(length.into());
            }
        }
        Self {
            year: LAST_YEAR,
            month: 12,
            day: 31,
        }
    }

    /// How many days after `earlier` this is; negative when it is before.
    #[must_use]
    pub fn days_since(self, earlier: Self) -> i64 {
        self.number().saturating_sub(earlier.number())
    }

    /// Its first second, as Unix time.
    #[must_use]
    pub fn unix_time(self) -> i64 {
        let days = self.days_since(Self {
            year: FIRST_YEAR,
            month: 1,
            day: 1,
        });
        days.saturating_mul(SECONDS_OF_A_DAY)
    }

    /// Its first second, as header fields write it (RFC 9110 §5.6.7): `Tue, 01 Jun 2027 00:00:00 GMT`.
    #[must_use]
    pub fn http_date(self) -> String {
        // The first of January of the year 1 was a Monday.
        let weekday = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
            .into_iter()
            .cycle()
            .nth(usize::try_from(self.number().rem_euclid(7)).unwrap_or(0))
            .unwrap_or_default();
        let month = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ]
        .into_iter()
        .nth(usize::from(self.month).saturating_sub(1))
        .unwrap_or_default();
        format!("{weekday}, {:02} {month} {:04} 00:00:00 GMT", self.day, self.year)
    }

    /// Days since an imaginary first of January of the year 1.
    fn number(self) -> i64 {
        let years = i64::from(self.year).saturating_sub(1);
        let leap_days = (years / 4)
            .saturating_sub(years / 100)
            .saturating_add(years / 400);
        let months: i64 = (1..self.month)
            .map(|month| i64::from(days_of_month(self.year, month)))
            .sum();
        years
            .saturating_mul(365)
            .saturating_add(leap_days)
            .saturating_add(months)
            .saturating_add(self.day.into())
    }
}

const fn days_of_month(year: u16, month: u8) -> u8 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::Date;
    use proptest::prelude::*;

    fn date(text: &str) -> Date {
        Date::parse(text).expect("a date")
    }

    #[test]
    fn header_fields_have_the_first_second_of_the_day() {
        for (day, field, seconds) in [
            ("1970-01-01", "Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("2000-02-29", "Tue, 29 Feb 2000 00:00:00 GMT", 951_782_400),
            ("2027-06-01", "Tue, 01 Jun 2027 00:00:00 GMT", 1_811_808_000),
            ("2028-12-31", "Sun, 31 Dec 2028 00:00:00 GMT", 1_861_833_600),
        ] {
            assert_eq!(date(day).http_date(), field);
            assert_eq!(date(day).unix_time(), seconds);
        }
    }

    #[test]
    fn only_days_that_there_are_can_be_read() {
        for good in ["1970-01-01", "2024-02-29", "2000-02-29", "2027-12-31"] {
            assert_eq!(date(good).to_string(), good);
        }
        for bad in [
            "",
            "2027",
            "2027-1-31",
            "2027-01-32",
            "2027-02-29",
            "2100-02-29",
            "2027-13-01",
            "2027-00-01",
            "2027-01-00",
            "1969-12-31",
            "2027-01-31 ",
            "2027-01-31-01",
            "31.01.2027",
            "2027/01/31",
            "+027-01-31",
            "2027-01-31T00:00:00Z",
        ] {
            assert_eq!(Date::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn days_are_counted_over_leap_years() {
        assert_eq!(date("2024-03-01").days_since(date("2024-02-28")), 2);
        assert_eq!(date("2100-03-01").days_since(date("2100-02-28")), 1);
        assert_eq!(date("2027-01-01").days_since(date("2026-01-01")), 365);
        assert_eq!(date("2026-01-01").days_since(date("2026-01-02")), -1);
    }

    #[test]
    fn unix_time_falls_on_its_day() {
        for (seconds, day) in [
            (i64::MIN, "1970-01-01"),
            (0, "1970-01-01"),
            (86_399, "1970-01-01"),
            (86_400, "1970-01-02"),
            (951_782_400, "2000-02-29"),
            (1_800_000_000, "2027-01-15"),
            (i64::MAX, "9999-12-31"),
        ] {
            assert_eq!(Date::of_unix_time(seconds).to_string(), day, "{seconds}");
        }
    }

    proptest! {
        #[test]
        fn a_day_later_is_the_next_day(days in 0_i64..2_900_000) {
            let (today, tomorrow) = (Date::of_unix_time(days * 86_400), Date::of_unix_time((days + 1) * 86_400));
            prop_assert!(today < tomorrow);
            prop_assert_eq!(tomorrow.days_since(today), 1);
            prop_assert_eq!(Date::parse(&today.to_string()), Some(today));
        }
    }
}
