//! `routes`: the ways through the gateway.

use super::{
    answers::AnswersDocument,
    floor::LimitsDocument,
    rates::{self, RateDocument},
    upstreams::TimeoutsDocument,
};
use crate::{
    Date,
    diagnostic::{Findings, Span, code},
    language,
    plan::{Served, WebSocket},
    read::{At, Field, Mapping, Named},
    route_path::{Template, with_parameters},
    suggest,
    yaml::Value,
};
use http::Method;
use std::time::Duration;

/// After a day without news, no token is left that could have been revoked meanwhile.
const LONGEST_SILENCE: Duration = Duration::from_hours(24);
/// Two questions and some patience.
const SHORTEST_SILENCE: Duration = Duration::from_secs(5);

/// One route as written.
#[derive(Debug, Clone)]
pub(crate) struct RouteDocument {
    pub(crate) method: At<Method>,
    pub(crate) path: At<Template>,
    pub(crate) auth: At<String>,
    pub(crate) because: Option<At<String>>,
    pub(crate) scopes: Option<(Span, Vec<String>)>,
    pub(crate) client_certificate: Option<ClientCertificateDocument>,
    pub(crate) allow_from: Option<(Span, Vec<At<String>>)>,
    pub(crate) revocations_within: Option<At<Duration>>,
    pub(crate) rates: Vec<Named<RateDocument>>,
    pub(crate) cost: Option<At<u64>>,
    pub(crate) limits: LimitsDocument,
    pub(crate) timeouts: Option<(Span, TimeoutsDocument)>,
    pub(crate) headers: Option<At<String>>,
    pub(crate) cors: Option<At<String>>,
    pub(crate) target: At<TargetDocument>,
    pub(crate) websocket: Option<At<WebSocket>>,
    /// Where `openapi: none` is written.
    pub(crate) no_openapi: Option<Span>,
    pub(crate) deprecated: Option<At<Date>>,
    pub(crate) sunset: Option<At<Date>>,
    pub(crate) answers: AnswersDocument,
}

const LONGEST_IDLE: Duration = Duration::from_hours(24);
const LARGEST_FRAME: u64 = 16 * 1024 * 1024;

/// The client certificate that it needs, as written.
#[derive(Debug, Clone)]
pub(crate) struct ClientCertificateDocument {
    pub(crate) at: Span,
    pub(crate) authority: At<String>,
    pub(crate) names: Vec<String>,
}

/// Where it leads, as written.
#[derive(Debug, Clone)]
pub(crate) enum TargetDocument {
    Upstream(String),
    Serve(Served),
}

impl TargetDocument {
    /// The key that says so.
    pub(crate) const fn key(&self) -> &'static str {
        match self {
            Self::Upstream(_) => "upstream",
            Self::Serve(_) => "serve",
        }
    }
}

impl RouteDocument {
    /// Reads one route.
    pub(crate) fn read(field: &Field<'_>, findings: &mut Findings) -> Option<Self> {
        let before = findings.len();
        let route = Mapping::open(field, language::ROUTE, findings)?;
        let matched = route
            .key("match", findings)
            .and_then(|field| matched(&field, findings));
        let auth = auth(&route, findings);
        let target = target(&route, findings);
        let because = route.optional("because").and_then(|field| field.reason(findings));
        let scopes = route
            .optional("scopes")
            .and_then(|field| scopes(&field, findings));
        let client_certificate = route
            .optional("client_certificate")
            .and_then(|field| client_certificate(&field, findings));
        let allow_from = route
            .optional("allow_from")
            .and_then(|field| Some((field.key_at, field.list(findings, Field::text)?)));
        let revocations_within = route
            .optional("revocations_within")
            .and_then(|field| revocations_within(&field, findings));
        let rates = route
            .optional("rate")
            .map(|field| rates::read(&field, findings))
            .unwrap_or_default();
        let cost = route
            .optional("cost")
            .and_then(|field| field.number(1..=language::MOST_BURST, findings));
        let limits = route
            .optional("limits")
            .and_then(|field| LimitsDocument::of_route(&field, findings));
        let timeouts = route.optional("timeouts").and_then(|field| {
            TimeoutsDocument::read(&field, language::ROUTE_TIMEOUTS, findings)
                .map(|timeouts| (field.key_at, timeouts))
        });
        let headers = route.optional("headers").and_then(|field| field.text(findings));
        let cors = route.optional("cors").and_then(|field| field.text(findings));
        let no_openapi = no_openapi(&route, findings);
        let websocket = route
            .optional("websocket")
            .and_then(|field| websocket(&field, findings));
        let deprecated = route
            .optional("deprecated")
            .and_then(|field| date(&field, findings));
        let sunset = route.optional("sunset").and_then(|field| date(&field, findings));
        let answers = AnswersDocument::read(&route, findings);
        let (method, path) = matched?;
        let (auth, target) = (auth?, target?);
        (findings.len() == before).then(|| Self {
            method,
            path,
            auth,
            because,
            scopes,
            client_certificate,
            allow_from,
            revocations_within,
            rates,
            cost,
            limits: limits.unwrap_or_default(),
            timeouts,
            headers,
            cors,
            target,
            websocket,
            no_openapi,
            deprecated,
            sunset,
            answers,
        })
    }
}

