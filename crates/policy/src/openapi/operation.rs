//! One operation: what its requests may hold, compiled from the document.

use super::{
    check::Check,
    document::Wanted,
    fault::{Place, RequestFault},
    form::Form,
    parameters::{Parameter, Reads},
    schema::{Id, Schema},
    schema_reader::{Node, Reader, joined},
};
use crate::{diagnostic::code, json::Json, plan::Rule};
use aws_lc_rs::digest;
use http::{HeaderMap, HeaderName, Method, header};
use std::{borrow::Cow, fmt::Write as _};

const FORM: &str = "application/x-www-form-urlencoded";
/// Parameters of one kind.
const MOST_PARAMETERS: usize = 64;
const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];
/// Header fields that OpenAPI leaves to other parts of a document (§4.8.12.1).
const NOT_PARAMETERS: [HeaderName; 3] = [header::ACCEPT, header::CONTENT_TYPE, header::AUTHORIZATION];

/// What the requests of one route may hold.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(super) parts: Parts,
    /// The line that names the document.
    pub(crate) rule: Rule,
    /// Changes with what is enforced, and with nothing else.
    pub(crate) fingerprint: String,
}

/// Everything that is asked of a request.
#[derive(Debug)]
pub(super) struct Parts {
    schemas: Vec<Schema>,
    /// With the part of the path that holds each.
    pub(super) path: Vec<(usize, Parameter)>,
    pub(super) query: Vec<Parameter>,
    pub(super) headers: Vec<(HeaderName, Parameter)>,
    body: Body,
}

/// What is asked of the body.
#[derive(Debug)]
enum Body {
    /// The method has none (FR-7).
    None,
    /// The document describes none.
    Empty,
    Described {
        schema: Id,
        is_required: bool,
        /// In lower case: `application/json`.
        media_types: Vec<String>,
        form: Option<Form>,
    },
}

/// Why a request does not fit.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// The body is of another type, or encoded.
    MediaType(&'static str),
    /// At least one.
    Faults(Vec<RequestFault>),
}

impl Operation {
    /// Whether the body must be read before the request can be let through.
    pub(crate) const fn reads_body(&self) -> bool {
        !matches!(self.parts.body, Body::None)
    }

    /// Whether the body may have members of any name, holding anything: one that nobody describes is tried.
    pub(crate) fn takes_anything(&self) -> bool {
        const STRANGER: &str = "a member that nobody describes";
        let Body::Described {
            schema, form: None, ..
        } = &self.parts.body
        else {
            return false;
        };
        let value = Json::Map(vec![(STRANGER.into(), Json::Null)]);
        let mut check = Check::new(&self.parts.schemas);
        check.value(*schema, &value, &Place::Root);
        let is_refused = |fault: &RequestFault| {
            fault.pointer.ends_with(STRANGER) || (fault.pointer.is_empty() && fault.code == "invalid_type")
        };
        !check.into_faults().iter().any(is_refused)
    }

    /// Checks all that comes before the body: the parameters, and what the body says it is.
    pub(crate) fn check_head(
        &self,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<(), Unfit> {
        if let Body::Described { media_types, .. } = &self.parts.body {
            if headers.contains_key(header::CONTENT_ENCODING) {
                return Err(Unfit::MediaType("the body must not be encoded"));
            }
            let written = headers.get(header::CONTENT_TYPE);
            if written.is_some_and(|value| !is_one_of(value.as_bytes(), media_types)) {
                return Err(Unfit::MediaType(OTHER_TYPE));
            }
        }
        let mut check = Check::new(&self.parts.schemas);
        self.parts.check_parameters(path, query, headers, &mut check);
        ended(check, true)
    }

    /// Checks the body.
    pub(crate) fn check_body(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), Unfit> {
        let mut check = Check::new(&self.parts.schemas);
        match &self.parts.body {
            Body::None => Ok(()),
            Body::Empty if body.is_empty() => Ok(()),
            Body::Described {
                is_required: false, ..
            } if body.is_empty() => Ok(()),
            Body::Empty => {
                check.fault(&Place::Root, "unknown_field", "this request has no body");
                ended(check, false)
            }
            Body::Described { .. } if body.is_empty() => {
                check.fault(&Place::Root, "missing_field", "a body is required");
                ended(check, false)
            }
            Body::Described { .. } if !headers.contains_key(header::CONTENT_TYPE) => {
                Err(Unfit::MediaType(OTHER_TYPE))
            }
            Body::Described { schema, form, .. } => {
                let read = read(form.as_ref(), body, &mut check);
                let fits = read.is_some_and(|value| check.value(*schema, &value, &Place::Root));
                ended(check, fits)
            }
        }
    }

    /// The body as limits look at it, which come before it is checked.
    pub(crate) fn read_body<'b>(&self, body: &'b [u8]) -> Option<Json<'b>> {
        let form = match &self.parts.body {
            Body::Described { form, .. } => form.as_ref(),
            Body::None | Body::Empty => None,
        };
        read(form, body, &mut Check::new(&[]))
    }
}

