//! The signature of a report: Ed25519 over the exact bytes of report.json (RFC 8032).

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

/// What stands beside a report.
#[derive(Debug, Serialize, Deserialize)]
struct Signature {
    algorithm: String,
    public_key: String,
    signature: String,
}

/// The file that holds the signature of a report.
fn beside(report: &Path) -> PathBuf {
    report.with_extension("json.sig")
}

/// Signs the bytes of a report and writes the signature beside it. Returns the fingerprint of the key.
pub(super) fn sign(report: &Path, bytes: &[u8], key_file: &Path) -> anyhow::Result<String> {
    let key = load_or_make(key_file)?;
    let signature = Signature {
        algorithm: "Ed25519".to_owned(),
        public_key: STANDARD.encode(key.public_key()),
        signature: STANDARD.encode(key.sign(bytes)),
    };
    std::fs::write(beside(report), serde_json::to_vec_pretty(&signature)?)?;
    Ok(fingerprint(key.public_key().as_ref()))
}

/// Checks that a report is what was signed. Returns the fingerprint of the key, for comparison with the one you trust.
pub(super) fn verify(report: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(report).with_context(|| report.display().to_string())?;
    let file = beside(report);
    let text = std::fs::read(&file).with_context(|| file.display().to_string())?;
    let signature: Signature = serde_json::from_slice(&text)?;
    let public_key = STANDARD.decode(&signature.public_key)?;
    let checked =
        UnparsedPublicKey::new(&ED25519, &public_key).verify(&bytes, &STANDARD.decode(&signature.signature)?);
    if checked.is_err() {
        bail!(
            "{}: the signature is wrong: the report was changed after it was signed",
            report.display()
        );
    }
    Ok(fingerprint(&public_key))
}

/// Decodes base64url without padding, as tokens use it (RFC 7515 §2).
pub(super) fn decode_base64url(text: &str) -> anyhow::Result<Vec<u8>> {
    Ok(URL_SAFE_NO_PAD.decode(text)?)
}

fn load_or_make(file: &Path) -> anyhow::Result<Ed25519KeyPair> {
    match std::fs::read(file) {
        Ok(pkcs8) => Ed25519KeyPair::from_pkcs8(&pkcs8)
            .ok()
            .with_context(|| format!("{}: not a PKCS#8 Ed25519 key", file.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = Ed25519KeyPair::generate().ok().context("no randomness")?;
            let pkcs8 = key.to_pkcs8().ok().context("cannot encode the key")?;
            if let Some(parent) = file.parent() {
                std::fs::create_dir_all(parent)?;
            }
            let mut out = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(file)?;
            out.write_all(pkcs8.as_ref())?;
            Ok(key)
        }
        Err(error) => Err(error).with_context(|| file.display().to_string()),
    }
}

fn fingerprint(public_key: &[u8]) -> String {
    let hash = digest(&SHA256, public_key);
    format!("SHA256:{}", URL_SAFE_NO_PAD.encode(hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_report_does_not_verify() {
        let dir = tempfile::tempdir().unwrap();
        let (report, key) = (dir.path().join("report.json"), dir.path().join("keys/report"));
        std::fs::write(&report, b"{\"proved\":true}").unwrap();

        let signed_by = sign(&report, b"{\"proved\":true}", &key).unwrap();
        assert_eq!(verify(&report).unwrap(), signed_by);
        assert_eq!(
            sign(&report, b"{\"proved\":true}", &key).unwrap(),
            signed_by,
            "the key is made once"
        );

        std::fs::write(&report, b"{\"proved\":tru3}").unwrap();
        assert!(verify(&report).unwrap_err().to_string().contains("was changed"));
    }
}
