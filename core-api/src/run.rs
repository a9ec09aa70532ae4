//! From settings to a serving process, and back to nothing.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use database::Pool;
use service_runtime::clock::Clock;
use service_runtime::settings::{Environment, SettingsError};
use service_runtime::shutdown::Shutdown;
use service_runtime::tls::{TlsService, serve_tls};
use service_runtime::{http, private, telemetry};

use crate::cursor::CursorKey;
use crate::identity::{AccountDeed, AccountDone, FactorReset, Identity, PolicyFolder, PolicyReader};
use crate::ledger::Poster;
use crate::mail::Post;
use crate::settings::Settings;
use crate::state::AppState;
use crate::{health, idempotency, identity, mail, router};

const SERVICE: &str = "core-api";
/// How long background tasks may take to end.
const GRACE: Duration = Duration::from_secs(10);

/// Runs core-api until SIGTERM or SIGINT. `read_policy` reads the folder that the settings name.
///
/// # Errors
/// When the settings are wrong (all faults in one error), or something that serving needs cannot be had.
pub fn run(settings: Settings, environment: Environment, read_policy: PolicyReader) -> anyhow::Result<()> {
    let secrets = settings.secrets();
    let ran = run_with(settings, environment, read_policy);
    // Where it could not begin, nobody has.
    secrets.give_back_now();
    ran
}

/// Lifts the lock of a name and says so in the audit trail, with the settings of a core-api, which need not run. False when
/// nobody has the name.
///
/// # Errors
/// When the database cannot be reached.
pub fn unlock(settings: &Settings, name: &str) -> anyhow::Result<bool> {
    with_database(settings, async |db| identity::unlock(settings, db, name).await)
}

/// Removes the second factors of a person who has lost them, ends the person's sessions, and says so in the audit trail and by
/// mail, with the settings of a core-api, which need not run.
///
/// # Errors
/// When the database cannot be reached.
pub fn reset_factors(settings: &Settings, name: &str) -> anyhow::Result<FactorReset> {
    let clock = Clock::system();
    with_database(settings, async |db| {
        identity::reset_factors(settings, db, &clock, name).await
    })
}

/// Signs a person out everywhere, disables the account or enables it again, and says so in the audit trail, with the settings of
/// a core-api, which need not run. None when nobody has the name.
///
/// # Errors
/// When the database cannot be reached.
pub fn operate(settings: &Settings, name: &str, deed: AccountDeed) -> anyhow::Result<Option<AccountDone>> {
    with_database(settings, async |db| {
        identity::operate(settings, db, name, deed).await
    })
}

/// Does something at the command line with the database of a core-api.
fn with_database<T>(
    settings: &Settings,
    work: impl AsyncFnOnce(&Pool) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let db = Pool::connect(&settings.database, SERVICE)
            .await
            .context("cannot connect to the database")?;
        let done = work(&db).await;
        db.close().await;
        done
    })
}

