//! Limits that all gateways count together: an outcome is final once their store was asked, or could not be.

use super::{Charge, Decision, LimitState, LimitStates, Outcome, charges};
use crate::plan::{CountIn, Mode, OnStoreDown};
use std::time::Duration;

impl Outcome {
    /// Every charge of a request that a shared limit counts, local ones included, as long as the store was not asked;
    /// else none.
    #[must_use]
    pub fn unconfirmed(&self) -> &[Charge] {
        &self.unconfirmed
    }

    /// Takes what the store said of the shared limits. One that refuses refuses the request, whatever was decided:
    /// its place is before that. Shared limits without a state are not reported.
    pub fn confirm(&mut self, states: &[LimitState]) {
        let state_of = |name: &str| states.iter().find(|state| state.limit.name == name).cloned();
        let limits = std::mem::take(&mut self.limits);
        self.limits = limits
            .into_iter()
            .filter_map(|state| {
                if state.limit.is_shared() {
                    state_of(&state.limit.name)
                } else {
                    Some(state)
                }
            })
            .collect();
        self.unconfirmed.clear();
        if let Some(refused) = states.iter().find(|state| state.refuses()) {
            let denial = charges::limited(charges::phase_of(&refused.limit), states);
            self.decision = Decision::Deny(denial);
        }
        if let Decision::Permit(permit) = &mut self.decision {
            permit.is_confirmed = true;
        }
    }

    /// Does what the policy says when the store cannot be asked. `charge` counts on this gateway, from what the store
    /// said last; `retry_after` is when the store will be asked again.
    pub fn without_store(&mut self, retry_after: Duration, charge: impl FnOnce(&[Charge]) -> LimitStates) {
        let refusing = self.unconfirmed.iter().find(|charge| {
            charge.limit.mode == Mode::Enforce && charge.limit.count_in == CountIn::Store(OnStoreDown::Deny)
        });
        if let Some(refusing) = refusing {
            self.decision = Decision::Deny(charges::without_store(&refusing.limit, retry_after));
            return self.confirm(&[]);
        }
        let local: Vec<Charge> = self
            .unconfirmed
            .iter()
            .filter(|charge| charge.limit.count_in == CountIn::Store(OnStoreDown::Local))
            .cloned()
            .collect();
        let states = if local.is_empty() {
            LimitStates::new()
        } else {
            charge(&local)
        };
        self.confirm(&states);
    }
}
