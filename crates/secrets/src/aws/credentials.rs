//! Where AWS credentials come from: the environment, a file, the machine's metadata, or the container's.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use aws_credential_types::Credentials;
use http::{Method, StatusCode};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{Aws, now};
use crate::document::wipe;
use crate::http_client::{Answer, HttpClient};
use crate::{AwsCredentials, Fault, variable};

/// Credentials that end sooner are replaced.
const MARGIN: Duration = Duration::from_secs(300);
/// Where a task's relative URI leads.
const TASK_METADATA: &str = "http://169.254.170.2";
/// The other link-local addresses that containers are told of: EKS pod identity.
const POD_IDENTITY: [&str; 2] = ["169.254.170.23", "fd00:ec2::23"];

impl Aws {
    /// Credentials that last a while, other than those that AWS refused.
    pub(super) async fn credentials(&self, refused: Option<&Credentials>) -> Result<Credentials, Fault> {
        let mut kept = self.credentials.lock().await;
        if let Some(known) = kept.as_ref()
            && refused.is_none_or(|refused| refused != known)
            && known
                .expiry()
                .is_none_or(|end| now().checked_add(MARGIN).is_some_and(|soon| soon < end))
        {
            return Ok(known.clone());
        }
        let fresh = fetch(&self.source).await;
        match (fresh, kept.as_ref()) {
            (Ok(fresh), _) => {
                *kept = Some(fresh.clone());
                Ok(fresh)
            }
            // What still works is not given up because nobody answers.
            (Err(fault), Some(known))
                if fault.is_transient()
                    && refused.is_none()
                    && known.expiry().is_some_and(|end| now() < end) =>
            {
                Ok(known.clone())
            }
            (Err(fault), _) => Err(fault),
        }
    }
}

async fn fetch(source: &AwsCredentials) -> Result<Credentials, Fault> {
    match source {
        AwsCredentials::Environment => environment(),
        AwsCredentials::File { path, profile } => file(path, profile),
        AwsCredentials::Instance { endpoint } => instance(endpoint.trim_end_matches('/')).await,
        AwsCredentials::Container => container().await,
    }
}

fn environment() -> Result<Credentials, Fault> {
    let required = |name: &str| {
        variable(name)
            .ok_or_else(|| Fault::Unconfigured(format!("aws credentials: variable {name} is not set")))
    };
    Ok(Credentials::new(
        required("AWS_ACCESS_KEY_ID")?,
        required("AWS_SECRET_ACCESS_KEY")?,
        variable("AWS_SESSION_TOKEN"),
        None,
        "environment",
    ))
}

/// `[profile]`, then `name = value`, as the AWS command line writes it.
fn file(path: &Path, profile: &str) -> Result<Credentials, Fault> {
    let place = path.display();
    let text = std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|error| Fault::Unconfigured(format!("aws credentials: {place}: {error}")))?;
    let header = format!("[{profile}]");
    let section = || {
        text.lines()
            .map(str::trim)
            .skip_while(|line| *line != header)
            .skip(1)
            .take_while(|line| !line.starts_with('['))
    };
    let value = |name: &str| {
        section().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        })
    };
    let required = |name: &str| {
        value(name).ok_or_else(|| {
            Fault::Unconfigured(format!(
                "aws credentials: {place}: profile {profile} has no {name}"
            ))
        })
    };
    Ok(Credentials::new(
        required("aws_access_key_id")?,
        required("aws_secret_access_key")?,
        value("aws_session_token"),
        None,
        "file",
    ))
}

/// Instance metadata version 2: a token first, which a request that was forged into this machine cannot get.
async fn instance(endpoint: &str) -> Result<Credentials, Fault> {
    const ROLES: &str = "latest/meta-data/iam/security-credentials/";
    let client = HttpClient::link_local()?;
    let token = client
        .request(Method::PUT, &format!("{endpoint}/latest/api/token"))
        .header("x-aws-ec2-metadata-token-ttl-seconds", "300");
    let token = text(&ask(&client, token).await?)?;
    let get = |path: &str| {
        client
            .request(Method::GET, &format!("{endpoint}/{path}"))
            .header("x-aws-ec2-metadata-token", token.as_str())
    };
    let role = text(&ask(&client, get(ROLES)).await?)?;
    let role = role.lines().next().unwrap_or("").trim();
    if role.is_empty() {
        return Err(Fault::Unconfigured(
            "aws credentials: this machine has no role".to_owned(),
        ));
    }
    read(&ask(&client, get(&format!("{ROLES}{role}"))).await?)
}

