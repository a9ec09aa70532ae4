//! `portico policy show`: questions about the policy, answered with the lines that decide.

use std::collections::BTreeMap;

use ::policy::Rule;
use ::policy::describe::{Definition, Description, Fact, Kind, Value, describe};

mod routes;
mod waivers;

use super::arguments::{PolicyShowCommand, ShowArguments, ShowRouteArguments};
use super::bundle::Bundle;
use super::table::Table;
use super::today;
use crate::arguments::Format;
use crate::{Outcome, Unreadable, output};

pub(crate) fn run(question: &PolicyShowCommand) -> anyhow::Result<Outcome> {
    let common = common(question);
    let (bundle, environment) = Bundle::chosen(
        common.directory.as_deref(),
        &common.running,
        common.env.as_deref(),
    )?;
    let description =
        describe(&bundle.files, &environment).map_err(|findings| bundle.refused(&findings, &environment))?;
    let table = answer(question, &description)?;
    match common.format {
        Format::Human => {
            let answer = if table.rows.is_empty() {
                "none".to_owned()
            } else {
                table.human()
            };
            output::line(&answer);
            if let Some(remark) = bundle.remark() {
                output::line(&remark);
            }
        }
        Format::Json => output::line(&serde_json::to_string_pretty(&table.json())?),
    }
    Ok(Outcome::Done)
}

pub(super) const fn common(question: &PolicyShowCommand) -> &ShowArguments {
    match question {
        PolicyShowCommand::Routes(arguments) => &arguments.common,
        PolicyShowCommand::Limits(arguments) | PolicyShowCommand::Headers(arguments) => &arguments.common,
        PolicyShowCommand::Identity(common)
        | PolicyShowCommand::Cors(common)
        | PolicyShowCommand::Scopes(common)
        | PolicyShowCommand::Addresses(common)
        | PolicyShowCommand::Upstreams(common)
        | PolicyShowCommand::Waivers(common)
        | PolicyShowCommand::Listeners(common) => common,
    }
}

fn answer(question: &PolicyShowCommand, policy: &Description) -> Result<Table, Unreadable> {
    Ok(match question {
        PolicyShowCommand::Routes(arguments) => return routes::answer(policy, arguments),
        PolicyShowCommand::Limits(arguments) => return limits(policy, arguments),
        PolicyShowCommand::Headers(arguments) => return headers(policy, arguments),
        PolicyShowCommand::Identity(_) => definitions(policy, "provider", &[Kind::Identity]),
        PolicyShowCommand::Cors(_) => definitions(policy, "profile", &[Kind::Cors]),
        PolicyShowCommand::Scopes(_) => scopes(policy),
        PolicyShowCommand::Addresses(_) => definitions(policy, "list", &[Kind::Addresses]),
        PolicyShowCommand::Upstreams(_) => definitions(policy, "upstream", &[Kind::Upstream]),
        PolicyShowCommand::Waivers(_) => waivers::answer(policy, today()),
        PolicyShowCommand::Listeners(_) => definitions(
            policy,
            "listener",
            &[Kind::Listener, Kind::Clear, Kind::Certificate, Kind::Hosts],
        ),
    })
}

/// The route of this name.
fn route<'d>(policy: &'d Description, name: &str) -> Result<&'d Definition, Unreadable> {
    let mut all = policy.all(Kind::Route);
    all.find(|route| route.name() == name).ok_or_else(|| {
        let names: Vec<&str> = policy.all(Kind::Route).map(Definition::name).collect();
        unknown("route", name, &names)
    })
}

fn unknown(what: &str, name: &str, known: &[&str]) -> Unreadable {
    Unreadable(format!(
        "no {what} is called `{name}`: {}",
        ::policy::suggestion(name, known)
    ))
}

fn limits(policy: &Description, arguments: &ShowRouteArguments) -> Result<Table, Unreadable> {
    let limits: Vec<&Definition> = match &arguments.route {
        Some(name) => policy.limits_of(&route(policy, name)?.key).collect(),
        None => policy.all(Kind::Limit).collect(),
    };
    let mut table = Table::new(&[
        "limit",
        "pace",
        "at once",
        "counted by",
        "counts",
        "mode",
        "count in",
        "on store down",
        "requests",
        "decided at",
    ]);
    for limit in limits {
        let owner = limit.owner.as_deref().and_then(|owner| policy.find(owner));
        let requests = owner.filter(|owner| owner.kind == Kind::Route);
        table.rows.push(vec![
            limit.name().to_owned(),
            limit.text("limit"),
            limit.text("burst"),
            limit.text("key"),
            limit.text("count"),
            limit.text("mode"),
            limit.text("count_in"),
            limit.text("on_store_down"),
            requests.map_or_else(|| "every one".to_owned(), |route| route.text("match")),
            limit.fact("limit").map(decided).unwrap_or_default(),
        ]);
    }
    Ok(table)
}

