//! The rules in force: those of the policy, followed while the service runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use policy::{Plan, SourceFile};
use service_runtime::settings::Environment;
use service_runtime::shutdown::Shutdown;

use super::Gate;
use crate::metrics;
use crate::state::AppState;

/// How often the folder is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Reads the files of a policy folder, as the gateway does.
pub type PolicyReader = fn(&Path) -> anyhow::Result<Vec<SourceFile>>;

/// Where the policy stands, how it is read, and for which environment.
#[derive(Debug, Clone)]
pub(crate) struct PolicyFolder {
    pub(crate) folder: PathBuf,
    pub(crate) read: PolicyReader,
    pub(crate) environment: Environment,
}

/// What was read, or why nothing was.
type Read = Result<Vec<SourceFile>, String>;

impl PolicyFolder {
    /// Works on a thread of its own: a file system that hangs holds up no request.
    async fn read(&self) -> Read {
        let (read, folder) = (self.read, self.folder.clone());
        let read = tokio::task::spawn_blocking(move || read(&folder)).await;
        match read {
            Ok(read) => read.map_err(|error| format!("{error:#}")),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Follows the policy until shutdown. One that cannot be read or does not compile changes nothing: the rules before it stay in
/// force, at first those that Portico ships.
pub(crate) async fn follow_policy(state: AppState, policy: PolicyFolder, shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    let mut last = None;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let read = policy.read().await;
        if last.as_ref() != Some(&read) {
            state.identity.gate.take_over(&read, policy.environment);
            last = Some(read);
        }
    }
}

impl Gate {
    fn take_over(&self, read: &Read, environment: Environment) {
        let compiled = match read {
            Ok(files) => policy::compile(files, environment.as_str())
                .map_err(|found| policy::render::human(&found, files)),
            Err(error) => Err(error.clone()),
        };
        match compiled {
            Ok(plan) => self.put(&plan),
            Err(error) => {
                tracing::error!(
                    error,
                    "the policy is wrong: the rules of the gate stay as they were"
                );
            }
        }
    }

    /// Puts the rules of a policy in force; of one that says nothing of them, those that Portico ships.
    pub(super) fn put(&self, plan: &Plan) {
        let rules = plan.lockout().cloned().unwrap_or_default();
        let hash = plan.short_hash();
        if *self.rules.load_full() != rules {
            tracing::info!(hash, "other rules for failed log-ins are in force");
        }
        self.rules.store(Arc::new(rules));
        metrics::policy(plan.hash());
    }
}
