//! The production settings load in the binary, as they stand and with the overrides of each deployment.

use std::path::Path;

use serde_yaml::Value;
use tidy::tree::root;

use crate::portico::{SERVICES, portico, provisioned, read, said};

/// A root key (RFC 8032, 7.1): every deployment has one of its own.
const ROOT: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

/// The settings of a service with the places of a machine replaced by `folder`.
fn placed(service: &str, folder: &Path) -> String {
    let secrets = provisioned(folder);
    let policies = root().join("policies");
    read(&format!("settings/{service}.yaml"))
        .replace("/run/secrets", &secrets.display().to_string())
        .replace("/etc/portico/policies", &policies.display().to_string())
        .replace("/run/portico", &folder.display().to_string())
        .replace("/var/lib/portico", &folder.display().to_string())
        .replace("PUBLIC-PART-OF-YOUR-ROOT-KEY", ROOT)
}

/// Asks the binary whether it would start with these settings in production: its exit code and what it said.
fn check(service: &str, folder: &Path, text: &str, variables: &[(String, String)]) -> (Option<i32>, String) {
    let file = folder.join(format!("{service}.yaml"));
    std::fs::write(&file, text).expect("settings are written");
    let file = file.display().to_string();
    let mut variables = variables.to_vec();
    variables.push(("APP_ENV".to_owned(), "production".to_owned()));
    let output = portico(&[service, "--settings", &file, "--check-settings"], &variables);
    (output.status.code(), said(&output))
}

#[test]
fn production_settings_load() {
    for (service, _) in SERVICES {
        let folder = tempfile::tempdir().expect("temporary directory");
        let (code, said) = check(service, folder.path(), &placed(service, folder.path()), &[]);
        assert_eq!(code, Some(0), "{service}: {said}");
    }
}

#[test]
fn nobody_believes_a_root_that_is_not_their_own() {
    for service in ["gateway", "control-plane"] {
        let folder = tempfile::tempdir().expect("temporary directory");
        let text = placed(service, folder.path()).replace(ROOT, "PUBLIC-PART-OF-YOUR-ROOT-KEY");
        let (code, said) = check(service, folder.path(), &text, &[]);
        assert_eq!(code, Some(78), "{service}: {said}");
        assert!(said.contains("fleet.roots"), "{service}: {said}");
    }
}

/// Public keys of other issuers are configuration, not secrets: they lie beside the policies in every deployment.
#[test]
fn the_folder_for_keys_of_other_issuers_is_made() {
    let settings: Value = serde_yaml::from_str(&read("settings/gateway.yaml")).expect("YAML");
    let folder = settings["key_dir"].as_str().expect("key_dir");
    let policies = settings["policies_dir"].as_str().expect("policies_dir");
    assert_eq!(Path::new(folder).parent(), Path::new(policies).parent());
    for (file, what) in [
        ("Dockerfile", "install -d -m 0755"),
        ("README.md", "sudo install -d -m 0755"),
    ] {
        let makes = |line: &str| line.contains(what) && line.split(' ').any(|word| word == folder);
        assert!(read(file).lines().any(makes), "{file} does not make {folder}");
    }
}

#[test]
fn an_unknown_key_and_a_literal_secret_are_refused() {
    for (service, _) in SERVICES {
        let folder = tempfile::tempdir().expect("temporary directory");
        let text = format!("{}\nunheard_of: 1\n", placed(service, folder.path()));
        let (code, said) = check(service, folder.path(), &text, &[]);
        assert_eq!(code, Some(78), "{service}: {said}");
        assert!(said.contains("unheard_of"), "{service}: {said}");
    }
    let folder = tempfile::tempdir().expect("temporary directory");
    let text = placed("core-api", folder.path());
    let secret = format!("url: file:{}", folder.path().join("secrets/db_core").display());
    let literal = text.replace(&secret, "url: postgresql://portico_core@localhost/portico");
    assert_ne!(text, literal);
    let (code, said) = check("core-api", folder.path(), &literal, &[]);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("database.url"), "{said}");
}

#[test]
fn development_settings_are_refused_in_production() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let text = format!(
        "{}\nself_service_cash: true\nauto_activate: true\n",
        placed("core-api", folder.path())
    );
    let (code, said) = check("core-api", folder.path(), &text, &[]);
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains("self_service_cash") && said.contains("auto_activate"),
        "not all at once: {said}"
    );
}

