//! Vault: the wire format of KV version 2 and of every log-in, and what happens when Vault says no, later or nothing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use secrets::{Fault, ProviderSettings, Providers, Reference, VaultAuth, VaultSettings};
use serde_json::json;
use tempfile::TempDir;

use stand_ins::{Fake, Seen, Trouble};

const TOKEN: &str = "hvs.first";

pub(crate) fn settings(fake: &Fake, auth: VaultAuth) -> VaultSettings {
    VaultSettings {
        address: fake.url(),
        ca_file: Some(fake.ca.path().to_owned()),
        namespace: Some("bank/prod".to_owned()),
        auth,
    }
}

pub(crate) fn providers(fake: &Fake, auth: VaultAuth) -> Providers {
    Providers::new(&ProviderSettings {
        vault: Some(settings(fake, auth)),
        ..ProviderSettings::default()
    })
}

pub(crate) fn token_file(folder: &Path) -> VaultAuth {
    let file = folder.join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    VaultAuth::TokenFile(file)
}

pub(crate) fn lookup(ttl: u64) -> (u16, String) {
    (200, json!({"data": {"ttl": ttl, "renewable": true}}).to_string())
}

fn secret(version: u32, password: &str) -> String {
    json!({"data": {
        "data": {"password": password, "port": 5432},
        "metadata": {"version": version, "created_time": "2026-03-01T10:00:00.123Z", "destroyed": false},
    }})
    .to_string()
}

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

/// A Vault with one secret of two versions, which demands `TOKEN`.
fn kv(seen: &Seen) -> (u16, String) {
    if seen.header("x-vault-token") != Some(TOKEN) {
        return (403, json!({"errors": ["permission denied"]}).to_string());
    }
    match seen.target.as_str() {
        "/v1/auth/token/lookup-self" => lookup(0),
        "/v1/kv/data/bank/core" => (200, secret(2, "new")),
        "/v1/kv/data/bank/core?version=1" => (200, secret(1, "old")),
        "/v1/kv/data/bank/deleted" => (
            404,
            json!({"data": {"data": null, "metadata": {"version": 1, "deletion_time": "2026-03-01T10:00:00Z", "destroyed": false}}}).to_string(),
        ),
        "/v1/kv/data/bank/version1" => (200, json!({"data": {"password": "x"}}).to_string()),
        "/v1/kv/data/bank/secret" => (403, json!({"errors": ["1 error occurred:\n\t* permission denied\n\n"]}).to_string()),
        _ => (404, json!({"errors": []}).to_string()),
    }
}

#[tokio::test]
async fn a_field_is_read_in_the_newest_version_or_in_the_one_that_is_named() {
    let (folder, fake) = (TempDir::new().unwrap(), Fake::https(kv).await);
    let providers = providers(&fake, token_file(folder.path()));

    let newest = providers
        .get(&reference("vault://kv/bank/core#password"))
        .await
        .unwrap();
    assert_eq!(newest.bytes.as_slice(), b"new");
    assert_eq!(newest.version.as_deref(), Some("2"));
    assert_eq!(
        newest.since.unwrap().to_rfc3339(),
        "2026-03-01T10:00:00.123+00:00"
    );
    let first = providers
        .get(&reference("vault://kv/bank/core#password?version=1"))
        .await
        .unwrap();
    assert_eq!(first.bytes.as_slice(), b"old");

    let seen = fake.seen();
    assert_eq!(
        seen.len(),
        3,
        "one look at the token, then two questions: {seen:?}"
    );
    for request in &seen {
        assert_eq!(request.method, "GET");
        assert_eq!(request.header("x-vault-token"), Some(TOKEN));
        assert_eq!(request.header("x-vault-namespace"), Some("bank/prod"));
        assert_eq!(request.header("x-vault-request"), Some("true"));
    }
    let neighbours = providers
        .neighbours(&reference("vault://kv/bank/core#password"), Some("2"))
        .await;
    assert_eq!(neighbours.len(), 1);
    assert_eq!(neighbours[0].bytes.as_slice(), b"old");
}

