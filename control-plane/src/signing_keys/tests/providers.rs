//! Keys that stay in Vault or in AWS KMS, those that seal and those that sign: rings live with them as with keys of this process,
//! also while nobody answers there.

use std::path::Path;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use keyring::{Algorithm, RingName};
use serde_json::Value;
use service_runtime::settings;
use stand_ins::{Fake, KEY_ID, Kms, SECRET, TOKEN, Transit};
use tempfile::TempDir;

use super::{Plane, call, settings as local};
use crate::settings::Settings;
use crate::signing_keys::retire::{hold_ready, maintain_once};
use crate::signing_keys::{complete, list, readiness, refuse_wrong_kek, sign};
use crate::state::AppState;

const UNAVAILABLE: &str = "urn:portico:problem:keys-unavailable";

/// A transaction that has made and published a key fails.
const FAILS_LATE: &str = "
    CREATE FUNCTION control.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'late'; END $$;
    CREATE TRIGGER fails_late BEFORE INSERT ON control.audit_event FOR EACH ROW
        WHEN (NEW.action = 'signing_key.published') EXECUTE FUNCTION control.fail()";

/// Who keeps keys.
struct Provider {
    fake: Fake,
    folder: TempDir,
    /// How settings describe it.
    section: String,
    /// Two keys there.
    keys: [&'static str; 2],
}

impl Provider {
    async fn vault() -> Self {
        let folder = TempDir::new().unwrap();
        let (_, fake) = Transit::start().await;
        let token = folder.path().join("token");
        std::fs::write(&token, TOKEN).unwrap();
        Self {
            section: format!(
                "{{vault: {{address: '{}', ca_file: {}, auth: {{token_file: {}}}}}}}",
                fake.url(),
                fake.ca.path().display(),
                token.display()
            ),
            keys: ["transit://transit/kek", "transit://transit/another"],
            fake,
            folder,
        }
    }

    async fn kms() -> Self {
        let folder = TempDir::new().unwrap();
        let (_, fake) = Kms::start().await;
        let credentials = folder.path().join("credentials");
        let text = format!("[bank]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n");
        std::fs::write(&credentials, text).unwrap();
        Self {
            section: format!(
                "{{aws: {{region: {}, kms_endpoint: '{}', ca_file: {}, credentials: {{file: {{path: {}, profile: bank}}}}}}}}",
                stand_ins::REGION,
                fake.url(),
                fake.ca.path().display(),
                credentials.display()
            ),
            keys: ["awskms://alias/bank", "awskms://alias/another"],
            fake,
            folder,
        }
    }

    /// Reads settings from a file, as a process does.
    fn settings(&self, more: &str) -> Settings {
        let file = self.folder.path().join("control-plane.yaml");
        std::fs::write(&file, format!("secrets: {}\n{more}\n", self.section)).unwrap();
        read(&file)
    }

