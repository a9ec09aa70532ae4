//! An issuer of the claims' own: its keys lie in a file, and its tokens live as short as a claim wants them.

use std::fs;

use keyring::{Algorithm, Claims, KeySet, KeyState, SigningKey};
use service_runtime::clock::Clock;
use trial::edge::{Place, Site};

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "bank";

/// How a route asks for its tokens.
pub(super) const AUTH: &str = "auth: people, scopes: []";

/// An issuer that the gateways of a site know as `people`.
pub(super) struct Issuer(SigningKey);

impl Issuer {
    /// Writes its keys and how its tokens look into a site.
    pub(super) fn in_site(site: &Site) -> anyhow::Result<Self> {
        let key = SigningKey::generate(Algorithm::EdDSA)?;
        let set = KeySet {
            seq: 1,
            keys: vec![key.public_key(KeyState::Active)],
            revoked_kids: Vec::new(),
        };
        fs::create_dir(site.path("keys"))?;
        site.write("keys/people.json", &set.to_jwks().to_string())?;
        let people = format!(
            "{{ issuer: {ISSUER}, audiences: [{AUDIENCE}], algorithms: [EdDSA], type: at+jwt, max_lifetime: 10min, leeway: 0s, keys: file:people.json }}"
        );
        // A route of its own: a policy with an issuer that no route asks for is refused.
        let route = format!("{{ match: {{ method: GET, path: /whoami }}, {AUTH}, upstream: core }}");
        site.write(
            "policies/identity.yaml",
            &format!("version: 1\nidentity:\n  people: {people}\nroutes:\n  whoami: {route}\n"),
        )?;
        Ok(Self(key))
    }

    /// A place for a gateway that reads its keys.
    pub(super) fn place(site: &Site) -> Place {
        Place {
            more: format!("key_dir: {}\n", site.path("keys").display()),
            ..Place::anywhere("gateway")
        }
    }

    /// A token of this session of somebody, which ends so many seconds from now; it has ended when they are negative.
    pub(super) fn token(&self, subject: &str, session: &str, seconds: i64) -> anyhow::Result<String> {
        let now = Clock::system().now().timestamp();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: subject.to_owned(),
            aud: vec![AUDIENCE.to_owned()],
            exp: now + seconds,
            iat: now.min(now + seconds) - 60,
            nbf: None,
            jti: Some(format!("{session}-{seconds}")),
            sid: Some(session.to_owned()),
            tid: None,
            client_id: None,
            scope: Vec::new(),
        };
        Ok(self.0.sign(&claims)?)
    }
}
