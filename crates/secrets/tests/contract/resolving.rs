//! A service's references resolved together, and kept when their provider goes down.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use chrono::DateTime;
use secrets::{ProviderSettings, Secret, SecretBytes, resolve};
use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;

use crate::vault::{lookup, settings, token_file};
use stand_ins::{Fake, Trouble};

#[derive(Debug, Deserialize)]
struct Service {
    pepper: Secret,
    kek: SecretBytes,
}

/// A Vault whose one secret can be changed.
async fn vault() -> (Arc<Mutex<String>>, Fake, ProviderSettings, TempDir) {
    let folder = TempDir::new().unwrap();
    let value = Arc::new(Mutex::new("first".to_owned()));
    let current = value.clone();
    let fake = Fake::https(move |seen| match seen.target.as_str() {
        "/v1/auth/token/lookup-self" => lookup(0),
        "/v1/kv/data/core" => {
            let data = json!({"pepper": *current.lock().unwrap()});
            (
                200,
                json!({"data": {"data": data, "metadata": {"version": 1}}}).to_string(),
            )
        }
        _ => (404, json!({"errors": []}).to_string()),
    })
    .await;
    let settings = ProviderSettings {
        vault: Some(settings(&fake, token_file(folder.path()))),
        ..ProviderSettings::default()
    };
    (value, fake, settings, folder)
}

fn wanted(references: &[&str]) -> BTreeMap<String, Vec<String>> {
    references
        .iter()
        .map(|text| ((*text).to_owned(), vec!["core-api: pepper".to_owned()]))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_missing_is_told_at_once() {
    let (_, _fake, settings, folder) = vault().await;
    let none = format!("file:{}/none", folder.path().display());
    let resolved = resolve(
        &wanted(&[
            "vault://kv/core#pepper",
            "vault://kv/none#x",
            "awssm://prod/db",
            "age:///none.age",
            "env:PORTICO_NOT_SET",
            &none,
            "vault:wrong",
        ]),
        &settings,
        DateTime::default(),
    );
    let faults: BTreeMap<&str, &str> = resolved.faults().collect();
    assert_eq!(faults.len(), 6, "{faults:?}");
    for (reference, says) in [
        ("vault://kv/none#x", "no such secret"),
        ("awssm://prod/db", "add `secrets.aws`"),
        ("age:///none.age", "add `secrets.age`"),
        ("env:PORTICO_NOT_SET", "is not set"),
        (none.as_str(), "No such file"),
        ("vault:wrong", "vault://mount/path#field"),
    ] {
        assert!(
            faults[reference].contains(says),
            "{reference}: {}",
            faults[reference]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_read_from_where_its_setting_says_and_the_last_value_is_kept_while_vault_is_down() {
    let (value, fake, settings, folder) = vault().await;
    std::fs::write(folder.path().join("kek"), [7; 32]).unwrap();
    let kek = format!("file:{}", folder.path().join("kek").display());
    let resolved = resolve(
        &wanted(&["vault://kv/core#pepper", &kek]),
        &settings,
        DateTime::default(),
    );
    let yaml = format!("pepper: vault://kv/core#pepper\nkek: {kek}\n");
    let service: Service = resolved.within(|| serde_yaml::from_str(&yaml)).unwrap();
    assert_eq!(
        (service.pepper.expose(), service.kek.expose()),
        ("first", [7; 32].as_slice())
    );
    assert!(
        serde_yaml::from_str::<Service>(&yaml).is_err(),
        "outside, a secret on another machine is not at hand"
    );

    let source = service.pepper.source().unwrap();
    let later = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
    assert_eq!(source.refresh(later(60)).await, Ok(false));
    *value.lock().unwrap() = "second".to_owned();
    assert_eq!(source.refresh(later(120)).await, Ok(true));
    assert_eq!(source.text().unwrap().as_str(), "second");
    fake.trouble([Trouble::Status(503); 3]);
    assert!(source.refresh(later(180)).await.unwrap_err().is_transient());
    let status = source.status();
    assert_eq!(
        source.text().unwrap().as_str(),
        "second",
        "the last value is kept"
    );
    assert_eq!(
        (status.fetched_at, status.changed_at),
        (later(120), Some(later(120)))
    );
    assert!(status.fault.as_deref().is_some_and(|fault| fault.contains("503")));
    assert_eq!(status.consumers, ["core-api: pepper"]);
    let told = serde_json::to_string(&status).unwrap();
    assert!(!told.contains("second") && !told.contains("first"), "{told}");
    assert_eq!(source.refresh(later(240)).await, Ok(false));
    let printed = format!("{source:?} {service:?}");
    for secret in ["first", "second", "hvs."] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
    assert_eq!(source.status().fault, None);
}

#[test]
fn every_way_to_log_in_is_read_from_yaml() {
    let read = |yaml: &str| -> Result<ProviderSettings, serde_yaml::Error> {
        serde_yaml::from_value(serde_yaml::from_str(yaml).unwrap())
    };
    for auth in [
        "{token_file: /run/token}",
        "{approle: {role_id_file: /a, secret_id_file: /b}}",
        "{kubernetes: {role: core}}",
    ] {
        let settings = read(&format!("vault: {{address: 'https://vault', auth: {auth}}}")).unwrap();
        assert_eq!(settings.faults(), Vec::<String>::new(), "{auth}");
    }
    for credentials in [
        "environment",
        "container",
        "{instance: {}}",
        "{file: {path: /a, profile: bank}}",
    ] {
        let settings = read(&format!(
            "aws: {{region: eu-central-1, credentials: {credentials}}}"
        ))
        .unwrap();
        assert_eq!(settings.faults(), Vec::<String>::new(), "{credentials}");
    }
    assert!(read("vault: {address: 'https://vault', auth: {approle: {role_id_file: /a}}}").is_err());
    assert!(read("vault: {address: 'https://vault', auth: {ldap: {}}}").is_err());
}
