//! `cors`: which other origins may read answers in a browser (Fetch standard, CORS protocol).

use crate::{
    diagnostic::{Findings, code},
    language,
    read::{At, Field, Mapping},
};
use http::{HeaderName, Method};
use std::time::Duration;

/// One CORS profile as written.
#[derive(Debug, Clone)]
pub(crate) struct CorsDocument {
    pub(crate) origins: Vec<At<String>>,
    pub(crate) methods: Vec<Method>,
    pub(crate) headers: Vec<HeaderName>,
    pub(crate) expose: Vec<HeaderName>,
    pub(crate) credentials: bool,
    pub(crate) max_age: Duration,
}

impl CorsDocument {
    /// Reads one profile.
    pub(crate) fn read(field: &Field<'_>, findings: &mut Findings) -> Option<Self> {
        let cors = Mapping::open(field, language::CORS, findings)?;
        let origins = cors
            .key("origins", findings)
            .and_then(|field| field.list(findings, Field::origin));
        let methods = cors
            .key("methods", findings)
            .and_then(|field| field.list(findings, method));
        let headers = cors
            .key("headers", findings)
            .and_then(|field| field.list(findings, Field::header_name));
        let expose = cors
            .key("expose", findings)
            .and_then(|field| field.list(findings, exposed));
        let credentials = cors
            .optional("credentials")
            .map_or(Some(None), |field| field.boolean(findings).map(Some));
        let max_age = cors
            .key("max_age", findings)
            .and_then(|field| field.seconds(Duration::from_secs(1)..=Duration::from_hours(24), findings));
        let (origins, credentials) = (origins?, credentials?);
        check_wildcard(&origins, credentials.as_ref(), findings)?;
        Some(Self {
            origins,
            methods: methods?.into_iter().map(|item| item.value).collect(),
            headers: headers?.into_iter().map(|item| item.value).collect(),
            expose: expose?.into_iter().map(|item| item.value).collect(),
            credentials: credentials.is_some_and(|credentials| credentials.value),
            max_age: max_age?.value,
        })
    }
}

/// A field that a page may be given; cookies never are (Fetch standard, forbidden response-header name).
fn exposed(field: &Field<'_>, findings: &mut Findings) -> Option<At<HeaderName>> {
    let name = field.header_name(findings)?;
    if ["set-cookie", "set-cookie2"].contains(&name.value.as_str()) {
        findings
            .error(
                code::BAD_HEADER,
                name.at,
                format!("no page can be given `{}`", name.value),
            )
            .why("every browser hides it, so it would have no effect")
            .fix("remove it");
        return None;
    }
    Some(name)
}

fn check_wildcard(
    origins: &[At<String>],
    credentials: Option<&At<bool>>,
    findings: &mut Findings,
) -> Option<()> {
    let Some(anyone) = origins.iter().find(|origin| origin.value == "*") else {
        return Some(());
    };
    if origins.len() > 1 {
        findings
            .error(code::NO_EFFECT, anyone.at, "`*` beside other origins")
            .why("the others would have no effect")
            .fix("write `*` alone, or only exact origins");
        return None;
    }
    if let Some(credentials) = credentials.filter(|credentials| credentials.value) {
        findings
            .error(
                code::CREDENTIALS_FOR_ANYONE,
                credentials.at,
                "credentials for any origin",
            )
            .why("every web site could act as the signed-in user; browsers refuse it too")
            .fix("list exact origins, or remove `credentials`")
            .related(anyone.at, "any origin here");
        return None;
    }
    Some(())
}

fn method(field: &Field<'_>, findings: &mut Findings) -> Option<At<Method>> {
    let choices = [
        ("GET", Some(Method::GET)),
        ("HEAD", Some(Method::HEAD)),
        ("POST", Some(Method::POST)),
        ("PUT", Some(Method::PUT)),
        ("PATCH", Some(Method::PATCH)),
        ("DELETE", Some(Method::DELETE)),
    ];
    let words: Vec<(&str, usize)> = choices
        .iter()
        .enumerate()
        .map(|(index, (word, _))| (*word, index))
        .collect();
    let chosen = field.choice(&words, findings)?;
    let method = choices.get(chosen.value).and_then(|(_, method)| method.clone())?;
    Some(At {
        value: method,
        at: chosen.at,
    })
}
