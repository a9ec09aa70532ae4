//! Parameters in the path, the query and the header: text that is read as what its schema is about.

use super::{check::Check, fault::Place, operation::Parts, schema::Id, types::Types};
use crate::json::Json;
use http::HeaderMap;
use std::borrow::Cow;

/// One parameter.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) is_required: bool,
    pub(super) schema: Id,
    pub(super) reads: Reads,
}

/// What its text is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    Text,
    /// A number as JSON writes it; anything else stays text, and is refused as such.
    Number,
    Boolean,
}

impl Reads {
    /// What text is read as for a schema of these types; `None` for lists, objects and nothing at all.
    pub(super) fn for_types(types: Types) -> Option<Self> {
        if types.meets(Types::LIST.or(Types::MAP)) && types != Types::ANY {
            return None;
        }
        let kinds = [
            (Types::TEXT, Self::Text),
            (Types::NUMBER, Self::Number),
            (Types::BOOLEAN, Self::Boolean),
        ];
        kinds
            .into_iter()
            .find(|(kind, _)| types.meets(*kind))
            .map(|(_, reads)| reads)
    }

    pub(super) fn read(self, text: Cow<'_, str>) -> Json<'_> {
        let other = match self {
            Self::Text => None,
            Self::Number => text.parse().ok().map(Json::Number),
            Self::Boolean => text.parse().ok().map(Json::Bool),
        };
        other.unwrap_or(Json::Text(text))
    }
}

static PATH: Place<'_> = Place::Name(&Place::Root, "path");
static QUERY: Place<'_> = Place::Name(&Place::Root, "query");
static HEADER: Place<'_> = Place::Name(&Place::Root, "header");

impl Parameter {
    fn check(&self, text: Option<Cow<'_, str>>, above: &Place<'_>, check: &mut Check<'_>) {
        let place = Place::Name(above, &self.name);
        match text {
            Some(text) => {
                check.value(self.schema, &self.reads.read(text), &place);
            }
            None => check.fault(&place, "malformed", "has an escape that is none, or is not UTF-8"),
        }
    }

    fn is_missing(&self, above: &Place<'_>, check: &mut Check<'_>) {
        if self.is_required {
            check.fault(
                &Place::Name(above, &self.name),
                "missing_parameter",
                "is required",
            );
        }
    }
}

impl Parts {
    /// Checks every parameter; what is wrong is noted.
    pub(super) fn check_parameters(
        &self,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
        check: &mut Check<'_>,
    ) {
        for (part, parameter) in &self.path {
            match path.split('/').nth(*part) {
                Some(text) => parameter.check(unescaped(text), &PATH, check),
                None => parameter.is_missing(&PATH, check),
            }
        }
        self.check_query(query.unwrap_or_default(), check);
        for (field, parameter) in &self.headers {
            let mut values = headers.get_all(field).iter();
            match (values.next(), values.next()) {
                (None, _) => parameter.is_missing(&HEADER, check),
                (Some(_), Some(_)) => {
                    check.fault(
                        &Place::Name(&HEADER, &parameter.name),
                        "repeated",
                        "may be given once",
                    );
                }
                (Some(value), None) => {
                    parameter.check(value.to_str().ok().map(Cow::Borrowed), &HEADER, check);
                }
            }
        }
    }

    /// `application/x-www-form-urlencoded`. A parameter that is unknown, or comes twice, is one that a service may read
    /// otherwise than whoever looked at it before.
    fn check_query(&self, query: &str, check: &mut Check<'_>) {
        let mut seen = 0_u64;
        for pair in query.split('&').filter(|_| !query.is_empty()) {
            if check.is_full() {
                return;
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = form_decoded(name);
            let known = self
                .query
                .iter()
                .zip(0_u32..)
                .find(|(known, _)| Some(known.name.as_str()) == name.as_deref());
            let Some((parameter, number)) = known else {
                let name = name.unwrap_or_default();
                let detail = "is not a parameter of this operation";
                check.fault(&Place::Name(&QUERY, &name), "unknown_parameter", detail);
                continue;
            };
            let bit = 1_u64.checked_shl(number).unwrap_or_default();
            if seen & bit != 0 {
                check.fault(
                    &Place::Name(&QUERY, &parameter.name),
                    "repeated",
                    "may be given once",
                );
                continue;
            }
            seen |= bit;
            parameter.check(form_decoded(value), &QUERY, check);
        }
        for (parameter, number) in self.query.iter().zip(0_u32..) {
            if seen & 1_u64.checked_shl(number).unwrap_or_default() == 0 {
                parameter.is_missing(&QUERY, check);
            }
        }
    }
}

/// A name or a value of `application/x-www-form-urlencoded`; `None` when an escape is none, or it is not UTF-8.
pub(super) fn form_decoded(text: &str) -> Option<Cow<'_, str>> {
    if text.contains('+') {
        unescaped(&text.replace('+', " ")).map(|text| Cow::Owned(text.into_owned()))
    } else {
        unescaped(text)
    }
}

/// Without percent-escapes; `None` when one of them is none, or they are not UTF-8.
fn unescaped(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next()?.as_bytes());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        let is_escape = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| is_escape)?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}
