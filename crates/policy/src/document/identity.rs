//! `identity`: who issues tokens, and what a good one looks like.

use super::addresses;
use crate::{
    diagnostic::{Findings, Span, code},
    language,
    plan::{Algorithm, KeySource, KeyUrl, ScopesClaim},
    read::{At, Field, Mapping, is_authority, is_file_name},
    secret,
    yaml::Value,
};
use std::{sync::Arc, time::Duration};

/// One provider as written.
#[derive(Debug, Clone)]
pub(crate) struct ProviderDocument {
    pub(crate) issuer: String,
    pub(crate) audiences: Vec<String>,
    /// Empty where it is not written.
    pub(crate) clients: Vec<String>,
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) token_type: String,
    pub(crate) max_lifetime: Duration,
    pub(crate) leeway: Duration,
    pub(crate) scopes_claim: ScopesClaim,
    pub(crate) requires_jti: bool,
    /// Where `require_cnf: true` is written.
    pub(crate) requires_cnf: Option<Span>,
    pub(crate) keys: At<KeySource>,
}

impl ProviderDocument {
    /// Reads one provider.
    pub(crate) fn read(field: &Field<'_>, findings: &mut Findings) -> Option<Self> {
        let provider = Mapping::open(field, language::PROVIDER, findings)?;
        let issuer = provider
            .key("issuer", findings)
            .and_then(|field| issuer(&field, findings));
        let audiences = provider.key("audiences", findings).and_then(|field| {
            field.list(findings, |item, findings| {
                item.word("an audience", |byte| byte.is_ascii_graphic(), findings)
            })
        });
        let clients = provider.optional("clients").map_or(Some(Vec::new()), |field| {
            field.list(findings, |item, findings| {
                item.word("a client", |byte| byte.is_ascii_graphic(), findings)
            })
        });
        let algorithms = provider
            .key("algorithms", findings)
            .and_then(|field| field.list(findings, algorithm));
        let token_type = provider
            .key("type", findings)
            .and_then(|field| field.word("a token type", |byte| byte.is_ascii_graphic(), findings));
        let max_lifetime = provider
            .key("max_lifetime", findings)
            .and_then(|field| field.seconds(Duration::from_secs(1)..=Duration::from_hours(24), findings));
        let leeway = provider
            .key("leeway", findings)
            .and_then(|field| field.seconds(Duration::ZERO..=Duration::from_mins(2), findings));
        let keys = provider
            .key("keys", findings)
            .and_then(|field| keys(&field, findings));
        let scopes_claim = provider
            .optional("scopes_claim")
            .map_or(Some(None), |field| scopes_claim(&field, findings).map(Some));
        let requires_jti = provider
            .optional("require_jti")
            .map_or(Some(None), |field| field.boolean(findings).map(Some));
        let requires_cnf = provider
            .optional("require_cnf")
            .map_or(Some(None), |field| field.boolean(findings).map(Some));
        if let (Some(algorithms), Some(keys)) = (&algorithms, &keys) {
            can_sign(algorithms, &keys.value, findings);
        }
        let (scopes_claim, requires_jti, requires_cnf) = (scopes_claim?, requires_jti?, requires_cnf?);
        let bound = requires_cnf
            .filter(|required| required.value)
            .map(|required| required.at);
        if let Some(keys) = &keys {
            writes_so(
                scopes_claim.as_ref(),
                requires_jti.as_ref(),
                bound,
                &keys.value,
                findings,
            );
        }
        Some(Self {
            issuer: issuer?.value,
            audiences: audiences?.into_iter().map(|item| item.value).collect(),
            clients: clients?.into_iter().map(|item| item.value).collect(),
            algorithms: algorithms?.into_iter().map(|item| item.value).collect(),
            token_type: token_type?.value,
            max_lifetime: max_lifetime?.value,
            leeway: leeway?.value,
            scopes_claim: scopes_claim.map_or(ScopesClaim::Scope, |claim| claim.value),
            requires_jti: requires_jti.is_none_or(|required| required.value),
            requires_cnf: bound,
            keys: keys?,
        })
    }
}

