//! What an environment may change, and what production refuses.

use super::ENVIRONMENTS;
use crate::{
    diagnostic::{Findings, Span, code},
    document::{Document, OverlayDocument, RateDocument, RateOverlay},
    plan::Count,
    read::{At, Definitions, Named, Rate, in_units, is_loopback_host},
    suggest,
};
use std::collections::HashMap;

/// An overlay file.
pub(super) struct Overlay {
    pub(super) file: usize,
    /// From the name of the file.
    pub(super) name: String,
    pub(super) document: Option<OverlayDocument>,
}

/// Whether a file of the overlays' folder is named for an environment, and exactly for it.
pub(super) fn is_overlay(name: &str) -> bool {
    name.strip_suffix(".yaml")
        .is_some_and(|stem| ENVIRONMENTS.contains(&stem))
}

pub(super) fn refuse_overlay(file: usize, name: &str, stem: &str, findings: &mut Findings) {
    findings
        .error(
            code::OVERLAY_NAME,
            Span::whole(file),
            format!("`{name}` is named for no environment"),
        )
        .why("the environments are development, test and production; this file would never be applied")
        .fix(match suggest::nearest(stem, ENVIRONMENTS) {
            Some(environment) => format!("call it `{environment}.yaml`, or keep it outside of the policies"),
            None => "call it `production.yaml` for example, or keep it outside of the policies".to_owned(),
        });
}

/// Whether an environment is for real: only the other two may be looser than the base.
pub(super) fn is_strict(environment: &str) -> bool {
    !matches!(environment, "development" | "test")
}

/// Checks every overlay and applies the one of `environment`; answers its file.
pub(super) fn apply(
    document: &mut Document,
    overlays: &[Overlay],
    environment: &str,
    findings: &mut Findings,
) -> Option<usize> {
    let mut rates = Definitions::default();
    for rate in document.rates() {
        rates.add(rate.clone());
    }
    for overlay in overlays {
        if let Some(written) = &overlay.document {
            check(document, &rates, overlay, written, findings);
        }
    }
    let chosen = overlays.iter().find(|overlay| overlay.name == environment);
    if let Some(written) = chosen.and_then(|overlay| overlay.document.as_ref()) {
        merge(document, written);
    }
    // Of a folder that was not read to its end, the overlay may be what is missing.
    if chosen.is_none() && environment != "production" && !document.is_partial {
        let mut names: Vec<&str> = overlays.iter().map(|overlay| overlay.name.as_str()).collect();
        names.push("production");
        names.sort_unstable();
        names.dedup();
        findings
            .error(
                code::UNKNOWN_ENVIRONMENT,
                Span::bundle(),
                format!("there is no environment `{environment}`"),
            )
            .why("a misspelt environment would run with rules that nobody chose")
            .fix(suggest::fix(environment, &names));
    }
    if is_strict(environment) {
        refuse_development(document, environment, findings);
    }
    chosen.map(|overlay| overlay.file)
}

fn check(
    document: &Document,
    rates: &Definitions<RateDocument>,
    overlay: &Overlay,
    written: &OverlayDocument,
    findings: &mut Findings,
) {
    if let Some(environment) = written
        .environment
        .as_ref()
        .filter(|named| named.value != overlay.name)
    {
        findings
            .error(
                code::OVERLAY_NAME,
                environment.at,
                format!("this file is for `{}`, not for `{}`", overlay.name, environment.value),
            )
            .why("the name of the file chooses the overlay; a copy under another name would be applied by mistake")
            .fix(format!("write `environment: {}`, or rename the file", overlay.name));
    }
    for listener in &written.listeners {
        let Some(base) = find(
            &document.listeners,
            listener,
            "listeners",
            document.is_partial,
            findings,
        ) else {
            continue;
        };
        let http = listener
            .value
            .as_ref()
            .and_then(|listener| listener.http.as_ref());
        let base_has_http = base.value.as_ref().is_none_or(|base| base.http.is_some());
        if let Some(http) = http.filter(|_| !base_has_http) {
            findings
                .error(
                    code::NO_EFFECT,
                    http.at,
                    format!("{} has no `http` side", base.path),
                )
                .why("an overlay moves a listener, it cannot add one")
                .fix("add `http` to the listener in the base file, or remove it here")
                .related(base.at, "defined here");
        }
    }
    // A limit that is not found may be in a route or a floor that could not be read.
    let is_partial = document.is_partial
        || document.routes.iter().any(|route| route.value.is_none())
        || document.floor.as_ref().is_some_and(|(_, floor)| floor.is_none());
    for rate in &written.rates {
        let base = find(rates, rate, "rate", is_partial, findings);
        let numbers = base.and_then(|base| base.value.as_ref()).zip(rate.value.as_ref());
        if let Some((before, after)) = numbers {
            complete_rate(before, after, rate, findings);
            check_rate(before, after, rate, &overlay.name, findings);
        } else if let Some(after) = rate.value.as_ref().filter(|_| base.is_none() && is_partial) {
            incomplete_rate(after, rate, findings);
        }
    }
    if let Some((_, hosts)) = written.hosts.as_ref().filter(|_| is_strict(&overlay.name)) {
        unreviewed_hosts(document, hosts, findings);
        refuse_hosts(hosts, &overlay.name, findings);
    }
    check_addresses(document, overlay, written, findings);
    check_lockout(document, overlay, written, findings);
}

