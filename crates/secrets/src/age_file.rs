//! Files that are encrypted with age to X25519 identities (age-encryption.org/v1).

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret as _;

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
        not_too_long(plaintext)
    }
}

fn not_too_long(plaintext: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, Fault> {
    if u64::try_from(plaintext.len()).is_ok_and(|length| length <= LONGEST) {
        Ok(plaintext)
    } else {
        Err(Fault::Malformed(format!("holds more than {LONGEST} bytes")))
    }
}

/// Makes an identity for age files (mode 0600), unless the file is there; whether it was made.
///
/// # Errors
///
/// When it cannot be written.
pub fn make_identity(file: &Path) -> Result<bool, Fault> {
    let identity = age::x25519::Identity::generate();
    let secret = identity.to_string();
    let text = Zeroizing::new(format!(
        "# public key: {}\n{}\n",
        identity.to_public(),
        secret.expose_secret()
    ));
    match write_new(file, text.as_bytes()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Fault::Missing(error.to_string())),
    }
}

/// Encrypts a plain file to every identity of a file, and opens the result again: what cannot be opened is not left behind. A file
/// that is there is never overwritten.
///
/// # Errors
///
/// When a file cannot be read or written, or the identities are none.
pub fn seal_file(plain: &Path, sealed: &Path, identity_file: &Path) -> Result<(), Fault> {
    let missing = |error: io::Error| Fault::Missing(error.to_string());
    let malformed = |error: &dyn std::fmt::Display| Fault::Malformed(format!("age identities: {error}"));
    let mut plaintext = Zeroizing::new(Vec::new());
    let file = File::open(plain).map_err(missing)?;
    file.take(LONGEST.saturating_add(1))
        .read_to_end(&mut plaintext)
        .map_err(missing)?;
    let plaintext = not_too_long(plaintext)?;
    let recipients = age::IdentityFile::from_file(identity_file.display().to_string())
        .map_err(|error| malformed(&error))?
        .to_recipients()
        .map_err(|error| malformed(&error))?;
    let recipients = recipients
        .iter()
        .map(|recipient| &**recipient as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients).map_err(|error| malformed(&error))?;
    let mut ciphertext = Vec::new();
    let mut writer = encryptor.wrap_output(&mut ciphertext).map_err(missing)?;
    writer.write_all(&plaintext).map_err(missing)?;
    writer.finish().map_err(missing)?;
    write_new(sealed, &ciphertext).map_err(missing)?;
    let files = AgeFiles {
        identity_file: identity_file.to_owned(),
    };
    let opened = files.read(sealed);
    if opened.is_ok_and(|opened| *opened == *plaintext) {
        return Ok(());
    }
    fs::remove_file(sealed).map_err(missing)?;
    Err(Fault::Malformed("what was sealed does not open".to_owned()))
}

/// For its owner alone, and on the disk.
fn write_new(file: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {

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
            fs::write(at(name), text).unwrap();
        }
        let mut sealed = age::encrypt(&ours.to_public(), b"pepper: s3cret\n").unwrap();
        fs::write(at("good.age"), &sealed).unwrap();
        *sealed.last_mut().unwrap() ^= 1;
        fs::write(at("bad.age"), &sealed).unwrap();
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

    #[test]
    fn what_is_sealed_opens_with_the_identity_that_was_made_and_nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert!(make_identity(&at("identity")).unwrap());
        assert!(
            !make_identity(&at("identity")).unwrap(),
            "the one that is there stays"
        );
        fs::write(at("plain"), "postgresql://canary\n").unwrap();
        seal_file(&at("plain"), &at("plain.age"), &at("identity")).unwrap();
        let sealed = fs::read(at("plain.age")).unwrap();
        assert!(!String::from_utf8_lossy(&sealed).contains("canary"));
        let files = AgeFiles {
            identity_file: at("identity"),
        };
        assert_eq!(
            files.read(&at("plain.age")).unwrap().as_slice(),
            b"postgresql://canary\n"
        );
        for name in ["identity", "plain.age"] {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(at(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let again = seal_file(&at("plain"), &at("plain.age"), &at("identity"));
        assert!(matches!(again, Err(Fault::Missing(_))), "{again:?}");
        assert_eq!(fs::read(at("plain.age")).unwrap(), sealed);
        fs::write(at("nobody"), "no identity").unwrap();
        assert!(seal_file(&at("plain"), &at("other.age"), &at("nobody")).is_err());
        assert!(!at("other.age").exists());
    }
}
