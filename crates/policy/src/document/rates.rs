//! `rate`: named limits, in the floor and in routes.

use crate::{
    diagnostic::{Findings, code},
    language,
    plan::{Count, RateKey},
    read::{At, Field, Mapping, Named, Rate},
};

/// One limit as written.
#[derive(Debug, Clone)]
pub(crate) struct RateDocument {
    pub(crate) rate: At<Rate>,
    pub(crate) burst: At<u64>,
    pub(crate) keys: Vec<At<RateKey>>,
    pub(crate) count: Count,
}

/// Most limits in one place.
const MOST_LIMITS: usize = 16;

/// Reads a `rate` mapping.
pub(crate) fn read(field: &Field<'_>, findings: &mut Findings) -> Vec<Named<RateDocument>> {
    let limits = field.named(findings);
    if limits.len() > MOST_LIMITS {
        findings
            .error(
                code::BAD_LIST,
                field.key_at,
                format!("{} has more than {MOST_LIMITS} limits", field.path),
            )
            .why("every request would be counted by all of them")
            .fix("keep those that would be reached first");
    }
    limits
        .into_iter()
        .map(|(name, field)| {
            let value = RateDocument::read(&field, findings);
            Named {
                name,
                at: field.key_at,
                path: field.path,
                value,
            }
        })
        .collect()
}

impl RateDocument {
    fn read(field: &Field<'_>, findings: &mut Findings) -> Option<Self> {
        let limit = Mapping::open(field, language::RATE, findings)?;
        let rate = limit
            .key("limit", findings)
            .and_then(|field| field.rate(findings));
        let burst = limit
            .key("burst", findings)
            .and_then(|field| field.number(1..=language::MOST_BURST, findings));
        let keys = limit
            .key("key", findings)
            .and_then(|field| field.list(findings, key));
        let count = limit.optional("count").map_or(Some(Count::Requests), |field| {
            let choices = [("requests", Count::Requests), ("failures", Count::Failures)];
            field.choice(&choices, findings).map(|count| count.value)
        });
        Some(Self {
            rate: rate?,
            burst: burst?,
            keys: keys?,
            count: count?,
        })
    }
}

fn key(field: &Field<'_>, findings: &mut Findings) -> Option<At<RateKey>> {
    let text = field.text(findings)?;
    let key = match text.value.as_str() {
        "address" => Some(RateKey::Address),
        "subject" => Some(RateKey::Subject),
        other => other
            .strip_prefix("body.")
            .filter(|pointer| pointer.len() <= 128 && is_pointer(pointer))
            .map(|pointer| RateKey::Body(pointer.to_owned())),
    };
    if key.is_none() {
        let fix = match crate::suggest::nearest(&text.value, ["address", "subject"]) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`address`, `subject`, or `body.` and a JSON pointer: `body./email`".to_owned(),
        };
        findings
            .error(
                code::BAD_RATE_KEY,
                text.at,
                format!("`{}` cannot be counted by", text.value),
            )
            .why("everyone would share one counter, or have none")
            .fix(fix);
    }
    key.map(|value| At { value, at: text.at })
}

/// A JSON pointer (RFC 6901 §3) to a member with a name.
fn is_pointer(pointer: &str) -> bool {
    let is_escaped = |part: &str| part.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    pointer
        .strip_prefix('/')
        .is_some_and(|rest| rest.split('/').all(|part| !part.is_empty() && is_escaped(part)))
}
