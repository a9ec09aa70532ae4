//! From a plan to its facts. Every struct is taken apart whole, so that a new field does not compile before it has a
//! fact here.

use super::{Definition, Fact, Kind, Value, places::Places};
use crate::Date;
use crate::openapi::Operation;
use crate::plan::{
    AcmeChallenge, AddressList, AddressRule, Breaker, CORS_FIELDS, Cache, Certificate, ClientCertificateRule,
    Compression, Cors, Count, CountIn, Ejection, Fallback, Floor, HealthCheck, HttpListener, HttpsListener,
    IdentityProvider, KeySource, KeyUrl, Limits, Listener, Mode, Plan, Profile, RateKey, RateLimit, Retries,
    Route, RouteAuth, RouteTarget, Served, Timeouts, TlsVersion, TrustedProxies, Upstream,
    UpstreamAuthorization, UpstreamTls, Waiver, WebSocket,
};
use lockout::Rules;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Every definition of a plan, in the order of the language.
pub(super) fn of(plan: &Plan, places: &Places) -> Vec<Definition> {
    let Plan {
        hash: _,
        environment: _,
        matcher: _,
        hosts_rule: _,
        listeners,
        certificates,
        hosts,
        upstreams,
        identity_providers,
        routes,
        floor,
        floor_headers,
        lockout,
        waivers,
    } = plan;
    let profiles: BTreeMap<&str, &Profile> = routes
        .iter()
        .map(|route| &route.headers)
        .chain([floor_headers])
        .map(|profile| (profile.rule.key(), &**profile))
        .collect();
    let cors: BTreeMap<&str, &Cors> = routes
        .iter()
        .filter_map(|route| route.cors.as_ref())
        .map(|cors| (cors.rule.key(), &**cors))
        .collect();
    let addresses = named_addresses(plan);
    let mut all: Vec<Definition> = Vec::new();
    all.extend(
        listeners
            .iter()
            .flat_map(|listener| self::listener(listener, places)),
    );
    all.extend(certificates.iter().map(|it| certificate(it, places)));
    all.push(
        open(Kind::Hosts, "hosts", places)
            .fact("", Value::set(hosts))
            .made,
    );
    all.extend(addresses.values().map(|list| self::addresses(list, places)));
    all.extend(upstreams.iter().map(|upstream| self::upstream(upstream, places)));
    all.extend(
        identity_providers
            .iter()
            .map(|provider| self::provider(provider, places)),
    );
    all.extend(profiles.values().map(|profile| self::profile(profile, places)));
    all.extend(cors.values().map(|cors| self::cors(cors, places)));
    all.push(self::floor(floor, floor_headers, places));
    all.extend(floor.rate.iter().map(|limit| self::limit(limit, "floor", places)));
    all.extend(lockout.iter().map(|rules| self::lockout(rules, places)));
    for route in routes {
        all.push(self::route(route, places));
        let key = format!("routes.{}", route.name);
        let own = route
            .rates()
            .filter(|limit| !floor.rate.iter().any(|other| other.name == limit.name));
        all.extend(own.map(|limit| self::limit(limit, &key, places)));
    }
    all.extend(waivers.iter().map(|waiver| self::waiver(waiver, places)));
    all
}

/// A definition under construction.
struct Draft<'p> {
    places: &'p Places,
    made: Definition,
}

fn open<'p>(kind: Kind, key: &str, places: &'p Places) -> Draft<'p> {
    Draft {
        places,
        made: Definition {
            kind,
            key: key.to_owned(),
            owner: None,
            place: places.decides(key),
            facts: Vec::new(),
        },
    }
}