/// A body as a value; what keeps it from being one is noted.
fn read<'b>(form: Option<&Form>, body: &'b [u8], check: &mut Check<'_>) -> Option<Json<'b>> {
    match form {
        Some(form) => form.read(body, check),
        None => {
            let read = Json::read(body).ok();
            if read.is_none() {
                let detail = "must be JSON in which no name comes twice, not even in another case";
                check.fault(&Place::Root, "malformed", detail);
            }
            read
        }
    }
}

const OTHER_TYPE: &str = "the body must be of a type that this operation takes";

fn ended(check: Check<'_>, fits: bool) -> Result<(), Unfit> {
    let faults = check.into_faults();
    if fits && faults.is_empty() {
        Ok(())
    } else {
        Err(Unfit::Faults(faults))
    }
}

/// Whether a `Content-Type` is one of these, in UTF-8 (RFC 8259 §8.1).
fn is_one_of(written: &[u8], media_types: &[String]) -> bool {
    let Ok(written) = std::str::from_utf8(written) else {
        return false;
    };
    let mut parts = written.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let is_plain = |parameter: &str| {
        parameter.eq_ignore_ascii_case("charset=utf-8") || parameter.eq_ignore_ascii_case("charset=\"utf-8\"")
    };
    media_types
        .iter()
        .any(|known| known.eq_ignore_ascii_case(essence))
        && parts.all(is_plain)
}

impl<'r, 't> Reader<'r, 't> {
    /// Compiles the operation of a route.
    pub(super) fn operation(mut self, wanted: &Wanted<'_>, base: &str) -> Option<Operation> {
        let before = self.findings.len();
        let (item, template) = self.path_item(wanted, base)?;
        let method = wanted.method.as_str().to_ascii_lowercase();
        let Some(operation) = item.0.get(&method) else {
            return self.not_described(wanted, &format!("it describes other methods of `{template}`"));
        };
        let operation = (operation, joined(&item.1, &method));
        let words = ["summary", "description", "parameters"];
        self.only(&item, &[METHODS.as_slice(), &words].concat());
        self.only(
            &operation,
            &[
                "tags",
                "summary",
                "description",
                "externalDocs",
                "operationId",
                "parameters",
                "requestBody",
                "responses",
                "callbacks",
                "deprecated",
                "security",
            ],
        );
        let body = self.body(&operation, wanted.method);
        let full = format!("{base}{template}");
        let mut parts = Parts {
            schemas: Vec::new(),
            path: Vec::new(),
            query: Vec::new(),
            headers: Vec::new(),
            body,
        };
        let mut seen: Vec<(String, String)> = Vec::new();
        // Those of the operation come first: they replace those of the path.
        for (node, pointer) in [&operation, &item] {
            self.parameters(node, pointer, &full, &mut parts, &mut seen);
        }
        self.all_parts_described(&full, &item.1, &parts);
        if [parts.path.len(), parts.query.len(), parts.headers.len()]
            .iter()
            .any(|number| *number > MOST_PARAMETERS)
        {
            self.cannot(
                &operation.1,
                "more than 64 parameters of one kind",
                "fewer parameters",
            );
        }
        (self.findings.len() == before).then_some(())?;
        let (schemas, found) = self.into_schemas();
        parts.schemas = schemas;
        (found == before).then(|| Operation {
            fingerprint: fingerprint(&parts),
            parts,
            rule: wanted.rule.clone(),
        })
    }

    /// The path item whose template has the shape of the route's path.
    fn path_item(&mut self, wanted: &Wanted<'_>, base: &str) -> Option<(Node<'r, 't>, String)> {
        if let Some(Json::Map(paths)) = self.source.root.get("paths") {
            for (template, item) in paths {
                if has_shape(&format!("{base}{template}"), wanted.path) {
                    return Some(((item, joined("/paths", template)), template.clone().into_owned()));
                }
            }
        }
        self.not_described(wanted, "none of its paths has this shape")
    }