/// Only guesses from one address may be counted otherwise, and only where nobody but developers signs in.
fn check_lockout(document: &Document, overlay: &Overlay, written: &OverlayDocument, findings: &mut Findings) {
    let Some((at, _)) = &written.lockout else { return };
    if document.lockout.is_none() && !document.is_partial {
        findings
            .error(
                code::UNDEFINED_NAME,
                *at,
                "no base file has the section `lockout`",
            )
            .why("an overlay changes what the base defines; it adds nothing")
            .fix("write `lockout` in a base file, or remove it here");
    }
    if is_strict(&overlay.name) {
        findings
            .error(
                code::DEVELOPMENT_ONLY,
                *at,
                format!("`lockout` is made another in `{}`", overlay.name),
            )
            .why("only development and test may count guesses otherwise than what was reviewed")
            .fix("change the numbers in the base file");
    }
}

/// Lists of addresses may be others in development and test only: they decide who may come.
fn check_addresses(
    document: &Document,
    overlay: &Overlay,
    written: &OverlayDocument,
    findings: &mut Findings,
) {
    for list in &written.addresses {
        find(
            &document.addresses,
            list,
            "addresses",
            document.is_partial,
            findings,
        );
        if is_strict(&overlay.name) {
            findings
                .error(
                    code::DEVELOPMENT_ONLY,
                    list.at,
                    format!("`{}` changes who may come in `{}`", list.name, overlay.name),
                )
                .why("only development and test may have other addresses than what was reviewed")
                .fix("change the list in the base file");
        }
    }
}

fn find<'d, T, U>(
    definitions: &'d Definitions<T>,
    named: &Named<U>,
    section: &str,
    is_partial: bool,
    findings: &mut Findings,
) -> Option<&'d Named<T>> {
    let found = definitions.named(&named.name);
    if found.is_none() && !is_partial {
        let names = definitions.iter().map(|definition| definition.name.as_str());
        let fix = findings.suggest(&named.name, names);
        findings
            .error(
                code::UNDEFINED_NAME,
                named.at,
                format!("`{}` is not defined in `{section}` of any base file", named.name),
            )
            .why("an overlay changes what the base defines; it adds nothing")
            .fix(fix);
    }
    found
}

/// A limit of an overlay has both numbers; the fix names those of the base, which hold until somebody decides.
fn complete_rate(
    before: &RateDocument,
    after: &RateOverlay,
    named: &Named<RateOverlay>,
    findings: &mut Findings,
) {
    for key in &after.missing {
        let base = match *key {
            "burst" => before.burst.value.to_string(),
            _ => written(before.rate.value),
        };
        findings
            .error(
                code::MISSING_KEY,
                named.at,
                format!("missing key `{key}` in {}", named.path),
            )
            .why("there is no default: what is enforced must be written")
            .fix(format!("add `{key}: {base}`, as in the base, or another number"))
            .related(named_at(key, before), "the base says");
    }
}