impl Draft<'_> {
    fn of(mut self, owner: &str) -> Self {
        self.made.owner = Some(owner.to_owned());
        self
    }

    fn fact(mut self, name: &str, value: Value) -> Self {
        let key = self.made.key_of(name);
        self.made.facts.push(Fact {
            name: name.to_owned(),
            value,
            place: self.places.decides(&key),
            overridden: self.places.overridden(&key),
            follows: None,
        });
        self
    }

    /// A fact that is the one of `follows` unless it is written here.
    fn inherited(mut self, name: &str, value: Value, follows: &str) -> Self {
        if self.places.is_written(&self.made.key_of(name)) {
            return self.fact(name, value);
        }
        self.made.facts.push(Fact {
            name: name.to_owned(),
            value,
            place: self.places.decides(follows),
            overridden: self.places.overridden(follows),
            follows: Some(follows.to_owned()),
        });
        self
    }
}

/// Every list that is named somewhere, by its name.
fn named_addresses(plan: &Plan) -> BTreeMap<&str, &AddressList> {
    let of_routes = plan.routes.iter().map(|route| &route.allow_from);
    let rules = of_routes.chain([&plan.floor.deny_from]).flatten();
    let proxies = plan.listeners.iter();
    let proxies = proxies.filter_map(|listener| listener.trusted_proxies.as_ref());
    rules
        .chain(proxies.map(|proxies| &proxies.from))
        .flat_map(|rule| &rule.lists)
        .map(|list| (list.name.as_str(), &**list))
        .collect()
}

const fn tls_version(version: TlsVersion) -> &'static str {
    match version {
        TlsVersion::Tls12 => "1.2",
        TlsVersion::Tls13 => "1.3",
    }
}

fn listener(listener: &Listener, places: &Places) -> Vec<Definition> {
    let Listener {
        name,
        http,
        https,
        trusted_proxies,
        rule: _,
    } = listener;
    let HttpsListener {
        bind,
        tls_min,
        certificates,
        client_authority,
        rule: _,
    } = https;
    let key = format!("listeners.{name}");
    let secure = open(Kind::Listener, &key, places)
        .fact("https.bind", Value::text(bind))
        .fact("https.tls.min", Value::text(tls_version(*tls_min)));
    let (first, more) = certificates.split_at_checked(1).unwrap_or_default();
    let secure = secure
        .fact("https.tls.certificate", Value::Text(first.concat()))
        .fact("https.tls.more_certificates", Value::set(more));
    let asked_of_clients = client_authority.as_deref().unwrap_or("none");
    let secure = secure.fact("https.tls.client_authority", Value::text(asked_of_clients));
    let (proxies, client) = match trusted_proxies {
        Some(TrustedProxies { from: lists, client }) => (Some(lists), client.as_str()),
        None => (None, "the connection"),
    };
    let secure = secure
        .fact("trusted_proxies.from", from(proxies, "none"))
        .fact("trusted_proxies.client", Value::text(client));
    let clear = http.as_ref().map(|HttpListener { bind, rule: _ }| {
        open(Kind::Clear, &format!("{key}.http"), places)
            .of(&key)
            .fact("bind", Value::text(bind))
            .made
    });
    [Some(secure.made), clear].into_iter().flatten().collect()
}

fn lockout(rules: &Rules, places: &Places) -> Definition {
    let Rules {
        name,
        pair,
        device,
        total,
        address,
    } = rules;
    let count = |number: u32| Value::Number(u64::from(number));
    let time = |seconds: u32| Value::Time(Duration::from_secs(u64::from(seconds)));
    let steps = |steps: &[u32]| {
        let steps: Vec<String> = steps.iter().map(|step| time(*step).to_string()).collect();
        Value::Text(steps.join(", "))
    };
    open(Kind::Lockout, "lockout", places)
        .fact("name.after", count(name.after))
        .fact("name.steps", steps(&name.steps_s))
        .fact("name.decay", time(name.decay_s))
        .fact("name_and_address.failures", count(pair.failures))
        .fact("name_and_address.per", time(pair.per_s))
        .fact("device.after", count(device.after))
        .fact("device.trusted_for", time(device.trusted_for_s))
        .fact("device.most", count(device.most))
        .fact("total.untrusted", count(total.untrusted))
        .fact("total.trusted", count(total.trusted))
        .fact("address.failures", count(address.failures))
        .fact("address.names", count(address.names))
        .fact("address.per", time(address.per_s))
        .fact("address.block", steps(&address.block_s))
        .made
}

