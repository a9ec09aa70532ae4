//! From the schemas of a document to their compiled form. A word that is not known is a finding.

use super::{
    document::{Source, Spent},
    format::{Format, Known},
    pattern::Pattern,
    schema::{Id, Items, Members, Others, Rule, Schema},
    types::Types,
};
use crate::{
    diagnostic::{Findings, code},
    json::{Json, escaped},
};
use serde_json::Number;
use std::collections::{BTreeMap, HashMap};

/// Schemas of all operations of a document together.
const MOST_SCHEMAS: usize = 20_000;
/// Expressions of a document.
const MOST_PATTERNS: usize = 100;
/// Schemas that lead into each other.
const MOST_DEPTH: usize = 64;
/// Schemas in a row that speak of the same value.
const MOST_IN_PLACE: usize = 16;
/// Schemas that are looked at to tell what a parameter is.
const MOST_SCHEMAS_OF_PARAMETER: usize = 200;
/// Findings about one document that are told; each looks for its place in the text.
const MOST_FINDINGS: usize = 20;

/// Words that say nothing about which values there are.
const ANNOTATIONS: [&str; 13] = [
    "title",
    "description",
    "default",
    "example",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "externalDocs",
    "discriminator",
    "xml",
    "$comment",
    "$defs",
];

/// Compiles one operation.
pub(super) struct Reader<'r, 't> {
    pub(super) source: &'r Source<'t>,
    spent: &'r mut Spent,
    pub(super) findings: &'r mut Findings,
    schemas: Vec<Schema>,
    /// The pointer of each schema.
    places: Vec<String>,
    known: HashMap<String, Id>,
    depth: usize,
}

/// A part of the document and its pointer.
pub(super) type Node<'r, 't> = (&'r Json<'t>, String);

/// The pointer of a member.
pub(super) fn joined(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", escaped(name))
}

impl<'r, 't> Reader<'r, 't> {
    pub(super) fn new(source: &'r Source<'t>, spent: &'r mut Spent, findings: &'r mut Findings) -> Self {
        Self {
            source,
            spent,
            findings,
            schemas: Vec::new(),
            places: Vec::new(),
            known: HashMap::new(),
            depth: 0,
        }
    }

    /// Reports what cannot be enforced.
    pub(super) fn cannot(&mut self, pointer: &str, message: impl Into<String>, fix: impl Into<String>) {
        self.report(code::CANNOT_BE_ENFORCED, pointer, message, fix);
    }

    fn report(
        &mut self,
        code: &'static str,
        pointer: &str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.spent.findings = self.spent.findings.saturating_add(1);
        if self.spent.findings <= MOST_FINDINGS {
            self.findings
                .error(code, self.source.span(pointer), message)
                .why("what the document asks for would not be enforced, and nobody would know")
                .fix(fix);
        }
    }

    /// The part that a `$ref` leads to, or the part itself.
    pub(super) fn followed(&mut self, (mut node, mut pointer): Node<'r, 't>) -> Option<Node<'r, 't>> {
        for _ in 0..MOST_IN_PLACE {
            let Some(reference) = node.get("$ref") else {
                return Some((node, pointer));
            };
            (node, pointer) = self.referred(reference, &joined(&pointer, "$ref"))?;
        }
        self.report(
            code::API_DOCUMENT_TOO_LARGE,
            &pointer,
            "references that lead to references",
            "name the part itself",
        );
        None
    }

    /// The part that the text of a `$ref` names.
    fn referred(&mut self, reference: &Json<'t>, pointer: &str) -> Option<Node<'r, 't>> {
        let target = reference.text().and_then(|text| text.strip_prefix('#'));
        let target = target.filter(|target| target.starts_with('/') && !target.contains('%'));
        let found = target.and_then(|target| Some((self.source.root.at(target)?, target.to_owned())));
        if found.is_none() {
            self.cannot(
                pointer,
                "this reference leads to nothing in this document",
                "a part of the same document: `#/components/schemas/…`",
            );
        }
        found
    }

