//! The page of a person: where one is logged in, on which devices, and what protects the account.

use axum::extract::State;
use axum::response::Response;
use http::HeaderValue;
use minijinja::{Value, context};
use problem::{Problem, catalogue};

use super::render::{Page, moment};
use super::visit::{Resident, ResidentForm};
use super::{LOG_IN, PAGE_OF_PERSON};
use crate::extract::{Json, Path, Query};
use crate::identity::factors::own_factors;
use crate::identity::gate::{DeviceView, list_devices, remove_device as distrust};
use crate::identity::logout::logout;
use crate::identity::me::show_me;
use crate::identity::sessions::{
    EndQuery, SessionName, SessionView, end_own_session, end_own_sessions, name_own_session, own_sessions,
};
use crate::identity::{browser, factors::FactorsView};
use crate::state::AppState;

/// Most letters of a program's own name that are shown.
const MAX_AGENT_CHARS: usize = 60;

/// The page.
pub(super) async fn show(State(state): State<AppState>, resident: Resident) -> Response {
    match page(&state, &resident).await {
        Ok(page) => resident.visit.page(&state, &page),
        Err(problem) => resident.trouble(&state, &problem),
    }
}

async fn page(state: &AppState, resident: &Resident) -> Result<Page, Problem> {
    let shared = || State(state.clone());
    let Json(me) = show_me(shared(), resident.caller()).await?;
    let Json(sessions) = own_sessions(shared(), resident.caller()).await?;
    let Json(devices) = list_devices(shared(), resident.caller()).await?;
    let Json(factors) = own_factors(shared(), resident.caller()).await?;
    let sessions: Vec<_> = sessions.data.iter().map(session).collect();
    Ok(Page::new("security.html", "security-title").with(context! {
        email => me.email,
        full_name => me.full_name,
        has_others => sessions.len() > 1,
        sessions,
        devices => devices.data.iter().map(device).collect::<Vec<_>>(),
        has_passkeys => state.identity.factors.has_passkeys(),
        ..of_factors(&factors)
    }))
}

fn session(session: &SessionView) -> Value {
    context! {
        id => session.id.to_string(),
        name => session.name,
        program => session.user_agent.as_deref().map(program),
        network => session.network,
        is_current => session.current,
        created_at => moment(session.created_at),
        last_used_at => moment(session.last_used_at),
    }
}

fn device(device: &DeviceView) -> Value {
    context! {
        id => device.id.to_string(),
        program => program(&device.description),
        last_used_at => moment(device.last_used_at),
    }
}

fn of_factors(factors: &FactorsView) -> Value {
    let totp = factors.data.iter().find(|factor| factor.kind == "totp");
    let passkeys = factors.data.iter().filter(|factor| factor.kind == "passkey");
    let passkeys = passkeys.map(|passkey| {
        context! {
            id => passkey.id.map(|id| id.to_string()),
            name => passkey.name,
            created_at => moment(passkey.created_at),
            last_used_at => passkey.last_used_at.map(moment),
        }
    });
    context! {
        totp => totp.map(|totp| moment(totp.created_at)),
        passkeys => passkeys.collect::<Vec<_>>(),
        has_factor => !factors.data.is_empty(),
        recovery_codes_left => factors.recovery_codes_left,
    }
}

/// A program by the names that people know: `Firefox`, `Linux`. Another one by what it calls itself.
fn program(agent: &str) -> Value {
    let find = |names: &[(&str, &'static str)]| {
        names
            .iter()
            .find(|(mark, _)| agent.contains(mark))
            .map(|(_, name)| *name)
    };
    // The more particular first: many browsers say that they are another one, too.
    let browser = find(&[
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("FxiOS/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("CriOS/", "Chrome"),
        ("Safari/", "Safari"),
    ]);
    let system = find(&[
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ]);
    let own: String = agent.chars().take(MAX_AGENT_CHARS).collect();
    context! { browser, system, own }
}

/// Logs out.
pub(super) async fn log_out(State(state): State<AppState>, form: ResidentForm) -> Response {
    let mut resident = form.resident;
    match logout(State(state.clone()), resident.caller()).await {
        Ok(_) => {
            let forget: Option<HeaderValue> = browser::forget();
            resident.visit.set(forget);
            resident.visit.go(LOG_IN, Some("signed-out"))
        }
        Err(problem) => resident.trouble(&state, &problem),
    }
}

/// Ends a session.
pub(super) async fn end_session(State(state): State<AppState>, form: ResidentForm) -> Response {
    let done = async {
        let id = form.fields.text("id").parse().map_err(nothing)?;
        let caller = form.resident.caller();
        end_own_session(State(state.clone()), caller, Path(id)).await
    };
    done_or_not(&state, &form, done.await.map(drop), "session-ended")
}

/// Ends every session but this one.
pub(super) async fn end_others(State(state): State<AppState>, form: ResidentForm) -> Response {
    let done = async {
        let caller = form.resident.caller();
        end_own_sessions(State(state.clone()), caller, Query(EndQuery::sparing_this())).await
    };
    done_or_not(&state, &form, done.await.map(drop), "others-ended")
}

/// Names a session.
pub(super) async fn name_session(State(state): State<AppState>, form: ResidentForm) -> Response {
    let done = async {
        let id = form.fields.text("id").parse().map_err(nothing)?;
        let caller = form.resident.caller();
        let order = SessionName {
            name: form.fields.text("name"),
        };
        name_own_session(State(state.clone()), caller, Path(id), Json(order)).await
    };
    done_or_not(&state, &form, done.await.map(drop), "session-named")
}

/// Trusts a device no more.
pub(super) async fn remove_device(State(state): State<AppState>, form: ResidentForm) -> Response {
    let done = async {
        let id = form.fields.text("id").parse().map_err(nothing)?;
        let caller = form.resident.caller();
        distrust(State(state.clone()), caller, Path(id)).await
    };
    done_or_not(&state, &form, done.await.map(drop), "device-removed")
}

/// A text that is no identifier names nothing.
fn nothing<E>(_: E) -> Problem {
    Problem::new(catalogue::NOT_FOUND)
}

/// Back to the page, which says so; or why not.
fn done_or_not(
    state: &AppState,
    form: &ResidentForm,
    done: Result<(), Problem>,
    said: &'static str,
) -> Response {
    match done {
        Ok(()) => form.resident.visit.go(PAGE_OF_PERSON, Some(said)),
        Err(problem) => form.resident.trouble(state, &problem),
    }
}
