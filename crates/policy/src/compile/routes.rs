//! Routes: names resolved, sizes tightened, limits sorted by the phase that can count them.

use super::{Compiler, Section, parts::Parts, waivers};
use crate::{
    diagnostic::{Place, Span, code},
    document::{ProfileDocument, RouteDocument, TargetDocument},
    header_strength,
    plan::{
        AddressRule, ClientCertificateRule, Cors, Floor, Profile, Retirement, Route, RouteAuth, RouteRules,
        RouteTarget, WebSocket,
    },
    read::{At, Named},
    route_path::Matcher,
};
use http::{HeaderName, Method};
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
        let contests = matcher.contests(MOST_CONTESTS);
        if contests.is_cut_short {
            self.findings
                .error(
                    code::TOO_INTERTWINED,
                    Span::bundle(),
                    "the paths of the routes meet in too many ways to compare them all",
                )
                .why("whether two routes fit the same request equally well could not be told")
                .fix("write fewer paths that have parameters where others have text");
        }
        for contest in contests.found {
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
        let websocket = self.websocket(named, written);
        let cache = self.cache(named, written);
        let compression = self.compression(named, written);
        let headers = self.headers(named, written, parts, floor);
        let cors = self.cors(written, parts);
        let client_certificate = self.client_certificate(named, written);
        let key = format!("{}.allow_from", named.path);
        let allow_from = self.address_rule(written.allow_from.as_ref(), &key, &parts.addresses);
        self.unreachable(
            named,
            written,
            floor,
            allow_from.as_ref().and_then(Option::as_ref),
        );
        self.rate_keys(written);
        if let Some(Some(limits)) = &limits {
            self.keyed_body(written, limits);
        }
        let cost = self.cost(written, floor);
        let (coarse, fine) = self.split_rates(written, floor);
        let rules = self.route_rules(named, written, floor)?;
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
            revocations_within: written.revocations_within.as_ref().map(|within| within.value),
            limits: limits??,
            cost,
            target: target?,
            operation: None,
            websocket,
            retirement: self.retirement(written),
            cache,
            compression,
            rule: self.rule(named.at, &named.path),
            rules,
            coarse,
            fine,
            headers: headers?,
            cors: cors?,
        })
    }

    /// The lines of a route that decide.
    fn route_rules(
        &self,
        named: &Named<RouteDocument>,
        written: &RouteDocument,
        floor: Option<&FloorParts>,
    ) -> Option<RouteRules> {
        let rule = |at: Span, key: &str| self.rule(at, &format!("{}.{key}", named.path));
        let scopes_at = written.scopes.as_ref().map_or(written.auth.at, |(at, _)| *at);
        let body_rule = match &written.limits.body {
            Some(body) => rule(body.at, "limits.body"),
            None => floor.map(|(floor, _)| floor.rule.clone())?,
        };
        Some(RouteRules {
            matched: rule(written.path.at, "match"),
            auth: rule(written.auth.at, "auth"),
            scopes: rule(scopes_at, "scopes"),
            revocations: written.revocations_within.as_ref().map_or_else(
                || rule(written.auth.at, "auth"),
                |within| rule(within.at, "revocations_within"),
            ),
            body: body_rule,
            target: rule(written.target.at, written.target.value.key()),
        })
    }

    /// A route that no request can reach, whatever it asks for.
    fn unreachable(
        &mut self,
        named: &Named<RouteDocument>,
        written: &RouteDocument,
        floor: Option<&FloorParts>,
        allow_from: Option<&AddressRule>,
    ) {
        let Some((floor, _)) = floor else { return };
        let denied = allow_from.zip(floor.deny_from.as_ref());
        if let Some((at, _)) = written
            .allow_from
            .as_ref()
            .filter(|_| denied.is_some_and(|(allowed, denied)| allowed.is_within(denied)))
        {
            self.findings
                .error(
                    code::NO_EFFECT,
                    *at,
                    format!(
                        "{}: the floor's `deny_from` holds all of these addresses",
                        named.path
                    ),
                )
                .why("nobody could reach this route")
                .fix("allow it from elsewhere, or take these networks out of the denied ones");
        }
        let target = &written.limits.target;
        let most = target.as_ref().map_or(floor.limits.target, |target| target.value);
        let shortest = u64::try_from(written.path.value.shortest()).unwrap_or(u64::MAX);
        if shortest > most {
            let finding = self.findings.error(
                code::NO_EFFECT,
                written.path.at,
                format!(
                    "{}: no path like this is within the limit, {most} bytes",
                    named.path
                ),
            );
            finding
                .why("nobody could reach this route")
                .fix("shorten the path, or raise `limits.target`");
            if let Some(target) = target {
                finding.related(target.at, "the limit");
            }
        }
    }

    fn auth(
        &mut self,
        named: &Named<RouteDocument>,
        written: &'d RouteDocument,
        parts: &Parts,
    ) -> Option<RouteAuth> {
        if written.auth.value == "none" {
            // Told there: a provider of this name is the cause.
            self.document.providers.named("none").map_or(Some(()), |_| None)?;
            return self.anyone(named, written);
        }
        let is_provider = self.document.providers.named(&written.auth.value).is_some();
        if written.auth.value.eq_ignore_ascii_case("none") && !is_provider {
            self.findings
                .error(
                    code::UNDEFINED_NAME,
                    written.auth.at,
                    format!("`{}` is not defined in `identity`", written.auth.value),
                )
                .why("only `none` means that anyone may come")
                .fix("write `none` with `because:`, or the name of an identity provider");
            return None;
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
        if let Some(within) = &written.revocations_within {
            self.findings
                .error(
                    code::NO_EFFECT,
                    within.at,
                    format!(
                        "{} is for anyone, so `revocations_within` has no effect",
                        named.path
                    ),
                )
                .why("without a token there is nothing that could be revoked")
                .fix("remove it, or name an identity provider in `auth`");
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

    /// RFC 8594 §3 speaks of what comes after; RFC 9745 §4: a sunset is not before the deprecation.
    fn retirement(&mut self, written: &RouteDocument) -> Retirement {
        let (deprecated, sunset) = (written.deprecated.as_ref(), written.sunset.as_ref());
        if let (Some(deprecated), Some(sunset)) = (deprecated, sunset)
            && sunset.value < deprecated.value
        {
            self.findings
                .error(
                    code::SUNSET_FIRST,
                    sunset.at,
                    format!("it would be gone on {} already", sunset.value),
                )
                .why("clients are to be told before, not after")
                .fix(format!("{} or later", deprecated.value))
                .related(deprecated.at, "deprecated since");
        }
        Retirement::new(
            deprecated.map(|at| at.value),
            sunset.map(|at| (at.value, Place::of(at.at, self.files))),
        )
    }

    /// A WebSocket begins as a GET that an upstream answers (RFC 6455 §4.1).
    fn websocket(&mut self, named: &Named<RouteDocument>, written: &RouteDocument) -> Option<WebSocket> {
        let websocket = written.websocket.as_ref()?;
        let is_served = matches!(written.target.value, TargetDocument::Serve(_));
        if written.method.value != Method::GET || is_served {
            self.findings
                .error(
                    code::NO_EFFECT,
                    websocket.at,
                    format!("{} can take no WebSocket", named.path),
                )
                .why("a WebSocket begins as a GET that an upstream answers")
                .fix("`match: { method: GET, … }` and `upstream`, or remove `websocket`");
        }
        Some(websocket.value)
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
        self.weaker_headers(&path, reference, named, profile, floor);
        Some(Arc::clone(profile))
    }

    /// A profile may give the floor's headers other values, and none that protects less.
    fn weaker_headers(
        &mut self,
        path: &str,
        reference: &At<String>,
        named: &Named<ProfileDocument>,
        profile: &Profile,
        floor: &Profile,
    ) {
        let own = |name: &HeaderName| {
            let mut fields = profile.over_https.iter();
            fields.find_map(|(set, value)| (set == name).then(|| value.to_str().ok()).flatten())
        };
        let weaker: Vec<&str> = floor
            .over_https
            .iter()
            .filter(|(name, floor)| {
                let values = floor.to_str().ok().zip(own(name));
                values.is_some_and(|(floor, own)| header_strength::is_weaker(name.as_str(), floor, own))
            })
            .map(|(name, _)| name.as_str())
            .collect();
        if weaker.is_empty()
            || waivers::covers(self.document, &mut self.used, code::WEAKENS_FLOOR_HEADER, path)
        {
            return;
        }
        self.findings
            .error(
                code::WEAKENS_FLOOR_HEADER,
                reference.at,
                format!(
                    "{path}: profile `{}` weakens what the floor's profile says: {}",
                    reference.value,
                    weaker.join(", ")
                ),
            )
            .why("the floor holds on every route and can only be tightened")
            .fix("write values that protect as much as the floor's, or waive it with a reason and a last day")
            .related(named.at, "the profile");
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
