//! What the two processes say to each other once the sockets have passed: words, one a line.

use std::os::unix::net::UnixStream as StdUnixStream;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

/// A line that one process says to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// New: something is missing before it can serve.
    Waiting(String),
    /// New: it could serve now, and accepts nothing yet.
    Ready,
    /// Old: then serve.
    Go,
    /// New: it accepts connections.
    Serving,
    /// New: it cannot start.
    Failed(String),
}

impl Word {
    /// As one line, whatever a reason holds.
    pub(super) fn line(&self) -> String {
        let flat = |reason: &str| reason.replace(['\n', '\r'], " ");
        match self {
            Self::Waiting(reason) => format!("waiting {}\n", flat(reason)),
            Self::Ready => "ready\n".to_owned(),
            Self::Go => "go\n".to_owned(),
            Self::Serving => "serving\n".to_owned(),
            Self::Failed(reason) => format!("failed {}\n", flat(reason)),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let (word, reason) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "waiting" => Some(Self::Waiting(reason.to_owned())),
            "ready" => Some(Self::Ready),
            "go" => Some(Self::Go),
            "serving" => Some(Self::Serving),
            "failed" => Some(Self::Failed(reason.to_owned())),
            _ => None,
        }
    }
}

/// One end of the conversation.
#[derive(Debug)]
pub(super) struct Conversation(BufReader<UnixStream>);

impl Conversation {
    /// # Errors
    /// Outside of a runtime, or when the socket cannot be used.
    pub(super) fn new(channel: StdUnixStream) -> std::io::Result<Self> {
        channel.set_nonblocking(true)?;
        Ok(Self(BufReader::new(UnixStream::from_std(channel)?)))
    }

    /// # Errors
    /// When the other process is gone.
    pub(super) async fn say(&mut self, word: &Word) -> std::io::Result<()> {
        self.0.get_mut().write_all(word.line().as_bytes()).await
    }

    /// The next word; `None` when the other process is gone, or does not speak this language.
    pub(super) async fn hear(&mut self) -> Option<Word> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).await.ok()?;
        (read > 0).then(|| Word::parse(line.trim_end()))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_word_arrives_as_it_was_said() {
        let (ours, theirs) = StdUnixStream::pair().unwrap();
        let (mut ours, mut theirs) = (
            Conversation::new(ours).unwrap(),
            Conversation::new(theirs).unwrap(),
        );
        for word in [
            Word::Waiting("upstreams: core: no".to_owned()),
            Word::Ready,
            Word::Go,
            Word::Serving,
            Word::Failed("a b".to_owned()),
        ] {
            ours.say(&word).await.unwrap();
            assert_eq!(theirs.hear().await, Some(word));
        }
        ours.say(&Word::Failed("two\nlines".to_owned())).await.unwrap();
        drop(ours);
        assert_eq!(theirs.hear().await, Some(Word::Failed("two lines".to_owned())));
        assert_eq!(theirs.hear().await, None);
    }
}