#[tokio::test]
async fn what_is_not_there_is_named_and_nothing_secret_is_repeated() {
    let (folder, fake) = (TempDir::new().unwrap(), Fake::https(kv).await);
    let providers = providers(&fake, token_file(folder.path()));
    for (text, says) in [
        ("vault://kv/bank/none#password", "no such secret"),
        ("vault://kv/bank/core#user", "no field `user`"),
        ("vault://kv/bank/core#port", "into quotes"),
        ("vault://kv/bank/deleted#password", "deleted"),
        ("vault://kv/bank/version1#password", "KV engine of version 2"),
        ("vault://kv/bank/secret#password", "permission denied"),
    ] {
        let fault = providers.get(&reference(text)).await.unwrap_err().to_string();
        assert!(fault.contains(says), "{text}: {fault}");
        assert!(!fault.contains("new") || fault.contains("newest"), "{fault}");
        assert!(!fault.contains(TOKEN), "{fault}");
    }
}

#[tokio::test]
async fn trouble_that_passes_is_waited_out_and_trouble_that_stays_is_told() {
    let (folder, fake) = (TempDir::new().unwrap(), Fake::https(kv).await);
    let providers = providers(&fake, token_file(folder.path()));
    let core = reference("vault://kv/bank/core#password");
    providers.get(&core).await.unwrap();

    for trouble in [
        Trouble::Status(429),
        Trouble::Status(500),
        Trouble::Status(503),
        Trouble::CutOff,
        Trouble::CutShort,
    ] {
        fake.trouble([trouble]);
        fake.seen();
        let found = providers.get(&core).await;
        assert_eq!(found.unwrap().bytes.as_slice(), b"new", "{trouble:?}");
        assert_eq!(fake.seen().len(), 2, "{trouble:?}: asked once more");

        fake.trouble([trouble, trouble, trouble]);
        let fault = providers.get(&core).await.unwrap_err();
        assert!(fault.is_transient(), "{trouble:?}: {fault}");
        assert_eq!(fake.seen().len(), 3, "{trouble:?}: and not for ever");
    }
}

#[tokio::test]
async fn a_vault_that_never_answers_is_given_up() {
    let (folder, fake) = (TempDir::new().unwrap(), Fake::https(kv).await);
    let providers = providers(&fake, token_file(folder.path()));
    fake.trouble([Trouble::Silence, Trouble::Silence, Trouble::Silence]);
    let fault = providers
        .get(&reference("vault://kv/bank/core#password"))
        .await
        .unwrap_err();
    assert!(fault.is_transient(), "{fault}");
}

