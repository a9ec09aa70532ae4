//! What pages are made of: one layout, a template for each page, and the texts of each language.

use anyhow::Context as _;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Datelike as _, Utc};
use fluent_bundle::FluentArgs;
use http::{HeaderValue, StatusCode, header};
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, context};
use problem::Problem;

use super::assets;
use super::faults::Faults;
use crate::languages::{Language, Texts};

/// The templates by their names.
pub(super) const TEMPLATES: [(&str, &str); 18] = [
    ("layout.html", include_str!("templates/layout.html")),
    ("token.html", include_str!("templates/token.html")),
    ("form.html", include_str!("templates/form.html")),
    ("program.html", include_str!("templates/program.html")),
    ("log_in.html", include_str!("templates/log_in.html")),
    ("second_factor.html", include_str!("templates/second_factor.html")),
    ("passkey.html", include_str!("templates/passkey.html")),
    ("register.html", include_str!("templates/register.html")),
    ("address.html", include_str!("templates/address.html")),
    ("ticket.html", include_str!("templates/ticket.html")),
    ("reset.html", include_str!("templates/reset.html")),
    ("security.html", include_str!("templates/security.html")),
    ("password.html", include_str!("templates/password.html")),
    ("authenticator.html", include_str!("templates/authenticator.html")),
    ("secret.html", include_str!("templates/secret.html")),
    (
        "recovery_codes.html",
        include_str!("templates/recovery_codes.html"),
    ),
    ("add_passkey.html", include_str!("templates/add_passkey.html")),
    ("trouble.html", include_str!("templates/trouble.html")),
];

/// All pages in all languages.
#[derive(Debug)]
pub(in crate::identity) struct Pages {
    bank: String,
    editions: Vec<Edition>,
}

/// The pages in one language.
#[derive(Debug)]
struct Edition {
    language: Language,
    environment: Environment<'static>,
    texts: std::sync::Arc<Texts>,
}

/// What a page shows.
pub(super) struct Page {
    pub(super) template: &'static str,
    /// The title's message.
    pub(super) title: &'static str,
    pub(super) status: StatusCode,
    pub(super) faults: Faults,
    /// What else the template asks for.
    pub(super) filling: Value,
}

impl Page {
    /// A page without faults.
    pub(super) fn new(template: &'static str, title: &'static str) -> Self {
        Self {
            template,
            title,
            status: StatusCode::OK,
            faults: Faults::default(),
            filling: context! {},
        }
    }

    /// The same with what its template asks for.
    pub(super) fn with(mut self, filling: Value) -> Self {
        self.filling = filling;
        self
    }

    /// The same, in answer to a form that was refused.
    pub(super) fn refused(mut self, status: StatusCode, faults: Faults) -> Self {
        self.status = status;
        self.faults = faults;
        self
    }
}

/// Who reads a page, and what the layout needs to know.
pub(super) struct Reader<'a> {
    pub(super) language: Language,
    /// The token of the page's forms.
    pub(super) form_token: &'a str,
    /// Where to come back to after another language was chosen.
    pub(super) path: &'a str,
    /// The message of something that was done.
    pub(super) said: Option<&'static str>,
    pub(super) is_signed_in: bool,
}

impl Pages {
    /// Reads every template and every text.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub(in crate::identity) fn new(bank: &str) -> anyhow::Result<Self> {
        let edition = |language| -> anyhow::Result<Edition> {
            let texts = std::sync::Arc::new(Texts::read(language)?);
            Ok(Edition {
                language,
                environment: environment(&texts)?,
                texts,
            })
        };
        Ok(Self {
            bank: bank.to_owned(),
            editions: Language::ALL.into_iter().map(edition).collect::<Result<_, _>>()?,
        })
    }

    fn edition(&self, language: Language) -> Option<&Edition> {
        self.editions.iter().find(|edition| edition.language == language)
    }

    /// The texts of a language.
    pub(super) fn texts(&self, language: Language) -> Option<&Texts> {
        self.edition(language).map(|edition| edition.texts.as_ref())
    }

    /// Writes a page.
    pub(super) fn answer(&self, reader: &Reader<'_>, page: &Page) -> Response {
        match self.html(reader, page) {
            Ok(html) => {
                let fields = [
                    (
                        header::CONTENT_TYPE,
                        HeaderValue::from_static("text/html; charset=utf-8"),
                    ),
                    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
                    (
                        header::CONTENT_LANGUAGE,
                        HeaderValue::from_static(reader.language.as_str()),
                    ),
                ];
                (page.status, fields, html).into_response()
            }
            Err(error) => Problem::internal(error).into_response(),
        }
    }

    fn html(&self, reader: &Reader<'_>, page: &Page) -> anyhow::Result<String> {
        let edition = self.edition(reader.language).context("no such language")?;
        let languages: Vec<_> = Language::ALL
            .into_iter()
            .map(|language| {
                let is_current = language == reader.language;
                context! { code => language.as_str(), name => language.own_name(), is_current }
            })
            .collect();
        let frame = context! {
            bank => self.bank,
            language => reader.language.as_str(),
            languages,
            form_token => reader.form_token,
            path => reader.path,
            said => reader.said,
            is_signed_in => reader.is_signed_in,
            title => page.title,
            faults => Value::from_serialize(&page.faults),
            styles => Value::from_safe_string(assets::STYLES.path()),
            script => Value::from_safe_string(assets::SCRIPT.path()),
            icon => Value::from_safe_string(assets::ICON.path()),
            ..page.filling.clone()
        };
        Ok(edition.environment.get_template(page.template)?.render(frame)?)
    }
}

fn environment(texts: &std::sync::Arc<Texts>) -> anyhow::Result<Environment<'static>> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    for (name, source) in TEMPLATES {
        environment.add_template(name, source)?;
    }
    let said = std::sync::Arc::clone(texts);
    environment.add_function("t", move |key: &str, variables: Kwargs| {
        let arguments = arguments(&variables)?;
        said.say(key, &arguments)
            .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, format!("cannot say {key}")))
    });
    Ok(environment)
}

/// What a message is filled with: texts and whole numbers.
fn arguments(variables: &Kwargs) -> Result<FluentArgs<'static>, Error> {
    let mut arguments = FluentArgs::new();
    for name in variables.args() {
        let value: Value = variables.get(name)?;
        match i64::try_from(value.clone()) {
            Ok(number) => arguments.set(name.to_owned(), number),
            Err(_) => arguments.set(name.to_owned(), value.to_string()),
        }
    }
    Ok(arguments)
}

/// A moment as templates read it, for the message `moment` and for machines.
pub(super) fn moment(at: DateTime<Utc>) -> Value {
    context! {
        machine => at.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        day => at.day(),
        month => at.month(),
        year => at.year().to_string(),
        time => at.format("%H:%M").to_string(),
    }
}
