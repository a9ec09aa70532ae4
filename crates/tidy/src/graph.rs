//! Who may depend on whom: the crate graph of this workspace and the borders of its pure crates (INV-A4, INV-A5).

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, Package, PackageId};

use crate::Finding;

/// Our crates and exactly the crates of ours that each may name, tests included.
///
/// A new edge is a decision: it is added here together with its reason in the commit.
pub const ALLOWED: [(&str, &[&str]); 21] = [
    (
        "portico",
        &[
            "control-plane",
            "core-api",
            "database",
            "fleet",
            "gateway",
            "keyring",
            "passwords",
            "policy",
            "secrets",
            "service-runtime",
            "skips",
            "stand-ins",
            "trial",
        ],
    ),
    (
        "gateway",
        &[
            "fleet",
            "keyring",
            "policy",
            "problem",
            "service-runtime",
            "strictness",
        ],
    ),
    (
        "control-plane",
        &[
            "custody",
            "database",
            "fleet",
            "keyring",
            "policy",
            "problem",
            "service-runtime",
            "stand-ins",
            "test-support",
        ],
    ),
    (
        "core-api",
        &[
            "custody",
            "database",
            "keyring",
            "lockout",
            "passwords",
            "policy",
            "problem",
            "service-runtime",
            "stand-ins",
            "test-support",
        ],
    ),
    ("lockout", &[]),
    ("passwords", &[]),
    ("policy", &["lockout"]),
    ("problem", &[]),
    ("keyring", &[]),
    ("fleet", &["keyring"]),
    ("database", &["secrets", "service-runtime", "skips", "stand-ins"]),
    ("secrets", &["stand-ins"]),
    ("custody", &["keyring", "secrets"]),
    ("skips", &[]),
    ("stand-ins", &[]),
    ("service-runtime", &["problem", "secrets"]),
    ("test-support", &["database", "service-runtime"]),
    ("strictness", &[]),
    ("trial", &["database", "fleet", "keyring", "service-runtime"]),
    ("tidy", &["skips"]),
    ("bench", &["keyring", "service-runtime", "strictness", "trial"]),
];

/// Foreign crates that only some of ours may name.
pub const RESERVED: [(&str, &[&str]); 6] = [
    ("pingora", &["gateway", "bench"]),
    (
        "sqlx",
        &[
            "control-plane",
            "core-api",
            "database",
            "portico",
            "test-support",
            "trial",
        ],
    ),
    ("argon2", &["core-api"]),
    ("bcrypt", &["core-api"]),
    ("xorf", &["passwords"]),
    ("zxcvbn", &["passwords"]),
];

/// Crates of ours that are pure, and the beginnings of crate names that must not be reachable from them: no runtime,
/// no sockets, no database, no clock.
pub const PURE: [(&str, &[&str]); 5] = [
    (
        "lockout",
        &[
            "tokio", "axum", "hyper", "pingora", "sqlx", "reqwest", "chrono", "async-",
        ],
    ),
    (
        "policy",
        &[
            "tokio", "axum", "hyper", "pingora", "sqlx", "reqwest", "chrono", "async-",
        ],
    ),
    (
        "fleet",
        &[
            "tokio", "axum", "hyper", "pingora", "sqlx", "reqwest", "chrono", "async-",
        ],
    ),
    (
        "keyring",
        &[
            "tokio", "axum", "hyper", "pingora", "sqlx", "reqwest", "chrono", "async-",
        ],
    ),
    (
        "passwords",
        &[
            "tokio", "axum", "hyper", "pingora", "sqlx", "reqwest", "chrono", "async-",
        ],
    ),
];

/// Direct dependencies of each crate of ours: crate name → names.
pub type Edges = BTreeMap<String, BTreeSet<String>>;

/// Reads from cargo what every workspace member names in its manifest, dev-dependencies included.
pub fn direct_dependencies(metadata: &Metadata) -> Edges {
    let names = |package: &Package| {
        package
            .dependencies
            .iter()
            .map(|dependency| dependency.name.clone())
            .collect()
    };
    metadata
        .workspace_packages()
        .into_iter()
        .map(|package| (package.name.to_string(), names(package)))
        .collect()
}

