//! The authorities and client certificates that upstreams of the policy name, read again whenever their files change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use policy::UpstreamTls;
use service_runtime::clock::Clock;
use service_runtime::tls::{Pair, expiry};

use super::files::{Entry, MAX_AUTHORITY_BYTES, MAX_PAIR_BYTES, in_force};
use super::upstream::{ClientPair, MadeOf, ServerAuthority, UpstreamIdentity, UpstreamTlsSlot};
use crate::durable_file::read_bounded;
use crate::metrics::METRICS;

/// An upstream with the place for its set.
pub(crate) struct Wanted<'p> {
    pub(crate) upstream: &'p str,
    pub(crate) tls: &'p UpstreamTls,
    pub(crate) slot: &'p UpstreamTlsSlot,
}

/// Why an upstream has no set.
#[derive(Debug)]
struct Fault {
    error: String,
    is_told: bool,
}

/// What is known of the files, by name.
#[derive(Debug)]
pub(crate) struct UpstreamTlsFiles {
    directory: PathBuf,
    clock: Clock,
    authorities: BTreeMap<String, Entry<Vec<u8>, ServerAuthority>>,
    certificates: BTreeMap<String, Entry<Pair, ClientPair>>,
    /// Up to where the end of a certificate was told.
    told: BTreeMap<String, usize>,
    /// Upstreams without a set, and why.
    unserved: BTreeMap<String, Fault>,
}

impl UpstreamTlsFiles {
    /// Knows nothing yet: [`UpstreamTlsFiles::look`] reads what upstreams name.
    pub(crate) fn new(directory: &Path, clock: Clock) -> Self {
        Self {
            directory: directory.to_owned(),
            clock,
            authorities: BTreeMap::new(),
            certificates: BTreeMap::new(),
            told: BTreeMap::new(),
            unserved: BTreeMap::new(),
        }
    }

