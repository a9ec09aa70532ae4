//! Vault's transit engine: a wrapping key and a signing key that never leave it.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Vault, said_no};
use crate::document::wipe;
use crate::signer::checked;
use crate::{Context, Fault, KeyWrapper, RemoteSigner, SignatureAlgorithm};

/// A wrapping key of the transit engine. Its type must be one that takes associated data, such as `aes256-gcm96`.
#[derive(Debug, Clone)]
pub struct TransitWrapper {
    vault: Arc<Vault>,
    mount: String,
    key: String,
}

impl TransitWrapper {
    /// The key of this name, in the engine at this mount.
    #[must_use]
    pub fn new(vault: Arc<Vault>, mount: &str, key: &str) -> Self {
        Self {
            vault,
            mount: mount.to_owned(),
            key: key.to_owned(),
        }
    }

    async fn ask(&self, verb: &str, mut body: Value) -> Result<Value, Fault> {
        let path = format!("{}/{verb}/{}", self.mount, self.key);
        let answer = self.vault.ask(Method::POST, &path, Some(&body)).await;
        wipe(&mut body);
        let answer = answer?;
        if answer.status != StatusCode::OK {
            return Err(said_no(&answer));
        }
        answer.json()
    }
}

#[async_trait]
impl KeyWrapper for TransitWrapper {
    async fn wrap(&self, key: &[u8], context: &Context) -> Result<Vec<u8>, Fault> {
        let body = json!({
            "plaintext": STANDARD.encode(key),
            "associated_data": STANDARD.encode(context.bytes()),
        });
        let answer = self.ask("encrypt", body).await?;
        let text = answer.pointer("/data/ciphertext").and_then(Value::as_str);
        text.filter(|text| versioned(text).is_some())
            .map(|text| text.as_bytes().to_vec())
            .ok_or_else(|| Fault::Malformed("the answer has no ciphertext".to_owned()))
    }

    async fn unwrap(&self, wrapped: &[u8], context: &Context) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let body = json!({
            "ciphertext": text_of(wrapped)?,
            "associated_data": STANDARD.encode(context.bytes()),
        });
        let mut answer = self.ask("decrypt", body).await?;
        let plaintext = answer.pointer("/data/plaintext").and_then(Value::as_str);
        let key = plaintext
            .and_then(|text| STANDARD.decode(text).ok())
            .map(Zeroizing::new);
        wipe(&mut answer);
        key.ok_or_else(|| Fault::Malformed("the answer has no plaintext in base64".to_owned()))
    }
}

async fn describe(vault: &Vault, mount: &str, key: &str) -> Result<Value, Fault> {
    let answer = vault
        .ask(Method::GET, &format!("{mount}/keys/{key}"), None)
        .await?;
    match answer.status {
        StatusCode::OK => answer.json(),
        StatusCode::NOT_FOUND => Err(Fault::Missing(format!("vault has no key `{key}` at `{mount}`"))),
        _ => Err(said_no(&answer)),
    }
}

/// `vault:v3:…`, as it came: it is kept whole, as only Vault reads it.
fn text_of(wrapped: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(wrapped)
        .ok()
        .filter(|text| versioned(text).is_some())
        .ok_or_else(|| Fault::Refused("this key was not wrapped by Vault".to_owned()))
}

/// The version and the rest of `vault:v<version>:<rest>`.
fn versioned(text: &str) -> Option<(u32, &str)> {
    let (version, rest) = text.strip_prefix("vault:v")?.split_once(':')?;
    Some((version.parse().ok()?, rest))
}

/// An Ed25519 key of the transit engine, in one version: its name stays while the key behind it is rotated.
#[derive(Debug, Clone)]
pub struct TransitSigner {
    vault: Arc<Vault>,
    mount: String,
    key: String,
    version: u32,
    public: Vec<u8>,
}

impl TransitSigner {
    /// Has Vault make the next version of the key.
    ///
    /// # Errors
    /// When Vault has no such key, it is not of type `ed25519`, or Vault does not answer.
    pub async fn make(vault: Arc<Vault>, mount: &str, key: &str) -> Result<Self, Fault> {
        let path = format!("{mount}/keys/{key}/rotate");
        let answer = vault.ask(Method::POST, &path, Some(&json!({}))).await?;
        if !answer.status.is_success() {
            return Err(said_no(&answer));
        }
        // Somebody else may have made another one since; whoever gets the same one is refused by the name of the key.
        let description = describe(&vault, mount, key).await?;
        let latest = description
            .pointer("/data/latest_version")
            .and_then(Value::as_u64)
            .and_then(|version| u32::try_from(version).ok())
            .ok_or_else(|| Fault::Malformed(format!("`{key}` has no latest_version")))?;
        Self::of(vault, mount, key, latest).await
    }

    /// Which version signs.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Asks for the public part of a version of the key.
    ///
    /// # Errors
    /// When Vault has no such key or version, it is not of type `ed25519`, or Vault does not answer.
    pub async fn of(vault: Arc<Vault>, mount: &str, key: &str, version: u32) -> Result<Self, Fault> {
        let description = describe(&vault, mount, key).await?;
        let kind = description
            .pointer("/data/type")
            .and_then(Value::as_str)
            .unwrap_or("");
        if kind != "ed25519" {
            return Err(Fault::Refused(format!(
                "`{key}` is of type `{kind}`, and must be ed25519"
            )));
        }
        let public = description
            .pointer(&format!("/data/keys/{version}/public_key"))
            .and_then(Value::as_str)
            .ok_or_else(|| Fault::Missing(format!("`{key}` has no version {version}")))?;
        let public = STANDARD
            .decode(public)
            .map_err(|_| Fault::Malformed(format!("the public part of `{key}` is no base64")))?;
        Ok(Self {
            vault,
            mount: mount.to_owned(),
            key: key.to_owned(),
            version,
            public,
        })
    }
}

#[async_trait]
impl RemoteSigner for TransitSigner {
    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::Ed25519
    }

    fn public(&self) -> &[u8] {
        &self.public
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let path = format!("{}/sign/{}", self.mount, self.key);
        let body = json!({"input": STANDARD.encode(message), "key_version": self.version});
        let answer = self.vault.ask(Method::POST, &path, Some(&body)).await?;
        if answer.status != StatusCode::OK {
            return Err(said_no(&answer));
        }
        let answer = answer.json()?;
        let signature = answer
            .pointer("/data/signature")
            .and_then(Value::as_str)
            .and_then(versioned)
            .and_then(|(_, text)| STANDARD.decode(text).ok())
            .ok_or_else(|| Fault::Malformed("the answer has no signature".to_owned()))?;
        checked(SignatureAlgorithm::Ed25519, &self.public, message, signature)
    }
}
