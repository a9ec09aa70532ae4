//! Who asks for a page, and what a form brings.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use minijinja::context;
use problem::Problem;
use zeroize::Zeroizing;

use super::faults::Faults;
use super::forgery::{self, GuestSecret};
use super::language;
use super::render::{Page, Reader};
use super::{LOG_IN, PAGE_OF_PERSON};
use crate::identity::browser::{self, Browser};
use crate::identity::caller::{self, Caller, OfCustomers, SESSION_ENDED};
use crate::languages::Language;
use crate::state::AppState;

/// What may be said on a page after a redirect, by its word in the query. Nothing else is.
const SAYABLE: [(&str, &str); 14] = [
    ("registered", "said-registered"),
    ("mail-sent", "said-mail-sent"),
    ("verified", "said-verified"),
    ("unlocked", "said-unlocked"),
    ("kept", "said-kept"),
    ("password-set", "said-password-set"),
    ("signed-out", "said-signed-out"),
    ("ended", "said-ended"),
    ("password-changed", "said-password-changed"),
    ("session-named", "said-session-named"),
    ("session-ended", "said-session-ended"),
    ("others-ended", "said-others-ended"),
    ("device-removed", "said-device-removed"),
    ("factor-removed", "said-factor-removed"),
];

/// The page without a form.
const TROUBLE: &str = "trouble.html";

/// A request for a page, whoever makes it.
pub(super) struct Visit {
    /// Its head, which asks for the language that the page is in.
    pub(super) parts: Parts,
    pub(super) language: Language,
    form_token: String,
    /// What the answer sets besides.
    cookies: Vec<HeaderValue>,
    is_signed_in: bool,
}

impl Visit {
    fn new(mut parts: Parts, language: Language, form_token: String, is_signed_in: bool) -> Self {
        // Mails that come of this are in the language of the page.
        let asked = HeaderValue::from_static(language.as_str());
        parts.headers.insert(header::ACCEPT_LANGUAGE, asked);
        Self {
            parts,
            language,
            form_token,
            cookies: Vec::new(),
            is_signed_in,
        }
    }

    /// Sets a cookie with whatever the answer is.
    pub(super) fn set(&mut self, cookie: Option<HeaderValue>) {
        self.cookies.extend(cookie);
    }

    /// A page for this visitor.
    pub(super) fn page(&self, state: &AppState, page: &Page) -> Response {
        let reader = Reader {
            language: self.language,
            form_token: &self.form_token,
            path: self.parts.uri.path(),
            said: said(self.parts.uri.query()),
            is_signed_in: self.is_signed_in,
        };
        self.dressed(state.identity.pages.answer(&reader, page))
    }

    /// The page of a form that was refused, with what was typed.
    pub(super) fn refused(&self, state: &AppState, page: Page, problem: &Problem) -> Response {
        let Some(texts) = state.identity.pages.texts(self.language) else {
            return problem_of(self.language).into_response();
        };
        let faults = Faults::of(problem, texts);
        let faults = if page.template == TROUBLE {
            faults.above()
        } else {
            faults
        };
        let page = page.refused(problem.status(), faults);
        let mut response = self.page(state, &page);
        for (name, value) in problem.headers() {
            response.headers_mut().insert(name, value.clone());
        }
        response
    }

    /// A page that says that something cannot be done, and nothing else.
    pub(super) fn trouble(&self, state: &AppState, problem: &Problem) -> Response {
        self.refused(state, Page::new(TROUBLE, "trouble-title"), problem)
    }

    /// The way to another page of ours, which says that something was done.
    pub(super) fn go(&self, path: &'static str, word: Option<&'static str>) -> Response {
        let target = word.map_or_else(|| path.to_owned(), |word| format!("{path}?said={word}"));
        self.dressed(redirect(&target))
    }

    fn dressed(&self, mut response: Response) -> Response {
        for cookie in &self.cookies {
            response.headers_mut().append(header::SET_COOKIE, cookie.clone());
        }
        response
    }
}

/// Never, but for a language that is in no edition.
fn problem_of(language: Language) -> Problem {
    Problem::internal(format!("no texts in {}", language.as_str()))
}

/// RFC 9110 §15.4.4: look there, with GET.
fn redirect(target: &str) -> Response {
    let fields = HeaderValue::from_str(target).map(|target| {
        [
            (header::LOCATION, target),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ]
    });
    match fields {
        Ok(fields) => (StatusCode::SEE_OTHER, fields).into_response(),
        Err(error) => Problem::internal(error).into_response(),
    }
}

/// The message that a query asks for, of those that there are.
fn said(query: Option<&str>) -> Option<&'static str> {
    let word = query?.strip_prefix("said=")?;
    let found = SAYABLE.iter().find(|(known, _)| *known == word);
    found.map(|(_, key)| *key)
}

/// Somebody who has not signed in, or need not have.
pub(super) struct Guest(pub(super) Visit);

impl Guest {
    /// None without random numbers.
    fn of(parts: Parts) -> Option<(Self, GuestSecret)> {
        let secret = GuestSecret::of(&parts.headers)?;
        let language = language::of(&parts.headers, None);
        let mut visit = Visit::new(parts, language, forgery::token(&secret.key()), false);
        visit.set(secret.cookie());
        Some((Self(visit), secret))
    }
}

impl FromRequestParts<AppState> for Guest {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Response> {
        let (guest, _) = Self::of(parts.clone()).ok_or_else(no_randomness)?;
        Ok(guest)
    }
}

fn no_randomness() -> Response {
    Problem::internal("no random numbers").into_response()
}

/// Somebody who has signed in.
pub(super) struct Resident {
    pub(super) visit: Visit,
    pub(super) browser: Browser,
}

