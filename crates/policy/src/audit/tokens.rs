//! Identity providers: how long a token lives, whom it is for, and whether it can be taken for another.

use super::{AuditRule, AuditSeverity, Auditor};
use crate::plan::{IdentityProvider, KeySource, KeyUrl, RouteAuth, RouteTarget, UpstreamAuthorization};
use ipnet::IpNet;
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

static LONG_LIFE: AuditRule = AuditRule::new(
    "A1201",
    AuditSeverity::Medium,
    "access tokens may live longer than an hour",
    "a stolen token works until it expires",
    "RFC 6750 §5.3: one hour or less; OWASP API2:2023",
);
static LEEWAY: AuditRule = AuditRule::new(
    "A1202",
    AuditSeverity::Low,
    "clocks may differ by more than a minute",
    "every expired token stays good for that long",
    "FAPI 2.0 Security Profile §5.3.2.1: 60 s; RFC 7519 §4.1.4",
);
static MANY_AUDIENCES: AuditRule = AuditRule::new(
    "A1203",
    AuditSeverity::Low,
    "one provider for several audiences",
    "a token that was made for one of them opens the routes of all",
    "RFC 8725 §3.9; RFC 9068 §4",
);
static BROAD_AUDIENCE: AuditRule = AuditRule::new(
    "A1204",
    AuditSeverity::Medium,
    "an audience that names no service",
    "tokens that the same issuer made for something else are accepted here",
    "RFC 8725 §3.9; RFC 9068 §3",
);
static TYPE: AuditRule = AuditRule::new(
    "A1205",
    AuditSeverity::Medium,
    "tokens of another type than `at+jwt`",
    "an ID token, or any other token of the issuer, can be used as an access token",
    "RFC 9068 §2.1; RFC 8725 §3.11",
);
static MIXED_SUBJECTS: AuditRule = AuditRule::new(
    "A1206",
    AuditSeverity::Medium,
    "subjects of two issuers reach one upstream that cannot tell them apart",
    "a subject is unique for its issuer only, and the upstream does not see the token",
    "RFC 7519 §4.1.2; RFC 8725 §3.8",
);

static KEY_NETWORK: AuditRule = AuditRule::new(
    "A1207",
    AuditSeverity::High,
    "keys may come from a whole private network, or from the address of cloud metadata",
    "whoever gets one machine there, or can bend a name to it, signs every token of the issuer",
    "OWASP API7:2023; RFC 8725 §3.10",
);
static STALE_KEYS: AuditRule = AuditRule::new(
    "A1208",
    AuditSeverity::Medium,
    "keys count for more than a day without being fetched again",
    "a key that the issuer has withdrawn, because it was stolen, verifies for as long",
    "RFC 8725 §3.5; OWASP API2:2023",
);

static NO_ID: AuditRule = AuditRule::new(
    "A1831",
    AuditSeverity::Low,
    "tokens without an id of their own",
    "a stolen one cannot be revoked alone: its session or its subject has to be, or one waits until it expires",
    "RFC 9068 §2.2; RFC 7519 §4.1.7",
);

pub(super) static RULES: [&AuditRule; 9] = [
    &LONG_LIFE,
    &LEEWAY,
    &MANY_AUDIENCES,
    &BROAD_AUDIENCE,
    &TYPE,
    &MIXED_SUBJECTS,
    &KEY_NETWORK,
    &STALE_KEYS,
    &NO_ID,
];

const LONGEST_LIFE: Duration = Duration::from_hours(1);
const LONGEST_STALE: Duration = Duration::from_hours(24);
/// Where clouds tell a machine its secrets, whoever asks.
const METADATA: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
];
const MOST_LEEWAY: Duration = Duration::from_mins(1);

/// Audiences that products hand out to everyone.
const NOBODY: [&str; 8] = [
    "*", "account", "all", "any", "api", "default", "public", "resource",
];

