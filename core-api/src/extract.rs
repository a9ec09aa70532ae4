//! Extractors whose rejections are problem documents (RFC 9457). The ones of axum answer with plain text.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use problem::{FieldError, Problem, catalogue};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_path_to_error::{Path as ErrorPath, Segment};

/// The largest request body, in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024;

/// A JSON body, in or out.
#[derive(Debug, Clone)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T, S> FromRequest<S> for Json<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = json_body(request, state).await?;
        parse(&body).map(Self).map_err(Problem::from)
    }
}

/// The body of a request that says it is JSON.
pub(crate) async fn json_body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    if !is_json(request.headers()) {
        return Err(
            Problem::new(catalogue::UNSUPPORTED_MEDIA_TYPE).detail("send the body as application/json")
        );
    }
    Bytes::from_request(request, state).await.map_err(|rejection| {
        if rejection.into_response().status() == StatusCode::PAYLOAD_TOO_LARGE {
            Problem::new(catalogue::PAYLOAD_TOO_LARGE).detail("a body has at most 65536 bytes")
        } else {
            Problem::new(catalogue::MALFORMED_REQUEST).detail("the body did not arrive whole")
        }
    })
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => (
                [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))],
                body,
            )
                .into_response(),
            Err(error) => Problem::internal(error).into_response(),
        }
    }
}

/// `application/json`, alone or with `charset=utf-8`.
fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            let (essence, parameters) = value
                .split_once(';')
                .map_or((value, None), |(essence, rest)| (essence, Some(rest)));
            essence.trim().eq_ignore_ascii_case("application/json")
                && parameters.is_none_or(|text| text.trim().eq_ignore_ascii_case("charset=utf-8"))
        })
}

/// What is wrong with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BodyFault {
    /// It is not JSON from here on.
    NotJson { line: usize, column: usize },
    /// It is JSON of another shape.
    Shape(FieldError),
}

impl From<BodyFault> for Problem {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::NotJson { line, column } => Self::new(catalogue::MALFORMED_REQUEST)
                .detail(format!("the body is not JSON: line {line}, column {column}")),
            BodyFault::Shape(error) => invalid(vec![error]),
        }
    }
}

/// Reads a body of this shape.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyFault> {
    // Serde would read a struct from an array too, member by member: past its names, and past whoever looks for them.
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        serde_json::from_slice::<IgnoredAny>(body).map_err(|error| BodyFault::NotJson {
            line: error.line(),
            column: error.column(),
        })?;
        return Err(BodyFault::Shape(FieldError::new(
            "",
            "invalid_type",
            "must be an object",
        )));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let (path, inner) = (error.path().clone(), error.into_inner());
        if inner.is_data() {
            BodyFault::Shape(shape_fault(&path, &inner.to_string()))
        } else {
            BodyFault::NotJson {
                line: inner.line(),
                column: inner.column(),
            }
        }
    })?;
    deserializer.end().map_err(|error| BodyFault::NotJson {
        line: error.line(),
        column: error.column(),
    })?;
    Ok(value)
}

/// Puts serde's finding into our words. Only what comes from our own types is repeated: the name of a member and what
/// was expected; the value a client sent is not.
fn shape_fault(path: &ErrorPath, message: &str) -> FieldError {
    let mut pointer = json_pointer(path);
    let named = message.split('`').nth(1);
    let expected = message
        .split_once("expected ")
        .and_then(|(_, rest)| rest.rsplit_once(" at line").map(|(expected, _)| expected));
    let (code, detail) = if message.starts_with("unknown field") {
        ("unknown_field", "is not a member of this request".to_owned())
    } else if message.starts_with("missing field") {
        ("missing_field", "is required".to_owned())
    } else if message.starts_with("duplicate field") {
        ("duplicate_field", "may be given once".to_owned())
    } else if message.starts_with("invalid value") {
        (
            "invalid_value",
            format!("must be {}", expected.unwrap_or("a valid value")),
        )
    } else if message.starts_with("unknown variant") {
        (
            "invalid_value",
            format!("must be {}", expected.unwrap_or("one of the listed values")),
        )
    } else {
        (
            "invalid_type",
            format!("must be {}", expected.map_or("of another type", in_words)),
        )
    };
    if let (Some(name), "unknown_field" | "missing_field" | "duplicate_field") = (named, code) {
        let last = format!("/{}", escape(name));
        if !pointer.ends_with(&last) {
            pointer.push_str(&last);
        }
    }
    FieldError::new(pointer, code, detail)
}

/// What serde calls by the names of Rust's types.
fn in_words(expected: &str) -> &str {
    match expected {
        "i64" | "u64" | "i32" | "u32" | "u16" | "u8" => "a whole number",
        "a string" | "string" => "a text",
        "a boolean" => "true or false",
        other if other.starts_with("struct ") => "an object",
        other => other,
    }
}

