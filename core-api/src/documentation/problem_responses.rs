//! Problem types as OpenAPI responses: one per status, with an example of each type that has this status.

use std::collections::BTreeMap;

use problem::{CONTENT_TYPE, Problem, ProblemType, catalogue};
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::Header;
use utoipa::openapi::{
    Content, ContentBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, schema::Type,
};

const EXAMPLE_REQUEST_ID: &str = "019a9f6e-7c1f-7d3a-9d5b-0c2f6f0f3c11";

/// Names lists of problem types that can stand in `responses(…)` of an operation.
macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident: $($kind:expr),+;)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;
        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<String, utoipa::openapi::RefOr<utoipa::openapi::Response>> {
                $crate::documentation::responses_of(&[$($kind),+])
            }
        }
    )*};
}
pub(crate) use problems;

/// The responses of these problem types.
pub(crate) fn responses_of(kinds: &[ProblemType]) -> BTreeMap<String, RefOr<Response>> {
    let mut responses = BTreeMap::new();
    for kind in kinds {
        add_problem(&mut responses, *kind);
    }
    responses
}

/// Adds a problem type to the response of its status, which is made when it is not there yet.
pub(super) fn add_problem(responses: &mut BTreeMap<String, RefOr<Response>>, kind: ProblemType) {
    let status = kind.status().as_u16().to_string();
    let entry = responses.entry(status).or_insert_with(|| {
        ResponseBuilder::new()
            .content(
                CONTENT_TYPE,
                ContentBuilder::new()
                    .schema(Some(Ref::from_schema_name("Problem")))
                    .build(),
            )
            .build()
            .into()
    });
    let RefOr::T(response) = entry else { return };
    let text = format!("{} (`{}`)", kind.title(), kind.slug());
    if response.description.contains(&text) {
        return;
    }
    if !response.description.is_empty() {
        response.description.push_str("; ");
    }
    response.description.push_str(&text);
    if let Some(RefOr::T(content)) = response.content.get_mut(CONTENT_TYPE) {
        add_example(content, kind);
    }
    if kind.says_when() {
        response.headers.insert(
            "Retry-After".to_owned(),
            integer_header("Seconds until it is worth trying again.").into(),
        );
    }
    if kind.status().as_u16() == 401 {
        response.headers.insert(
            "WWW-Authenticate".to_owned(),
            text_header("The scheme, and why the token was refused (RFC 6750 §3).").into(),
        );
    }
}

fn add_example(content: &mut Content, kind: ProblemType) {
    let mut problem = Problem::new(kind);
    if kind.says_when() {
        problem = problem.retry_after(1);
    }
    if kind == catalogue::INVALID_REQUEST {
        problem = problem.field_error("/query/unheard_of", "unknown_field", "is not known here");
    }
    let document = problem.to_json(Some(EXAMPLE_REQUEST_ID));
    let value = serde_json::from_slice(&document).unwrap_or_default();
    let example = ExampleBuilder::new()
        .summary(kind.title())
        .value(Some(value))
        .build();
    content.examples.insert(kind.slug().to_owned(), example.into());
}

/// A response header that holds a number.
fn integer_header(description: &str) -> Header {
    let mut header = Header::new(
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(0_u64))
            .build(),
    );
    header.description = Some(description.to_owned());
    header
}

/// A response header that holds text.
pub(super) fn text_header(description: &str) -> Header {
    let mut header = Header::new(ObjectBuilder::new().schema_type(Type::String).build());
    header.description = Some(description.to_owned());
    header
}