fn certificate(certificate: &Certificate, places: &Places) -> Definition {
    let Certificate {
        name,
        hosts,
        acme,
        rule: _,
    } = certificate;
    let acme = acme.map_or("none", AcmeChallenge::as_str);
    open(Kind::Certificate, &format!("certificates.{name}"), places)
        .fact("hosts", Value::set(hosts))
        .fact("acme", Value::text(acme))
        .made
}

fn addresses(list: &AddressList, places: &Places) -> Definition {
    open(Kind::Addresses, &format!("addresses.{}", list.name), places)
        .fact("", Value::set(list.networks()))
        .made
}

/// The lists that are named, or the word for none.
fn from(rule: Option<&AddressRule>, none: &str) -> Value {
    rule.map_or_else(
        || Value::text(none),
        |AddressRule { lists, rule: _ }| {
            Value::References(
                lists
                    .iter()
                    .map(|list| format!("addresses.{}", list.name))
                    .collect(),
            )
        },
    )
}

fn upstream(upstream: &Upstream, places: &Places) -> Definition {
    let Upstream {
        name,
        address,
        also_at,
        timeouts,
        authorization,
        health,
        eject,
        retries,
        breaker,
        openapi,
        tls,
        rule: _,
    } = upstream;
    let Timeouts { connect, read, total } = timeouts;
    let authorization = match authorization {
        UpstreamAuthorization::Forward => "forward",
        UpstreamAuthorization::Strip => "strip",
    };
    let (min, authority, server_name, certificate) =
        tls.clone().map_or((None, None, None, None), upstream_tls);
    let or_none = |value: Option<String>| Value::Text(value.unwrap_or_else(|| "none".to_owned()));
    open(Kind::Upstream, &format!("upstreams.{name}"), places)
        .fact("address", Value::text(address))
        .fact("also_at", Value::set(also_at))
        .fact("tls.min", or_none(min))
        .fact("tls.authority", or_none(authority))
        .fact("tls.server_name", or_none(server_name))
        .fact("tls.certificate", or_none(certificate))
        .fact("authorization", Value::text(authorization))
        .fact("openapi", or_none(openapi.clone()))
        .fact("timeouts.connect", Value::Time(*connect))
        .fact("timeouts.read", Value::Time(*read))
        .fact("timeouts.total", Value::Time(*total))
        .fact("health", or_none(health.as_ref().map(health_check)))
        .fact("eject", or_none(eject.map(ejection)))
        .fact("retries", or_none(retries.map(self::retries)))
        .fact("breaker", or_none(breaker.as_ref().map(self::breaker)))
        .made
}

type UpstreamTlsFacts = (Option<String>, Option<String>, Option<String>, Option<String>);

fn upstream_tls(tls: UpstreamTls) -> UpstreamTlsFacts {
    let UpstreamTls {
        min,
        authority,
        server_name,
        certificate,
    } = tls;
    let min = tls_version(min).to_owned();
    (Some(min), Some(authority), Some(server_name), certificate)
}

fn health_check(health: &HealthCheck) -> String {
    let HealthCheck {
        path,
        every,
        timeout,
        failures,
        successes,
    } = health;
    let (every, timeout) = (Value::Time(*every), Value::Time(*timeout));
    format!("{path} every {every} within {timeout}, out after {failures}, back after {successes}")
}

fn ejection(eject: Ejection) -> String {
    let Ejection { failures, time } = eject;
    format!("after {failures} for {}", Value::Time(time))
}

fn retries(retries: Retries) -> String {
    let Retries { most, budget_percent } = retries;
    format!("{most}, of {budget_percent}%")
}

fn breaker(breaker: &Breaker) -> String {
    let Breaker {
        failures,
        time,
        fallback,
    } = breaker;
    let answer = fallback.as_ref().map_or_else(
        || "503".to_owned(),
        |Fallback {
             status,
             detail,
             stale_for,
         }| {
            let stale = stale_for.map(|time| format!("what was kept, up to {} late, or ", Value::Time(time)));
            format!("{}{status}, “{detail}”", stale.unwrap_or_default())
        },
    );
    format!("after {failures} for {}: {answer}", Value::Time(*time))
}

