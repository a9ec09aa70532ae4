//! What the operations do not say themselves: title, security scheme, and the answers that any of them can give.

use problem::{ProblemDocument, ProblemType, catalogue};
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContactBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, RefOr,
    ServerBuilder,
};
use utoipa::openapi::{PathItem, tag::TagBuilder};
use utoipa::{PartialSchema as _, ToSchema as _};

use super::problem_responses::{add_problem, text_header};
use crate::identity::SESSION_ENDED;

/// What the gateway and the service may answer to anything.
const ALWAYS: [ProblemType; 7] = [
    catalogue::MALFORMED_REQUEST,
    catalogue::INVALID_REQUEST,
    catalogue::RATE_LIMITED,
    catalogue::INTERNAL,
    catalogue::UPSTREAM_UNAVAILABLE,
    catalogue::UNAVAILABLE,
    catalogue::UPSTREAM_TIMEOUT,
];
/// What an operation with a token may answer.
const WITH_TOKEN: [ProblemType; 3] = [catalogue::UNAUTHENTICATED, SESSION_ENDED, catalogue::FORBIDDEN];
/// What an operation with a body may answer.
const WITH_BODY: [ProblemType; 3] = [
    catalogue::PAYLOAD_TOO_LARGE,
    catalogue::UNSUPPORTED_MEDIA_TYPE,
    catalogue::VALIDATION_FAILED,
];

const DESCRIPTION: &str = "Accounts, money and who may move it.

**Money** is a whole number of minor units (cents, yen, fils) from 1 to 10^15, with its currency beside it. Strings, \
fractions and unknown members are refused, with a JSON pointer to each.

**Repeating** a request is safe: give each new request a new `Idempotency-Key`, and the same key gets the same answer for \
24 hours, refusals included, marked `Idempotent-Replayed: true`.

**Errors** are problem documents (RFC 9457). Branch on `type`, show `title`, quote `instance` to support. A request that \
this document does not describe is refused with 400 `invalid-request` before it reaches the bank; `errors` points at each \
fault.

**Limits** are told in `RateLimit` and `RateLimit-Policy`; a refusal says in `Retry-After` when to come back.";

/// The document before the operations are in it.
pub(crate) fn base() -> OpenApi {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("The `access_token` of `POST /api/v1/auth/login`."))
        .build();
    let mut schemas = Vec::new();
    ProblemDocument::schemas(&mut schemas);
    let components = ComponentsBuilder::new()
        .schema("Problem", ProblemDocument::schema())
        .schemas_from_iter(schemas)
        .security_scheme("bearer", SecurityScheme::Http(bearer))
        .build();
    let tags = [
        ("identity", "Register, log in, refresh, log out."),
        ("accounts", "Accounts and what they hold."),
        ("cash", "Money in and out over the counter."),
        ("transfers", "Money from one account to another."),
        ("operations", "Whether the service is there."),
    ];
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Portico core banking API")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(DESCRIPTION))
                .contact(Some(ContactBuilder::new().name(Some("Portico")).build()))
                .license(Some(
                    LicenseBuilder::new()
                        .name("Apache-2.0")
                        .identifier(Some("Apache-2.0"))
                        .build(),
                ))
                .build(),
        )
        .servers(Some([ServerBuilder::new()
            .url("/")
            .description(Some("Where this document came from"))
            .build()]))
        .tags(Some(tags.map(|(name, text)| {
            TagBuilder::new().name(name).description(Some(text)).build()
        })))
        .components(Some(components))
        .build()
}

/// Adds to every operation what every operation has.
pub(crate) fn complete(mut document: OpenApi) -> OpenApi {
    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            complete_operation(operation);
        }
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.patch,
        &mut item.delete,
    ]
    .into_iter()
    .flatten()
}

fn complete_operation(operation: &mut Operation) {
    let has_token = operation
        .security
        .as_ref()
        .is_some_and(|security| !security.is_empty());
    let has_body = operation.request_body.is_some();
    if !has_token {
        operation.security = Some(Vec::new()); // says aloud that none is needed
    }
    let has_parameter_in = |place: ParameterIn| {
        let mut parameters = operation.parameters.iter().flatten();
        parameters
            .any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == place))
    };
    let (has_query, has_path) = (
        has_parameter_in(ParameterIn::Query),
        has_parameter_in(ParameterIn::Path),
    );
    let responses = &mut operation.responses.responses;
    let mut kinds: Vec<ProblemType> = ALWAYS.to_vec();
    if has_token {
        kinds.extend(WITH_TOKEN);
    }
    if has_body {
        kinds.extend(WITH_BODY);
    } else if has_query {
        kinds.push(catalogue::VALIDATION_FAILED);
    }
    if has_path {
        kinds.push(catalogue::NOT_FOUND); // a text that cannot be an identifier
    }
    for kind in kinds {
        add_problem(responses, kind);
    }
    for response in responses.values_mut() {
        let RefOr::T(response) = response else { continue };
        let headers = [
            (
                "X-Request-Id",
                text_header("The id of this request, for support."),
            ),
            (
                "RateLimit",
                text_header("What is left of the limit, and when it refills: `\"name\";r=9;t=30`."),
            ),
            (
                "RateLimit-Policy",
                text_header("The limits that apply: `\"name\";q=10;w=60`."),
            ),
        ];
        for (name, header) in headers {
            response
                .headers
                .entry(name.to_owned())
                .or_insert_with(|| header.into());
        }
    }
}
