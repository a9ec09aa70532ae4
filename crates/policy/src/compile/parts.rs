//! Everything but routes: listeners, hosts, upstreams, providers, header and CORS profiles, the floor.

use super::{Compiler, Section, environment::is_strict};
use crate::{
    diagnostic::{Span, code},
    document::{FloorDocument, ListenerDocument, RateDocument, UpstreamDocument},
    gcra,
    plan::{
        AcmeChallenge, AddressList, AddressRule, Certificate, Cors, CountIn, Ejection, Floor, HttpListener,
        HttpsListener, IdentityProvider, KeySource, Limits, Listener, Profile, RateLimit, Rule, Timeouts,
        TrustedProxies, Upstream, UpstreamAddress,
    },
    read::{At, Named},
};
use http::HeaderValue;
use ipnet::IpNet;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

/// What routes refer to, by name. A name whose definition is wrong is missing here.
pub(super) struct Parts {
    pub(super) addresses: BTreeMap<String, Arc<AddressList>>,
    pub(super) upstreams: BTreeMap<String, Arc<Upstream>>,
    pub(super) providers: BTreeMap<String, Arc<IdentityProvider>>,
    pub(super) profiles: BTreeMap<String, Arc<Profile>>,
    pub(super) cors: BTreeMap<String, Arc<Cors>>,
}

impl<'d> Compiler<'d> {
    pub(super) fn listeners(
        &mut self,
        addresses: &BTreeMap<String, Arc<AddressList>>,
    ) -> BTreeMap<String, Arc<Listener>> {
        if self.document.listeners.is_empty() {
            self.missing_section("listeners", "listeners: { public: { https: … } }");
        }
        let mut taken = HashMap::new();
        let mut listeners = BTreeMap::new();
        for named in &self.document.listeners {
            let Some(written) = &named.value else { continue };
            let binds = written.http.iter().chain([&written.https.bind]);
            for bind in binds.filter(|bind| bind.value.port() != 0) {
                if let Some(first) = taken.insert(bind.value, bind.at) {
                    self.findings
                        .error(
                            code::BAD_ADDRESS,
                            bind.at,
                            format!("`{}` is bound twice", bind.value),
                        )
                        .why("only one of them could listen")
                        .fix("give it another port")
                        .related(first, "first bound here");
                }
            }
            let Some(trusted_proxies) = self.trusted_proxies(written, &named.path, addresses) else {
                continue;
            };
            let listener = Listener {
                name: named.name.clone(),
                trusted_proxies,
                http: written.http.as_ref().map(|bind| HttpListener {
                    bind: bind.value,
                    rule: self.rule(bind.at, &format!("{}.http", named.path)),
                }),
                https: HttpsListener {
                    bind: written.https.bind.value,
                    tls_min: written.https.tls.min,
                    certificates: written.https.tls.certificates.clone(),
                    client_authority: written.https.tls.client_authority.clone(),
                    rule: self.rule(written.https.bind.at, &format!("{}.https", named.path)),
                },
                rule: self.rule(named.at, &named.path),
            };
            listeners.insert(named.name.clone(), Arc::new(listener));
        }
        listeners
    }

    /// The outer `None` means that something of it is wrong.
    fn trusted_proxies(
        &mut self,
        listener: &'d ListenerDocument,
        path: &str,
        addresses: &BTreeMap<String, Arc<AddressList>>,
    ) -> Option<Option<TrustedProxies>> {
        let Some(written) = &listener.trusted_proxies else {
            return Some(None);
        };
        let key = format!("{path}.trusted_proxies.from");
        let from = self.address_rule(Some(&written.from), &key, addresses)??;
        if from.holds_all_of_a_family() {
            self.findings
                .error(
                    code::TRUSTS_EVERYONE,
                    written.from.0,
                    format!("{key} holds every address"),
                )
                .why("every client could say that it is another one, and no limit would hold it")
                .fix("name the addresses of the proxies alone");
            return None;
        }
        let client = written.client;
        Some(Some(TrustedProxies { from, client }))
    }

    /// What the listeners' certificates are for. One that no listener shows is reported with the other unused names.
    pub(super) fn certificates(&mut self) -> Vec<Arc<Certificate>> {
        let document = self.document;
        let listeners = || document.listeners.iter().filter_map(|named| named.value.as_ref());
        let has_clear = listeners().any(|listener| listener.http.is_some());
        let mut certificates = Vec::new();
        for named in &document.certificates {
            let Some(written) = &named.value else { continue };
            if listeners().any(|listener| listener.https.tls.certificates.contains(&named.name)) {
                self.used.insert(("certificates", &named.name));
            }
            if let Some(acme) = &written.acme
                && acme.value == AcmeChallenge::Http01
                && !has_clear
                && !document.is_partial
            {
                self.findings
                    .error(
                        code::NO_EFFECT,
                        acme.at,
                        format!("{}: no listener has an `http` side", named.path),
                    )
                    .why("the authority asks for the proof of http-01 there, and the certificate would never come")
                    .fix("add `http: { bind: \"0.0.0.0:80\", redirect: https }` to a listener, or write `acme: dns-01`");
            }
            certificates.push(Arc::new(Certificate {
                name: named.name.clone(),
                hosts: written.hosts.clone(),
                acme: written.acme.as_ref().map(|acme| acme.value),
                rule: self.rule(named.at, &named.path),
            }));
        }
        certificates.sort_by(|one, other| one.name.cmp(&other.name));
        certificates
    }