/// Compares the edges between our own crates with `allowed`, in both directions.
pub fn own_edges_are(edges: &Edges, allowed: &[(&str, &[&str])]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let planned: BTreeMap<&str, BTreeSet<&str>> = allowed
        .iter()
        .map(|(name, targets)| (*name, targets.iter().copied().collect()))
        .collect();
    for (name, targets) in edges {
        let Some(plan) = planned.get(name.as_str()) else {
            findings.push(Finding::new(
                name,
                "is not in the crate graph; add it to tidy's ALLOWED with a reason",
            ));
            continue;
        };
        let real: BTreeSet<&str> = targets
            .iter()
            .map(String::as_str)
            .filter(|to| edges.contains_key(*to))
            .collect();
        for extra in real.difference(plan) {
            findings.push(Finding::new(name, format!("must not depend on `{extra}`")));
        }
        for unused in plan.difference(&real) {
            findings.push(Finding::new(
                name,
                format!("no longer depends on `{unused}`; remove it from tidy's ALLOWED"),
            ));
        }
    }
    for name in planned.keys().filter(|name| !edges.contains_key(**name)) {
        findings.push(Finding::new(
            *name,
            "is in tidy's ALLOWED but not in the workspace",
        ));
    }
    findings
}

/// Finds crates of ours that name a reserved foreign crate.
pub fn reserved_crates(edges: &Edges, reserved: &[(&str, &[&str])]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, targets) in edges {
        for (crate_name, owners) in reserved {
            if targets.contains(*crate_name) && !owners.contains(&name.as_str()) {
                findings.push(Finding::new(
                    name,
                    format!("must not use `{crate_name}`: only {}", owners.join(", ")),
                ));
            }
        }
    }
    findings
}

/// Finds forbidden crates among everything a pure crate is built from, by way of any number of others.
pub fn impure(name: &str, built_from: &BTreeSet<String>, forbidden: &[&str]) -> Vec<Finding> {
    let is_forbidden = |crate_name: &&String| forbidden.iter().any(|start| crate_name.starts_with(start));
    built_from
        .iter()
        .filter(is_forbidden)
        .map(|found| Finding::new(name, format!("must stay pure, but is built from `{found}`")))
        .collect()
}

/// Names of all crates `name` is built from, build scripts and tests excluded.
pub fn built_from(metadata: &Metadata, name: &str) -> BTreeSet<String> {
    let Some(resolve) = &metadata.resolve else {
        return BTreeSet::new();
    };
    let nodes: BTreeMap<&PackageId, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let names: BTreeMap<&PackageId, &str> = metadata
        .packages
        .iter()
        .map(|package| (&package.id, package.name.as_str()))
        .collect();
    let mut open: Vec<&PackageId> = metadata
        .workspace_packages()
        .into_iter()
        .filter(|package| package.name.as_str() == name)
        .map(|package| &package.id)
        .collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        for dependency in nodes.get(id).map(|node| node.deps.iter()).into_iter().flatten() {
            let is_normal = dependency
                .dep_kinds
                .iter()
                .any(|kind| kind.kind == DependencyKind::Normal);
            let Some(dependency_name) = names.get(&dependency.pkg) else {
                continue;
            };
            if is_normal && seen.insert((*dependency_name).to_owned()) {
                open.push(&dependency.pkg);
            }
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(list: &[(&str, &[&str])]) -> Edges {
        list.iter()
            .map(|(name, targets)| {
                (
                    (*name).to_owned(),
                    targets.iter().map(|to| (*to).to_owned()).collect(),
                )
            })
            .collect()
    }

    #[test]
    fn an_edge_that_nobody_planned_is_found() {
        let real = edges(&[("gateway", &["core-api", "serde"]), ("core-api", &[])]);
        let findings = own_edges_are(&real, &[("gateway", &[]), ("core-api", &[])]);
        assert_eq!(
            findings,
            vec![Finding::new("gateway", "must not depend on `core-api`")]
        );
    }

    #[test]
    fn a_planned_edge_that_is_gone_and_an_unknown_crate_are_found() {
        let real = edges(&[("gateway", &[]), ("newcomer", &[])]);
        let findings = own_edges_are(&real, &[("gateway", &["policy"]), ("policy", &[])]);
        assert_eq!(findings.len(), 3, "{findings:?}");
    }

    #[test]
    fn the_planned_graph_is_silent() {
        let real = edges(&[("gateway", &["policy", "tokio"]), ("policy", &["serde"])]);
        assert!(own_edges_are(&real, &[("gateway", &["policy"]), ("policy", &[])]).is_empty());
    }

    #[test]
    fn a_reserved_crate_in_the_wrong_place_is_found() {
        let real = edges(&[("core-api", &["pingora"]), ("gateway", &["pingora"])]);
        let findings = reserved_crates(&real, &[("pingora", &["gateway"])]);
        assert_eq!(
            findings,
            vec![Finding::new("core-api", "must not use `pingora`: only gateway")]
        );
    }

    #[test]
    fn a_runtime_below_a_pure_crate_is_found() {
        let below = ["serde", "tokio-util"].map(str::to_owned).into();
        assert_eq!(impure("policy", &below, &["tokio"]).len(), 1);
        assert!(impure("policy", &below, &["sqlx"]).is_empty());
    }
}
