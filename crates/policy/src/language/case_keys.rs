//! The keys of case files, `tests/*.yaml`. Nothing of them reaches a gateway.

use super::keys::{VERSION, may, must};
use super::{Form, Key, Text};

const NAME: Form = Form::Text(Text::Name);
const WORD: Form = Form::Text(Text::Word);
const TEXT: Form = Form::Text(Text::Free);
const SIZE: Form = Form::Text(Text::Size);
/// Any status that an upstream or the gateway may answer with.
const STATUS: Form = Form::Number {
    least: 200,
    most: 599,
};
/// Most repetitions of a step.
pub(crate) const MOST_TIMES: u64 = 10_000;
/// Most header lines that a request is filled up to: more than any policy allows.
pub(crate) const MOST_CASE_HEADERS: u64 = 1_000;

/// A case file.
pub static CASES: &[Key] = &[
    VERSION,
    must(
        "tests",
        Form::Named(&Form::Mapping(CASE)),
        "{ anyone-reads-the-keys: { request: { method: GET, path: /.well-known/jwks.json }, expect: { decision: permit } } }",
        "Requests, and what must become of them.",
    ),
];

const REQUEST_EXAMPLE: &str = "{ method: GET, path: /api/v1/me }";
const EXPECT_EXAMPLE: &str = "{ decision: permit }";

pub(crate) static CASE: &[Key] = &[
    may(
        "environment",
        NAME,
        "all",
        "The environment it runs in, or `all`; production without it.",
    ),
    may(
        "request",
        Form::Mapping(CASE_REQUEST),
        REQUEST_EXAMPLE,
        "The request, or what holds for the request of each step.",
    ),
    may(
        "expect",
        Form::Mapping(CASE_EXPECT),
        EXPECT_EXAMPLE,
        "What must become of it, or of the request of each step.",
    ),
    may(
        "steps",
        Form::List {
            of: &Form::Mapping(CASE_STEP),
            may_be_empty: false,
        },
        "[{ times: 5 }, { expect: { status: 429 } }]",
        "Requests one after the other.",
    ),
];

pub(crate) static CASE_STEP: &[Key] = &[
    may(
        "after",
        Form::Text(Text::Duration),
        "12s",
        "How much time passes before it.",
    ),
    may(
        "request",
        Form::Mapping(CASE_REQUEST),
        REQUEST_EXAMPLE,
        "What this step changes of the request.",
    ),
    may(
        "times",
        Form::Number {
            least: 1,
            most: MOST_TIMES,
        },
        "5",
        "How often the request is sent; each time must come out as expected.",
    ),
    may(
        "expect",
        Form::Mapping(CASE_EXPECT),
        EXPECT_EXAMPLE,
        "What must become of it.",
    ),
];

pub(crate) static CASE_REQUEST: &[Key] = &[
    may(
        "method",
        WORD,
        "GET",
        "The method, also one that no policy knows.",
    ),
    may(
        "path",
        TEXT,
        "/api/v1/me",
        "Path and query as a client sends them.",
    ),
    may(
        "host",
        TEXT,
        "api.bank.example",
        "The host; the policy's first without it.",
    ),
    may(
        "client",
        Form::Text(Text::Network),
        "203.0.113.7",
        "The address of the client.",
    ),
    may(
        "listener",
        NAME,
        "public",
        "The listener it comes in at; the policy's first without it.",
    ),
    may(
        "scheme",
        Form::Choice(&["http", "https"]),
        "http",
        "In clear or over TLS; `https` without it.",
    ),
    may(
        "headers",
        Form::Any,
        "{ Accept: application/json }",
        "Header lines: a value, or a list of values.",
    ),
    may(
        "origin",
        TEXT,
        "https://app.bank.example",
        "The `Origin` of a page in a browser.",
    ),
    may(
        "token",
        Form::ChoiceOr(&["missing", "refused", "unavailable"], CASE_TOKEN),
        "{ provider: customers, subject: usr_1, scopes: [\"accounts:read\"] }",
        "What the verification of the bearer token comes to.",
    ),
    may(
        "client_certificate",
        Form::Mapping(CASE_CLIENT_CERTIFICATE),
        "{ authority: partners, names: [\"spiffe://bank.example/payroll\"] }",
        "The verified client certificate of the connection; none without it.",
    ),
    may(
        "body",
        Form::Any,
        "{ email: a@b.example }",
        "The body: text, or what becomes JSON.",
    ),
    may(
        "size",
        Form::Mapping(CASE_SIZE),
        "{ body: 9KiB }",
        "Sizes that the request is filled up to.",
    ),
    may(
        "answered",
        STATUS,
        "401",
        "How the upstream answers; it matters for limits on failures.",
    ),
];

pub(crate) static CASE_CLIENT_CERTIFICATE: &[Key] = &[
    must("authority", WORD, "partners", "Who has issued it."),
    must(
        "names",
        Form::List {
            of: &WORD,
            may_be_empty: false,
        },
        "[\"spiffe://bank.example/payroll\"]",
        "Its URI and DNS names.",
    ),
];

pub(crate) static CASE_TOKEN: &[Key] = &[
    must(
        "provider",
        NAME,
        "customers",
        "The identity provider that accepts the token.",
    ),
    must("subject", WORD, "usr_1", "Whom it speaks for."),
    may(
        "scopes",
        Form::List {
            of: &WORD,
            may_be_empty: true,
        },
        "[\"accounts:read\"]",
        "What it allows.",
    ),
];

pub(crate) static CASE_SIZE: &[Key] = &[
    may("target", SIZE, "9KiB", "Path and query."),
    may("head", SIZE, "17KiB", "Request line and headers together."),
    may(
        "headers",
        Form::Number {
            least: 1,
            most: MOST_CASE_HEADERS,
        },
        "65",
        "Number of header lines.",
    ),
    may("body", SIZE, "257KiB", "The announced length of the body."),
];

pub(crate) static CASE_EXPECT: &[Key] = &[
    may(
        "decision",
        Form::Choice(&["permit", "deny", "answer"]),
        "permit",
        "Let through, refused, or answered by the gateway.",
    ),
    may("status", STATUS, "401", "The status of a refusal or an answer."),
    may(
        "phase",
        Form::Choice(&[
            "connection",
            "framing",
            "path",
            "address",
            "limits",
            "cors",
            "authentication",
            "subject_limits",
            "authorization",
            "validation",
            "body",
            "upstream",
            "headers",
        ]),
        "authentication",
        "Where a refusal or an answer was made.",
    ),
    may(
        "rule",
        TEXT,
        "routes.create_transfer.auth",
        "The key that decided, without its file and line.",
    ),
    may("route", NAME, "create_transfer", "The route."),
    may("upstream", NAME, "core", "The service that a permit leads to."),
    may(
        "serve",
        Form::Choice(&["jwks", "live", "ready"]),
        "jwks",
        "What the gateway answers a permit with.",
    ),
    may("path", TEXT, "/api/v1/me", "The path that a permit forwards."),
    may(
        "violated",
        Form::List {
            of: &NAME,
            may_be_empty: false,
        },
        "[login-failures]",
        "The limits that refused.",
    ),
    may(
        "headers",
        Form::HeaderFields,
        "{ Retry-After: \"12\" }",
        "Header fields of the answer: a value, `present` or `absent`.",
    ),
];
