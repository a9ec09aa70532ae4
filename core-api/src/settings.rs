//! How this process runs. Read once; every mistake is reported together, before anything listens.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;

use custody::{Keks, VersionedKey};
use database::DatabaseSettings;
use keyring::SealError;
use passwords::Profile;
use serde::Deserialize;
use service_runtime::secrets::ServiceSecrets;
use service_runtime::settings::{Environment, Providers, Secret, WrappingKey, providers_at_hand};
use service_runtime::telemetry::TelemetrySettings;
use service_runtime::tls::TlsSettings;

pub use crate::identity::PasskeySettings;
pub use crate::mail::{MailSettings, SmtpSettings, SmtpTls};

/// Settings of core-api.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The unix socket to serve the API on (mode 0600). Not served with `tls`.
    pub socket: PathBuf,
    /// Serves the API over TLS instead, for a gateway on another machine.
    pub tls: Option<TlsSettings>,
    /// Address of metrics and health for operators; port 0 picks one.
    pub private_listen: SocketAddr,
    /// Where to write the bound private address as JSON, once listening.
    pub endpoints_file: Option<PathBuf>,
    /// The database and its pool.
    pub database: DatabaseSettings,
    /// The key-encryption key that opens the sealed signing keys: 32 bytes raw, in hexadecimal or base64.
    pub kek: WrappingKey,
    /// Version of `kek`, from 1.
    pub kek_version: i32,
    /// Further versions of the key-encryption key, the same as the control plane's.
    pub keks: Vec<VersionedKey>,
    /// Who keeps keys that are not here.
    #[serde(skip, default = "providers_at_hand")]
    pub providers: Arc<Providers>,
    /// What access tokens say and how long they live.
    pub tokens: TokenSettings,
    /// How long sessions live.
    pub sessions: SessionSettings,
    /// How passwords are hashed.
    pub password: PasswordSettings,
    /// What second factors are asked for.
    pub second_factor: SecondFactorSettings,
    /// On whose pages passkeys are made and used. Without these, there are none.
    pub passkeys: Option<PasskeySettings>,
    /// How mails leave.
    pub mail: MailSettings,
    /// How movements of money are batched.
    pub posting: PostingSettings,
    /// How long answers are kept for repetition.
    pub idempotency: IdempotencySettings,
    /// Logs, traces and errors.
    pub telemetry: TelemetrySettings,
    /// The policy folder, of which `lockout` is carried out here. Without one, the rules that Portico ships are.
    pub policies_dir: Option<PathBuf>,
    /// Grants customers `cash:write`, so that they deposit and withdraw themselves. Production refuses it.
    pub self_service_cash: bool,
    /// Makes new users active without the mailbox round trip. Production refuses it.
    pub auto_activate: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("core-api.sock"),
            tls: None,
            private_listen: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)),
            endpoints_file: None,
            database: DatabaseSettings::default(),
            kek: WrappingKey::default(),
            kek_version: 1,
            keks: Vec::new(),
            providers: Arc::default(),
            tokens: TokenSettings::default(),
            sessions: SessionSettings::default(),
            password: PasswordSettings::default(),
            second_factor: SecondFactorSettings::default(),
            passkeys: None,
            mail: MailSettings::default(),
            posting: PostingSettings::default(),
            idempotency: IdempotencySettings::default(),
            telemetry: TelemetrySettings::default(),
            policies_dir: None,
            self_service_cash: false,
            auto_activate: false,
        }
    }
}

/// Access tokens (RFC 9068).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenSettings {
    /// `iss`, exactly.
    pub issuer: String,
    /// `aud`.
    pub audience: String,
    /// Lifetime of an access token, seconds.
    pub lifetime_s: u32,
    /// How often the signing keys are read again, seconds.
    pub keys_refresh_s: u64,
}

impl Default for TokenSettings {
    fn default() -> Self {
        Self {
            issuer: "https://api.bank.example".to_owned(),
            audience: "core-api".to_owned(),
            lifetime_s: 600,
            keys_refresh_s: 5,
        }
    }
}

