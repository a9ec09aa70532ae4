//! The settings of the control plane: `control-plane.yaml` and `CONTROL_PLANE__SECTION__KEY` variables.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use custody::{Keks, VersionedKey, algorithm_of};
use database::DatabaseSettings;
use keyring::{Algorithm, Bounds, RingName, SealError};
use serde::Deserialize;
use service_runtime::secrets::ServiceSecrets;
use service_runtime::settings::{Environment, Providers, SigningPlace, WrappingKey, providers_at_hand};
use service_runtime::telemetry::TelemetrySettings;

use crate::fleet::FleetSettings;
use crate::policies::PolicySettings;

/// Shortest time a standby must be published in production: key-set caches of 300 s and 30 s of skew (guard G2).
const PRODUCTION_DWELL_S: u32 = 330;
const DAY_S: u32 = 24 * 3600;
/// Longest duration that a setting takes: ten years.
const LONGEST_S: u32 = 10 * 366 * 24 * 3600;

/// Everything a control plane needs to start.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Unix socket for operators and gateways; made with mode 0600.
    pub socket: PathBuf,
    /// Address of `/metrics` and `/health`; port 0 picks one.
    pub private_listen: SocketAddr,
    /// Where to write, as JSON, the addresses that are really bound.
    pub endpoints_file: Option<PathBuf>,
    /// How to reach PostgreSQL, as `portico_control`.
    pub database: DatabaseSettings,
    /// The key-encryption key: `file:/path` with 32 bytes raw, in hexadecimal or in base64, `transit://mount/key` or
    /// `awskms://key`.
    pub kek: WrappingKey,
    /// Version of `kek`, from 1; part of what a sealed key is bound to.
    pub kek_version: i32,
    /// Further versions of the key-encryption key. Every version opens what it sealed; `portico kek rotate` lets the newest
    /// one seal.
    pub keks: Vec<VersionedKey>,
    /// Where the private keys of a ring are made and stay: `transit://mount/key` or `awskms://`. In this process where a ring is
    /// not named.
    pub signers: BTreeMap<RingName, SigningPlace>,
    /// Who keeps keys that are not here.
    #[serde(skip, default = "providers_at_hand")]
    pub providers: Arc<Providers>,
    /// When keys change state.
    pub rotation: RotationSettings,
    /// What signers and verifiers of tokens were told.
    pub tokens: TokenSettings,
    /// The gateways that this control plane signs for; none where they have directories of their own.
    pub fleet: Option<FleetSettings>,
    /// What a policy must be to go out, and how it does.
    pub policies: PolicySettings,
    /// Logs, traces, error reports.
    pub telemetry: TelemetrySettings,
}

/// When signing keys change state.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RotationSettings {
    /// Algorithm of new keys.
    pub algorithm: Algorithm,
    /// How long a standby must have been published before it may sign, seconds. At least 330 in production.
    pub standby_dwell_s: u32,
    /// How long an issuer may go on using the old key after a rotation, seconds.
    pub issuer_overlap_s: u32,
    /// How long the private part of a retiring key is kept, seconds.
    pub rollback_window_s: u32,
    /// How often keys that are due are retired and destroyed, milliseconds.
    pub maintenance_interval_ms: u32,
    /// After how long an active key hands over by itself, seconds.
    pub rotate_every_s: u32,
    /// After how long an active key counts as overdue, in a metric to alert on, seconds. Above `rotate_every_s`.
    pub overdue_after_s: u32,
}

/// When a ring turns by itself, and when that is overdue; seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    /// Age at which an active key hands over.
    pub(crate) rotate_every_s: i64,
    /// Age at which it is overdue.
    pub(crate) overdue_s: i64,
}

/// What signers and verifiers of tokens were told; a retiring key must outlive what it signed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenSettings {
    /// Longest life of an access token, seconds. Not less than what core-api issues.
    pub lifetime_s: u32,
    /// Clock skew allowance of each side, seconds.
    pub skew_s: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("control-plane.sock"),
            private_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            endpoints_file: None,
            database: DatabaseSettings::default(),
            kek: WrappingKey::default(),
            kek_version: 1,
            keks: Vec::new(),
            signers: BTreeMap::new(),
            providers: Arc::default(),
            rotation: RotationSettings::default(),
            tokens: TokenSettings::default(),
            fleet: None,
            policies: PolicySettings::default(),
            telemetry: TelemetrySettings::default(),
        }
    }
}

impl Default for RotationSettings {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::EdDSA,
            standby_dwell_s: PRODUCTION_DWELL_S,
            issuer_overlap_s: 5,
            rollback_window_s: 900,
            maintenance_interval_ms: 5_000,
            rotate_every_s: 30 * DAY_S,
            overdue_after_s: 35 * DAY_S,
        }
    }
}

impl Default for TokenSettings {
    fn default() -> Self {
        Self {
            lifetime_s: 600,
            skew_s: 30,
        }
    }
}

impl RotationSettings {
    /// Time between two rounds of maintenance.
    #[must_use]
    pub(crate) fn maintenance_interval(&self) -> Duration {
        Duration::from_millis(u64::from(self.maintenance_interval_ms))
    }
}