fn named_at(key: &str, before: &RateDocument) -> Span {
    if key == "burst" {
        before.burst.at
    } else {
        before.rate.at
    }
}

/// The same without a base that could be read.
fn incomplete_rate(after: &RateOverlay, named: &Named<RateOverlay>, findings: &mut Findings) {
    for key in &after.missing {
        findings
            .error(
                code::MISSING_KEY,
                named.at,
                format!("missing key `{key}` in {}", named.path),
            )
            .why("there is no default: what is enforced must be written")
            .fix(format!(
                "add `{key}:` with the number of the base, or another one"
            ));
    }
}

/// A rate as a policy would say it.
fn written(rate: Rate) -> String {
    let period = in_units(rate.period);
    format!(
        "{}/{}",
        rate.limit,
        period
            .strip_prefix('1')
            .filter(|unit| unit.starts_with(char::is_alphabetic))
            .unwrap_or(&period)
    )
}

fn check_rate(
    before: &RateDocument,
    after: &RateOverlay,
    named: &Named<RateOverlay>,
    environment: &str,
    findings: &mut Findings,
) {
    let faster = after
        .rate
        .as_ref()
        .filter(|rate| is_faster(rate.value, before.rate.value))
        .map(|rate| (rate.at, before.rate.at));
    let larger = after
        .burst
        .as_ref()
        .filter(|burst| burst.value > before.burst.value)
        .map(|burst| (burst.at, before.burst.at));
    let looser = faster.or(larger);
    let is_looser = looser.is_some();
    // The number that is looser is the place, beside the one of the base.
    let (at, base_at) = looser.unwrap_or((named.at, before.rate.at));
    let name = &named.name;
    if is_looser && before.count == Count::Failures {
        findings
            .error(
                code::FAILURE_LIMIT_RELAXED,
                at,
                format!("`{name}` counts failures and is made looser"),
            )
            .why("it is what stands between a guesser and an account, in every environment")
            .fix("remove it here; a limit on failures can only be tightened")
            .related(base_at, "the base says");
    } else if is_looser && is_strict(environment) {
        findings
            .error(
                code::RELAXED_IN_PRODUCTION,
                at,
                format!("`{name}` is looser in `{environment}` than in the base"),
            )
            .why("only development and test may be looser than what was reviewed")
            .fix("tighten it, or change the base file")
            .related(base_at, "the base says");
    } else if is_looser && after.because.is_none() {
        findings
            .error(
                code::RELAXED_WITHOUT_REASON,
                named.at,
                format!("`{name}` is made looser without a reason"),
            )
            .why("whoever reads this overlay must see why it is safe here")
            .fix("add `because: \"…\"`")
            .related(base_at, "the base says");
    } else if let Some(because) = after.because.as_ref().filter(|_| !is_looser && after.is_whole()) {
        findings
            .error(
                code::NO_EFFECT,
                because.at,
                format!("`{name}` is not looser, so `because` has no effect"),
            )
            .why("reasons belong to exceptions")
            .fix("remove `because`");
    }
}

fn is_faster(a: Rate, b: Rate) -> bool {
    let speed = |rate: Rate, other: Rate| u128::from(rate.limit).saturating_mul(other.period.as_nanos());
    speed(a, b) > speed(b, a)
}

fn merge(document: &mut Document, overlay: &OverlayDocument) {
    for changed in &overlay.listeners {
        let base = document.listeners.named_mut(&changed.name);
        let both = base
            .and_then(|base| base.value.as_mut())
            .zip(changed.value.as_ref());
        let Some((base, changed)) = both else { continue };
        if base.http.is_some() && changed.http.is_some() {
            base.http.clone_from(&changed.http);
        }
        if let Some(https) = &changed.https {
            base.https.bind = https.clone();
        }
    }
    if let Some(hosts) = &overlay.hosts {
        document.hosts = Some(hosts.clone());
    }
    for changed in &overlay.addresses {
        if let Some(base) = document.addresses.named_mut(&changed.name) {
            base.value.clone_from(&changed.value);
        }
    }
    let lockout = document
        .lockout
        .as_mut()
        .and_then(|(_, lockout)| lockout.as_mut());
    if let (Some(base), Some((_, Some(changed)))) = (lockout, &overlay.lockout) {
        base.rules.address.failures = changed.failures.value;
        base.rules.address.names = changed.names.value;
    }
    let changes: HashMap<&str, &Named<RateOverlay>> = overlay
        .rates
        .iter()
        .map(|changed| (changed.name.as_str(), changed))
        .collect();
    for base in document.rates_mut() {
        let changed = changes.get(base.name.as_str());
        let Some((changed, numbers)) = changed.and_then(|changed| Some((changed, changed.value.as_ref()?)))
        else {
            continue;
        };
        if let Some(rate) = base.value.as_mut() {
            if let (Some(limit), Some(burst)) = (&numbers.rate, &numbers.burst) {
                rate.rate = limit.clone();
                rate.burst = burst.clone();
            }
            // From here on the overlay is the line that decides; the name of the rule stays, for cases and dashboards.
            base.at = changed.at;
        }
    }
}