fn issuer(field: &Field<'_>, findings: &mut Findings) -> Option<At<String>> {
    let issuer = field.word("an issuer", |byte| byte.is_ascii_graphic(), findings)?;
    let fault = match issuer.value.strip_prefix("https://") {
        None => Some("an https URL"),
        Some(rest) if rest.contains(['?', '#']) => Some("a URL without a query and a fragment"),
        Some(rest) if !is_authority(rest.split('/').next().unwrap_or_default()) => {
            Some("an https URL with a host, and no user")
        }
        Some(_) => None,
    };
    if let Some(fault) = fault {
        findings
            .error(
                code::BAD_TEXT,
                issuer.at,
                format!("issuer `{}` is not {fault}", issuer.value),
            )
            .why("an issuer names itself by a URL that only it controls (RFC 8414 §2)")
            .fix("write the exact `iss` of its tokens: `https://api.bank.example`");
        return None;
    }
    Some(issuer)
}

fn algorithm(field: &Field<'_>, findings: &mut Findings) -> Option<At<Algorithm>> {
    let text = field.text(findings)?;
    if text.value.starts_with("HS") || text.value.eq_ignore_ascii_case("none") {
        findings
            .error(
                code::NOT_A_CHOICE,
                text.at,
                format!("algorithm `{}` is refused", text.value),
            )
            .why("whoever can check such a token can also make one (RFC 8725 §3.1)")
            .fix("one of: EdDSA, ES256, RS256, PS256");
        return None;
    }
    if is_asymmetric(&text.value) {
        findings
            .error(
                code::NOT_A_CHOICE,
                text.at,
                format!("algorithm `{}` is not taken here", text.value),
            )
            .why("few algorithms are checked well, and many are not")
            .fix("one of: EdDSA, ES256, RS256, PS256; the issuer must sign with one of them");
        return None;
    }
    field.choice(
        &[
            ("EdDSA", Algorithm::EdDsa),
            ("ES256", Algorithm::Es256),
            ("RS256", Algorithm::Rs256),
            ("PS256", Algorithm::Ps256),
        ],
        findings,
    )
}

/// Portico has no RSA keys: an algorithm that its keys never sign with would be there for nothing.
fn can_sign(algorithms: &[At<Algorithm>], keys: &KeySource, findings: &mut Findings) {
    if *keys != KeySource::Portico {
        return;
    }
    for algorithm in algorithms {
        if matches!(algorithm.value, Algorithm::Rs256 | Algorithm::Ps256) {
            let name = algorithm.value.as_str();
            findings
                .error(
                    code::NO_EFFECT,
                    algorithm.at,
                    format!("no key of Portico signs with {name}"),
                )
                .why("it would have no effect, and a reader would believe that such tokens come")
                .fix("remove it: keys of Portico sign with EdDSA or ES256");
        }
    }
}

fn scopes_claim(field: &Field<'_>, findings: &mut Findings) -> Option<At<ScopesClaim>> {
    field.choice(
        &[
            ("scope", ScopesClaim::Scope),
            ("scp", ScopesClaim::Scp),
            ("roles", ScopesClaim::Roles),
        ],
        findings,
    )
}

/// Tokens of Portico have `scope` and `jti`, and no `cnf`: what says otherwise would only let in what Portico has not made,
/// or nothing.
fn writes_so(
    scopes_claim: Option<&At<ScopesClaim>>,
    requires_jti: Option<&At<bool>>,
    bound: Option<Span>,
    keys: &KeySource,
    findings: &mut Findings,
) {
    if *keys != KeySource::Portico {
        return;
    }
    let elsewhere = scopes_claim.filter(|claim| claim.value != ScopesClaim::Scope);
    let without_id = requires_jti.filter(|required| !required.value);
    for (at, message) in [
        elsewhere.map(|claim| (claim.at, "tokens of Portico have their scopes in `scope`")),
        without_id.map(|required| (required.at, "tokens of Portico have a `jti`")),
        bound.map(|at| (at, "tokens of Portico are bound to no certificate")),
    ]
    .into_iter()
    .flatten()
    {
        findings
            .error(code::NOT_OF_PORTICO, at, message)
            .why("it would have no effect on them, and a reader would believe that others come")
            .fix("remove it; it is for keys of another issuer");
    }
}

/// The other registered algorithms (RFC 7518 §3.1): none of them is a slip of the hand.
fn is_asymmetric(algorithm: &str) -> bool {
    let families = ["RS", "PS", "ES"];
    let family = families.iter().find_map(|family| algorithm.strip_prefix(family));
    algorithm == "ES256K" || family.is_some_and(|size| ["384", "512"].contains(&size))
}

