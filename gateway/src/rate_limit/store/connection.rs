//! One multiplexed connection to Redis, or to every node of a cluster.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, FromRedisValue, IntoConnectionInfo as _, RedisResult,
    Script, ScriptInvocation, TlsCertificates,
};
use tokio::time::timeout;

use super::CONNECT_TIMEOUT;
use crate::settings::LimitStoreSettings;

/// Following a slot that has moved, within the timeout of the call.
const CLUSTER_REDIRECTIONS: u32 = 2;

/// Requests of all threads share it; answers come in the order of the calls.
pub(super) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    /// Connects; credentials are read each time, so that they can be changed.
    ///
    /// # Errors
    /// When a file or the server cannot be used.
    pub(super) async fn open(settings: &LimitStoreSettings) -> anyhow::Result<Self> {
        let certificates = || -> anyhow::Result<Option<TlsCertificates>> {
            let root = secret(&settings.ca_file, "limit_store.ca_file")?;
            Ok(root.map(|root| TlsCertificates {
                client_tls: None,
                root_cert: Some(root.into_bytes()),
            }))
        };
        let patience = Duration::from_millis(settings.timeout_ms);
        let mut nodes = settings
            .addresses
            .iter()
            .map(|address| node(address, settings))
            .collect::<anyhow::Result<Vec<_>>>()?;
        if settings.cluster {
            let mut builder = ClusterClientBuilder::new(nodes)
                .retries(CLUSTER_REDIRECTIONS)
                .connection_timeout(CONNECT_TIMEOUT)
                .response_timeout(patience);
            if let Some(certificates) = certificates()? {
                builder = builder.certs(certificates);
            }
            return Ok(Self::Cluster(builder.build()?.get_async_connection().await?));
        }
        let node = nodes.pop().context("limit_store.addresses: is empty")?;
        let client = match certificates()? {
            Some(certificates) => Client::build_with_tls(node, certificates)?,
            None => Client::open(node)?,
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(patience));
        let connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        Ok(Self::One(connection))
    }

    /// What the store says to a call within this time.
    ///
    /// # Errors
    /// Why it says nothing, in words.
    pub(super) async fn ask<T: FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
        limit: Duration,
    ) -> Result<T, String> {
        match timeout(limit, self.invoke(call)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} ms", limit.as_millis())),
        }
    }

    async fn invoke<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> RedisResult<T> {
        match self {
            Self::One(connection) => call.invoke_async(&mut connection.clone()).await,
            Self::Cluster(connection) => call.invoke_async(&mut connection.clone()).await,
        }
    }

    pub(super) async fn load(&self, script: &Script) -> RedisResult<String> {
        match self {
            Self::One(connection) => script.load_async(&mut connection.clone()).await,
            Self::Cluster(connection) => script.load_async(&mut connection.clone()).await,
        }
    }
}

fn node(address: &str, settings: &LimitStoreSettings) -> anyhow::Result<ConnectionInfo> {
    let node = address.into_connection_info()?;
    let mut user = node.redis_settings().clone().set_skip_set_lib_name();
    if !settings.username.is_empty() {
        user = user.set_username(&settings.username);
    }
    if let Some(password) = secret(&settings.password_file, "limit_store.password_file")? {
        user = user.set_password(password);
    }
    Ok(node.set_redis_settings(user))
}

/// The content of a file that a setting names; `None` when it names none.
fn secret(file: &Path, setting: &str) -> anyhow::Result<Option<String>> {
    if file.as_os_str().is_empty() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("{setting}: cannot read {}", file.display()))?;
    Ok(Some(text.trim().to_owned()))
}
