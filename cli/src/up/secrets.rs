//! Secrets of a data directory: made once, from the operating system's randomness, mode 0600, never printed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::data_directory::DataDirectory;
use crate::durable_file;

/// Bytes of every secret: 256 bits.
const LENGTH: usize = 32;
/// The version of the key-encryption key that is made here.
const FIRST_KEK: i32 = 1;

/// The secrets that exist before anything is started.
#[derive(Debug)]
pub(super) struct Secrets {
    /// The versions of the key-encryption key, raw bytes: `kek` is the first, and whoever replaces it puts `kek-<version>`
    /// beside it. One that has retired may be taken away.
    pub(super) keks: Vec<(i32, PathBuf)>,
    /// The development root, which signs which keys may sign for gateways.
    pub(super) fleet_root: PathBuf,
    /// Its public part.
    pub(super) fleet_root_public: String,
    /// What is mixed into every password hash.
    pub(super) pepper: PathBuf,
    /// Passwords of the private cluster.
    pub(super) superuser_password: String,
    pub(super) core_password: String,
    pub(super) control_password: String,
    /// Files that hold a service's database address, written once the cluster's socket is known.
    pub(super) core_url: PathBuf,
    pub(super) control_url: PathBuf,
    pub(super) owner_url: PathBuf,
}

/// Makes what is missing and reads the rest.
pub(super) fn prepare(directory: &DataDirectory) -> anyhow::Result<Secrets> {
    let secrets = directory.secrets();
    let (kek, pepper) = (secrets.join("kek"), secrets.join("pepper"));
    let mut keks = newer_keks(&secrets)?;
    // A new key would not open what the old one sealed, and a new pepper would refuse every password.
    let has_database =
        directory.postgres().join("data").exists() || directory.postgres().join("location").exists();
    if has_database {
        for path in [&kek, &pepper, &secrets.join("db_owner_password")] {
            // Which versions the database wants, the control plane knows.
            let is_replaced = *path == kek && !keks.is_empty();
            if !path.exists() && !is_replaced {
                bail!(
                    "{} is missing, and the database of this data directory depends on it: restore it, or begin anew in another --data-dir",
                    path.display()
                );
            }
        }
    }
    if kek.exists() || !has_database {
        once(&kek, || Ok(random()?.to_vec()))?;
        keks.insert(0, (FIRST_KEK, kek));
    }
    once(&pepper, || Ok(hex(&random()?).into_bytes()))?;
    let password = |name: &str| {
        let path = secrets.join(name);
        once(&path, || Ok(hex(&random()?).into_bytes()))?;
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let fleet_root = secrets.join("fleet-root.key");
    let fleet_root_public = super::fleet::root(&fleet_root)?.public();
    Ok(Secrets {
        fleet_root,
        fleet_root_public,
        superuser_password: password("db_owner_password")?,
        core_password: password("db_core_password")?,
        control_password: password("db_control_password")?,
        core_url: secrets.join("db_core"),
        control_url: secrets.join("db_control"),
        owner_url: secrets.join("db_owner"),
        keks,
        pepper,
    })
}

/// The files `kek-<version>`, lowest version first. Each is closed if others may read it.
fn newer_keks(secrets: &Path) -> anyhow::Result<Vec<(i32, PathBuf)>> {
    let mut keks = Vec::new();
    let unreadable = || format!("cannot read {}", secrets.display());
    for entry in fs::read_dir(secrets).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(version) = name.and_then(|name| name.strip_prefix("kek-")) {
            let version = version.parse().with_context(|| {
                format!(
                    "{} must be called kek-<version>, with a number from 2",
                    path.display()
                )
            })?;
            once(&path, || bail!("{} is gone", path.display()))?;
            keks.push((version, path));
        }
    }
    keks.sort();
    Ok(keks)
}

/// Makes a secret file unless it is there, and closes one that others may read.
fn once(path: &Path, make: impl FnOnce() -> anyhow::Result<Vec<u8>>) -> anyhow::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.permissions().mode() & 0o077 == 0 => Ok(()),
        Ok(_) => fs::set_permissions(path, fs::Permissions::from_mode(0o600))
            .with_context(|| format!("{} is readable by others and cannot be closed", path.display())),
        Err(_) => durable_file::write(path, &make()?, 0o600),
    }
}

fn random() -> anyhow::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    service_runtime::crypto::provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| anyhow::anyhow!("the operating system gives no randomness"))?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_made_once_and_for_the_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        let directory = DataDirectory::make(&root.path().join("data")).unwrap();
        let first = prepare(&directory).unwrap();
        let kek_of = |secrets: &Secrets| fs::read(&secrets.keks[0].1).unwrap();
        let kek = kek_of(&first);
        let second = prepare(&directory).unwrap();

        assert_eq!(kek.len(), LENGTH);
        assert_eq!(kek_of(&second), kek);
        assert_eq!(second.core_password, first.core_password);
        assert_ne!(first.core_password, first.control_password);
        for entry in fs::read_dir(directory.secrets()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(
                entry.metadata().unwrap().permissions().mode() & 0o777,
                0o600,
                "{:?}",
                entry.path()
            );
        }
        assert_eq!(
            fs::metadata(directory.secrets()).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn newer_key_encryption_keys_are_found_by_their_names() {
        let root = tempfile::tempdir().unwrap();
        let directory = DataDirectory::make(&root.path().join("data")).unwrap();
        assert_eq!(prepare(&directory).unwrap().keks.len(), 1);
        for version in ["10", "2"] {
            fs::write(directory.secrets().join(format!("kek-{version}")), [7; 32]).unwrap();
        }
        let versions: Vec<i32> = prepare(&directory)
            .unwrap()
            .keks
            .into_iter()
            .map(|(version, path)| {
                let mode = fs::metadata(path).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600);
                version
            })
            .collect();
        assert_eq!(versions, [1, 2, 10]);
        fs::write(directory.secrets().join("kek-new"), [7; 32]).unwrap();
        let refusal = prepare(&directory).unwrap_err().to_string();
        assert!(
            refusal.contains("kek-new must be called kek-<version>"),
            "{refusal}"
        );
    }

    #[test]
    fn a_secret_that_others_could_read_is_closed() {
        let root = tempfile::tempdir().unwrap();
        let directory = DataDirectory::make(&root.path().join("data")).unwrap();
        let secrets = prepare(&directory).unwrap();
        fs::set_permissions(&secrets.pepper, fs::Permissions::from_mode(0o644)).unwrap();
        prepare(&directory).unwrap();
        assert_eq!(
            fs::metadata(&secrets.pepper).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_lost_key_is_not_replaced_when_a_database_depends_on_it() {
        let root = tempfile::tempdir().unwrap();
        let directory = DataDirectory::make(&root.path().join("data")).unwrap();
        let secrets = prepare(&directory).unwrap();
        fs::create_dir_all(directory.postgres().join("data")).unwrap();
        let kek = &secrets.keks[0].1;
        fs::remove_file(kek).unwrap();

        let refusal = prepare(&directory).unwrap_err().to_string();
        assert!(refusal.contains("secrets/kek is missing"), "{refusal}");
        assert!(!kek.exists());

        // Another version is there: whether it is enough, the database says.
        fs::write(directory.secrets().join("kek-2"), [7; 32]).unwrap();
        let keks = prepare(&directory).unwrap().keks;
        assert_eq!(keks.iter().map(|(version, _)| *version).collect::<Vec<_>>(), [2]);
        assert!(!kek.exists());
    }
}
