//! The system under proof: a Portico of its own in a temporary folder, with a copy of the policies that may be damaged.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::policy::Plan;
use anyhow::{Context as _, bail};
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, interval};
use trial::{FrontDoor, Launch, Service, System};
use uuid::Uuid;

use super::store;
use crate::policy::files;

/// How long anything may take that a claim waits for.
const PATIENCE: Duration = Duration::from_secs(60);
/// The environment that it runs in.
pub(super) const ENVIRONMENT: &str = "development";

/// A running system and what the claims need to know of it.
pub(super) struct Ground {
    pub(super) system: System,
    pub(super) door: FrontDoor,
    /// The policy files that the gateway watches: a copy.
    pub(super) policies: PathBuf,
    /// Transfers that the durability claim makes.
    pub(super) transfers: u32,
    /// Clients that make them.
    pub(super) clients: u32,
    directory: PathBuf,
}

impl Ground {
    pub(super) async fn prepare(
        policies: Option<&Path>,
        transfers: u32,
        clients: u32,
    ) -> anyhow::Result<Self> {
        let directory = std::env::temp_dir().join(format!("portico-prove-{}", Uuid::new_v4().simple()));
        std::fs::create_dir(&directory)?;
        // Started by root, the database server is another user who must pass through here.
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o711))?;
        let copy = directory.join("policies");
        match policies {
            Some(directory) => {
                for file in files::read(directory)? {
                    let target = copy.join(file.name);
                    std::fs::create_dir_all(target.parent().context("a policy file stands in a folder")?)?;
                    std::fs::write(target, file.text)?;
                }
            }
            None => files::write_shipped(&copy)?,
        }
        let launch = Launch {
            binary: std::env::current_exe()?,
            data_dir: directory.join("data"),
            policies: copy.clone(),
            environment: ENVIRONMENT,
            variables: Vec::new(),
        };
        let system = System::start(launch).await?;
        let door = FrontDoor::of(system.endpoints())?;
        Ok(Self {
            system,
            door,
            policies: copy,
            transfers,
            clients,
            directory,
        })
    }

    /// Stops the system and removes everything it wrote.
    pub(super) async fn remove(self) -> anyhow::Result<()> {
        let status = self.system.stop().await?;
        std::fs::remove_dir_all(&self.directory)?;
        if !status.success() {
            bail!("`portico up` ended with {status}");
        }
        Ok(())
    }

    /// The policy as it stands in the files now, compiled as the gateway compiles it.
    pub(super) fn plan(&self) -> anyhow::Result<Plan> {
        let files = files::read(&self.policies)?;
        ::policy::compile(&files, ENVIRONMENT)
            .map_err(|found| anyhow::anyhow!("{}", ::policy::render::human(&found, &files)))
    }

    /// The hash of the policy that the gateway enforces now.
    pub(super) async fn policy_hash(&self) -> anyhow::Result<String> {
        let metrics = self.system.metrics(Service::Gateway).await?;
        let line = metrics
            .lines()
            .find(|line| line.starts_with("portico_policy_info{") && line.ends_with(" 1"));
        let hash = line
            .and_then(|line| line.split_once("hash=\"")?.1.split_once('"'))
            .map(|(hash, _)| hash);
        hash.map(str::to_owned)
            .context("the gateway does not tell which policy it enforces")
    }

    /// How many edited bundles the gateway has refused since it started.
    pub(super) async fn refused_reloads(&self) -> anyhow::Result<u64> {
        let metrics = self.system.metrics(Service::Gateway).await?;
        let refused =
            |line: &&str| line.starts_with("portico_policy_reloads_total{") && line.contains("\"refused\"");
        Ok(metrics.lines().find(refused).and_then(number).unwrap_or(0))
    }

    /// Whether the policy files are the ones in force.
    pub(super) async fn policy_is_in_order(&self) -> anyhow::Result<bool> {
        let in_force = self.policy_hash().await?;
        let Ok(plan) = self.plan() else { return Ok(false) };
        let core = self.system.metrics(Service::CoreApi).await?;
        let is_its = |line: &str| line.starts_with("portico_core_policy_info{") && line.contains(plan.hash());
        Ok(plan.hash() == in_force && core.lines().any(is_its))
    }

    /// The sequence number of the key set that the gateway verifies with.
    pub(super) async fn keyset_sequence(&self) -> anyhow::Result<u64> {
        let metrics = self.system.metrics(Service::Gateway).await?;
        let line = metrics
            .lines()
            .find(|line| line.starts_with("portico_keyset_seq "));
        line.and_then(number)
            .context("the gateway does not tell which key set it has")
    }

    /// The sequence number of the key set that the control plane publishes.
    pub(super) async fn control_plane_keyset_sequence(&self) -> anyhow::Result<u64> {
        let mut owner = self.connect_as_owner().await?;
        Ok(store::keyset_sequence(&mut owner).await?.unsigned_abs())
    }

    /// The number of the list of what is revoked that the gateway has.
    pub(super) async fn revocations_sequence(&self) -> anyhow::Result<u64> {
        let metrics = self.system.metrics(Service::Gateway).await?;
        let line = metrics
            .lines()
            .find(|line| line.starts_with("portico_revocations_seq "));
        line.and_then(number)
            .context("the gateway does not tell which list of what is revoked it has")
    }

    /// Changes a policy file and waits until the gateway enforces the change.
    pub(super) async fn edit_policy(
        &self,
        file: &Path,
        change: impl FnOnce(&str) -> anyhow::Result<String>,
    ) -> anyhow::Result<Edit> {
        let original = std::fs::read_to_string(file)?;
        let text = change(&original)?;
        self.write_policy(file, Some(original), &text).await
    }

    /// Adds a policy file and waits until the gateway enforces it.
    pub(super) async fn add_policy(&self, name: &str, text: &str) -> anyhow::Result<Edit> {
        self.write_policy(&self.policies.join(name), None, text).await
    }

    async fn write_policy(&self, file: &Path, original: Option<String>, text: &str) -> anyhow::Result<Edit> {
        std::fs::write(file, text)?;
        let edit = Edit {
            file: file.to_owned(),
            original,
        };
        if let Err(found) = self.plan() {
            edit.undo(self).await?;
            return Err(found.context("the damaged policy does not compile"));
        }
        let enforced = self
            .wait_until("the gateway enforces the edited policy", async || {
                self.policy_is_in_order().await
            })
            .await;
        match enforced {
            Ok(()) => Ok(edit),
            Err(error) => {
                edit.undo(self).await?;
                Err(error)
            }
        }
    }

    /// Asks until the answer is yes.
    pub(super) async fn wait_until(
        &self,
        what: &str,
        mut asked: impl AsyncFnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut tick = interval(Duration::from_millis(50));
        while started.elapsed() < PATIENCE {
            tick.tick().await;
            if asked().await? {
                return Ok(());
            }
        }
        bail!("waited {} s in vain until {what}", PATIENCE.as_secs())
    }

    /// A connection as the database's superuser, for damage that no service could do.
    pub(super) async fn connect_as_owner(&self) -> anyhow::Result<PgConnection> {
        self.connect("db_owner").await
    }

    /// A connection with the rights of core-api, and no others.
    pub(super) async fn connect_as_core(&self) -> anyhow::Result<PgConnection> {
        self.connect("db_core").await
    }

    async fn connect(&self, secret: &str) -> anyhow::Result<PgConnection> {
        let file = self.system.launch().data_dir.join("secrets").join(secret);
        let address = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        PgConnection::connect(address.trim_end())
            .await
            .with_context(|| format!("cannot connect with {secret}"))
    }
}

/// A change of a policy file that can be taken back.
#[must_use = "an edit must be undone"]
pub(super) struct Edit {
    file: PathBuf,
    /// None when the file is new.
    original: Option<String>,
}

impl Edit {
    /// Puts the original back and waits until the gateway enforces it.
    pub(super) async fn undo(self, ground: &Ground) -> anyhow::Result<()> {
        match &self.original {
            Some(original) => std::fs::write(&self.file, original)?,
            None => std::fs::remove_file(&self.file)?,
        }
        ground
            .wait_until("the gateway enforces the original policy", async || {
                ground.policy_is_in_order().await
            })
            .await
    }
}

fn number(line: &str) -> Option<u64> {
    line.rsplit(' ').next()?.parse().ok()
}