/// `portico`, `file:` and a name in the gateway's key folder, or where the issuer publishes them.
fn keys(field: &Field<'_>, findings: &mut Findings) -> Option<At<KeySource>> {
    if let Value::Map(entries) = &field.node.value
        && !entries
            .iter()
            .any(|entry| entry.key == "kty" || entry.key == "keys")
    {
        return key_url(field, findings);
    }
    if matches!(field.node.value, Value::List(_) | Value::Map(_)) {
        findings
            .error(
                code::WRONG_TYPE,
                field.node.at,
                format!("{} holds keys instead of saying where they are", field.path),
            )
            .why("a policy is read by many, and by version control for ever")
            .fix(secret::BY_REFERENCE);
        return None;
    }
    let text = field.text(findings)?;
    let source = match text.value.strip_prefix("file:") {
        Some(name) if is_file_name(name) => Some(KeySource::File(name.to_owned())),
        None if text.value == "portico" => Some(KeySource::Portico),
        Some(_) | None => None,
    };
    if source.is_none() {
        let fix = if text.value.starts_with("https://") {
            format!("`{{ url: \"{}\", refresh: 5min, stale_for: 1h }}`", text.value)
        } else {
            "`portico`, `file:` and the name of a JWK Set in the gateway's key folder, `file:partners.jwks.json`, or `{ url: …, refresh: 5min, stale_for: 1h }`".to_owned()
        };
        findings
            .error(
                code::NOT_A_CHOICE,
                text.at,
                format!("{} cannot be `{}`", field.path, text.value),
            )
            .why("keys are read from one place that is known before the first token comes")
            .fix(fix);
    }
    source.map(|value| At { value, at: text.at })
}

/// Between two fetches, and from a fetch to the end of its keys.
const LONGEST: Duration = Duration::from_hours(7 * 24);

fn key_url(field: &Field<'_>, findings: &mut Findings) -> Option<At<KeySource>> {
    let keys = Mapping::open(field, language::PROVIDER_KEYS, findings)?;
    let url = keys
        .key("url", findings)
        .and_then(|field| parsed_url(&field, findings));
    let refresh = keys
        .key("refresh", findings)
        .and_then(|field| field.duration(LONGEST, findings));
    let stale_for = keys
        .key("stale_for", findings)
        .and_then(|field| field.duration(LONGEST, findings));
    let addresses = match keys.optional("addresses") {
        Some(field) => addresses::read(&field, findings)?,
        None => Vec::new(),
    };
    let (url, refresh, stale_for) = (url?, refresh?, stale_for?);
    if refresh.value < SHORTEST_REFRESH {
        let message = format!("{}.refresh is shorter than a second", field.path);
        findings
            .error(code::BAD_DURATION, refresh.at, message)
            .why("the issuer would take it for an attack")
            .fix("`5min`; an unknown key is asked for at once");
        return None;
    }
    if stale_for.value < refresh.value {
        findings
            .error(
                code::BAD_DURATION,
                stale_for.at,
                format!("{}.stale_for is shorter than `refresh`", field.path),
            )
            .why("the keys would be gone each time before they are fetched again")
            .fix("a multiple of `refresh`, so that a fetch may fail")
            .related(refresh.at, "fetched this often");
        return None;
    }
    let (host, port, target) = url.value;
    Some(At {
        value: KeySource::Url(Arc::new(KeyUrl {
            host,
            port,
            target,
            refresh: refresh.value,
            stale_for: stale_for.value,
            addresses: addresses.into_iter().map(|network| network.value).collect(),
        })),
        at: url.at,
    })
}

/// An issuer is not asked more often than this.
const SHORTEST_REFRESH: Duration = Duration::from_secs(1);

fn parsed_url(field: &Field<'_>, findings: &mut Findings) -> Option<At<(String, u16, String)>> {
    let text = field.text(findings)?;
    let parsed = KeyUrl::parse(&text.value);
    if parsed.is_none() {
        findings
            .error(
                code::BAD_TEXT,
                text.at,
                format!("`{}` is not where keys can be fetched", text.value),
            )
            .why("whoever can change the keys on their way can sign every token (RFC 8414 §2)")
            .fix("https, a host in lower case and a path: `https://idp.example/jwks.json`");
    }
    parsed.map(|value| At { value, at: text.at })
}
