//! What a browser sends of an authenticator, as `PublicKeyCredential.toJSON()` writes it (WebAuthn §5.1).

use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use webauthn_rs::prelude::{PublicKeyCredential, RegisterPublicKeyCredential};

/// The ways to an authenticator that are remembered: hints for browsers.
const TRANSPORTS: [&str; 5] = ["usb", "nfc", "ble", "internal", "hybrid"];

/// A new credential.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::identity) struct NewCredential {
    /// How the authenticator knows it, base64url.
    #[schema(min_length = 1, max_length = 1364, pattern = "^[A-Za-z0-9_-]+$")]
    id: String,
    /// The same.
    #[schema(min_length = 1, max_length = 1364, pattern = "^[A-Za-z0-9_-]+$")]
    raw_id: String,
    /// Always `public-key`.
    #[schema(max_length = 32)]
    r#type: String,
    /// What the authenticator made.
    response: Attestation,
    /// What became of extensions; nothing depends on it.
    #[schema(value_type = Option<Object>, nullable = false)]
    #[serde(default)]
    #[expect(dead_code, reason = "browsers send it, and it is not looked at")]
    client_extension_results: Map<String, Value>,
    /// `platform` or `cross-platform`; nothing depends on it.
    #[schema(max_length = 32)]
    #[serde(default)]
    #[expect(dead_code, reason = "browsers send it, and it is not looked at")]
    authenticator_attachment: Option<String>,
}

/// The public key of a new credential, and what was signed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Attestation {
    /// What the browser asked for, base64url.
    #[serde(rename = "clientDataJSON")]
    #[schema(max_length = 8192, pattern = "^[A-Za-z0-9_-]*$")]
    client_data_json: String,
    /// What the authenticator answered, base64url.
    #[schema(max_length = 16384, pattern = "^[A-Za-z0-9_-]*$")]
    attestation_object: String,
    /// How it is reached.
    #[schema(max_items = 16, nullable = false)]
    #[serde(default)]
    transports: Option<Vec<String>>,
    /// Said in `attestationObject`, too, which counts.
    #[schema(max_length = 8192, nullable = false)]
    #[serde(default)]
    #[expect(dead_code, reason = "browsers send it, and it is not looked at")]
    authenticator_data: Option<String>,
    /// Said in `attestationObject`, too, which counts.
    #[schema(max_length = 8192)]
    #[serde(default)]
    #[expect(dead_code, reason = "browsers send it, and it is not looked at")]
    public_key: Option<String>,
    /// Said in `attestationObject`, too, which counts.
    #[schema(nullable = false)]
    #[serde(default)]
    #[expect(dead_code, reason = "browsers send it, and it is not looked at")]
    public_key_algorithm: Option<i64>,
}

/// The answer of a credential.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::identity) struct Credential {
    /// How the authenticator knows it, base64url.
    #[schema(min_length = 1, max_length = 1364, pattern = "^[A-Za-z0-9_-]+$")]
    id: String,
    /// The same.
    #[schema(min_length = 1, max_length = 1364, pattern = "^[A-Za-z0-9_-]+$")]
    raw_id: String,
    /// Always `public-key`.
    #[schema(max_length = 32)]
    r#type: String,
    /// What the authenticator signed.
    response: Assertion,
    /// What became of extensions; nothing depends on it.
    #[schema(value_type = Option<Object>, nullable = false)]
    #[serde(default)]
    #[expect(dead_code, reason = "browsers send it, and it is not looked at")]
    client_extension_results: Map<String, Value>,
    /// `platform` or `cross-platform`; nothing depends on it.
    #[schema(max_length = 32)]
    #[serde(default)]
    #[expect(dead_code, reason = "browsers send it, and it is not looked at")]
    authenticator_attachment: Option<String>,
}

/// A signature, and what is signed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Assertion {
    /// What the browser asked for, base64url.
    #[serde(rename = "clientDataJSON")]
    #[schema(max_length = 8192, pattern = "^[A-Za-z0-9_-]*$")]
    client_data_json: String,
    /// What the authenticator says of itself, base64url.
    #[schema(max_length = 8192, pattern = "^[A-Za-z0-9_-]*$")]
    authenticator_data: String,
    /// The signature, base64url.
    #[schema(max_length = 4096, pattern = "^[A-Za-z0-9_-]*$")]
    signature: String,
    /// Whose credential it is, base64url.
    #[schema(max_length = 128)]
    #[serde(default)]
    user_handle: Option<String>,
    /// Nobody asks for one.
    #[schema(max_length = 16384)]
    #[serde(default)]
    #[expect(dead_code, reason = "some browsers send it as null")]
    attestation_object: Option<String>,
}

impl NewCredential {
    /// As the library reads it; None when it cannot.
    pub(super) fn read(self) -> Option<RegisterPublicKeyCredential> {
        is_public_key(&self.id, &self.raw_id, &self.r#type).then_some(())?;
        let transports = self.response.transports.unwrap_or_default();
        let transports: Vec<_> = transports
            .into_iter()
            .filter(|transport| TRANSPORTS.contains(&transport.as_str()))
            .collect();
        let credential = json!({
            "id": self.id, "rawId": self.raw_id, "type": self.r#type,
            "response": {
                "clientDataJSON": self.response.client_data_json,
                "attestationObject": self.response.attestation_object,
                "transports": transports,
            },
        });
        serde_json::from_value(credential).ok()
    }
}

impl Credential {
    /// As the library reads it; None when it cannot.
    pub(super) fn read(self) -> Option<PublicKeyCredential> {
        is_public_key(&self.id, &self.raw_id, &self.r#type).then_some(())?;
        let credential = json!({
            "id": self.id, "rawId": self.raw_id, "type": self.r#type,
            "response": {
                "clientDataJSON": self.response.client_data_json,
                "authenticatorData": self.response.authenticator_data,
                "signature": self.response.signature,
                "userHandle": self.response.user_handle,
            },
        });
        serde_json::from_value(credential).ok()
    }
}

/// Says the same in all three places.
fn is_public_key(id: &str, raw_id: &str, kind: &str) -> bool {
    id == raw_id && kind == "public-key"
}
