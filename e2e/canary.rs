//! Secrets to look for: in every form in which they could have come to a place where they must not be.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use regex::bytes::Regex;

/// A secret that must not be found.
pub(crate) struct Canary {
    pub(crate) name: String,
    /// Itself, and what it becomes in hexadecimal and base64.
    pub(crate) forms: Vec<Vec<u8>>,
    pattern: Regex,
}

impl Canary {
    pub(crate) fn new(name: &str, bytes: &[u8]) -> Self {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut forms = vec![bytes.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
        // In base64 it depends on what comes before where a group begins, and on what follows how the last one ends.
        for rest in [bytes, &bytes[1..], &bytes[2..]] {
            let whole = &rest[..rest.len() / 3 * 3];
            forms.push(STANDARD_NO_PAD.encode(whole).into_bytes());
            forms.push(URL_SAFE_NO_PAD.encode(whole).into_bytes());
        }
        assert!(bytes.len() >= 12, "{name} is too short to be found by accident");
        let form = |form: &Vec<u8>| {
            form.iter()
                .map(|byte| format!("\\x{byte:02x}"))
                .collect::<String>()
        };
        let either = forms.iter().map(form).collect::<Vec<_>>().join("|");
        Self {
            name: name.to_owned(),
            forms,
            pattern: Regex::new(&format!("(?s-u:{either})")).unwrap(),
        }
    }

    pub(crate) fn is_in(&self, text: &[u8]) -> bool {
        self.pattern.is_match(text)
    }
}

/// Every place where one of them is.
pub(crate) fn hits(canaries: &[Canary], place: &str, text: &[u8]) -> Vec<String> {
    canaries
        .iter()
        .filter(|canary| canary.is_in(text))
        .map(|canary| format!("{} in {place}", canary.name))
        .collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files.extend(files_below(&entry.path()));
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files
}

pub(crate) fn hits_below(canaries: &[Canary], folder: &Path, but: &[PathBuf]) -> Vec<String> {
    files_below(folder)
        .into_iter()
        .filter(|file| !but.iter().any(|but| file.starts_with(but)))
        .flat_map(|file| match std::fs::read(&file) {
            Ok(text) => hits(canaries, &file.display().to_string(), &text),
            // Gone since it was listed, as PostgreSQL's files are now and then.
            Err(_) => Vec::new(),
        })
        .collect()
}

/// The secrets that `portico up` made: each is in a file of this folder and in no other place.
pub(crate) fn made(secrets: &Path) -> Vec<Canary> {
    [
        "kek",
        "pepper",
        "db_owner_password",
        "db_core_password",
        "db_control_password",
    ]
    .map(|name| Canary::new(name, &std::fs::read(secrets.join(name)).unwrap()))
    .into()
}

/// The files of private keys below a folder.
pub(crate) fn key_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = files_below(folder);
    files.retain(|file| file.extension().is_some_and(|extension| extension == "key"));
    files
}

/// A private key in PKCS#8: its 32 bytes, and the line of the file that has most of them.
pub(crate) fn private_key(file: &Path) -> [Canary; 2] {
    // An octet string of 32 bytes, of P-256 (RFC 5915 §3) as of Ed25519 (RFC 8410 §7).
    const BEFORE: [u8; 2] = [4, 32];
    /// What a line of PEM holds.
    const LINE_BYTES: usize = 48;
    let name = file.file_name().unwrap().to_string_lossy();
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('-')).collect();
    let document = STANDARD.decode(lines.concat()).unwrap();
    let at = document.windows(BEFORE.len()).position(|window| window == BEFORE);
    let at = at.unwrap_or_else(|| panic!("{name} is no such key")) + BEFORE.len();
    [
        Canary::new(&format!("the number of {name}"), &document[at..at + 32]),
        Canary::new(
            &format!("a line of {name}"),
            lines[(at + 16) / LINE_BYTES].as_bytes(),
        ),
    ]
}
