//! `headers`: named profiles of what every answer carries and never carries.

use crate::{
    diagnostic::{Findings, Span, code},
    language,
    read::{At, Field, Mapping, header_name},
    suggest,
};
use http::{HeaderName, HeaderValue};

/// One profile as written.
#[derive(Debug, Clone)]
pub(crate) struct ProfileDocument {
    pub(crate) set: Vec<(At<HeaderName>, HeaderValue)>,
    pub(crate) remove: Vec<At<HeaderName>>,
}

/// Fields that belong to the gateway or to the message itself: a profile cannot touch them.
const NOT_FOR_PROFILES: [&str; 18] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "keep-alive",
    "location",
    "proxy-authenticate",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "www-authenticate",
];

/// Fields that protect: a name that is one slip away from one of them protects nothing.
const PROTECTING: [&str; 14] = [
    "cache-control",
    "clear-site-data",
    "content-security-policy",
    "content-security-policy-report-only",
    "cross-origin-embedder-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "origin-agent-cluster",
    "permissions-policy",
    "referrer-policy",
    "strict-transport-security",
    "x-content-type-options",
    "x-frame-options",
    "x-permitted-cross-domain-policies",
];

/// Most fields that one profile sets, and most that it removes.
const MOST_FIELDS: usize = 64;

impl ProfileDocument {
    /// Reads one profile.
    pub(crate) fn read(field: &Field<'_>, findings: &mut Findings) -> Option<Self> {
        let profile = Mapping::open(field, language::HEADERS, findings)?;
        let set = profile
            .key("set", findings)
            .and_then(|field| set(&field, findings));
        let remove = profile.key("remove", findings).and_then(|field| {
            field
                .list(findings, removable)
                .filter(|list| is_short(list.len(), &field, findings).is_some())
        });
        let (set, remove) = (set?, remove?);
        let before = findings.len();
        for name in &remove {
            if let Some((also_set, _)) = set.iter().find(|(set, _)| set.value == name.value) {
                findings
                    .error(
                        code::NO_EFFECT,
                        name.at,
                        format!("`{}` is both set and removed", name.value),
                    )
                    .why("one of the two would have no effect")
                    .fix("keep one of them")
                    .related(also_set.at, "set here");
            }
        }
        (findings.len() == before).then_some(Self { set, remove })
    }
}

/// Reports a name that is one slip away from a field that protects.
fn is_slip(name: &HeaderName, at: Span, findings: &mut Findings) -> bool {
    let mut meant = PROTECTING
        .iter()
        .filter(|meant| suggest::is_one_slip(name.as_str(), meant));
    let Some(meant) = meant.next().filter(|_| !PROTECTING.contains(&name.as_str())) else {
        return false;
    };
    findings
        .error(
            code::BAD_HEADER,
            at,
            format!("`{name}` is no header that a browser knows"),
        )
        .why("what it is to protect would be open, and it would look protected")
        .fix(format!("did you mean `{meant}`?"));
    true
}

fn set(field: &Field<'_>, findings: &mut Findings) -> Option<Vec<(At<HeaderName>, HeaderValue)>> {
    let before = findings.len();
    is_short(field.pairs(findings).len(), field, findings)?;
    let mut fields: Vec<(At<HeaderName>, HeaderValue)> = Vec::new();
    for (key, field) in field.pairs(findings) {
        let name = header_name(&key, findings)
            .filter(|name| is_for_profiles(name, key.at, findings) && !is_slip(name, key.at, findings));
        let value = field.header_value(findings);
        let Some((name, value)) = name.zip(value) else {
            continue;
        };
        if let Some((first, _)) = fields.iter().find(|(first, _)| first.value == name) {
            findings
                .error(
                    code::DUPLICATE_KEY,
                    key.at,
                    format!("`{}` is set twice", key.value),
                )
                .why("one of the two would silently lose; header names ignore case")
                .fix("keep one of them")
                .related(first.at, "first set here");
            continue;
        }
        fields.push((
            At {
                value: name,
                at: key.at,
            },
            value.value,
        ));
    }
    if fields.is_empty() && findings.len() == before {
        findings
            .error(code::BAD_LIST, field.key_at, format!("{} is empty", field.path))
            .why("a profile that sets nothing protects nothing")
            .fix("write at least one header");
    }
    (findings.len() == before).then_some(fields)
}

fn is_short(fields: usize, field: &Field<'_>, findings: &mut Findings) -> Option<()> {
    if fields > MOST_FIELDS {
        findings
            .error(
                code::BAD_LIST,
                field.key_at,
                format!("{} has more than {MOST_FIELDS} fields", field.path),
            )
            .why("every answer carries and is searched for all of them")
            .fix("remove those that no browser and no server knows");
        return None;
    }
    Some(())
}

fn removable(field: &Field<'_>, findings: &mut Findings) -> Option<At<HeaderName>> {
    let name = field.header_name(findings)?;
    is_for_profiles(&name.value, name.at, findings).then_some(name)
}

fn is_for_profiles(name: &HeaderName, at: Span, findings: &mut Findings) -> bool {
    let allowed = !NOT_FOR_PROFILES.contains(&name.as_str()) && !name.as_str().starts_with("access-control-");
    if !allowed {
        findings
            .error(code::BAD_HEADER, at, format!("a profile cannot touch `{name}`"))
            .why("it frames the message or is the gateway's own answer")
            .fix("remove it here; CORS fields belong to `cors`, limits to `rate`");
    }
    allowed
}
