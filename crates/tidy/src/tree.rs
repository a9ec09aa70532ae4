//! The files that git would commit, as text.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One committed (or about to be committed) text file.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Path relative to the repository root, with forward slashes.
    pub path: String,
    /// The whole content.
    pub text: String,
}

impl SourceFile {
    /// A file made up in a test.
    pub fn sample(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// The last component of the path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The part of the name after its last dot, or nothing.
    pub fn extension(&self) -> &str {
        self.name()
            .rsplit_once('.')
            .map_or("", |(_, extension)| extension)
    }

    /// Whether the file holds tests only: below `tests/` or `e2e/`, or a `tests.rs`.
    pub fn is_test(&self) -> bool {
        self.path.starts_with("e2e/")
            || self.path.split('/').any(|part| part == "tests")
            || self.name() == "tests.rs"
    }
}

/// The root of the checkout this crate was built from.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Every path git tracks or would add, relative to `root`, that still exists.
///
/// # Errors
/// When git cannot be run or `root` is not a checkout.
pub fn committed_paths(root: &Path) -> io::Result<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root)
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!(
            "git ls-files: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut paths: Vec<String> = listing
        .split('\0')
        .filter(|path| !path.is_empty() && root.join(path).is_file())
        .map(str::to_owned)
        .collect();
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// Reads the committed files that are UTF-8 text; others (images, fonts) are left out.
///
/// # Errors
/// As [`committed_paths`].
pub fn committed_files(root: &Path) -> io::Result<Vec<SourceFile>> {
    let paths = committed_paths(root)?;
    Ok(paths
        .into_iter()
        .filter_map(|path| {
            let text = std::fs::read_to_string(root.join(&path)).ok()?;
            Some(SourceFile { path, text })
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_file_is_in_the_tree() {
        let files = committed_files(&root()).expect("git lists the checkout");
        let me = files
            .iter()
            .find(|file| file.path == "crates/tidy/src/tree.rs")
            .expect("this file");
        assert!(me.text.contains("this_very_file_is_in_the_tree"));
        assert!(files.iter().all(|file| !file.path.starts_with("target/")));
    }

    #[test]
    fn a_directory_that_is_no_checkout_is_an_error() {
        let elsewhere = tempfile::tempdir().expect("temporary directory");
        assert!(committed_paths(elsewhere.path()).is_err());
    }

    #[test]
    fn tests_are_told_from_code() {
        for path in [
            "core-api/src/transfers/tests.rs",
            "gateway/tests/gateway/main.rs",
            "e2e/src/lib.rs",
        ] {
            assert!(SourceFile::sample(path, "").is_test(), "{path}");
        }
        assert!(!SourceFile::sample("core-api/src/transfers/store.rs", "").is_test());
    }
}
