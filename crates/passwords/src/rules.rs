//! The rules for a new password, and every one that a password breaks.

use std::collections::BTreeSet;

use serde::Deserialize;
use zxcvbn::Score;
use zxcvbn::matching::patterns::MatchPattern;

use crate::breach::BreachFilter;

/// Most code points of a password. NIST SP 800-63B-4 §3.1.1.2 asks for at least 64.
const MAX_CHARS: usize = 128;
/// Most bytes of a password in UTF-8.
const MAX_BYTES: usize = 1_024;
/// Different characters that a password has at least.
const MIN_DISTINCT: usize = 6;
/// What zxcvbn must find a password to be: 3 of 4, "safely unguessable", some 10^8 guesses.
const MIN_SCORE: Score = Score::Three;
/// The beginning of a password that is looked at for patterns. The search takes time with more than the square of the
/// length; what a longer password adds can only make it stronger.
const GUESSED_CHARS: usize = 64;
/// A word shorter than this is in too many passwords by chance.
const MIN_WORD_CHARS: usize = 4;
/// The local part of an address as a whole counts from this length on.
const MIN_LOCAL_CHARS: usize = 3;
/// Words of one person that are looked for.
const MAX_WORDS: usize = 32;

/// What is asked of a new password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// NIST SP 800-63B-4 §3.1.1.2 for a password that is the only factor: 15 characters, no rules of composition.
    #[default]
    Nist,
    /// PCI DSS 4.0 §8.3.6 for staff: 12 characters, letters and digits, and a file of breached passwords.
    PciStaff,
}

impl Profile {
    /// The fewest code points of a password.
    #[must_use]
    pub const fn min_chars(self) -> usize {
        match self {
            Self::Nist => 15,
            Self::PciStaff => 12,
        }
    }

    /// Whether new passwords must be looked up among breached ones.
    #[must_use]
    pub const fn needs_filter(self) -> bool {
        matches!(self, Self::PciStaff)
    }
}

/// The profile asks for a file of breached passwords, and there is none: no password can be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this profile needs a file of breached passwords")]
pub struct FilterMissing;

/// One rule that a password breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// It has fewer code points than this.
    TooShort(usize),
    /// It has more than 128 code points, or 1,024 bytes.
    TooLong,
    /// It has fewer than six different characters.
    LowDiversity,
    /// It has no letter, or no digit, and the profile asks for both.
    NoLettersAndDigits,
    /// zxcvbn finds that it would be guessed.
    TooGuessable,
    /// As a whole it is a common password or a word.
    Common,
    /// It contains the bank's name, the person's, or that of the address.
    ContainsContext,
    /// It is among the breached ones.
    Breached,
    /// It is the one that is in use now.
    Reused,
}

impl Violation {
    /// Every violation there is, with the bounds of `profile`.
    #[must_use]
    pub const fn all(profile: Profile) -> [Self; 9] {
        [
            Self::TooShort(profile.min_chars()),
            Self::TooLong,
            Self::LowDiversity,
            Self::NoLettersAndDigits,
            Self::TooGuessable,
            Self::Common,
            Self::ContainsContext,
            Self::Breached,
            Self::Reused,
        ]
    }

    /// The stable word that clients branch on.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooShort(_) => "too_short",
            Self::TooLong => "too_long",
            Self::LowDiversity | Self::NoLettersAndDigits => "low_diversity",
            Self::TooGuessable => "too_guessable",
            Self::Common => "common",
            Self::ContainsContext => "contains_context",
            Self::Breached => "breached",
            Self::Reused => "reused",
        }
    }

    /// The rule in words. It says nothing of the password.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::TooShort(min) => format!("must have at least {min} characters"),
            Self::TooLong => format!("must have at most {MAX_CHARS} characters and {MAX_BYTES} bytes"),
            Self::LowDiversity => format!("must have at least {MIN_DISTINCT} different characters"),
            Self::NoLettersAndDigits => "must have letters and digits".to_owned(),
            Self::TooGuessable => {
                "is too easy to guess: a few words that do not belong together are better".to_owned()
            }
            Self::Common => "is a common password or word".to_owned(),
            Self::ContainsContext => {
                "must not contain the name of the bank, of the person or of the e-mail address".to_owned()
            }
            Self::Breached => "has been published in a data breach".to_owned(),
            Self::Reused => "must not be the password that is in use now".to_owned(),
        }
    }

    /// The numbers of the rule, by name: for clients that say it in another language.
    #[must_use]
    pub fn params(&self) -> Vec<(&'static str, usize)> {
        match self {
            Self::TooShort(min) => vec![("min", *min)],
            Self::TooLong => vec![("max", MAX_CHARS), ("max_bytes", MAX_BYTES)],
            Self::LowDiversity => vec![("min_distinct", MIN_DISTINCT)],
            Self::TooGuessable => vec![("min_score", usize::from(u8::from(MIN_SCORE)))],
            Self::NoLettersAndDigits
            | Self::Common
            | Self::ContainsContext
            | Self::Breached
            | Self::Reused => Vec::new(),
        }
    }
}

