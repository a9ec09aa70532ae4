//! The certificates and client authorities that a policy names, read again whenever their files change.
//!
//! **Invariant:** what is in force was accepted whole. A file that is wrong or gone changes nothing but the log, told
//! once, and a metric (TLS-4).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::bail;
use chrono::{DateTime, Utc};
use policy::Plan;
use service_runtime::clock::Clock;
use service_runtime::tls::{Pair, expiry};

use super::certificate::{Certificate, Written};
use super::client_authority::{AuthorityFiles, ClientAuthority};
use super::staple::Staples;
use crate::acme;
use crate::durable_file::read_bounded;
use crate::metrics::METRICS;

/// Largest chain or key.
pub(super) const MAX_PAIR_BYTES: u64 = 64 * 1024;
/// Largest file of authorities or of revocation lists.
pub(super) const MAX_AUTHORITY_BYTES: u64 = 8 * 1024 * 1024;

/// Everything of the certificate folder that is in force, by name.
#[derive(Debug)]
pub(crate) struct TlsFiles {
    directory: PathBuf,
    /// Where certificates lie that came by ACME.
    fetched: PathBuf,
    /// Those of the policy that come by ACME, and may not have come yet.
    awaited: BTreeSet<String>,
    pub(super) clock: Clock,
    certificates: BTreeMap<String, Entry<Written, Certificate>>,
    staples: Staples,
    authorities: BTreeMap<String, Entry<AuthorityFiles, ClientAuthority>>,
    /// Up to where the end of a certificate was told.
    told: BTreeMap<String, usize>,
}

/// What is known of one name.
#[derive(Debug)]
pub(super) struct Entry<F, V> {
    /// What was read at the last look, and for which hosts it was judged.
    seen: Option<(Result<F, String>, Vec<String>)>,
    /// The last good value.
    pub(super) in_force: Option<Arc<V>>,
    /// Why `in_force` is not what the files say.
    pub(super) fault: Option<String>,
}

impl<F, V> Default for Entry<F, V> {
    fn default() -> Self {
        Self {
            seen: None,
            in_force: None,
            fault: None,
        }
    }
}

impl<F: PartialEq, V> Entry<F, V> {
    /// Judges what was read, unless it was judged before. Returns whether anything new is in force.
    pub(super) fn look(
        &mut self,
        (kind, name): (&str, &str),
        read: anyhow::Result<F>,
        hosts: &[String],
        judge: impl FnOnce(&F, Option<&V>) -> anyhow::Result<V>,
    ) -> bool {
        let read = read.map_err(|error| format!("{error:#}"));
        let is_known = self
            .seen
            .as_ref()
            .is_some_and(|(seen, judged_for)| *seen == read && judged_for == hosts);
        if is_known {
            return false;
        }
        let judged = match &read {
            Ok(files) => judge(files, self.in_force.as_deref()).map_err(|error| format!("{error:#}")),
            Err(error) => Err(error.clone()),
        };
        self.seen = Some((read, hosts.to_owned()));
        match judged {
            Ok(value) => {
                tracing::info!(kind, name, "in force");
                (self.in_force, self.fault) = (Some(Arc::new(value)), None);
                true
            }
            Err(error) => {
                if self.in_force.is_some() {
                    tracing::error!(kind, name, error, "the new files are wrong: the old ones stay");
                }
                self.fault = Some(error);
                false
            }
        }
    }
}

