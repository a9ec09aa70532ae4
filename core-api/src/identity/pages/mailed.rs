//! What comes by mail: asking for it with an address, and using the ticket that it brings. A link has the ticket behind its `#`,
//! which no server is told: the script of the page puts it into the form, and without a script it is pasted from the mail.

use axum::extract::State;
use axum::response::Response;
use http::header;
use minijinja::context;
use problem::Problem;

use super::render::Page;
use super::visit::{Guest, GuestForm, Visit};
use super::{LOG_IN, RESEND_VERIFICATION};
use crate::extract::Json;
use crate::identity::email_change::keep_email;
use crate::identity::gate::use_unlock as unlock_name;
use crate::identity::tickets::{Address, TicketUse, send_to};
use crate::identity::verify_email::verify_email;
use crate::mail::Kind;
use crate::state::AppState;

/// A new password is asked for.
pub(super) async fn forgot(State(state): State<AppState>, Guest(visit): Guest) -> Response {
    visit.page(&state, &address_page("forgot", ""))
}

/// As `/api/v1/auth/password/forgot`.
pub(super) async fn send_reset(State(state): State<AppState>, form: GuestForm) -> Response {
    send(&state, form, Kind::PasswordReset, "forgot").await
}

/// The mail of the registration is asked for again.
pub(super) async fn resend(State(state): State<AppState>, Guest(visit): Guest) -> Response {
    visit.page(&state, &address_page("resend", ""))
}

/// As `/api/v1/auth/email/resend`.
pub(super) async fn send_verification(State(state): State<AppState>, form: GuestForm) -> Response {
    send(&state, form, Kind::Verification, "resend").await
}

/// Somebody is locked out.
pub(super) async fn locked(State(state): State<AppState>, Guest(visit): Guest) -> Response {
    visit.page(&state, &address_page("send-unlock", ""))
}

/// As `/api/v1/auth/unlock/send`.
pub(super) async fn send_unlock(State(state): State<AppState>, form: GuestForm) -> Response {
    send(&state, form, Kind::Unlock, "send-unlock").await
}

async fn send(state: &AppState, form: GuestForm, kind: Kind, what: &'static str) -> Response {
    let GuestForm { visit, fields } = form;
    let email = fields.text("email");
    let page = address_page(what, &email);
    match send_to(state, &visit.parts, kind, &Address { email }).await {
        Ok(_) => visit.go(LOG_IN, Some("mail-sent")),
        Err(problem) => visit.refused(state, page, &problem),
    }
}

fn address_page(what: &'static str, email: &str) -> Page {
    let title = match what {
        "forgot" => "forgot-title",
        "resend" => "resend-title",
        _ => "send-unlock-title",
    };
    Page::new("address.html", title).with(context! { what, email })
}

/// An address is to be verified.
pub(super) async fn verify(State(state): State<AppState>, Guest(visit): Guest) -> Response {
    visit.page(&state, &ticket_page("verify", ""))
}

/// As `/api/v1/auth/email/verify`.
pub(super) async fn use_verification(State(state): State<AppState>, form: GuestForm) -> Response {
    let used = verify_email(
        State(state.clone()),
        form.visit.parts.clone(),
        Json(ticket(&form)),
    );
    used_up(&state, &form, "verify", used.await.map(drop))
}

/// A lock is to be lifted.
pub(super) async fn unlock(State(state): State<AppState>, Guest(visit): Guest) -> Response {
    visit.page(&state, &ticket_page("unlock", ""))
}

/// As `/api/v1/auth/unlock`; the device is trusted from now on.
pub(super) async fn use_unlock(State(state): State<AppState>, mut form: GuestForm) -> Response {
    let used = unlock_name(
        State(state.clone()),
        form.visit.parts.clone(),
        Json(ticket(&form)),
    );
    let used = used.await.map(|(_, fields)| {
        let device = fields.get(header::SET_COOKIE).cloned();
        form.visit.set(device);
    });
    used_up(&state, &form, "unlock", used)
}

/// A change of the address is to be stopped.
pub(super) async fn keep(State(state): State<AppState>, Guest(visit): Guest) -> Response {
    visit.page(&state, &ticket_page("keep", ""))
}

/// As `/api/v1/auth/email/keep`.
pub(super) async fn use_keep(State(state): State<AppState>, form: GuestForm) -> Response {
    let used = keep_email(
        State(state.clone()),
        form.visit.parts.clone(),
        Json(ticket(&form)),
    );
    used_up(&state, &form, "keep", used.await.map(drop))
}

fn ticket(form: &GuestForm) -> TicketUse {
    TicketUse {
        token: form.fields.secret("token"),
    }
}

fn used_up(state: &AppState, form: &GuestForm, what: &'static str, used: Result<(), Problem>) -> Response {
    let visit: &Visit = &form.visit;
    let said = match what {
        "verify" => "verified",
        "unlock" => "unlocked",
        _ => "kept",
    };
    match used {
        Ok(()) => visit.go(LOG_IN, Some(said)),
        Err(problem) => visit.refused(state, ticket_page(what, &form.fields.text("token")), &problem),
    }
}

fn ticket_page(what: &'static str, token: &str) -> Page {
    let title = match what {
        "verify" => "verify-title",
        "unlock" => "unlock-title",
        _ => "keep-title",
    };
    let again = (what == "verify").then_some(RESEND_VERIFICATION);
    Page::new("ticket.html", title).with(context! { what, token, again })
}
