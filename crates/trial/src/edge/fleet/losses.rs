//! What a fleet loses, one thing after the other, and what became of requests.

use anyhow::Context as _;

use super::super::client::Door;
use super::super::flood::{Statuses, flood};
use super::super::network::Network;
use super::{BURST, Finding, Fleet};

impl Fleet {
    /// So many requests to each of these gateways, all at once.
    async fn flood(&self, gateways: &[usize], path: &'static str, each: usize) -> anyhow::Result<Statuses> {
        let mut doors = Vec::new();
        for index in gateways {
            let (place, _) = self.gateways.get(*index).context("no such gateway")?;
            doors.push(Door::new(vec![place.https], self.site.client_config()?));
        }
        Ok(flood(&doors, path, each).await)
    }

    async fn find(
        &self,
        what: &'static str,
        gateways: &[usize],
        (path, each): (&'static str, usize),
        expected: &[(u16, usize)],
    ) -> anyhow::Result<Finding> {
        let seen = self.flood(gateways, path, each).await?;
        Ok(Finding::of(what, seen, expected))
    }

    /// Loses one thing after the other, and says what became of requests.
    ///
    /// # Errors
    /// When something does not come back.
    pub async fn lose_everything_once(
        &mut self,
        mut show: impl FnMut(&Finding),
    ) -> anyhow::Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let mut found = |finding: Finding| {
            show(&finding);
            findings.push(finding);
        };
        let what = "three gateways: a limit of 60 is 60 for all of them";
        found(
            self.find(what, &[0, 1, 2], ("/exact", 30), &[(200, BURST), (429, 30)])
                .await?,
        );
        let what = "control: gateways that count alone: 60 for all of them";
        let control = self.find(
            what,
            &[0, 1, 2],
            ("/alone", 60),
            &[(200, BURST), (429, 2 * BURST)],
        );
        found(control.await?.control());
        self.lose_processes(&mut found).await?;
        self.cut_links(&mut found).await?;
        self.lose_store(&mut found).await?;
        self.cut_store(&mut found).await?;
        if Self::leaves_out().is_none() {
            self.spoil_links(&mut found).await?;
        }
        Ok(findings)
    }

    /// A gateway and a core are killed, and come back.
    async fn lose_processes(&mut self, found: &mut impl FnMut(Finding)) -> anyhow::Result<()> {
        self.kill_gateway(0).await?;
        let what = "a gateway is killed: the others serve";
        found(self.find(what, &[1, 2], ("/fast", 40), &[(200, 80)]).await?);
        let what = "… and go on counting where all had been";
        found(self.find(what, &[1, 2], ("/exact", 10), &[(429, 20)]).await?);
        self.revive_gateway(0).await?;
        let what = "… it comes back and has forgotten nothing";
        found(self.find(what, &[0], ("/exact", 10), &[(429, 10)]).await?);
        self.cores.remove("core1");
        let what = "a core is killed: the other one takes over";
        found(self.find(what, &[0, 1, 2], ("/fast", 40), &[(200, 120)]).await?);
        self.start_core("core1")
    }

    /// The links of a core and of a gateway are cut, and mended.
    async fn cut_links(&mut self, found: &mut impl FnMut(Finding)) -> anyhow::Result<()> {
        self.network.cut("core2")?;
        let what = "the link of the other core is cut: the first one takes over";
        found(self.find(what, &[0, 1, 2], ("/fast", 40), &[(200, 120)]).await?);
        self.network.mend("core2")?;
        self.network.cut("gateway3")?;
        let what = "the link of a gateway is cut: the others serve";
        found(self.find(what, &[0, 1], ("/fast", 40), &[(200, 80)]).await?);
        self.network.mend("gateway3")?;
        self.wait_for_store(true).await?;
        let what = "… it is mended: that one serves, and has forgotten nothing";
        found(self.find(what, &[2], ("/exact", 10), &[(429, 10)]).await?);
        Ok(())
    }

    /// The store is killed, and comes back empty. Each step needs a limit of which nothing is used: what a gateway has seen
    /// exhausted, it refuses by itself.
    async fn lose_store(&mut self, found: &mut impl FnMut(Finding)) -> anyhow::Result<()> {
        let all = &[0, 1, 2];
        self.store.take().context("no store")?.kill().await?;
        self.wait_for_store(false).await?;
        let what = "the store is killed: deny refuses";
        found(self.find(what, all, ("/spare", 10), &[(503, 30)]).await?);
        // The process of the gateway that was killed before still counts as a fourth.
        let part = BURST / 4;
        let what = "… local: each gateway grants its part";
        found(
            self.find(
                what,
                all,
                ("/local", 80),
                &[(200, 3 * part), (429, 240 - 3 * part)],
            )
            .await?,
        );
        let what = "… allow lets pass";
        found(self.find(what, all, ("/open", 80), &[(200, 240)]).await?);
        let what = "control: that route as if it said deny";
        let control = self.find(what, all, ("/open", 10), &[(503, 30)]);
        found(control.await?.control());
        self.start_store()?;
        self.wait_for_store(true).await?;
        let what = "… it comes back empty: 60 for all of them, and not one more";
        found(
            self.find(what, all, ("/spare", 30), &[(200, BURST), (429, 30)])
                .await?,
        );
        Ok(())
    }

    /// Its link is cut, and mended.
    async fn cut_store(&mut self, found: &mut impl FnMut(Finding)) -> anyhow::Result<()> {
        let all = &[0, 1, 2];
        self.network.cut("store")?;
        let what = "the link of the store is cut, and nobody knows yet: allow lets pass";
        found(self.find(what, all, ("/open", 10), &[(200, 30)]).await?);
        self.wait_for_store(false).await?;
        let what = "… known: deny refuses";
        found(self.find(what, all, ("/other", 10), &[(503, 30)]).await?);
        self.network.mend("store")?;
        self.wait_for_store(true).await?;
        let what = "… it is mended: 60 for all of them";
        found(
            self.find(what, all, ("/other", 30), &[(200, BURST), (429, 30)])
                .await?,
        );
        let what = "… and what was counted before is";
        found(self.find(what, all, ("/spare", 10), &[(429, 30)]).await?);
        Ok(())
    }

    /// The links of a gateway, of a core and of the store are late and lose packets.
    async fn spoil_links(&mut self, found: &mut impl FnMut(Finding)) -> anyhow::Result<()> {
        let all = &[0, 1, 2];
        let bad = ["gateway1", "core1", "store"];
        bad.iter().try_for_each(|node| self.network.make_bad(node))?;
        let what = "the links of a gateway, a core and the store are late and lose packets: all serve";
        let how = format!("they {}", Network::badness());
        let served = self.find(what, all, ("/fast", 40), &[(200, 120)]);
        found(served.await?.and_that((how, true)));
        let what = "… and 60 are 60 for all of them";
        found(
            self.find(what, all, ("/late", 30), &[(200, BURST), (429, 30)])
                .await?,
        );
        bad.iter().try_for_each(|node| self.network.make_good(node))?;
        self.wait_for_store(true).await
    }
}
