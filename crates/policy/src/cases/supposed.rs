//! What a pure function cannot know, as a case supposes it: tokens, and counters on a clock that the case moves.

use super::token::Token;
use crate::{
    Charge, ClientCertificate, Evidence, IdentityProvider, LimitState, LimitStates, Mode, Principal,
    TokenFailure,
    gcra::{Denied, Granted},
};
use smallvec::SmallVec;
use std::{cell::RefCell, collections::HashMap, sync::Arc, time::Duration};

/// Exact counters, all fresh, and a clock at zero.
#[derive(Debug, Default)]
pub(super) struct Counters {
    now_ns: u64,
    /// Theoretical arrival time by key, in nanoseconds.
    arrivals: RefCell<HashMap<SmallVec<[u8; 128]>, u64>>,
}

impl Counters {
    /// Lets time pass.
    pub(super) fn pass(&mut self, time: Duration) {
        let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.now_ns = self.now_ns.saturating_add(time_ns);
    }

    /// How long the case has been running.
    pub(super) const fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.now_ns)
    }

    /// Gives back at once what was reserved for a failure that did not happen.
    pub(super) fn refund(&self, charges: &[Charge]) {
        let mut arrivals = self.arrivals.borrow_mut();
        for charge in charges {
            if let Some(tat_ns) = arrivals.get_mut(&charge.key) {
                *tat_ns = charge.limit.gcra.refund(*tat_ns, charge.cost);
            }
        }
    }

    fn charge(&self, charges: &[Charge]) -> LimitStates {
        let mut arrivals = self.arrivals.borrow_mut();
        let decide = |charge: &Charge| {
            let tat_ns = arrivals.get(&charge.key).copied().unwrap_or(0);
            charge.limit.gcra.decide(tat_ns, self.now_ns, charge.cost)
        };
        let decisions: Vec<_> = charges.iter().map(decide).collect();
        let is_refused = |(charge, decision): (&Charge, &Result<Granted, Denied>)| {
            decision.is_err() && charge.limit.mode == Mode::Enforce
        };
        if !charges.iter().zip(&decisions).any(is_refused) {
            for (charge, decision) in charges.iter().zip(&decisions) {
                if let Ok(granted) = decision {
                    arrivals.insert(charge.key.clone(), granted.tat_ns);
                }
            }
        }
        let states = charges.iter().zip(decisions);
        states
            .map(|(charge, decision)| LimitState::after(charge.limit.clone(), decision))
            .collect()
    }
}

/// The counters of a case, and the token of one of its requests.
pub(super) struct Supposed<'c> {
    pub(super) counters: &'c Counters,
    pub(super) token: &'c Token,
    pub(super) client_certificate: Option<&'c Arc<ClientCertificate>>,
    pub(super) supposes_content: bool,
}

impl Evidence for Supposed<'_> {
    fn supposes_content(&self) -> bool {
        self.supposes_content
    }

    fn authenticate(&self, asked: &IdentityProvider, _token: &str) -> Result<Arc<Principal>, TokenFailure> {
        match self.token {
            Token::Good {
                provider,
                subject,
                scopes,
            } if provider.value == asked.name => Ok(Arc::new(Principal {
                subject: subject.clone(),
                session: None,
                tenant: None,
                scopes: scopes.clone(),
            })),
            Token::Good { .. } => Err(TokenFailure::Refused("another provider's")),
            Token::Missing | Token::Refused => Err(TokenFailure::Refused("supposed")),
            Token::Unavailable => Err(TokenFailure::Unavailable("no_key_set")),
        }
    }

    fn knows_revocations(&self, _: Duration) -> bool {
        true
    }

    fn client_certificate(&self) -> Result<Arc<ClientCertificate>, &'static str> {
        self.client_certificate.cloned().ok_or("no_client_certificate")
    }

    fn charge(&self, charges: &[Charge]) -> LimitStates {
        self.counters.charge(charges)
    }
}