/// Where `openapi: none` is written.
fn no_openapi(route: &Mapping<'_>, findings: &mut Findings) -> Option<Span> {
    let field = route.optional("openapi")?;
    field.choice(&[("none", ())], findings).map(|_| field.key_at)
}

fn date(field: &Field<'_>, findings: &mut Findings) -> Option<At<Date>> {
    field.date(
        (
            "clients would be told nothing",
            "year, month and day, in UTC: `2027-06-01`",
        ),
        findings,
    )
}

fn websocket(field: &Field<'_>, findings: &mut Findings) -> Option<At<WebSocket>> {
    let websocket = Mapping::open(field, language::WEBSOCKET, findings)?;
    let idle_timeout = websocket
        .key("idle_timeout", findings)
        .and_then(|field| field.duration(LONGEST_IDLE, findings));
    let max_frame = websocket
        .key("max_frame", findings)
        .and_then(|field| field.size(LARGEST_FRAME, findings));
    Some(At {
        value: WebSocket {
            idle_timeout: idle_timeout?.value,
            max_frame: max_frame?.value,
        },
        at: field.key_at,
    })
}

fn revocations_within(field: &Field<'_>, findings: &mut Findings) -> Option<At<Duration>> {
    let within = field.duration(LONGEST_SILENCE, findings)?;
    if within.value < SHORTEST_SILENCE {
        findings
            .error(
                code::BAD_DURATION,
                within.at,
                format!("{} is shorter than {} s", field.path, SHORTEST_SILENCE.as_secs()),
            )
            .why("the control plane is asked every two seconds, so the route would close by chance")
            .fix("`30s`; what is revoked arrives at once all the same");
        return None;
    }
    Some(within)
}

fn matched(field: &Field<'_>, findings: &mut Findings) -> Option<(At<Method>, At<Template>)> {
    let matched = Mapping::open(field, language::MATCH, findings)?;
    let method = matched
        .key("method", findings)
        .and_then(|field| method(&field, findings));
    let path = matched.key("path", findings).and_then(|field| {
        let text = field.text(findings)?;
        match Template::parse(&text.value) {
            Ok(template) => Some(At {
                value: template,
                at: text.at,
            }),
            Err(fault) => {
                findings
                    .error(
                        code::BAD_PATH,
                        text.at,
                        format!("`{}` is not a path template", text.value),
                    )
                    .why(fault)
                    .fix(better_path(&text.value));
                None
            }
        }
    });
    Some((method?, path?))
}

fn better_path(written: &str) -> String {
    if let Some((path, _)) = written.split_once('?') {
        return format!("write \"{path}\": a route is for every query");
    }
    match with_parameters(written) {
        Some(better) => format!("write \"{better}\""),
        None => format!(
            "static parts and whole parts in braces: `/api/v1/accounts/{{id}}/entries`{}",
            suggest::foreign_letter(written)
        ),
    }
}