    /// The hosts that are served, and the line that says so.
    pub(super) fn hosts(&mut self) -> Option<(Vec<String>, Rule)> {
        let Some((at, hosts)) = &self.document.hosts else {
            self.missing_section("hosts", "hosts: [api.bank.example]");
            return None;
        };
        let names = hosts.iter().map(|host| host.value.clone()).collect();
        Some((names, self.rule(*at, "hosts")))
    }

    pub(super) fn address_lists(&self) -> BTreeMap<String, Arc<AddressList>> {
        let compile = |named: &Named<Vec<At<IpNet>>>| {
            let networks: Vec<IpNet> = named
                .value
                .as_ref()?
                .iter()
                .map(|network| network.value)
                .collect();
            let list = AddressList::new(&named.name, &networks);
            Some((named.name.clone(), Arc::new(list)))
        };
        self.document.addresses.iter().filter_map(compile).collect()
    }

    /// The lists that `deny_from` or `allow_from` names. The outer `None` means that one of them is wrong.
    pub(super) fn address_rule(
        &mut self,
        written: Option<&'d (Span, Vec<At<String>>)>,
        key: &str,
        lists: &BTreeMap<String, Arc<AddressList>>,
    ) -> Option<Option<AddressRule>> {
        let Some((at, names)) = written else {
            return Some(None);
        };
        let section = Section {
            name: "addresses",
            definitions: &self.document.addresses,
        };
        let resolved: Vec<_> = names
            .iter()
            .filter_map(|name| self.resolve(&section, name))
            .filter_map(|named| lists.get(&named.name).cloned())
            .collect();
        if resolved.len() < names.len() {
            return None;
        }
        let rule = AddressRule {
            lists: resolved,
            rule: self.rule(*at, key),
        };
        let is_denial = key == "floor.deny_from";
        // An overlay may open a list to everyone where nothing real is behind the gateway.
        if rule.holds_everything() && (is_denial || is_strict(self.environment)) {
            let (why, fix) = if is_denial {
                (
                    "nobody could reach anything",
                    "name the networks that are to stay away",
                )
            } else {
                (
                    "it looks like protection and is none",
                    "remove it, or name the networks that may come",
                )
            };
            self.findings
                .error(code::NO_EFFECT, *at, format!("{key} holds every address"))
                .why(why)
                .fix(fix);
            return None;
        }
        Some(Some(rule))
    }

    pub(super) fn upstreams(&mut self) -> BTreeMap<String, Arc<Upstream>> {
        let mut upstreams = BTreeMap::new();
        for named in &self.document.upstreams {
            let Some(written) = &named.value else { continue };
            let zero = Duration::ZERO;
            let timeout = |written: &Option<At<Duration>>| written.as_ref().map_or(zero, |at| at.value);
            let timeouts = Timeouts {
                connect: timeout(&written.timeouts.connect),
                read: timeout(&written.timeouts.read),
                total: timeout(&written.timeouts.total),
            };
            let parts = [&written.timeouts.connect, &written.timeouts.read];
            if let Some(over) = parts
                .into_iter()
                .flatten()
                .find(|part| part.value > timeouts.total)
            {
                self.timeout_order(over.at, &named.path);
            }
            let upstream = Upstream {
                name: named.name.clone(),
                address: written.address.value.clone(),
                also_at: written.also_at.iter().map(|at| at.value.clone()).collect(),
                timeouts,
                authorization: written.authorization,
                health: written.health.clone(),
                eject: self.ejection(written, &named.path),
                retries: written.retries,
                breaker: written.breaker.clone(),
                tls: written.tls.clone(),
                openapi: written.openapi.as_ref().map(|at| at.value.clone()),
                rule: self.rule(named.at, &named.path),
            };
            upstreams.insert(named.name.clone(), Arc::new(upstream));
        }
        upstreams
    }