fn headers(policy: &Description, arguments: &ShowRouteArguments) -> Result<Table, Unreadable> {
    let wanted = match &arguments.route {
        Some(name) => route(policy, name)?.reference("headers"),
        None => None,
    };
    let mut table = Table::new(&["profile", "header", "decided at", "value"]);
    let all = policy.all(Kind::Headers);
    for profile in all.filter(|profile| wanted.is_none_or(|wanted| wanted == profile.key)) {
        let row = |header: &str, fact: &Fact, value: String| {
            vec![profile.name().to_owned(), header.to_owned(), decided(fact), value]
        };
        for fact in &profile.facts {
            match (&fact.value, fact.name.strip_prefix("set.")) {
                (value, Some(header)) => table.rows.push(row(header, fact, value.to_string())),
                (Value::Set(removed), None) => {
                    let gone = removed
                        .iter()
                        .map(|header| row(header, fact, "(never)".to_owned()));
                    table.rows.extend(gone);
                }
                _ => {}
            }
        }
        table.rows.push(vec![
            profile.name().to_owned(),
            "(used by)".to_owned(),
            String::new(),
            users(policy, profile),
        ]);
    }
    Ok(table)
}

/// Which scope opens which routes; a route with several needs all of them.
fn scopes(policy: &Description) -> Table {
    let mut opens: BTreeMap<&str, Vec<(&Definition, &Fact)>> = BTreeMap::new();
    for route in policy.all(Kind::Route) {
        let Some(fact) = route.fact("scopes") else {
            continue;
        };
        match &fact.value {
            Value::Set(scopes) if scopes.is_empty() => {
                opens.entry("(any token)").or_default().push((route, fact));
            }
            Value::Set(scopes) => {
                for scope in scopes {
                    opens.entry(scope).or_default().push((route, fact));
                }
            }
            _ => {}
        }
    }
    let mut table = Table::new(&["scope", "route", "request", "auth", "needs", "decided at"]);
    for (scope, routes) in opens {
        for (route, fact) in routes {
            table.rows.push(vec![
                scope.to_owned(),
                route.name().to_owned(),
                route.text("match"),
                route.text("auth"),
                fact.value.to_string(),
                decided(fact),
            ]);
        }
    }
    table
}

/// Every fact of the definitions of some kinds, and who uses them.
fn definitions(policy: &Description, title: &'static str, kinds: &[Kind]) -> Table {
    let mut table = Table::new(&[title, "key", "decided at", "value"]);
    for definition in policy
        .definitions
        .iter()
        .filter(|definition| kinds.contains(&definition.kind))
    {
        // The side of a listener is told with the listener.
        let (name, prefix) = match &definition.owner {
            Some(owner) => (last(owner), format!("{}.", definition.name())),
            None => (definition.name(), String::new()),
        };
        for fact in &definition.facts {
            table.rows.push(vec![
                name.to_owned(),
                format!("{prefix}{}", fact.name),
                decided(fact),
                fact.value.to_string(),
            ]);
        }
        let users = users(policy, definition);
        if !users.is_empty() {
            table.rows.push(vec![
                name.to_owned(),
                "(used by)".to_owned(),
                String::new(),
                users,
            ]);
        }
    }
    table
}

/// The names of what refers to a definition.
fn users(policy: &Description, definition: &Definition) -> String {
    let users = policy.users(&definition.key).map(|user| match user.kind {
        Kind::Floor => "the floor",
        _ => user.name(),
    });
    users.collect::<Vec<&str>>().join(", ")
}

fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// `routes/identity.yaml:24`, and the line of the base that an overlay replaced.
fn decided(fact: &Fact) -> String {
    let place = |rule: &Rule| match (rule.file(), rule.line()) {
        (Some(file), Some(line)) => format!("{file}:{line}"),
        _ => rule.to_string(),
    };
    match &fact.overridden {
        Some(base) => format!("{} (base: {})", place(&fact.place), place(base)),
        None => place(&fact.place),
    }
}
