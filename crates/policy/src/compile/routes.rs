//! Routes: names resolved, sizes tightened, limits sorted by the phase that can count them.

use super::{Compiler, Section, parts::Parts, waivers};
use crate::{
    diagnostic::{Span, code},
    document::{RouteDocument, TargetDocument},
    plan::{ClientCertificateRule, Cors, Floor, Profile, Route, RouteAuth, RouteRules, RouteTarget},
    read::{At, Named},
    route_path::Matcher,
};
use http::HeaderName;
use std::sync::Arc;

pub(super) type FloorParts = (Floor, Arc<Profile>);

/// Ambiguous paths that are looked for: whoever has more mends these first.
const MOST_CONTESTS: usize = 50;

impl<'d> Compiler<'d> {
    pub(super) fn routes(&mut self, parts: &Parts, floor: Option<&FloorParts>) -> (Vec<Arc<Route>>, Matcher) {
        let mut matcher = Matcher::new();
        let mut routes = Vec::new();
        if self.document.routes.is_empty() {
            self.missing_section("routes", "routes: { me: { match: …, auth: …, upstream: … } }");
        }
        for (index, named) in self.document.routes.iter().enumerate() {
            let Some(written) = &named.value else { continue };
            self.add_to(&mut matcher, written, named, index);
            if let Some(route) = self.route(named, written, parts, floor) {
                routes.push(Arc::new(route));
            }
        }
        self.ambiguous_routes(&matcher);
        (routes, matcher)
    }

    /// Two routes that answer the same requests are refused, whatever their parameters are called.
    fn add_to(
        &mut self,
        matcher: &mut Matcher,
        written: &RouteDocument,
        named: &Named<RouteDocument>,
        index: usize,
    ) {
        let Err(earlier) = matcher.add(&written.path.value, &written.method.value, index) else {
            return;
        };
        let Some(first) = self.document.routes.get(earlier) else {
            return;
        };
        let first_at = first.value.as_ref().map_or(first.at, |route| route.path.at);
        self.findings
            .error(
                code::SAME_ROUTE,
                written.path.at,
                format!(
                    "`{} {}` of {} already belongs to {}",
                    written.method.value, written.path.value, named.path, first.path
                ),
            )
            .why("only one of the two could ever decide")
            .fix("remove one of them, or change its method or path")
            .related(first_at, "the other route");
    }

    /// Two paths that some request fits equally well are refused: no order of parts could make it plain to a reader which
    /// of them decides.
    fn ambiguous_routes(&mut self, matcher: &Matcher) {
        for contest in matcher.contests(MOST_CONTESTS) {
            let (earlier, later) = (
                contest.routes.0.min(contest.routes.1),
                contest.routes.0.max(contest.routes.1),
            );
            let document = self.document;
            let named = |index: usize| {
                let named = document.routes.get(index)?;
                Some((named, named.value.as_ref()?))
            };
            let Some(((first, first_written), (named, written))) = named(earlier).zip(named(later)) else {
                continue;
            };
            self.findings
                .error(
                    code::AMBIGUOUS_ROUTES,
                    written.path.at,
                    format!(
                        "`{}` fits {} and {} equally well",
                        contest.path, named.path, first.path
                    ),
                )
                .why("which of the two decides would depend on a rule that no reader can see")
                .fix("change one of the paths")
                .related(first_written.path.at, "the other path");
        }
    }

