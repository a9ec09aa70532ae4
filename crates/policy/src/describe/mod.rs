//! What a plan enforces, as facts: a key, a value, and the line that says so.
//!
//! A fact is resolved: the overlay is applied, defaults and what a route takes from the floor are filled in, units are
//! gone. So two bundles that enforce the same have the same facts, however they are written.

mod definitions;
mod places;
mod value;

pub use value::Value;

use crate::{Diagnostic, Rule, SourceFile, compile::compile};
use places::Places;

/// Everything that one bundle enforces in one environment.
#[derive(Debug, Clone)]
pub struct Description {
    /// The environment it was compiled for.
    pub environment: String,
    /// Hash of the bundle, as [`crate::Plan::hash`].
    pub hash: String,
    /// Listeners, hosts, upstreams, providers, profiles, the floor and routes, each followed by what belongs to it.
    pub definitions: Vec<Definition>,
}

/// What a definition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A listener and its HTTPS side.
    Listener,
    /// The side of a listener in clear.
    Clear,
    /// What a certificate is for.
    Certificate,
    /// The list of host names.
    Hosts,
    /// A list of client addresses.
    Addresses,
    /// A service behind the gateway.
    Upstream,
    /// An identity provider.
    Identity,
    /// A header profile.
    Headers,
    /// A CORS profile.
    Cors,
    /// What holds for every request.
    Floor,
    /// When guesses at passwords are refused.
    Lockout,
    /// A route.
    Route,
    /// A limit of the floor or of a route.
    Limit,
    /// An exception from a rule.
    Waiver,
}

/// One named thing of the language with its facts.
#[derive(Debug, Clone)]
pub struct Definition {
    /// What it is.
    pub kind: Kind,
    /// Its full name: `routes.login`, `floor.rate.per-address`, `hosts`.
    pub key: String,
    /// The definition that it is a part of: the route of a limit, the listener of a side.
    pub owner: Option<String>,
    /// Where it is written.
    pub place: Rule,
    /// Its facts, in the order of the language.
    pub facts: Vec<Fact>,
}

/// One value that is enforced.
#[derive(Debug, Clone)]
pub struct Fact {
    /// The key within its definition: `auth`, `limits.body`, `set.x-frame-options`; empty when the definition has one
    /// value only.
    pub name: String,
    /// What is enforced.
    pub value: Value,
    /// The line that decides it.
    pub place: Rule,
    /// The line of the base file that the overlay replaced.
    pub overridden: Option<Rule>,
    /// The key whose value this one is, when it is not written here: `floor.limits.body`.
    pub follows: Option<String>,
}

/// Compiles a bundle for one environment and says what it enforces.
///
/// # Errors
/// As [`crate::compile()`].
pub fn describe(files: &[SourceFile], environment: &str) -> Result<Description, Vec<Diagnostic>> {
    let plan = compile(files, environment)?;
    Ok(Description {
        environment: environment.to_owned(),
        hash: plan.hash().to_owned(),
        definitions: definitions::of(&plan, &Places::of(files, environment)),
    })
}

impl Description {
    /// Every definition of one kind.
    pub fn all(&self, kind: Kind) -> impl Iterator<Item = &Definition> {
        self.definitions
            .iter()
            .filter(move |definition| definition.kind == kind)
    }

    /// The definition with this full name.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<&Definition> {
        self.definitions.iter().find(|definition| definition.key == key)
    }

    /// The definitions that refer to `key`: the routes of an upstream, the routes and the floor of a header profile.
    pub fn users<'d>(&'d self, key: &'d str) -> impl Iterator<Item = &'d Definition> {
        let is_reference = move |fact: &Fact| match &fact.value {
            Value::Reference(to) => to == key,
            Value::References(to) => to.contains(key),
            _ => false,
        };
        self.definitions
            .iter()
            .filter(move |definition| definition.facts.iter().any(is_reference))
    }

    /// The limits that count the requests of a route: those of the floor, then its own.
    pub fn limits_of<'d>(&'d self, route: &'d str) -> impl Iterator<Item = &'d Definition> {
        self.all(Kind::Limit).filter(move |limit| {
            limit
                .owner
                .as_deref()
                .is_some_and(|owner| owner == "floor" || owner == route)
        })
    }
}

impl Definition {
    /// The last part of its full name: `login`, `per-address`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.key.rsplit('.').next().unwrap_or(&self.key)
    }

    /// One of its facts.
    #[must_use]
    pub fn fact(&self, name: &str) -> Option<&Fact> {
        self.facts.iter().find(|fact| fact.name == name)
    }

    /// The value of a fact in words; empty when there is none.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        self.fact(name)
            .map(|fact| fact.value.to_string())
            .unwrap_or_default()
    }

    /// The definition that a fact refers to.
    #[must_use]
    pub fn reference(&self, name: &str) -> Option<&str> {
        match &self.fact(name)?.value {
            Value::Reference(key) => Some(key),
            _ => None,
        }
    }

    /// The full name of one of its facts: `routes.login.auth`.
    #[must_use]
    pub fn key_of(&self, name: &str) -> String {
        if name.is_empty() {
            self.key.clone()
        } else {
            format!("{}.{name}", self.key)
        }
    }
}
