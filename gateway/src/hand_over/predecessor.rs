//! The new process: takes the sockets of the old one, and serves when it is told to.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, bail};
use service_runtime::health::Readiness;

use super::sockets::{self, Inherited};
use super::words::{Conversation, Word};

/// The old process has sent its sockets before it started this one, so they come at once.
const SOCKETS_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The gateway that this process takes over from.
#[derive(Debug)]
pub struct Predecessor {
    channel: UnixStream,
}

impl Predecessor {
    /// The one at the other end of standard input, which has started this process.
    ///
    /// # Errors
    /// When standard input cannot be used.
    pub fn on_standard_input() -> anyhow::Result<Self> {
        let channel = std::io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Self {
            channel: UnixStream::from(channel),
        })
    }

    /// Says why this process does not start; the old one keeps serving.
    pub fn tell_failure(&self, error: &anyhow::Error) {
        use std::io::Write as _;

        let word = Word::Failed(format!("{error:#}"));
        // Nobody hears it when the old process is gone, and then nobody has to.
        drop((&self.channel).write_all(word.line().as_bytes()));
    }

    /// Takes its listening sockets.
    ///
    /// # Errors
    /// When the other end is no gateway that hands over.
    pub(crate) fn sockets(&self) -> anyhow::Result<Inherited> {
        self.channel.set_read_timeout(Some(SOCKETS_WITHIN))?;
        sockets::receive(&self.channel)
            .context("taking over: on standard input there is no gateway that hands its sockets over")
    }

    /// Waits until this process could serve, says so, and waits for the word to do it.
    ///
    /// # Errors
    /// When the old process is gone before it has said so: then whoever watches over it starts another one.
    pub(crate) async fn wait_for_turn(&self, readiness: &Readiness) -> anyhow::Result<Turn> {
        let mut conversation = Conversation::new(self.channel.try_clone()?)?;
        let mut told = String::new();
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            let report = tokio::select! {
                heard = conversation.hear() => bail!("taking over: the old process is gone, or said {heard:?} too early"),
                report = async { ticks.tick().await; readiness.report().await } => report,
            };
            if report.is_ready() {
                break;
            }
            let failing = report.checks.iter().filter(|(_, result)| *result != "ok");
            let missing: Vec<String> = failing
                .map(|(name, result)| format!("{name}: {result}"))
                .collect();
            let missing = missing.join("; ");
            if missing != told {
                conversation.say(&Word::Waiting(missing.clone())).await?;
                told = missing;
            }
        }
        conversation.say(&Word::Ready).await?;
        match conversation.hear().await {
            Some(Word::Go) => Ok(Turn(conversation)),
            other => bail!("taking over: the old process keeps serving ({other:?})"),
        }
    }
}

/// It is this process's turn to serve.
#[derive(Debug)]
pub(crate) struct Turn(Conversation);

impl Turn {
    /// Says that this process accepts connections: now the old one stops to.
    ///
    /// # Errors
    /// When the old process is gone. It has ended what it was, so that is no reason to stop.
    pub(crate) async fn taken(mut self) -> std::io::Result<()> {
        self.0.say(&Word::Serving).await
    }
}