    fn route(
        &mut self,
        named: &Named<RouteDocument>,
        written: &'d RouteDocument,
        parts: &Parts,
        floor: Option<&FloorParts>,
    ) -> Option<Route> {
        let auth = self.auth(named, written, parts);
        let limits = floor.map(|(floor, _)| self.limits(named, written, floor));
        let target = self.target(named, written, parts);
        let headers = self.headers(named, written, parts, floor);
        let cors = self.cors(written, parts);
        let client_certificate = self.client_certificate(named, written);
        let key = format!("{}.allow_from", named.path);
        let allow_from = self.address_rule(written.allow_from.as_ref(), &key, &parts.addresses);
        self.rate_keys(written);
        let (coarse, fine) = self.split_rates(written, floor);
        let rule = |at: Span, key: &str| self.rule(at, &format!("{}.{key}", named.path));
        let scopes_at = written.scopes.as_ref().map_or(written.auth.at, |(at, _)| *at);
        let body_rule = match &written.limits.body {
            Some(body) => rule(body.at, "limits.body"),
            None => floor.map(|(floor, _)| floor.rule.clone())?,
        };
        let rules = RouteRules {
            matched: rule(written.path.at, "match"),
            auth: rule(written.auth.at, "auth"),
            scopes: rule(scopes_at, "scopes"),
            body: body_rule,
            target: rule(
                written.target.at,
                if matches!(written.target.value, TargetDocument::Serve(_)) {
                    "serve"
                } else {
                    "upstream"
                },
            ),
        };
        Some(Route {
            name: named.name.clone(),
            method: written.method.value.clone(),
            path: written.path.value.as_str().to_owned(),
            auth: auth?,
            scopes: written
                .scopes
                .as_ref()
                .map(|(_, scopes)| scopes.clone())
                .unwrap_or_default(),
            client_certificate,
            allow_from: allow_from?,
            limits: limits??,
            target: target?,
            rule: self.rule(named.at, &named.path),
            rules,
            coarse,
            fine,
            headers: headers?,
            cors: cors?,
        })
    }

    fn auth(
        &mut self,
        named: &Named<RouteDocument>,
        written: &'d RouteDocument,
        parts: &Parts,
    ) -> Option<RouteAuth> {
        if written.auth.value == "none" {
            return self.anyone(named, written);
        }
        if let Some(because) = &written.because {
            self.findings
                .error(
                    code::NO_EFFECT,
                    because.at,
                    format!("{} is protected, so `because` has no effect", named.path),
                )
                .why("reasons belong to exceptions")
                .fix("remove `because`");
        }
        if written.scopes.is_none() {
            self.findings
                .error(
                    code::NO_SCOPES,
                    written.auth.at,
                    format!("{} has no `scopes`", named.path),
                )
                .why("nobody has decided what a token must allow, so it allows nothing")
                .fix("add `scopes: [accounts:read]`, or `scopes: []` when any signed-in principal may");
        }
        let section = Section {
            name: "identity",
            definitions: &self.document.providers,
        };
        let provider = self.resolve(&section, &written.auth)?;
        parts
            .providers
            .get(&provider.name)
            .cloned()
            .map(RouteAuth::Provider)
    }

    /// The client certificate that a route needs; reports an authority that no listener asks for.
    fn client_certificate(
        &mut self,
        named: &Named<RouteDocument>,
        written: &RouteDocument,
    ) -> Option<ClientCertificateRule> {
        let certificate = written.client_certificate.as_ref()?;
        let authority = &certificate.authority;
        let asked_for: Vec<&str> = self
            .document
            .listeners
            .iter()
            .filter_map(|listener| listener.value.as_ref()?.https.tls.client_authority.as_deref())
            .collect();
        if !asked_for.contains(&authority.value.as_str()) && !self.document.is_partial {
            let fix = if asked_for.is_empty() {
                format!(
                    "add `client_authority: {}` to the `tls` of a listener",
                    authority.value
                )
            } else {
                self.findings.suggest(&authority.value, asked_for.into_iter())
            };
            self.findings
                .error(
                    code::UNDEFINED_NAME,
                    authority.at,
                    format!("no listener asks for certificates of `{}`", authority.value),
                )
                .why("no client could show one, so the route could never be used")
                .fix(fix);
        }
        Some(ClientCertificateRule {
            authority: authority.value.clone(),
            names: certificate.names.clone(),
            rule: self.rule(certificate.at, &format!("{}.client_certificate", named.path)),
        })
    }

