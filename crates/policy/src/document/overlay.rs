//! `environments/<name>.yaml`: the few things an environment may change.

use super::{LockoutOverlay, addresses, misplaced, version};
use crate::{
    diagnostic::{Findings, Span, code},
    language,
    read::{At, Field, Mapping, Named, Rate},
    yaml::{Node, Value},
};
use ipnet::IpNet;
use std::net::SocketAddr;

/// One overlay as written.
#[derive(Debug, Clone, Default)]
pub(crate) struct OverlayDocument {
    pub(crate) environment: Option<At<String>>,
    pub(crate) listeners: Vec<Named<ListenerOverlay>>,
    pub(crate) hosts: Option<(Span, Vec<At<String>>)>,
    pub(crate) addresses: Vec<Named<Vec<At<IpNet>>>>,
    pub(crate) rates: Vec<Named<RateOverlay>>,
    pub(crate) lockout: Option<(Span, Option<LockoutOverlay>)>,
}

/// Other addresses for a listener.
#[derive(Debug, Clone)]
pub(crate) struct ListenerOverlay {
    pub(crate) http: Option<At<SocketAddr>>,
    pub(crate) https: Option<At<SocketAddr>>,
}

/// Other numbers for a limit.
#[derive(Debug, Clone)]
pub(crate) struct RateOverlay {
    pub(crate) rate: Option<At<Rate>>,
    pub(crate) burst: Option<At<u64>>,
    /// Keys that are missing; the base has the numbers to write.
    pub(crate) missing: Vec<&'static str>,
    pub(crate) because: Option<At<String>>,
}

impl RateOverlay {
    /// Whether both numbers are there and right.
    pub(crate) const fn is_whole(&self) -> bool {
        self.rate.is_some() && self.burst.is_some()
    }
}

impl OverlayDocument {
    /// Reads the overlay file of an environment.
    pub(crate) fn read(mut root: Node, name: &str, findings: &mut Findings) -> Option<Self> {
        base_sections(&mut root, findings);
        misplaced::settle(&mut root, language::OVERLAY, findings);
        let overlay = Mapping::open(&Field::root(&root), language::OVERLAY, findings)?;
        version(&overlay, findings);
        if !overlay.has_or_means("environment") {
            findings
                .error(
                    code::MISSING_KEY,
                    overlay.at,
                    "missing key `environment` in this file",
                )
                .why("a copy under another name would be applied by mistake")
                .fix(format!("add `environment: {name}`"));
        }
        let environment = overlay
            .optional("environment")
            .and_then(|field| field.text(findings));
        let listeners = overlay
            .optional("listeners")
            .map(|field| named(&field, listener, findings));
        let hosts = overlay.optional("hosts").and_then(|field| {
            field
                .list(findings, Field::host)
                .map(|hosts| (field.key_at, hosts))
        });
        let addresses = overlay
            .optional("addresses")
            .map(|field| named(&field, addresses::read, findings));
        let rates = overlay
            .optional("rates")
            .map(|field| named(&field, rate, findings));
        let lockout = overlay
            .optional("lockout")
            .map(|field| (field.key_at, LockoutOverlay::read(&field, findings)));
        Some(Self {
            environment,
            listeners: listeners.unwrap_or_default(),
            hosts,
            addresses: addresses.unwrap_or_default(),
            rates: rates.unwrap_or_default(),
            lockout,
        })
    }
}

/// Reports and removes what only base files have.
fn base_sections(root: &mut Node, findings: &mut Findings) {
    let Value::Map(entries) = &mut root.value else {
        return;
    };
    let has = |keys: &[language::Key], name: &str| keys.iter().any(|key| key.name == name);
    entries.retain(|entry| {
        let is_foreign = has(language::BASE, &entry.key) && !has(language::OVERLAY, &entry.key);
        if is_foreign {
            findings
                .error(code::UNKNOWN_KEY, entry.key_at, format!("an overlay cannot have `{}`", entry.key))
                .why("it changes a few numbers and addresses of the base, so that all else is the same everywhere")
                .fix("write it in a base file, outside of `environments/`");
        }
        !is_foreign
    });
}

fn named<T>(
    field: &Field<'_>,
    read: fn(&Field<'_>, &mut Findings) -> Option<T>,
    findings: &mut Findings,
) -> Vec<Named<T>> {
    let fields = field.named(findings);
    fields
        .into_iter()
        .map(|(name, field)| Named {
            name,
            at: field.key_at,
            value: read(&field, findings),
            path: field.path,
        })
        .collect()
}

fn listener(field: &Field<'_>, findings: &mut Findings) -> Option<ListenerOverlay> {
    let listener = Mapping::open_some(field, language::OVERLAY_LISTENER, findings)?;
    let mut bind = |key: &str| {
        let field = listener.optional(key)?;
        let side = Mapping::open(&field, language::OVERLAY_SIDE, findings)?;
        side.key("bind", findings)?.socket_address(findings)
    };
    Some(ListenerOverlay {
        http: bind("http"),
        https: bind("https"),
    })
}

fn rate(field: &Field<'_>, findings: &mut Findings) -> Option<RateOverlay> {
    let limit = Mapping::open(field, language::OVERLAY_RATE, findings)?;
    let rate = limit.optional("limit").and_then(|field| field.rate(findings));
    let burst = limit
        .optional("burst")
        .and_then(|field| field.number(1..=language::MOST_BURST, findings));
    let keys = ["limit", "burst"].into_iter();
    let missing = keys.filter(|key| !limit.has_or_means(key)).collect();
    let because = limit.optional("because").and_then(|field| field.reason(findings));
    Some(RateOverlay {
        rate,
        burst,
        missing,
        because,
    })
}