/// Sessions: one log-in and the refresh tokens that follow from it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionSettings {
    /// A refresh token that is not used for this long is over, seconds.
    pub idle_s: u32,
    /// A session is over after this long, whatever happens, seconds.
    pub absolute_s: u32,
    /// `idle_s` for sessions of browsers on the bank's own pages.
    pub browser_idle_s: u32,
    /// `absolute_s` for those.
    pub browser_absolute_s: u32,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            idle_s: 7 * 86_400,
            absolute_s: 30 * 86_400,
            browser_idle_s: 15 * 60,
            browser_absolute_s: 12 * 3_600,
        }
    }
}

/// Argon2id (RFC 9106) as a bounded resource.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PasswordSettings {
    /// Memory of one hash, KiB.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub iterations: u32,
    /// A secret that is mixed into every hash and is not in the database.
    pub pepper: Secret,
    /// Further peppers: hashes made with one of them are understood, and renewed after a log-in.
    pub peppers: Vec<Secret>,
    /// How many hashes run at once; 0 is one fewer than the cores, at least one and at most four.
    pub max_parallel: usize,
    /// How many requests may wait for a hash; more are answered 503.
    pub queue: usize,
    /// How many of them may be of one client address (an IPv6 client is a /64), running ones included.
    pub max_per_address: usize,
    /// How long a request waits for its hash, milliseconds; then 503.
    pub deadline_ms: u64,
    /// What is asked of a new password.
    pub profile: Profile,
    /// Fewest characters of a new password, when more than the profile asks for.
    pub min_length: usize,
    /// Words that no new password may contain, such as the bank's name.
    pub context_words: Vec<String>,
    /// The file of breached passwords that `portico breach build` has made. The profile `pci_staff` needs it.
    pub breach_filter: Option<PathBuf>,
}

impl Default for PasswordSettings {
    fn default() -> Self {
        Self {
            memory_kib: 47_104,
            iterations: 2,
            pepper: Secret::default(),
            peppers: Vec::new(),
            max_parallel: 0,
            queue: 32,
            max_per_address: 2,
            deadline_ms: 2_000,
            profile: Profile::Nist,
            min_length: Profile::Nist.min_chars(),
            context_words: vec!["portico".to_owned()],
            breach_filter: None,
        }
    }
}

/// Second factors.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecondFactorSettings {
    /// The bank's name in authenticators.
    pub bank: String,
    /// Transfers from this amount on, in minor units of their currency, must be confirmed with a second factor.
    pub transfers_from_minor: i64,
    /// For how long a new second factor confirms nothing but changes of factors, seconds: whoever has stolen a password adds one.
    pub confirms_after_s: u32,
}

impl Default for SecondFactorSettings {
    fn default() -> Self {
        Self {
            bank: "Portico".to_owned(),
            transfers_from_minor: 1_000_000,
            confirms_after_s: 86_400,
        }
    }
}

/// The batcher in front of the ledger.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PostingSettings {
    /// How many batches may be under way at once.
    pub lanes: usize,
    /// How many movements may wait in one lane; more are answered 503.
    pub queue: usize,
    /// Most movements of one batch.
    pub max_batch: usize,
    /// How long a request waits for its movement, milliseconds; then 503, and the same key tells what became of it.
    pub deadline_ms: u64,
}

impl Default for PostingSettings {
    fn default() -> Self {
        Self {
            lanes: 2,
            queue: 1_024,
            max_batch: 256,
            deadline_ms: 10_000,
        }
    }
}

/// Repetition of answers under one `Idempotency-Key`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdempotencySettings {
    /// How long an answer is kept, seconds.
    pub ttl_s: u32,
    /// How often expired answers are removed, seconds.
    pub purge_every_s: u64,
}

impl Default for IdempotencySettings {
    fn default() -> Self {
        Self {
            ttl_s: 86_400,
            purge_every_s: 60,
        }
    }
}

