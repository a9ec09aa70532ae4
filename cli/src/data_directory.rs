//! The data directory of `portico up`: what lies where, and who may use it.

use std::fs;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// The data directory of one system. Paths in it are absolute.
#[derive(Debug, Clone)]
pub(crate) struct DataDirectory {
    root: PathBuf,
}

impl DataDirectory {
    /// An existing directory.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let root = path.canonicalize().with_context(|| {
            format!(
                "no data directory at {} (start one with `portico up`, or give --data-dir)",
                path.display()
            )
        })?;
        Ok(Self { root })
    }

    /// Makes the directory and its parts where they are missing.
    pub(crate) fn make(path: &Path) -> anyhow::Result<Self> {
        // Started by root, PostgreSQL is another user who must pass through; what is secret has its own directories.
        let mode = if rustix::process::geteuid().is_root() {
            0o711
        } else {
            0o700
        };
        make(path, mode)?;
        let directory = Self::open(path)?;
        for private in [
            directory.secrets(),
            directory.settings(),
            directory.tls(),
            directory.fleet(),
            directory.gateway(),
            directory.keys(),
            directory.logs(),
        ] {
            make(&private, 0o700)?;
        }
        make(&directory.run(), 0o700)?;
        Ok(directory)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn secrets(&self) -> PathBuf {
        self.root.join("secrets")
    }

    pub(crate) fn settings(&self) -> PathBuf {
        self.root.join("settings")
    }

    pub(crate) fn settings_of(&self, service: &str) -> PathBuf {
        self.settings().join(format!("{service}.yaml"))
    }

    pub(crate) fn tls(&self) -> PathBuf {
        self.root.join("tls")
    }

    /// Certificates with which the control plane and its gateway know each other.
    pub(crate) fn fleet(&self) -> PathBuf {
        self.root.join("fleet")
    }

    pub(crate) fn gateway(&self) -> PathBuf {
        self.root.join("gateway")
    }

    /// Where the user puts the key sets of other issuers.
    pub(crate) fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub(crate) fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// What core-api would have sent, one file each.
    pub(crate) fn mail(&self) -> PathBuf {
        self.root.join("mail")
    }

    pub(crate) fn postgres(&self) -> PathBuf {
        self.root.join("postgres")
    }

    pub(crate) fn policies(&self) -> PathBuf {
        self.root.join("policies")
    }

    pub(crate) fn endpoints(&self) -> PathBuf {
        self.root.join("endpoints.json")
    }

    pub(crate) fn tour(&self) -> PathBuf {
        self.root.join("tour.sh")
    }

    /// Takes the directory for one `up`; the lock ends with the process.
    pub(crate) fn lock(&self) -> anyhow::Result<fs::File> {
        let path = self.root.join("lock");
        let mut options = fs::OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let mut file = options
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        if file.try_lock().is_err() {
            let mut holder = String::new();
            file.read_to_string(&mut holder).context("cannot read the lock")?;
            bail!(
                "another `portico up` (process {}) runs in {}: stop it, or give another --data-dir",
                holder.trim(),
                self.root.display()
            );
        }
        file.set_len(0).context("cannot write the lock")?;
        file.rewind().context("cannot write the lock")?;
        writeln!(file, "{}", std::process::id()).context("cannot write the lock")?;
        Ok(file)
    }
}

fn make(path: &Path, mode: u32) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .with_context(|| format!("cannot make {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_serves_one_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let directory = DataDirectory::make(&root.path().join("data")).unwrap();
        let held = directory.lock().unwrap();
        let refusal = directory.lock().unwrap_err().to_string();
        assert!(
            refusal.contains(&format!("process {}", std::process::id())),
            "{refusal}"
        );
        drop(held);
        directory.lock().unwrap();
    }
}