    /// Every member of an object whose words are known; reports the others.
    pub(super) fn only(&mut self, (node, pointer): &Node<'r, 't>, words: &[&str]) {
        let Json::Map(members) = node else {
            return self.cannot(pointer, "this must be an object", "`{ … }`");
        };
        for (name, _) in members.iter().filter(|(name, _)| !name.starts_with("x-")) {
            if !words.contains(&name.as_ref()) {
                let fix = self.findings.suggest(name, words.iter().copied());
                self.cannot(
                    &joined(pointer, name),
                    format!("`{name}` cannot be enforced here"),
                    fix,
                );
            }
        }
    }

    /// The compiled schemas, and how many findings there are now that none may speak of the same value without end.
    pub(super) fn into_schemas(mut self) -> (Vec<Schema>, usize) {
        let mut depths: Vec<Option<usize>> = vec![None; self.schemas.len()];
        for id in 0..self.schemas.len() {
            if self.in_place(id, 0, &mut depths).is_none() {
                let place = self.places.get(id).cloned().unwrap_or_default();
                self.report(
                    code::API_DOCUMENT_TOO_LARGE,
                    &place,
                    "this schema leads to itself, or through too many others, without going into the value",
                    "fewer `$ref`, `allOf`, `anyOf` and `oneOf` in a row",
                );
                break;
            }
        }
        let found = self.findings.len();
        (self.schemas, found)
    }

    /// How many schemas in a row speak of the same value; `None` when they are too many, as in a circle.
    fn in_place(&self, id: Id, above: usize, depths: &mut [Option<usize>]) -> Option<usize> {
        if above > MOST_IN_PLACE {
            return None;
        }
        if let Some(depth) = depths.get(id).copied().flatten() {
            return (above.saturating_add(depth) <= MOST_IN_PLACE).then_some(depth);
        }
        let mut deepest = 0_usize;
        for rule in &self.schemas.get(id)?.rules {
            for next in rule.in_place() {
                let depth = self.in_place(*next, above.saturating_add(1), depths)?;
                deepest = deepest.max(depth.saturating_add(1));
            }
        }
        if let Some(depth) = depths.get_mut(id) {
            *depth = Some(deepest);
        }
        Some(deepest)
    }

    /// Types of the values that may fit a schema; none when that takes too long to tell.
    pub(super) fn types(&self, id: Id) -> Types {
        let mut left = MOST_SCHEMAS_OF_PARAMETER;
        self.types_within(id, &mut left)
    }

    /// The members that an object of this schema may have, by name, and with the schema of each; `None` when it may have
    /// others, or when what is described depends on what it holds.
    pub(super) fn members_of(&self, id: Id) -> Option<BTreeMap<String, Id>> {
        let mut left = MOST_SCHEMAS_OF_PARAMETER;
        let mut members = BTreeMap::new();
        let is_told = self.members_within(id, &mut left, &mut members);
        (is_told && !members.is_empty()).then_some(members)
    }

    fn members_within(&self, id: Id, left: &mut usize, members: &mut BTreeMap<String, Id>) -> bool {
        let (Some(schema), Some(fewer)) = (self.schemas.get(id), left.checked_sub(1)) else {
            return false;
        };
        *left = fewer;
        schema.rules.iter().all(|rule| match rule {
            Rule::Members(written) => {
                let are_new = written
                    .known
                    .iter()
                    .all(|(name, id)| members.insert(name.clone(), *id).is_none());
                are_new && matches!(written.others, Others::Unsaid | Others::Refused)
            }
            Rule::All(ids) => ids.iter().all(|id| self.members_within(*id, left, members)),
            Rule::Any(_) | Rule::One(_) => false,
            _ => true,
        })
    }

    fn types_within(&self, id: Id, left: &mut usize) -> Types {
        let (Some(schema), Some(fewer)) = (self.schemas.get(id), left.checked_sub(1)) else {
            return Types::NONE;
        };
        *left = fewer;
        let mut types = schema.types;
        for rule in &schema.rules {
            types = types.and(match rule {
                Rule::All(ids) => ids
                    .iter()
                    .fold(Types::ANY, |all, id| all.and(self.types_within(*id, left))),
                Rule::Any(ids) | Rule::One(ids) => ids
                    .iter()
                    .fold(Types::NONE, |any, id| any.or(self.types_within(*id, left))),
                Rule::OneOfValues(values) => values.iter().map(Types::of).fold(Types::NONE, Types::or),
                _ => Types::ANY,
            });
        }
        types
    }