    /// Settings with these versions of the key-encryption key, all of them here.
    fn versions(&self, versions: &[(i32, &str)]) -> Settings {
        let listed = versions
            .iter()
            .map(|(version, key)| format!("{{version: {version}, secret: '{key}'}}"));
        let listed: Vec<_> = listed.collect();
        Settings {
            rotation: local().rotation,
            ..self.settings(&format!("keks: [{}]", listed.join(", ")))
        }
    }
}

fn read(file: &Path) -> Settings {
    settings::load("control-plane", Some(file)).unwrap()
}

async fn all_open(state: &AppState) {
    for ring in RingName::ALL {
        list::check_ring(state, ring).await.unwrap();
    }
}

async fn hold_all_ready(state: &AppState) {
    for ring in RingName::ALL {
        hold_ready(state, ring).await.unwrap();
    }
}

#[tokio::test]
async fn a_key_encryption_key_that_stays_elsewhere_follows_a_secret_and_another_follows_it() {
    for provider in [Provider::vault().await, Provider::kms().await] {
        let mut plane = Plane::without_a_ring().await;
        complete(&plane.state).await;
        let secret = plane.secret_file(&provider);
        let [first, second] = provider.keys;
        plane.state = plane.with_settings(&provider.versions(&[(1, &secret), (2, first)]));
        refuse_wrong_kek(&plane.state).await.unwrap();

        assert_eq!(plane.kek("rotate").await.0, StatusCode::OK);
        plane.pass(330).await;
        assert_eq!(plane.rotate().await.0, StatusCode::OK);
        let (_, rewrapped) = plane.kek("rewrap").await;
        assert_eq!(
            (&rewrapped["rewrapped"], &rewrapped["remaining"]),
            (&10.into(), &0.into())
        );
        assert_eq!(plane.kek("retire?version=1").await.1["changed"], true);
        let (_, _, body) = plane.call("GET", "/internal/kek").await;
        assert_eq!(body["keks"][1]["place"], first, "{body}");

        // A process that was started since, without the secret; then the next key, beside it.
        plane.state = plane.with_settings(&provider.versions(&[(2, first)]));
        refuse_wrong_kek(&plane.state).await.unwrap();
        all_open(&plane.state).await;
        plane.state = plane.with_settings(&provider.versions(&[(2, first), (3, second)]));
        assert_eq!(plane.kek("rotate").await.0, StatusCode::OK);
        assert_eq!(plane.kek("rewrap").await.1["remaining"], 0);
        assert_eq!(plane.kek("retire?version=2").await.1["changed"], true);
        plane.state = plane.with_settings(&provider.versions(&[(3, second)]));
        all_open(&plane.state).await;

        // Another key under the name of the version is found out, by the check value and by the rings.
        let other = plane.with_settings(&provider.versions(&[(3, first)]));
        assert!(refuse_wrong_kek(&other).await.is_err());
        assert!(!readiness(&other).report().await.is_ready());
    }
}

#[tokio::test]
async fn what_is_held_works_on_while_nobody_answers_and_nothing_is_begun_that_others_could_not_end() {
    for provider in [Provider::vault().await, Provider::kms().await] {
        let mut plane = Plane::without_a_ring().await;
        let settings = provider.versions(&[(1, provider.keys[0])]);
        plane.state = plane.with_settings(&settings);
        complete(&plane.state).await;
        hold_all_ready(&plane.state).await;
        plane.pass(330).await;

        provider.fake.set_down(true);
        assert!(readiness(&plane.state).report().await.is_ready());
        sign(&plane.state, RingName::Bundle, b"a statement")
            .await
            .unwrap();
        // core-api could not open the next key: nothing turns, by hand or by the calendar.
        let before = plane.picture().await;
        let (status, _, body) = plane.rotate().await;
        assert_eq!(
            (status, body["type"].as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, Some(UNAVAILABLE))
        );
        plane.state.schedule.rotate_every_s = 1;
        assert!(maintain_once(&plane.state, RingName::Access, None).await.is_err());
        assert!(
            hold_ready(&plane.with_settings(&settings), RingName::Access)
                .await
                .is_err()
        );
        assert_eq!(plane.picture().await, before);

        // A stolen key goes at once, with the spare key as the next standby: also at the second try, when the first one died.
        let revoke = async || {
            let stolen = plane.kid("active").await;
            let path = format!("/internal/keys/revoke?kid={stolen}");
            let (status, _, body) = plane.call("POST", &path).await;
            (status, body)
        };
        plane.run(FAILS_LATE).await;
        assert!(revoke().await.0.is_server_error());
        plane.run("DROP TRIGGER fails_late ON control.audit_event").await;
        let (status, body) = revoke().await;
        assert_eq!(status, StatusCode::OK, "{body}");
        all_open(&plane.state).await;
        // The second one as well: who signs next comes later. Only a third has nobody left to sign in its place.
        let next = plane.kid("published").await;
        let (status, body) = revoke().await;
        assert_eq!(
            (status, &body["active"], &body["standby"]),
            (StatusCode::OK, &next.into(), &Value::Null)
        );
        let before = plane.picture().await;
        assert_eq!(revoke().await.0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(plane.picture().await, before);

        // Who starts now waits, and is ready when it answers again.
        let started = plane.with_settings(&settings);
        refuse_wrong_kek(&started).await.unwrap();
        assert!(!readiness(&started).report().await.is_ready());
        provider.fake.set_down(false);
        plane.state.schedule.rotate_every_s = local().rotation.rotate_every_s.into();
        maintain_once(&plane.state, RingName::Access, None).await.unwrap();
        assert!(readiness(&started).report().await.is_ready());
        hold_all_ready(&plane.state).await;
        plane.pass(330).await;
        let (status, _, body) = call(plane.router(), "POST", "/internal/keys/rotate", None).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }
}

#[tokio::test]
async fn a_rewrap_that_nobody_answers_halfway_keeps_what_is_done_and_goes_on_later() {
    let provider = Provider::vault().await;
    let mut plane = Plane::without_a_ring().await;
    complete(&plane.state).await;
    let secret = plane.secret_file(&provider);
    plane.state = plane.with_settings(&provider.versions(&[(1, &secret), (2, provider.keys[0])]));
    assert_eq!(plane.kek("rotate").await.0, StatusCode::OK);
    assert_eq!(plane.kek("rewrap?batch=4").await.1["rewrapped"], 4);
    provider.fake.set_down(true);
    let (status, body) = plane.kek("rewrap").await;
    assert_eq!(
        (status, body["type"].as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, Some(UNAVAILABLE))
    );
    assert_eq!((plane.sealed_under(1).await, plane.sealed_under(2).await), (6, 4));
    provider.fake.set_down(false);
    assert_eq!(plane.kek("rewrap").await.1["remaining"], 0);
}

impl Plane {
    /// The secret under which the rings of a test are sealed, as a file.
    fn secret_file(&self, provider: &Provider) -> String {
        let file = provider.folder.path().join("kek");
        std::fs::write(&file, super::KEK).unwrap();
        format!("file:{}", file.display())
    }
}

/// Settings whose key-encryption key is the secret of a test, with signing keys in these places.
fn with_signers(plane: &Plane, provider: &Provider, signers: &str) -> Settings {
    let secret = plane.secret_file(provider);
    Settings {
        rotation: local().rotation,
        ..provider.settings(&format!("kek: {secret}\nsigners: {signers}"))
    }
}

#[tokio::test]
async fn the_private_keys_of_a_ring_may_be_made_elsewhere_and_never_come_here() {
    for (provider, place, algorithm) in [
        (
            Provider::vault().await,
            "transit://transit/tokens",
            Algorithm::EdDSA,
        ),
        (Provider::kms().await, "awskms://", Algorithm::ES256),
    ] {
        let mut plane = Plane::without_a_ring().await;
        // The ring goes on from a key of this process to keys that stay elsewhere.
        complete(&plane.state).await;
        plane.state = plane.with_settings(&with_signers(
            &plane,
            &provider,
            &format!("{{access: '{place}'}}"),
        ));
        for _ in 0..2 {
            plane.pass(330).await;
            let (status, _, body) = plane.rotate().await;
            assert_eq!(status, StatusCode::OK, "{body}");
        }
        let kid = plane.kid("active").await;
        let kept = String::from_utf8(plane.private_part(&kid).await).unwrap();
        assert!(kept.starts_with(place), "what is sealed is a name: {kept}");

        let (signed_by, signature) = sign(&plane.state, RingName::Access, b"bytes").await.unwrap();
        assert_eq!(signed_by, kid);
        let set = plane.key_set().await;
        let public = set.keys.iter().find(|key| key.kid == kid).unwrap();
        assert_eq!(public.algorithm, algorithm);
        let raw = URL_SAFE_NO_PAD.decode(&public.public).unwrap();
        let verifying: &dyn VerificationAlgorithm = match algorithm {
            Algorithm::EdDSA => &ED25519,
            Algorithm::ES256 => &ECDSA_P256_SHA256_FIXED,
        };
        let public = ParsedPublicKey::new(verifying, raw).unwrap();
        assert!(public.verify_sig(b"bytes", &signature).is_ok());

        provider.fake.set_down(true);
        plane.pass(330).await;
        let before = plane.picture().await;
        let (status, _, body) = plane.rotate().await;
        assert_eq!(
            (status, body["type"].as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, Some(UNAVAILABLE))
        );
        assert_eq!(plane.picture().await, before);
    }
}

/// A key that is made there stays there, and is paid for.
#[tokio::test]
async fn no_key_is_made_elsewhere_that_no_row_will_have() {
    let kms = Provider::kms().await;
    // Since it was asked last.
    let made = || {
        let is_made = |seen: &&stand_ins::Seen| seen.header("x-amz-target") == Some("TrentService.CreateKey");
        kms.fake.seen().iter().filter(is_made).count()
    };
    let mut plane = Plane::without_a_ring().await;
    let settings = Settings {
        rotation: local().rotation,
        ..kms.settings(&format!(
            "keks: [{{version: 1, secret: '{}'}}]\nsigners: {{access: 'awskms://'}}",
            kms.keys[0]
        ))
    };
    plane.state = plane.with_settings(&settings);
    complete(&plane.state).await;
    assert_eq!(made(), 2, "who signs, and who is next");
    for _ in 0..3 {
        plane.state = plane.with_settings(&settings);
        hold_all_ready(&plane.state).await;
    }
    assert_eq!(made(), 0, "a start makes none");

    plane.pass(330).await;
    plane.run(FAILS_LATE).await;
    for _ in 0..3 {
        assert!(plane.rotate().await.0.is_server_error());
    }
    plane.run("DROP TRIGGER fails_late ON control.audit_event").await;
    assert_eq!(plane.rotate().await.0, StatusCode::OK);
    assert_eq!(made(), 1, "the one of the first try is the next standby");
}

#[tokio::test]
async fn gateways_are_told_by_no_key_that_they_would_not_believe() {
    let (plane, kms) = (Plane::without_a_ring().await, Provider::kms().await);
    let faults = |signers: &str| with_signers(&plane, &kms, signers).faults(settings::Environment::Test);
    let is_named = |faults: &[String]| faults.iter().any(|fault| fault.starts_with("signers.bundle"));
    assert!(is_named(&faults("{bundle: 'awskms://'}")));
    assert!(!is_named(&faults("{access: 'awskms://'}")));
}
