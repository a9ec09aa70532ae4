//! Makes a new cluster: under a temporary name, so that a half-finished one is never taken for a whole one.

use std::fs;
use std::path::Path;

use super::SUPERUSER;
use super::binaries::Binaries;
use super::configuration;
use super::error::ClusterError;
use super::place::Place;

pub(super) fn init(place: &Place, binaries: &Binaries, password: &str) -> Result<(), ClusterError> {
    let unfinished = place.home.join("data.unfinished");
    let password_file = place.home.join("initial-password");
    place.write(&password_file, password, 0o600)?;
    // Where the system has no C.UTF-8, plain C sorts the same way.
    let mut outcome = Ok(());
    for locale in ["C.UTF-8", "C"] {
        remove(&unfinished)?;
        outcome = run_initdb(place, binaries, &unfinished, &password_file, locale);
        if outcome.is_ok() {
            break;
        }
    }
    fs::remove_file(&password_file).map_err(ClusterError::file(&password_file))?;
    if let Err(error) = outcome {
        remove(&unfinished)?;
        return Err(error);
    }
    let main_file = unfinished.join("postgresql.conf");
    let written = fs::read_to_string(&main_file).map_err(ClusterError::file(&main_file))?;
    place.write(
        &main_file,
        &format!("{written}\ninclude_if_exists = '{}'\n", configuration::FILE),
        0o600,
    )?;
    // Everything was flushed by initdb; the new name must be too.
    fs::rename(&unfinished, &place.data).map_err(ClusterError::file(&place.data))?;
    fs::File::open(&place.home)
        .and_then(|home| home.sync_all())
        .map_err(ClusterError::file(&place.home))
}

fn run_initdb(
    place: &Place,
    binaries: &Binaries,
    target: &Path,
    password_file: &Path,
    locale: &str,
) -> Result<(), ClusterError> {
    let initdb = binaries.program("initdb");
    let output = place
        .command(&initdb)
        .arg("--pgdata")
        .arg(target)
        .arg("--pwfile")
        .arg(password_file)
        .args([
            "--username",
            SUPERUSER,
            "--auth",
            "scram-sha-256",
            "--data-checksums",
            "--encoding",
            "UTF8",
        ])
        .args(["--locale", locale])
        .output()
        .map_err(ClusterError::file(&initdb))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    // `2026-01-31 10:15:00 UTC [4711] FATAL:  could not write …` is said without what comes before it.
    let complaint = words
        .lines()
        .find_map(|line| line.split_once("error:").or_else(|| line.split_once("FATAL:")));
    let reason = complaint
        .map(|(_, reason)| reason)
        .or_else(|| words.lines().last());
    Err(ClusterError::Init(
        reason.unwrap_or("it said nothing").trim().to_owned(),
    ))
}

fn remove(directory: &Path) -> Result<(), ClusterError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ClusterError::file(directory)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
