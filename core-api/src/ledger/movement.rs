//! A movement of money as the ledger is asked for it, and the reasons for which the ledger refuses one.

use chrono::{DateTime, Utc};
use problem::{Problem, ProblemType};

use crate::idempotency::{IdempotencyKey, RequestHash};
use crate::identity::Caller;
use crate::ids::{AccountId, SessionId, TenantId, TransferId, UserId};
use crate::money::{Amount, Currency};

/// There is no such account, or the caller may not know of it.
pub(crate) const ACCOUNT_NOT_FOUND: ProblemType =
    ProblemType::new("account-not-found", 404, "There is no such account");
/// The account to debit has less than the amount.
pub(crate) const INSUFFICIENT_FUNDS: ProblemType =
    ProblemType::new("insufficient-funds", 422, "The account has insufficient funds");
/// An account keeps another currency than the one named.
pub(crate) const CURRENCY_MISMATCH: ProblemType =
    ProblemType::new("currency-mismatch", 422, "The account keeps another currency");
/// An account is frozen or closed.
pub(crate) const ACCOUNT_BLOCKED: ProblemType =
    ProblemType::new("account-blocked", 422, "An account does not take this movement");
/// The account would hold more than it may.
pub(crate) const BALANCE_LIMIT: ProblemType = ProblemType::new(
    "balance-limit-exceeded",
    422,
    "The account would hold more than it may",
);

/// What kind of movement, with its number in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Cash into an account.
    Deposit,
    /// Cash out of an account.
    Withdrawal,
    /// From one account to another.
    Transfer,
}

impl Kind {
    /// The number that `ledger.entry.kind` keeps.
    pub(crate) const fn number(self) -> i16 {
        match self {
            Self::Deposit => 1,
            Self::Withdrawal => 2,
            Self::Transfer => 3,
        }
    }

    /// The kind with this number.
    pub(crate) const fn from_number(number: i16) -> Option<Self> {
        match number {
            1 => Some(Self::Deposit),
            2 => Some(Self::Withdrawal),
            3 => Some(Self::Transfer),
            _ => None,
        }
    }

    /// The word in answers, hashes and metric labels.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Deposit => "deposit",
            Self::Withdrawal => "withdrawal",
            Self::Transfer => "transfer",
        }
    }
}

/// A movement that a slice wants, before it has its identity.
#[derive(Debug)]
pub(crate) struct MovementDraft {
    pub(crate) kind: Kind,
    /// The account to debit; None is the bank's cash.
    pub(crate) debit: Option<AccountId>,
    /// The account to credit; None is the bank's cash.
    pub(crate) credit: Option<AccountId>,
    pub(crate) amount: Amount,
    pub(crate) currency: Currency,
    pub(crate) reference: Option<String>,
    pub(crate) booked_at: DateTime<Utc>,
}

/// One movement, ready for the ledger. Its id follows from tenant, user and key alone (I6).
#[derive(Debug, Clone)]
pub(crate) struct Movement {
    pub(super) id: TransferId,
    pub(super) session: SessionId,
    pub(super) user: UserId,
    pub(super) tenant: TenantId,
    pub(super) key: IdempotencyKey,
    pub(super) request_hash: RequestHash,
    pub(super) kind: Kind,
    pub(super) debit: Option<AccountId>,
    pub(super) credit: Option<AccountId>,
    pub(super) amount: Amount,
    pub(super) currency: Currency,
    pub(super) reference: Option<String>,
    pub(super) booked_at: DateTime<Utc>,
    /// The answer when it posts, as the client will read it.
    pub(super) body: Vec<u8>,
    pub(super) request_id: String,
}

impl Movement {
    /// The id that a caller's key leads to.
    pub(crate) fn id_for<S>(caller: &Caller<S>, key: &IdempotencyKey) -> TransferId {
        TransferId::derived(
            "movement",
            &[
                caller.tenant.uuid().as_bytes(),
                caller.user.uuid().as_bytes(),
                key.as_str().as_bytes(),
            ],
        )
    }

    /// Completes a draft; `body` is the answer to give when it posts.
    pub(crate) fn new<S>(
        caller: &Caller<S>,
        key: IdempotencyKey,
        draft: MovementDraft,
        body: Vec<u8>,
    ) -> Self {
        let text = |account: Option<AccountId>| account.map(|id| id.to_string());
        let request_hash = RequestHash::of(
            draft.kind.as_str(),
            &[
                text(draft.debit).as_deref(),
                text(draft.credit).as_deref(),
                Some(&draft.amount.minor().to_string()),
                Some(draft.currency.as_str()),
                draft.reference.as_deref(),
            ],
        );
        Self {
            id: Self::id_for(caller, &key),
            session: caller.session,
            user: caller.user,
            tenant: caller.tenant,
            key,
            request_hash,
            kind: draft.kind,
            debit: draft.debit,
            credit: draft.credit,
            amount: draft.amount,
            currency: draft.currency,
            reference: draft.reference,
            booked_at: draft.booked_at,
            body,
            request_id: caller.request_id.clone(),
        }
    }

    /// Whether two movements are in each other's way: one statement cannot decide both.
    pub(super) fn is_twin_of(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// Why the ledger refuses a movement. The numbers are those of `core.commit_movements`; the first ones are kept and
/// repeated as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The account that the caller names as his own is not his, or is not there.
    AccountNotFound,
    /// An account keeps another currency.
    CurrencyMismatch,
    /// The debit cap.
    InsufficientFunds,
    /// Frozen or closed.
    AccountBlocked,
    /// The credit cap.
    BalanceLimit,
    /// The account to pay to is not there.
    CreditorNotFound,
}

impl Refusal {
    pub(super) const ALL: [Self; 6] = [
        Self::AccountNotFound,
        Self::CurrencyMismatch,
        Self::InsufficientFunds,
        Self::AccountBlocked,
        Self::BalanceLimit,
        Self::CreditorNotFound,
    ];

    /// The code that the posting statement gives.
    pub(super) const fn code(self) -> usize {
        match self {
            Self::AccountNotFound => 2,
            Self::CurrencyMismatch => 3,
            Self::InsufficientFunds => 4,
            Self::AccountBlocked => 5,
            Self::BalanceLimit => 8,
            Self::CreditorNotFound => 9,
        }
    }

    /// The refusal as a client reads it. The same text every time: it is kept and repeated.
    pub(super) fn problem(self) -> Problem {
        match self {
            Self::AccountNotFound => Problem::new(ACCOUNT_NOT_FOUND).detail("you have no such account"),
            Self::CurrencyMismatch => Problem::new(CURRENCY_MISMATCH).field_error(
                "/currency",
                "currency_mismatch",
                "must be the currency of the accounts",
            ),
            Self::InsufficientFunds => Problem::new(INSUFFICIENT_FUNDS),
            Self::AccountBlocked => Problem::new(ACCOUNT_BLOCKED).detail("an account is frozen or closed"),
            Self::BalanceLimit => Problem::new(BALANCE_LIMIT),
            Self::CreditorNotFound => Problem::new(ACCOUNT_NOT_FOUND).field_error(
                "/to_account_id",
                "not_found",
                "there is no such account to pay to",
            ),
        }
    }

    /// The word for metric labels.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::AccountNotFound => "account_not_found",
            Self::CurrencyMismatch => "currency_mismatch",
            Self::InsufficientFunds => "insufficient_funds",
            Self::AccountBlocked => "account_blocked",
            Self::BalanceLimit => "balance_limit",
            Self::CreditorNotFound => "creditor_not_found",
        }
    }
}