    fn not_described<T>(&mut self, wanted: &Wanted<'_>, found: &str) -> Option<T> {
        self.findings
            .error(
                code::NOT_IN_API_DOCUMENT,
                wanted.at,
                format!(
                    "the document does not describe `{} {}`: {found}",
                    wanted.method, wanted.path
                ),
            )
            .why("its requests could not be checked")
            .fix("describe it, or write `openapi: none` at the route when it is no part of that API")
            .related(self.source.span("/paths"), "the paths of the document");
        None
    }

    /// `requestBody`.
    fn body(&mut self, operation: &Node<'r, 't>, method: &Method) -> Body {
        let has_body = !matches!(*method, Method::GET | Method::DELETE);
        let Some(body) = operation.0.get("requestBody") else {
            return if has_body { Body::Empty } else { Body::None };
        };
        let written = (body, joined(&operation.1, "requestBody"));
        if !has_body {
            let message = format!("a {method} has no body here (FR-7)");
            self.cannot(&written.1, message, "another method, or no body");
            return Body::None;
        }
        let Some(body) = self.followed(written) else {
            return Body::Empty;
        };
        self.only(&body, &["description", "content", "required"]);
        let Some(Json::Map(content)) = body
            .0
            .get("content")
            .filter(|content| !matches!(content, Json::Map(all) if all.is_empty()))
        else {
            self.cannot(
                &body.1,
                "nothing says what the body is",
                "`\"content\": { \"application/json\": { … } }`",
            );
            return Body::Empty;
        };
        let at = joined(&body.1, "content");
        let (media_types, described) = self.media(content, &at);
        if described.len() > 1 {
            self.cannot(
                &at,
                "several types with a schema each",
                "one type, `application/json`",
            );
        }
        described
            .into_iter()
            .next()
            .map_or(Body::Empty, |(schema, form)| Body::Described {
                schema,
                is_required: matches!(body.0.get("required"), Some(Json::Bool(true))),
                media_types,
                form,
            })
    }

    /// The types of a body that can be checked, in lower case, and what each of them holds.
    fn media(
        &mut self,
        content: &'r [(Cow<'t, str>, Json<'t>)],
        at: &str,
    ) -> (Vec<String>, Vec<(Id, Option<Form>)>) {
        let mut media_types = Vec::new();
        let mut described = Vec::new();
        for (media_type, media) in content {
            let pointer = joined(at, media_type);
            let is_form = media_type.eq_ignore_ascii_case(FORM);
            if !is_form && !is_json(media_type) {
                self.cannot(
                    &pointer,
                    "only bodies in JSON and forms can be checked",
                    "`application/json` or `application/x-www-form-urlencoded`",
                );
                continue;
            }
            self.only(&(media, pointer.clone()), &["schema", "example", "examples"]);
            match media.get("schema") {
                Some(schema) => {
                    let at = joined(&pointer, "schema");
                    let schema = self.schema((schema, at.clone()));
                    let form = is_form.then(|| self.form(schema, &at)).flatten();
                    described.push((schema, form));
                }
                None => self.cannot(
                    &pointer,
                    "nothing says what is in the body",
                    "`\"schema\": { … }`",
                ),
            }
            media_types.push(media_type.to_ascii_lowercase());
        }
        (media_types, described)
    }

    /// What the members of a form are read as; `None` when that cannot be told, which is a finding.
    fn form(&mut self, schema: Id, pointer: &str) -> Option<Form> {
        let Some(members) = self.members_of(schema) else {
            let fix = "`\"type\": \"object\"`, `properties` of text, numbers and booleans, and `allOf`";
            self.cannot(pointer, "a form whose members are not all described", fix);
            return None;
        };
        let mut known = Vec::new();
        for (name, schema) in members {
            let Some(reads) = Reads::for_types(self.types(schema)) else {
                let message = format!("`{name}` of a form is neither a text, a number nor a boolean");
                self.cannot(pointer, message, "a text: what is in a form has no structure");
                continue;
            };
            known.push((name, reads));
        }
        Some(Form { known })
    }

