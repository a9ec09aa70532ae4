//! An authenticator with the browser around it, in software: it makes keys of P-256, signs what it is asked, and lies where a test
//! says so.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const BACKUP_ELIGIBLE: u8 = 0x08;
const BACKED_UP: u8 = 0x10;
const HAS_CREDENTIAL: u8 = 0x40;

/// One authenticator with one key.
pub(super) struct Authenticator {
    key: EcdsaKeyPair,
    id: Vec<u8>,
    /// Whose it is, as the registration said.
    user_handle: String,
    pub(super) origin: String,
    pub(super) rp_id: String,
    pub(super) is_verifying: bool,
    pub(super) is_synchronised: bool,
    pub(super) count: u32,
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Authenticator {
    pub(super) fn new() -> Self {
        let mut id = [0; 20];
        aws_lc_rs::rand::fill(&mut id).unwrap();
        Self {
            key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap(),
            id: id.to_vec(),
            user_handle: String::new(),
            origin: "https://bank.example".to_owned(),
            rp_id: "bank.example".to_owned(),
            is_verifying: true,
            is_synchronised: false,
            count: 0,
        }
    }

    /// The same key in another device.
    pub(super) fn with_id_of(mut self, other: &Self) -> Self {
        self.id.clone_from(&other.id);
        self
    }

    /// Whose it says it is.
    pub(super) fn handle_of(&self) -> Value {
        json!(self.user_handle)
    }

    /// `navigator.credentials.create()`.
    pub(super) fn create(&mut self, options: &Value) -> Value {
        self.user_handle = options["user"]["id"].as_str().unwrap().to_owned();
        let client_data = self.client_data("webauthn.create", options);
        let data = self.data(true);
        let length = u16::try_from(data.len()).unwrap().to_be_bytes();
        let mut object = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59".to_vec();
        object.extend(length);
        object.extend(&data);
        json!({
            "id": base64url(&self.id), "rawId": base64url(&self.id), "type": "public-key",
            "authenticatorAttachment": "platform", "clientExtensionResults": {"credProps": {"rk": true}},
            "response": {
                "clientDataJSON": base64url(client_data.as_bytes()), "attestationObject": base64url(&object),
                "authenticatorData": base64url(&data), "publicKeyAlgorithm": -7, "transports": ["internal", "smoke-signals"],
            },
        })
    }

    /// `navigator.credentials.get()`.
    pub(super) fn get(&mut self, options: &Value) -> Value {
        let client_data = self.client_data("webauthn.get", options);
        let data = self.data(false);
        let mut signed = data.clone();
        signed.extend(digest(&SHA256, client_data.as_bytes()).as_ref());
        let signature = self.key.sign(&SystemRandom::new(), &signed).unwrap();
        json!({
            "id": base64url(&self.id), "rawId": base64url(&self.id), "type": "public-key",
            "authenticatorAttachment": "platform", "clientExtensionResults": {},
            "response": {
                "clientDataJSON": base64url(client_data.as_bytes()), "authenticatorData": base64url(&data),
                "signature": base64url(signature.as_ref()), "userHandle": self.user_handle,
            },
        })
    }

    fn client_data(&self, kind: &str, options: &Value) -> String {
        json!({"type": kind, "challenge": options["challenge"], "origin": self.origin, "crossOrigin": false})
            .to_string()
    }

    /// Authenticator data (WebAuthn §6.1).
    fn data(&self, with_credential: bool) -> Vec<u8> {
        let mut flags = USER_PRESENT;
        for (is_set, flag) in [
            (self.is_verifying, USER_VERIFIED),
            (self.is_synchronised, BACKUP_ELIGIBLE | BACKED_UP),
            (with_credential, HAS_CREDENTIAL),
        ] {
            flags |= if is_set { flag } else { 0 };
        }
        let mut data = digest(&SHA256, self.rp_id.as_bytes()).as_ref().to_vec();
        data.push(flags);
        data.extend(self.count.to_be_bytes());
        if with_credential {
            data.extend([0; 16]); // of no known model
            data.extend(u16::try_from(self.id.len()).unwrap().to_be_bytes());
            data.extend(&self.id);
            // COSE_Key: EC2, ES256, P-256, x, y.
            let point = self.key.public_key().as_ref();
            data.extend(b"\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20");
            data.extend(&point[1..33]);
            data.extend(b"\x22\x58\x20");
            data.extend(&point[33..65]);
        }
        data
    }
}
