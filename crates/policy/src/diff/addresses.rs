//! Changes of who may come by the address of the client. Lists count by the networks in them.

use super::{
    Risk,
    judge::{Comparison, Judgement},
    table,
};
use crate::describe::{Definition, Description, Kind, Value};
use ipnet::IpNet;
use std::collections::BTreeSet;

type Values<'v> = (&'v Value, &'v Value);

/// Another `deny_from`.
pub(super) fn denied(comparison: &Comparison<'_>, values: Values<'_>) -> Judgement {
    let (old, new) = networks(comparison, values);
    refused((&old, &new))
}

/// Another `trusted_proxies.from`.
pub(super) fn trusted(comparison: &Comparison<'_>, values: Values<'_>) -> Judgement {
    let (old, new) = networks(comparison, values);
    believed((&old, &new))
}

/// Another `allow_from`.
pub(super) fn allowed(comparison: &Comparison<'_>, values: Values<'_>, subject: &str) -> Judgement {
    match values {
        (Value::References(_), Value::Text(_)) => {
            Judgement::new(Risk::High, format!("{subject} may be called from any address"))
        }
        (Value::Text(_), Value::References(_)) => Judgement::new(
            Risk::Low,
            format!("{subject} may be called from {} only", values.1),
        ),
        _ => {
            let (old, new) = networks(comparison, values);
            admitted((&old, &new))
        }
    }
}

/// Other networks in a list: what opens depends on whether it keeps out, lets in, or both.
pub(super) fn list(comparison: &Comparison<'_>, after: &Definition, values: Values<'_>) -> Judgement {
    let judgement = |user: &Definition| match user.kind {
        Kind::Floor => refused(values),
        Kind::Listener => believed(values),
        _ => admitted(values),
    };
    let judgements = comparison.new.users(&after.key).map(judgement);
    judgements
        .max_by_key(|judgement| judgement.risk)
        .unwrap_or_else(|| admitted(values))
}

fn refused(values: Values<'_>) -> Judgement {
    let added = (Risk::Low, "clients from {words} are refused with 403");
    let removed = (Risk::High, "clients from {words} may come again");
    let mut judgement = said(added, removed, values);
    if is_everyone(values.1) && !is_everyone(values.0) {
        judgement.shut_out();
    }
    judgement
}

/// Whether networks hold every address of IPv4 or of IPv6, also in pieces.
fn is_everyone(networks: &Value) -> bool {
    let Value::Set(networks) = networks else {
        return false;
    };
    let networks: Vec<IpNet> = networks
        .iter()
        .filter_map(|network| network.parse().ok())
        .collect();
    let whole = IpNet::aggregate(&networks);
    whole.iter().any(|network| network.prefix_len() == 0)
}

fn admitted(values: Values<'_>) -> Judgement {
    let added = (Risk::High, "clients from {words} may come");
    let removed = (Risk::Low, "clients from {words} are refused with 403");
    said(added, removed, values)
}

fn believed(values: Values<'_>) -> Judgement {
    let added = (
        Risk::Critical,
        "whoever comes from {words} may say which client it is",
    );
    let removed = (
        Risk::Medium,
        "who comes from {words} is a client, whatever it says",
    );
    said(added, removed, values)
}

fn said(added: (Risk, &str), removed: (Risk, &str), (old, new): Values<'_>) -> Judgement {
    let (risk, words) = table::words(added, removed, (&beyond(old, new), &beyond(new, old)));
    if words.is_empty() {
        return Judgement::new(Risk::Info, "other lists, the same networks");
    }
    Judgement::new(risk, words)
}

/// The networks that are not inside one of the other side.
fn beyond(networks: &Value, others: &Value) -> Value {
    let (Value::Set(networks), Value::Set(others)) = (networks, others) else {
        return networks.clone();
    };
    let others: Vec<IpNet> = others.iter().filter_map(|other| other.parse().ok()).collect();
    let is_inside = |network: &&String| {
        let network = network.parse::<IpNet>();
        network.is_ok_and(|network| others.iter().any(|other| other.contains(&network)))
    };
    Value::Set(
        networks
            .iter()
            .filter(|network| !is_inside(network))
            .cloned()
            .collect(),
    )
}

/// All networks of the lists of both sides.
fn networks(comparison: &Comparison<'_>, (old, new): Values<'_>) -> (Value, Value) {
    let all = |description: &Description, value: &Value| {
        let none = BTreeSet::new();
        let keys = match value {
            Value::References(keys) => keys,
            _ => &none,
        };
        let lists = keys.iter().filter_map(|key| description.find(key)?.fact(""));
        let networks = lists.filter_map(|fact| match &fact.value {
            Value::Set(networks) => Some(networks.clone()),
            _ => None,
        });
        Value::Set(networks.flatten().collect())
    };
    (all(comparison.old, old), all(comparison.new, new))
}
