//! A policy that is only tried: it judges a copy of each request beside the policy in force, and where the two differ is
//! counted. It charges no limit, verifies no token anew, and changes no answer.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use fleet::{Position, ShadowCounts};
use policy::gcra::Granted;
use policy::{
    Charge, ClientCertificate, Decision, DenialKind, Evidence, IdentityProvider, LimitState, LimitStates,
    Outcome, Phase, Plan, Principal, Progress, RequestHead, RouteAuth, TokenFailure,
};

use crate::evidence::LiveEvidence;
use crate::policy_source::expectations;

/// The policy in shadow, if there is one.
#[derive(Debug, Default)]
pub(crate) struct ShadowSlot(ArcSwapOption<Shadow>);

/// A policy in shadow and what it would have done.
#[derive(Debug)]
pub(crate) struct Shadow {
    position: Position,
    plan: Plan,
    judged: AtomicU64,
    newly_denied: AtomicU64,
    newly_permitted: AtomicU64,
}

impl ShadowSlot {
    /// The policy in shadow.
    pub(crate) fn current(&self) -> arc_swap::Guard<Option<Arc<Shadow>>> {
        self.0.load()
    }

    /// Begins to try a policy, from zero.
    pub(super) fn begin(&self, position: Position, plan: Plan) {
        self.0.store(Some(Arc::new(Shadow {
            position,
            plan,
            judged: AtomicU64::new(0),
            newly_denied: AtomicU64::new(0),
            newly_permitted: AtomicU64::new(0),
        })));
    }

    /// Ends trying.
    pub(super) fn end(&self) {
        self.0.store(None);
    }

    /// What was counted.
    pub(super) fn counts(&self) -> Option<ShadowCounts> {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.0.load().as_ref().map(|shadow| ShadowCounts {
            position: shadow.position,
            judged: of(&shadow.judged),
            newly_denied: of(&shadow.newly_denied),
            newly_permitted: of(&shadow.newly_permitted),
        })
    }
}

impl Shadow {
    /// Judges a request that the policy in force has judged, and counts; not one of which the answer depends on what only
    /// the policy in force has asked for.
    pub(crate) fn judge(&self, head: &RequestHead<'_>, outcome: &Outcome, live: &LiveEvidence<'_>) {
        if !can_be_compared(&outcome.decision) {
            return;
        }
        let evidence = Copied {
            live,
            outcome,
            is_unknown: Cell::new(false),
        };
        let judged = match self.plan.begin(head, &evidence) {
            Progress::Decided(judged) => judged,
            Progress::NeedsBody(paused) if head.body.is_some() => self.plan.resume(paused, head, &evidence),
            Progress::NeedsBody(_) => return,
        };
        if evidence.is_unknown.get() {
            return;
        }
        let is_denied = |decision: &Decision| matches!(decision, Decision::Deny(_));
        self.judged.fetch_add(1, Ordering::Relaxed);
        let counter = match (is_denied(&outcome.decision), is_denied(&judged.decision)) {
            (false, true) => &self.newly_denied,
            (true, false) => &self.newly_permitted,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Limits are charged once, and a body that did not come whole is nobody's to judge.
fn can_be_compared(decision: &Decision) -> bool {
    let Decision::Deny(denial) = decision else {
        return true;
    };
    let is_limit = matches!(denial.phase, Phase::Limits | Phase::SubjectLimits);
    let is_body = matches!(
        denial.kind,
        DenialKind::PayloadTooLarge | DenialKind::RequestTimeout
    );
    !is_limit && !is_body
}

/// What the policy in force has asked for, and nothing else.
struct Copied<'r> {
    live: &'r LiveEvidence<'r>,
    outcome: &'r Outcome,
    /// Something was asked for that is not known.
    is_unknown: Cell<bool>,
}

impl Evidence for Copied<'_> {
    fn authenticate(&self, provider: &IdentityProvider, _: &str) -> Result<Arc<Principal>, TokenFailure> {
        let route = self.outcome.route.as_ref().map(|route| &route.auth);
        let is_same = matches!(route, Some(RouteAuth::Provider(asked)) if is_equal(asked, provider));
        let is_refused = matches!(
            &self.outcome.decision,
            Decision::Deny(denial) if denial.phase == Phase::Authentication
        );
        match self.live.token.get() {
            Some(accepted) if is_same => Ok(accepted.principal.clone()),
            None if is_same && is_refused => Err(TokenFailure::Refused("shadow")),
            _ => {
                self.is_unknown.set(true);
                Err(TokenFailure::Unavailable("shadow"))
            }
        }
    }

    fn client_certificate(&self) -> Result<Arc<ClientCertificate>, &'static str> {
        self.live.client_certificate()
    }

    fn knows_revocations(&self, within: Duration) -> bool {
        self.live.knows_revocations(within)
    }

    fn charge(&self, charges: &[Charge]) -> LimitStates {
        let granted = Granted {
            tat_ns: 0,
            remaining: 1,
            reset_ns: 0,
        };
        let state = |charge: &Charge| LimitState::after(charge.limit.clone(), Ok(granted));
        charges.iter().map(state).collect()
    }
}

/// Whether a token that is good for one is good for the other.
fn is_equal(one: &IdentityProvider, other: &IdentityProvider) -> bool {
    one.keys == other.keys && expectations(one) == expectations(other)
}