    /// The last address of a service is never given up, so with one address there is nothing to eject.
    fn ejection(&mut self, written: &UpstreamDocument, path: &str) -> Option<Ejection> {
        let eject = written.eject.as_ref()?;
        let is_name = |address: &UpstreamAddress| matches!(address, UpstreamAddress::Name { .. });
        if written.also_at.is_empty() && !is_name(&written.address.value) {
            self.findings
                .error(
                    code::NO_EFFECT,
                    eject.at,
                    format!("{path} has one address, so `eject` has no effect"),
                )
                .why("the last address of a service is never given up")
                .fix("remove `eject`, or add addresses in `also_at`");
        }
        Some(eject.value)
    }

    pub(super) fn timeout_order(&mut self, at: Span, path: &str) {
        self.findings
            .error(
                code::TIMEOUT_ORDER,
                at,
                format!("{path}: `connect` or `read` is longer than `total`"),
            )
            .why("the longer one would have no effect")
            .fix("make `total` the longest");
    }

    pub(super) fn providers(&mut self) -> BTreeMap<String, Arc<IdentityProvider>> {
        let mut providers = BTreeMap::new();
        for named in &self.document.providers {
            if named.name == "none" {
                self.findings
                    .error(code::BAD_NAME, named.at, "a provider cannot be called `none`")
                    .why("`auth: none` means that anyone may come")
                    .fix("give it another name");
            }
            let Some(written) = &named.value else { continue };
            let provider = IdentityProvider {
                name: named.name.clone(),
                issuer: written.issuer.clone(),
                audiences: written.audiences.clone(),
                clients: written.clients.clone(),
                algorithms: written.algorithms.clone(),
                token_type: written.token_type.clone(),
                max_lifetime: written.max_lifetime,
                leeway: written.leeway,
                scopes_claim: written.scopes_claim,
                requires_jti: written.requires_jti,
                requires_cnf: written.requires_cnf.is_some(),
                keys: written.keys.value.clone(),
                rule: self.rule(named.at, &named.path),
            };
            providers.insert(named.name.clone(), Arc::new(provider));
        }
        self.shared_keys();
        self.shown_certificates();
        providers
    }

    /// J33: a token that must be bound to a certificate is good only where a listener asks for one.
    fn shown_certificates(&mut self) {
        let mut listeners = self
            .document
            .listeners
            .iter()
            .filter_map(|named| named.value.as_ref());
        if listeners.any(|listener| listener.https.tls.client_authority.is_some()) || self.document.is_partial
        {
            return;
        }
        let providers = self
            .document
            .providers
            .iter()
            .filter_map(|named| named.value.as_ref());
        // Portico's own are told another thing.
        let others = providers.filter(|provider| provider.keys.value != KeySource::Portico);
        for at in others.filter_map(|provider| provider.requires_cnf) {
            self.findings
                .error(code::UNDEFINED_NAME, at, "no listener asks for client certificates")
                .why("no client could show the one that its token is bound to, so every token would be refused")
                .fix("add `client_authority: partners` to the `tls` of a listener");
        }
    }

    /// J28: whoever holds a key speaks for its issuer, so two issuers cannot have the same.
    fn shared_keys(&mut self) {
        let written: Vec<_> = self
            .document
            .providers
            .iter()
            .filter_map(|named| named.value.as_ref())
            .collect();
        for (index, provider) in written.iter().enumerate() {
            let of_another = written.iter().take(index).find(|earlier| {
                earlier.keys.value.is_same_place(&provider.keys.value) && earlier.issuer != provider.issuer
            });
            if let Some(earlier) = of_another {
                self.findings
                    .error(
                        code::KEYS_OF_ANOTHER,
                        provider.keys.at,
                        format!(
                            "the issuers `{}` and `{}` have the same keys",
                            earlier.issuer, provider.issuer
                        ),
                    )
                    .why("each could sign tokens in the other's name")
                    .fix("give each issuer a key set of its own, or correct `issuer`")
                    .related(earlier.keys.at, "also used here");
            }
        }
    }

    pub(super) fn profiles(&mut self) -> BTreeMap<String, Arc<Profile>> {
        let mut profiles = BTreeMap::new();
        for named in &self.document.profiles {
            let Some(written) = &named.value else { continue };
            let set = written.set.iter();
            let set = set.map(|(name, value)| (name.value.clone(), value.clone()));
            let remove = written.remove.iter().map(|name| name.value.clone()).collect();
            let profile = Profile::new(set, remove, self.rule(named.at, &named.path));
            profiles.insert(named.name.clone(), Arc::new(profile));
        }
        profiles
    }

