//! Mails to a mail server (RFC 5321), over TLS with a certificate that was checked (RFC 3207, RFC 8314).
//!
//! Each mail has its own connection: what a server did to the last one, this one does not feel.

use std::error::Error as _;
use std::io::ErrorKind;
use std::time::Duration;

use anyhow::Context as _;
use lettre::message::Mailbox;
use lettre::transport::smtp::AsyncSmtpTransportBuilder;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{AsyncSmtpTransport, Error};
use lettre::{AsyncTransport as _, Tokio1Executor};
use service_runtime::settings::Secret;

use super::transport::{Letter, Refusal};
use super::{MailSettings, SmtpSettings, SmtpTls};

/// Replies that are about this client, not about the mail: bad sequence, or who logs in (RFC 4954 §6).
const ABOUT_US: [u16; 9] = [500, 502, 503, 504, 521, 530, 534, 535, 538];

/// A mail server.
pub(crate) struct Server {
    builder: AsyncSmtpTransportBuilder,
    username: String,
    password: Secret,
    deadline: Duration,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Server")
    }
}

impl Server {
    pub(super) fn new(smtp: &SmtpSettings, settings: &MailSettings) -> anyhow::Result<Self> {
        let from: Mailbox = settings.from.parse().context("mail.from")?;
        let deadline = Duration::from_secs(u64::from(settings.deadline_s));
        if let Some(source) = smtp.password.source() {
            drop(source.follow()); // we look at it for each mail: a rotation needs no restart
        }
        let (tls, port) = match smtp.tls {
            SmtpTls::Starttls => (Tls::Required(parameters(smtp)?), 587),
            SmtpTls::Implicit => (Tls::Wrapper(parameters(smtp)?), 465),
            SmtpTls::Clear => (Tls::None, 25),
        };
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(smtp.host.as_str())
            .port(smtp.port.unwrap_or(port))
            .tls(tls)
            .hello_name(ClientId::Domain(from.email.domain().to_owned()))
            .timeout(Some(deadline));
        Ok(Self {
            builder,
            username: smtp.username.clone(),
            password: smtp.password.clone(),
            deadline,
        })
    }

    /// Hands a letter over. Ok: the server has taken it, and it is the server's now.
    pub(super) async fn send(&self, letter: &Letter) -> Result<(), Refusal> {
        let mut builder = self.builder.clone();
        if !self.username.is_empty() {
            let password = self.password();
            builder = builder.credentials(Credentials::new(self.username.clone(), password));
        }
        let transport = builder.build::<Tokio1Executor>();
        // The library bounds each step; a server that is slow in every one of them would outlast the lease.
        match tokio::time::timeout(self.deadline, transport.send_raw(&letter.envelope, &letter.bytes)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(refusal(&error)),
            Err(_) => Err(Refusal::Later("timeout".to_owned())),
        }
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

fn refusal(error: &Error) -> Refusal {
    let word = match error.status().map(u16::from) {
        Some(code) if error.is_permanent() && !ABOUT_US.contains(&code) => {
            return Refusal::Never(format!("smtp_{code}"));
        }
        Some(code) => return Refusal::Later(format!("smtp_{code}")),
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