/// The OWASP floor for Argon2id: (KiB, passes).
const FLOOR: [(u32, u32); 2] = [(19_456, 2), (47_104, 1)];
/// What this process would refuse to verify, it must not make.
const MAX_MEMORY_KIB: u32 = 131_072;
const MAX_ITERATIONS: u32 = 10;
/// What verifiers accept as the largest lifetime (J27).
const MAX_LIFETIME_S: u32 = 900;
/// What clients can work with; tests compress time.
const MIN_LIFETIME_S: u32 = 30;
/// Legs of one posting statement, at most.
const MAX_LEGS: usize = 512;

/// The faults among rules, each with whether it is broken.
fn broken<const N: usize>(rules: [(bool, &str); N]) -> impl Iterator<Item = String> {
    rules
        .into_iter()
        .filter(|(is_broken, _)| *is_broken)
        .map(|(_, fault)| fault.to_owned())
}

impl Settings {
    /// The key-encryption keys: `kek` and `keks` together.
    ///
    /// # Errors
    ///
    /// When there is none, one has no usable form, or a version is there twice.
    pub(crate) fn key_encryption_keys(&self) -> Result<Keks, SealError> {
        Keks::new((self.kek_version, &self.kek), &self.keks)
    }

    /// The secrets that keys of this service are derived from, for cursors and for mails in the queue; the one for what is
    /// new first: the newest key-encryption key, or the pepper where a version of that stays elsewhere.
    pub(crate) fn derivation_secrets(&self) -> Vec<&[u8]> {
        let listed = self.keks.iter().map(|kek| (kek.version, &kek.secret));
        let mut keks: Vec<_> = std::iter::once((self.kek_version, &self.kek))
            .chain(listed)
            .collect();
        keks.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
        let is_remote = keks.iter().any(|(_, key)| matches!(key, WrappingKey::Remote(_)));
        let pepper = is_remote.then(|| self.password.pepper.expose().as_bytes());
        let secrets = keks.into_iter().filter_map(|(_, key)| match key {
            WrappingKey::Secret(secret) if !secret.expose().is_empty() => Some(secret.expose()),
            WrappingKey::Secret(_) | WrappingKey::Remote(_) => None,
        });
        pepper.into_iter().chain(secrets).collect()
    }

    /// Every secret of these settings.
    #[must_use]
    pub fn secrets(&self) -> ServiceSecrets {
        let secrets = ServiceSecrets::default()
            .with(&self.database.url)
            .with_key(&self.kek)
            .with(&self.password.pepper);
        let secrets = (self.password.peppers.iter()).fold(secrets, ServiceSecrets::with);
        let secrets = match &self.mail.smtp {
            Some(smtp) => secrets.with(&smtp.password),
            None => secrets,
        };
        let secrets = (self.keks.iter()).fold(secrets, |secrets, kek| secrets.with_key(&kek.secret));
        match &self.telemetry.sentry_dsn {
            Some(dsn) => secrets.with(dsn),
            None => secrets,
        }
    }

    /// Everything that is wrong with these settings in this environment, one line each.
    #[must_use]
    pub fn faults(&self, environment: Environment) -> Vec<String> {
        let mut faults = self.database.faults();
        if let Err(error) = self.key_encryption_keys() {
            faults.push(format!(
                "kek, keks: {error}; `kek: file:/path`, or `keks: [{{version: 1, secret: file:/path}}]`"
            ));
        }
        faults.extend(self.tls.iter().flat_map(TlsSettings::faults));
        faults.extend(self.tokens.faults());
        faults.extend(self.sessions.faults());
        faults.extend(self.password.faults());
        faults.extend(self.second_factor.faults());
        let passkeys = self.passkeys.iter();
        faults.extend(passkeys.flat_map(|passkeys| passkeys.faults(environment)));
        faults.extend(self.mail.faults(environment));
        faults.extend(self.posting.faults());
        faults.extend(self.idempotency.faults());
        if environment == Environment::Production {
            faults.extend(broken([
                (self.self_service_cash, "self_service_cash: is for development"),
                (self.auto_activate, "auto_activate: is for development"),
                (
                    self.password.is_below_floor(),
                    "password: below the OWASP floor for Argon2id (19456 KiB with 2 passes, or 47104 KiB with 1)",
                ),
                (
                    self.second_factor.confirms_after_s < 3_600,
                    "second_factor.confirms_after_s: must be at least an hour",
                ),
                (self.idempotency.ttl_s < 86_400, "idempotency.ttl_s: must be at least one day"),
                (
                    self.tokens.lifetime_s < MIN_LIFETIME_S,
                    "tokens.lifetime_s: must be at least 30 in production",
                ),
            ]));
        }
        faults
    }
}

