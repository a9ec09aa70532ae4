//! One policy in force, with everything a request needs beside the plan prebuilt.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use keyring::{Algorithm, Expectations};
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use policy::{IdentityProvider, Plan, Upstream, UpstreamAddress};

use crate::tokens::TokenRules;

/// Pooled upstream connections are closed after this long without a request, before the upstream would.
const UPSTREAM_IDLE: std::time::Duration = std::time::Duration::from_secs(30);

/// A compiled policy and what the gateway derives from it. A request uses one from its first to its last phase.
pub(crate) struct Snapshot {
    /// The policy.
    pub(crate) plan: Plan,
    token_rules: HashMap<String, TokenRules>,
    peers: HashMap<String, HttpPeer>,
    /// Upstream and path.
    sockets: Vec<(String, PathBuf)>,
}

impl Snapshot {
    /// Derives what requests need; `socket_dir` is where `unix:` names are looked up.
    ///
    /// # Errors
    /// When an upstream's socket path cannot be one (108 bytes is the limit of the system).
    pub(crate) fn new(plan: Plan, socket_dir: &Path) -> anyhow::Result<Self> {
        let token_rules = plan
            .identity_providers()
            .iter()
            .map(|provider| {
                let rules = TokenRules::new(provider, expectations(provider));
                (provider.name.clone(), rules)
            })
            .collect();
        let peers = plan
            .upstreams()
            .iter()
            .map(|upstream| Ok((upstream.name.clone(), peer(upstream, socket_dir)?)))
            .collect::<anyhow::Result<_>>()?;
        let sockets = plan
            .upstreams()
            .iter()
            .filter_map(|upstream| match &upstream.address {
                UpstreamAddress::Unix(name) => Some((upstream.name.clone(), socket_dir.join(name))),
                UpstreamAddress::Http(_) => None,
            })
            .collect();
        Ok(Self {
            plan,
            token_rules,
            peers,
            sockets,
        })
    }

    /// What a token of this provider must be.
    pub(crate) fn token_rules(&self, provider: &IdentityProvider) -> Option<&TokenRules> {
        self.token_rules.get(&provider.name)
    }

    /// The upstreams behind unix sockets: those that stop and start together with this gateway.
    pub(crate) fn sockets(&self) -> &[(String, PathBuf)] {
        &self.sockets
    }

    /// The peer of an upstream, without timeouts.
    pub(crate) fn peer(&self, upstream: &Upstream) -> Option<&HttpPeer> {
        self.peers.get(&upstream.name)
    }
}

/// What a token of this provider must be.
#[must_use]
pub fn expectations(provider: &IdentityProvider) -> Expectations {
    let seconds = |time: std::time::Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    Expectations {
        issuer: provider.issuer.clone(),
        audiences: provider.audiences.clone(),
        algorithms: provider
            .algorithms
            .iter()
            .map(|algorithm| match algorithm {
                policy::Algorithm::EdDsa => Algorithm::EdDSA,
                policy::Algorithm::Es256 => Algorithm::ES256,
            })
            .collect(),
        token_type: provider.token_type.clone(),
        max_lifetime_s: seconds(provider.max_lifetime),
        leeway_s: seconds(provider.leeway),
    }
}

fn peer(upstream: &Upstream, socket_dir: &Path) -> anyhow::Result<HttpPeer> {
    let mut peer = match &upstream.address {
        UpstreamAddress::Http(address) => HttpPeer::new(address, false, String::new()),
        UpstreamAddress::Unix(name) => {
            let path = socket_dir.join(name);
            let text = path
                .to_str()
                .with_context(|| format!("upstream {}: the path is not UTF-8", upstream.name))?;
            HttpPeer::new_uds(text, false, String::new())
                .map_err(|error| anyhow::anyhow!("upstream {}: {text}: {error}", upstream.name))?
        }
    };
    peer.options.idle_timeout = Some(UPSTREAM_IDLE);
    peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
    Ok(peer)
}