/// RFC 6901.
fn json_pointer(path: &ErrorPath) -> String {
    path.iter().fold(String::new(), |mut pointer, segment| {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => pointer.push_str(&format!("/{}", escape(key))),
            Segment::Enum { variant } => pointer.push_str(&format!("/{}", escape(variant))),
            Segment::Unknown => {}
        }
        pointer
    })
}

fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A path parameter. A text that is no identifier names nothing: 404, as for one that nobody has.
#[derive(Debug, Clone)]
pub(crate) struct Path<T>(pub(crate) T);

impl<T, S> FromRequestParts<S> for Path<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        #[expect(clippy::disallowed_types, reason = "its rejection is replaced here")]
        axum::extract::Path::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(value)| Self(value))
            .map_err(|_| Problem::new(catalogue::NOT_FOUND))
    }
}

/// Query parameters that an operation takes.
pub(crate) trait QueryParameters: Sized {
    /// Reads all parameters, or says everything that is wrong with them.
    fn parse(pairs: &[(String, String)]) -> Result<Self, Vec<FieldError>>;
}

/// The query of a request. Unknown and repeated parameters are refused: a typo must not change what is listed.
#[derive(Debug, Clone)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T, S> FromRequestParts<S> for Query<T>
where
    T: QueryParameters,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        #[expect(clippy::disallowed_types, reason = "its rejection is replaced here")]
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Problem::new(catalogue::MALFORMED_REQUEST).detail("the query cannot be read"))?;
        T::parse(&pairs.0).map(Self).map_err(invalid)
    }
}

/// A fault of a query parameter; its pointer is `/query/<name>`.
pub(crate) fn parameter_error(name: &str, code: &str, detail: &str) -> FieldError {
    FieldError::new(format!("/query/{}", escape(name)), code, detail)
}

/// Everything that is wrong with a request, in one answer: 422.
pub(crate) fn invalid(errors: Vec<FieldError>) -> Problem {
    errors
        .into_iter()
        .fold(Problem::new(catalogue::VALIDATION_FAILED), Problem::fault)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::{Value, json};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "read by serde only")]
    struct Order {
        amount: crate::money::Amount,
        lines: Vec<Line>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "read by serde only")]
    struct Line {
        text: String,
    }

    fn refusal(body: &str) -> (u16, Value) {
        let problem = Problem::from(parse::<Order>(body.as_bytes()).unwrap_err());
        let document: Value = serde_json::from_slice(&problem.to_json(None)).unwrap();
        (problem.status().as_u16(), document["errors"][0].clone())
    }

    #[test]
    fn a_wrong_shape_is_told_with_its_place() {
        for (body, pointer, code) in [
            (r#"{"amount":1.5,"lines":[]}"#, "/amount", "invalid_type"),
            (r#"{"amount":"1","lines":[]}"#, "/amount", "invalid_type"),
            (r#"{"amount":0,"lines":[]}"#, "/amount", "invalid_value"),
            (r#"{"amount":1}"#, "/lines", "missing_field"),
            (
                r#"{"amount":1,"lines":[{"text":"a"},{"text":1}]}"#,
                "/lines/1/text",
                "invalid_type",
            ),
            (
                r#"{"amount":1,"lines":[{"txt":"a"}]}"#,
                "/lines/0/txt",
                "unknown_field",
            ),
            (
                r#"{"amount":1,"amount":2,"lines":[]}"#,
                "/amount",
                "duplicate_field",
            ),
            (r#"{"amount":1,"a/b":2,"lines":[]}"#, "/a~1b", "unknown_field"),
        ] {
            let (status, error) = refusal(body);
            assert_eq!(
                (status, &error["pointer"], &error["code"]),
                (422, &json!(pointer), &json!(code)),
                "{body}"
            );
        }
    }

    #[test]
    fn a_value_that_was_sent_is_not_repeated() {
        let (_, error) = refusal(r#"{"amount":"my secret","lines":[]}"#);
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn members_have_names_an_array_is_no_request() {
        for body in [r#"[1,[]]"#, " [1,[]]", "null", "1", r#""amount""#] {
            let (status, error) = refusal(body);
            assert_eq!(
                (status, &error["pointer"], &error["detail"]),
                (422, &json!(""), &json!("must be an object")),
                "{body}"
            );
        }
        let (_, error) = refusal(r#"{"amount":"1","lines":[]}"#);
        assert_eq!(error["detail"], "must be a whole number");
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for body in [
            "",
            "{",
            "{\"amount\":1,\"lines\":[]} x",
            "\u{feff}{}",
            "{'amount':1}",
        ] {
            assert_eq!(refusal(body).0, 400, "{body}");
        }
    }

    #[test]
    fn only_json_in_utf_8_is_read() {
        for (value, good) in [
            ("application/json", true),
            ("Application/JSON; charset=UTF-8", true),
            ("application/json; charset=latin1", false),
            ("text/json", false),
            ("application/jsonp", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(value))]);
            assert_eq!(is_json(&headers), good, "{value}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