fn run_with(settings: Settings, environment: Environment, read_policy: PolicyReader) -> anyhow::Result<()> {
    let faults = settings.faults(environment);
    if !faults.is_empty() {
        return Err(SettingsError(faults).into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(settings, environment, read_policy))
}

/// Serves, then gives back what was lent; also when it cannot serve.
async fn serve(
    settings: Settings,
    environment: Environment,
    read_policy: PolicyReader,
) -> anyhow::Result<()> {
    let _telemetry = telemetry::init(&settings.telemetry, SERVICE, environment)?;
    let policy = settings.policies_dir.clone().map(|folder| PolicyFolder {
        folder,
        read: read_policy,
        environment,
    });
    let served = serve_until_told(&settings, policy, Shutdown::on_signals()?).await;
    settings.secrets().give_back().await;
    tracing::info!("core-api has stopped");
    served
}

async fn serve_until_told(
    settings: &Settings,
    policy: Option<PolicyFolder>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let db = Pool::connect(&settings.database, SERVICE)
        .await
        .context("cannot connect to the database")?;
    let state = state(settings, db.clone(), Clock::system(), &shutdown)?;
    if let Some(policy) = policy {
        shutdown.spawn(identity::follow_policy(state.clone(), policy, shutdown.clone()));
    }
    let served = serve_state(settings, state, &shutdown).await;
    // Also after an error: whatever is still under way is finished or given back before the pool goes.
    shutdown.trigger();
    if !shutdown.wait_for_tasks(GRACE).await {
        tracing::warn!("some background tasks did not end in time");
    }
    db.close().await;
    served
}

async fn serve_state(settings: &Settings, state: AppState, shutdown: &Shutdown) -> anyhow::Result<()> {
    let kek = state.identity.keys.refuse_wrong_kek().await;
    kek.context("kek: not the key-encryption key that the signing keys were sealed under")?;
    start_jobs(settings, &state, shutdown);
    mail::send_all(&settings.mail, &state.db, &state.post, shutdown).context("mail")?;
    let readiness = health::readiness(&state);
    let service = match &settings.tls {
        Some(tls) => Some(TlsService::bind(tls, state.clock.clone()).await?),
        None => None,
    };
    let (bound, private) = private::serve(
        settings.private_listen,
        readiness,
        settings.secrets(),
        shutdown.clone(),
    )
    .await?;
    if let Some(file) = &settings.endpoints_file {
        write_endpoints(file, bound, service.as_ref().map(TlsService::address))?;
    }
    let api = http::layers(router::router(state)?, SERVICE);
    tracing::info!(%bound, "core-api serves");
    match service {
        Some(service) => serve_tls(service, api, shutdown.clone()).await?,
        None => http::serve_unix(&settings.socket, api, shutdown.clone()).await?,
    }
    private.await.context("the private listener")
}

/// Builds what the handlers use. The posting lanes start here; they end when the last clone of the state is dropped.
pub(crate) fn state(
    settings: &Settings,
    db: Pool,
    clock: Clock,
    shutdown: &Shutdown,
) -> anyhow::Result<AppState> {
    let ttl_s = i32::try_from(settings.idempotency.ttl_s)?;
    let post = Post::new(settings.derivation_secrets());
    Ok(AppState {
        identity: Arc::new(Identity::start(settings, db.clone(), post.clone())?),
        poster: Poster::start(&db, &settings.posting, ttl_s, shutdown),
        post,
        cursors: Arc::new(cursor_key(settings)),
        clock,
        db,
    })
}

/// Cursors of every secret that made some are read; the first makes new ones.
fn cursor_key(settings: &Settings) -> CursorKey {
    let mut secrets = settings.derivation_secrets().into_iter();
    let first = CursorKey::derive(secrets.next().unwrap_or_default());
    secrets.fold(first, CursorKey::accepting)
}

fn start_jobs(settings: &Settings, state: &AppState, shutdown: &Shutdown) {
    settings.secrets().keep_fresh(&state.clock, shutdown);
    shutdown.spawn(state.db.clone().follow(shutdown.clone()));
    let keys_every = Duration::from_secs(settings.tokens.keys_refresh_s);
    let purge_every = Duration::from_secs(settings.idempotency.purge_every_s);
    shutdown.spawn(identity::refresh_keys(
        state.clone(),
        keys_every,
        shutdown.clone(),
    ));
    shutdown.spawn(identity::follow_breached_file(state.clone(), shutdown.clone()));
    shutdown.spawn(identity::count_active_users(state.db.clone(), shutdown.clone()));
    shutdown.spawn(identity::purge_gate(
        state.db.clone(),
        purge_every,
        shutdown.clone(),
    ));
    shutdown.spawn(mail::count(state.db.clone(), shutdown.clone()));
    shutdown.spawn(mail::purge(state.db.clone(), shutdown.clone()));
    shutdown.spawn(idempotency::purge_expired(
        state.db.clone(),
        purge_every,
        shutdown.clone(),
    ));
}

fn write_endpoints(file: &Path, private: SocketAddr, api: Option<SocketAddr>) -> anyhow::Result<()> {
    let mut endpoints = serde_json::json!({ "private": private.to_string() });
    if let (Some(api), Some(endpoints)) = (api, endpoints.as_object_mut()) {
        endpoints.insert("api".to_owned(), api.to_string().into());
    }
    let text = endpoints.to_string();
    // Renamed into place: a reader sees the whole file or none.
    let draft = file.with_extension("new");
    std::fs::write(&draft, text).with_context(|| format!("cannot write {}", draft.display()))?;
    std::fs::rename(&draft, file).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpStream, UnixStream};

    use super::*;
    use crate::tests::bank::{TestBank, settings};

    const REQUEST: &[u8] = b"GET /health HTTP/1.1\r\nhost: core\r\nconnection: close\r\n\r\n";

    async fn over_socket(path: &Path) -> Option<String> {
        let mut stream = UnixStream::connect(path).await.ok()?;
        stream.write_all(REQUEST).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }

    async fn readiness(file: &Path) -> String {
        let endpoints: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let mut stream = TcpStream::connect(endpoints["private"].as_str().unwrap())
            .await
            .unwrap();
        let request = b"GET /health/ready HTTP/1.1\r\nhost: core\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_service_serves_until_it_is_told_to_stop() {
        let bank = TestBank::with(settings()).await;
        let directory = tempfile::tempdir().unwrap();
        let mut settings = settings();
        settings.socket = directory.path().join("core.sock");
        settings.endpoints_file = Some(directory.path().join("core.json"));
        let shutdown = Shutdown::new();
        let state = state(
            &settings,
            bank.db.pool_as("portico_core").into(),
            Clock::system(),
            &shutdown,
        )
        .unwrap();
        let (told, socket) = (shutdown.clone(), settings.socket.clone());
        let file = settings.endpoints_file.clone().unwrap();
        let client = async {
            let answer = loop {
                match over_socket(&socket).await {
                    Some(answer) => break answer,
                    None => tokio::task::yield_now().await,
                }
            };
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            // Not ready without a key to sign with; ready once there is one.
            let before = readiness(&file).await;
            assert!(
                before.starts_with("HTTP/1.1 503") && before.contains("signing_key"),
                "{before}"
            );
            bank.activate_key(&keyring::SigningKey::generate(keyring::Algorithm::EdDSA).unwrap())
                .await;
            let after = readiness(&file).await;
            assert!(after.starts_with("HTTP/1.1 200"), "{after}");
            told.trigger();
        };
        let (served, ()) = futures::future::join(serve_state(&settings, state, &shutdown), client).await;
        served.unwrap();
        assert!(
            shutdown.wait_for_tasks(Duration::from_secs(10)).await,
            "a background task did not end"
        );
        assert_eq!(over_socket(&socket).await, None);
    }
}
