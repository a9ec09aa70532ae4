//! How far a replacement of the key-encryption key has come, as Prometheus sees it.

use std::sync::LazyLock;

use database::Pool;
use prometheus::{IntGaugeVec, Opts};
use service_runtime::metrics::registry;

use super::store;

static SEALED: LazyLock<Option<IntGaugeVec>> = LazyLock::new(|| match register() {
    Ok(sealed) => Some(sealed),
    Err(error) => {
        tracing::error!(%error, "the metric of the key-encryption key cannot be registered");
        None
    }
});

fn register() -> prometheus::Result<IntGaugeVec> {
    let help = "Private keys that need this version of the key-encryption key; a rewrap is done when only one version has any.";
    let sealed = IntGaugeVec::new(Opts::new("portico_kek_sealed_keys", help), &["version"])?;
    registry().register(Box::new(sealed.clone()))?;
    Ok(sealed)
}

/// Shows how many private keys need each version, as the database has it now.
///
/// # Errors
///
/// When the database does not answer.
pub(crate) async fn show_sealed(db: &Pool) -> sqlx::Result<()> {
    let Some(sealed) = SEALED.as_ref() else {
        return Ok(());
    };
    let mut conn = db.acquire().await?;
    for kek in store::all(&mut conn).await? {
        let version = kek.version.to_string();
        sealed.with_label_values(&[version.as_str()]).set(kek.sealed_keys);
    }
    Ok(())
}
