//! One crypto provider for the whole process: aws-lc-rs.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// The provider with the hybrid post-quantum key exchange X25519MLKEM768 in first place.
#[must_use]
pub fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider
        .kx_groups
        .sort_by_key(|group| group.name() != rustls::NamedGroup::X25519MLKEM768);
    provider
}

/// Makes [`provider`] the default of the process. Must run before anything speaks TLS; a second call changes nothing.
pub fn install_provider() {
    // `Err` means that a provider is installed already: the first one stays.
    drop(provider().install_default());
}

/// The provider as `ServerConfig::builder_with_provider` wants it.
#[must_use]
pub fn shared_provider() -> Arc<CryptoProvider> {
    Arc::new(provider())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hybrid_key_exchange_is_offered_first() {
        assert_eq!(
            provider().kx_groups.first().unwrap().name(),
            rustls::NamedGroup::X25519MLKEM768
        );
    }
}