/// Whose password it is to be: what an attacker who knows the person tries first (ASVS 5.0 §6.2.11).
#[derive(Debug, Clone, Copy, Default)]
pub struct Subject<'a> {
    /// The e-mail address.
    pub email: &'a str,
    /// The name.
    pub full_name: &'a str,
}

impl Subject<'_> {
    /// The words to look for, in lower case: the name's, and those of the address before the `@`.
    fn words(&self) -> impl Iterator<Item = String> {
        let local = self.email.rsplit_once('@').map_or(self.email, |(local, _)| local);
        let parts = local.split(|c: char| !c.is_alphanumeric());
        let names = self.full_name.split(|c: char| !c.is_alphanumeric());
        let whole = (local.chars().count() >= MIN_LOCAL_CHARS).then_some(local);
        let long_parts = parts
            .chain(names)
            .filter(|word| word.chars().count() >= MIN_WORD_CHARS);
        whole
            .into_iter()
            .chain(long_parts)
            .map(|word| crate::normal(word).to_lowercase())
            .take(MAX_WORDS)
    }
}

/// The rules that hold for new passwords.
#[derive(Debug, Clone)]
pub struct Rules {
    profile: Profile,
    min_chars: usize,
    /// In lower case.
    words: Vec<String>,
}

impl Rules {
    /// The rules of a profile. `min_chars` can ask for more than the profile does, never for less; `words` are those
    /// that no password here may contain, such as the bank's name.
    #[must_use]
    pub fn new(profile: Profile, min_chars: usize, words: &[String]) -> Self {
        Self {
            profile,
            min_chars: profile.min_chars().max(min_chars),
            words: words
                .iter()
                .map(|word| crate::normal(word).to_lowercase())
                .collect(),
        }
    }

    /// The fewest code points of a password.
    #[must_use]
    pub const fn min_chars(&self) -> usize {
        self.min_chars
    }

    /// Every rule that a password, in its [normal](crate::normal()) form, breaks; each code once or, for two rules of
    /// diversity, twice. That a password is the old one, only who has the old one's hash can tell.
    ///
    /// # Errors
    ///
    /// When the profile needs a filter and there is none.
    pub fn violations(
        &self,
        password: &str,
        subject: &Subject<'_>,
        breached: Option<&BreachFilter>,
    ) -> Result<Vec<Violation>, FilterMissing> {
        if self.profile.needs_filter() && breached.is_none() {
            return Err(FilterMissing);
        }
        let words: Vec<String> = self.words.iter().cloned().chain(subject.words()).collect();
        let chars = password.chars().count();
        let distinct = password.chars().collect::<BTreeSet<_>>().len();
        let has = |kind: fn(char) -> bool| password.chars().any(kind);
        let lacks_class =
            self.profile == Profile::PciStaff && !(has(char::is_alphabetic) && has(char::is_numeric));
        let folded = password.to_lowercase();
        let guess = Guess::of(password, &words);
        let broken = [
            (chars < self.min_chars, Violation::TooShort(self.min_chars)),
            (
                chars > MAX_CHARS || password.len() > MAX_BYTES,
                Violation::TooLong,
            ),
            (distinct < MIN_DISTINCT, Violation::LowDiversity),
            (lacks_class, Violation::NoLettersAndDigits),
            (guess.score < MIN_SCORE, Violation::TooGuessable),
            (guess.is_common, Violation::Common),
            (
                words
                    .iter()
                    .any(|word| !word.is_empty() && folded.contains(word.as_str())),
                Violation::ContainsContext,
            ),
            (
                breached.is_some_and(|filter| filter.contains(password)),
                Violation::Breached,
            ),
        ];
        Ok(broken
            .into_iter()
            .filter_map(|(is_broken, violation)| is_broken.then_some(violation))
            .collect())
    }
}

