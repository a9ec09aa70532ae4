//! `/internal/blocks`: an operator blocks networks of clients for a time.

use std::net::IpAddr;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use fleet::Stream;
use http::StatusCode;
use keyring::masked;
use serde::{Deserialize, Serialize};

use super::store;
use super::store::Block;
use crate::extract::{Actor, Json, Query};
use crate::fleet::error::FleetError;
use crate::fleet::store as events;
use crate::state::AppState;

/// Longest time of a block, seconds: 366 days.
const LONGEST_S: u32 = 366 * 24 * 3600;
/// The shortest prefixes: a shorter one is most of the internet, a slip and not a block.
const SHORTEST_PREFIX: (u8, u8) = (8, 16);

/// What is to be blocked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBlock {
    /// `203.0.113.0/24`, or an address.
    network: String,
    /// For how long, seconds.
    for_s: u32,
    #[serde(default)]
    reason: String,
}

/// Which block is meant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BlockQuery {
    network: String,
}

/// What was blocked.
#[derive(Debug, Serialize)]
struct Blocked {
    network: String,
    /// The `seq` of the list that has it.
    seq: u64,
}

/// Everything that is blocked.
#[derive(Debug, Serialize)]
pub(crate) struct Blocks {
    seq: u64,
    blocks: Vec<BlockView>,
}

#[derive(Debug, Serialize)]
struct BlockView {
    network: String,
    /// `all`, or `sign_in`: only where credentials are tried.
    scope: String,
    until: DateTime<Utc>,
    reason: String,
    author: String,
    created_at: DateTime<Utc>,
}

impl From<Block> for BlockView {
    fn from(block: Block) -> Self {
        Self {
            network: block.network,
            scope: block.scope,
            until: block.until,
            reason: block.reason,
            author: block.author,
            created_at: block.created_at,
        }
    }
}

/// Blocks a network. A second time sets the new end. 409 `list-full` when there is no room for more.
pub(crate) async fn add_block(
    State(state): State<AppState>,
    actor: Actor,
    Json(new): Json<NewBlock>,
) -> Result<Response, FleetError> {
    let network = parse(&new.network)?;
    if !(1..=LONGEST_S).contains(&new.for_s) || new.reason.len() > 512 {
        return Err(FleetError::Invalid(
            "for_s is from 1 to 31622400, a reason has at most 512 bytes",
        ));
    }
    let mut tx = state.db.begin().await?;
    store::block(&mut tx, &network, i64::from(new.for_s), &new.reason, actor.name()).await?;
    events::record(&mut tx, &actor, "block.added", &network).await?;
    let seq = super::seq(&mut tx, Stream::Blocks).await?;
    tx.commit().await?;
    tracing::info!(network, actor = actor.name(), seq, "blocked");
    Ok((StatusCode::CREATED, Json(Blocked { network, seq })).into_response())
}

/// Lists what is blocked, the newest first.
pub(crate) async fn list_blocks(State(state): State<AppState>) -> Result<Json<Blocks>, FleetError> {
    let mut conn = state.db.acquire().await?;
    let seq = super::seq(&mut conn, Stream::Blocks).await?;
    let blocks = store::block_entries(&mut conn).await?;
    let blocks = blocks.into_iter().map(BlockView::from).collect();
    Ok(Json(Blocks { seq, blocks }))
}

/// Takes a block back. 404 when there is none of exactly this network.
pub(crate) async fn remove_block(
    State(state): State<AppState>,
    actor: Actor,
    Query(query): Query<BlockQuery>,
) -> Result<StatusCode, FleetError> {
    let network = parse(&query.network)?;
    let mut tx = state.db.begin().await?;
    if !store::unblock(&mut tx, &network).await? {
        return Err(FleetError::NotFound("exactly this network is not blocked"));
    }
    events::record(&mut tx, &actor, "block.removed", &network).await?;
    tx.commit().await?;
    tracing::info!(network, actor = actor.name(), "a block was taken back");
    Ok(StatusCode::NO_CONTENT)
}

/// The canonical form of a network; an address alone is a network of one.
fn parse(text: &str) -> Result<String, FleetError> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let unreadable = || {
        FleetError::Invalid(
            "a network is written 203.0.113.0/24 or 2001:db8::/32, one address alone without /",
        )
    };
    let address: IpAddr = address.parse().map_err(|_| unreadable())?;
    if address.to_canonical() != address {
        return Err(FleetError::Invalid(
            "the address is IPv4 written as IPv6: write it as IPv4, as clients are known by it",
        ));
    }
    let (longest, shortest) = match address {
        IpAddr::V4(_) => (32, SHORTEST_PREFIX.0),
        IpAddr::V6(_) => (128, SHORTEST_PREFIX.1),
    };
    let prefix = match prefix {
        Some(prefix) => prefix.parse().map_err(|_| unreadable())?,
        None => longest,
    };
    if prefix < shortest {
        return Err(FleetError::Invalid(
            "the prefix is shorter than /8 (IPv4) or /16 (IPv6): that blocks most of the internet",
        ));
    }
    match masked(address, prefix) {
        Some(network) if network == address => Ok(format!("{network}/{prefix}")),
        Some(_) => Err(FleetError::Invalid(
            "the address has bits beyond its prefix: write the first address of the network",
        )),
        None => Err(unreadable()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_one_form_and_is_not_most_of_the_internet() {
        for (text, network) in [
            ("203.0.113.7", "203.0.113.7/32"),
            ("203.0.113.0/24", "203.0.113.0/24"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
        ] {
            assert_eq!(parse(text).unwrap(), network);
        }
        for wrong in [
            "",
            "0.0.0.0/0",
            "10.0.0.0/7",
            "2000::/3",
            "203.0.113.7/24",
            "203.0.113.0/33",
            "::ffff:203.0.113.7",
            "::ffff:203.0.113.0/120",
            "bank.example",
        ] {
            assert!(matches!(parse(wrong), Err(FleetError::Invalid(_))), "{wrong}");
        }
    }
}
