//! What many log-ins have in common: one password at many names, and far more failures than there should be. Nobody is refused
//! for it; somebody is told.

use std::collections::HashMap;

/// One password at so many names is no chance.
pub const SPRAYED_NAMES: usize = 20;
/// Passwords that are remembered at once; each with its names takes less than 400 bytes.
const MOST_PASSWORDS: usize = 4_096;
/// Minutes that are looked back on.
const MINUTES: usize = 5;
/// From here on log-ins are suspicious.
const BEGINS: Bound = Bound {
    log_ins: 100,
    failed_of_100: 80,
};
/// From here on they stay so: what is a little better is no end of an attack.
const LASTS: Bound = Bound {
    log_ins: 20,
    failed_of_100: 60,
};

/// Which names were tried with which password, both by marks that mean nothing elsewhere.
#[derive(Debug, Default)]
pub struct Spray(HashMap<u64, Vec<u64>>);

impl Spray {
    /// A log-in has failed. True once for a password: when it was tried at [`SPRAYED_NAMES`] names.
    pub fn failed(&mut self, password: u64, name: u64) -> bool {
        if self.0.len() >= MOST_PASSWORDS && !self.0.contains_key(&password) {
            self.forget();
        }
        let names = self.0.entry(password).or_default();
        if names.len() >= SPRAYED_NAMES || names.contains(&name) {
            return false;
        }
        names.push(name);
        names.len() == SPRAYED_NAMES
    }

    /// First those that were tried at one name, which are typing errors as a rule.
    fn forget(&mut self) {
        self.0.retain(|_, names| names.len() > 1);
        if self.0.len() > MOST_PASSWORDS / 2 {
            self.0.clear();
        }
    }
}

/// How many log-ins say something, and how many of them have failed.
struct Bound {
    log_ins: u64,
    failed_of_100: u64,
}

impl Bound {
    const fn is_reached(&self, failed: u64, all: u64) -> bool {
        all >= self.log_ins && failed * 100 >= all * self.failed_of_100
    }
}

/// How the log-ins of the last minutes have ended.
#[derive(Debug, Default)]
pub struct LogIns {
    minutes: [Minute; MINUTES],
    are_suspicious: bool,
}

#[derive(Debug, Default, Clone, Copy)]
struct Minute {
    number: u64,
    failed: u32,
    all: u32,
}

impl LogIns {
    /// A log-in has ended, at a time in seconds from any beginning. True when there are too many failures among the last ones,
    /// and were not before.
    pub fn ended(&mut self, is_right: bool, now_s: u64) -> bool {
        let number = now_s / 60;
        let of_now = |minute: &Minute| {
            let age = number.checked_sub(minute.number);
            age.is_some_and(|age| age < MINUTES as u64)
        };
        let oldest = self
            .minutes
            .iter_mut()
            .min_by_key(|minute| (minute.number != number, minute.number));
        if let Some(minute) = oldest {
            if minute.number != number {
                *minute = Minute {
                    number,
                    ..Minute::default()
                };
            }
            minute.all = minute.all.saturating_add(1);
            minute.failed = minute.failed.saturating_add(u32::from(!is_right));
        }
        let last = self.minutes.iter().filter(|minute| of_now(minute));
        let (failed, all) = last.fold((0_u64, 0_u64), |(failed, all), minute| {
            (failed + u64::from(minute.failed), all + u64::from(minute.all))
        });
        let before = self.are_suspicious;
        let bound = if before { LASTS } else { BEGINS };
        self.are_suspicious = bound.is_reached(failed, all);
        self.are_suspicious && !before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_is_tried_at_twenty_names_is_told_once() {
        let mut spray = Spray::default();
        let told = (0..100).filter(|name| spray.failed(7, *name));
        assert_eq!(told.collect::<Vec<_>>(), [19]);
    }

    #[test]
    fn one_name_with_many_passwords_and_many_names_with_their_own_are_no_spray() {
        let mut spray = Spray::default();
        for number in 0..1_000 {
            assert!(!spray.failed(number, 1));
            assert!(!spray.failed(10_000 + number, number));
        }
        for _ in 0..100 {
            assert!(!spray.failed(1, 1));
        }
    }

    #[test]
    fn typing_errors_do_not_hide_a_spray_and_memory_is_bounded() {
        let mut spray = Spray::default();
        let mut told = 0;
        for number in 0..100_000 {
            spray.failed(1_000 + number, number);
            if number % 4_000 == 0 {
                told += u32::from(spray.failed(7, number));
            }
            assert!(spray.0.len() <= MOST_PASSWORDS);
        }
        assert_eq!(told, 1);
        // Whoever tries every password at two names empties it, and no more.
        for number in 0..100_000 {
            spray.failed(number, 1);
            spray.failed(number, 2);
            assert!(spray.0.len() <= MOST_PASSWORDS);
        }
    }

    fn ended(log_ins: &mut LogIns, count: usize, is_right: bool, now_s: u64) -> usize {
        (0..count).filter(|_| log_ins.ended(is_right, now_s)).count()
    }

    #[test]
    fn four_failures_of_five_are_told_when_they_begin_and_when_they_begin_again() {
        let mut log_ins = LogIns::default();
        assert_eq!(ended(&mut log_ins, 20, true, 0), 0);
        assert_eq!(ended(&mut log_ins, 79, false, 30), 0);
        assert_eq!(ended(&mut log_ins, 500, false, 90), 1);
        // A little better is no end of it.
        assert_eq!(ended(&mut log_ins, 200, true, 120), 0);
        assert_eq!(ended(&mut log_ins, 500, false, 150), 0);
        assert_eq!(ended(&mut log_ins, 2_000, true, 180), 0);
        assert_eq!(ended(&mut log_ins, 1_000, false, 180 + 300), 1);
    }

    #[test]
    fn a_few_failures_and_those_of_long_ago_say_nothing() {
        let mut log_ins = LogIns::default();
        assert_eq!(ended(&mut log_ins, 99, false, 0), 0);
        for minute in 1..100 {
            assert_eq!(ended(&mut log_ins, 19, false, minute * 60 + 300), 0, "{minute}");
        }
    }

    #[test]
    fn an_attack_that_is_as_slow_as_it_can_be_is_told_once() {
        let mut log_ins = LogIns::default();
        let told = (0..100).map(|minute| ended(&mut log_ins, 22, false, minute * 60));
        assert_eq!(told.sum::<usize>(), 1);
    }

    #[test]
    fn a_clock_that_goes_back_counts_on() {
        let mut log_ins = LogIns::default();
        ended(&mut log_ins, 50, false, 6_000);
        assert_eq!(ended(&mut log_ins, 100, false, 60), 1);
    }
}
