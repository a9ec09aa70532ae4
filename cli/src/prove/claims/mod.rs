//! The claims: what Portico promises, how each promise is checked, and which damage must turn the check red.

mod agreement;
mod durability;
mod isolation;
mod policy_error;
mod refusal;
mod rotation;

use serde::Serialize;

use super::ground::Ground;

/// What a check found.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Verdict {
    /// What was done and seen, in sentences an auditor can follow.
    pub(crate) facts: Vec<String>,
    /// What contradicts the claim. None means green.
    pub(crate) failures: Vec<String>,
}

impl Verdict {
    pub(crate) fn impossible(error: &anyhow::Error) -> Self {
        Self {
            facts: Vec::new(),
            failures: vec![format!("could not be carried out: {error:#}")],
        }
    }

    pub(crate) fn is_green(&self) -> bool {
        self.failures.is_empty()
    }

    fn fact(&mut self, fact: impl Into<String>) {
        self.facts.push(fact.into());
    }

    fn fail(&mut self, failure: impl Into<String>) {
        self.failures.push(failure.into());
    }

    fn fail_unless(&mut self, holds: bool, failure: impl FnOnce() -> String) {
        if !holds {
            self.failures.push(failure());
        }
    }
}

/// One claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    Refusal,
    PolicyError,
    Agreement,
    Durability,
    Rotation,
    Isolation,
}

impl Claim {
    pub(crate) const ALL: [Self; 6] = [
        Self::Refusal,
        Self::PolicyError,
        Self::Agreement,
        Self::Durability,
        Self::Rotation,
        Self::Isolation,
    ];

    pub(crate) const fn id(self) -> &'static str {
        match self {
            Self::Refusal => "refusal",
            Self::PolicyError => "policy-error",
            Self::Agreement => "agreement",
            Self::Durability => "durability",
            Self::Rotation => "rotation",
            Self::Isolation => "isolation",
        }
    }

    pub(crate) const fn statement(self) -> &'static str {
        match self {
            Self::Refusal => {
                "Without a valid token, no protected route answers, and the core never hears of it."
            }
            Self::PolicyError => {
                "A mistake in a policy file is found with its position, and changes nothing that runs."
            }
            Self::Agreement => {
                "What `policy explain` says of a request is what the gateway does with it, to the very line of the policy."
            }
            Self::Durability => {
                "Killing the core in the middle of transfers loses nothing and does nothing twice."
            }
            Self::Rotation => "Rotating the signing key refuses no valid token.",
            Self::Isolation => {
                "In the database, without a tenant nothing is visible, and a stranger's rows never are."
            }
        }
    }

    pub(crate) const fn method(self) -> &'static str {
        match self {
            Self::Refusal => {
                "Every route of the running policy that asks for a token is called without one, with an invented one, and \
                 with a real one whose signature is changed. Each call must be answered 401, and none may reach core-api."
            }
            Self::PolicyError => {
                "A key is misspelt in a policy file of the running gateway. `policy check` must name file, line, column and \
                 the key that was meant; the gateway must report the refusal, keep the hash of the old policy, and decide as before."
            }
            Self::Agreement => {
                "Every route of the running policy is called with and without a token, and some requests that belong to no \
                 route. The decision, the route, the policy line and the status of a refusal in the gateway's log must be those \
                 that the evaluator gives for the same request offline."
            }
            Self::Durability => {
                "Parallel clients make transfers through the gateway, each repeated with its own idempotency key until it is \
                 acknowledged. core-api is killed with SIGKILL twice meanwhile. Afterwards an auditor reads the books: every \
                 acknowledged transfer stands there exactly once, every balance is what the acknowledgements add up to, and the \
                 ledger's invariants hold."
            }
            Self::Rotation => {
                "Clients call a protected route without pause while the signing key is rotated; a token of the new \
                 key is used at once, beside one of the old key, until the gateway has the new key set and beyond. Every answer must be 200."
            }
            Self::Isolation => {
                "The books are read with the database role of the core, table by table: once with no tenant set, once as one \
                 customer. Nothing may be visible in the first case, and in the second only rows of that customer."
            }
        }
    }

    pub(crate) const fn damage(self) -> &'static str {
        match self {
            Self::Refusal => "one route is opened by policy",
            Self::PolicyError => "the edit is a correct one",
            Self::Agreement => "one route of the running policy is not what the files said",
            Self::Durability => "clients repeat with a new idempotency key",
            Self::Rotation => "the old key is retired at once",
            Self::Isolation => "row-level security is switched off",
        }
    }

    pub(crate) const fn rests_on(self) -> &'static [&'static str] {
        match self {
            Self::Refusal => &["J1", "J3", "J14", "J19", "J28"],
            Self::PolicyError => &["POL-1", "POL-2"],
            Self::Agreement => &["POL-1", "POL-3"],
            Self::Durability => &["I1", "I2", "I3", "I5", "I6"],
            Self::Rotation => &["INV-1", "INV-5"],
            Self::Isolation => &["I13"],
        }
    }

    pub(crate) async fn check(self, ground: &Ground) -> anyhow::Result<Verdict> {
        match self {
            Self::Refusal => refusal::check(ground).await,
            Self::PolicyError => policy_error::check(ground).await,
            Self::Agreement => agreement::check(ground).await,
            Self::Durability => durability::check(ground).await,
            Self::Rotation => rotation::check(ground).await,
            Self::Isolation => isolation::check(ground).await,
        }
    }

    /// Damages the system, runs the same check, repairs the system. Must come back red.
    pub(crate) async fn control(self, ground: &Ground) -> anyhow::Result<Verdict> {
        match self {
            Self::Refusal => refusal::control(ground).await,
            Self::PolicyError => policy_error::control(ground).await,
            Self::Agreement => agreement::control(ground).await,
            Self::Durability => durability::control(ground).await,
            Self::Rotation => rotation::control(ground).await,
            Self::Isolation => isolation::control(ground).await,
        }
    }
}