impl Auditor<'_> {
    pub(super) fn tokens(&mut self) {
        let plan = self.plan;
        for provider in plan.identity_providers() {
            self.provider(provider);
        }
        for upstream in plan.upstreams() {
            let leads_here = |target: &RouteTarget| matches!(target, RouteTarget::Upstream(to, _) if to.name == upstream.name);
            let issuers: BTreeSet<&str> = plan
                .routes()
                .iter()
                .filter(|route| leads_here(&route.target))
                .filter_map(|route| match &route.auth {
                    RouteAuth::Provider(provider) => Some(provider.issuer.as_str()),
                    RouteAuth::Anyone { .. } => None,
                })
                .collect();
            if upstream.authorization == UpstreamAuthorization::Strip && issuers.len() > 1 {
                let issuers: Vec<&str> = issuers.into_iter().collect();
                self.find(
                    &MIXED_SUBJECTS,
                    format!("{}.authorization", upstream.rule.key()),
                    format!("`{}` gets subjects of {}", upstream.name, issuers.join(" and ")),
                    "`authorization: forward`, or one upstream for each issuer",
                );
            }
        }
    }

    fn key_url(&mut self, key: &str, url: &KeyUrl) {
        let is_broad = |network: &&IpNet| {
            let fewest_bits = match network {
                IpNet::V4(_) => 24,
                IpNet::V6(_) => 64,
            };
            network.prefix_len() < fewest_bits || METADATA.iter().any(|address| network.contains(address))
        };
        if let Some(broad) = url.addresses.iter().find(is_broad) {
            self.find_item(
                &KEY_NETWORK,
                (&format!("{key}.addresses"), &broad.to_string()),
                format!("keys may come from anywhere in `{broad}`"),
                "the addresses of the issuer alone: `10.0.4.17`",
            );
        }
        if url.stale_for > LONGEST_STALE {
            self.find(
                &STALE_KEYS,
                format!("{key}.stale_for"),
                format!("old keys count for {} hours", url.stale_for.as_secs() / 3600),
                "`1h`, or as long as an outage of the issuer is to be survived",
            );
        }
    }

    fn provider(&mut self, provider: &IdentityProvider) {
        if let KeySource::Url(url) = &provider.keys {
            self.key_url(&format!("{}.keys", provider.rule.key()), url);
        }
        let key = |key: &str| format!("{}.{key}", provider.rule.key());
        let minutes = provider.max_lifetime.as_secs() / 60;
        if provider.max_lifetime > LONGEST_LIFE {
            let message = format!("tokens may live {minutes} minutes");
            self.find(
                &LONG_LIFE,
                key("max_lifetime"),
                message,
                "`15min`; a session is renewed by refresh tokens",
            );
        }
        if provider.leeway > MOST_LEEWAY {
            let message = format!("tokens stay good {} s too long", provider.leeway.as_secs());
            self.find(
                &LEEWAY,
                key("leeway"),
                message,
                "`30s`; machines keep time better than that",
            );
        }
        if !provider.requires_jti {
            self.find(
                &NO_ID,
                key("require_jti"),
                "a token need not have a `jti`",
                "let the issuer write `jti`, and remove the key",
            );
        }
        let audiences = &provider.audiences;
        if audiences.len() > 1 {
            let message = format!("a token for any of {} is accepted", audiences.join(", "));
            self.find(
                &MANY_AUDIENCES,
                key("audiences"),
                message,
                "one provider for each audience",
            );
        }
        let is_nobody = |audience: &&String| {
            NOBODY.contains(&audience.to_ascii_lowercase().as_str()) || **audience == provider.issuer
        };
        if let Some(broad) = audiences.iter().find(is_nobody) {
            let message = format!("`{broad}` is the audience of every token of this issuer");
            self.find_item(
                &BROAD_AUDIENCE,
                (&key("audiences"), broad),
                message,
                "name this API: `core-api`",
            );
        }
        if !matches!(
            provider.token_type.to_ascii_lowercase().as_str(),
            "at+jwt" | "application/at+jwt"
        ) {
            let message = format!("tokens of type `{}` are accepted", provider.token_type);
            self.find(
                &TYPE,
                key("type"),
                message,
                "`type: at+jwt`, and let the issuer write it",
            );
        }
    }
}
