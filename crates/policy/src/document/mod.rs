//! The bundle as written: every section of every base file, read but not yet resolved.

mod addresses;
mod answers;
mod certificates;
mod cors;
mod floor;
mod headers;
mod identity;
mod listeners;
mod lockout;
mod misplaced;
mod overlay;
mod rates;
mod resilience;
mod routes;
mod upstreams;
mod waivers;

pub(crate) use self::lockout::{LockoutDocument, LockoutOverlay};
pub(crate) use certificates::CertificateDocument;
pub(crate) use cors::CorsDocument;
pub(crate) use floor::FloorDocument;
pub(crate) use headers::ProfileDocument;
pub(crate) use identity::ProviderDocument;
pub(crate) use listeners::ListenerDocument;
pub(crate) use overlay::{OverlayDocument, RateOverlay};
pub(crate) use rates::RateDocument;
pub(crate) use routes::{RouteDocument, TargetDocument};
pub(crate) use upstreams::{TimeoutsDocument, UpstreamDocument};
pub(crate) use waivers::WaiverDocument;

use crate::{
    diagnostic::{Findings, Span, code},
    language,
    read::{At, Definitions, Field, Mapping, Named},
    yaml::{Node, Value},
};
use ipnet::IpNet;

/// Every section of every base file.
#[derive(Debug, Default)]
pub(crate) struct Document {
    pub(crate) listeners: Definitions<ListenerDocument>,
    pub(crate) certificates: Definitions<CertificateDocument>,
    pub(crate) hosts: Option<(Span, Vec<At<String>>)>,
    pub(crate) addresses: Definitions<Vec<At<IpNet>>>,
    pub(crate) upstreams: Definitions<UpstreamDocument>,
    pub(crate) providers: Definitions<ProviderDocument>,
    pub(crate) profiles: Definitions<ProfileDocument>,
    pub(crate) cors: Definitions<CorsDocument>,
    pub(crate) floor: Option<(Span, Option<FloorDocument>)>,
    pub(crate) lockout: Option<(Span, Option<LockoutDocument>)>,
    pub(crate) routes: Definitions<RouteDocument>,
    pub(crate) waivers: Definitions<WaiverDocument>,
    /// Some file or section could not be read: a name that is not found may be defined there.
    pub(crate) is_partial: bool,
}

impl Document {
    /// Adds one base file.
    pub(crate) fn add(&mut self, mut root: Node, findings: &mut Findings) {
        if is_elsewhere(&root, findings) {
            self.is_partial = true;
            return;
        }
        misplaced::settle(&mut root, language::BASE, findings);
        let before = findings.len();
        let Some(file) = Mapping::open(&Field::root(&root), language::BASE, findings) else {
            self.is_partial = true;
            return;
        };
        self.is_partial |= findings.len() > before;
        version(&file, findings);
        if findings.len() == before {
            only_version(&file, root.at, findings);
        }
        extend(
            &mut self.listeners,
            &file,
            "listeners",
            ListenerDocument::read,
            findings,
        );
        extend(
            &mut self.certificates,
            &file,
            "certificates",
            CertificateDocument::read,
            findings,
        );
        extend(&mut self.addresses, &file, "addresses", addresses::read, findings);
        extend(
            &mut self.upstreams,
            &file,
            "upstreams",
            UpstreamDocument::read,
            findings,
        );
        extend(
            &mut self.providers,
            &file,
            "identity",
            ProviderDocument::read,
            findings,
        );
        extend(
            &mut self.profiles,
            &file,
            "headers",
            ProfileDocument::read,
            findings,
        );
        extend(&mut self.cors, &file, "cors", CorsDocument::read, findings);
        extend(&mut self.routes, &file, "routes", RouteDocument::read, findings);
        extend(
            &mut self.waivers,
            &file,
            "waivers",
            WaiverDocument::read,
            findings,
        );
        self.add_whole(&file, findings);
    }

    /// Sections that stand in one file only.
    fn add_whole(&mut self, file: &Mapping<'_>, findings: &mut Findings) {
        if let Some(field) = file.optional("hosts")
            && is_first(self.hosts.as_ref().map(|(at, _)| *at), &field, findings)
        {
            self.hosts = Some((
                field.key_at,
                field.list(findings, Field::host).unwrap_or_default(),
            ));
        }
        if let Some(field) = file.optional("floor")
            && is_first(self.floor.as_ref().map(|(at, _)| *at), &field, findings)
        {
            self.floor = Some((field.key_at, FloorDocument::read(&field, findings)));
        }
        if let Some(field) = file.optional("lockout")
            && is_first(self.lockout.as_ref().map(|(at, _)| *at), &field, findings)
        {
            self.lockout = Some((field.key_at, LockoutDocument::read(&field, findings)));
        }
    }

