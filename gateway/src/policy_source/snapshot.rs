//! One policy in force, with everything a request needs beside the plan prebuilt.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use keyring::{ClaimsForm, Expectations, ScopesClaim, TokenAlgorithm};
use policy::{IdentityProvider, Plan, Upstream};

use crate::tokens::TokenRules;
use crate::upstreams::Pool;

/// A compiled policy and what the gateway derives from it. A request uses one from its first to its last phase.
pub(crate) struct Snapshot {
    /// The policy.
    pub(crate) plan: Plan,
    token_rules: HashMap<String, Arc<TokenRules>>,
    pools: HashMap<String, Arc<Pool>>,
}

impl Snapshot {
    /// Derives what requests need; `socket_dir` is where `unix:` names are looked up. What is known of upstreams is
    /// taken over from the snapshot before.
    ///
    /// # Errors
    /// When an upstream's socket path cannot be one (108 bytes is the limit of the system).
    pub(crate) fn new(plan: Plan, socket_dir: &Path, previous: Option<&Self>) -> anyhow::Result<Self> {
        let token_rules = plan
            .identity_providers()
            .iter()
            .map(|provider| {
                let rules = TokenRules::new(provider, expectations(provider));
                (provider.name.clone(), Arc::new(rules))
            })
            .collect();
        let pools = plan
            .upstreams()
            .iter()
            .map(|upstream| {
                let known = previous.and_then(|previous| previous.pool(upstream));
                let pool = Pool::new(upstream, socket_dir, known.map(AsRef::as_ref))?;
                Ok((upstream.name.clone(), Arc::new(pool)))
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            plan,
            token_rules,
            pools,
        })
    }

    /// What a token of this provider must be.
    pub(crate) fn token_rules(&self, provider: &IdentityProvider) -> Option<&Arc<TokenRules>> {
        self.token_rules.get(&provider.name)
    }

    /// Every upstream.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.pools.values()
    }

    /// The addresses of an upstream.
    pub(crate) fn pool(&self, upstream: &Upstream) -> Option<&Arc<Pool>> {
        self.pools.get(&upstream.name)
    }
}

/// What a token of this provider must be.
#[must_use]
pub fn expectations(provider: &IdentityProvider) -> Expectations {
    let seconds = |time: std::time::Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    Expectations {
        issuer: provider.issuer.clone(),
        audiences: provider.audiences.clone(),
        clients: provider.clients.clone(),
        algorithms: provider
            .algorithms
            .iter()
            .map(|algorithm| match algorithm {
                policy::Algorithm::EdDsa => TokenAlgorithm::EdDSA,
                policy::Algorithm::Es256 => TokenAlgorithm::ES256,
                policy::Algorithm::Rs256 => TokenAlgorithm::RS256,
                policy::Algorithm::Ps256 => TokenAlgorithm::PS256,
            })
            .collect(),
        token_type: provider.token_type.clone(),
        max_lifetime_s: seconds(provider.max_lifetime),
        leeway_s: seconds(provider.leeway),
        form: ClaimsForm {
            scopes: match provider.scopes_claim {
                policy::ScopesClaim::Scope => ScopesClaim::Scope,
                policy::ScopesClaim::Scp => ScopesClaim::Scp,
                policy::ScopesClaim::Roles => ScopesClaim::Roles,
            },
            requires_jti: provider.requires_jti,
            requires_cnf: provider.requires_cnf,
        },
    }
}
