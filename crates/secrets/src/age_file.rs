//! Files that are encrypted with age to X25519 identities (age-encryption.org/v1).

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::{AgeSettings, Fault};

/// Longest plaintext that is read, bytes.
const LONGEST: u64 = 1 << 20;

/// Opens age files with the identities of one file.
#[derive(Debug, Clone)]
pub(crate) struct AgeFiles {
    identity_file: PathBuf,
}

impl AgeFiles {
    pub(crate) fn new(settings: &AgeSettings) -> Self {
        Self {
            identity_file: settings.identity_file.clone(),
        }
    }

    /// The plaintext of a file.
    pub(crate) fn read(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let identities = age::IdentityFile::from_file(self.identity_file.display().to_string())
            .map_err(|error| Fault::Malformed(format!("age identities: {error}")))?
            .into_identities()
            .map_err(|error| Fault::Malformed(format!("age identities: {error}")))?;
        let file = File::open(path).map_err(|error| Fault::Missing(error.to_string()))?;
        let said = |error: age::DecryptError| match error {
            age::DecryptError::NoMatchingKeys => Fault::Refused(format!(
                "is not encrypted to an identity of {}",
                self.identity_file.display()
            )),
            other => Fault::Malformed(format!("is no age file that can be opened: {other}")),
        };
        let decryptor = age::Decryptor::new_buffered(BufReader::new(file)).map_err(said)?;
        let reader = decryptor
            .decrypt(
                identities
                    .iter()
                    .map(|identity| &**identity as &dyn age::Identity),
            )
            .map_err(said)?;
        let mut plaintext = Zeroizing::new(Vec::new());
        reader
            .take(LONGEST.saturating_add(1))
            .read_to_end(&mut plaintext)
            .map_err(|_| Fault::Malformed("is damaged: its content does not decrypt".to_owned()))?;
        if u64::try_from(plaintext.len()).is_ok_and(|length| length <= LONGEST) {
            Ok(plaintext)
        } else {
            Err(Fault::Malformed(format!("holds more than {LONGEST} bytes")))
        }
    }
}

#[cfg(test)]
mod tests {
    use age::secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_file_opens_for_its_identity_only_and_not_when_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (ours, other) = (
            age::x25519::Identity::generate(),
            age::x25519::Identity::generate(),
        );
        for (name, identity) in [("ours", &ours), ("other", &other)] {
            let text = format!("# made by age-keygen\n{}\n", identity.to_string().expose_secret());
            std::fs::write(at(name), text).unwrap();
        }
        let mut sealed = age::encrypt(&ours.to_public(), b"pepper: s3cret\n").unwrap();
        std::fs::write(at("good.age"), &sealed).unwrap();
        *sealed.last_mut().unwrap() ^= 1;
        std::fs::write(at("bad.age"), &sealed).unwrap();
        let with = |identity: &str| {
            AgeFiles::new(&AgeSettings {
                identity_file: at(identity),
            })
        };

        assert_eq!(
            with("ours").read(&at("good.age")).unwrap().as_slice(),
            b"pepper: s3cret\n"
        );
        assert!(matches!(
            with("other").read(&at("good.age")),
            Err(Fault::Refused(_))
        ));
        assert!(matches!(
            with("ours").read(&at("bad.age")),
            Err(Fault::Malformed(_))
        ));
        assert!(matches!(
            with("ours").read(&at("none.age")),
            Err(Fault::Missing(_))
        ));
        assert!(matches!(with("ours").read(&at("ours")), Err(Fault::Malformed(_))));
        let fault = with("good.age").read(&at("good.age")).unwrap_err();
        assert!(!fault.to_string().contains("AGE-SECRET"), "{fault}");
    }
}