fn provider(provider: &IdentityProvider, places: &Places) -> Definition {
    let IdentityProvider {
        name,
        issuer,
        audiences,
        clients,
        algorithms,
        token_type,
        max_lifetime,
        leeway,
        scopes_claim,
        requires_jti,
        requires_cnf,
        keys,
        rule: _,
    } = provider;
    let draft = open(Kind::Identity, &format!("identity.{name}"), places)
        .fact("issuer", Value::text(issuer))
        .fact("audiences", Value::set(audiences))
        .fact(
            "clients",
            Value::text(if clients.is_empty() {
                "any".to_owned()
            } else {
                clients.join(", ")
            }),
        )
        .fact(
            "algorithms",
            Value::set(algorithms.iter().map(|algorithm| algorithm.as_str())),
        )
        .fact("type", Value::text(token_type))
        .fact("max_lifetime", Value::Time(*max_lifetime))
        .fact("leeway", Value::Time(*leeway))
        .fact("scopes_claim", Value::text(scopes_claim.as_str()))
        .fact("require_jti", Value::text(requires_jti))
        .fact("require_cnf", Value::text(requires_cnf));
    match keys {
        KeySource::Portico => draft.fact("keys", Value::text("portico")).made,
        KeySource::File(name) => draft.fact("keys", Value::Text(format!("file:{name}"))).made,
        KeySource::Url(url) => {
            let KeyUrl {
                host: _,
                port: _,
                target: _,
                refresh,
                stale_for,
                addresses,
            } = url.as_ref();
            draft
                .fact("keys", Value::text(url))
                .fact("keys.refresh", Value::Time(*refresh))
                .fact("keys.stale_for", Value::Time(*stale_for))
                .fact("keys.addresses", Value::set(addresses))
                .made
        }
    }
}

fn waiver(waiver: &Waiver, places: &Places) -> Definition {
    let Waiver {
        name,
        code,
        key,
        because,
        until,
        rule: _,
        until_at: _,
    } = waiver;
    open(Kind::Waiver, &format!("waivers.{name}"), places)
        .fact("rule", Value::text(code))
        .fact("at", Value::text(key))
        .fact("until", Value::Text(until.to_string()))
        .fact("because", Value::text(because))
        .made
}

fn profile(profile: &Profile, places: &Places) -> Definition {
    // What is sent in clear follows from what is sent over HTTPS.
    let Profile {
        over_https,
        over_http: _,
        remove,
        rule,
    } = profile;
    let mut draft = open(Kind::Headers, rule.key(), places);
    for (name, value) in over_https {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        draft = draft.fact(&format!("set.{name}"), Value::Text(value));
    }
    let removed = remove.iter().filter(|name| !CORS_FIELDS.contains(name));
    draft.fact("remove", Value::set(removed)).made
}

fn cors(cors: &Cors, places: &Places) -> Definition {
    let Cors {
        origins,
        methods,
        headers,
        allow_methods: _,
        allow_headers: _,
        expose,
        credentials,
        max_age,
        rule,
    } = cors;
    let expose = expose
        .to_str()
        .unwrap_or_default()
        .split(", ")
        .filter(|name| !name.is_empty());
    let max_age_s = max_age
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_default();
    open(Kind::Cors, rule.key(), places)
        .fact("origins", Value::set(origins.iter().map(|(origin, _)| origin)))
        .fact("methods", Value::set(methods))
        .fact("headers", Value::set(headers))
        .fact("expose", Value::set(expose))
        .fact("credentials", Value::text(credentials))
        .fact("max_age", Value::Time(Duration::from_secs(max_age_s)))
        .made
}

