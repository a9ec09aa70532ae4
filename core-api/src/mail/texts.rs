//! What mails say, in every language: one file of texts for each, and one layout each for HTML and for plain text.
//!
//! **Invariant:** a mail fetches nothing when it is opened, and what a user wrote about himself is shown as text only.

use std::collections::BTreeMap;

use anyhow::Context as _;
use minijinja::{Environment, UndefinedBehavior, context};
use serde::{Deserialize, Serialize};

use super::Language;

/// The longest name that a mail greets with.
const MAX_GREETED_CHARS: usize = 60;

/// The text that a mail of some kind has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub(super) enum Template {
    VerifyEmail,
    AlreadyRegistered,
    PasswordReset,
    Unlock,
    Locked,
    PasswordNeeded,
    PasswordChanged,
    EmailChange,
    EmailChangeNotice,
    FactorAdded,
    FactorRemoved,
    OneFactorRemoved,
    PasskeyAdded,
    FactorLocked,
    RecoveryCodesRenewed,
    RecoveryCodeUsed,
}

impl Template {
    #[cfg(test)]
    const ALL: [Self; 16] = [
        Self::VerifyEmail,
        Self::AlreadyRegistered,
        Self::PasswordReset,
        Self::Unlock,
        Self::Locked,
        Self::PasswordNeeded,
        Self::PasswordChanged,
        Self::EmailChange,
        Self::EmailChangeNotice,
        Self::FactorAdded,
        Self::FactorRemoved,
        Self::OneFactorRemoved,
        Self::PasskeyAdded,
        Self::FactorLocked,
        Self::RecoveryCodesRenewed,
        Self::RecoveryCodeUsed,
    ];
}

/// Everything in one language.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalogue {
    greeting: String,
    greeting_without_name: String,
    paste: String,
    code: String,
    signature: String,
    footer: String,
    mails: BTreeMap<Template, Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    subject: String,
    before: Vec<String>,
    button: Option<String>,
    after: Vec<String>,
}

/// What a mail is filled with.
#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct Filling<'a> {
    /// The bank's name.
    pub(super) bank: &'a str,
    /// The reader's.
    pub(super) name: &'a str,
    /// Where the button leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) link: Option<&'a str>,
    /// The token alone, for an app that asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<&'a str>,
    /// The new address, most of it hidden.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<&'a str>,
}

/// A mail's subject and its two bodies.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rendered {
    pub(super) subject: String,
    pub(super) html: String,
    pub(super) text: String,
}

/// The texts of all languages.
#[derive(Debug)]
pub(super) struct Texts {
    environment: Environment<'static>,
    catalogues: Vec<(Language, Catalogue)>,
}

const fn source(language: Language) -> &'static str {
    match language {
        Language::English => include_str!("texts/en.yaml"),
        Language::Spanish => include_str!("texts/es.yaml"),
        Language::French => include_str!("texts/fr.yaml"),
        Language::German => include_str!("texts/de.yaml"),
    }
}

impl Texts {
    /// Reads what was compiled in.
    pub(super) fn load() -> anyhow::Result<Self> {
        let mut environment = Environment::new();
        // A name that nobody gave is a mistake in a text, not an empty place in a mail.
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_keep_trailing_newline(true);
        environment.add_template("layout.html", include_str!("texts/layout.html"))?;
        environment.add_template("layout.txt", include_str!("texts/layout.txt"))?;
        let catalogues = Language::ALL.into_iter().map(|language| {
            let catalogue = serde_yaml::from_str(source(language));
            let catalogue = catalogue.with_context(|| format!("the texts in {}", language.as_str()))?;
            anyhow::Ok((language, catalogue))
        });
        Ok(Self {
            environment,
            catalogues: catalogues.collect::<anyhow::Result<_>>()?,
        })
    }

    /// Writes a mail.
    pub(super) fn render(
        &self,
        template: Template,
        language: Language,
        filling: &Filling<'_>,
    ) -> anyhow::Result<Rendered> {
        let catalogue = self.catalogues.iter().find(|(known, _)| *known == language);
        let (_, catalogue) = catalogue.context("no texts in this language")?;
        let text = catalogue.mails.get(&template).context("no text for this mail")?;
        let fill = |text: &str| self.environment.render_str(text, filling);
        let fill_all = |texts: &[String]| texts.iter().map(|text| fill(text)).collect::<Result<Vec<_>, _>>();
        let greeting = if is_greetable(filling.name) {
            &catalogue.greeting
        } else {
            &catalogue.greeting_without_name
        };
        let subject = fill(&text.subject)?;
        let context = context! {
            language => language.as_str(),
            bank => filling.bank,
            subject => subject,
            greeting => fill(greeting)?,
            before => fill_all(&text.before)?,
            link => filling.link.filter(|_| text.button.is_some()),
            button => text.button,
            paste => catalogue.paste,
            code => filling.code,
            code_hint => catalogue.code,
            after => fill_all(&text.after)?,
            signature => catalogue.signature,
            footer => fill(&catalogue.footer)?,
        };
        let render = |layout: &str| self.environment.get_template(layout)?.render(&context);
        Ok(Rendered {
            html: render("layout.html")?,
            text: render("layout.txt")?,
            subject,
        })
    }
}

