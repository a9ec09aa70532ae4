//! A mail server (aiosmtpd) in a process of its own, which does what mail servers do: it keeps what it takes, and refuses,
//! delays and forgets as the recipient's address says.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// How the connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Not at all: the server has no TLS.
    Clear,
    /// STARTTLS (RFC 3207), without which it takes nothing.
    Starttls,
    /// TLS from the first byte (RFC 8314).
    Implicit,
}

/// A certificate for `localhost`, its own authority.
#[derive(Debug)]
pub struct MailCertificate(TempDir);

impl MailCertificate {
    /// A new one.
    #[must_use]
    pub fn generate() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(directory.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(directory.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        Self(directory)
    }

    /// The PEM file that a client trusts.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.0.path().join("cert.pem")
    }
}

/// The server; gone when this is dropped. Whoever logs in is `bank` with [`Self::PASSWORD`]. What the local part of a
/// recipient does stands in `mail/server.py`.
#[derive(Debug)]
pub struct MailServer {
    child: Child,
    port: u16,
    directory: TempDir,
}

impl MailServer {
    /// The password of `bank`.
    pub const PASSWORD: &'static str = "a secret of the tests";

    /// Starts one at a free port of this machine.
    ///
    /// # Panics
    /// Where aiosmtpd is not installed.
    #[must_use]
    pub fn start(protection: Protection, certificate: &MailCertificate) -> Self {
        Self::start_at(0, protection, certificate)
    }

    /// Starts one at this port.
    ///
    /// # Panics
    /// Where aiosmtpd is not installed.
    #[must_use]
    pub fn start_at(port: u16, protection: Protection, certificate: &MailCertificate) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let protection = match protection {
            Protection::Clear => "clear",
            Protection::Starttls => "starttls",
            Protection::Implicit => "implicit",
        };
        let mut child = Command::new(python())
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/mail/server.py"))
            .arg(directory.path())
            .args([&port.to_string(), protection])
            .args([certificate.file(), certificate.0.path().join("key.pem")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let port = line.trim().parse().expect("the mail server says its port");
        Self {
            child,
            port,
            directory,
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// From now on, whether it refuses whoever greets it (554), whatever he has to send.
    pub fn close_the_door(&self, is_closed: bool) {
        let sign = self.directory.path().join("closed");
        if is_closed {
            std::fs::write(sign, "").unwrap();
        } else {
            std::fs::remove_file(sign).unwrap();
        }
    }

    /// The recipients it has heard of, in order: each was named, and maybe not answered.
    #[must_use]
    pub fn recipients(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.directory.path().join("recipients")).unwrap_or_default();
        text.lines().map(ToOwned::to_owned).collect()
    }

    /// The mails it has read, in order: `from`, `to`, `greeted_by`, `is_encrypted`, `is_logged_in`, `content`.
    #[must_use]
    pub fn mails(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.directory.path().join("mails")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        // Whatever has ended it, it is gone.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The Python that aiosmtpd is installed for: the one that its own program names.
#[expect(
    clippy::disallowed_methods,
    reason = "where programs are is no setting of ours"
)]
fn python() -> String {
    let path = std::env::var_os("PATH").unwrap();
    let mut programs = std::env::split_paths(&path).map(|directory| directory.join("aiosmtpd"));
    let program = programs.find(|program| program.exists());
    let program = program.expect("aiosmtpd is installed (scripts/install-dependencies --tests)");
    let text = std::fs::read_to_string(program).unwrap();
    let line = text.lines().next().unwrap();
    line.trim_start_matches("#!").trim().to_owned()
}
