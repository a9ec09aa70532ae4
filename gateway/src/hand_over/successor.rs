//! The old process: starts the new one, hands its sockets over, and keeps serving unless that serves.

use std::ffi::OsString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use service_runtime::shutdown::Shutdown;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;

use super::command::{self, REQUEST};
use super::words::{Conversation, Word};
use crate::server::{Drain, systemd};
use crate::settings::Settings;

/// How long a client may take to say what it wants, and to take the answer.
const CLIENT_WITHIN: Duration = Duration::from_secs(5);
/// From the word to serve until the new process accepts connections: threads start, nothing more.
const BEGIN_WITHIN: Duration = Duration::from_secs(10);
/// How long taking the sockets may hold us up.
const TAKE_WITHIN: Duration = Duration::from_secs(10);

/// Takes requests to hand over.
pub(crate) struct Upgrades {
    path: PathBuf,
    /// The program and its arguments.
    program: Vec<OsString>,
    ready_within: Duration,
    drain: Arc<Drain>,
    shutdown: Shutdown,
    /// Held by the upgrade that is under way.
    under_way: Mutex<()>,
    failed: Notify,
}

impl Upgrades {
    pub(crate) fn new(
        settings: &Settings,
        program: Vec<OsString>,
        drain: Arc<Drain>,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            path: command::socket(&settings.state_dir),
            program,
            ready_within: settings.upgrade.ready_within(),
            drain,
            shutdown,
            under_way: Mutex::new(()),
            failed: Notify::new(),
        }
    }

    /// Begins to listen, in the place of whoever did before.
    ///
    /// # Errors
    /// When the path is too long for a socket, or the directory cannot be written to.
    pub(crate) fn listen(self) -> anyhow::Result<()> {
        let listener = bind(&self.path).with_context(|| format!("binding {}", self.path.display()))?;
        let shutdown = self.shutdown.clone();
        shutdown.spawn(Arc::new(self).serve(listener));
        Ok(())
    }

    async fn serve(self: Arc<Self>, mut listener: UnixListener) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.drain.begun() => break,
                () = self.failed.notified() => {
                    // A new process that failed late has put its own socket in the place of this one.
                    match bind(&self.path) {
                        Ok(again) => listener = again,
                        Err(error) => tracing::error!(%error, "no further upgrade can be asked for"),
                    }
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            if let Ok((stream, _)) = accepted {
                let asked = self.clone();
                self.shutdown.spawn(async move { asked.answer(stream).await });
            }
        }
        if !self.drain.is_handed_over() {
            drop(fs::remove_file(&self.path));
        }
    }

    async fn answer(&self, mut stream: UnixStream) {
        let outcome = match self.may_ask(&mut stream).await {
            Ok(()) => self.upgrade_once().await,
            Err(error) => Err(error),
        };
        if let Err(error) = &outcome {
            tracing::warn!(
                error = format!("{error:#}"),
                "no upgrade: this process keeps serving"
            );
        }
        if let Ok(pid) = outcome {
            tracing::info!(pid, "another process serves now: this one drains");
            self.drain.hand_over();
        }
        let answer = command::answer(&outcome);
        // A client that went away reads the log.
        drop(timeout(CLIENT_WITHIN, stream.write_all(answer.as_bytes())).await);
    }

    /// Whether the client may, and really wants to. The directory lets in nobody else; this asks the kernel as well.
    async fn may_ask(&self, stream: &mut UnixStream) -> anyhow::Result<()> {
        let peer = stream.peer_cred()?.uid();
        let own = rustix::process::geteuid().as_raw();
        if peer != own && peer != 0 {
            bail!("user {peer} may not upgrade the gateway of user {own}");
        }
        let mut request = [0; REQUEST.len()];
        timeout(CLIENT_WITHIN, stream.read_exact(&mut request)).await??;
        if request != REQUEST.as_bytes() {
            bail!("that is no request for an upgrade");
        }
        Ok(())
    }

    async fn upgrade_once(&self) -> anyhow::Result<u32> {
        let Ok(_turn) = self.under_way.try_lock() else {
            bail!("an upgrade is under way already");
        };
        if self.drain.has_begun() {
            bail!("this process stops");
        }
        let (channel, theirs) = StdUnixStream::pair()?;
        let mut child = self.start(theirs)?;
        let outcome = tokio::select! {
            outcome = self.hand_over(channel, &mut child) => outcome,
            () = self.shutdown.cancelled() => Err(anyhow::anyhow!("this process stops")),
        };
        if outcome.is_err() {
            // What was started holds our sockets: it must be gone before the next attempt.
            drop(child.kill().await);
            self.failed.notify_one();
        }
        outcome
    }

    /// The program as it is on the disk now, as this process was started.
    fn start(&self, channel: StdUnixStream) -> anyhow::Result<Child> {
        let (program, arguments) = self.program.split_first().context("no program")?;
        let already = arguments.iter().any(|argument| argument == TAKE_OVER);
        let mut command = Command::new(program);
        command
            .args(arguments)
            .args((!already).then_some(TAKE_OVER))
            .stdin(Stdio::from(OwnedFd::from(channel)));
        command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))
    }

    async fn hand_over(&self, channel: StdUnixStream, child: &mut Child) -> anyhow::Result<u32> {
        let pid = child.id().context("the new process ended at once")?;
        channel.set_write_timeout(Some(TAKE_WITHIN))?;
        let drain = self.drain.clone();
        let sending = channel.try_clone()?;
        let sent = tokio::task::spawn_blocking(move || drain.sockets().send(&sending)).await?;
        if let Err(error) = sent {
            // Nobody reads: it has ended already, or hangs up and will be ended.
            let ended = timeout(TAKE_WITHIN, child.wait()).await;
            let status = ended.ok().and_then(Result::ok);
            return Err(status.map_or_else(
                || error.context("handing the sockets over"),
                |status| {
                    anyhow::anyhow!("the new process ended before it was ready ({status}): its log says why")
                },
            ));
        }
        let mut conversation = Conversation::new(channel)?;
        let mut missing = "it did not begin to start".to_owned();
        let ready = wait_until_ready(&mut conversation, child, &mut missing);
        match timeout(self.ready_within, ready).await {
            Ok(ready) => ready?,
            Err(_) => bail!(
                "the new process is not ready after {} ms: {missing}",
                self.ready_within.as_millis()
            ),
        }
        conversation.say(&Word::Go).await?;
        match timeout(BEGIN_WITHIN, conversation.hear()).await {
            Ok(Some(Word::Serving)) => {}
            Ok(Some(Word::Failed(reason))) => bail!("the new process failed: {reason}"),
            Ok(other) => bail!("the new process ended before it served ({other:?})"),
            Err(_) => bail!("the new process did not begin to serve"),
        }
        systemd::main_process_is(pid);
        Ok(pid)
    }
}

/// Tells a new process that its sockets come on standard input.
pub(super) const TAKE_OVER: &str = "--take-over";

async fn wait_until_ready(
    conversation: &mut Conversation,
    child: &mut Child,
    missing: &mut String,
) -> anyhow::Result<()> {
    loop {
        match conversation.hear().await {
            Some(Word::Waiting(reason)) => *missing = reason,
            Some(Word::Ready) => return Ok(()),
            Some(Word::Failed(reason)) => bail!("the new process does not start: {reason}"),
            Some(word) => bail!("the new process said {word:?} before it was ready"),
            None => {
                let status = child.wait().await?;
                bail!("the new process ended before it was ready ({status}): its log says why");
            }
        }
    }
}

/// Under its final name only once it listens, so that a client finds it or finds nobody; mode 0600.
fn bind(path: &std::path::Path) -> std::io::Result<UnixListener> {
    let draft = path.with_extension("sock.draft");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&draft)?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o600))?;
    fs::rename(&draft, path)?;
    Ok(listener)
}