/// `Environment=` lines of the units point at credentials, which systemd puts below `%d`.
#[test]
fn settings_load_with_the_overrides_of_the_units() {
    for (service, prefix) in SERVICES {
        let folder = tempfile::tempdir().expect("temporary directory");
        let credentials = provisioned(folder.path());
        let unit = read(&format!("systemd/portico-{service}.service"));
        let variables: Vec<(String, String)> = unit
            .lines()
            .filter_map(|line| line.strip_prefix("Environment=")?.split_once('='))
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(name, value)| {
                (
                    name.to_owned(),
                    value.replace("%d", &credentials.display().to_string()),
                )
            })
            .collect();
        assert!(!variables.is_empty(), "{service}: no override was read");
        // Without the overrides these secrets do not exist.
        let text = placed(service, folder.path()).replace(&credentials.display().to_string(), "/nowhere");
        let (code, said) = check(service, folder.path(), &text, &variables);
        assert_eq!(code, Some(0), "{service}: {said}");
    }
}

/// With the core on a machine of its own: the drop-in, and certificates as the script makes them.
#[test]
fn core_api_serves_over_tls_with_the_drop_in_and_says_what_is_missing() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let internal = folder.path().join("internal");
    let make = || {
        let script = root().join("deploy/make-certificates");
        let made = std::process::Command::new(script)
            .arg(&internal)
            .arg("core-api.internal")
            .status();
        assert!(made.expect("bash runs the script").success());
    };
    make();
    let dropped_in = read("systemd/several-machines/portico-core-api.conf");
    let variables: Vec<(String, String)> = dropped_in
        .lines()
        .filter_map(|line| line.strip_prefix("Environment=")?.split_once('='))
        .map(|(name, value)| {
            let value = value.replace("/etc/portico/internal", &internal.display().to_string());
            (name.to_owned(), value)
        })
        .collect();
    assert_eq!(variables.len(), 5);
    let text = placed("core-api", folder.path());
    let (code, said) = check("core-api", folder.path(), &text, &variables);
    assert_eq!(code, Some(0), "{said}");

    // Certificates are renewed, authorities stay.
    let content = |name: &str| std::fs::read(internal.join(name)).expect("file");
    let (authority, certificate) = (content("core.ca.pem"), content("core.pem"));
    make();
    assert_eq!(content("core.ca.pem"), authority);
    assert_ne!(content("core.pem"), certificate);
    assert_eq!(check("core-api", folder.path(), &text, &variables).0, Some(0));

    for (name, wrong) in [("core.key", "gateway-client.key"), ("clients.ca.pem", "core.pem")] {
        let good = content(name);
        std::fs::copy(internal.join(wrong), internal.join(name)).expect("file is copied");
        let (code, said) = check("core-api", folder.path(), &text, &variables);
        assert_eq!(code, Some(78), "{name}: {said}");
        assert!(said.contains("tls: ") && said.contains(".pem"), "{name}: {said}");
        std::fs::write(internal.join(name), good).expect("file is written");
    }
}

#[test]
fn settings_load_with_the_overrides_of_compose() {
    let compose: Value = serde_yaml::from_str(&read("compose.yaml")).expect("compose.yaml is YAML");
    for (service, prefix) in SERVICES {
        let folder = tempfile::tempdir().expect("temporary directory");
        let environment = compose["services"][service]["environment"]
            .as_mapping()
            .expect("environment");
        let variables: Vec<(String, String)> = environment
            .iter()
            .map(|(name, value)| {
                let (name, value) = (name.as_str().expect("name"), value.as_str().expect("text"));
                let value = match value.strip_prefix("[${PORTICO_ROOT:?") {
                    Some(_) => format!("[{ROOT}]"),
                    None => value.to_owned(),
                };
                (name.to_owned(), value)
            })
            .filter(|(name, _)| name.starts_with(prefix))
            .collect();
        assert!(!variables.is_empty(), "{service}: no override was read");
        let (code, said) = check(
            service,
            folder.path(),
            &placed(service, folder.path()),
            &variables,
        );
        assert_eq!(code, Some(0), "{service}: {said}");
    }
}
