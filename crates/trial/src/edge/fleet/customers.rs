//! What customers of the bank see of losses.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::flood::Statuses;
use super::super::process::eventually;
use super::bank::CONTROL;
use super::transfers::{Loss, Repeat};
use super::{Finding, Fleet};
use crate::{Customer, FrontDoor};

const ALL: [usize; 3] = [0, 1, 2];
const ME: &str = "/api/v1/me";
/// A route with `revocations_within: 10s`.
const TIMELY: &str = "/api/v1/accounts";
/// Until it is closed, with a second for the drill to see it.
const WITHIN: Duration = Duration::from_secs(11);
/// How long a revocation may take until every gateway that hears refuses.
const A_SECOND: Duration = Duration::from_secs(1);
/// The silence that a gateway bears, an attempt to dial, and its longest pause.
const HEARS_AGAIN: Duration = Duration::from_secs(25);

impl Fleet {
    /// Loses parts of the bank and of what it needs, one after the other, and says what its customers see.
    ///
    /// # Errors
    /// When something does not come back.
    pub async fn lose_the_bank(&mut self, mut show: impl FnMut(&Finding)) -> anyhow::Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let mut found = |finding: Finding| {
            show(&finding);
            findings.push(finding);
        };
        let customer = self.door(0)?.sign_up().await?;
        found(self.one_session_everywhere(&customer).await?);
        self.lose_under_transfers(&customer, &mut found).await?;
        self.cut_control_plane(&customer, &mut found).await?;
        self.revoke_unheard(&customer, &mut found).await?;
        self.lose_store_of_customers(&customer, &mut found).await?;
        Ok(findings)
    }

    async fn one_session_everywhere(&self, customer: &Customer) -> anyhow::Result<Finding> {
        let before = self.answered_by_cores().await?;
        let seen = self.ask(customer, &ALL, ME, 10).await?;
        let after = self.answered_by_cores().await?;
        let answered: Vec<usize> = after
            .iter()
            .zip(before)
            .map(|(after, before)| after - before)
            .collect();
        let what = "a customer logs in through one gateway: all three and both cores take the token";
        let by_both = answered.iter().all(|count| *count > 0);
        Ok(Finding::of(what, seen, &[(200, 30)]).and_that((format!("by core: {answered:?}"), by_both)))
    }

    async fn lose_under_transfers(
        &mut self,
        customer: &Customer,
        found: &mut impl FnMut(Finding),
    ) -> anyhow::Result<()> {
        let losses = [
            (
                Loss::Core,
                "a core is killed under transfers: each is booked once",
            ),
            (
                Loss::CoreLink,
                "the link of the other core is cut under transfers: the same",
            ),
            (
                Loss::Gateway,
                "a gateway is killed under transfers, and comes back: the same",
            ),
        ];
        for (loss, what) in losses {
            found(
                self.transfers_during(what, customer, (loss, Repeat::SameKey))
                    .await?,
            );
        }
        let what = "control: clients that ask again with another key";
        let control = self.transfers_during(what, customer, (Loss::Nothing, Repeat::AnotherKey));
        found(control.await?.control());
        Ok(())
    }

    /// The link of the control plane is cut, and mended.
    async fn cut_control_plane(
        &mut self,
        customer: &Customer,
        found: &mut impl FnMut(Finding),
    ) -> anyhow::Result<()> {
        self.network.cut(CONTROL)?;
        let what = "the link of the control plane is cut: customers log in";
        found(Finding::of(what, self.log_in(customer, 4).await?, &[(200, 12)]));
        let what = "… and tokens of before are good";
        found(self.answers(what, customer, &ALL, (ME, 200)).await?);
        self.kill_gateway(1).await?;
        let what = "… a gateway is killed meanwhile: the others serve";
        found(self.answers(what, customer, &[0, 2], (ME, 200)).await?);
        self.revive_gateway(1).await?;
        let newer = self.another_session(customer).await?;
        let what = "… it is started again, and takes a token that is newer";
        found(self.answers(what, &newer, &[1], (ME, 200)).await?);
        let what = "… and customers log in through it as well";
        found(Finding::of(what, self.log_in(customer, 4).await?, &[(200, 12)]));
        self.network.mend(CONTROL)?;
        self.everybody_hears(Instant::now()).await
    }

    /// A session is revoked while one gateway and the control plane do not hear each other.
    async fn revoke_unheard(
        &self,
        customer: &Customer,
        found: &mut impl FnMut(Finding),
    ) -> anyhow::Result<()> {
        let stolen = self.another_session(customer).await?;
        let session = session_of(&stolen).await?;
        self.network.part("gateway1", CONTROL)?;
        let parted = Instant::now();
        self.bank.revoke(&session).await?;
        let revoked = Instant::now();
        let what = "a session is revoked, which one gateway does not hear: the others refuse in a second";
        let refused = self
            .time_until(&stolen, &[1, 2], (ME, 401), (revoked, A_SECOND))
            .await?;
        found(
            self.answers(what, &stolen, &[1, 2], (ME, 401))
                .await?
                .and_that(refused),
        );
        let what = "… that one is asked as well, and serves where the policy does not say how fresh";
        found(self.answers(what, &stolen, &[0], (ME, 200)).await?);
        let what = "control: it refuses as the others do";
        found(self.answers(what, &stolen, &[0], (ME, 401)).await?.control());
        let what = "… and where it does, while what it knows is fresh enough";
        found(self.answers(what, &stolen, &[0], (TIMELY, 200)).await?);
        let what = "… it closes the route with `revocations_within: 10s`, for everybody";
        let closed = self
            .time_until(customer, &[0], (TIMELY, 503), (parted, WITHIN))
            .await?;
        found(
            self.answers(what, customer, &[0], (TIMELY, 503))
                .await?
                .and_that(closed),
        );
        let what = "… which the others do not";
        found(self.answers(what, customer, &[1, 2], (TIMELY, 200)).await?);
        let what = "… it goes on with the other route";
        found(self.answers(what, &stolen, &[0], (ME, 200)).await?);
        let leaving = self.another_session(customer).await?;
        let goodbye = leaving.post("/api/v1/auth/logout", None, &json!({})).await?;
        goodbye.expect(204)?;
        let what = "… a customer logs out elsewhere: the cores refuse whom it lets pass";
        found(self.answers(what, &leaving, &[0], (ME, 401)).await?);
        self.hear_again(&stolen, customer, found).await
    }

    /// The gateway that heard nothing hears the control plane again.
    async fn hear_again(
        &self,
        stolen: &Customer,
        customer: &Customer,
        found: &mut impl FnMut(Finding),
    ) -> anyhow::Result<()> {
        self.network.join("gateway1", CONTROL)?;
        let what = "… it hears the control plane again: it refuses";
        let mended = (Instant::now(), HEARS_AGAIN);
        let heard = self.time_until(stolen, &[0], (ME, 401), mended).await?;
        found(self.answers(what, stolen, &ALL, (ME, 401)).await?.and_that(heard));
        let what = "… and serves everybody else, on every route";
        found(self.answers(what, customer, &ALL, (TIMELY, 200)).await?);
        Ok(())
    }

    /// The store is killed, and comes back.
    async fn lose_store_of_customers(
        &mut self,
        customer: &Customer,
        found: &mut impl FnMut(Finding),
    ) -> anyhow::Result<()> {
        self.store.take().context("no store")?.kill().await?;
        self.wait_for_store(false).await?;
        let what = "the store is killed: log-ins are refused (deny)";
        found(Finding::of(what, self.log_in(customer, 4).await?, &[(503, 12)]));
        let what = "… who is logged in goes on";
        found(self.answers(what, customer, &ALL, (ME, 200)).await?);
        let what = "… with transfers as well (allow), each of which is booked once";
        let transfers = self.transfers_during(what, customer, (Loss::Nothing, Repeat::SameKey));
        found(transfers.await?);
        self.start_store()?;
        self.wait_for_store(true).await?;
        let what = "… it comes back: customers log in";
        found(Finding::of(what, self.log_in(customer, 4).await?, &[(200, 12)]));
        Ok(())
    }

    /// The way into a gateway, into another one for each turn.
    pub(super) fn door(&self, turn: usize) -> anyhow::Result<&FrontDoor> {
        self.doors.iter().cycle().nth(turn).context("no gateway")
    }

    /// A session that began at the second gateway.
    async fn another_session(&self, customer: &Customer) -> anyhow::Result<Customer> {
        self.door(1)?.log_in(&customer.email, &customer.password).await
    }

    /// Asks each of these gateways ten times; this status is expected.
    async fn answers(
        &self,
        what: &'static str,
        customer: &Customer,
        gateways: &[usize],
        (path, status): (&str, u16),
    ) -> anyhow::Result<Finding> {
        let seen = self.ask(customer, gateways, path, 10).await?;
        Ok(Finding::of(what, seen, &[(status, 10 * gateways.len())]))
    }

    async fn ask(
        &self,
        customer: &Customer,
        gateways: &[usize],
        path: &str,
        each: usize,
    ) -> anyhow::Result<Statuses> {
        let mut statuses = Statuses::new();
        for gateway in gateways {
            let customer = customer.through(self.door(*gateway)?);
            for _ in 0..each {
                let answer = customer.get(path).await;
                let status = answer.map_or(0, |answer| answer.status.as_u16());
                *statuses.entry(status).or_default() += 1;
            }
        }
        Ok(statuses)
    }

    /// Logs in at every gateway, so many times at each.
    async fn log_in(&self, customer: &Customer, each: usize) -> anyhow::Result<Statuses> {
        let form = json!({"email": customer.email, "password": customer.password});
        let mut statuses = Statuses::new();
        for turn in 0..ALL.len() * each {
            let answer = self.door(turn)?.post("/api/v1/auth/login", &form).await;
            let status = answer.map_or(0, |answer| answer.status.as_u16());
            *statuses.entry(status).or_default() += 1;
        }
        Ok(statuses)
    }

    /// Waits until all of these gateways answer so, which they must within a time since a moment.
    async fn time_until(
        &self,
        customer: &Customer,
        gateways: &[usize],
        (path, status): (&str, u16),
        (since, within): (Instant, Duration),
    ) -> anyhow::Result<(String, bool)> {
        eventually(&format!("{path} is answered {status}"), async || {
            let seen = self.ask(customer, gateways, path, 1).await;
            seen.is_ok_and(|seen| seen.into_keys().eq([status]))
        })
        .await?;
        let took = since.elapsed();
        Ok((format!("after {} ms", took.as_millis()), took <= within))
    }

    async fn answered_by_cores(&self) -> anyhow::Result<Vec<usize>> {
        let route = format!("route=\"{ME}\"");
        let mut answered = Vec::new();
        for core in &self.bank.cores {
            answered.push(core.sum("portico_service_requests_total{", &route).await?);
        }
        Ok(answered)
    }

    /// Waits until every gateway has heard the control plane since a moment.
    pub(super) async fn everybody_hears(&self, since: Instant) -> anyhow::Result<()> {
        for (place, gateway) in &self.gateways {
            eventually(&format!("{} hears the control plane", place.name), async || {
                let silent = gateway.metric("portico_fleet_age_seconds ").await;
                let silent = silent
                    .ok()
                    .flatten()
                    .and_then(|seconds| u64::try_from(seconds).ok());
                silent.is_some_and(|seconds| seconds < since.elapsed().as_secs())
            })
            .await?;
        }
        Ok(())
    }
}

/// The id of the session that somebody is in.
async fn session_of(customer: &Customer) -> anyhow::Result<String> {
    let sessions = customer.get("/api/v1/me/sessions").await?.expect(200)?;
    let sessions = sessions.body.get("data").and_then(Value::as_array);
    let is_current = |session: &&Value| session.get("current") == Some(&true.into());
    let current = sessions.into_iter().flatten().find(is_current);
    let id = current.and_then(|session| session.get("id")?.as_str());
    Ok(id.context("no session")?.to_owned())
}
