//! Checks that need no running system.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use service_runtime::clock::Clock;
use service_runtime::settings::variable;

use super::Finding;
use crate::data_directory::DataDirectory;
use crate::up;

/// Less free space than this is a warning.
const LITTLE_SPACE_BYTES: u64 = 1024 * 1024 * 1024;

pub(super) fn postgresql(directory: Option<&DataDirectory>) -> Finding {
    let what = "postgresql";
    let install = "run scripts/install-dependencies, or give DATABASE_URL";
    let found = match database::cluster::find_binaries() {
        Ok(found) => found,
        Err(_) if variable("DATABASE_URL").is_some() => {
            return Finding::ok(what, "not installed, and DATABASE_URL names a database");
        }
        Err(error) => return Finding::fail(what, error.to_string(), install),
    };
    let versions: Vec<String> = found.iter().map(|binaries| binaries.major.to_string()).collect();
    let made_by = directory
        .and_then(|directory| fs::read_to_string(directory.postgres().join("data").join("PG_VERSION")).ok())
        .map(|version| version.trim().to_owned());
    match made_by {
        Some(made_by) if !versions.contains(&made_by) => Finding::fail(
            what,
            format!(
                "the cluster is of version {made_by}, installed is {}",
                versions.join(", ")
            ),
            format!("install PostgreSQL {made_by}, or move the data with pg_upgrade"),
        ),
        _ => Finding::ok(what, format!("version {}", versions.join(", "))),
    }
}

pub(super) fn free_space(data_dir: &Path) -> Finding {
    let what = "disk";
    let existing = data_dir
        .ancestors()
        .find(|path| path.is_dir())
        .unwrap_or_else(|| Path::new("."));
    match rustix::fs::statvfs(existing) {
        Err(error) => Finding::warn(
            what,
            format!("{}: {error}", existing.display()),
            "is the disk mounted?",
        ),
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let detail = format!("{} MiB free for {}", free / 1024 / 1024, data_dir.display());
            if free < LITTLE_SPACE_BYTES {
                Finding::warn(what, detail, "make room, or give another --data-dir")
            } else {
                Finding::ok(what, detail)
            }
        }
    }
}

/// Secrets and private keys are their owner's alone.
pub(super) fn private_files(directory: &DataDirectory) -> Finding {
    let what = "permissions";
    let mut open: Vec<PathBuf> = Vec::new();
    let mut count: u32 = 0;
    for place in [directory.secrets(), directory.settings(), directory.tls()] {
        for entry in fs::read_dir(&place).into_iter().flatten().filter_map(Result::ok) {
            let path = entry.path();
            let is_public = path.extension().is_some_and(|extension| extension == "pem");
            count = count.saturating_add(1);
            if !is_public
                && entry
                    .metadata()
                    .is_ok_and(|metadata| metadata.mode() & 0o077 != 0)
            {
                open.push(path);
            }
        }
    }
    if open.is_empty() {
        return Finding::ok(
            what,
            format!("{count} secrets, settings and certificates, the private ones closed to others"),
        );
    }
    let names: Vec<String> = open.iter().map(|path| path.display().to_string()).collect();
    Finding::fail(
        what,
        format!("others can read {}", names.join(", ")),
        format!("chmod 600 {}", names.join(" ")),
    )
}

pub(super) fn certificates(directory: &DataDirectory) -> Finding {
    let what = "certificates";
    let now = Clock::system().now();
    let mut shortest: Option<(i64, String)> = None;
    for entry in fs::read_dir(directory.tls())
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
    {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "pem") {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        match up::not_after(&path) {
            Err(error) => {
                return Finding::fail(
                    what,
                    format!("{error:#}"),
                    "remove it, and `portico up` makes another",
                );
            }
            Ok(end) => {
                let days = (end - now).num_days();
                if shortest.as_ref().is_none_or(|(least, _)| days < *least) {
                    shortest = Some((days, name));
                }
            }
        }
    }
    match shortest {
        None => Finding::ok(what, "none yet; `portico up` makes them"),
        Some((days, name)) if days < 0 => Finding::fail(
            what,
            format!("{name} has ended"),
            "start `portico up` again: it renews what it made",
        ),
        Some((days, name)) if days < up::RENEW_BEFORE_DAYS => Finding::warn(
            what,
            format!("{name} ends in {days} days"),
            "start `portico up` again: it renews what it made",
        ),
        Some((days, name)) => Finding::ok(what, format!("the first to end is {name}, in {days} days")),
    }
}

pub(super) fn port(port: u16, option: &str) -> Finding {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Finding::ok("port", format!("{port} is free")),
        Err(error) => Finding::fail(
            "port",
            format!("{port}: {error}"),
            format!("stop what uses it, or start with another {option}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Grade;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_secret_that_others_can_read_fails_with_the_command_that_closes_it() {
        let root = tempfile::tempdir().unwrap();
        let directory = DataDirectory::make(&root.path().join("data")).unwrap();
        let secret = directory.secrets().join("kek");
        fs::write(&secret, "x").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).unwrap();
        let finding = private_files(&directory);
        assert_eq!(finding.grade, Grade::Fail);
        assert!(
            finding.fix.starts_with("chmod 600 ") && finding.fix.ends_with("kek"),
            "{}",
            finding.fix
        );

        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(private_files(&directory).grade, Grade::Ok);
    }

    #[test]
    fn a_taken_port_fails() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert_eq!(
            port(taken.local_addr().unwrap().port(), "--https-port").grade,
            Grade::Fail
        );
    }
}