    /// Compiles a schema, once for each place. One that is wrong has been reported, and fits nothing.
    pub(super) fn schema(&mut self, (node, pointer): Node<'r, 't>) -> Id {
        if let Some(id) = self.known.get(&pointer) {
            return *id;
        }
        let id = self.schemas.len();
        self.schemas.push(Schema::never());
        self.places.push(pointer.clone());
        self.known.insert(pointer.clone(), id);
        self.spent.schemas = self.spent.schemas.saturating_add(1);
        if self.spent.schemas > MOST_SCHEMAS || self.depth == MOST_DEPTH {
            if self.spent.schemas <= MOST_SCHEMAS.saturating_add(1) {
                let fix = "use fewer of its operations, or write it flatter";
                self.report(
                    code::API_DOCUMENT_TOO_LARGE,
                    &pointer,
                    "too many schemas, or too deep",
                    fix,
                );
            }
            return id;
        }
        self.depth = self.depth.saturating_add(1);
        let schema = match node {
            Json::Bool(true) => Some(Schema::anything()),
            Json::Bool(false) => Some(Schema::never()),
            Json::Map(members) => self.keywords(node, members, &pointer),
            Json::Null | Json::Number(_) | Json::Text(_) | Json::List(_) => {
                self.cannot(&pointer, "this is no schema", "`{ \"type\": … }`");
                None
            }
        };
        self.depth = self.depth.saturating_sub(1);
        if let (Some(slot), Some(schema)) = (self.schemas.get_mut(id), schema) {
            *slot = schema;
        }
        id
    }

    fn keywords(
        &mut self,
        node: &'r Json<'t>,
        members: &'r [(std::borrow::Cow<'t, str>, Json<'t>)],
        pointer: &str,
    ) -> Option<Schema> {
        let types = match node.get("type") {
            None => Types::ANY,
            Some(written) => self.written_types(written, &joined(pointer, "type"))?,
        };
        let mut rules = Vec::new();
        for (name, value) in members {
            let at = joined(pointer, name);
            match self.keyword(name, value, &at) {
                Ok(rule) => rules.extend(rule),
                Err((message, fix)) => self.cannot(&at, message, fix),
            }
        }
        rules.extend(self.members(node, pointer));
        rules.extend(self.items(node, pointer));
        let is_idle = |rule: &Rule| matches!(rule, Rule::Format(format) if !types.meets(format.types()));
        if rules.iter().any(is_idle) {
            self.cannot(
                &joined(pointer, "format"),
                "this format says nothing about values of this type",
                "another type, or no format",
            );
        }
        // What is cheap and tells most goes first.
        rules.sort_by_key(|rule| !rule.in_place().is_empty());
        Some(Schema { types, rules })
    }

    fn written_types(&mut self, written: &Json<'t>, pointer: &str) -> Option<Types> {
        let named = |value: &Json<'_>| value.text().and_then(Types::named);
        let types = match written {
            Json::List(names) if !names.is_empty() => names
                .iter()
                .try_fold(Types::NONE, |types, name| Some(types.or(named(name)?))),
            one => named(one),
        };
        if types.is_none() {
            let fix = "one or several of string, integer, number, boolean, array, object, null";
            self.cannot(pointer, "this is no type", fix);
        }
        types
    }

