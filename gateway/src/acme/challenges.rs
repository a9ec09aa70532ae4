//! Proofs that a name is ours: answers in clear for http-01, records in the DNS for dns-01.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::Command;
use tokio::time::timeout;

/// Where an authority asks (RFC 8555 §8.3).
const PREFIX: &str = "/.well-known/acme-challenge/";
/// How long the program for DNS records may take.
const HOOK: Duration = Duration::from_mins(5);

/// Where the program finds others.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The answers that are given now, by token.
#[derive(Debug, Default)]
pub(crate) struct Challenges(Mutex<HashMap<String, String>>);

impl Challenges {
    /// The answer to a request target; nearly always none.
    pub(crate) fn proof(&self, target: &[u8]) -> Option<String> {
        let token = target.strip_prefix(PREFIX.as_bytes())?;
        let token = std::str::from_utf8(token).ok()?;
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(token).cloned()
    }

    /// Answers until the guard is dropped.
    pub(super) fn answer(&self, token: &str, proof: &str) -> Answering<'_> {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert(token.to_owned(), proof.to_owned());
        Answering {
            challenges: self,
            token: token.to_owned(),
        }
    }
}

/// An answer that is given for as long as this lives.
pub(super) struct Answering<'c> {
    challenges: &'c Challenges,
    token: String,
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        let mut answers = self.challenges.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.remove(&self.token);
    }
}

/// A record in the DNS.
pub(super) struct Record<'h> {
    pub(super) hook: &'h Path,
    pub(super) name: String,
    pub(super) value: String,
}

impl Record<'_> {
    /// Makes it; back when it can be seen.
    ///
    /// # Errors
    /// When the operator's program fails or takes too long.
    pub(super) async fn present(&self) -> anyhow::Result<()> {
        self.run("present").await
    }

    /// Removes it. What fails here is told and nothing more: the certificate does not depend on it.
    pub(super) async fn clean_up(&self) {
        if let Err(error) = self.run("cleanup").await {
            let error = format!("{error:#}");
            tracing::warn!(
                name = self.name,
                error,
                "the DNS record of a challenge may be left"
            );
        }
    }

    async fn run(&self, verb: &str) -> anyhow::Result<()> {
        let hook = self.hook.display();
        let mut command = Command::new(self.hook);
        // It gets what it needs and none of our secrets.
        command.args([verb, &self.name, &self.value]).env_clear();
        command.env("PATH", PATH);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        let status = timeout(HOOK, command.status())
            .await
            .with_context(|| format!("{hook} {verb}: took too long"))?
            .with_context(|| format!("{hook} {verb}"))?;
        if !status.success() {
            bail!("{hook} {verb}: {status}");
        }
        Ok(())
    }
}
