//! A root key in a file: PKCS#8 in PEM, for its owner alone.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleet::{Signature, TrustedKey};
use keyring::{Algorithm, SigningKey};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

use crate::Unreadable;

/// What the file says that it holds (RFC 7468 §10).
const LABEL: &str = "PRIVATE KEY";
/// Characters of base64 in a line of PEM.
const LINE: usize = 64;

/// A root key.
pub(crate) struct RootFile(SigningKey);

impl RootFile {
    /// Makes a key and its file. An existing file is never overwritten: what it has signed would be worth nothing.
    pub(crate) fn make(path: &Path) -> anyhow::Result<Self> {
        let key = SigningKey::generate(Algorithm::EdDSA).context("cannot make a key")?;
        let document = STANDARD.encode(key.to_pkcs8().context("cannot encode the key")?.as_slice());
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("{}: a key is never overwritten", path.display()))?;
        let mut text = format!("-----BEGIN {LABEL}-----\n");
        let (lines, last) = document.as_bytes().as_chunks::<LINE>();
        for line in lines.iter().map(<[u8; LINE]>::as_slice).chain([last]) {
            text.push_str(std::str::from_utf8(line)?);
            text.push('\n');
        }
        text.push_str(&format!("-----END {LABEL}-----\n"));
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        Ok(Self(key))
    }

    /// Reads a key from its file.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let unreadable = |why: String| Unreadable(format!("{}: {why}", path.display()));
        let metadata = fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
        if metadata.permissions().mode() & 0o077 != 0 {
            bail!(
                "{}: others can read this key: `chmod 600` it, and ask who has",
                path.display()
            );
        }
        let pem = fs::read(path).map_err(|error| unreadable(error.to_string()))?;
        let no_key = || unreadable("no Ed25519 key (PKCS#8 in PEM)".to_owned());
        let PrivateKeyDer::Pkcs8(document) = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| no_key())?
        else {
            return Err(no_key().into());
        };
        let key =
            SigningKey::from_pkcs8(Algorithm::EdDSA, document.secret_pkcs8_der()).map_err(|_| no_key())?;
        Ok(Self(key))
    }

    /// Its public part, as `fleet.roots` has it.
    pub(crate) fn public(&self) -> String {
        TrustedKey::new(self.0.public(), 0, 0).public
    }

    /// Its signature over these bytes.
    pub(crate) fn sign(&self, bytes: &[u8]) -> anyhow::Result<Signature> {
        Ok(Signature {
            keyid: self.0.kid().to_owned(),
            sig: self.0.sign_bytes(bytes).context("cannot sign")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_key_is_made_once_and_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root.key");
        let made = RootFile::make(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(RootFile::open(&path).unwrap().public(), made.public());
        let again = RootFile::make(&path).err().unwrap();
        assert!(format!("{again:#}").contains("never overwritten"), "{again:#}");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(
            RootFile::open(&path)
                .err()
                .unwrap()
                .to_string()
                .contains("others can read")
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "no key").unwrap();
        assert!(
            RootFile::open(&path)
                .err()
                .unwrap()
                .to_string()
                .contains("no Ed25519 key")
        );
    }
}
