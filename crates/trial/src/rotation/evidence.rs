//! What was seen of a run: tokens, requests, keys with the database's times, and what gateways held when.

/// Microseconds since the Unix epoch: in the evidence of a run every moment is true time, whatever a skewed node thinks.
pub type Micros = i64;

/// A second of them.
pub(super) const SECOND: Micros = 1_000_000;

/// The durations that the run was set up with, in seconds: the symbols of the design in brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Life of an access token (A).
    pub lifetime_s: i64,
    /// Clock skew allowance of each side (S).
    pub skew_s: i64,
    /// How long an issuer may go on with the old key (N).
    pub overlap_s: i64,
    /// Within this time a revoked key is refused by every connected gateway (R).
    pub revocation_s: i64,
    /// A gateway cut off for longer than this may say that it cannot know.
    pub max_age_s: i64,
    /// How long a retiring key keeps its private part.
    pub rollback_s: i64,
}

/// Who made a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// An issuer, for a session.
    Issued,
    /// The harness, with a private key it has stolen.
    Forged,
}

/// A token. It is named by its place in the evidence; its text is not kept, only its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// SHA-256 of the text.
    pub(super) hash: [u8; 32],
    /// The key that signed it.
    pub(super) kid: String,
    /// `iat`, Unix seconds.
    pub(super) issued_at_s: i64,
    /// `exp`, Unix seconds.
    pub(super) expires_at_s: i64,
    /// `sid`.
    pub(super) session: String,
    /// Who made it.
    pub(super) origin: Origin,
}

/// Who had to verify a token in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// The gateway alone: what is behind it lets everybody in, and is always there.
    Gateway,
    /// The gateway, and core-api behind it.
    Core,
}

/// A request with a token, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    /// Place of its token in the evidence.
    pub(super) token: usize,
    /// Number of the gateway.
    pub(super) gateway: usize,
    /// Who verified.
    pub(super) target: Target,
    /// When it was sent.
    pub(super) sent: Micros,
    /// When the answer was whole.
    pub(super) received: Micros,
    /// Its status; 0 when no answer came.
    pub(super) status: u16,
    /// The slug of its problem document; empty for none.
    pub(super) code: &'static str,
}

/// A log-in, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogIn {
    /// When it was sent.
    pub(super) sent: Micros,
    /// Its status; 0 when no answer came.
    pub(super) status: u16,
}

/// A key as the database has it at the end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Key {
    /// Its name.
    pub(super) kid: String,
    /// Its ring.
    pub(super) ring: String,
    /// When it was published.
    pub(super) published: Option<Micros>,
    /// The `seq` of its ring that told verifiers of it.
    pub(super) published_seq: Option<i64>,
    /// When it began to sign.
    pub(super) activated: Option<Micros>,
    /// When its successor took over.
    pub(super) retiring: Option<Micros>,
    /// Until when its tokens can have been issued, Unix seconds as verifiers are told: rounded up.
    pub(super) sign_until_s: Option<i64>,
    /// Until when it verifies, Unix seconds as verifiers are told: rounded up.
    pub(super) verify_until_s: Option<i64>,
    /// When it was revoked.
    pub(super) revoked: Option<Micros>,
}

/// From this moment on a gateway held this `seq` of the ring `access`, or a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// Number of the gateway.
    pub(super) gateway: usize,
    /// The `seq`.
    pub(super) seq: i64,
    /// The moment.
    pub(super) at: Micros,
}

/// A time in which a gateway could not hear the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CutOff {
    /// Number of the gateway.
    pub(super) gateway: usize,
    /// Its beginning.
    pub(super) from: Micros,
    /// Its end.
    pub(super) to: Micros,
}

/// A gateway was killed, and started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Absence {
    /// Number of the gateway.
    pub(super) gateway: usize,
    /// Just before it was killed.
    pub(super) from: Micros,
    /// When it was dead, just before the next process of it was started.
    pub(super) to: Micros,
}

/// How many keys of a ring were active in a committed snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// The ring.
    pub(super) ring: String,
    /// Its active keys.
    pub(super) active: i64,
    /// The database's time.
    pub(super) at: Micros,
}

/// A dump of the database, searched for private keys by somebody who has the key-encryption key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Dump {
    /// When it was taken, in the database's time.
    pub(super) at: Micros,
    /// The keys whose private part it gave away.
    pub(super) opened: Vec<String>,
}

/// Everything that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Evidence {
    /// What the run was set up with.
    pub(super) terms: Terms,
    /// Every token.
    pub(super) tokens: Vec<Token>,
    /// Every request.
    pub(super) requests: Vec<Request>,
    /// Every log-in.
    pub(super) log_ins: Vec<LogIn>,
    /// Every key of every ring.
    pub(super) keys: Vec<Key>,
    /// Keys that were called back, as the database had them before: each signed once more than its row tells at the end.
    pub(super) called_back: Vec<Key>,
    /// What gateways held when.
    pub(super) held: Vec<Held>,
    /// When they could not hear.
    pub(super) cut_off: Vec<CutOff>,
    /// When they were dead.
    pub(super) absences: Vec<Absence>,
    /// Sessions that were ended, and when.
    pub(super) ended_sessions: Vec<(String, Micros)>,
    /// The ring as others saw it during the run.
    pub(super) snapshots: Vec<Snapshot>,
    /// What a dump gives away; none where nobody here has the key-encryption key.
    pub(super) dump: Option<Dump>,
}