    /// What one word asks for; nothing for a word that asks for nothing, or that is read together with others.
    fn keyword(&mut self, name: &str, value: &'r Json<'t>, at: &str) -> Result<Option<Rule>, Cannot> {
        Ok(Some(match name {
            "enum" => Rule::OneOfValues(list(value)?.iter().map(Json::owned).collect()),
            "const" => Rule::OneOfValues(vec![value.owned()]),
            "minLength" => Rule::MinLength(size(value)?),
            "maxLength" => Rule::MaxLength(size(value)?),
            "minItems" => Rule::MinItems(size(value)?),
            "maxItems" => Rule::MaxItems(size(value)?),
            "minProperties" => Rule::MinMembers(size(value)?),
            "maxProperties" => Rule::MaxMembers(size(value)?),
            "minimum" => Rule::Minimum(number(value)?),
            "maximum" => Rule::Maximum(number(value)?),
            "exclusiveMinimum" => Rule::Above(number(value)?),
            "exclusiveMaximum" => Rule::Below(number(value)?),
            "multipleOf" => {
                let step = number(value)?.as_i128().filter(|step| *step > 0);
                let cannot = (
                    "only multiples of whole numbers can be told exactly",
                    "a whole number above zero",
                );
                Rule::MultipleOf(step.ok_or(cannot)?)
            }
            "uniqueItems" => match value {
                Json::Bool(true) => Rule::UniqueItems,
                Json::Bool(false) => return Ok(None),
                _ => return Err(("this is neither true nor false", "`true`")),
            },
            "pattern" => Rule::Pattern(self.pattern(value)?),
            "format" => match value.text().and_then(Format::named) {
                Some(Known::Enforced(format)) => Rule::Format(format),
                Some(Known::Shown) => return Ok(None),
                None => return Err(("this format cannot be enforced", FORMATS)),
            },
            "$ref" => match self.referred(value, at) {
                Some(target) => Rule::All(vec![self.schema(target)]),
                None => return Ok(None),
            },
            "allOf" => Rule::All(self.each(list(value)?, at)),
            "anyOf" => Rule::Any(self.each(list(value)?, at)),
            "oneOf" => Rule::One(self.each(list(value)?, at)),
            "not" => Rule::Not(self.schema((value, at.to_owned()))),
            "propertyNames" => Rule::Names(self.schema((value, at.to_owned()))),
            "type"
            | "properties"
            | "required"
            | "additionalProperties"
            | "unevaluatedProperties"
            | "items"
            | "prefixItems" => return Ok(None),
            word if ANNOTATIONS.contains(&word) || word.starts_with("x-") => return Ok(None),
            "nullable" => {
                return Err((
                    "`nullable` is a word of OpenAPI 3.0",
                    "`\"type\": [\"string\", \"null\"]`",
                ));
            }
            _ => {
                return Err((
                    "this word of a schema cannot be enforced",
                    "say it with words that can be, or leave it out",
                ));
            }
        }))
    }

    fn pattern(&mut self, value: &Json<'t>) -> Result<Pattern, Cannot> {
        let written = value.text().ok_or(("a pattern is a text", "`\"^[a-z]+$\"`"))?;
        if let Some(pattern) = self.spent.patterns.get(written) {
            return Ok(pattern.clone());
        }
        if self.spent.patterns.len() == MOST_PATTERNS {
            return Err((
                "more than 100 patterns in one document",
                "use one schema for what is alike",
            ));
        }
        let pattern = Pattern::compile(written).map_err(|why| (why, "a simpler expression"))?;
        self.spent.patterns.insert(written.to_owned(), pattern.clone());
        Ok(pattern)
    }

