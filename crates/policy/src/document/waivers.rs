//! `waivers`: exceptions from a rule, at one key, with a reason and a last day.

use crate::{
    Date, audit,
    diagnostic::{self, Findings, code},
    language,
    read::{At, Field, Mapping},
    suggest,
};

/// One waiver as written.
#[derive(Debug, Clone)]
pub(crate) struct WaiverDocument {
    pub(crate) rule: At<String>,
    /// The key that the finding is about.
    pub(crate) key: At<String>,
    pub(crate) because: At<String>,
    pub(crate) until: At<Date>,
}

/// Findings of the compiler that are about a bound of this bundle, not about what the bundle means.
const WAIVABLE: [&str; 4] = [
    code::LOOSER_THAN_FLOOR,
    code::DROPS_FLOOR_HEADER,
    code::WEAKENS_FLOOR_HEADER,
    code::COMPRESSES_SECRETS,
];

/// Sizes that the gateway checks before it can know the route.
const BEFORE_ANY_ROUTE: [&str; 3] = [".limits.head", ".limits.headers", ".limits.target"];

impl WaiverDocument {
    /// Reads one waiver.
    pub(crate) fn read(field: &Field<'_>, findings: &mut Findings) -> Option<Self> {
        let waiver = Mapping::open(field, language::WAIVER, findings)?;
        let rule = waiver
            .key("rule", findings)
            .and_then(|field| rule(&field, findings));
        let key = waiver
            .key("at", findings)
            .and_then(|field| field.word("a key", |byte| byte.is_ascii_graphic(), findings));
        let because = waiver
            .key("because", findings)
            .and_then(|field| field.reason(findings));
        let until = waiver.key("until", findings).and_then(|field| {
            let fix = "year, month and day of the last day: `2027-01-31`";
            field.date(("an exception without a last day stays for ever", fix), findings)
        });
        let (rule, key) = (rule?, key?);
        if rule.value == code::LOOSER_THAN_FLOOR
            && BEFORE_ANY_ROUTE.iter().any(|size| key.value.ends_with(size))
        {
            findings
                .error(
                    code::NOT_WAIVABLE,
                    key.at,
                    format!("`{}` cannot be waived", key.value),
                )
                .why("the head is read before a route is known, so the floor's size holds for every route")
                .fix("keep within the floor, or raise the floor for all");
            return None;
        }
        Some(Self {
            rule,
            key,
            because: because?,
            until: until?,
        })
    }

    /// Whether it is about a finding of the compiler, not of the audit.
    pub(crate) fn is_of_compiler(&self) -> bool {
        WAIVABLE.contains(&self.rule.value.as_str())
    }
}

fn rule(field: &Field<'_>, findings: &mut Findings) -> Option<At<String>> {
    let text = field.text(findings)?;
    let of_audit = || audit::rules().filter(|rule| rule.is_waivable).map(|rule| rule.id);
    if of_audit().chain(WAIVABLE).any(|id| id == text.value) {
        return Some(text);
    }
    let known = diagnostic::title(&text.value).or_else(|| {
        let rule = audit::rules().find(|rule| rule.id == text.value)?;
        Some(rule.title)
    });
    let (message, why) = match known {
        Some(title) => (
            format!("`{}` ({title}) cannot be waived", text.value),
            "only a bound can be stretched for a while; everything else means something else, or nothing",
        ),
        None => (
            format!("there is no rule `{}`", text.value),
            "a waiver of nothing looks like a decision and is none",
        ),
    };
    let near = if known.is_none() {
        suggest::nearest(&text.value, of_audit().chain(WAIVABLE))
    } else {
        None
    };
    let fix = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!(
            "{}, or a rule of `portico policy audit`, such as `A1001`",
            WAIVABLE.map(|code| format!("`{code}`")).join(", ")
        ),
    };
    findings
        .error(code::NOT_WAIVABLE, text.at, message)
        .why(why)
        .fix(fix);
    None
}
