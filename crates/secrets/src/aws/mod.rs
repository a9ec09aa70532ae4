//! AWS: signed questions to Secrets Manager and KMS.

mod credentials;
mod kms;

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::document::{field_of, wipe};
use crate::http_client::{Answer, HttpClient};
use crate::{AwsCredentials, AwsSettings, Fault, Fetched};
pub use kms::{KmsSigner, KmsWrapper};

/// One account and region, and who this process is to it.
#[derive(Debug)]
pub struct Aws {
    region: String,
    secrets_manager: String,
    kms: String,
    source: AwsCredentials,
    http: HttpClient,
    credentials: Mutex<Option<Credentials>>,
}

/// A service: its name in signatures, and the prefix of its operations.
#[derive(Debug, Clone, Copy)]
enum Service {
    SecretsManager,
    Kms,
}

impl Service {
    const fn name(self) -> &'static str {
        match self {
            Self::SecretsManager => "secretsmanager",
            Self::Kms => "kms",
        }
    }

    const fn target(self) -> &'static str {
        match self {
            Self::SecretsManager => "secretsmanager",
            Self::Kms => "TrentService",
        }
    }
}

impl Aws {
    /// Prepares to ask AWS; nothing is sent yet.
    ///
    /// # Errors
    /// When the file of its authority cannot be read.
    pub fn new(settings: &AwsSettings) -> Result<Self, Fault> {
        let suffix = if settings.region.starts_with("cn-") {
            ".cn"
        } else {
            ""
        };
        let endpoint = |given: Option<&String>, service: Service| {
            given.map_or_else(
                || {
                    format!(
                        "https://{}.{}.amazonaws.com{suffix}",
                        service.name(),
                        settings.region
                    )
                },
                |url| url.trim_end_matches('/').to_owned(),
            )
        };
        Ok(Self {
            region: settings.region.clone(),
            secrets_manager: endpoint(
                settings.secrets_manager_endpoint.as_ref(),
                Service::SecretsManager,
            ),
            kms: endpoint(settings.kms_endpoint.as_ref(), Service::Kms),
            source: settings.credentials.clone(),
            http: HttpClient::https(settings.ca_file.as_deref())?,
            credentials: Mutex::new(None),
        })
    }

    /// A secret, or a part of its JSON, at a stage or at `AWSCURRENT`.
    pub(crate) async fn read(
        &self,
        name: &str,
        key: Option<&str>,
        stage: Option<&str>,
    ) -> Result<Fetched, Fault> {
        let question = json!({"SecretId": name, "VersionStage": stage.unwrap_or("AWSCURRENT")});
        let mut answer = self
            .ask(Service::SecretsManager, "GetSecretValue", &question)
            .await?;
        let whole = match (answer.get("SecretString"), answer.get("SecretBinary")) {
            (Some(Value::String(text)), _) => Some(Zeroizing::new(text.clone().into_bytes())),
            (_, Some(Value::String(binary))) => STANDARD.decode(binary).ok().map(Zeroizing::new),
            _ => None,
        };
        let version = answer.get("VersionId").and_then(Value::as_str).map(str::to_owned);
        let since = answer.get("CreatedDate").and_then(created);
        wipe(&mut answer);
        let whole =
            whole.ok_or_else(|| Fault::Malformed("the answer has neither a text nor bytes".to_owned()))?;
        Ok(Fetched {
            bytes: match key {
                Some(key) => field_of(&whole, key)?,
                None => whole,
            },
            version,
            since,
            lease: None,
        })
    }

    /// Asks; with fresh credentials once more when they have ended meanwhile.
    async fn ask(&self, service: Service, operation: &str, question: &Value) -> Result<Value, Fault> {
        let credentials = self.credentials(None).await?;
        let answer = self.ask_as(&credentials, service, operation, question).await?;
        let answer = if is_expired(&answer) {
            let fresh = self.credentials(Some(&credentials)).await?;
            self.ask_as(&fresh, service, operation, question).await?
        } else {
            answer
        };
        if answer.status == StatusCode::OK {
            answer.json()
        } else {
            Err(said_no(&answer))
        }
    }

