//! The signatures of a report: Ed25519 over the exact bytes of report.json and of report.html (RFC 8032), each in a file
//! of its own beside it.

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

/// The file that holds the signature of a report: `report.json.sig`, `report.html.sig`.
fn beside(report: &Path) -> PathBuf {
    let mut name = report.as_os_str().to_owned();
    name.push(".sig");
    PathBuf::from(name)
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

/// Checks that a report is what was signed by the key that lies beside it, and that this is the `trusted` one where a
/// fingerprint is given. Returns the fingerprint of the key.
///
/// Without `trusted`, whoever can change the report can also sign it anew.
pub(super) fn verify(report: &Path, trusted: Option<&str>) -> anyhow::Result<String> {
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
    let signed_by = fingerprint(&public_key);
    if let Some(trusted) = trusted.filter(|trusted| *trusted != signed_by) {
        bail!(
            "{}: signed by another key than the trusted one: by {signed_by}, not by {trusted}",
            report.display()
        );
    }
    Ok(signed_by)
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
        assert_eq!(verify(&report, None).unwrap(), signed_by);
        assert_eq!(
            sign(&report, b"{\"proved\":true}", &key).unwrap(),
            signed_by,
            "the key is made once"
        );

        std::fs::write(&report, b"{\"proved\":tru3}").unwrap();
        assert!(
            verify(&report, Some(&signed_by))
                .unwrap_err()
                .to_string()
                .contains("was changed")
        );
    }

    #[test]
    fn a_forgery_that_is_signed_anew_is_refused_with_the_trusted_key() {
        let dir = tempfile::tempdir().unwrap();
        let (report, forged) = (dir.path().join("report.json"), b"{\"proved\":true}");
        std::fs::write(&report, b"{\"proved\":false}").unwrap();
        let trusted = sign(&report, b"{\"proved\":false}", &dir.path().join("auditor")).unwrap();
        assert_eq!(verify(&report, Some(&trusted)).unwrap(), trusted);

        std::fs::write(&report, forged).unwrap();
        let forger = sign(&report, forged, &dir.path().join("forger")).unwrap();
        let refusal = verify(&report, Some(&trusted)).unwrap_err().to_string();
        assert!(
            refusal.contains(&forger) && refusal.contains(&trusted),
            "{refusal}"
        );
        assert_eq!(
            verify(&report, None).unwrap(),
            forger,
            "the signature itself is right"
        );
    }
}
