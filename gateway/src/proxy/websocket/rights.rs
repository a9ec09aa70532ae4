//! When a socket has to end although both of its sides are well: what takes the rights away that opened it (J47).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::interval;

use super::tunnel::End;
use crate::connection::Connection;
use crate::proxy::context::RequestContext;
use crate::server::Shared;
use crate::tokens::{AcceptedToken, Ending};

/// How often it is looked at what nobody tells of.
const LOOK: Duration = Duration::from_secs(1);

/// What a socket was opened with.
pub(super) struct Rights {
    token: Option<Arc<AcceptedToken>>,
    /// How old the word of what is revoked may be, where the route asks for that (J41).
    revocations_within: Option<Duration>,
    client: Option<IpAddr>,
    /// The connection, where its client certificate was asked for, by the route or by the token.
    certified: Option<Arc<Connection>>,
}

impl Rights {
    pub(super) fn of(ctx: &RequestContext) -> Self {
        let permit = ctx.permit_at_end();
        let token = ctx.token.get().cloned();
        let is_certified = permit.is_some_and(|permit| permit.client_name().is_some())
            || token.as_ref().is_some_and(|token| token.is_bound());
        Self {
            token,
            revocations_within: permit.and_then(|permit| permit.route().revocations_within),
            client: ctx.client(),
            certified: ctx.connection.clone().filter(|_| is_certified),
        }
    }

    /// Completes when the first of them is gone, or the gateway stops.
    pub(super) async fn end(self, shared: &Shared) -> End {
        tokio::select! {
            () = shared.shutdown.cancelled() => match shared.drain.is_handed_over() {
                true => End::Replaced,
                false => End::Stopping,
            },
            end = self.token_ends(shared) => end,
            () = self.revocations_are_stale(shared) => End::StaleRevocations,
            () = self.is_blocked(shared) => End::Blocked,
            () = self.certificate_falls() => End::Uncertified,
        }
    }

    async fn token_ends(&self, shared: &Shared) -> End {
        let Some(token) = &self.token else {
            return std::future::pending().await;
        };
        match shared.tokens.ended(token, &shared.clock).await {
            Ending::Expired => End::Expired,
            Ending::Revoked => End::Revoked,
            Ending::NoKeys => End::NoKeys,
        }
    }

    /// What a request would be refused for with 503.
    async fn revocations_are_stale(&self, shared: &Shared) {
        let Some(within) = self.revocations_within else {
            return std::future::pending().await;
        };
        let mut ticks = interval(LOOK);
        while shared.tokens.revocations.are_known(within) {
            ticks.tick().await;
        }
    }

    /// Blocks come with lists: between two of them, none begins.
    async fn is_blocked(&self, shared: &Shared) {
        let revocations = &shared.tokens.revocations;
        let mut changes = revocations.changes();
        loop {
            changes.mark_unchanged();
            let now = shared.clock.now().timestamp();
            if self.client.is_some_and(|client| revocations.blocks(client, now)) {
                return;
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// It ends, is revoked, or nobody vouches for it any more (TLS-6).
    async fn certificate_falls(&self) {
        let Some(connection) = &self.certified else {
            return std::future::pending().await;
        };
        let client = connection.tls.as_ref().and_then(|tls| tls.client.as_ref());
        let stands = || {
            let entrance = connection.entrance.tls.as_ref();
            client
                .zip(entrance)
                .is_some_and(|(client, entrance)| client.standing(entrance).is_ok())
        };
        let mut ticks = interval(LOOK);
        while stands() {
            ticks.tick().await;
        }
    }
}
