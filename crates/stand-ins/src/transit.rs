//! Vault's transit engine, mounted at `transit`: keys that wrap, and Ed25519 keys that sign, by version.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::boxes::{Boxes, text};
use crate::{Fake, Seen};

/// The only token that it takes.
pub const TOKEN: &str = "hvs.first";

/// The engine. Every name that is asked for is a wrapping key; those in `signing` sign.
#[derive(Debug)]
pub struct Transit {
    boxes: Boxes,
    /// The version that wraps.
    pub latest: Mutex<u32>,
    /// The oldest version that opens.
    pub oldest: Mutex<u32>,
    /// Keys that sign, each by its versions from 1.
    pub signing: Mutex<BTreeMap<String, Vec<Ed25519KeyPair>>>,
}

impl Default for Transit {
    fn default() -> Self {
        Self {
            boxes: Boxes::default(),
            latest: Mutex::new(1),
            oldest: Mutex::new(1),
            signing: Mutex::default(),
        }
    }
}

impl Transit {
    /// An engine, and the server that speaks for it.
    pub async fn start() -> (Arc<Self>, Fake) {
        let engine = Arc::new(Self::default());
        let answering = engine.clone();
        let fake = Fake::https(move |seen| answering.answer(seen)).await;
        (engine, fake)
    }

    /// Adds a version to a signing key.
    pub fn rotate(&self, key: &str) {
        let mut signing = self.signing.lock().unwrap();
        let versions = signing.entry(key.to_owned()).or_default();
        versions.push(Ed25519KeyPair::generate().unwrap());
    }

    pub(crate) fn answer(&self, seen: &Seen) -> (u16, String) {
        if seen.header("x-vault-token") != Some(TOKEN) {
            return said_no(403, "permission denied");
        }
        if seen.target == "/v1/auth/token/lookup-self" {
            return (200, json!({"data": {"ttl": 0, "renewable": true}}).to_string());
        }
        let question = seen
            .target
            .strip_prefix("/v1/transit/")
            .and_then(|rest| rest.split_once('/'));
        let Some((verb, key)) = question else {
            return said_no(404, "no handler for route");
        };
        let body = if seen.body.is_empty() {
            Value::Null
        } else {
            seen.json()
        };
        match (seen.method.as_str(), verb) {
            ("POST", "encrypt") => self.encrypt(key, &body),
            ("POST", "decrypt") => self.decrypt(key, &body),
            ("GET", "keys") => self.describe(key),
            ("POST", "sign") => self.sign(key, &body),
            ("POST", "keys") => match key.strip_suffix("/rotate") {
                Some(key) => {
                    self.rotate(key);
                    self.describe(key)
                }
                None => said_no(404, "no handler for route"),
            },
            _ => said_no(405, "unsupported operation"),
        }
    }

    fn encrypt(&self, key: &str, body: &Value) -> (u16, String) {
        let sealed = self
            .boxes
            .seal(key, &body["associated_data"], text(body, "plaintext"));
        let latest = *self.latest.lock().unwrap();
        let ciphertext = format!("vault:v{latest}:{sealed}");
        (200, json!({"data": {"ciphertext": ciphertext}}).to_string())
    }

    fn decrypt(&self, key: &str, body: &Value) -> (u16, String) {
        let parts = text(body, "ciphertext")
            .strip_prefix("vault:v")
            .and_then(|rest| rest.split_once(':'));
        let (version, sealed) = parts.unwrap_or(("0", ""));
        if version.parse::<u32>().unwrap() < *self.oldest.lock().unwrap() {
            return said_no(
                400,
                "ciphertext or signature version is disallowed by policy (too old)",
            );
        }
        match self.boxes.open(key, &body["associated_data"], sealed) {
            Some(plaintext) => (200, json!({"data": {"plaintext": plaintext}}).to_string()),
            None => said_no(400, "cipher: message authentication failed"),
        }
    }

    fn describe(&self, key: &str) -> (u16, String) {
        let signing = self.signing.lock().unwrap();
        let Some(versions) = signing.get(key) else {
            return (
                200,
                json!({"data": {"type": "aes256-gcm96", "latest_version": 1}}).to_string(),
            );
        };
        let keys: BTreeMap<String, Value> = versions
            .iter()
            .zip(1..)
            .map(|(pair, version): (&Ed25519KeyPair, u32)| {
                let public = STANDARD.encode(pair.public_key());
                (version.to_string(), json!({"public_key": public}))
            })
            .collect();
        let latest = keys.len();
        (
            200,
            json!({"data": {"type": "ed25519", "latest_version": latest, "keys": keys}}).to_string(),
        )
    }

    fn sign(&self, key: &str, body: &Value) -> (u16, String) {
        let version = usize::try_from(body["key_version"].as_u64().unwrap()).unwrap();
        let message = STANDARD.decode(text(body, "input")).unwrap();
        let signing = self.signing.lock().unwrap();
        let signature = STANDARD.encode(signing[key][version - 1].sign(&message));
        let signature = format!("vault:v{version}:{signature}");
        (200, json!({"data": {"signature": signature}}).to_string())
    }
}

pub(crate) fn said_no(status: u16, why: &str) -> (u16, String) {
    (status, json!({"errors": [why]}).to_string())
}
