//! Our account at the authority: one, however often its making is interrupted.

use std::path::Path;

use anyhow::Context as _;
use instant_acme::{Account, AccountBuilder, AccountCredentials, Key};
use rustls_pki_types::PrivatePkcs8KeyDer;

use super::MAX_BYTES;
use crate::durable_file::{read_bounded, write_atomically};
use crate::settings::AcmeSettings;

/// Takes up the account, or makes it.
///
/// # Errors
/// When the authority cannot be reached or refuses, or the state cannot be written.
pub(super) async fn open(directory: &Path, settings: &AcmeSettings) -> anyhow::Result<Account> {
    let file = directory.join("account.json");
    if let Ok(known) = read_bounded(&file, MAX_BYTES) {
        let credentials: AccountCredentials = serde_json::from_slice(&known).context("account.json")?;
        return Ok(builder(settings)?.from_credentials(credentials).await?);
    }
    let key = key(directory)?;
    // For a key that the authority knows, it answers with the account that there is (RFC 8555 §7.3.1).
    let parsed = Key::from_pkcs8_der(key.clone_key())?;
    let (account, credentials) = builder(settings)?
        .create_from_key((parsed, key.into()), settings.directory.clone())
        .await?;
    if !settings.contacts.is_empty() {
        let contacts: Vec<&str> = settings.contacts.iter().map(String::as_str).collect();
        account.update_contacts(&contacts).await?;
    }
    write_atomically(&file, &serde_json::to_vec(&credentials)?)?;
    Ok(account)
}

/// The account's key, on disk before anybody sees it.
fn key(directory: &Path) -> anyhow::Result<PrivatePkcs8KeyDer<'static>> {
    let file = directory.join("account.der");
    if let Ok(known) = read_bounded(&file, MAX_BYTES) {
        return Ok(PrivatePkcs8KeyDer::from(known));
    }
    let (_, key) = Key::generate_pkcs8()?;
    write_atomically(&file, key.secret_pkcs8_der())?;
    Ok(key)
}

fn builder(settings: &AcmeSettings) -> anyhow::Result<AccountBuilder> {
    Ok(match &settings.root {
        Some(root) => Account::builder_with_root(root)?,
        None => Account::builder()?,
    })
}