/// What zxcvbn thinks of a password.
struct Guess {
    score: Score,
    /// The whole of it is one word of the dictionaries, as it is, reversed, or with digits for letters.
    is_common: bool,
}

impl Guess {
    fn of(password: &str, words: &[String]) -> Self {
        let (seen, is_whole) = match password.char_indices().nth(GUESSED_CHARS) {
            Some((end, _)) => (password.get(..end).unwrap_or_default(), false),
            None => (password, true),
        };
        let inputs: Vec<&str> = words.iter().map(String::as_str).collect();
        let found = zxcvbn::zxcvbn(seen, &inputs);
        let is_common = is_whole
            && matches!(found.sequence(), [only] if matches!(
                &only.pattern,
                // A word of the context is told as such.
                MatchPattern::Dictionary(entry) if !inputs.contains(&entry.matched_word.as_str())
            ));
        Self {
            score: found.score(),
            is_common,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    const SUBJECT: Subject<'_> = Subject {
        email: "alice.smith@example.com",
        full_name: "Alice Þorsdóttir-Lee",
    };

    fn rules(profile: Profile) -> Rules {
        Rules::new(profile, 0, &["Portico".to_owned()])
    }

    fn codes_in(profile: Profile, password: &str, breached: Option<&BreachFilter>) -> Vec<&'static str> {
        let found = rules(profile).violations(&crate::normal(password), &SUBJECT, breached);
        found.unwrap().iter().map(Violation::code).collect()
    }

