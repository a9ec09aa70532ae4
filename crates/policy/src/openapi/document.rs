//! An OpenAPI document as it is read: strict JSON, of a known version, with a place for everything in it.

use super::{operation::Operation, pattern::Pattern, schema_reader::Reader};
use crate::{
    SourceFile,
    diagnostic::{Findings, Span, code},
    json::{Json, unescaped},
    plan::Rule,
};
use http::Method;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap};

/// Schema dialects that are those of OpenAPI 3.1.
const DIALECTS: [&str; 2] = [
    "https://spec.openapis.org/oas/3.1/dialect/base",
    "https://json-schema.org/draft/2020-12/schema",
];

/// One document, from which operations are compiled.
#[derive(Debug)]
pub(crate) struct ApiDocument<'t> {
    source: Source<'t>,
    /// What the paths of its servers put before its own.
    base: String,
    spent: Spent,
}

/// Its text and its tree.
#[derive(Debug)]
pub(super) struct Source<'t> {
    pub(super) file: usize,
    text: &'t str,
    pub(super) root: Json<'t>,
}

/// What the operations of a document have cost together, so that none of them is bounded alone.
#[derive(Debug, Default)]
pub(super) struct Spent {
    pub(super) schemas: usize,
    pub(super) findings: usize,
    /// Each expression is compiled once.
    pub(super) patterns: HashMap<String, Pattern>,
}

/// Which route an operation is for.
pub(crate) struct Wanted<'w> {
    pub(crate) method: &'w Method,
    pub(crate) path: &'w str,
    /// Where the route says so.
    pub(crate) at: Span,
    /// The line that names the document.
    pub(crate) rule: Rule,
}

impl<'t> ApiDocument<'t> {
    /// Reads a document, and reports why it cannot be one.
    pub(crate) fn read(file: usize, source: &'t SourceFile, findings: &mut Findings) -> Option<Self> {
        let root = match Json::read(source.text.as_bytes()) {
            Ok(root) => root,
            Err(error) => {
                let at = Span {
                    file,
                    line: u32::try_from(error.line()).unwrap_or(u32::MAX),
                    column: u32::try_from(error.column()).unwrap_or(u32::MAX).max(1),
                    length: 1,
                };
                let what = error.to_string();
                let what = what.split(" at line").next().unwrap_or_default();
                findings
                    .error(
                        code::NOT_AN_API_DOCUMENT,
                        at,
                        format!("not a JSON document: {what}"),
                    )
                    .why("what is read in two ways cannot be enforced in one")
                    .fix("write JSON in which no name comes twice, not even in another case");
                return None;
            }
        };
        let source = Source {
            file,
            text: &source.text,
            root,
        };
        source.is_known(findings).then_some(())?;
        let base = source.base(findings)?;
        Some(Self {
            source,
            base,
            spent: Spent::default(),
        })
    }

    /// Compiles what it says of the requests of a route; reports what cannot be enforced.
    pub(crate) fn operation(&mut self, wanted: &Wanted<'_>, findings: &mut Findings) -> Option<Operation> {
        Reader::new(&self.source, &mut self.spent, findings).operation(wanted, &self.base)
    }
}

impl Source<'_> {
    /// Whether it is of a version whose words we know.
    fn is_known(&self, findings: &mut Findings) -> bool {
        let version = self.root.get("openapi").and_then(Json::text);
        if !version.is_some_and(|version| version.starts_with("3.1.")) {
            findings
                .error(
                    code::NOT_AN_API_DOCUMENT,
                    self.span("/openapi"),
                    "not an OpenAPI 3.1 document",
                )
                .why("another version gives the same words another meaning")
                .fix("`\"openapi\": \"3.1.0\"`, with a document that says what 3.1 means by it");
            return false;
        }
        let dialect = self.root.get("jsonSchemaDialect");
        if dialect.is_some_and(|dialect| !dialect.text().is_some_and(|text| DIALECTS.contains(&text))) {
            findings
                .error(
                    code::NOT_AN_API_DOCUMENT,
                    self.span("/jsonSchemaDialect"),
                    "schemas in a dialect that is not known",
                )
                .why("their words may mean something else")
                .fix("leave it out: OpenAPI 3.1 has a dialect of its own");
            return false;
        }
        true
    }

    /// The path that every server has. Where a server is, is for the policy to say.
    fn base(&self, findings: &mut Findings) -> Option<String> {
        let Some(Json::List(servers)) = self.root.get("servers") else {
            return Some(String::new());
        };
        let path = |server: &Json<'_>| {
            let url = server.get("url")?.text()?;
            let path = match url.split_once("://") {
                Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default(),
                None => url,
            };
            let path = path.strip_suffix('/').unwrap_or(path);
            let is_path = path.is_empty() || path.starts_with('/');
            (is_path && !path.contains(['{', '?', '#'])).then(|| path.to_owned())
        };
        let mut paths: Vec<Option<String>> = servers.iter().map(path).collect();
        paths.dedup();
        match paths.as_slice() {
            [] => Some(String::new()),
            [Some(path)] => Some(path.clone()),
            _ => {
                findings
                    .error(
                        code::CANNOT_BE_ENFORCED,
                        self.span("/servers"),
                        "the servers do not all have one path that is written out",
                    )
                    .why("which requests its paths are about would have to be guessed")
                    .fix("give all servers the same path, without variables: `{ \"url\": \"/\" }`");
                None
            }
        }
    }

    /// The place of the value at a pointer, or of the nearest one above it. Only what is wrong is looked for.
    pub(super) fn span(&self, pointer: &str) -> Span {
        let mut found = serde_json::from_str::<&RawValue>(self.text).ok();
        for step in pointer.split('/').skip(1) {
            let Some(next) = found.and_then(|value| below(value, &unescaped(step))) else {
                break;
            };
            found = Some(next);
        }
        let value = found.map_or("", RawValue::get);
        let offset = value.as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        let before = self.text.get(..offset).unwrap_or_default();
        let line = before
            .bytes()
            .filter(|byte| *byte == b'\n')
            .count()
            .saturating_add(1);
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            .saturating_add(1);
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Span {
            file: self.file,
            line: number(line),
            column: number(column),
            length: number(value.lines().next().unwrap_or_default().chars().count()).max(1),
        }
    }
}

/// The member or the item of a value, as it is written.
fn below<'v>(value: &'v RawValue, step: &str) -> Option<&'v RawValue> {
    let text = value.get();
    if text.starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
        items.get(step.parse::<usize>().ok()?).copied()
    } else {
        let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
        members.get(step).copied()
    }
}
