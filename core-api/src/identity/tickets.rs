//! What the tickets of mails have in common: they are asked for with one answer, and used once.

use http::StatusCode;
use http::request::Parts;
use problem::{FieldError, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::error::{INVALID_TICKET, crypto_failure};
use super::profile::Email;
use super::store::TicketOf;
use super::tokens::CryptoFailure;
use crate::database_problem;
use crate::extract::{Json, invalid};
use crate::mail::{Addressee, Kind, Language, Mail, MailToken};
use crate::state::AppState;

/// An address that a mail is wanted for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"email": "alice@example.com"}))]
pub(super) struct Address {
    /// The address of the account.
    #[schema(format = Email, max_length = 254)]
    pub(super) email: String,
}

/// The ticket out of a mail.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"token": "mZ1b0rWJ0kq3w1Vn4V0m8b7c6d5e4f3g2h1i0jKLMNO"}))]
pub(super) struct TicketUse {
    /// What stands behind the `#` of the link.
    #[schema(max_length = 128, value_type = String)]
    #[serde(deserialize_with = "super::secret_text::deserialize")]
    pub(super) token: Zeroizing<String>,
}

/// What everybody is told who asks for something that a mail brings.
#[derive(Serialize, ToSchema)]
pub(super) struct Accepted {
    /// Always `accepted`.
    #[schema(example = "accepted")]
    status: &'static str,
}

/// The one answer, whatever happens behind it.
pub(super) fn accepted() -> (StatusCode, Json<Accepted>) {
    (StatusCode::ACCEPTED, Json(Accepted { status: "accepted" }))
}

/// A mail with a new ticket.
pub(super) struct TicketMail {
    mail: Mail,
    token_hash: Vec<u8>,
    lifetime_s: i32,
}

impl TicketMail {
    /// To whoever has the address when the mail is sent; none without random numbers, and of a kind that brings no ticket.
    pub(super) fn new(parts: &Parts, kind: Kind, to: &str) -> Option<Self> {
        let token = MailToken::generate()?;
        let ticket = kind.ticket()?;
        Some(Self {
            token_hash: token.hash(),
            lifetime_s: ticket.lifetime_s,
            mail: Mail {
                kind,
                to: to.to_owned(),
                addressee: Addressee::Address,
                language: Language::asked_for(&parts.headers).unwrap_or_default(),
                token: Some(token),
                new_address: None,
            },
        })
    }

    /// To a user, about a new address; his ticket is given with the request.
    pub(super) fn about_address(mut self, user: Uuid, new_address: &str) -> Self {
        self.mail.addressee = Addressee::User(user);
        self.mail.new_address = Some(new_address.to_owned());
        self
    }

    pub(super) const fn as_mail(&self) -> &Mail {
        &self.mail
    }

    pub(super) fn as_ticket(&self) -> TicketOf<'_> {
        TicketOf {
            token_hash: &self.token_hash,
            lifetime_s: self.lifetime_s,
        }
    }
}

/// Queues a mail for an address, whether or not anybody has it: the same work, the same answer.
pub(super) async fn send_to(
    state: &AppState,
    parts: &Parts,
    kind: Kind,
    address: &Address,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    let email = Email::parse(&address.email).ok_or_else(no_address)?;
    let mail = TicketMail::new(parts, kind, email.as_str()).ok_or_else(no_ticket)?;
    let mut tx = state.db.begin().await.map_err(database_problem)?;
    state.post.enqueue(&mut tx, mail.as_mail(), state.now()).await?;
    tx.commit().await.map_err(database_problem)?;
    state.post.wake();
    Ok(accepted())
}

/// What was given is no address.
pub(super) fn no_address() -> Problem {
    let detail = "must be an e-mail address such as alice@example.com";
    invalid(vec![FieldError::new("/email", "invalid_value", detail)])
}

/// No ticket could be made.
pub(super) fn no_ticket() -> Problem {
    crypto_failure(CryptoFailure)
}

/// What the database knows of a token; none of a text that is no token, which is refused as one that is not good.
pub(super) fn hash_of(token: &str) -> Option<Vec<u8>> {
    MailToken::parse(token).map(|token| token.hash())
}

/// The ticket is not good: why, nobody is told.
pub(super) fn not_good() -> Problem {
    Problem::new(INVALID_TICKET).detail("ask for a new mail")
}