async fn container() -> Result<Credentials, Fault> {
    let url = match (
        variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
        variable("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    ) {
        (Some(path), _) if path.starts_with('/') => format!("{TASK_METADATA}{path}"),
        (None, Some(url)) => allowed(url)?,
        _ => {
            return Err(Fault::Unconfigured(
                "aws credentials: neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor …_FULL_URI leads anywhere".to_owned(),
            ));
        }
    };
    let client = HttpClient::link_local()?;
    let mut request = client.request(Method::GET, &url);
    let authorization = match variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        Some(file) => Some(
            std::fs::read_to_string(&file)
                .map_err(|error| Fault::Unconfigured(format!("aws credentials: {file}: {error}")))?,
        ),
        None => variable("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
    };
    if let Some(token) = authorization {
        request = request.header("authorization", token.trim());
    }
    read(&ask(&client, request).await?)
}

/// Credentials come from this machine only: loopback, or the link-local addresses that AWS gives them out at.
fn allowed(url: String) -> Result<String, Fault> {
    let host = url
        .parse::<http::Uri>()
        .ok()
        .filter(|uri| uri.scheme_str() == Some("http"))
        .and_then(|uri| uri.host().map(|host| host.trim_matches(['[', ']']).to_owned()));
    let is_local = host.as_deref().is_some_and(|host| {
        POD_IDENTITY.contains(&host) || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    });
    if is_local {
        Ok(url)
    } else {
        Err(Fault::Refused(
            "aws credentials: AWS_CONTAINER_CREDENTIALS_FULL_URI leads to another machine".to_owned(),
        ))
    }
}

async fn ask(client: &HttpClient, request: reqwest::RequestBuilder) -> Result<Answer, Fault> {
    let request = request
        .build()
        .map_err(|error| Fault::Unconfigured(format!("aws credentials: {}", error.without_url())))?;
    let answer = client.send(request).await?;
    if answer.status == StatusCode::OK {
        Ok(answer)
    } else {
        Err(Fault::Refused(format!(
            "aws credentials: the metadata answers {}",
            answer.status.as_u16()
        )))
    }
}

fn text(answer: &Answer) -> Result<Zeroizing<String>, Fault> {
    std::str::from_utf8(&answer.body)
        .map(|text| Zeroizing::new(text.to_owned()))
        .map_err(|_| Fault::Malformed("aws credentials: the metadata answers with no text".to_owned()))
}

/// `AccessKeyId`, `SecretAccessKey`, `Token`, `Expiration`.
fn read(answer: &Answer) -> Result<Credentials, Fault> {
    let mut body = answer.json()?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let end = text("Expiration")
        .and_then(|end| chrono::DateTime::parse_from_rfc3339(&end).ok())
        .map(Into::into);
    let credentials = text("AccessKeyId")
        .zip(text("SecretAccessKey"))
        .map(|(id, key)| Credentials::new(id, key, text("Token"), end, "metadata"));
    wipe(&mut body);
    credentials
        .ok_or_else(|| Fault::Malformed("aws credentials: the metadata answers without a key".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_read_and_no_other() {
        let file_of_two = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file_of_two.path(),
            "[default]\naws_access_key_id = AKIDEFAULT\naws_secret_access_key=one\n\n[bank]\naws_access_key_id=AKIBANK\naws_secret_access_key = two\naws_session_token = three\n[empty]\n",
        )
        .unwrap();
        let bank = file(file_of_two.path(), "bank").unwrap();
        assert_eq!(
            (
                bank.access_key_id(),
                bank.secret_access_key(),
                bank.session_token()
            ),
            ("AKIBANK", "two", Some("three"))
        );
        let default = file(file_of_two.path(), "default").unwrap();
        assert_eq!(
            (default.access_key_id(), default.session_token()),
            ("AKIDEFAULT", None)
        );
        for missing in ["empty", "none"] {
            let fault = file(file_of_two.path(), missing).unwrap_err().to_string();
            assert!(
                fault.contains(missing) && fault.contains("aws_access_key_id"),
                "{fault}"
            );
        }
    }

    #[test]
    fn credentials_are_asked_for_on_this_machine_only() {
        for good in [
            "http://127.0.0.1:80/x",
            "http://[::1]/x",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::23]/v1",
        ] {
            assert!(allowed(good.to_owned()).is_ok(), "{good}");
        }
        for bad in [
            "http://10.0.0.1/x",
            "http://evil.example/x",
            "https://127.0.0.1/x",
            "file:///x",
            "",
        ] {
            assert!(allowed(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