impl TokenSettings {
    fn faults(&self) -> impl Iterator<Item = String> {
        broken([
            (self.issuer.is_empty(), "tokens.issuer: must not be empty"),
            (self.audience.is_empty(), "tokens.audience: must not be empty"),
            (
                !(1..=MAX_LIFETIME_S).contains(&self.lifetime_s),
                "tokens.lifetime_s: must be between 1 and 900",
            ),
            (self.keys_refresh_s == 0, "tokens.keys_refresh_s: must be above 0"),
        ])
    }
}

impl SessionSettings {
    fn faults(&self) -> impl Iterator<Item = String> {
        broken([
            (
                self.idle_s == 0 || self.idle_s > self.absolute_s,
                "sessions.idle_s: must be above 0 and at most sessions.absolute_s",
            ),
            (
                self.absolute_s > 366 * 86_400,
                "sessions.absolute_s: must be at most one year",
            ),
            (
                self.browser_idle_s == 0 || self.browser_idle_s > self.browser_absolute_s,
                "sessions.browser_idle_s: must be above 0 and at most sessions.browser_absolute_s",
            ),
            (
                self.browser_absolute_s > 366 * 86_400,
                "sessions.browser_absolute_s: must be at most one year",
            ),
        ])
    }
}

impl PasswordSettings {
    fn faults(&self) -> impl Iterator<Item = String> {
        broken([
            (
                self.pepper.expose().len() < 16,
                "password.pepper: is required, at least 16 characters",
            ),
            (
                !(8..=MAX_MEMORY_KIB).contains(&self.memory_kib),
                "password.memory_kib: must be between 8 and 131072",
            ),
            (
                !(1..=MAX_ITERATIONS).contains(&self.iterations),
                "password.iterations: must be between 1 and 10",
            ),
            (self.queue == 0, "password.queue: must be above 0"),
            (
                // Whoever waits longer has lost the place that was reserved for the attempt.
                !(1..=9_000).contains(&self.deadline_ms),
                "password.deadline_ms: must be between 1 and 9000",
            ),
            (
                self.max_per_address == 0,
                "password.max_per_address: must be above 0",
            ),
            (
                self.peppers.iter().any(|pepper| pepper.expose().len() < 16),
                "password.peppers: at least 16 characters each",
            ),
            (self.min_length > 64, "password.min_length: must be at most 64"),
            (
                self.context_words
                    .iter()
                    .any(|word| word.trim().chars().count() < 3),
                "password.context_words: at least 3 characters each",
            ),
            (
                self.profile.needs_filter() && self.breach_filter.is_none(),
                "password.breach_filter: the profile pci_staff needs a file of breached passwords (portico breach build)",
            ),
        ])
    }

    fn is_below_floor(&self) -> bool {
        !FLOOR
            .iter()
            .any(|(memory, passes)| self.memory_kib >= *memory && self.iterations >= *passes)
    }
}