impl Resident {
    async fn of(parts: Parts, state: &AppState) -> Result<Self, Response> {
        let entered = browser::enter(state, &parts.headers).await;
        let Some(browser) = entered.map_err(IntoResponse::into_response)? else {
            return Err(signed_out(&parts.headers));
        };
        let language = language::of(&parts.headers, browser.language);
        let token = forgery::token(&browser.form_key());
        Ok(Self {
            visit: Visit::new(parts, language, token, true),
            browser,
        })
    }

    /// The person, for a use case that asks for this scope.
    pub(super) fn caller<S: OfCustomers>(&self) -> Caller<S> {
        Caller::of_browser(&self.browser, caller::request_id(&self.visit.parts))
    }

    /// What a use case refused: the form once more, or the way to the log-in when the session has ended.
    pub(super) fn refused(&self, state: &AppState, page: Page, problem: &Problem) -> Response {
        if problem.kind().slug() == SESSION_ENDED.slug() {
            return signed_out(&self.visit.parts.headers);
        }
        self.visit.refused(state, page, problem)
    }

    /// The same where there is no form to show.
    pub(super) fn trouble(&self, state: &AppState, problem: &Problem) -> Response {
        self.refused(state, Page::new(TROUBLE, "trouble-title"), problem)
    }

    /// Takes another cookie, after what protects the account has changed. Forms of the page that follows are signed anew with it.
    pub(super) async fn renew(mut self, state: &AppState) -> Result<Self, Response> {
        let request_id = caller::request_id(&self.visit.parts);
        let renewed = self.browser.renew(state, &request_id).await;
        let Some(renewed) = renewed.map_err(|problem| self.trouble(state, &problem))? else {
            return Err(signed_out(&self.visit.parts.headers));
        };
        self.visit.form_token = forgery::token(&renewed.form_key());
        self.visit.set(renewed.cookie());
        Ok(self)
    }
}

/// The way to the log-in, without the cookie that is good no more.
fn signed_out(headers: &HeaderMap) -> Response {
    let was_in = browser::token_of(headers).is_some();
    let mut response = if was_in {
        redirect(&format!("{LOG_IN}?said=ended"))
    } else {
        redirect(LOG_IN)
    };
    if let Some(forget) = browser::forget().filter(|_| was_in) {
        response.headers_mut().append(header::SET_COOKIE, forget);
    }
    response
}

impl FromRequestParts<AppState> for Resident {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Response> {
        Self::of(parts.clone(), state).await
    }
}

/// The fields of a form, wiped from memory when dropped.
pub(super) struct Fields(Vec<(String, Zeroizing<String>)>);

impl Fields {
    async fn read(request: Request) -> Result<Self, Problem> {
        let form = axum::extract::Form::<Vec<(String, String)>>::from_request(request, &()).await;
        let axum::extract::Form(pairs) = form.map_err(|_| {
            Problem::new(problem::catalogue::MALFORMED_REQUEST).detail("the form cannot be read")
        })?;
        let pairs = pairs.into_iter();
        Ok(Self(
            pairs.map(|(name, value)| (name, Zeroizing::new(value))).collect(),
        ))
    }

    /// What was typed; nothing for a field that was not sent.
    pub(super) fn secret(&self, name: &str) -> Zeroizing<String> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    /// The same for what is no secret.
    pub(super) fn text(&self, name: &str) -> String {
        self.secret(name).to_string()
    }
}

/// The form of a guest.
pub(super) struct GuestForm {
    pub(super) visit: Visit,
    pub(super) fields: Fields,
}

impl FromRequest<AppState> for GuestForm {
    type Rejection = Response;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Response> {
        let (parts, body) = request.into_parts();
        let (Guest(visit), secret) = Guest::of(parts.clone()).ok_or_else(no_randomness)?;
        let is_from_here = forgery::is_from_here(&parts.headers);
        let fields = Fields::read(Request::from_parts(parts, body))
            .await
            .map_err(|problem| visit.trouble(state, &problem))?;
        if is_from_here && forgery::is_signed(&secret.key(), &fields.secret(forgery::FIELD)) {
            Ok(Self { visit, fields })
        } else {
            Err(forged(state, &visit, LOG_IN))
        }
    }
}

/// The form of somebody who has signed in.
pub(super) struct ResidentForm {
    pub(super) resident: Resident,
    pub(super) fields: Fields,
}

impl FromRequest<AppState> for ResidentForm {
    type Rejection = Response;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Response> {
        let (parts, body) = request.into_parts();
        let resident = Resident::of(parts.clone(), state).await?;
        let is_from_here = forgery::is_from_here(&parts.headers);
        let fields = Fields::read(Request::from_parts(parts, body))
            .await
            .map_err(|problem| resident.trouble(state, &problem))?;
        let key = resident.browser.form_key();
        if is_from_here && forgery::is_signed(&key, &fields.secret(forgery::FIELD)) {
            Ok(Self { resident, fields })
        } else {
            Err(forged(state, &resident.visit, PAGE_OF_PERSON))
        }
    }
}

/// A form that comes from elsewhere, or was shown too long ago: nothing was done.
fn forged(state: &AppState, visit: &Visit, again: &'static str) -> Response {
    tracing::info!(event = "pages.form.refused", "a form was not from here");
    let page = Page::new(TROUBLE, "trouble-title").with(context! { again });
    visit.refused(state, page, &Problem::new(FORM_REFUSED))
}

/// The form is not one of ours, or was shown to another browser or in another session.
const FORM_REFUSED: problem::ProblemType =
    problem::ProblemType::new("form-refused", 403, "The form was not sent from here");
