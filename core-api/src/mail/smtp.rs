//! Mails to a mail server (RFC 5321), over TLS with a certificate that was checked (RFC 3207, RFC 8314).
//!
//! Each mail has its own connection: what a server did to the last one, this one does not feel.

use std::error::Error as _;
use std::io::ErrorKind;
use std::time::Duration;

use anyhow::Context as _;
use lettre::message::Mailbox;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use service_runtime::settings::Secret;

use super::transport::{Letter, Refusal};
use super::{MailSettings, SmtpSettings, SmtpTls};

/// Replies to a mail that are about this client after all: bad sequence, or who logs in (RFC 4954 §6).
const ABOUT_US: [u16; 6] = [500, 502, 503, 504, 530, 538];
/// How long a server that has taken the mail may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// A mail server.
pub(crate) struct Server {
    host: String,
    port: u16,
    protection: Protection,
    hello: ClientId,
    username: String,
    password: Secret,
    deadline: Duration,
}

enum Protection {
    Starttls(TlsParameters),
    Implicit(TlsParameters),
    Clear,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Server")
    }
}

impl Server {
    pub(super) fn new(smtp: &SmtpSettings, settings: &MailSettings) -> anyhow::Result<Self> {
        let from: Mailbox = settings.from.parse().context("mail.from")?;
        if let Some(source) = smtp.password.source() {
            drop(source.follow()); // we look at it for each mail: a rotation needs no restart
        }
        let (protection, port) = match smtp.tls {
            SmtpTls::Implicit => (Protection::Implicit(parameters(smtp)?), 465),
            SmtpTls::Starttls => (Protection::Starttls(parameters(smtp)?), 587),
            SmtpTls::Clear => (Protection::Clear, 25),
        };
        Ok(Self {
            host: smtp.host.clone(),
            port: smtp.port.unwrap_or(port),
            protection,
            hello: ClientId::Domain(from.email.domain().to_owned()),
            username: smtp.username.clone(),
            password: smtp.password.clone(),
            deadline: Duration::from_secs(u64::from(settings.deadline_s)),
        })
    }

    /// Hands a letter over. Ok: the server has taken it, and it is the server's now.
    pub(super) async fn send(&self, letter: &Letter) -> Result<(), Refusal> {
        // The library bounds the connecting alone, and a server that is slow in every step would outlast the lease.
        let mut connection = match tokio::time::timeout(self.deadline, self.hand_over(letter)).await {
            Ok(connection) => connection?,
            Err(_) => return Err(Refusal::Later("timeout".to_owned())),
        };
        // Taken is taken: a goodbye that fails must not send the mail once more.
        drop(tokio::time::timeout(GOODBYE, connection.quit()).await);
        Ok(())
    }

    async fn hand_over(&self, letter: &Letter) -> Result<AsyncSmtpConnection, Refusal> {
        // No reply before the mail is about it, whatever it says: a server may close its door with 554.
        let mut connection = self.connect().await.map_err(|error| later(&error))?;
        let taken = connection.send(&letter.envelope, &letter.bytes).await;
        taken.map_err(|error| refusal(&error))?;
        Ok(connection)
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Error> {
        let server = (self.host.as_str(), self.port);
        let from_the_first_byte = match &self.protection {
            Protection::Implicit(parameters) => Some(parameters.clone()),
            Protection::Starttls(_) | Protection::Clear => None,
        };
        let limit = Some(self.deadline);
        let connection =
            AsyncSmtpConnection::connect_tokio1(server, limit, &self.hello, from_the_first_byte, None);
        let mut connection = connection.await?;
        if let Protection::Starttls(parameters) = &self.protection {
            connection.starttls(parameters.clone(), &self.hello).await?;
        }
        if !self.username.is_empty() {
            let credentials = Credentials::new(self.username.clone(), self.password());
            connection.auth(DEFAULT_MECHANISMS, &credentials).await?;
        }
        Ok(connection)
    }

    /// The password of today: it may be rotated while we run.
    fn password(&self) -> String {
        let today = self.password.source().and_then(|source| source.text().ok());
        today.map_or_else(|| self.password.expose().to_owned(), |text| text.to_string())
    }
}

fn parameters(smtp: &SmtpSettings) -> anyhow::Result<TlsParameters> {
    let mut builder = TlsParameters::builder(smtp.host.clone());
    if let Some(file) = &smtp.ca_file {
        let pem = std::fs::read(file)
            .with_context(|| format!("mail.smtp.ca_file: cannot read {}", file.display()))?;
        let authority = Certificate::from_pem(&pem)
            .with_context(|| format!("mail.smtp.ca_file: {} is not PEM", file.display()))?;
        builder = builder
            .certificate_store(CertificateStore::None)
            .add_root_certificate(authority);
    }
    builder.build().context("mail.smtp")
}

/// What a failed hand-over means for the mail.
fn refusal(error: &Error) -> Refusal {
    match error.status().map(u16::from) {
        Some(code) if error.is_permanent() && !ABOUT_US.contains(&code) => {
            Refusal::Never(format!("smtp_{code}"))
        }
        _ => later(error),
    }
}

fn later(error: &Error) -> Refusal {
    let word = match error.status() {
        Some(code) => return Refusal::Later(format!("smtp_{}", u16::from(code))),
        None => match io_kind(error) {
            Some(ErrorKind::TimedOut) => "timeout",
            Some(ErrorKind::InvalidData) => "tls", // how the TLS library says that it refuses
            _ if error.is_client() || error.is_response() => "protocol",
            _ => "network",
        },
    };
    Refusal::Later(word.to_owned())
}

/// What went wrong below the protocol.
fn io_kind(error: &Error) -> Option<ErrorKind> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        source = cause.source();
    }
    None
}
