//! How mails leave this process, and what stands in all of them.

use std::path::PathBuf;

use lettre::message::Mailbox;
use serde::Deserialize;
use service_runtime::settings::{Environment, Secret};

/// Mail. Without `smtp` and without `directory` nothing is sent: mails wait in the queue, and production refuses to start.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MailSettings {
    /// Who writes: `Bank <no-reply@bank.example>`. The name is the bank's in every mail.
    pub from: String,
    /// The bank's web application, which the links in mails lead to: `https://bank.example`.
    pub app_url: String,
    /// The mail server that takes every mail.
    pub smtp: Option<SmtpSettings>,
    /// Without `smtp`, writes every mail into this directory, one `.eml` file each. Production refuses it.
    pub directory: Option<PathBuf>,
    /// How many mails are sent at once.
    pub parallel: usize,
    /// How often the queue is looked at, milliseconds.
    pub poll_ms: u64,
    /// After how many tries a mail is a dead letter.
    pub max_tries: i32,
    /// How long the second try waits for, milliseconds; each further one twice as long, at most an hour.
    pub backoff_ms: u64,
    /// How long one try may take, from connecting to the server's last word, seconds.
    pub deadline_s: u16,
}

impl Default for MailSettings {
    fn default() -> Self {
        Self {
            from: "Portico Bank <no-reply@bank.example>".to_owned(),
            app_url: "https://bank.example".to_owned(),
            smtp: None,
            directory: None,
            parallel: 4,
            poll_ms: 1_000,
            max_tries: 16,
            backoff_ms: 10_000,
            deadline_s: 60,
        }
    }
}

/// A mail server, spoken to over TLS.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SmtpSettings {
    /// Its name, which its certificate must be for.
    pub host: String,
    /// Its port; without one 465 with TLS from the first byte, 587 with STARTTLS, 25 in clear.
    pub port: Option<u16>,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// PEM file with the authorities of its certificate, in place of this machine's.
    pub ca_file: Option<PathBuf>,
    /// Who logs in. Not needed by a server that knows this machine.
    pub username: String,
    /// With which password.
    pub password: Secret,
}

/// How the connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmtpTls {
    /// TLS from the first byte, as RFC 8314 wants it.
    #[default]
    Implicit,
    /// STARTTLS, without which nothing is sent (RFC 3207).
    Starttls,
    /// None at all. Production refuses it.
    Clear,
}

impl MailSettings {
    /// What is wrong with these settings, one line each.
    pub(crate) fn faults(&self, environment: Environment) -> Vec<String> {
        let is_production = environment == Environment::Production;
        let rules = [
            (
                self.from.parse::<Mailbox>().is_err(),
                "mail.from: must be an address, such as `Bank <no-reply@bank.example>`",
            ),
            (
                !is_base_url(&self.app_url, is_production),
                "mail.app_url: must be an https:// address without a query and a fragment",
            ),
            (
                is_production && self.directory.is_some(),
                "mail.directory: is for development",
            ),
            (
                is_production && self.smtp.is_none(),
                "mail.smtp: is required in production, such as `smtp: {host: smtp.bank.example}`",
            ),
            (
                !(1..=64).contains(&self.parallel),
                "mail.parallel: must be between 1 and 64",
            ),
            (self.poll_ms == 0, "mail.poll_ms: must be above 0"),
            (
                !(1..=100).contains(&self.max_tries),
                "mail.max_tries: must be between 1 and 100",
            ),
            (self.backoff_ms == 0, "mail.backoff_ms: must be above 0"),
            (
                !(1..=600).contains(&self.deadline_s),
                "mail.deadline_s: must be between 1 and 600",
            ),
        ];
        let of_server = self.smtp.iter().flat_map(|smtp| smtp.rules(is_production));
        let broken = rules
            .into_iter()
            .chain(of_server)
            .filter(|(is_broken, _)| *is_broken);
        broken.map(|(_, fault)| fault.to_owned()).collect()
    }
}

impl SmtpSettings {
    fn rules(&self, is_production: bool) -> [(bool, &'static str); 4] {
        let is_clear = self.tls == SmtpTls::Clear;
        [
            (self.host.is_empty(), "mail.smtp.host: is required"),
            (
                is_production && is_clear,
                "mail.smtp.tls: `clear` is for development",
            ),
            (
                self.username.is_empty() != self.password.is_empty(),
                "mail.smtp: `username` and `password` go together",
            ),
            (
                is_clear && !self.password.is_empty(),
                "mail.smtp.password: does not travel in clear",
            ),
        ]
    }
}

fn is_base_url(url: &str, is_production: bool) -> bool {
    let https = url.strip_prefix("https://");
    let rest = https.or_else(|| url.strip_prefix("http://").filter(|_| !is_production));
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"#?\"<>".contains(&byte);
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(is_plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> MailSettings {
        MailSettings {
            smtp: Some(SmtpSettings {
                host: "smtp.bank.example".to_owned(),
                ..SmtpSettings::default()
            }),
            ..MailSettings::default()
        }
    }

    #[test]
    fn production_sends_over_tls_to_a_server_or_does_not_start() {
        let none = Vec::<String>::new();
        assert_eq!(good().faults(Environment::Production), none);
        assert_eq!(MailSettings::default().faults(Environment::Development), none);
        let file = MailSettings {
            directory: Some(PathBuf::from("mail")),
            ..MailSettings::default()
        };
        assert_eq!(file.faults(Environment::Development), none);
        let mut clear = good();
        clear.smtp.as_mut().unwrap().tls = SmtpTls::Clear;
        assert_eq!(clear.faults(Environment::Development), none);
        let mut plain = good();
        plain.app_url = "http://localhost:3000".to_owned();
        assert_eq!(plain.faults(Environment::Development), none);
        for (settings, count) in [(MailSettings::default(), 1), (file, 2), (clear, 1), (plain, 1)] {
            assert_eq!(
                settings.faults(Environment::Production).len(),
                count,
                "{settings:?}"
            );
        }
    }

    #[test]
    fn every_fault_is_named() {
        let mut settings = good();
        settings.from = "nobody".to_owned();
        settings.app_url = "https://bank.example/#x".to_owned();
        settings.parallel = 0;
        settings.poll_ms = 0;
        settings.max_tries = 0;
        settings.backoff_ms = 0;
        settings.deadline_s = 0;
        let smtp = settings.smtp.as_mut().unwrap();
        smtp.host = String::new();
        smtp.username = "bank".to_owned();
        assert_eq!(settings.faults(Environment::Test).len(), 9);
    }
}