fn floor(floor: &Floor, headers: &Profile, places: &Places) -> Definition {
    let Floor {
        limits,
        head_timeout,
        body_timeout,
        body_timeout_rule: _,
        rate: _,
        deny_from,
        rule: _,
    } = floor;
    let Limits {
        head,
        headers: lines,
        target,
        body,
    } = limits;
    open(Kind::Floor, "floor", places)
        .fact("limits.head", Value::Size(*head))
        .fact("limits.headers", Value::Number(*lines))
        .fact("limits.target", Value::Size(*target))
        .fact("limits.body", Value::Size(*body))
        .fact("timeouts.head", Value::Time(*head_timeout))
        .fact("timeouts.body", Value::Time(*body_timeout))
        .fact("deny_from", from(deny_from.as_ref(), "none"))
        .fact("headers", Value::Reference(headers.rule.key().to_owned()))
        .made
}

fn limit(limit: &RateLimit, owner: &str, places: &Places) -> Definition {
    let RateLimit {
        name,
        limit,
        period,
        burst,
        keys,
        count,
        count_in,
        mode,
        gcra: _,
        policy_field: _,
        rule: _,
    } = limit;
    let key = |key: &RateKey| match key {
        RateKey::Address { ipv6_prefix: 64 } => "address".to_owned(),
        RateKey::Address { ipv6_prefix } => format!("address/{ipv6_prefix}"),
        RateKey::Subject => "subject".to_owned(),
        RateKey::Body(pointer) => format!("body.{pointer}"),
        RateKey::All => "all".to_owned(),
    };
    let count = match count {
        Count::Requests => "requests",
        Count::Failures => "failures",
    };
    let (place, down) = match count_in {
        CountIn::Gateway => ("gateway", "none"),
        CountIn::Store(down) => ("store", down.as_str()),
    };
    let mode = match mode {
        Mode::Enforce => "enforce",
        Mode::Shadow => "shadow",
    };
    let pace = Value::Rate {
        limit: *limit,
        period: *period,
    };
    open(Kind::Limit, &format!("{owner}.rate.{name}"), places)
        .of(owner)
        .fact("limit", pace)
        .fact("burst", Value::Number(*burst))
        .fact("key", Value::set(keys.iter().map(key)))
        .fact("count", Value::text(count))
        .fact("count_in", Value::text(place))
        .fact("on_store_down", Value::text(down))
        .fact("mode", Value::text(mode))
        .made
}

fn route(route: &Route, places: &Places) -> Definition {
    let Route {
        name,
        method,
        path,
        auth,
        scopes,
        client_certificate,
        allow_from,
        revocations_within,
        limits,
        cost,
        target,
        operation,
        websocket,
        retirement,
        cache,
        compression,
        rule: _,
        rules: _,
        coarse: _,
        fine: _,
        headers,
        cors,
    } = route;
    let Limits {
        head,
        headers: lines,
        target: longest,
        body,
    } = limits;
    let draft = open(Kind::Route, &format!("routes.{name}"), places)
        .fact("match", Value::Text(format!("{method} {path}")));
    let draft = admitted(draft, auth, scopes);
    let draft = match revocations_within {
        Some(within) => draft.fact("revocations_within", Value::Time(*within)),
        None => draft,
    };
    let draft = certified(draft, client_certificate.as_ref())
        .fact("allow_from", from(allow_from.as_ref(), "anywhere"))
        .inherited("limits.head", Value::Size(*head), "floor.limits.head")
        .inherited("limits.headers", Value::Number(*lines), "floor.limits.headers")
        .inherited("limits.target", Value::Size(*longest), "floor.limits.target")
        .inherited("limits.body", Value::Size(*body), "floor.limits.body")
        .fact("cost", Value::Number(*cost))
        .inherited(
            "headers",
            Value::Reference(headers.rule.key().to_owned()),
            "floor.headers",
        );
    let cors = cors
        .as_ref()
        .map(|cors| Value::Reference(cors.rule.key().to_owned()));
    let draft = draft
        .fact("cors", cors.unwrap_or_else(|| Value::text("none")))
        .fact("deprecated", day(retirement.deprecated))
        .fact("sunset", day(retirement.sunset))
        .fact("websocket", self::websocket(websocket.as_ref()))
        .fact("cache", self::cache(cache.as_ref()))
        .fact("compress", self::compression(compression.as_ref()))
        .fact("openapi", checked(operation.as_deref()));
    match target {
        RouteTarget::Serve(served) => draft.fact("serve", Value::text(served_name(*served))).made,
        RouteTarget::Upstream(upstream, timeouts) => waits(draft, upstream, *timeouts).made,
    }
}

