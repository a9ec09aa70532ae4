//! How long it takes from an operator's command until every gateway has it in force (T-P1).

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde_json::Value;
use service_runtime::clock::Clock;

use super::bundle::Bundle;
use super::operator::patiently;
use super::stage::Stage;
use super::store;

impl Stage {
    /// Publishes a policy to all at once, and waits until it is complete. Gives for each gateway how long it took until it
    /// said that the policy is in force, in milliseconds: the command, the compiler, the signature and the way there and
    /// back are in it.
    pub(super) async fn publish_to_all(&self, bundle: Bundle, change: &str) -> anyhow::Result<Vec<i64>> {
        let began = Clock::system().now();
        self.publish(bundle, change, &["--at-once"]).await?.done()?;
        let ended = self.ended(change).await?;
        anyhow::ensure!(ended.get("phase") == Some(&"done".into()), "{ended}");
        self.since(began, "policy").await
    }

    /// The same for a list or a key set that a command changes.
    pub(super) async fn change(&self, stream: &str, command: &[&str]) -> anyhow::Result<Vec<i64>> {
        let before = self.head(stream).await?;
        let mut last = None;
        let mut began = Clock::system().now();
        // A rotation waits until every gateway holds the standby.
        patiently(&format!("{command:?} is done"), async || {
            began = Clock::system().now();
            last = self.ask(command).await.ok();
            last.as_ref().is_some_and(|said| said.code == Some(0))
        })
        .await
        .with_context(|| format!("{last:?}"))?;
        patiently(&format!("every gateway holds the new {stream}"), async || {
            let Some(fleet) = self.answer("/internal/fleet").await else {
                return false;
            };
            let head = head_in(&fleet, stream);
            head != before && head.is_some() && all_hold(&fleet, stream, head.as_ref())
        })
        .await?;
        self.since(began, stream).await
    }

    /// Fills both lists but for some entries, and waits until every gateway holds them; says how full they are.
    pub(super) async fn fill_lists(&self, room: usize) -> anyhow::Result<String> {
        let before = (self.head("revocations").await?, self.head("blocks").await?);
        let mut superuser = self.superuser().await?;
        let (revocations, blocks) = store::fill_lists(&mut superuser, room).await?;
        self.hold_other_lists(before).await?;
        let bytes = store::revocations_bytes(&mut superuser).await?;
        Ok(format!(
            "{revocations} revocations of {bytes} bytes, {blocks} blocks"
        ))
    }

    /// Takes away what filled the lists, and waits for every gateway.
    pub(super) async fn empty_lists(&self) -> anyhow::Result<()> {
        let before = (self.head("revocations").await?, self.head("blocks").await?);
        store::empty_lists(&mut self.superuser().await?).await?;
        self.hold_other_lists(before).await
    }

    async fn hold_other_lists(&self, before: (Option<Value>, Option<Value>)) -> anyhow::Result<()> {
        patiently("every gateway holds other lists", async || {
            let Some(fleet) = self.answer("/internal/fleet").await else {
                return false;
            };
            [("revocations", &before.0), ("blocks", &before.1)]
                .into_iter()
                .all(|(stream, before)| {
                    let head = head_in(&fleet, stream);
                    head != *before && all_hold(&fleet, stream, head.as_ref())
                })
        })
        .await
    }

    pub(super) async fn head(&self, stream: &str) -> anyhow::Result<Option<Value>> {
        let fleet = self.answer("/internal/fleet").await.context("no control plane")?;
        Ok(head_in(&fleet, stream))
    }

    async fn since(&self, began: DateTime<Utc>, stream: &str) -> anyhow::Result<Vec<i64>> {
        let active = store::active_at(&mut self.superuser().await?, stream).await?;
        Ok(active.iter().map(|at| (*at - began).num_milliseconds()).collect())
    }
}

fn head_in(fleet: &Value, stream: &str) -> Option<Value> {
    let streams = fleet.get("streams")?.as_array()?;
    let head = streams
        .iter()
        .find(|head| head.get("stream") == Some(&stream.into()))?;
    head.get("position").cloned()
}

fn all_hold(fleet: &Value, stream: &str, head: Option<&Value>) -> bool {
    let nodes = fleet.get("nodes").and_then(Value::as_array);
    let holds = |node: &Value| {
        let streams = node.get("streams").and_then(Value::as_array);
        let mut of_stream = streams
            .into_iter()
            .flatten()
            .filter(|held| held.get("stream") == Some(&stream.into()));
        of_stream.any(|held| held.get("active") == head)
    };
    nodes.is_some_and(|nodes| nodes.iter().all(holds))
}
