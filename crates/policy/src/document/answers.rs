//! What a route does with good answers: `cache`, `compress`.

use crate::{
    diagnostic::{Findings, code},
    language,
    plan::{Cache, CacheKey, Compression},
    read::{At, Field, Mapping},
};
use std::time::Duration;

const LONGEST_KEPT: Duration = Duration::from_hours(24);
/// Bodies are kept in memory.
const LARGEST_KEPT: u64 = 1024 * 1024;
const MOST_OVER: u64 = 1024 * 1024;

/// Both as written.
#[derive(Debug, Clone)]
pub(crate) struct AnswersDocument {
    pub(crate) cache: Option<At<Cache>>,
    pub(crate) compression: Option<At<Compression>>,
}

impl AnswersDocument {
    /// Reads both from a route.
    pub(super) fn read(route: &Mapping<'_>, findings: &mut Findings) -> Self {
        let cache = route.optional("cache");
        let compression = route.optional("compress");
        Self {
            cache: cache.and_then(|field| self::cache(&field, findings)),
            compression: compression.and_then(|field| self::compression(&field, findings)),
        }
    }
}

fn cache(field: &Field<'_>, findings: &mut Findings) -> Option<At<Cache>> {
    let cache = Mapping::open(field, language::CACHE, findings)?;
    let time = cache
        .key("for", findings)
        .and_then(|field| field.duration(LONGEST_KEPT, findings));
    let key = cache.key("key", findings).and_then(|field| {
        let choices = [("principal", CacheKey::Principal), ("public", CacheKey::Public)];
        field.choice(&choices, findings)
    });
    let largest = cache
        .key("largest", findings)
        .and_then(|field| field.size(LARGEST_KEPT, findings));
    Some(At {
        value: Cache {
            time: time?.value,
            key: key?.value,
            largest: largest?.value,
        },
        at: field.key_at,
    })
}

fn compression(field: &Field<'_>, findings: &mut Findings) -> Option<At<Compression>> {
    let compress = Mapping::open(field, language::COMPRESS, findings)?;
    let over = compress
        .key("over", findings)
        .and_then(|field| field.size(MOST_OVER, findings));
    let types = compress
        .key("types", findings)
        .and_then(|field| field.list(findings, content_type));
    Some(At {
        value: Compression {
            over: over?.value,
            types: types?.into_iter().map(|written| written.value).collect(),
        },
        at: field.key_at,
    })
}

fn content_type(item: &Field<'_>, findings: &mut Findings) -> Option<At<String>> {
    let text = item.text(findings)?;
    // RFC 6838 §4.2, in the one spelling that is compared.
    let is_name = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$&-^_.+".contains(&byte)
            })
    };
    let is_type = text
        .value
        .split_once('/')
        .is_some_and(|(kind, name)| is_name(kind) && is_name(name));
    if is_type {
        return Some(text);
    }
    findings
        .error(
            code::BAD_TEXT,
            text.at,
            format!("`{}` is not a content type", text.value),
        )
        .why("nothing would ever be compressed for it")
        .fix("lower case, without parameters and wildcards: `application/json`");
    None
}
