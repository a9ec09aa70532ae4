//! The claims: what Portico promises, how each promise is checked, and which damage must turn the check red.

mod agreement;
mod callers;
mod certificates;
mod database_login;
mod description;
mod durability;
mod entrance;
mod fleet_policy;
mod forged;
mod forwarding;
mod guesses;
mod headers;
mod isolation;
mod issuer;
mod kept_answers;
mod limits;
mod old_kek;
mod once;
mod operator;
mod partners;
mod patience;
mod policy_error;
mod refusal;
mod reload;
mod replaced;
mod revocation;
mod rotation;
mod secrecy;
mod shared_limits;
mod sockets;
mod stolen_key;

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
    Forwarding,
    Entrance,
    Headers,
    Description,
    Patience,
    Limits,
    Guesses,
    SharedLimits,
    PolicyError,
    Reload,
    Certificates,
    Partners,
    Once,
    KeptAnswers,
    Sockets,
    Drain,
    Upgrade,
    Agreement,
    Durability,
    Rotation,
    Revocation,
    StolenKey,
    OldKek,
    ForgedPolicy,
    Halt,
    Outage,
    DatabaseLogin,
    Secrecy,
    Isolation,
}

impl Claim {
    pub(crate) const ALL: [Self; 30] = [
        Self::Refusal,
        Self::Forwarding,
        Self::Entrance,
        Self::Headers,
        Self::Description,
        Self::Patience,
        Self::Limits,
        Self::Guesses,
        Self::SharedLimits,
        Self::PolicyError,
        Self::Reload,
        Self::Certificates,
        Self::Partners,
        Self::Once,
        Self::KeptAnswers,
        Self::Sockets,
        Self::Drain,
        Self::Upgrade,
        Self::Agreement,
        Self::Durability,
        Self::Rotation,
        Self::Revocation,
        Self::StolenKey,
        Self::OldKek,
        Self::ForgedPolicy,
        Self::Halt,
        Self::Outage,
        Self::DatabaseLogin,
        Self::Secrecy,
        Self::Isolation,
    ];

