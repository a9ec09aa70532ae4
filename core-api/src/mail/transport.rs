//! Where mails go: to a mail server, or into a directory.

use lettre::address::Envelope;

use super::MailSettings;
use super::file::Directory;
use super::smtp::Server;

/// A mail as it travels (RFC 5322), with the envelope that it travels in.
pub(super) struct Letter {
    pub(super) envelope: Envelope,
    pub(super) bytes: Vec<u8>,
    /// The name of its file, without the ending: the same for the same mail.
    pub(super) name: String,
}

/// A letter was not taken. Says why in one word of ours: what a server writes may hold an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Another try may do better.
    Later(String),
    /// The server will not take this mail, ever.
    Never(String),
}

/// The one way out of this process.
#[derive(Debug)]
pub(crate) enum Transport {
    /// A mail server.
    Smtp(Box<Server>),
    /// Files, for development.
    Directory(Directory),
}

impl Transport {
    /// None where mails only wait.
    ///
    /// # Errors
    /// When the authorities of the server's certificate cannot be read, or the directory cannot be made.
    pub(crate) fn new(settings: &MailSettings) -> anyhow::Result<Option<Self>> {
        Ok(match (&settings.smtp, &settings.directory) {
            (Some(smtp), _) => Some(Self::Smtp(Box::new(Server::new(smtp, settings)?))),
            (None, Some(directory)) => Some(Self::Directory(Directory::make(directory)?)),
            (None, None) => None,
        })
    }

    pub(super) async fn send(&self, letter: &Letter) -> Result<(), Refusal> {
        match self {
            Self::Smtp(server) => server.send(letter).await,
            Self::Directory(directory) => directory.keep(letter).await,
        }
    }
}