fn method(field: &Field<'_>, findings: &mut Findings) -> Option<At<Method>> {
    let choices = [
        ("GET", Method::GET),
        ("POST", Method::POST),
        ("PUT", Method::PUT),
        ("PATCH", Method::PATCH),
        ("DELETE", Method::DELETE),
    ];
    let text = field.text(findings)?;
    let method = choices
        .iter()
        .find(|(word, _)| *word == text.value)
        .map(|(_, method)| method.clone());
    if method.is_none() {
        let fix = match text.value.as_str() {
            "HEAD" => "write `GET`: a GET route answers HEAD too".to_owned(),
            "OPTIONS" => "remove the route: `cors` answers preflights".to_owned(),
            other => suggest::fix(other, &choices.each_ref().map(|(word, _)| *word)),
        };
        findings
            .error(
                code::NOT_A_CHOICE,
                text.at,
                format!("{} cannot be `{}`", field.path, text.value),
            )
            .why("a method without a meaning would never match")
            .fix(fix);
    }
    method.map(|value| At { value, at: text.at })
}

fn auth(route: &Mapping<'_>, findings: &mut Findings) -> Option<At<String>> {
    let Some(field) = route.optional("auth") else {
        if route.has_or_means("auth") || route.is_foreign() {
            return None;
        }
        findings
            .error(code::NO_AUTH, route.at, format!("{} has no `auth`", route.path))
            .why("nobody has decided who may use this route, so nobody may")
            .fix("add `auth:` with the name of an identity provider, or `auth: none` with `because:`");
        return None;
    };
    if matches!(field.node.value, Value::Null | Value::Bool(_)) {
        findings
            .error(
                code::WRONG_TYPE,
                field.key_at,
                format!(
                    "{} must be a name, this is {}",
                    field.path,
                    field.node.value.kind()
                ),
            )
            .why("nobody has decided who may use this route, so nobody may")
            .fix("write the name of an identity provider, or `none` with `because:`");
        return None;
    }
    field.text(findings)
}

fn target(route: &Mapping<'_>, findings: &mut Findings) -> Option<At<TargetDocument>> {
    let upstream = route.optional("upstream");
    let serve = route.optional("serve");
    match (upstream, serve) {
        (Some(upstream), None) => {
            let text = upstream.text(findings)?;
            Some(At {
                value: TargetDocument::Upstream(text.value),
                at: text.at,
            })
        }
        (None, Some(serve)) => {
            let choices = [
                ("jwks", Served::Jwks),
                ("live", Served::Live),
                ("ready", Served::Ready),
            ];
            let served = serve.choice(&choices, findings)?;
            Some(At {
                value: TargetDocument::Serve(served.value),
                at: served.at,
            })
        }
        (Some(_), Some(serve)) => {
            findings
                .error(
                    code::NO_TARGET,
                    serve.key_at,
                    format!("{} has both `upstream` and `serve`", route.path),
                )
                .why("a request can go to one place only")
                .fix("keep one of them");
            None
        }
        (None, None) if route.has_or_means("upstream") || route.has_or_means("serve") => None,
        (None, None) if route.is_foreign() => None,
        (None, None) => {
            findings
                .error(code::NO_TARGET, route.at, format!("{} leads nowhere", route.path))
                .why("a permitted request must have exactly one place to go")
                .fix("add `upstream: core`, or `serve: jwks|live|ready`");
            None
        }
    }
}

fn client_certificate(field: &Field<'_>, findings: &mut Findings) -> Option<ClientCertificateDocument> {
    let certificate = Mapping::open(field, language::CLIENT_CERTIFICATE, findings)?;
    let authority = certificate
        .key("authority", findings)
        .and_then(|field| field.text(findings));
    let names = certificate.key("names", findings).and_then(|field| {
        field.list(findings, |item, findings| {
            item.word(
                "a name of a certificate",
                |byte| byte.is_ascii_graphic(),
                findings,
            )
        })
    });
    Some(ClientCertificateDocument {
        at: field.key_at,
        authority: authority?,
        names: names?.into_iter().map(|name| name.value).collect(),
    })
}

fn scopes(field: &Field<'_>, findings: &mut Findings) -> Option<(Span, Vec<String>)> {
    // An empty list is a decision: any signed-in principal may.
    if field.items(findings)?.is_empty() {
        return Some((field.key_at, Vec::new()));
    }
    // RFC 6749 §3.3: scope-token.
    let is_scope = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    let scopes = field.list(findings, |item, findings| {
        item.word("a scope", is_scope, findings)
    })?;
    Some((
        field.key_at,
        scopes.into_iter().map(|scope| scope.value).collect(),
    ))
}
