//! The languages of mails and pages, and the texts of pages in each: one Fluent file for a language.
//!
//! **Invariant:** every language has the same messages with the same variables; the tests compare them, and know which message
//! each page asks for.

mod language;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource};

pub(crate) use self::language::Language;

const fn source(language: Language) -> &'static str {
    match language {
        Language::English => include_str!("en.ftl"),
        Language::Spanish => include_str!("es.ftl"),
        Language::French => include_str!("fr.ftl"),
        Language::German => include_str!("de.ftl"),
    }
}

/// The texts of one language.
pub(crate) struct Texts(FluentBundle<FluentResource>);

impl std::fmt::Debug for Texts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Texts").field(&self.0.locales).finish()
    }
}

impl Texts {
    /// Reads the texts of a language.
    ///
    /// # Errors
    /// When its file is not Fluent, or has a message twice.
    pub(crate) fn read(language: Language) -> anyhow::Result<Self> {
        let resource = FluentResource::try_new(source(language).to_owned())
            .map_err(|(_, errors)| anyhow::anyhow!("{}.ftl: {errors:?}", language.as_str()))?;
        let mut bundle = FluentBundle::new_concurrent(vec![language.as_str().parse()?]);
        // Pages mark what may run in another direction themselves.
        bundle.set_use_isolating(false);
        bundle
            .add_resource(resource)
            .map_err(|errors| anyhow::anyhow!("{}.ftl: {errors:?}", language.as_str()))?;
        Ok(Self(bundle))
    }

    /// Whether there is a message of this name.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.has_message(key)
    }

    /// A message with its variables filled in; None when there is none of this name, or a variable is missing.
    pub(crate) fn say(&self, key: &str, arguments: &FluentArgs<'_>) -> Option<String> {
        let pattern = self.0.get_message(key)?.value()?;
        let mut errors = Vec::new();
        let said = self
            .0
            .format_pattern(pattern, Some(arguments), &mut errors)
            .into_owned();
        errors.is_empty().then_some(said)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// Each message, and the variables in it. A line that begins with a letter begins a message.
    fn messages(language: Language) -> BTreeMap<String, BTreeSet<String>> {
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut current = String::new();
        for line in source(language).lines() {
            if line.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
                line.split_once(" =").unwrap().0.clone_into(&mut current);
                let earlier = found.insert(current.clone(), BTreeSet::new());
                assert!(earlier.is_none(), "{current} stands twice");
            }
            for variable in line.split('$').skip(1) {
                let end = variable.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
                let name = variable.split_at(end.unwrap_or(variable.len())).0;
                found.get_mut(&current).unwrap().insert(name.to_owned());
            }
        }
        found
    }

    #[test]
    fn every_language_has_the_same_messages_with_the_same_variables() {
        let english = messages(Language::English);
        assert!(english.len() > 100, "{}", english.len());
        for language in Language::ALL {
            let texts = Texts::read(language).unwrap();
            assert_eq!(messages(language), english, "{}", language.as_str());
            for (key, variables) in &english {
                let mut arguments = FluentArgs::new();
                for variable in variables {
                    arguments.set(variable.clone(), 2);
                }
                let said = texts.say(key, &arguments);
                assert!(
                    said.is_some_and(|said| !said.is_empty()),
                    "{} {key}",
                    language.as_str()
                );
            }
        }
    }

    #[test]
    fn no_translation_was_forgotten() {
        // Names of things, and what is the same word in another language.
        let same: [&str; 0] = [];
        let english = Texts::read(Language::English).unwrap();
        for language in [Language::Spanish, Language::French, Language::German] {
            let texts = Texts::read(language).unwrap();
            for (key, variables) in messages(language) {
                if !variables.is_empty() || same.contains(&key.as_str()) || key.starts_with("month-") {
                    continue;
                }
                let none = FluentArgs::new();
                assert_ne!(
                    texts.say(&key, &none),
                    english.say(&key, &none),
                    "{} {key}",
                    language.as_str()
                );
            }
        }
    }

    #[test]
    fn what_is_not_there_is_not_said() {
        let texts = Texts::read(Language::English).unwrap();
        assert!(!texts.has("no-such-message"));
        assert_eq!(texts.say("no-such-message", &FluentArgs::new()), None);
        assert_eq!(texts.say("fault-too_short", &FluentArgs::new()), None);
    }
}