fn refuse_development(document: &Document, environment: &str, findings: &mut Findings) {
    if let Some((_, hosts)) = &document.hosts {
        refuse_hosts(hosts, environment, findings);
    }
    refuse_any_port(document, environment, findings);
    for upstream in document
        .upstreams
        .iter()
        .filter_map(|upstream| upstream.value.as_ref())
    {
        let addresses = std::iter::once(&upstream.address).chain(&upstream.also_at);
        for address in addresses.filter(|address| address.value.crosses_in_clear()) {
            findings
                .error(
                    code::DEVELOPMENT_ONLY,
                    address.at,
                    format!("`{environment}` sends nothing in clear over a network"),
                )
                .why("tokens and identities would cross the network unprotected")
                .fix("use `https://` with `tls`, a unix socket or a loopback address");
        }
    }
    for cors in document.cors.iter().filter_map(|cors| cors.value.as_ref()) {
        for origin in cors
            .origins
            .iter()
            .filter(|origin| origin.value.starts_with("http://"))
        {
            findings
                .error(
                    code::DEVELOPMENT_ONLY,
                    origin.at,
                    format!("`{environment}` trusts no origin that is served in clear"),
                )
                .why("whoever is on the path of that page could act as its user")
                .fix("write the https origin");
        }
    }
}

/// A port that the system picks is another one after each start, so that no client could know it.
fn refuse_any_port(document: &Document, environment: &str, findings: &mut Findings) {
    let listeners = document
        .listeners
        .iter()
        .filter_map(|listener| listener.value.as_ref());
    let binds = listeners.flat_map(|listener| listener.http.iter().chain([&listener.https.bind]));
    for bind in binds.filter(|bind| bind.value.port() == 0) {
        findings
            .error(
                code::DEVELOPMENT_ONLY,
                bind.at,
                format!("`{}` is another port after each start", bind.value),
            )
            .why(format!("no client of `{environment}` could know it"))
            .fix("write the port, such as 443");
    }
}

/// Names that an overlay for real use answers to, and the base does not.
fn unreviewed_hosts(document: &Document, hosts: &[At<String>], findings: &mut Findings) {
    // Without the base's hosts, all would be new.
    let Some((_, reviewed)) = document.hosts.as_ref().filter(|_| !document.is_partial) else {
        return;
    };
    let is_new = |host: &&At<String>| {
        !is_loopback_host(&host.value) && reviewed.iter().all(|there| there.value != host.value)
    };
    for host in hosts.iter().filter(is_new) {
        let fix = findings.suggest(&host.value, reviewed.iter().map(|host| host.value.as_str()));
        findings
            .error(
                code::RELAXED_IN_PRODUCTION,
                host.at,
                format!("`{}` is none of the hosts of the base", host.value),
            )
            .why("only development and test may answer to other names than those that were reviewed")
            .fix(format!("{fix}; or add it to the base"));
    }
}

fn refuse_hosts(hosts: &[At<String>], environment: &str, findings: &mut Findings) {
    for host in hosts.iter().filter(|host| is_loopback_host(&host.value)) {
        findings
            .error(
                code::DEVELOPMENT_ONLY,
                host.at,
                format!("`{}` is no host of `{environment}`", host.value),
            )
            .why("it names whatever machine the caller is on")
            .fix("write the public name; keep loopback names in environments/development.yaml");
    }
}