impl TlsFiles {
    /// Knows nothing yet: [`TlsFiles::look`] reads what a policy names.
    pub(crate) fn new(directory: &Path, fetched: PathBuf, clock: Clock) -> Self {
        Self {
            directory: directory.to_owned(),
            fetched,
            awaited: BTreeSet::new(),
            clock,
            certificates: BTreeMap::new(),
            staples: Staples::default(),
            authorities: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }

    /// Reads the files that this policy names, and takes over those that changed and are good.
    pub(crate) fn look(&mut self, plan: &Plan) {
        let now = self.clock.now();
        let listeners = || plan.listeners().iter().map(|listener| &listener.https);
        let certificates = named(listeners().flat_map(|https| https.certificates.iter()));
        let authorities = named(listeners().filter_map(|https| https.client_authority.as_ref()));
        self.certificates.retain(|name, _| certificates.contains(name));
        self.authorities.retain(|name, _| authorities.contains(name));
        self.told.retain(|name, _| certificates.contains(name));
        self.staples.retain(&certificates);
        METRICS.certificate_ok.reset();
        METRICS.certificate_expires_at.reset();
        METRICS.client_authority_ok.reset();
        METRICS.revocation_lists_end_at.reset();
        let by_acme = plan.certificates().iter().filter(|it| it.acme.is_some());
        self.awaited = named(by_acme.map(|it| &it.name));
        for name in certificates {
            let written = plan.certificates().iter().find(|it| it.name == name);
            self.look_at_certificate(&name, written.map(|it| it.hosts.as_slice()), plan.hosts(), now);
        }
        for name in authorities {
            self.look_at_authority(&name);
        }
    }

    /// `must` are the names that the policy wants of it, `hosts` those of the whole policy.
    fn look_at_certificate(
        &mut self,
        name: &str,
        must: Option<&[String]>,
        hosts: &[String],
        now: DateTime<Utc>,
    ) {
        let read = if self.awaited.contains(name) {
            self.read_fetched(name)
        } else {
            self.read_pair(name)
        };
        let read = read.map(|pair| Written {
            staple: self
                .staples
                .look(&self.directory.join(format!("{name}.ocsp")), name, &pair, now),
            pair,
        });
        let entry = self.certificates.entry(name.to_owned()).or_default();
        let judged_for = must.unwrap_or(hosts);
        let is_new = entry.look(("certificate", name), read, judged_for, |written, old| {
            let fresh = Certificate::check(name, written, now)?;
            check_names(&fresh, old, must, hosts)?;
            Ok(fresh)
        });
        let ok = METRICS.certificate_ok.with_label_values(&[name]);
        ok.set(i64::from(entry.fault.is_none()));
        let Some(certificate) = &entry.in_force else {
            return;
        };
        METRICS
            .certificate_expires_at
            .with_label_values(&[name])
            .set(certificate.not_after.timestamp());
        let stage = expiry::stage(certificate.not_before, certificate.not_after, now);
        let told = self.told.entry(name.to_owned()).or_default();
        if is_new {
            *told = 0;
        }
        if stage > *told {
            expiry::tell(&certificate.name, certificate.not_after, stage, now);
        }
        *told = stage;
    }

    fn look_at_authority(&mut self, name: &str) {
        let read = self.read_authority(name);
        let clock = self.clock.clone();
        let entry = self.authorities.entry(name.to_owned()).or_default();
        entry.look(("client authority", name), read, &[], |files, _| {
            ClientAuthority::check(name, files, clock)
        });
        let ok = METRICS.client_authority_ok.with_label_values(&[name]);
        ok.set(i64::from(entry.fault.is_none()));
        if let Some(authority) = &entry.in_force {
            METRICS
                .revocation_lists_end_at
                .with_label_values(&[name])
                .set(authority.lists_end_at.timestamp());
        }
    }

    /// What a policy wants of the certificate folder and could not have: the files are missing or wrong, and what is in
    /// force would not do. One sentence for each.
    pub(crate) fn lacks(&self, plan: &Plan) -> Vec<String> {
        let listeners = || plan.listeners().iter().map(|listener| &listener.https);
        let certificates = named(listeners().flat_map(|https| https.certificates.iter()));
        let authorities = named(listeners().filter_map(|https| https.client_authority.as_ref()));
        let certificates = certificates
            .iter()
            .filter_map(|name| Some(format!("certificate {name}: {:#}", self.fault_for(name, plan)?)));
        let authorities = authorities.iter().filter_map(|name| {
            let fault = self.authority_fault(name)?;
            Some(format!("client authority {name}: {fault:#}"))
        });
        certificates.chain(authorities).collect()
    }

    fn fault_for(&self, name: &str, plan: &Plan) -> Option<anyhow::Error> {
        let written = plan.certificates().iter().find(|it| it.name == name);
        if written.is_some_and(|it| it.acme.is_some()) {
            return None;
        }
        let must = written.map(|it| it.hosts.as_slice());
        let old = self.certificates.get(name).and_then(|it| it.in_force.as_deref());
        let judge = || {
            let written = Written {
                pair: self.read_pair(name)?,
                staple: None,
            };
            let fresh = Certificate::check(name, &written, self.clock.now())?;
            check_names(&fresh, old, must, plan.hosts())
        };
        let fault = judge().err()?;
        let is_served = old.is_some_and(|old| check_names(old, None, must, plan.hosts()).is_ok());
        (!is_served).then_some(fault)
    }

    fn authority_fault(&self, name: &str) -> Option<anyhow::Error> {
        let old = self.authorities.get(name).and_then(|it| it.in_force.as_ref());
        let judge = || ClientAuthority::check(name, &self.read_authority(name)?, self.clock.clone());
        judge().err().filter(|_| old.is_none())
    }

    fn read_pair(&self, name: &str) -> anyhow::Result<Pair> {
        let read = |ending| read_bounded(&self.directory.join(format!("{name}.{ending}")), MAX_PAIR_BYTES);
        Ok(Pair {
            chain: read("pem")?,
            key: read("key")?,
        })
    }

    fn read_fetched(&self, name: &str) -> anyhow::Result<Pair> {
        let both = read_bounded(&acme::pair_file(&self.fetched, name), MAX_PAIR_BYTES)?;
        Ok(Pair {
            chain: both.clone(),
            key: both,
        })
    }

    fn read_authority(&self, name: &str) -> anyhow::Result<AuthorityFiles> {
        let read = |ending| {
            read_bounded(
                &self.directory.join(format!("{name}.{ending}")),
                MAX_AUTHORITY_BYTES,
            )
        };
        Ok(AuthorityFiles {
            authorities: read("ca.pem")?,
            revocations: read("crl.pem")?,
        })
    }

    /// The certificate in force.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn certificate(&self, name: &str) -> anyhow::Result<Arc<Certificate>> {
        in_force("certificate", name, self.certificates.get(name))
    }

