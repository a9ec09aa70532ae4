//! Finds the PostgreSQL server binaries of this host.

use std::path::{Path, PathBuf};
use std::process::Command;

use service_runtime::settings::variable;

use super::error::ClusterError;

/// One installed PostgreSQL server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// The directory that holds `postgres` and `initdb`.
    pub directory: PathBuf,
    /// Major version, such as 15.
    pub major: u32,
}

impl Binaries {
    /// The path of one program.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn at(directory: &Path) -> Option<Self> {
        let is_complete = ["postgres", "initdb"]
            .iter()
            .all(|name| directory.join(name).is_file());
        if !is_complete {
            return None;
        }
        let output = Command::new(directory.join("postgres"))
            .arg("--version")
            .output()
            .ok()?;
        let major = major_of(&String::from_utf8_lossy(&output.stdout))?;
        Some(Self {
            directory: directory.to_owned(),
            major,
        })
    }
}

/// All servers of this host, the newest first. `PG_BIN`, when set, is the only one.
///
/// # Errors
/// [`ClusterError::NoBinaries`] when there is none.
pub fn find() -> Result<Vec<Binaries>, ClusterError> {
    let candidates = match variable("PG_BIN") {
        Some(directory) => vec![PathBuf::from(directory)],
        None => candidates(),
    };
    let mut found: Vec<Binaries> = Vec::new();
    for directory in candidates {
        if let Some(binaries) = Binaries::at(&directory)
            && !found.iter().any(|known| known.major == binaries.major)
        {
            found.push(binaries);
        }
    }
    found.sort_by_key(|binaries| std::cmp::Reverse(binaries.major));
    if found.is_empty() {
        Err(ClusterError::NoBinaries)
    } else {
        Ok(found)
    }
}

fn candidates() -> Vec<PathBuf> {
    let mut directories = Vec::new();
    // Debian and Ubuntu; Red Hat's packages of the PostgreSQL project; Homebrew on Apple silicon and on Intel.
    for (parent, prefix) in [
        ("/usr/lib/postgresql", ""),
        ("/usr", "pgsql-"),
        ("/opt/homebrew/opt", "postgresql@"),
        ("/usr/local/opt", "postgresql@"),
    ] {
        let entries = std::fs::read_dir(parent)
            .into_iter()
            .flatten()
            .filter_map(Result::ok);
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        directories.extend(
            names
                .filter(|name| {
                    name.strip_prefix(prefix)
                        .is_some_and(|version| version.parse::<u32>().is_ok())
                })
                .map(|name| Path::new(parent).join(name).join("bin")),
        );
    }
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        directories.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    directories.extend(variable("PATH").iter().flat_map(std::env::split_paths));
    directories
}

/// `postgres (PostgreSQL) 15.18 (Debian …)` → 15.
fn major_of(version: &str) -> Option<u32> {
    let number = version
        .split_whitespace()
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn major_versions_are_read() {
        assert_eq!(
            major_of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"),
            Some(15)
        );
        assert_eq!(major_of("postgres (PostgreSQL) 18beta2"), Some(18));
        assert_eq!(major_of("postgres"), None);
    }

    #[test]
    fn a_directory_without_a_server_is_no_installation() {
        assert_eq!(Binaries::at(Path::new("/nonexistent")), None);
    }
}