    /// The parameters of an operation, or of all operations of its path.
    fn parameters(
        &mut self,
        node: &'r Json<'t>,
        pointer: &str,
        template: &str,
        parts: &mut Parts,
        seen: &mut Vec<(String, String)>,
    ) {
        let at = joined(pointer, "parameters");
        let parameters = match node.get("parameters") {
            None => return,
            Some(Json::List(parameters)) => parameters,
            Some(_) => return self.cannot(&at, "this must be a list", "`[…]`"),
        };
        for (index, parameter) in parameters.iter().enumerate() {
            let Some(parameter) = self.followed((parameter, format!("{at}/{index}"))) else {
                continue;
            };
            let text = |name: &str| {
                parameter
                    .0
                    .get(name)
                    .and_then(Json::text)
                    .unwrap_or_default()
                    .to_owned()
            };
            let key = (text("in"), text("name"));
            if seen.contains(&key) {
                continue;
            }
            if let Err((message, fix)) = self.parameter(&parameter, template, parts) {
                self.cannot(&parameter.1, message, fix);
            }
            seen.push(key);
        }
    }

    fn parameter(
        &mut self,
        node: &Node<'r, 't>,
        template: &str,
        parts: &mut Parts,
    ) -> Result<(), (&'static str, &'static str)> {
        let (written, pointer) = node;
        let text = |name: &str| written.get(name).and_then(Json::text);
        let is = |name: &str| matches!(written.get(name), Some(Json::Bool(true)));
        self.only(
            node,
            &[
                "name",
                "in",
                "description",
                "required",
                "deprecated",
                "style",
                "explode",
                "allowEmptyValue",
                "allowReserved",
                "schema",
                "example",
                "examples",
            ],
        );
        let (Some(name), Some(place)) = (text("name"), text("in")) else {
            return Err((
                "a parameter without `name` and `in`",
                "`\"name\": \"limit\", \"in\": \"query\"`",
            ));
        };
        let field = HeaderName::from_bytes(name.as_bytes())
            .ok()
            .filter(|_| place == "header");
        if field.as_ref().is_some_and(|field| NOT_PARAMETERS.contains(field)) {
            return Ok(());
        }
        let style = if place == "query" { "form" } else { "simple" };
        if text("style").is_some_and(|written| written != style)
            || is("allowReserved")
            || is("allowEmptyValue")
        {
            return Err(("a parameter in a form that cannot be checked", "the default form"));
        }
        let schema = written
            .get("schema")
            .ok_or(("nothing says what the parameter is", "`\"schema\": { … }`"))?;
        let schema = self.schema((schema, joined(pointer, "schema")));
        let reads = Reads::for_types(self.types(schema)).ok_or((
            "only texts, numbers and booleans can be parameters",
            "`\"type\": \"string\"`, `integer`, `number` or `boolean`",
        ))?;
        let parameter = Parameter {
            name: name.to_owned(),
            is_required: is("required"),
            schema,
            reads,
        };
        match (place, field) {
            ("query", _) => parts.query.push(parameter),
            ("header", Some(field)) => parts.headers.push((field, parameter)),
            ("path", _) => {
                let in_path = format!("{{{name}}}");
                let part = template.split('/').position(|part| part == in_path);
                let part = part.ok_or(("the path has no such part", "the name of a `{part}` of the path"))?;
                parts.path.push((part, parameter));
            }
            _ => {
                return Err((
                    "a parameter in a place that cannot be checked",
                    "`path`, `query` or `header`",
                ));
            }
        }
        Ok(())
    }

    /// Every `{part}` of the path must be a parameter.
    fn all_parts_described(&mut self, template: &str, pointer: &str, parts: &Parts) {
        for (index, part) in template.split('/').enumerate() {
            if part.starts_with('{') && !parts.path.iter().any(|(at, _)| *at == index) {
                let message = format!("nothing says what `{part}` of the path is");
                self.cannot(pointer, message, "a parameter with `\"in\": \"path\"`");
            }
        }
    }
}

fn is_json(media_type: &str) -> bool {
    let media_type = media_type.to_ascii_lowercase();
    media_type == "application/json"
        || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

/// Whether two templates stand for the same paths, whatever their parameters are called.
fn has_shape(template: &str, path: &str) -> bool {
    let is_parameter = |part: &str| part.starts_with('{') && part.ends_with('}');
    let mut parts = template.split('/').zip(path.split('/'));
    template.split('/').count() == path.split('/').count()
        && parts.all(|(one, other)| one == other || (is_parameter(one) && is_parameter(other)))
}

/// The first twelve digits of a hash over everything that is enforced.
fn fingerprint(parts: &Parts) -> String {
    let hash = digest::digest(&digest::SHA256, format!("{parts:?}").as_bytes());
    hash.as_ref()
        .iter()
        .take(6)
        .fold(String::with_capacity(12), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}