/// Who may call a route.
fn admitted<'p>(draft: Draft<'p>, auth: &RouteAuth, scopes: &[String]) -> Draft<'p> {
    match auth {
        RouteAuth::Anyone { because } => draft
            .fact("auth", Value::text("none"))
            .fact("because", Value::text(because)),
        RouteAuth::Provider(provider) => draft
            .fact("auth", Value::Reference(format!("identity.{}", provider.name)))
            .fact("scopes", Value::set(scopes)),
    }
}

/// The client certificate that a route needs.
fn certified<'p>(draft: Draft<'p>, needed: Option<&ClientCertificateRule>) -> Draft<'p> {
    match needed {
        None => draft.fact("client_certificate", Value::text("none")),
        Some(ClientCertificateRule {
            authority,
            names,
            rule: _,
        }) => draft
            .fact("client_certificate.authority", Value::text(authority))
            .fact("client_certificate.names", Value::set(names)),
    }
}

/// What is enforced, so that another document is another value only where it asks for something else.
fn checked(operation: Option<&Operation>) -> Value {
    operation.map_or_else(
        || Value::text("none"),
        |operation| Value::Text(format!("checked as {}", operation.fingerprint)),
    )
}

fn day(date: Option<Date>) -> Value {
    date.map_or_else(|| Value::text("never"), Value::text)
}

fn websocket(websocket: Option<&WebSocket>) -> Value {
    websocket.map_or_else(
        || Value::text("none"),
        |WebSocket {
             idle_timeout,
             max_frame,
         }| {
            let (idle, frame) = (Value::Time(*idle_timeout), Value::Size(*max_frame));
            Value::Text(format!("idle for {idle}, frames of {frame}"))
        },
    )
}

fn cache(cache: Option<&Cache>) -> Value {
    cache.map_or_else(
        || Value::text("none"),
        |Cache { time, key, largest }| {
            let (time, largest) = (Value::Time(*time), Value::Size(*largest));
            Value::Text(format!("for {time}, {}, up to {largest}", key.as_str()))
        },
    )
}

fn compression(compression: Option<&Compression>) -> Value {
    compression.map_or_else(
        || Value::text("none"),
        |Compression { over, types }| {
            Value::Text(format!("{} over {}", types.join(", "), Value::Size(*over)))
        },
    )
}

const fn served_name(served: Served) -> &'static str {
    match served {
        Served::Jwks => "jwks",
        Served::Live => "live",
        Served::Ready => "ready",
    }
}

/// A timeout that the route leaves out is the one of its upstream, or its own total when that is shorter.
fn waits<'p>(draft: Draft<'p>, upstream: &Arc<Upstream>, timeouts: Timeouts) -> Draft<'p> {
    let Timeouts { connect, read, total } = timeouts;
    let key = format!("upstreams.{}", upstream.name);
    let own_total = draft.made.key_of("timeouts.total");
    let follows = |name: &str, own: Duration, of_upstream: Duration| {
        if own == of_upstream {
            format!("{key}.timeouts.{name}")
        } else {
            own_total.clone()
        }
    };
    let connect_follows = follows("connect", connect, upstream.timeouts.connect);
    let read_follows = follows("read", read, upstream.timeouts.read);
    draft
        .fact("upstream", Value::Reference(key.clone()))
        .inherited("timeouts.connect", Value::Time(connect), &connect_follows)
        .inherited("timeouts.read", Value::Time(read), &read_follows)
        .inherited(
            "timeouts.total",
            Value::Time(total),
            &format!("{key}.timeouts.total"),
        )
}
