//! Who may call what: the table of routes, or everything that holds for one of them.

use std::net::IpAddr;

use ::policy::describe::{Definition, Description, Fact, Kind, Value};
use ipnet::IpNet;

use super::{decided, route, unknown};
use crate::Unreadable;
use crate::policy::arguments::ShowRoutesArguments;
use crate::policy::table::Table;

pub(super) fn answer(policy: &Description, arguments: &ShowRoutesArguments) -> Result<Table, Unreadable> {
    match &arguments.route {
        Some(name) => Ok(one(policy, route(policy, name)?)),
        None => all(policy, arguments),
    }
}

fn all(policy: &Description, arguments: &ShowRoutesArguments) -> Result<Table, Unreadable> {
    let providers = policy.all(Kind::Identity).map(Definition::name);
    let known: Vec<&str> = providers.chain(["none"]).collect();
    if let Some(auth) = arguments.auth.as_deref().filter(|auth| !known.contains(auth)) {
        return Err(unknown("identity provider", auth, &known));
    }
    let mut table = Table::new(&[
        "route",
        "request",
        "auth",
        "decided at",
        "from",
        "scopes or reason",
    ]);
    for route in policy.all(Kind::Route) {
        let auth = route.text("auth");
        let is_wanted = arguments.auth.as_ref().is_none_or(|wanted| *wanted == auth)
            && arguments
                .client
                .is_none_or(|client| may_come(policy, route, client));
        if !is_wanted {
            continue;
        }
        let detail = route.fact("scopes").or_else(|| route.fact("because"));
        table.rows.push(vec![
            route.name().to_owned(),
            route.text("match"),
            auth,
            route.fact("auth").map(decided).unwrap_or_default(),
            route.text("allow_from"),
            detail.map(|fact| fact.value.to_string()).unwrap_or_default(),
        ]);
    }
    Ok(table)
}

/// Whether a client with this address gets past the address rules of the floor and of a route.
fn may_come(policy: &Description, route: &Definition, client: IpAddr) -> bool {
    let client = client.to_canonical();
    let is_in = |fact: &Fact| {
        networks(policy, fact)
            .iter()
            .any(|(_, networks)| networks.iter().any(|network| network.contains(&client)))
    };
    let denied = policy.find("floor").and_then(|floor| floor.fact("deny_from"));
    let allowed = route.fact("allow_from");
    !denied.is_some_and(is_in)
        && allowed.is_none_or(|fact| !matches!(fact.value, Value::References(_)) || is_in(fact))
}

/// The networks of the lists that a fact refers to, by the name of the list.
fn networks<'d>(policy: &'d Description, fact: &'d Fact) -> Vec<(&'d str, Vec<IpNet>)> {
    let Value::References(lists) = &fact.value else {
        return Vec::new();
    };
    let lists = lists.iter().filter_map(|key| policy.find(key));
    let parsed = |list: &'d Definition| {
        let networks = list.text("");
        let networks = networks.split(", ").filter_map(|network| network.parse().ok());
        (list.name(), networks.collect())
    };
    lists.map(parsed).collect()
}

/// Everything that holds for one route: what it says itself, and what it takes from elsewhere.
fn one(policy: &Description, route: &Definition) -> Table {
    let mut table = Table::new(&["key", "decided at", "value"]);
    let floor = policy.find("floor");
    let of_floor = |name: &'static str| floor.and_then(|floor| Some((name, floor.fact(name)?)));
    for fact in &route.facts {
        if fact.name == "allow_from" {
            let denied = of_floor("deny_from");
            table
                .rows
                .extend(denied.map(|(name, fact)| row(policy, &format!("floor.{name}"), fact)));
        }
        table.rows.push(row(policy, &fact.name, fact));
    }
    for (name, fact) in ["timeouts.head", "timeouts.body"]
        .into_iter()
        .filter_map(of_floor)
    {
        table.rows.push(row(policy, &format!("floor.{name}"), fact));
    }
    for limit in policy.limits_of(&route.key) {
        let of_floor = limit.owner.as_deref() == Some("floor");
        let name = format!("{}rate.{}", if of_floor { "floor." } else { "" }, limit.name());
        let text = |name: &str| limit.text(name);
        let mut value = format!(
            "{}, {} at once, by {}, counts {}, mode {}, counted in {}",
            text("limit"),
            text("burst"),
            text("key"),
            text("count"),
            text("mode"),
            text("count_in")
        );
        if text("count_in") == "store" {
            value.push_str(&format!(", on store down {}", text("on_store_down")));
        }
        let place = limit.fact("limit").map(decided).unwrap_or_default();
        table.rows.push(vec![name, place, value]);
    }
    table
}

/// A fact; of a list of addresses, also what is in it.
fn row(policy: &Description, name: &str, fact: &Fact) -> Vec<String> {
    let lists: Vec<String> = networks(policy, fact)
        .iter()
        .map(|(name, networks)| {
            let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
            format!("{name} ({})", networks.join(", "))
        })
        .collect();
    let value = if lists.is_empty() {
        fact.value.to_string()
    } else {
        lists.join(", ")
    };
    vec![name.to_owned(), decided(fact), value]
}
