//! What was wrong with a form, in the reader's language: beside the field where it is the field's, above the form otherwise.

use std::collections::BTreeMap;

use fluent_bundle::FluentArgs;
use http::header;
use problem::{FieldError, Problem};
use serde::Serialize;

use crate::languages::Texts;

/// Faults as templates read them.
#[derive(Debug, Default, Serialize)]
pub(super) struct Faults {
    /// Of the form as a whole.
    pub(super) form: Option<String>,
    /// Of fields, by their names.
    pub(super) fields: BTreeMap<String, Vec<String>>,
    /// The field that gets the focus: the one that was found wrong first.
    pub(super) first: Option<String>,
}

impl Faults {
    /// What a use case refused, in words.
    pub(super) fn of(problem: &Problem, texts: &Texts) -> Self {
        let document = problem.to_document(None);
        let mut faults = Self::default();
        for error in &document.errors {
            let field = error.pointer.trim_start_matches('/').to_owned();
            faults.first.get_or_insert_with(|| field.clone());
            let list = faults.fields.entry(field).or_default();
            list.push(said_of_field(error, texts));
        }
        if faults.fields.is_empty() {
            faults.form = Some(said_of_form(problem, texts));
        }
        faults
    }
}

impl Faults {
    /// The same where no field is shown: all of it stands above.
    pub(super) fn above(mut self) -> Self {
        let of_fields: Vec<String> = std::mem::take(&mut self.fields).into_values().flatten().collect();
        Self {
            form: self.form.or_else(|| Some(of_fields.join(" "))),
            ..Self::default()
        }
    }
}

/// A message without variables; what nobody has written a message for is told in general.
fn say(texts: &Texts, key: &str) -> String {
    let none = FluentArgs::new();
    texts
        .say(key, &none)
        .or_else(|| texts.say("problem-other", &none))
        .unwrap_or_default()
}

fn said_of_field(error: &FieldError, texts: &Texts) -> String {
    let key = match (error.code.as_str(), error.pointer.as_str()) {
        ("low_diversity", _) if error.params.is_empty() => "fault-letters_and_digits".to_owned(),
        ("invalid_value" | "missing_field", pointer) => {
            format!("fault-{}", pointer.trim_start_matches('/'))
        }
        (code, _) => format!("fault-{code}"),
    };
    let mut arguments = FluentArgs::new();
    for (name, value) in &error.params {
        arguments.set(name.clone(), value.as_i64().unwrap_or_default());
    }
    texts
        .say(&key, &arguments)
        .unwrap_or_else(|| say(texts, "fault-other"))
}

fn said_of_form(problem: &Problem, texts: &Texts) -> String {
    let key = format!("problem-{}", problem.kind().slug());
    let said = if texts.has(&key) {
        say(texts, &key)
    } else {
        say(texts, "problem-other")
    };
    match wait(problem, texts) {
        Some(wait) => format!("{said} {wait}"),
        None => said,
    }
}

/// When to try again, where the answer says it.
fn wait(problem: &Problem, texts: &Texts) -> Option<String> {
    let seconds: i64 = problem
        .headers()
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .parse()
        .ok()?;
    let (key, number) = match seconds {
        ..=90 => ("wait-seconds", seconds),
        91..=5_400 => ("wait-minutes", seconds.saturating_add(59) / 60),
        _ => ("wait-hours", seconds.saturating_add(3_599) / 3_600),
    };
    let mut arguments = FluentArgs::new();
    arguments.set("number", number);
    texts.say(key, &arguments)
}
