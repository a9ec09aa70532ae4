//! A person changes the password.

use axum::extract::State;
use axum::http::request::Parts;
use http::StatusCode;
use problem::Problem;
use serde::Deserialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::caller::{Caller, PasswordWrite, session_ended};
use super::client_network::ClientNetwork;
use super::error::{ChangeErrors, PASSWORD_CHANGED, WRONG_PASSWORD, hashing_busy};
use super::gate::Visitor;
use super::hash_queue::Priority;
use super::passwords::{Change, NewPassword, Person, fault};
use super::sessions;
use super::store::{self, NewHash};
use crate::database_problem;
use crate::extract::{Json, invalid};
use crate::mail::{Addressee, Kind, Language, Mail};
use crate::state::AppState;

/// The password in use, and the one to use from now on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"current_password": "correct horse battery", "new_password": "a quartz lagoon at noon"}))]
pub(super) struct PasswordChange {
    /// The password in use: a stolen token alone must not change it.
    #[schema(format = Password, max_length = 1024, value_type = String)]
    #[serde(deserialize_with = "super::secret_text::deserialize")]
    pub(super) current_password: Zeroizing<String>,
    /// The new one. Every rule it breaks is told at once.
    #[schema(format = Password, max_length = 1024, value_type = String)]
    #[serde(deserialize_with = "super::secret_text::deserialize")]
    pub(super) new_password: Zeroizing<String>,
}

/// Change the password
///
/// Every other session of the caller ends at once; the one that asks goes on. The owner is told by mail, and a change of the
/// address that waits is forgotten. A wrong current password is 403, changes nothing, and counts as a failed log-in: while the
/// address is locked, the answer is `too-many-attempts`.
#[utoipa::path(
    post, path = "/api/v1/me/password", tag = "identity", operation_id = "change_password",
    security(("bearer" = ["password:write"])),
    request_body = PasswordChange,
    responses((status = NO_CONTENT, description = "The password has changed, and every other session has ended"), ChangeErrors)
)]
pub(super) async fn change_password(
    State(state): State<AppState>,
    caller: Caller<PasswordWrite>,
    parts: Parts,
    Json(change): Json<PasswordChange>,
) -> Result<StatusCode, Problem> {
    let passwords = &state.identity.passwords;
    let turn = passwords
        .take(Priority::Trusted, ClientNetwork::of(&parts.headers))
        .map_err(hashing_busy)?;
    let mut tx = caller.begin_read(&state.db).await?;
    let owner = store::own_password(&mut tx).await.map_err(database_problem)?;
    tx.commit().await.map_err(database_problem)?;
    let gate = &state.identity.gate;
    let pass = gate.enter(&state.db, Visitor::new(&parts, &owner.email)).await?;
    let person = Person {
        email: owner.email.clone(),
        full_name: owner.full_name,
    };
    let old = (change.current_password, owner.password_hash);
    let changed = passwords
        .replace((turn, pass.admitted()), old, change.new_password, person)
        .await;
    let is_right = |changed: &Change| *changed != Change::WrongPassword;
    match gate.end(&state.db, pass, changed, is_right).await? {
        Change::WrongPassword => {
            let mut tx = caller.begin_read(&state.db).await?;
            let session = caller.session.uuid();
            store::refuse_password(&mut tx, session, "password.changed", &caller.request_id)
                .await
                .map_err(database_problem)?;
            tx.commit().await.map_err(database_problem)?;
            Err(Problem::new(WRONG_PASSWORD))
        }
        Change::Right(NewPassword::Judged(violations)) => Err(invalid(
            violations
                .iter()
                .map(|violation| fault("/new_password", violation))
                .collect(),
        )),
        Change::Right(NewPassword::Hashed(hash)) => {
            let hash = NewHash {
                version: owner.password_version,
                hash: &hash,
            };
            let notice = Mail {
                kind: Kind::PasswordChanged,
                to: owner.email,
                addressee: Addressee::User(caller.user.uuid()),
                language: Language::asked_for(&parts.headers).unwrap_or_default(),
                token: None,
                new_address: None,
            };
            put(&state, &caller, hash, &notice).await
        }
    }
}

/// Changes the password, ends the other sessions, and tells gateways and the owner, or nothing of it.
async fn put(
    state: &AppState,
    caller: &Caller<PasswordWrite>,
    hash: NewHash<'_>,
    notice: &Mail,
) -> Result<StatusCode, Problem> {
    let mut tx = caller.begin_read(&state.db).await?;
    let changed = store::change_password(
        &mut tx,
        caller.session.uuid(),
        hash,
        state.identity.terms.lifetime_s,
        &caller.request_id,
    )
    .await
    .map_err(database_problem)?;
    match changed {
        store::Changed::Done(ended) => {
            sessions::tell_gateways(state, &mut tx, ended)
                .await
                .map_err(database_problem)?;
            state.post.enqueue(&mut tx, notice, state.now()).await?;
            tx.commit().await.map_err(database_problem)?;
            state.post.wake();
            Ok(StatusCode::NO_CONTENT)
        }
        store::Changed::Meanwhile => Err(Problem::new(PASSWORD_CHANGED)),
        store::Changed::SessionEnded => Err(session_ended()),
    }
}