/// Whoever registers chooses the name and the mailbox: a name that looks like a message or a link is not repeated, or we
/// would deliver it for him.
fn is_greetable(name: &str) -> bool {
    let is_plain = |char: char| char.is_alphabetic() || matches!(char, ' ' | '-' | '\'' | '’');
    !name.trim().is_empty() && name.chars().count() <= MAX_GREETED_CHARS && name.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const FILLING: Filling<'_> = Filling {
        bank: "The <Bank> & Co",
        name: "Zoë O'Neil",
        link: Some("https://bank.example/verify-email#TOKEN"),
        code: Some("TOKEN"),
        address: Some("m…@example.com"),
    };

    fn placeables(texts: impl IntoIterator<Item = String>) -> BTreeSet<String> {
        let found = texts.into_iter().flat_map(|text| {
            let parts = text.split("{{").skip(1);
            parts
                .map(|part| part.split("}}").next().unwrap().trim().to_owned())
                .collect::<Vec<_>>()
        });
        found.collect()
    }

    /// Every text of a catalogue that stands for itself, by its place.
    fn shape(catalogue: &Catalogue) -> BTreeMap<String, BTreeSet<String>> {
        let mut shape = BTreeMap::new();
        let mut add = |place: String, texts: Vec<String>| shape.insert(place, placeables(texts));
        for (place, text) in [
            ("greeting", &catalogue.greeting),
            ("greeting_without_name", &catalogue.greeting_without_name),
            ("paste", &catalogue.paste),
            ("code", &catalogue.code),
            ("signature", &catalogue.signature),
            ("footer", &catalogue.footer),
        ] {
            assert!(!text.trim().is_empty(), "{place}");
            add(place.to_owned(), vec![text.clone()]);
        }
        for (template, text) in &catalogue.mails {
            let paragraphs = [text.before.clone(), text.after.clone()];
            assert!(paragraphs.iter().flatten().all(|line| !line.trim().is_empty()));
            add(format!("{template:?} subject"), vec![text.subject.clone()]);
            add(
                format!("{template:?} has a button: {}", text.button.is_some()),
                Vec::new(),
            );
            for (place, lines) in ["before", "after"].into_iter().zip(paragraphs) {
                add(format!("{template:?} {place} of {}", lines.len()), lines);
            }
        }
        shape
    }

    #[test]
    fn every_language_has_every_text_with_the_same_placeables() {
        let texts = Texts::load().unwrap();
        assert_eq!(texts.catalogues.len(), Language::ALL.len());
        let (_, english) = &texts.catalogues[0];
        let known: Vec<_> = english.mails.keys().copied().collect();
        assert_eq!(known, Template::ALL);
        for (language, catalogue) in &texts.catalogues {
            assert_eq!(shape(catalogue), shape(english), "{language:?}");
        }
    }

    #[test]
    fn every_placeable_is_filled_in_both_bodies_of_every_mail() {
        let texts = Texts::load().unwrap();
        let mut subjects = BTreeSet::new();
        for (language, catalogue) in &texts.catalogues {
            for template in Template::ALL {
                let mail = texts.render(template, *language, &FILLING).unwrap();
                let text = &catalogue.mails[&template];
                let all = [&text.before[..], &text.after[..]].concat();
                for body in [&mail.html, &mail.text] {
                    assert!(!body.contains("{{") && !body.contains("{%"), "{body}");
                    assert!(placeables(all.clone()).contains("address") == body.contains("m…@example.com"));
                    assert!(body.contains("TOKEN"), "{body}");
                    assert_eq!(body.contains("verify-email"), text.button.is_some(), "{body}");
                }
                assert!(mail.text.contains("Zoë O'Neil") && mail.text.contains("The <Bank> & Co"));
                assert!(
                    mail.html.contains("Zoë O&#x27;Neil") && mail.html.contains("The &lt;Bank&gt; &amp; Co")
                );
                assert!(
                    mail.html
                        .contains(&format!("<html lang=\"{}\">", language.as_str()))
                );
                subjects.insert(mail.subject);
            }
        }
        assert_eq!(subjects.len(), Template::ALL.len() * Language::ALL.len());
    }

    #[test]
    fn a_mail_fetches_nothing_and_repeats_no_message_in_a_name() {
        let texts = Texts::load().unwrap();
        for name in [
            "You won: https://evil.example",
            "<b>x</b>",
            "a\r\nBcc: b@c.d",
            "1000 $ for you",
            "",
            &"x".repeat(61),
        ] {
            let filling = Filling { name, ..FILLING };
            let mail = texts
                .render(Template::VerifyEmail, Language::English, &filling)
                .unwrap();
            assert!(mail.text.starts_with("Hello,\n"), "{}", mail.text);
            assert!(
                !mail.html.contains("evil") && !mail.html.contains("<b>"),
                "{}",
                mail.html
            );
        }
        let html = texts
            .render(Template::VerifyEmail, Language::English, &FILLING)
            .unwrap()
            .html;
        for fetching in ["src=", "<img", "<script", "@import", "url(", "<link"] {
            assert!(!html.contains(fetching), "{fetching}");
        }
    }

    #[test]
    fn what_nobody_gave_is_a_mistake() {
        let texts = Texts::load().unwrap();
        let without = Filling {
            address: None,
            ..FILLING
        };
        let render = |filling| texts.render(Template::EmailChangeNotice, Language::English, filling);
        assert!(render(&FILLING).is_ok());
        assert!(render(&without).is_err());
    }

    #[test]
    fn the_mails_read_well() {
        let texts = Texts::load().unwrap();
        let all = Language::ALL.map(|language| {
            let mails = Template::ALL.map(|template| texts.render(template, language, &FILLING).unwrap());
            mails
                .map(|mail| format!("Subject: {}\n\n{}", mail.subject, mail.text))
                .join("\n=====\n\n")
        });
        insta::assert_snapshot!(all.join("\n=====\n\n"));
    }
}