#[tokio::test]
async fn a_vault_with_a_foreign_certificate_gets_no_token() {
    let (folder, fake, other) = (
        TempDir::new().unwrap(),
        Fake::https(kv).await,
        Fake::https(kv).await,
    );
    let mut settings = settings(&fake, token_file(folder.path()));
    settings.ca_file = Some(other.ca.path().to_owned());
    let providers = Providers::new(&ProviderSettings {
        vault: Some(settings),
        ..ProviderSettings::default()
    });
    let fault = providers
        .get(&reference("vault://kv/bank/core#password"))
        .await
        .unwrap_err();
    assert!(
        fault.is_transient() && fault.to_string().contains("certificate"),
        "{fault}"
    );
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn a_token_that_is_replaced_in_its_file_is_taken_when_the_old_one_is_refused() {
    let (folder, fake) = (TempDir::new().unwrap(), Fake::https(kv).await);
    let auth = token_file(folder.path());
    std::fs::write(folder.path().join("token"), "hvs.other").unwrap();
    let providers = providers(&fake, auth);
    let core = reference("vault://kv/bank/core#password");
    let fault = providers.get(&core).await.unwrap_err();
    assert!(matches!(fault, Fault::Refused(_)), "{fault}");
    assert!(
        fault.to_string().contains("token") && !fault.to_string().contains("hvs."),
        "{fault}"
    );

    std::fs::write(folder.path().join("token"), TOKEN).unwrap();
    assert!(providers.get(&core).await.is_ok());
}

/// A Vault that gives a new token at each log-in, and accepts only the last.
struct Logins {
    count: Arc<AtomicU32>,
    fake: Fake,
}

impl Logins {
    async fn at(path: &'static str, lease_s: u64, is_renewable: bool) -> Self {
        let count = Arc::new(AtomicU32::new(0));
        let logins = count.clone();
        let fake = Fake::https(move |seen| {
            let auth = |token: String| {
                json!({"auth": {"client_token": token, "lease_duration": lease_s, "renewable": is_renewable}})
                    .to_string()
            };
            if seen.target == path {
                assert_eq!(
                    seen.header("x-vault-token"),
                    None,
                    "nobody is known before the log-in"
                );
                let number = logins.fetch_add(1, Ordering::SeqCst) + 1;
                return (200, auth(format!("hvs.{number}")));
            }
            let current = format!("hvs.{}", logins.load(Ordering::SeqCst));
            if seen.header("x-vault-token") != Some(current.as_str()) {
                return (403, json!({"errors": ["permission denied"]}).to_string());
            }
            match seen.target.as_str() {
                "/v1/auth/token/renew-self" => (200, auth(current)),
                "/v1/kv/data/bank/core" => (200, secret(1, "s3cret")),
                other => panic!("{other}"),
            }
        })
        .await;
        Self { count, fake }
    }

    fn number(&self) -> u32 {
        self.count.load(Ordering::SeqCst)
    }
}

fn approle(folder: &Path) -> VaultAuth {
    std::fs::write(folder.join("role"), "role-1\n").unwrap();
    std::fs::write(folder.join("secret"), "secret-1\n").unwrap();
    VaultAuth::AppRole {
        mount: "approle".to_owned(),
        role_id_file: folder.join("role"),
        secret_id_file: folder.join("secret"),
    }
}

#[tokio::test]
async fn an_approle_logs_in_once_and_again_when_its_token_is_revoked() {
    let folder = TempDir::new().unwrap();
    let vault = Logins::at("/v1/auth/approle/login", 3600, true).await;
    let providers = providers(&vault.fake, approle(folder.path()));
    let core = reference("vault://kv/bank/core#password");
    for _ in 0..3 {
        providers.get(&core).await.unwrap();
    }
    assert_eq!(vault.number(), 1);
    let seen = vault.fake.seen();
    assert_eq!(seen[0].method, "POST");
    assert_eq!(
        seen[0].json(),
        json!({"role_id": "role-1", "secret_id": "secret-1"})
    );

    // As if somebody revoked it: only a token that was given out later works.
    vault.count.fetch_add(1, Ordering::SeqCst);
    let asked = futures::future::join_all((0..8).map(|_| providers.get(&core))).await;
    assert!(asked.iter().all(Result::is_ok), "{asked:?}");
    assert_eq!(
        vault.number(),
        3,
        "eight questions that were refused together log in once"
    );
}

#[tokio::test]
async fn a_service_account_shows_its_token() {
    let folder = TempDir::new().unwrap();
    let vault = Logins::at("/v1/auth/k8s/login", 3600, true).await;
    let jwt_file = folder.path().join("jwt");
    std::fs::write(&jwt_file, "eyJ.header.payload").unwrap();
    let providers = providers(
        &vault.fake,
        VaultAuth::Kubernetes {
            mount: "k8s".to_owned(),
            role: "portico-core".to_owned(),
            jwt_file,
        },
    );
    providers
        .get(&reference("vault://kv/bank/core#password"))
        .await
        .unwrap();
    assert_eq!(
        vault.fake.seen()[0].json(),
        json!({"role": "portico-core", "jwt": "eyJ.header.payload"})
    );
}

#[tokio::test]
async fn a_token_near_its_end_is_renewed_and_one_that_cannot_be_is_got_anew() {
    let folder = TempDir::new().unwrap();
    // A lease of one second is due for renewal when two thirds of it are over; asking until that is seen needs no clock.
    for (is_renewable, expected) in [
        (true, "/v1/auth/token/renew-self"),
        (false, "/v1/auth/approle/login"),
    ] {
        let vault = Logins::at("/v1/auth/approle/login", 1, is_renewable).await;
        let providers = providers(&vault.fake, approle(folder.path()));
        let core = reference("vault://kv/bank/core#password");
        providers.get(&core).await.unwrap();
        vault.fake.seen();
        loop {
            providers.get(&core).await.unwrap();
            if vault.fake.seen().iter().any(|seen| seen.target == expected) {
                break;
            }
        }
        assert_eq!(vault.number() > 1, !is_renewable);
    }
}