    fn anyone(&mut self, named: &Named<RouteDocument>, written: &RouteDocument) -> Option<RouteAuth> {
        if let Some((at, _)) = &written.scopes {
            self.findings
                .error(
                    code::NO_EFFECT,
                    *at,
                    format!("{} is for anyone, so `scopes` has no effect", named.path),
                )
                .why("without a token there is nothing to compare scopes with")
                .fix("remove `scopes`, or name an identity provider in `auth`");
        }
        let Some(because) = &written.because else {
            self.findings
                .error(
                    code::NO_BECAUSE,
                    written.auth.at,
                    format!("{} is for anyone and does not say why", named.path),
                )
                .why("an open door that nobody explains is how an API leaks")
                .fix("add `because: \"…\"`, or name an identity provider in `auth`");
            return None;
        };
        Some(RouteAuth::Anyone {
            because: because.value.clone(),
        })
    }

    fn target(
        &mut self,
        named: &Named<RouteDocument>,
        written: &'d RouteDocument,
        parts: &Parts,
    ) -> Option<RouteTarget> {
        match &written.target.value {
            TargetDocument::Serve(served) => {
                if let Some((at, _)) = &written.timeouts {
                    self.findings
                        .error(
                            code::NO_EFFECT,
                            *at,
                            format!("{} has no upstream to wait for", named.path),
                        )
                        .why("the gateway answers by itself")
                        .fix("remove `timeouts`");
                }
                Some(RouteTarget::Serve(*served))
            }
            TargetDocument::Upstream(name) => {
                let section = Section {
                    name: "upstreams",
                    definitions: &self.document.upstreams,
                };
                let reference = At {
                    value: name.clone(),
                    at: written.target.at,
                };
                let upstream = self.resolve(&section, &reference)?;
                let upstream = parts.upstreams.get(&upstream.name)?;
                let timeouts = self.timeouts(named, written.timeouts.as_ref(), upstream);
                Some(RouteTarget::Upstream(Arc::clone(upstream), timeouts))
            }
        }
    }

    fn headers(
        &mut self,
        named: &Named<RouteDocument>,
        written: &'d RouteDocument,
        parts: &Parts,
        floor: Option<&FloorParts>,
    ) -> Option<Arc<Profile>> {
        let (_, floor) = floor?;
        let Some(reference) = &written.headers else {
            return Some(Arc::clone(floor));
        };
        let section = Section {
            name: "headers",
            definitions: &self.document.profiles,
        };
        let path = format!("{}.headers", named.path);
        let named = self.resolve(&section, reference)?;
        let profile = parts.profiles.get(&named.name)?;
        let sets =
            |profile: &Profile, name: &HeaderName| profile.over_https.iter().any(|(set, _)| set == name);
        let unset = floor
            .over_https
            .iter()
            .map(|(name, _)| name)
            .filter(|name| !sets(profile, name));
        let kept = floor.remove.iter().filter(|name| !profile.remove.contains(name));
        let dropped: Vec<&str> = unset.chain(kept).map(HeaderName::as_str).collect();
        let is_kept = dropped.is_empty()
            || waivers::covers(self.document, &mut self.used, code::DROPS_FLOOR_HEADER, &path);
        if !is_kept {
            self.findings
                .error(
                    code::DROPS_FLOOR_HEADER,
                    reference.at,
                    format!(
                        "{path}: profile `{}` drops what the floor's profile handles: {}",
                        reference.value,
                        dropped.join(", ")
                    ),
                )
                .why("a header of the floor may get another value on a route, but never be forgotten")
                .fix("add them to the profile")
                .related(named.at, "the profile");
        }
        Some(Arc::clone(profile))
    }

    fn cors(&mut self, written: &'d RouteDocument, parts: &Parts) -> Option<Option<Arc<Cors>>> {
        let Some(reference) = &written.cors else {
            return Some(None);
        };
        let section = Section {
            name: "cors",
            definitions: &self.document.cors,
        };
        let named = self.resolve(&section, reference)?;
        let cors = parts.cors.get(&named.name)?;
        if !cors.methods.contains(&written.method.value) {
            self.findings
                .error(
                    code::NO_EFFECT,
                    reference.at,
                    format!(
                        "profile `{}` does not allow {}",
                        reference.value, written.method.value
                    ),
                )
                .why("no browser could ever use it on this route")
                .fix("add the method to the profile, or remove `cors` here")
                .related(named.at, "the profile");
        }
        Some(Some(Arc::clone(cors)))
    }
}