    /// A schema for each item of a list.
    fn each(&mut self, items: &'r [Json<'t>], pointer: &str) -> Vec<Id> {
        let numbered = items.iter().enumerate();
        numbered
            .map(|(index, item)| self.schema((item, format!("{pointer}/{index}"))))
            .collect()
    }

    /// `properties`, `required`, `additionalProperties` and `unevaluatedProperties`.
    fn members(&mut self, node: &'r Json<'t>, pointer: &str) -> Option<Rule> {
        let word = |name: &str| Some((node.get(name)?, joined(pointer, name)));
        let (properties, required) = (word("properties"), word("required"));
        let others = word("additionalProperties").or_else(|| word("unevaluatedProperties"));
        let is_described = properties.is_some();
        if !is_described && required.is_none() && others.is_none() {
            return None;
        }
        let mut known = Vec::new();
        let mut read_only = Vec::new();
        match &properties {
            Some((Json::Map(properties), pointer)) => {
                for (name, property) in properties {
                    let at = joined(pointer, name);
                    let mut id = self.schema((property, at.clone()));
                    if self.is_read_only(property) {
                        read_only.push(name.as_ref());
                        id = self.read_only(at);
                    }
                    known.push((name.clone().into_owned(), id));
                }
            }
            Some((_, pointer)) => self.cannot(pointer, "this must be an object", "`{ … }`"),
            None => {}
        }
        known.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut names = Vec::new();
        if let Some((required, pointer)) = required {
            let texts = match required {
                Json::List(names) => names.iter().map(Json::text).collect::<Option<Vec<_>>>(),
                _ => None,
            };
            match texts {
                // What only answers may hold is not asked of requests.
                Some(texts) => names.extend(texts.into_iter().filter(|name| !read_only.contains(name))),
                None => self.cannot(&pointer, "this is no list of names", "`[\"name\"]`"),
            }
        }
        Some(Rule::Members(Members {
            known,
            required: names.into_iter().map(str::to_owned).collect(),
            others: self.others(node, others),
            is_described,
        }))
    }

    fn others(&mut self, node: &Json<'t>, written: Option<Node<'r, 't>>) -> Others {
        let is_unevaluated = node.get("additionalProperties").is_none();
        match written {
            None => Others::Unsaid,
            // What no schema of the object describes is refused anyway.
            Some((Json::Bool(false), _)) if is_unevaluated => Others::Unsaid,
            Some((Json::Bool(false), _)) => Others::Refused,
            Some((Json::Bool(true), _)) => Others::Taken,
            Some((_, pointer)) if is_unevaluated => {
                self.cannot(
                    &pointer,
                    "only true and false can be enforced here",
                    "`additionalProperties`",
                );
                Others::Refused
            }
            Some(schema) => Others::Fitting(self.schema(schema)),
        }
    }

    /// Whether a property, or what it refers to, is for answers only.
    fn is_read_only(&self, property: &Json<'t>) -> bool {
        let says = |node: &Json<'_>| matches!(node.get("readOnly"), Some(Json::Bool(true)));
        let target = property.get("$ref").and_then(Json::text);
        let target = target.and_then(|text| self.source.root.at(text.strip_prefix('#')?));
        says(property) || target.is_some_and(says)
    }

    fn read_only(&mut self, place: String) -> Id {
        let id = self.schemas.len();
        self.schemas.push(Schema {
            types: Types::ANY,
            rules: vec![Rule::ReadOnly],
        });
        self.places.push(place);
        id
    }

    /// `prefixItems` and `items`.
    fn items(&mut self, node: &'r Json<'t>, pointer: &str) -> Option<Rule> {
        let (first, rest) = (node.get("prefixItems"), node.get("items"));
        if first.is_none() && rest.is_none() {
            return None;
        }
        let place = joined(pointer, "prefixItems");
        let first = match first.map(list) {
            Some(Ok(items)) => self.each(items, &place),
            Some(Err((message, fix))) => {
                self.cannot(&place, message, fix);
                Vec::new()
            }
            None => Vec::new(),
        };
        let rest = rest.map(|rest| self.schema((rest, joined(pointer, "items"))));
        Some(Rule::Items(Items { first, rest }))
    }
}

/// What cannot be enforced, and what to write instead.
type Cannot = (&'static str, &'static str);

const FORMATS: &str = "one of int8 to int64, uint8 to uint64, float, double, uuid, ulid, date, date-time, email, ipv4, \
                       ipv6, uri, byte, password; or a `pattern`";

fn list<'r, 't>(value: &'r Json<'t>) -> Result<&'r [Json<'t>], Cannot> {
    match value {
        Json::List(items) if !items.is_empty() => Ok(items),
        _ => Err(("this must be a list with something in it", "`[…]`")),
    }
}

fn number(value: &Json<'_>) -> Result<Number, Cannot> {
    match value {
        Json::Number(number) => Ok(number.clone()),
        _ => Err(("this must be a number", "a number, without quotes")),
    }
}

fn size(value: &Json<'_>) -> Result<u64, Cannot> {
    let size = number(value)?.as_u64();
    size.ok_or((
        "this must be a whole number from 0",
        "a whole number, without quotes",
    ))
}
