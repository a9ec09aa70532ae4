//! The image and the composition: who runs as whom, on which network, with which secret.

use std::collections::BTreeSet;

use serde_yaml::Value;
use tidy::tree::root;

use crate::portico::{SERVICES, read};

/// `compose.yaml` with its anchors merged.
fn compose() -> Value {
    let mut compose: Value = serde_yaml::from_str(&read("compose.yaml")).expect("compose.yaml is YAML");
    compose.apply_merge().expect("anchors merge");
    compose
}

fn names(list: &Value) -> BTreeSet<String> {
    list.as_sequence()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_service_is_locked_down() {
    let compose = compose();
    for name in ["gateway", "core-api", "control-plane", "migrate", "logins"] {
        let service = &compose["services"][name];
        assert_eq!(service["read_only"].as_bool(), Some(true), "{name}");
        assert_eq!(
            names(&service["cap_drop"]),
            BTreeSet::from(["ALL".to_owned()]),
            "{name}"
        );
        assert!(service.get("cap_add").is_none(), "{name} adds a capability");
        assert_eq!(
            names(&service["security_opt"]),
            BTreeSet::from(["no-new-privileges:true".to_owned()]),
            "{name}"
        );
        assert_eq!(service["user"].as_str(), Some("10001:10001"), "{name}");
        assert!(!names(&service["tmpfs"]).is_empty(), "{name}");
    }
    assert_eq!(compose["services"]["postgres"]["read_only"].as_bool(), Some(true));
}

/// INV-A11: the service that faces the network reaches neither the database nor a key that signs.
#[test]
fn the_gateway_has_no_way_to_the_database() {
    let compose = compose();
    let networks = |name: &str| names(&compose["services"][name]["networks"]);
    let secrets = |name: &str| names(&compose["services"][name]["secrets"]);
    assert!(
        networks("postgres").is_disjoint(&networks("gateway")),
        "one network joins them"
    );
    assert_eq!(
        secrets("gateway"),
        BTreeSet::from(["gateway.pem".to_owned(), "gateway.key".to_owned()])
    );
    let published: Vec<&str> = compose["services"]
        .as_mapping()
        .expect("services")
        .iter()
        .filter(|(_, service)| service.get("ports").is_some())
        .filter_map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(published, ["gateway"], "only the gateway publishes a port");
    for network in ["data", "operations"] {
        assert_eq!(
            compose["networks"][network]["internal"].as_bool(),
            Some(true),
            "{network} reaches the internet"
        );
    }
}

/// A service gets the secrets that its settings name, all of them and no more.
#[test]
fn secrets_match_the_settings() {
    let compose = compose();
    for (service, _) in SERVICES.into_iter().filter(|(service, _)| *service != "gateway") {
        let settings = read(&format!("settings/{service}.yaml"));
        let named: BTreeSet<String> = settings
            .lines()
            .filter_map(|line| line.split_once("file:/run/secrets/"))
            .map(|(_, name)| name.trim().to_owned())
            .collect();
        assert!(
            !named.is_empty(),
            "{service}: no secret was read from its settings"
        );
        assert_eq!(
            names(&compose["services"][service]["secrets"]),
            named,
            "{service}"
        );
    }
    let defined = compose["secrets"].as_mapping().expect("secrets");
    let used: BTreeSet<String> = compose["services"]
        .as_mapping()
        .expect("services")
        .iter()
        .flat_map(|(_, service)| names(&service["secrets"]))
        .collect();
    let defined: BTreeSet<String> = defined
        .keys()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    assert_eq!(
        used, defined,
        "a secret is defined and not used, or used and not defined"
    );
}

#[test]
fn a_health_check_asks_the_port_that_the_service_listens_on() {
    let compose = compose();
    for (service, prefix) in SERVICES {
        let environment = &compose["services"][service]["environment"];
        let listen = environment[format!("{prefix}PRIVATE_LISTEN").as_str()]
            .as_str()
            .expect(service);
        let asked = environment["PORTICO_PRIVATE_PORT"].as_str().expect(service);
        assert_eq!(listen, format!("0.0.0.0:{asked}"), "{service}");
        let settings: Value =
            serde_yaml::from_str(&read(&format!("settings/{service}.yaml"))).expect(service);
        assert_eq!(
            settings["private_listen"].as_str(),
            Some(format!("127.0.0.1:{asked}").as_str()),
            "{service}"
        );
    }
}

#[test]
fn the_image_is_built_with_the_pinned_toolchain_and_runs_as_nobody_special() {
    let dockerfile = read("Dockerfile");
    let toolchain = std::fs::read_to_string(root().join("rust-toolchain.toml")).expect("rust-toolchain.toml");
    let pinned = toolchain
        .lines()
        .find_map(|line| line.strip_prefix("channel = "))
        .expect("channel");
    let built = dockerfile
        .lines()
        .find_map(|line| line.strip_prefix("ARG RUST_VERSION="))
        .expect("RUST_VERSION");
    assert_eq!(pinned.trim_matches('"'), built);

    let (_, run) = dockerfile.split_once("AS run").expect("a stage that runs");
    assert!(run.lines().any(|line| line == "USER 10001:10001"));
    assert!(run.lines().any(|line| line.starts_with("HEALTHCHECK ")));
    assert!(!run.contains("cargo"), "the build stage leaks into the image");
}

/// The build context holds what the build reads: a workspace member that is left out fails only in the container.
#[test]
fn the_build_context_holds_every_member() {
    let ignored = read("Dockerfile.dockerignore");
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let (_, members) = manifest.split_once("members = [").expect("members");
    let (members, _) = members.split_once(']').expect("members");
    let folders: BTreeSet<&str> = members
        .lines()
        .filter_map(|line| line.trim().trim_matches([',', '"']).split('/').next())
        .collect();
    for folder in
        folders
            .into_iter()
            .filter(|folder| !folder.is_empty())
            .chain([".sqlx", "migrations", "policies"])
    {
        assert!(
            ignored.lines().any(|line| line == format!("!{folder}")),
            "{folder} is not in the build context"
        );
    }
}
