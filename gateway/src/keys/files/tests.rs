//! Key files that are there, wrong, gone, mended, and another issuer's.

use keyring::{Algorithm, Claims, ClaimsForm, KeySet, KeyState, SigningKey, TokenAlgorithm, TokenRefusal};
use policy::SourceFile;
use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_000;

/// A policy whose only provider takes its keys from this file.
fn plan(file: &str) -> Plan {
    let text = format!(
        r#"
version: 1
listeners: {{ public: {{ https: {{ bind: "0.0.0.0:443", tls: {{ min: "1.3", certificate: gateway }} }} }} }}
hosts: [orders.example]
upstreams:
  orders: {{ address: "http://127.0.0.1:9000", authorization: strip, timeouts: {{ connect: 1s, read: 1s, total: 1s }} }}
identity:
  clients: {{ issuer: https://idp.example, audiences: [orders], algorithms: [EdDSA], type: at+jwt, max_lifetime: 1h, leeway: 1s, keys: file:{file} }}
headers: {{ api: {{ set: {{ X-Content-Type-Options: nosniff }}, remove: [Server] }} }}
floor:
  limits: {{ head: 16KiB, headers: 64, target: 8KiB, body: 256KiB }}
  timeouts: {{ head: 5s, body: 15s }}
  rate: {{ per-address: {{ limit: 100/min, burst: 100, key: [address] }} }}
  headers: api
routes:
  list: {{ match: {{ method: GET, path: /orders }}, auth: clients, scopes: [], upstream: orders }}
"#
    );
    let name = "policy.yaml".to_owned();
    policy::compile(&[SourceFile::new(name, text)], "production").unwrap()
}

fn jwks(keys: &[&SigningKey]) -> Value {
    let keys = keys.iter().map(|key| key.public_key(KeyState::Active)).collect();
    let set = KeySet {
        seq: 1,
        keys,
        revoked_kids: Vec::new(),
    };
    set.to_jwks()
}

fn key() -> SigningKey {
    SigningKey::generate(Algorithm::EdDSA).unwrap()
}

/// A folder with one key file, and the store that looks at it.
struct Desk {
    folder: tempfile::TempDir,
    files: KeyFiles,
    plan: Plan,
}

impl Desk {
    fn new(content: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = KeyFiles::new(folder.path());
        let desk = Self {
            folder,
            files,
            plan: plan("idp.json"),
        };
        desk.write(&content.to_string());
        desk
    }

    fn write(&self, content: &str) {
        fs::write(self.folder.path().join("idp.json"), content).unwrap();
        self.files.look(&self.plan);
    }

    fn verify(&self, key: &SigningKey) -> Result<Claims, VerificationFailure> {
        let expectations = Expectations {
            issuer: "https://idp.example".to_owned(),
            audiences: vec!["orders".to_owned()],
            clients: Vec::new(),
            algorithms: vec![TokenAlgorithm::EdDSA],
            token_type: "at+jwt".to_owned(),
            max_lifetime_s: 3_600,
            leeway_s: 1,
            form: ClaimsForm::default(),
        };
        let token = key.sign(&json!({
            "iss": "https://idp.example", "aud": "orders", "sub": "client-1", "jti": "1", "iat": NOW, "exp": NOW + 60,
        }));
        let examined = self
            .files
            .examine("idp.json", &token.unwrap(), &expectations, NOW)?;
        Ok(examined.token.claims)
    }
}

#[test]
fn a_file_is_read_again_when_it_changes() {
    let (old, new) = (key(), key());
    let desk = Desk::new(&jwks(&[&old]));
    assert!(desk.verify(&old).is_ok());
    assert_eq!(
        desk.verify(&new),
        Err(VerificationFailure::Refused(TokenRefusal::UnknownKey))
    );

    desk.write(&jwks(&[&old, &new]).to_string());
    assert!(desk.verify(&old).is_ok() && desk.verify(&new).is_ok());
    // What an issuer withdraws is good no longer.
    desk.write(&jwks(&[&new]).to_string());
    assert!(desk.verify(&old).is_err() && desk.verify(&new).is_ok());
}

#[test]
fn j16_j17_a_wrong_file_leaves_the_old_keys_in_force() {
    let (good, other) = (key(), key());
    let desk = Desk::new(&jwks(&[&good]));
    let twice = jwks(&[&other, &other]).to_string();
    let mut leaking = jwks(&[&other]);
    leaking["keys"][0]["d"] = json!("AAAA");
    for wrong in [
        twice,
        leaking.to_string(),
        String::new(),
        "{\"keys\":[".to_owned(),
    ] {
        desk.write(&wrong);
        assert!(
            desk.verify(&good).is_ok() && desk.verify(&other).is_err(),
            "{wrong}"
        );
        assert_eq!(desk.files.missing("idp.json"), None);
        assert_eq!(METRICS.key_file_ok.with_label_values(&["idp.json"]).get(), 0);
    }
    fs::remove_file(desk.folder.path().join("idp.json")).unwrap();
    desk.files.look(&desk.plan);
    assert!(desk.verify(&good).is_ok());

    desk.write(&jwks(&[&other]).to_string());
    assert!(desk.verify(&other).is_ok());
    assert_eq!(METRICS.key_file_ok.with_label_values(&["idp.json"]).get(), 1);
}

#[test]
fn j40_without_a_good_file_nothing_is_verified_and_the_reason_is_told() {
    let desk = Desk::new(&jwks(&[&key()]));
    let fresh = KeyFiles::new(desk.folder.path());
    assert_eq!(fresh.missing("idp.json").as_deref(), Some("not read yet"));

    let desk = Desk::new(&json!({"keys": []}));
    assert_eq!(desk.verify(&key()), Err(VerificationFailure::NoKeys));
    let reason = desk.files.missing("idp.json").unwrap();
    assert!(reason.contains("no key of the set"), "{reason}");

    fs::remove_file(desk.folder.path().join("idp.json")).unwrap();
    desk.files.look(&desk.plan);
    let reason = desk.files.missing("idp.json").unwrap();
    assert!(
        reason.contains("idp.json") && reason.contains("No such file"),
        "{reason}"
    );
}

#[test]
fn j35_a_file_without_end_is_not_held() {
    let desk = Desk::new(&jwks(&[&key()]));
    let endless = desk.folder.path().join("endless.json");
    std::os::unix::fs::symlink("/dev/zero", &endless).unwrap();
    desk.files.look(&plan("endless.json"));
    let reason = desk.files.missing("endless.json").unwrap();
    assert!(reason.contains("not a regular file"), "{reason}");

    desk.write(&format!("{}{}", jwks(&[&key()]), " ".repeat(MAX_JWKS_BYTES)));
    assert_eq!(METRICS.key_file_ok.with_label_values(&["idp.json"]).get(), 0);
}

#[test]
fn keys_of_a_file_that_the_policy_no_longer_names_stay_for_requests_under_way() {
    let signer = key();
    let desk = Desk::new(&jwks(&[&signer]));
    desk.files.look(&plan("another.json"));
    assert!(desk.verify(&signer).is_ok());
    assert!(desk.files.missing("another.json").is_some());
}