    /// The names that a section defines; `None` for one that has no names of the author's choice.
    pub(crate) fn names_of(&self, section: &str) -> Option<Vec<&str>> {
        fn names<T>(definitions: &Definitions<T>) -> Option<Vec<&str>> {
            Some(definitions.iter().map(|named| named.name.as_str()).collect())
        }
        match section {
            "listeners" => names(&self.listeners),
            "certificates" => names(&self.certificates),
            "addresses" => names(&self.addresses),
            "upstreams" => names(&self.upstreams),
            "identity" => names(&self.providers),
            "headers" => names(&self.profiles),
            "cors" => names(&self.cors),
            "routes" => names(&self.routes),
            "waivers" => names(&self.waivers),
            _ => None,
        }
    }

    /// Every rate limit, of the floor and of the routes.
    pub(crate) fn rates(&self) -> impl Iterator<Item = &Named<RateDocument>> {
        let floor = self
            .floor
            .iter()
            .filter_map(|(_, floor)| floor.as_ref())
            .flat_map(|floor| &floor.rates);
        let routes = self
            .routes
            .iter()
            .filter_map(|route| route.value.as_ref())
            .flat_map(|route| &route.rates);
        floor.chain(routes)
    }

    /// The same, to be changed by an overlay.
    pub(crate) fn rates_mut(&mut self) -> impl Iterator<Item = &mut Named<RateDocument>> {
        let floor = self
            .floor
            .iter_mut()
            .filter_map(|(_, floor)| floor.as_mut())
            .flat_map(|floor| &mut floor.rates);
        let routes = self
            .routes
            .iter_mut()
            .filter_map(|route| route.value.as_mut())
            .flat_map(|route| &mut route.rates);
        floor.chain(routes)
    }
}

/// Whether a file says that it is something else than a base file: an overlay, or cases.
fn is_elsewhere(root: &Node, findings: &mut Findings) -> bool {
    let Value::Map(entries) = &root.value else {
        return false;
    };
    let kinds = [
        (
            "environment",
            "what is meant for one environment would apply to all of them",
            "put the file into the folder `environments/`, under the name of the environment",
        ),
        (
            "tests",
            "cases are no part of the policy, and only those in `tests/` are run",
            "put the file into the folder `tests/`, which is written like this",
        ),
    ];
    for (key, why, fix) in kinds {
        if let Some(entry) = entries.iter().find(|entry| entry.key == key) {
            findings
                .error(
                    code::UNKNOWN_KEY,
                    entry.key_at,
                    format!("a base file has no `{key}`"),
                )
                .why(why)
                .fix(fix);
            return true;
        }
    }
    false
}

/// Checks `version: 1`, which every file carries.
pub(crate) fn version(file: &Mapping<'_>, findings: &mut Findings) {
    let Some(field) = file.key("version", findings) else {
        return;
    };
    if !matches!(&field.node.value, Value::Number(number) if number == "1") {
        findings
            .error(
                code::BAD_VERSION,
                field.node.at,
                "the version of the policy language must be 1",
            )
            .why("another version may give the same words another meaning")
            .fix("write `version: 1`");
    }
}

fn only_version(file: &Mapping<'_>, at: Span, findings: &mut Findings) {
    if file.has_only("version") {
        findings
            .error(code::MISSING_KEY, at, "this file says nothing but its version")
            .why("whoever wrote it meant to protect something")
            .fix("write a section such as `routes:`, or remove the file");
    }
}

/// Reads one section and reports names that another file has taken.
pub(crate) fn extend<T>(
    definitions: &mut Definitions<T>,
    file: &Mapping<'_>,
    section: &str,
    read: fn(&Field<'_>, &mut Findings) -> Option<T>,
    findings: &mut Findings,
) {
    let Some(field) = file.optional(section) else {
        return;
    };
    for (name, field) in field.named(findings) {
        if let Some(first) = definitions.named(&name) {
            findings
                .error(
                    code::DEFINED_TWICE,
                    field.key_at,
                    format!("`{}` is defined twice", field.path),
                )
                .why("one of the two would silently lose")
                .fix("rename one of them, or remove it")
                .related(first.at, "first defined here");
            continue;
        }
        let value = read(&field, findings);
        definitions.add(Named {
            name,
            at: field.key_at,
            path: field.path,
            value,
        });
    }
}

fn is_first(first: Option<Span>, field: &Field<'_>, findings: &mut Findings) -> bool {
    if let Some(first) = first {
        findings
            .error(
                code::DEFINED_TWICE,
                field.key_at,
                format!("section `{}` is defined twice", field.path),
            )
            .why("one of the two would silently lose")
            .fix("keep it in one file")
            .related(first, "first defined here");
    }
    first.is_none()
}