    /// Whether a certificate may come later, by ACME.
    pub(super) fn is_awaited(&self, name: &str) -> bool {
        self.awaited.contains(name)
    }

    /// The client authority in force.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn authority(&self, name: &str) -> anyhow::Result<Arc<ClientAuthority>> {
        in_force("client authority", name, self.authorities.get(name))
    }
}

/// The value in force.
///
/// # Errors
/// Why there is none.
pub(super) fn in_force<F, V>(kind: &str, name: &str, entry: Option<&Entry<F, V>>) -> anyhow::Result<Arc<V>> {
    match entry {
        Some(Entry {
            in_force: Some(value),
            ..
        }) => Ok(value.clone()),
        Some(Entry {
            fault: Some(fault), ..
        }) => bail!("{kind} {name}: {fault}"),
        Some(_) | None => bail!("{kind} {name}: not read yet"),
    }
}

fn named<'p>(names: impl Iterator<Item = &'p String>) -> BTreeSet<String> {
    names.cloned().collect()
}

/// `must` are the names that the policy wants of a certificate, where it says so; `hosts` those of the whole policy.
fn check_names(
    fresh: &Certificate,
    old: Option<&Certificate>,
    must: Option<&[String]>,
    hosts: &[String],
) -> anyhow::Result<()> {
    match must {
        Some(must) => check_wanted(fresh, must),
        None => check_hosts(fresh, old, hosts),
    }
}

/// A certificate is for all names that the policy wants of it.
fn check_wanted(fresh: &Certificate, wanted: &[String]) -> anyhow::Result<()> {
    match wanted.iter().find(|host| !fresh.covers(host)) {
        Some(host) => bail!("it is not for `{host}`"),
        None => Ok(()),
    }
}

/// A certificate serves some host of the policy, and goes on to serve those that it served.
fn check_hosts(fresh: &Certificate, old: Option<&Certificate>, hosts: &[String]) -> anyhow::Result<()> {
    let covered = |certificate: &Certificate| -> Vec<&String> {
        hosts.iter().filter(|host| certificate.covers(host)).collect()
    };
    let now_covered = covered(fresh);
    if now_covered.is_empty() {
        bail!("it is for none of the hosts of the policy ({})", hosts.join(", "));
    }
    let lost = old.and_then(|old| covered(old).into_iter().find(|host| !now_covered.contains(host)));
    match lost {
        Some(host) => bail!("it is not for `{host}`, which the one in force is for"),
        None => Ok(()),
    }
}
