//! A mail as it travels: headers, a plain body and an HTML body.

use std::time::SystemTime;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use lettre::Message;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use uuid::Uuid;

use super::texts::{Filling, Template, Texts};
use super::transport::Letter;
use super::{Language, Mail, MailSettings, MailToken};

/// Writes the mails of this bank.
#[derive(Debug)]
pub(super) struct Writer {
    texts: Texts,
    from: Mailbox,
    app_url: String,
}

/// A mail and whom it greets, as they are when it is sent.
pub(super) struct Draft<'a> {
    pub(super) id: Uuid,
    pub(super) mail: &'a Mail,
    pub(super) template: Template,
    pub(super) language: Language,
    pub(super) full_name: &'a str,
    /// When it was asked for: the same in every try.
    pub(super) created_at: DateTime<Utc>,
}

impl Writer {
    pub(super) fn new(settings: &MailSettings) -> anyhow::Result<Self> {
        Ok(Self {
            texts: Texts::load()?,
            from: settings.from.parse().context("mail.from")?,
            app_url: settings.app_url.trim_end_matches('/').to_owned(),
        })
    }

    /// Writes a letter. The address stands alone in `To`, so that no name can end up in a header.
    pub(super) fn write(&self, draft: &Draft<'_>) -> anyhow::Result<Letter> {
        let Draft {
            id, mail, template, ..
        } = draft;
        let token = mail
            .token
            .as_ref()
            .filter(|_| *template != Template::AlreadyRegistered);
        let token = token.map(MailToken::to_text);
        let link = self.link(*template, token.as_ref().map(|token| token.as_str()));
        let address = mail.new_address.as_deref().map(masked);
        let filling = Filling {
            bank: self
                .from
                .name
                .as_deref()
                .unwrap_or_else(|| self.from.email.domain()),
            name: draft.full_name,
            link: Some(&link),
            code: token.as_ref().map(|token| token.as_str()),
            address: address.as_deref(),
        };
        let rendered = self.texts.render(*template, draft.language, &filling)?;
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted"); // RFC 3834: nobody's absence answers
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, mail.to.parse().context("the address")?))
            .subject(rendered.subject)
            .date(SystemTime::from(draft.created_at))
            .message_id(Some(format!("<{id}@{}>", self.from.email.domain())))
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
            .multipart(MultiPart::alternative_plain_html(rendered.text, rendered.html))
            .context("the message")?;
        Ok(Letter {
            envelope: message.envelope().clone(),
            bytes: message.formatted(),
            name: format!(
                "{}-{}-{id}",
                draft.created_at.format("%Y%m%dT%H%M%S%.6fZ"),
                mail.kind.as_str()
            ),
        })
    }

    /// The token stands behind `#`: browsers send that to no server, so it is in no log.
    fn link(&self, template: Template, token: Option<&str>) -> String {
        let page = match template {
            Template::VerifyEmail | Template::EmailChange => "verify-email",
            Template::PasswordReset | Template::PasswordNeeded => "reset-password",
            Template::Unlock | Template::Locked => "unlock",
            Template::EmailChangeNotice => "keep-email",
            Template::AlreadyRegistered
            | Template::PasswordChanged
            | Template::FactorAdded
            | Template::OneFactorRemoved
            | Template::PasskeyAdded
            | Template::FactorRemoved
            | Template::FactorLocked
            | Template::RecoveryCodesRenewed
            | Template::RecoveryCodeUsed => "",
        };
        match token {
            Some(token) => format!("{}/{page}#{token}", self.app_url),
            // A page is not a folder; a host alone is one.
            None if self.app_url.matches('/').count() > 2 => self.app_url.clone(),
            None => format!("{}/", self.app_url),
        }
    }
}

/// `mallory@example.com` → `m…@example.com`: enough to recognise one's own, too little to learn another's.
fn masked(address: &str) -> String {
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    let first: String = local.chars().take(1).collect();
    format!("{first}…@{domain}")
}

#[cfg(test)]
mod tests {
    use super::super::Addressee;
    use super::super::Kind;
    use super::*;

    fn letter(kind: Kind, template: Template, full_name: &str) -> String {
        let mail = Mail {
            kind,
            to: "alice@example.com".to_owned(),
            addressee: Addressee::Address,
            language: Language::English,
            token: MailToken::parse(&"A".repeat(43)),
            new_address: Some("mallory@example.com".to_owned()),
        };
        let draft = Draft {
            id: Uuid::from_u128(1),
            mail: &mail,
            template,
            language: Language::German,
            full_name,
            created_at: DateTime::UNIX_EPOCH,
        };
        let writer = Writer::new(&MailSettings {
            app_url: "https://bank.example/".to_owned(),
            ..MailSettings::default()
        });
        String::from_utf8(writer.unwrap().write(&draft).unwrap().bytes).unwrap()
    }

    #[test]
    fn a_letter_has_the_headers_of_an_automatic_mail_and_one_identity() {
        let letter = letter(Kind::Verification, Template::VerifyEmail, "Alice");
        let (head, body) = letter.split_once("\r\n\r\n").unwrap();
        for header in [
            "From: \"Portico Bank\" <no-reply@bank.example>",
            "To: alice@example.com",
            "Message-ID: <00000000-0000-0000-0000-000000000001@bank.example>",
            "Date: Thu, 01 Jan 1970 00:00:00 +0000",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
        ] {
            assert!(
                head.lines().any(|line| line == header),
                "{header} is not in\n{head}"
            );
        }
        assert!(head.contains("Content-Type: multipart/alternative"), "{head}");
        assert!(body.contains("Content-Type: text/plain") && body.contains("Content-Type: text/html"));
        assert!(letter.is_ascii(), "{letter}");
    }

    #[test]
    fn a_name_gets_into_no_header() {
        let injected = letter(
            Kind::Verification,
            Template::VerifyEmail,
            "Eve\r\nBcc: all@example.com",
        );
        assert!(!injected.contains("all@example.com"), "{injected}");
    }

    #[test]
    fn who_has_an_account_already_gets_no_ticket() {
        let known = letter(Kind::Registration, Template::AlreadyRegistered, "Alice");
        assert!(!known.contains("AAAA"), "{known}");
    }

    #[test]
    fn a_link_without_a_token_leads_to_the_application_itself() {
        for (app_url, wanted) in [
            ("https://bank.example", "https://bank.example/"),
            ("https://bank.example/account", "https://bank.example/account"),
        ] {
            let settings = MailSettings {
                app_url: app_url.to_owned(),
                ..MailSettings::default()
            };
            let writer = Writer::new(&settings).unwrap();
            assert_eq!(writer.link(Template::AlreadyRegistered, None), wanted);
        }
    }

    #[test]
    fn an_address_is_recognised_but_not_told() {
        assert_eq!(masked("mallory@example.com"), "m…@example.com");
        assert_eq!(masked("é@x.y"), "é…@x.y");
    }
}
