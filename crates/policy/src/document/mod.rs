//! The bundle as written: every section of every base file, read but not yet resolved.

mod addresses;
mod cors;
mod floor;
mod headers;
mod identity;
mod listeners;
mod overlay;
mod rates;
mod routes;
mod upstreams;
mod waivers;

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
    read::{At, Field, Mapping, Named},
    yaml::{Node, Value},
};
use ipnet::IpNet;

/// Every section of every base file.
#[derive(Debug, Default)]
pub(crate) struct Document {
    pub(crate) listeners: Vec<Named<ListenerDocument>>,
    pub(crate) hosts: Option<(Span, Vec<At<String>>)>,
    pub(crate) addresses: Vec<Named<Vec<At<IpNet>>>>,
    pub(crate) upstreams: Vec<Named<UpstreamDocument>>,
    pub(crate) providers: Vec<Named<ProviderDocument>>,
    pub(crate) profiles: Vec<Named<ProfileDocument>>,
    pub(crate) cors: Vec<Named<CorsDocument>>,
    pub(crate) floor: Option<(Span, Option<FloorDocument>)>,
    pub(crate) routes: Vec<Named<RouteDocument>>,
    pub(crate) waivers: Vec<Named<WaiverDocument>>,
    /// Some file or section could not be read: a name that is not found may be defined there.
    pub(crate) is_partial: bool,
}

impl Document {
    /// Adds one base file.
    pub(crate) fn add(&mut self, root: &Node, findings: &mut Findings) {
        let before = findings.len();
        let Some(file) = Mapping::open(&Field::root(root), language::BASE, findings) else {
            self.is_partial = true;
            return;
        };
        self.is_partial |= findings.len() > before;
        version(&file, findings);
        extend(
            &mut self.listeners,
            &file,
            "listeners",
            ListenerDocument::read,
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

/// Reads one section and reports names that another file has taken.
pub(crate) fn extend<T>(
    definitions: &mut Vec<Named<T>>,
    file: &Mapping<'_>,
    section: &str,
    read: fn(&Field<'_>, &mut Findings) -> Option<T>,
    findings: &mut Findings,
) {
    let Some(field) = file.optional(section) else {
        return;
    };
    for (name, field) in field.named(findings) {
        if let Some(first) = definitions.iter().find(|definition| definition.name == name) {
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
        definitions.push(Named {
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