    async fn ask_as(
        &self,
        credentials: &Credentials,
        service: Service,
        operation: &str,
        question: &Value,
    ) -> Result<Answer, Fault> {
        let url = match service {
            Service::SecretsManager => &self.secrets_manager,
            Service::Kms => &self.kms,
        };
        let body = Zeroizing::new(question.to_string());
        let target = format!("{}.{operation}", service.target());
        let mut headers = vec![
            ("content-type".to_owned(), "application/x-amz-json-1.1".to_owned()),
            ("x-amz-target".to_owned(), target),
        ];
        let signature = self.signature(credentials, service, url, &headers, body.as_bytes())?;
        headers.extend(signature);
        let mut request = self
            .http
            .request(Method::POST, &format!("{url}/"))
            .body(body.as_bytes().to_vec());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request
            .build()
            .map_err(|error| Fault::Unconfigured(format!("aws: {}", error.without_url())))?;
        self.http.send(request).await
    }

    /// The headers that sign a question (Signature Version 4).
    fn signature(
        &self,
        credentials: &Credentials,
        service: Service,
        url: &str,
        headers: &[(String, String)],
        body: &[u8],
    ) -> Result<Vec<(String, String)>, Fault> {
        let unsigned = |error: &dyn std::fmt::Display| {
            Fault::Malformed(format!("the request cannot be signed: {error}"))
        };
        let identity = credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(service.name())
            .time(now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| unsigned(&error))?
            .into();
        let request = SignableRequest::new(
            "POST",
            format!("{url}/"),
            headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
            SignableBody::Bytes(body),
        )
        .map_err(|error| unsigned(&error))?;
        let (instructions, _) = sign(request, &params)
            .map_err(|error| unsigned(&error))?
            .into_parts();
        Ok(instructions
            .headers()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect())
    }
}

/// The wall clock: signatures and the life of credentials are told in it by AWS.
fn now() -> SystemTime {
    #[expect(
        clippy::disallowed_methods,
        reason = "AWS refuses a signature whose time is not now"
    )]
    SystemTime::now()
}

/// `CreatedDate`: seconds since 1970, with a fraction that nobody needs.
fn created(date: &Value) -> Option<chrono::DateTime<chrono::Utc>> {
    let text = date.to_string();
    let seconds = text.split('.').next()?.parse().ok()?;
    chrono::DateTime::from_timestamp(seconds, 0)
}

/// The name of an error, without the namespace before it.
fn error_of(answer: &Answer) -> Option<String> {
    let body = answer.json().ok()?;
    let kind = body.get("__type")?.as_str()?;
    Some(kind.rsplit('#').next().unwrap_or(kind).to_owned())
}

fn is_expired(answer: &Answer) -> bool {
    matches!(
        error_of(answer).as_deref(),
        Some("ExpiredTokenException" | "UnrecognizedClientException" | "InvalidSignatureException")
    )
}

/// What AWS said. Its messages name resources and rights; those about a decryption have none.
fn said_no(answer: &Answer) -> Fault {
    let kind = error_of(answer).unwrap_or_default();
    let message = answer.json().ok().and_then(|body| {
        let message = body.get("message").or_else(|| body.get("Message"))?;
        message.as_str().map(str::to_owned)
    });
    let text = format!(
        "aws answers {} {kind}: {}",
        answer.status.as_u16(),
        message.unwrap_or_default()
    );
    match kind.as_str() {
        "ResourceNotFoundException" | "NotFoundException" => Fault::Missing(text),
        "ThrottlingException"
        | "InternalServiceError"
        | "KMSInternalException"
        | "DependencyTimeoutException" => Fault::Unavailable(text),
        _ => Fault::Refused(text),
    }
}
