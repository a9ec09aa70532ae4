//! `portico mail last`: reading, in development, what the bank would have sent.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use mail_parser::{Message, MessageParser};

use crate::data_directory::DataDirectory;
use crate::{Outcome, output};

/// How long a mail is waited for: it is sent a moment after the answer that promises it.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What can be done with mails.
#[derive(Debug, Subcommand)]
pub(crate) enum MailCommand {
    /// Show the newest mail of a system in development, where mails are files.
    Last(LastArguments),
}

/// Options of `portico mail last`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico mail last
  portico mail last --to ada@bank.example
  portico mail last --to ada@bank.example --token    only what stands behind the # of its link

It waits for up to five seconds for a mail to be there. Every mail is also a file in mail/ of the data directory, which
any mail program opens.")]
pub(crate) struct LastArguments {
    /// The newest one to this address.
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// Print the token of its link alone.
    #[arg(long)]
    token: bool,
    /// Where the system keeps everything.
    #[arg(long, value_name = "DIR", default_value = ".portico")]
    data_dir: PathBuf,
}

pub(crate) fn run(command: &MailCommand) -> anyhow::Result<Outcome> {
    let MailCommand::Last(arguments) = command;
    let directory = DataDirectory::open(&arguments.data_dir)?.mail();
    let to = arguments.to.as_deref();
    let bytes = wait_for(&directory, to)?.with_context(|| match to {
        Some(to) => format!("there is no mail to {to} in {}", directory.display()),
        None => format!("there is no mail in {}", directory.display()),
    })?;
    let mail = MessageParser::default()
        .parse(&bytes)
        .context("the mail cannot be read")?;
    let text = mail.body_text(0).context("the mail has no text")?;
    if arguments.token {
        let Some(token) = token(&text) else {
            bail!("the mail has no link with a token");
        };
        output::line(token);
    } else {
        output::line(&format!("To: {}", recipient(&mail).unwrap_or_default()));
        output::line(&format!("Subject: {}\n", mail.subject().unwrap_or_default()));
        output::line(text.trim_end());
    }
    Ok(Outcome::Done)
}

fn wait_for(directory: &Path, to: Option<&str>) -> anyhow::Result<Option<Vec<u8>>> {
    let begin = Instant::now();
    loop {
        let found = newest(directory, to)?;
        if found.is_some() || begin.elapsed() > PATIENCE {
            return Ok(found);
        }
        pause();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "another process writes the file: it is looked for again and again"
)]
fn pause() {
    std::thread::sleep(LOOK_EVERY);
}

/// The names of the files begin with the time.
fn newest(directory: &Path, to: Option<&str>) -> anyhow::Result<Option<Vec<u8>>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", directory.display())),
    };
    let mut files = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    files.retain(|file| file.extension().is_some_and(|end| end == "eml"));
    files.sort();
    for file in files.iter().rev() {
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let mail = MessageParser::default().parse(&bytes);
        let recipient = mail.as_ref().and_then(recipient);
        if to.is_none_or(|to| recipient.is_some_and(|recipient| recipient.eq_ignore_ascii_case(to))) {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

fn recipient<'m>(mail: &'m Message<'_>) -> Option<&'m str> {
    mail.to()?.first()?.address()
}

/// What stands behind the `#` of the first link.
fn token(text: &str) -> Option<&str> {
    let links = text.split_whitespace().filter(|word| word.starts_with("http"));
    links
        .filter_map(|link| link.split_once('#'))
        .map(|(_, token)| token)
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_mail_to_somebody_is_found_and_its_token() {
        let directory = tempfile::tempdir().unwrap();
        let put = |name: &str, to: &str, text: &str| {
            let mail = format!("To: {to}\r\nSubject: x\r\nContent-Type: text/plain\r\n\r\n{text}\r\n");
            std::fs::write(directory.path().join(name), mail).unwrap();
        };
        assert_eq!(newest(&directory.path().join("none"), None).unwrap(), None);
        put(
            "1.eml",
            "ada@bank.example",
            "open\r\nhttps://bank.example/x#first\r\n",
        );
        put(
            "2.eml",
            "ada@bank.example",
            "open\r\nhttps://bank.example/x#second\r\n",
        );
        put("3.eml", "bob@bank.example", "nothing # to open");
        put(".4.eml.new", "ada@bank.example", "half of it");
        let text = |to: Option<&str>| {
            let bytes = newest(directory.path(), to).unwrap()?;
            let mail = MessageParser::default().parse(&bytes).unwrap();
            Some(mail.body_text(0).unwrap().into_owned())
        };
        assert_eq!(token(&text(Some("Ada@bank.example")).unwrap()), Some("second"));
        assert_eq!(token(&text(None).unwrap()), None);
        assert_eq!(text(Some("eve@bank.example")), None);
    }
}