    fn codes(password: &str) -> Vec<&'static str> {
        codes_in(Profile::Nist, password, None)
    }

    /// A filter that holds these passwords.
    fn filter(passwords: &[&str]) -> BreachFilter {
        let mut lines: Vec<String> = passwords
            .iter()
            .map(|password| {
                let digest = aws_lc_rs::digest::digest(
                    &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
                    password.as_bytes(),
                );
                let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
                format!("{hex}:7\r\n")
            })
            .collect();
        lines.sort();
        let mut file = Cursor::new(Vec::new());
        crate::build(lines.concat().as_bytes(), 1, &mut file).unwrap();
        BreachFilter::read(
            file.get_ref().as_slice(),
            u64::try_from(file.get_ref().len()).unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn every_broken_rule_is_named() {
        assert_eq!(codes("correct horse battery"), Vec::<&str>::new());
        assert_eq!(codes(""), ["too_short", "low_diversity", "too_guessable"]);
        assert_eq!(codes("aaa"), ["too_short", "low_diversity", "too_guessable"]);
        assert_eq!(codes("password"), ["too_short", "too_guessable", "common"]);
        assert_eq!(codes("P4ssw0rd"), ["too_short", "too_guessable", "common"]);
        assert_eq!(
            codes(&"ab".repeat(100)),
            ["too_long", "low_diversity", "too_guessable"]
        );
        assert_eq!(codes("qwertyuiopasdfghjkl"), ["too_guessable"]);
        // Fifteen code points, twice as many bytes.
        assert_eq!(codes("äöüßéèêëìíîïñçø"), Vec::<&str>::new());
        // Code points are few, bytes are many.
        assert_eq!(
            codes(&"\u{1f600}\u{1f680}q7Kx#\u{1f4a9}\u{1f98a}".repeat(32)),
            ["too_long"]
        );
    }

    #[test]
    fn names_of_the_bank_and_of_the_person_are_no_part_of_a_password() {
        for with_a_name in [
            "my portico is Blue 77 xq",
            "xAlice.Smithx12 vw kelp",
            "quartz-SMITH-lagoon-81",
            "quartz þorsdóttir lagoon",
        ] {
            assert!(codes(with_a_name).contains(&"contains_context"), "{with_a_name}");
        }
        // "Lee" is in too many words.
        assert_eq!(codes("the sleeve of a quartz lagoon"), Vec::<&str>::new());
        let nobody = rules(Profile::Nist).violations("quartz smith lagoon 81", &Subject::default(), None);
        assert_eq!(nobody, Ok(Vec::new()));
    }

    #[test]
    fn a_name_of_the_bank_that_is_the_whole_password_is_told_as_context() {
        assert_eq!(
            codes("portico"),
            ["too_short", "too_guessable", "contains_context"]
        );
    }

    #[test]
    fn staff_need_letters_digits_and_a_filter() {
        let empty = filter(&[]);
        let staff = |password: &str| codes_in(Profile::PciStaff, password, Some(&empty));
        assert_eq!(staff("quartz lagoon 81"), Vec::<&str>::new());
        assert_eq!(staff("quartz lagoon kelp"), ["low_diversity"]);
        assert_eq!(staff("quartz lag 8"), Vec::<&str>::new());
        assert_eq!(staff("8140572936 1"), ["low_diversity"]);
        let judged = rules(Profile::PciStaff).violations("quartz lagoon 81", &SUBJECT, None);
        assert_eq!(judged, Err(FilterMissing));
        assert!(!Profile::Nist.needs_filter() && Profile::PciStaff.needs_filter());
    }

    #[test]
    fn a_breached_password_is_refused_however_good_it_looks() {
        let filter = filter(&["correct horse battery", "ﬁne quartz lagoon"]);
        assert_eq!(
            codes_in(Profile::Nist, "correct horse battery", Some(&filter)),
            ["breached"]
        );
        assert_eq!(
            codes_in(Profile::Nist, "correct horse lagoon", Some(&filter)),
            Vec::<&str>::new()
        );
    }

    #[test]
    fn settings_raise_the_length_and_never_lower_it() {
        assert_eq!(Rules::new(Profile::Nist, 20, &[]).min_chars(), 20);
        assert_eq!(Rules::new(Profile::Nist, 8, &[]).min_chars(), 15);
        assert_eq!(Rules::new(Profile::PciStaff, 8, &[]).min_chars(), 12);
    }

    #[test]
    fn every_violation_says_its_rule() {
        for violation in Violation::all(Profile::Nist) {
            assert!(!violation.detail().is_empty());
            for (_, number) in violation.params() {
                let said = violation.detail().contains(&number.to_string());
                assert!(said || violation == Violation::TooGuessable, "{violation:?}");
            }
        }
    }

    /// The hardest inputs for a search for patterns: repetition, dates, letters that digits stand for.
    #[test]
    fn a_long_password_is_judged_in_bounded_time() {
        let worst = ["a", "ab1", "4@8({3g6", "1/1/11", "qwerty", "aA1@", "19901990"];
        for pattern in worst {
            let long: String = pattern.chars().cycle().take(60_000).collect();
            let started = std::time::Instant::now();
            assert!(codes(&long).contains(&"too_long"));
            let took = started.elapsed();
            assert!(took < std::time::Duration::from_secs(5), "{pattern}: {took:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_password_is_judged_and_each_rule_is_told_when_it_is_broken(password in "\\PC{0,200}") {
            let normal = crate::normal(&password);
            let found = rules(Profile::Nist).violations(&normal, &SUBJECT, None).unwrap();
            let chars = normal.chars().count();
            prop_assert_eq!(found.contains(&Violation::TooShort(15)), chars < 15);
            prop_assert_eq!(found.contains(&Violation::TooLong), chars > 128 || normal.len() > 1_024);
            let distinct: std::collections::HashSet<char> = normal.chars().collect();
            prop_assert_eq!(found.contains(&Violation::LowDiversity), distinct.len() < 6);
            let mut once = found.clone();
            once.dedup();
            prop_assert_eq!(once, found);
        }

        #[test]
        fn what_contains_a_name_is_found_wherever_it_stands(before in "[a-z0-9 ]{0,20}", after in "[a-z0-9 ]{0,20}") {
            let password = format!("{before}SmiTh{after}");
            let found = rules(Profile::Nist).violations(&password, &SUBJECT, None).unwrap();
            prop_assert!(found.contains(&Violation::ContainsContext));
        }

        #[test]
        fn a_password_is_judged_alike_in_every_spelling(password in "[a-zäöüéñ ]{0,30}") {
            use unicode_normalization::UnicodeNormalization as _;
            let decomposed: String = password.nfd().collect();
            prop_assert_eq!(codes(&password), codes(&decomposed));
        }
    }
}