    pub(super) fn cors_profiles(&mut self) -> BTreeMap<String, Arc<Cors>> {
        let mut profiles = BTreeMap::new();
        for named in &self.document.cors {
            let Some(written) = &named.value else { continue };
            let join = |words: Vec<&str>| HeaderValue::from_str(&words.join(", ")).ok();
            let names = (
                join(written.methods.iter().map(http::Method::as_str).collect()),
                join(written.headers.iter().map(http::HeaderName::as_str).collect()),
                join(written.expose.iter().map(http::HeaderName::as_str).collect()),
            );
            let (Some(allow_methods), Some(allow_headers), Some(expose)) = names else {
                continue;
            };
            let origins = written.origins.iter().map(|origin| origin.value.as_str());
            let cors = Cors {
                origins: origins
                    .filter_map(|origin| Some((origin.to_owned(), HeaderValue::from_str(origin).ok()?)))
                    .collect(),
                methods: written.methods.clone(),
                headers: written.headers.clone(),
                allow_methods,
                allow_headers,
                expose,
                credentials: written.credentials,
                max_age: HeaderValue::from(written.max_age.as_secs()),
                rule: self.rule(named.at, &named.path),
            };
            profiles.insert(named.name.clone(), Arc::new(cors));
        }
        profiles
    }

    /// A limit's name is its identity: counters live under it across reloads.
    pub(super) fn rate_names(&mut self) {
        let mut seen: HashMap<&str, &Named<RateDocument>> = HashMap::new();
        for named in self.document.rates() {
            match seen.get(named.name.as_str()) {
                Some(first) => {
                    self.findings
                        .error(
                            code::DEFINED_TWICE,
                            named.at,
                            format!("the limit `{}` is defined twice", named.name),
                        )
                        .why("both would count in the same place")
                        .fix("rename one of them")
                        .related(first.at, "first defined here");
                }
                None => {
                    seen.insert(&named.name, named);
                }
            }
        }
    }

    pub(super) fn floor(
        &mut self,
        profiles: &BTreeMap<String, Arc<Profile>>,
        addresses: &BTreeMap<String, Arc<AddressList>>,
    ) -> Option<(Floor, Arc<Profile>)> {
        let Some((at, written)) = &self.document.floor else {
            self.missing_section(
                "floor",
                "floor: { limits: …, timeouts: …, rate: …, headers: api }",
            );
            return None;
        };
        let written = written.as_ref()?;
        let section = Section {
            name: "headers",
            definitions: &self.document.profiles,
        };
        let profile = self.resolve(&section, &written.headers);
        let deny_from = self.address_rule(written.deny_from.as_ref(), "floor.deny_from", addresses);
        let rate = self.floor_rates(written);
        let limits = Limits {
            head: written.limits.head.as_ref()?.value,
            headers: written.limits.headers.as_ref()?.value,
            target: written.limits.target.as_ref()?.value,
            body: written.limits.body.as_ref()?.value,
        };
        let floor = Floor {
            limits,
            head_timeout: written.head_timeout,
            body_timeout: written.body_timeout.value,
            body_timeout_rule: self.rule(written.body_timeout.at, "floor.timeouts.body"),
            rate,
            deny_from: deny_from?,
            rule: self.rule(*at, "floor"),
        };
        let profile = profiles.get(&profile?.name)?;
        Some((floor, Arc::clone(profile)))
    }

    fn floor_rates(&mut self, floor: &FloorDocument) -> Vec<Arc<RateLimit>> {
        for named in &floor.rates {
            let keys = named.value.iter().flat_map(|rate| &rate.keys);
            for key in keys.filter(|key| !key.value.is_address()) {
                self.findings
                    .error(
                        code::KEY_NOT_AVAILABLE,
                        key.at,
                        "a limit of the floor can only count by `address`",
                    )
                    .why("it also counts requests that no route matches, which have no subject and no body")
                    .fix("move the limit to the routes that have one");
            }
        }
        self.rates(&floor.rates)
    }

    /// Compiles limits that were read without fault.
    pub(super) fn rates(&self, written: &[Named<RateDocument>]) -> Vec<Arc<RateLimit>> {
        let compile = |named: &Named<RateDocument>| {
            let rate = named.value.as_ref()?;
            let (limit, period, burst) = (rate.rate.value.limit, rate.rate.value.period, rate.burst.value);
            let window_s = period.as_secs().max(1);
            let policy_field = format!("\"{}\";q={limit};w={window_s}", named.name);
            Some(Arc::new(RateLimit {
                name: named.name.clone(),
                limit,
                period,
                burst,
                keys: rate.keys.iter().map(|key| key.value.clone()).collect(),
                count: rate.count,
                count_in: rate.count_in,
                mode: rate.mode,
                gcra: match rate.count_in {
                    CountIn::Gateway => gcra::Limit::new(limit, period, burst)?,
                    CountIn::Store(_) => gcra::Limit::new(limit, period, burst)?.in_microseconds(),
                },
                policy_field: HeaderValue::from_str(&policy_field).ok()?,
                rule: self.rule(named.at, &named.path),
            }))
        };
        written.iter().filter_map(compile).collect()
    }
}
