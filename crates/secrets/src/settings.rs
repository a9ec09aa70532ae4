//! How providers of secrets are reached: the section `secrets` of every service's settings.

use std::path::PathBuf;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};

/// The section `secrets`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderSettings {
    /// Vault, for `vault://`.
    pub vault: Option<VaultSettings>,
    /// AWS, for `awssm://`.
    pub aws: Option<AwsSettings>,
    /// age, for `age://`.
    pub age: Option<AgeSettings>,
    /// How often every secret is fetched again, seconds; each time a tenth more or less, so that services spread out.
    pub refresh_every_s: u32,
    /// How long the last value may be used while its provider does not answer before that is an alarm, seconds.
    pub max_stale_s: u32,
    /// A secret that is older should be rotated, and `portico secrets status` says so, days.
    pub max_age_days: u32,
}

impl Default for ProviderSettings {
    fn default() -> Self {
        Self {
            vault: None,
            aws: None,
            age: None,
            refresh_every_s: 300,
            max_stale_s: 86_400,
            max_age_days: 90,
        }
    }
}

impl ProviderSettings {
    /// What is wrong with these settings, one line each.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut https = |name: &str, url: Option<&str>| {
            if url.is_some_and(|url| !url.starts_with("https://") || url.len() < 9) {
                faults.push(format!(
                    "secrets.{name}: must begin with https://, as secrets do not travel in clear"
                ));
            }
        };
        https(
            "vault.address",
            self.vault.as_ref().map(|vault| vault.address.as_str()),
        );
        if let Some(aws) = &self.aws {
            https(
                "aws.secrets_manager_endpoint",
                aws.secrets_manager_endpoint.as_deref(),
            );
            https("aws.kms_endpoint", aws.kms_endpoint.as_deref());
            if aws.region.is_empty() {
                faults.push("secrets.aws.region: is required, such as eu-central-1".to_owned());
            }
        }
        for (name, value) in [
            ("refresh_every_s", self.refresh_every_s),
            ("max_stale_s", self.max_stale_s),
            ("max_age_days", self.max_age_days),
        ] {
            if value == 0 {
                faults.push(format!("secrets.{name}: must be above 0"));
            }
        }
        faults
    }
}

/// How to reach Vault.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultSettings {
    /// Its https URL, without a path.
    pub address: String,
    /// The certificates (PEM) that it is checked against; those of the system when it is not set.
    pub ca_file: Option<PathBuf>,
    /// The namespace, of Vault Enterprise.
    pub namespace: Option<String>,
    /// How this process shows who it is.
    #[serde(deserialize_with = "by_name")]
    pub auth: VaultAuth,
}

/// How a process shows Vault who it is. The files are read at every log-in, so that they may be replaced.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum VaultAuth {
    /// With a token from a file, which something else puts there, such as Vault Agent.
    TokenFile(PathBuf),
    /// As an AppRole.
    #[serde(rename = "approle")]
    AppRole {
        /// Where the method is mounted.
        #[serde(default = "approle")]
        mount: String,
        /// The file of the role id.
        role_id_file: PathBuf,
        /// The file of the secret id.
        secret_id_file: PathBuf,
    },
    /// With the token of a Kubernetes service account.
    Kubernetes {
        /// Where the method is mounted.
        #[serde(default = "kubernetes")]
        mount: String,
        /// The role in Vault.
        role: String,
        /// The file of the service account's token.
        #[serde(default = "service_account_token")]
        jwt_file: PathBuf,
    },
}

/// Reads a choice as `name` or `{ name: … }`; YAML's own way would be a tag, `!name`.
fn by_name<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<T, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    serde_json::from_value(value).map_err(D::Error::custom)
}

fn approle() -> String {
    "approle".to_owned()
}

fn kubernetes() -> String {
    "kubernetes".to_owned()
}

fn service_account_token() -> PathBuf {
    PathBuf::from("/var/run/secrets/kubernetes.io/serviceaccount/token")
}

/// How to reach AWS.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsSettings {
    /// The region.
    pub region: String,
    /// Where this process's credentials come from.
    #[serde(deserialize_with = "by_name")]
    pub credentials: AwsCredentials,
    /// The https URL of Secrets Manager, where it is not the region's public one: a VPC endpoint.
    pub secrets_manager_endpoint: Option<String>,
    /// The https URL of KMS, where it is not the region's public one.
    pub kms_endpoint: Option<String>,
    /// The certificates (PEM) that both are checked against; those of the system when it is not set.
    pub ca_file: Option<PathBuf>,
}

/// Where AWS credentials come from: one place, so that a process never takes those of another by accident.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AwsCredentials {
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
    Environment,
    /// A profile of a file as the AWS command line keeps it, read whenever they are needed.
    File {
        /// The file.
        path: PathBuf,
        /// The profile.
        #[serde(default = "default_profile")]
        profile: String,
    },
    /// The role of the machine, by instance metadata version 2.
    Instance {
        /// Where the metadata is.
        #[serde(default = "instance_metadata")]
        endpoint: String,
    },
    /// The role of the task or pod: `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` or `…_FULL_URI`.
    Container,
}

fn default_profile() -> String {
    "default".to_owned()
}

fn instance_metadata() -> String {
    "http://169.254.169.254".to_owned()
}

/// How to open age files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgeSettings {
    /// The file of the identities (`AGE-SECRET-KEY-1…`), as `age-keygen` writes it.
    pub identity_file: PathBuf,
}
