//! Vault: KV version 2, and the log-in that all questions share.

mod lease;
mod login;
mod transit;

use http::{Method, StatusCode};
use serde_json::Value;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::document::{value_at, wipe};
use crate::http_client::{Answer, HttpClient};
use crate::{Fault, Fetched, VaultAuth, VaultSettings};
use login::Login;
pub use transit::{TransitSigner, TransitWrapper};

/// One Vault, and who this process is to it.
#[derive(Debug)]
pub struct Vault {
    address: String,
    namespace: Option<String>,
    auth: VaultAuth,
    http: HttpClient,
    login: Mutex<Option<Login>>,
}

impl Vault {
    /// Prepares to ask a Vault; nothing is sent yet.
    ///
    /// # Errors
    /// When the file of its authority cannot be read.
    pub fn new(settings: &VaultSettings) -> Result<Self, Fault> {
        Ok(Self {
            address: settings.address.trim_end_matches('/').to_owned(),
            namespace: settings.namespace.clone(),
            auth: settings.auth.clone(),
            http: HttpClient::https(settings.ca_file.as_deref())?,
            login: Mutex::new(None),
        })
    }

    /// A field of a secret, in this version or the newest.
    pub(crate) async fn read(
        &self,
        mount: &str,
        path: &str,
        field: &str,
        version: Option<u32>,
    ) -> Result<Fetched, Fault> {
        let query = version
            .map(|version| format!("?version={version}"))
            .unwrap_or_default();
        let answer = self
            .ask(Method::GET, &format!("{mount}/data/{path}{query}"), None)
            .await?;
        let mut document = match answer.status {
            StatusCode::OK => answer.json()?,
            StatusCode::NOT_FOUND => return Err(gone(&answer, version)),
            _ => return Err(said_no(&answer)),
        };
        let metadata = document.pointer("/data/metadata");
        let version = metadata
            .and_then(|metadata| metadata.get("version"))
            .and_then(Value::as_u64);
        let since = metadata
            .and_then(|metadata| metadata.get("created_time"))
            .and_then(Value::as_str)
            .and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok())
            .map(Into::into);
        let bytes = match document.pointer("/data/data") {
            Some(data) => value_at(data, field),
            None => Err(Fault::Malformed(format!(
                "the answer is not that of a KV engine of version 2: is `{mount}` one?"
            ))),
        };
        wipe(&mut document);
        Ok(Fetched {
            bytes: bytes?,
            version: version.map(|version| version.to_string()),
            since,
            lease: None,
        })
    }

    /// Asks with a token; logs in anew and asks again when the token is refused, as one may have been revoked.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Fault> {
        let token = self.token().await?;
        let answer = self.ask_as(Some(&token), method.clone(), path, body).await?;
        if answer.status != StatusCode::FORBIDDEN {
            return Ok(answer);
        }
        let again = self.token_after(&token).await?;
        if again == token {
            return Ok(answer);
        }
        self.ask_as(Some(&again), method, path, body).await
    }

    async fn ask_as(
        &self,
        token: Option<&Zeroizing<String>>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Fault> {
        let mut request = self
            .http
            .request(method, &format!("{}/v1/{path}", self.address))
            .header("x-vault-request", "true");
        if let Some(token) = token {
            let mut value = http::HeaderValue::from_str(token).map_err(|_| {
                Fault::Malformed("the token for Vault has characters that no token has".to_owned())
            })?;
            value.set_sensitive(true);
            request = request.header("x-vault-token", value);
        }
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let request = request
            .build()
            .map_err(|error| Fault::Unconfigured(format!("vault: {}", error.without_url())))?;
        self.http.send(request).await
    }
}

/// A version that was deleted or destroyed is answered with 404 as well, but with its metadata.
fn gone(answer: &Answer, version: Option<u32>) -> Fault {
    let what = version.map_or_else(
        || "the newest version".to_owned(),
        |version| format!("version {version}"),
    );
    let metadata = answer.json().ok();
    let metadata = metadata.as_ref().and_then(|body| body.pointer("/data/metadata"));
    match metadata {
        Some(metadata) if metadata.get("destroyed").and_then(Value::as_bool) == Some(true) => {
            Fault::Missing(format!("{what} is destroyed"))
        }
        Some(_) => Fault::Missing(format!("{what} is deleted: undelete it, or write a new one")),
        None => Fault::Missing("vault has no such secret, or no such mount".to_owned()),
    }
}

/// What Vault said, in its own words: they name paths and policies, never values.
fn said_no(answer: &Answer) -> Fault {
    let errors = answer.json().ok();
    let errors: Vec<&str> = errors
        .as_ref()
        .and_then(|body| body.get("errors"))
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let text = format!("vault answers {}: {}", answer.status.as_u16(), errors.join("; "));
    match answer.status {
        StatusCode::FORBIDDEN => {
            Fault::Refused(format!("{text} (does this process's policy in Vault allow it?)"))
        }
        StatusCode::NOT_FOUND => Fault::Missing(text),
        StatusCode::BAD_REQUEST => Fault::Refused(text),
        _ => Fault::Malformed(text),
    }
}