impl Settings {
    /// Every secret of these settings.
    #[must_use]
    pub fn secrets(&self) -> ServiceSecrets {
        let secrets = ServiceSecrets::default()
            .with(&self.database.url)
            .with_key(&self.kek);
        let secrets = (self.keks.iter()).fold(secrets, |secrets, kek| secrets.with_key(&kek.secret));
        match &self.telemetry.sentry_dsn {
            Some(dsn) => secrets.with(dsn),
            None => secrets,
        }
    }

    /// The durations a rotation keeps.
    #[must_use]
    pub(crate) const fn bounds(&self) -> Bounds {
        Bounds {
            standby_dwell_s: self.rotation.standby_dwell_s,
            issuer_overlap_s: self.rotation.issuer_overlap_s,
            token_lifetime_s: self.tokens.lifetime_s,
            skew_s: self.tokens.skew_s,
            rollback_window_s: self.rotation.rollback_window_s,
        }
    }

    /// The key-encryption keys: `kek` and `keks` together.
    ///
    /// # Errors
    ///
    /// When there is none, one has no usable form, or a version is there twice.
    pub(crate) fn key_encryption_keys(&self) -> Result<Keks, SealError> {
        Keks::new((self.kek_version, &self.kek), &self.keks)
    }

    /// When a ring turns by itself.
    #[must_use]
    pub(crate) fn schedule(&self) -> Schedule {
        Schedule {
            rotate_every_s: i64::from(self.rotation.rotate_every_s),
            overdue_s: i64::from(self.rotation.overdue_after_s),
        }
    }

    /// What is wrong with these settings in this environment, one line each.
    #[must_use]
    pub fn faults(&self, environment: Environment) -> Vec<String> {
        let mut faults = self.database.faults();
        if let Err(error) = self.key_encryption_keys() {
            faults.push(format!(
                "kek, keks: {error}; `kek: file:/path`, or `keks: [{{version: 1, secret: file:/path}}]`"
            ));
        }
        for (ring, place) in &self.signers {
            let made = algorithm_of(place.algorithm());
            if ring.algorithm(made) != made {
                faults.push(format!(
                    "signers.{ring}: gateways believe Ed25519 alone, and there keys are {made}"
                ));
            }
        }
        if self.rotation.maintenance_interval_ms == 0 {
            faults.push("rotation.maintenance_interval_ms: must be above 0".to_owned());
        }
        if self.rotation.rotate_every_s <= self.rotation.standby_dwell_s {
            faults.push("rotation.rotate_every_s: must be above rotation.standby_dwell_s, or no standby is ever old enough".to_owned());
        }
        if self.rotation.overdue_after_s <= self.rotation.rotate_every_s {
            faults.push("rotation.overdue_after_s: must be above rotation.rotate_every_s".to_owned());
        }
        if self.tokens.lifetime_s == 0 {
            faults.push("tokens.lifetime_s: must be above 0".to_owned());
        }
        for (name, seconds) in [
            ("rotation.standby_dwell_s", self.rotation.standby_dwell_s),
            ("rotation.issuer_overlap_s", self.rotation.issuer_overlap_s),
            ("rotation.rollback_window_s", self.rotation.rollback_window_s),
            ("rotation.overdue_after_s", self.rotation.overdue_after_s),
            ("tokens.lifetime_s", self.tokens.lifetime_s),
            ("tokens.skew_s", self.tokens.skew_s),
        ] {
            if seconds > LONGEST_S {
                faults.push(format!("{name}: must be at most {LONGEST_S}"));
            }
        }
        if environment == Environment::Production && self.rotation.standby_dwell_s < PRODUCTION_DWELL_S {
            faults.push(format!(
                "rotation.standby_dwell_s: {} is for development; in production at least {PRODUCTION_DWELL_S}",
                self.rotation.standby_dwell_s
            ));
        }
        faults.extend(self.policies.faults(environment));
        faults.extend(self.fleet.iter().flat_map(|fleet| fleet.faults(environment)));
        faults
    }
}

#[cfg(test)]
mod tests {
    use service_runtime::settings::Secret;

    use super::*;

    fn valid() -> Settings {
        Settings {
            database: DatabaseSettings {
                url: Secret::from("postgresql:///portico".to_owned()),
                ..DatabaseSettings::default()
            },
            kek: WrappingKey::from(vec![7; 32]),
            ..Settings::default()
        }
    }

    #[test]
    fn defaults_are_fit_for_production_once_the_secrets_are_given() {
        assert_eq!(valid().faults(Environment::Production), Vec::<String>::new());
        assert_eq!(Settings::default().faults(Environment::Production).len(), 2);
    }

    #[test]
    fn a_short_dwell_is_for_development_only() {
        let mut settings = valid();
        settings.rotation.standby_dwell_s = 2;
        assert_eq!(settings.faults(Environment::Development), Vec::<String>::new());
        let faults = settings.faults(Environment::Production);
        assert!(
            faults.len() == 1 && faults[0].starts_with("rotation.standby_dwell_s: 2"),
            "{faults:?}"
        );
    }

    #[test]
    fn every_fault_is_reported() {
        let settings = Settings {
            kek_version: 0,
            rotation: RotationSettings {
                maintenance_interval_ms: 0,
                ..RotationSettings::default()
            },
            tokens: TokenSettings {
                lifetime_s: 0,
                skew_s: u32::MAX,
            },
            ..Settings::default()
        };
        assert_eq!(settings.faults(Environment::Test).len(), 5);
        assert!(!format!("{:?}", valid()).contains("[7"));
    }
}