    /// Reads the files that these upstreams name, and gives each its set. Whoever has none is sent nothing.
    pub(crate) fn look(&mut self, wanted: &[Wanted<'_>]) {
        let now = self.clock.now();
        let authorities: BTreeSet<&String> = wanted.iter().map(|it| &it.tls.authority).collect();
        let certificates: BTreeSet<&String> = wanted
            .iter()
            .filter_map(|it| it.tls.certificate.as_ref())
            .collect();
        self.authorities.retain(|name, _| authorities.contains(name));
        self.certificates.retain(|name, _| certificates.contains(name));
        self.told.retain(|name, _| certificates.contains(name));
        self.unserved
            .retain(|name, _| wanted.iter().any(|it| it.upstream == name));
        METRICS.upstream_authority_ok.reset();
        METRICS.upstream_authority_expires_at.reset();
        METRICS.upstream_certificate_ok.reset();
        METRICS.upstream_certificate_expires_at.reset();
        for name in authorities {
            self.look_at_authority(name, now);
        }
        for name in certificates {
            self.look_at_certificate(name, now);
        }
        for it in wanted {
            self.serve(it);
        }
    }

    /// Why an upstream has no set.
    pub(crate) fn fault(&self, upstream: &str) -> Option<&str> {
        self.unserved.get(upstream).map(|fault| fault.error.as_str())
    }

    /// Tells which upstreams have no set, each fault once.
    pub(crate) fn tell(&mut self) {
        for (upstream, fault) in &mut self.unserved {
            if !std::mem::replace(&mut fault.is_told, true) {
                tracing::error!(
                    upstream,
                    error = fault.error,
                    "nothing is sent to the upstream: it could not be verified, or would not know the gateway"
                );
            }
        }
    }

    fn look_at_authority(&mut self, name: &str, now: DateTime<Utc>) {
        let read = read_authority(&self.directory, name);
        let entry = self.authorities.entry(name.to_owned()).or_default();
        entry.look(("upstream authority", name), read, &[], |pem, _| {
            ServerAuthority::check(pem, now)
        });
        let ok = METRICS.upstream_authority_ok.with_label_values(&[name]);
        ok.set(i64::from(entry.fault.is_none()));
        if let Some(end) = entry
            .in_force
            .as_ref()
            .and_then(|authority| authority.ends_at(now))
        {
            METRICS
                .upstream_authority_expires_at
                .with_label_values(&[name])
                .set(end.timestamp());
        }
    }

    fn look_at_certificate(&mut self, name: &str, now: DateTime<Utc>) {
        let read = read_pair(&self.directory, name);
        let entry = self.certificates.entry(name.to_owned()).or_default();
        let is_new = entry.look(("upstream certificate", name), read, &[], |pair, _| {
            ClientPair::check(pair, now)
        });
        let ok = METRICS.upstream_certificate_ok.with_label_values(&[name]);
        ok.set(i64::from(entry.fault.is_none()));
        let Some(pair) = &entry.in_force else { return };
        METRICS
            .upstream_certificate_expires_at
            .with_label_values(&[name])
            .set(pair.not_after.timestamp());
        let told = self.told.entry(name.to_owned()).or_default();
        if is_new {
            *told = 0;
        }
        let stage = expiry::stage(pair.not_before, pair.not_after, now);
        if stage > *told {
            expiry::tell(name, pair.not_after, stage, now);
        }
        *told = stage;
    }

    fn serve(&mut self, wanted: &Wanted<'_>) {
        let made = self.made_of(wanted.tls).and_then(|made_of| {
            UpstreamIdentity::make(wanted.tls, made_of, wanted.slot.current(), &self.clock)
        });
        match made {
            Ok(identity) => {
                wanted.slot.put(Some(identity));
                self.unserved.remove(wanted.upstream);
            }
            Err(error) => {
                wanted.slot.put(None);
                let error = format!("{error:#}");
                let known = self.unserved.get(wanted.upstream);
                let is_told = known.is_some_and(|known| known.is_told && known.error == error);
                self.unserved
                    .insert(wanted.upstream.to_owned(), Fault { error, is_told });
            }
        }
    }

    fn made_of(&self, tls: &UpstreamTls) -> anyhow::Result<MadeOf> {
        let authority = in_force(
            "upstream authority",
            &tls.authority,
            self.authorities.get(&tls.authority),
        )?;
        let client = tls
            .certificate
            .as_ref()
            .map(|name| in_force("upstream certificate", name, self.certificates.get(name)))
            .transpose()?;
        Ok(MadeOf { authority, client })
    }
}

fn read_authority(directory: &Path, name: &str) -> anyhow::Result<Vec<u8>> {
    read_bounded(&directory.join(format!("{name}.ca.pem")), MAX_AUTHORITY_BYTES)
}

fn read_pair(directory: &Path, name: &str) -> anyhow::Result<Pair> {
    Ok(Pair {
        chain: read_bounded(&directory.join(format!("{name}.pem")), MAX_PAIR_BYTES)?,
        key: read_bounded(&directory.join(format!("{name}.key")), MAX_PAIR_BYTES)?,
    })
}

/// Reads what an upstream names below `certificate_dir` and checks it as a gateway does. Gives when the first of it ends.
///
/// # Errors
/// The first check that fails, with the name of the authority or certificate.
pub fn check_upstream_files(
    directory: &Path,
    tls: &UpstreamTls,
    now: DateTime<Utc>,
) -> anyhow::Result<DateTime<Utc>> {
    let authority = || ServerAuthority::check(&read_authority(directory, &tls.authority)?, now);
    let authority = authority().with_context(|| format!("{}.ca.pem", tls.authority))?;
    let pair = |name: &String| {
        let check = || ClientPair::check(&read_pair(directory, name)?, now);
        check().with_context(|| format!("{name}.pem with its key"))
    };
    let pair = tls.certificate.as_ref().map(pair).transpose()?;
    let ends = authority
        .ends_at(now)
        .into_iter()
        .chain(pair.map(|pair| pair.not_after));
    ends.min().context("the file holds no authority")
}
