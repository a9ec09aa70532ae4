//! Where a request may come from: lists that nothing is taken from, and lists that a route is open to.

use super::{DenialKind, Evaluation, Phase, Stop};
use crate::plan::{AddressRule, Rule};

static RULE_PEER: Rule = Rule::of_language("language: address AD-1");

impl Evaluation<'_> {
    /// The peer of the connection is the client (AD-1). What is refused here has touched no limit.
    pub(super) fn address(&mut self) -> Result<(), Stop> {
        let client = self.head.client;
        let denied = &self.plan.floor.deny_from;
        let route = self.route.clone();
        let allowed = route.as_ref().map(|route| &route.allow_from);
        if let Some(from) = denied.as_ref().filter(|from| from.contains(client)) {
            return Err(self.refuse_address(from));
        }
        match allowed.and_then(Option::as_ref) {
            Some(from) if from.contains(client) => {
                self.pass(Phase::Address, &from.rule, "the address may come here");
                Ok(())
            }
            Some(from) => Err(self.refuse_address(from)),
            None => {
                let rule = denied.as_ref().map_or(&RULE_PEER, |from| &from.rule);
                self.pass(Phase::Address, rule, "the peer is the client");
                Ok(())
            }
        }
    }

    fn refuse_address(&mut self, from: &AddressRule) -> Stop {
        self.refuse(
            DenialKind::AddressRefused,
            Phase::Address,
            &from.rule,
            "nothing is taken from this address here",
        )
    }
}