    pub(crate) const fn id(self) -> &'static str {
        match self {
            Self::Refusal => "refusal",
            Self::Forwarding => "forwarding",
            Self::Entrance => "entrance",
            Self::Headers => "headers",
            Self::Description => "description",
            Self::Patience => "patience",
            Self::Limits => "limits",
            Self::Guesses => "guesses",
            Self::SharedLimits => "shared-limits",
            Self::PolicyError => "policy-error",
            Self::Reload => "reload",
            Self::Certificates => "certificates",
            Self::Partners => "partners",
            Self::Once => "once",
            Self::KeptAnswers => "kept-answers",
            Self::Sockets => "sockets",
            Self::Drain => "drain",
            Self::Upgrade => "upgrade",
            Self::Agreement => "agreement",
            Self::Durability => "durability",
            Self::Rotation => "rotation",
            Self::Revocation => "revocation",
            Self::StolenKey => "stolen-key",
            Self::OldKek => "old-kek",
            Self::ForgedPolicy => "forged-policy",
            Self::Halt => "halt",
            Self::Outage => "outage",
            Self::DatabaseLogin => "database-login",
            Self::Secrecy => "secrecy",
            Self::Isolation => "isolation",
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each claim")]
    pub(crate) const fn statement(self) -> &'static str {
        match self {
            Self::Refusal => {
                "Without a valid token, no protected route answers, and the core never hears of it."
            }
            Self::Forwarding => {
                "Nothing reaches the core without a permit: no forged token, no other spelling, no hidden request."
            }
            Self::Entrance => {
                "Who asks for a name that is not ours gets no certificate, and nothing is served in clear."
            }
            Self::Headers => "Every answer carries the headers of the policy, whoever makes it.",
            Self::Description => "What the OpenAPI document of the core does not describe never reaches it.",
            Self::Patience => {
                "Who does not finish a request is cut off at the deadline of the policy, and holds nobody else up."
            }
            Self::Limits => {
                "A limit lets through exactly what the policy says, however many ask in the same moment."
            }
            Self::Guesses => {
                "Whoever knows a name gets a few guesses at its password, from as many addresses as he likes, and its owner signs in meanwhile."
            }
            Self::SharedLimits => {
                "Three gateways with one store let through together what the policy says, before and after the store is killed."
            }
            Self::PolicyError => {
                "A mistake in a policy file is found with its position, and changes nothing that runs."
            }
            Self::Reload => "Policies are replaced while requests go on, and not one request fails.",
            Self::Certificates => {
                "Certificates are replaced while requests go on: new connections see the new one, and not one fails."
            }
            Self::Partners => {
                "A route for partners is open to the certificates that the policy names, for as long as they stand, and to nothing else."
            }
            Self::Once => {
                "What may change something is sent to the bank once, whatever becomes of the answer."
            }
            Self::KeptAnswers => "What a gateway keeps for one person is never given to another.",
            Self::Sockets => {
                "A WebSocket ends with the token that opened it: when it expires, and when it is revoked."
            }
            Self::Drain => "A gateway that is told to stop cuts no request and no WebSocket.",
            Self::Upgrade => {
                "A gateway is replaced by a new process under load, and no request and no WebSocket is cut."
            }
            Self::Agreement => {
                "What `policy explain` says of a request is what the gateway does with it, to the very line of the policy."
            }
            Self::Durability => {
                "Killing the core in the middle of transfers loses nothing and does nothing twice."
            }
            Self::Rotation => "Rotating the signing key refuses no valid token.",
            Self::Revocation => "What is revoked is refused at the gateway within a second.",
            Self::StolenKey => {
                "A stolen signing key verifies nothing within five seconds, and people log in again at once."
            }
            Self::OldKek => {
                "Once a key-encryption key is replaced, a thief who has the old one and the database opens no private key."
            }
            Self::ForgedPolicy => {
                "A gateway of a fleet runs no policy that its control plane has not signed, for it and for now."
            }
            Self::Halt => "A policy that does harm is taken back by itself, before every gateway has it.",
            Self::Outage => {
                "Without the control plane people log in, gateways start again and new ones begin, and not one request fails."
            }
            Self::DatabaseLogin => "The password of the database is changed, and not one request fails.",
            Self::Secrecy => "No secret is in logs, metrics, files, environments or command lines.",
            Self::Isolation => {
                "In the database, without a tenant nothing is visible, and a stranger's rows never are."
            }
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each claim")]
    pub(crate) const fn method(self) -> &'static str {
        match self {
            Self::Refusal => {
                "Every route of the running policy that asks for a token is called without one, with an invented one, and \
                 with a real one whose signature is changed. Each call must be answered 401, and none may reach core-api."
            }
            Self::Forwarding => {
                "A good token is forged in every known way, put in other places and used without the scope that is asked for; paths are spelt in \
                 ways that servers confuse, and messages are framed so that two readers end them in different places, with a \
                 good token and a good request hidden inside. All go over raw TLS connections. Each must be refused, and core-api's \
                 own counter must not move; one good request, sent the same way, must move it by one."
            }
            Self::Entrance => {
                "TLS handshakes ask for names that the gateway has no certificate for; each must end with the alert \
                 `unrecognized_name`. In clear, every GET must be answered 308 to https on a host of the policy, and a token or \
                 another method 403."
            }
            Self::Headers => {
                "Answers of every kind are called forth: of the core, of the gateway, refusals of the policy, of paths and of HTTP \
                 itself, a reached limit and a redirect. Each must have every field of the policy's own profile, and none that it removes."
            }
            Self::Description => {
                "Bodies that differ from a good one in one way each are sent with a good token. Each must be answered 400 with a \
                 pointer to what is wrong, and core-api's own counter must not move; a good body must move it."
            }
            Self::Patience => {
                "Many clients begin a request and stop, some in its head and some in its body, while others call a protected route. Each of the \
                 first must be answered 408 and its connection closed; every other call must be answered 200."
            }
            Self::Limits => {
                "Wrong passwords for one account are sent all at once, several times over. As many as the policy allows must reach \
                 the core, no more and no fewer; the others must be answered 429."
            }
            Self::Guesses => {
                "Wrong passwords for one name are sent all at once, each from another address; then for a name that nobody has. As many \
                 as the policy allows must be looked at, the others answered 429, and so must the right password be from an address \
                 that is new. On the device that signed in before, it must be answered 200."
            }
            Self::SharedLimits => shared_limits::METHOD,
            Self::PolicyError => {
                "A key is misspelt in a policy file of the running gateway. `policy check` must name file, line, column and \
                 the key that was meant; the gateway must report the refusal, keep the hash of the old policy, and decide as before."
            }
            Self::Reload => {
                "Clients call a protected route without pause while one edit of the policy after another is put into force and \
                 taken back. Calls must be answered under each of them, and every answer must be 200."
            }
            Self::Certificates => certificates::METHOD,
            Self::Partners => partners::METHOD,
            Self::Once => once::METHOD,
            Self::KeptAnswers => kept_answers::METHOD,
            Self::Sockets => sockets::METHOD,
            Self::Drain => replaced::DRAIN,
            Self::Upgrade => replaced::UPGRADE,
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
            Self::Revocation => {
                "A token, a session and a person are revoked with `portico revoke` while their tokens are in use. Each must be \
                 answered 401, most of them within a second after the command has ended, and somebody else's token must stay good."
            }
            Self::StolenKey => {
                "The active signing key is revoked with `portico keys revoke`. A token that it signed must be answered 401 within five \
                 seconds; a log-in must give a token of another key, which is answered 200."
            }
            Self::OldKek => {
                "A new version of the key-encryption key is named in the settings; `portico kek` rotates, rewraps and retires. Every \
                 private key of the database is then tried with the secret of the old version, which must open none, and of the \
                 new one; tokens of before and of after must be good."
            }
            Self::ForgedPolicy => fleet_policy::FORGED,
            Self::Halt => fleet_policy::HALT,
            Self::Outage => fleet_policy::OUTAGE,
            Self::DatabaseLogin => {
                "The password of the core's role is changed, then the secret; connections of before are ended while they rest, and \
                 more clients than there are connections call at once. Every answer must be 200, over new connections."
            }
            Self::Secrecy => {
                "After log-ins, every secret of the system and of a customer is looked for in every file of the data directory but its \
                 own, and in the metrics, environment and command line of every process: raw, in hexadecimal and in base64."
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
            Self::Forwarding => "the attacked route is opened by policy",
            Self::Entrance => "the name is ours, and the calls go over TLS",
            Self::Headers => "one field is taken out of the profiles",
            Self::Description => "the document allows members of any name",
            Self::Patience => "the policy gives clients five minutes",
            Self::Limits => "the policy lets three more through",
            Self::Guesses => "the policy locks a name three guesses later",
            Self::SharedLimits => "each gateway counts for itself",
            Self::PolicyError => "the edit is a correct one",
            Self::Reload => "the edits ask for a scope that nobody has",
            Self::Certificates => "an authority that clients do not know issues the new ones",
            Self::Partners => "the route asks for no certificate",
            Self::Once => "the requests change nothing, by their method",
            Self::KeptAnswers => "the answer is public, by policy",
            Self::Sockets => "the sockets are open to anyone",
            Self::Drain | Self::Upgrade => "the process is killed",
            Self::Agreement => "one route of the running policy is not what the files said",
            Self::Durability => "clients repeat with a new idempotency key",
            Self::Rotation => "the old key is retired at once",
            Self::Revocation => "the revocations name another issuer",
            Self::StolenKey => "another key is revoked",
            Self::OldKek => "nothing is rewrapped",
            Self::ForgedPolicy => "the thief has the key that signs now",
            Self::Halt => "failures are not looked at",
            Self::Outage => "the core is away as well",
            Self::DatabaseLogin => "nobody tells the core of the new password",
            Self::Secrecy => "a password is written into a log",
            Self::Isolation => "row-level security is switched off",
        }
    }

    pub(crate) const fn rests_on(self) -> &'static [&'static str] {
        match self {
            Self::Refusal => &["J1", "J3", "J14", "J19", "J28"],
            Self::Forwarding => &["INV-A1", "FR-1", "FR-2", "PA-2", "J3", "J32", "AD-7"],
            Self::Entrance => &["TLS-2", "RD-1", "RD-2", "RD-4"],
            Self::Headers => &["INV-A20", "RD-4"],
            Self::Description => &["EDG-11"],
            Self::Patience => &["EDG-11", "FR-10"],
            Self::Limits => &["EDG-5"],
            Self::Guesses => &["CTL-2", "IDN-7"],
            Self::SharedLimits => &["EDG-5", "EDG-15"],
            Self::PolicyError => &["POL-1", "POL-2"],
            Self::Reload => &["INV-A3", "EDG-16"],
            Self::Certificates => &["TLS-4", "EDG-2"],
            Self::Partners => &["TLS-6", "TLS-3"],
            Self::Once => &["EDG-12"],
            Self::KeptAnswers => &["EDG-13"],
            Self::Sockets => &["J47", "EDG-14"],
            Self::Drain | Self::Upgrade => &["EDG-16"],
            Self::Agreement => &["POL-1", "POL-3"],
            Self::Durability => &["I1", "I2", "I3", "I5", "I6"],
            Self::Rotation => &["INV-1", "INV-5"],
            Self::Revocation => &["J41", "INV-A23"],
            Self::StolenKey => &["INV-2", "INV-4"],
            Self::OldKek => &["CTL-10"],
            Self::ForgedPolicy => &["CTL-8", "POL-5"],
            Self::Halt | Self::Outage => &["CTL-8"],
            Self::DatabaseLogin => &["CTL-4"],
            Self::Secrecy => &["INV-A17"],
            Self::Isolation => &["I13"],
        }
    }

    #[expect(clippy::cognitive_complexity, reason = "one arm for each claim")]
    pub(crate) async fn check(self, ground: &Ground) -> anyhow::Result<Verdict> {
        match self {
            Self::Refusal => refusal::check(ground).await,
            Self::Forwarding => forwarding::check(ground).await,
            Self::Entrance => entrance::check(ground).await,
            Self::Headers => headers::check(ground).await,
            Self::Description => description::check(ground).await,
            Self::Patience => patience::check(ground).await,
            Self::Limits => limits::check(ground).await,
            Self::Guesses => guesses::check(ground).await,
            Self::SharedLimits => shared_limits::check(ground).await,
            Self::PolicyError => policy_error::check(ground).await,
            Self::Reload => reload::check(ground).await,
            Self::Certificates => certificates::check(ground).await,
            Self::Partners => partners::check(ground).await,
            Self::Once => once::check(ground).await,
            Self::KeptAnswers => kept_answers::check(ground).await,
            Self::Sockets => sockets::check(ground).await,
            Self::Drain => replaced::drain(ground).await,
            Self::Upgrade => replaced::upgrade(ground).await,
            Self::Agreement => agreement::check(ground).await,
            Self::Durability => durability::check(ground).await,
            Self::Rotation => rotation::check(ground).await,
            Self::Revocation => revocation::check(ground).await,
            Self::StolenKey => stolen_key::check(ground).await,
            Self::OldKek => old_kek::check(ground).await,
            Self::ForgedPolicy => fleet_policy::forged(ground).await,
            Self::Halt => fleet_policy::halts(ground).await,
            Self::Outage => fleet_policy::outage(ground).await,
            Self::DatabaseLogin => database_login::check(ground).await,
            Self::Secrecy => secrecy::check(ground).await,
            Self::Isolation => isolation::check(ground).await,
        }
    }

    /// Damages the system, runs the same check, repairs the system. Must come back red.
    #[expect(clippy::cognitive_complexity, reason = "one arm for each claim")]
    pub(crate) async fn control(self, ground: &Ground) -> anyhow::Result<Verdict> {
        match self {
            Self::Refusal => refusal::control(ground).await,
            Self::Forwarding => forwarding::control(ground).await,
            Self::Entrance => entrance::control(ground).await,
            Self::Headers => headers::control(ground).await,
            Self::Description => description::control(ground).await,
            Self::Patience => patience::control(ground).await,
            Self::Limits => limits::control(ground).await,
            Self::Guesses => guesses::control(ground).await,
            Self::SharedLimits => shared_limits::control(ground).await,
            Self::PolicyError => policy_error::control(ground).await,
            Self::Reload => reload::control(ground).await,
            Self::Certificates => certificates::control(ground).await,
            Self::Partners => partners::control(ground).await,
            Self::Once => once::control(ground).await,
            Self::KeptAnswers => kept_answers::control(ground).await,
            Self::Sockets => sockets::control(ground).await,
            Self::Drain | Self::Upgrade => replaced::kill(ground).await,
            Self::Agreement => agreement::control(ground).await,
            Self::Durability => durability::control(ground).await,
            Self::Rotation => rotation::control(ground).await,
            Self::Revocation => revocation::control(ground).await,
            Self::StolenKey => stolen_key::control(ground).await,
            Self::OldKek => old_kek::control(ground).await,
            Self::ForgedPolicy => fleet_policy::signed(ground).await,
            Self::Halt => fleet_policy::unwatched(ground).await,
            Self::Outage => fleet_policy::outage_of_the_core(ground).await,
            Self::DatabaseLogin => database_login::control(ground).await,
            Self::Secrecy => secrecy::control(ground).await,
            Self::Isolation => isolation::control(ground).await,
        }
    }
}
