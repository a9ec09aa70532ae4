//! Secrets that are kept on another machine, which may be away.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::clock::now;
use super::run::Run;
use super::service::Service;
use crate::edge::eventually;

/// Takes a secret of a name; its reference.
pub type Keep = dyn Fn(&str, &str) -> String + Send + Sync;

/// Who keeps the secrets of a run, in place of files.
#[derive(Clone)]
pub struct Provider {
    /// The section `secrets` of every process's settings.
    pub settings: Value,
    /// The reference of the key-encryption key, which never leaves.
    pub kek: String,
    /// Takes each secret.
    pub keep: Arc<Keep>,
    /// Whether nobody is answered from now on.
    pub set_down: Arc<dyn Fn(bool) + Send + Sync>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("kek", &self.kek)
            .finish_non_exhaustive()
    }
}

impl Provider {
    /// The reference of a secret that was written to a file.
    pub(super) fn reference(&self, directory: &Path, name: &str) -> anyhow::Result<String> {
        if name == "kek" {
            return Ok(self.kek.clone());
        }
        Ok((self.keep)(name, &fs::read_to_string(directory.join(name))?))
    }
}

impl Run {
    /// Nobody who keeps secrets answers for so long; every process notices, and goes on.
    pub(super) async fn outage(&mut self, time: Duration) -> anyhow::Result<String> {
        let set_down = self
            .stage
            .provider
            .as_ref()
            .context("nobody keeps the secrets")?
            .set_down
            .clone();
        let from = now();
        set_down(true);
        self.all_say("that their secrets cannot be fetched", |failing| failing > 0)
            .await?;
        sleep_until(Instant::now() + time).await;
        self.all_say("that they still cannot", |failing| failing > 0)
            .await?;
        set_down(false);
        self.all_say("that they can again", |failing| failing == 0)
            .await?;
        self.note_spell("T-X3", from);
        Ok(format!("who keeps the secrets was away for {} s", time.as_secs()))
    }

    async fn all_say(&self, what: &str, holds: impl Fn(usize) -> bool) -> anyhow::Result<()> {
        let services: Vec<&Service> = self.stage.with_secrets().collect();
        ensure!(!services.is_empty(), "no process has secrets");
        for service in services {
            eventually(&format!("all processes say {what}"), async || {
                let failing = service.sum("portico_secrets_failing{", "").await;
                failing.is_ok_and(&holds)
            })
            .await?;
        }
        Ok(())
    }
}
