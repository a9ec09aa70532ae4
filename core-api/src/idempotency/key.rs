//! The header (draft-ietf-httpapi-idempotency-key-header §2): an sf-string, or the same without the quotes.

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::request::Parts;
use problem::Problem;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{ObjectBuilder, Required, schema::Type};

use super::{KEY_MALFORMED, KEY_REQUIRED};

const NAME: &str = "idempotency-key";
const MAX_CHARS: usize = 255;

/// A client's name for one request: 1 to 255 characters of printable ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdempotencyKey(String);

/// An [`IdempotencyKey`] that may be absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OptionalIdempotencyKey(pub(crate) Option<IdempotencyKey>);

/// A header that is there and is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Malformed;

impl From<Malformed> for Problem {
    fn from(Malformed: Malformed) -> Self {
        Self::new(KEY_MALFORMED).detail("give one key of 1 to 255 visible ASCII characters")
    }
}

impl IdempotencyKey {
    /// The key without quotes and escapes.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads a field value: `"…"` with `\"` and `\\` escaped (RFC 9651 §3.3.3), or a bare run of visible characters
    /// without quotes, backslashes, commas and semicolons. Both spellings of one key are the same key.
    fn parse(value: &str) -> Option<Self> {
        let key = match value.strip_prefix('"') {
            Some(rest) => unquote(rest)?,
            None if value
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"\"\\,;".contains(&byte)) =>
            {
                value.to_owned()
            }
            None => return None,
        };
        (1..=MAX_CHARS).contains(&key.len()).then_some(Self(key))
    }

    /// The key of a request, if it has one.
    fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, Malformed> {
        let mut values = headers.get_all(NAME).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let key = value.to_str().ok().map(str::trim).and_then(Self::parse);
        match (key, values.next()) {
            (Some(key), None) => Ok(Some(key)),
            _ => Err(Malformed),
        }
    }
}

fn unquote(rest: &str) -> Option<String> {
    let mut key = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(key),
            '\\' => key.push(chars.next().filter(|escaped| matches!(escaped, '"' | '\\'))?),
            other if (' '..='~').contains(&other) => key.push(other),
            _ => return None,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::from_headers(&parts.headers)?.ok_or_else(|| {
            Problem::new(KEY_REQUIRED).detail("send a new Idempotency-Key with every new request")
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OptionalIdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self(IdempotencyKey::from_headers(&parts.headers)?))
    }
}

const FOR_A_DAY: &str = "Sent again with the same request within 24 hours, it gets the same answer again.";
const FOR_A_MINUTE: &str = "Sent again with the same request within 60 seconds, it gets the same tokens again as long as the new \
                            refresh token is unused; later, it ends the session like any other use of a used token.";

fn parameter(required: bool, promise: &str) -> Parameter {
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(if required { Required::True } else { Required::False })
        .description(Some(format!(
            "Names this request: 1 to 255 visible ASCII characters, new for every new request. {promise}"
        )))
        .schema(Some(
            ObjectBuilder::new()
                .schema_type(Type::String)
                .pattern(Some(r"^[!#-+\--:<-\[\]-~]{1,255}$"))
                .min_length(Some(1))
                .max_length(Some(MAX_CHARS)),
        ))
        .example(Some("b7c0a9d2-5a52-4c0e-9d0e-6f1f7f0e8a31".into()))
        .build()
}

impl IntoParams for IdempotencyKey {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![parameter(true, FOR_A_DAY)]
    }
}

impl IntoParams for OptionalIdempotencyKey {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![parameter(false, FOR_A_DAY)]
    }
}

/// The parameter of a refresh, whose answer is kept for a minute: [`OptionalIdempotencyKey`] reads it.
pub(crate) struct RefreshKey;

impl IntoParams for RefreshKey {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![parameter(false, FOR_A_MINUTE)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    #[test]
    fn both_spellings_of_a_key_are_one_key() {
        for (value, wanted) in [
            ("abc-123", Some("abc-123")),
            ("\"abc-123\"", Some("abc-123")),
            (r#""a \"b\" \\c""#, Some(r#"a "b" \c"#)),
            ("\"\"", None),
            ("", None),
            ("a b", None),
            ("\"a", None),
            ("\"a\"b", None),
            ("a\"b", None),
            (r#""a\b""#, None),
            ("a,b", None),
            ("a;b", None),
        ] {
            assert_eq!(
                IdempotencyKey::parse(value).as_ref().map(IdempotencyKey::as_str),
                wanted,
                "{value}"
            );
        }
        assert!(IdempotencyKey::parse(&"k".repeat(255)).is_some());
        assert!(IdempotencyKey::parse(&"k".repeat(256)).is_none());
    }

    #[test]
    fn two_keys_or_bytes_beyond_ascii_are_malformed() {
        let mut headers = HeaderMap::new();
        assert_eq!(IdempotencyKey::from_headers(&headers), Ok(None));
        headers.append(NAME, HeaderValue::from_static("one"));
        assert!(IdempotencyKey::from_headers(&headers).is_ok_and(|key| key.is_some()));
        headers.append(NAME, HeaderValue::from_static("two"));
        assert_eq!(IdempotencyKey::from_headers(&headers), Err(Malformed));
        let headers = HeaderMap::from_iter([(
            "idempotency-key".parse().unwrap(),
            HeaderValue::from_bytes(&[0xff]).unwrap(),
        )]);
        assert_eq!(IdempotencyKey::from_headers(&headers), Err(Malformed));
    }

    proptest! {
        #[test]
        fn a_key_can_be_stored_as_it_is(value in "\\PC{0,300}") {
            if let Some(key) = IdempotencyKey::parse(&value) {
                prop_assert!((1..=255).contains(&key.as_str().len()));
                prop_assert!(key.as_str().bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            }
        }
    }
}