impl SecondFactorSettings {
    fn faults(&self) -> impl Iterator<Item = String> {
        broken([
            (
                self.bank.trim().is_empty() || self.bank.contains(':'),
                "second_factor.bank: must be a name without a colon",
            ),
            (
                self.transfers_from_minor < 1,
                "second_factor.transfers_from_minor: must be above 0",
            ),
            (
                self.confirms_after_s > 604_800,
                "second_factor.confirms_after_s: must be at most a week",
            ),
        ])
    }
}

impl PostingSettings {
    fn faults(&self) -> impl Iterator<Item = String> {
        broken([
            (
                !(1..=8).contains(&self.lanes),
                "posting.lanes: must be between 1 and 8",
            ),
            (self.queue == 0, "posting.queue: must be above 0"),
            (
                !(1..=MAX_LEGS).contains(&self.max_batch),
                "posting.max_batch: must be between 1 and 512",
            ),
            (self.deadline_ms == 0, "posting.deadline_ms: must be above 0"),
        ])
    }
}

impl IdempotencySettings {
    fn faults(&self) -> impl Iterator<Item = String> {
        broken([
            (
                !(60..=2_592_000).contains(&self.ttl_s),
                "idempotency.ttl_s: must be between 60 and 2592000",
            ),
            (
                self.purge_every_s == 0,
                "idempotency.purge_every_s: must be above 0",
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Settings {
        let mut settings = Settings {
            kek: WrappingKey::from(vec![7; 32]),
            ..Settings::default()
        };
        settings.database.url = Secret::from("postgres://localhost/portico".to_owned());
        settings.password.pepper = Secret::from("0123456789abcdef".to_owned());
        settings.mail.smtp = Some(SmtpSettings {
            host: "smtp.bank.example".to_owned(),
            ..SmtpSettings::default()
        });
        settings
    }

    #[test]
    fn the_defaults_are_fit_for_production_once_the_secrets_are_there() {
        assert_eq!(good().faults(Environment::Production), Vec::<String>::new());
        assert_eq!(Settings::default().faults(Environment::Production).len(), 4);
    }

    #[test]
    fn production_refuses_what_development_may_do() {
        let mut settings = good();
        settings.self_service_cash = true;
        settings.auto_activate = true;
        settings.password.memory_kib = 64;
        settings.tokens.lifetime_s = 29;
        assert_eq!(settings.faults(Environment::Development), Vec::<String>::new());
        assert_eq!(settings.faults(Environment::Production).len(), 4);
    }

    #[test]
    fn the_owasp_floor_is_a_floor() {
        for (memory_kib, iterations, allowed) in [
            (19_456, 2, true),
            (19_455, 2, false),
            (19_456, 1, false),
            (47_104, 1, true),
            (47_103, 1, false),
        ] {
            let mut settings = good();
            settings.password.memory_kib = memory_kib;
            settings.password.iterations = iterations;
            assert_eq!(
                settings.faults(Environment::Production).is_empty(),
                allowed,
                "{memory_kib} {iterations}"
            );
        }
    }

    #[test]
    fn staff_need_a_file_of_breached_passwords() {
        let mut settings = good();
        settings.password.profile = Profile::PciStaff;
        let faults = settings.faults(Environment::Development);
        assert!(
            faults.len() == 1 && faults[0].contains("breach_filter"),
            "{faults:?}"
        );
        settings.password.breach_filter = Some(PathBuf::from("breached.bf16"));
        assert_eq!(settings.faults(Environment::Production), Vec::<String>::new());
    }

    #[test]
    fn bounds_of_passwords_are_checked() {
        let mut settings = good();
        let password = &mut settings.password;
        password.max_per_address = 0;
        password.min_length = 65;
        password.peppers = vec![Secret::from("short".to_owned())];
        password.context_words = vec!["ab".to_owned()];
        assert_eq!(settings.faults(Environment::Development).len(), 4);
    }

    #[test]
    fn secrets_do_not_print() {
        let text = format!("{:?}", good());
        assert!(
            !text.contains("0123456789abcdef") && !text.contains("7, 7"),
            "{text}"
        );
    }
}
