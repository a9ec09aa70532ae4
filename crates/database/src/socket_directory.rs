//! Directories for unix sockets: private, and short enough for the operating system.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use service_runtime::settings::variable;

use crate::cluster::ClusterError;
use crate::process::digest;

/// What a socket's path may hold on every system that we know: `sun_path` is 104 bytes on macOS, 108 on Linux.
const MAX_PATH: usize = 103;

/// Makes a directory of mode 0700 for sockets and returns it: `preferred`, or, where the path of `longest_name` in it
/// would not fit into a socket's address, one under `$XDG_RUNTIME_DIR`, `/run` or `/tmp` that is always the same for
/// the same `preferred`.
///
/// # Errors
/// When it cannot be made, or is there and belongs neither to the current user nor to `owner`.
pub fn choose(preferred: &Path, longest_name: &str, owner: Option<u32>) -> Result<PathBuf, ClusterError> {
    let fits = |directory: &Path| directory.as_os_str().len() + 1 + longest_name.len() <= MAX_PATH;
    let directory = if fits(preferred) {
        preferred.to_owned()
    } else {
        let name = format!(
            "portico-{:016x}",
            digest(preferred.as_os_str().as_encoded_bytes())
        );
        short_parents()
            .map(|parent| parent.join(&name))
            .find(|directory| fits(directory))
            .unwrap_or_else(|| Path::new("/tmp").join(&name))
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .map_err(ClusterError::file(&directory))?;
    // Somebody else may have made it first, in a directory that all may write.
    let metadata = fs::symlink_metadata(&directory).map_err(ClusterError::file(&directory))?;
    let is_ours = metadata.uid() == rustix::process::geteuid().as_raw()
        || owner.is_some_and(|uid| uid == metadata.uid());
    if !metadata.is_dir() || !is_ours {
        return Err(ClusterError::ForeignSocketDirectory(directory));
    }
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))
        .map_err(ClusterError::file(&directory))?;
    Ok(directory)
}

fn short_parents() -> impl Iterator<Item = PathBuf> {
    let of_user = variable("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|_| !rustix::process::geteuid().is_root());
    let of_root = rustix::process::geteuid()
        .is_root()
        .then(|| PathBuf::from("/run"));
    of_user
        .into_iter()
        .chain(of_root)
        .chain([PathBuf::from("/tmp")])
        .filter(|parent| parent.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_fits_is_taken_and_made_private() {
        let root = tempfile::tempdir().unwrap();
        let preferred = root.path().join("sockets");
        assert_eq!(choose(&preferred, "a.sock", None).unwrap(), preferred);
        assert_eq!(fs::metadata(&preferred).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_path_that_does_not_fit_gives_a_short_one_that_stays_the_same() {
        let root = tempfile::tempdir().unwrap();
        let preferred = root.path().join("x".repeat(120));
        let directory = choose(&preferred, "a.sock", None).unwrap();
        assert!(directory.as_os_str().len() < 60, "{}", directory.display());
        assert_eq!(choose(&preferred, "a.sock", None).unwrap(), directory);
        fs::remove_dir(directory).unwrap();
    }

    #[test]
    fn a_link_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let link = root.path().join("sockets");
        std::os::unix::fs::symlink("/etc", &link).unwrap();
        let error = choose(&link, "a.sock", None).unwrap_err();
        assert!(
            matches!(error, ClusterError::ForeignSocketDirectory(_)),
            "{error}"
        );
    }
}
