//! Pages through the router of the core, as a browser without scripts uses them: it keeps cookies and sends forms.

mod forms;
mod second_steps;
mod sessions;
mod templates;

use std::collections::BTreeMap;

use http::{Method, header};
use serde_json::json;

use crate::tests::bank::{Answer, PASSWORD, TestBank};
use crate::tests::store as db;

const HOST: &str = "bank.example";
const SESSION: &str = "__Host-session";

/// A browser.
struct Browser<'b> {
    bank: &'b TestBank,
    cookies: BTreeMap<String, String>,
    languages: &'static str,
    /// What it says of itself with every request.
    fields: Vec<(&'static str, String)>,
}

impl<'b> Browser<'b> {
    fn new(bank: &'b TestBank) -> Self {
        Self {
            bank,
            cookies: BTreeMap::new(),
            languages: "en",
            fields: Vec::new(),
        }
    }

    async fn send(&mut self, method: Method, path: &str, body: Option<String>) -> Answer {
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut call = self
            .bank
            .call(method, path)
            .header("x-forwarded-host", HOST)
            .header("x-forwarded-for", "192.0.2.7")
            .header("accept-language", self.languages);
        for (name, value) in &self.fields {
            call = call.header(name, value);
        }
        if !cookies.is_empty() {
            call = call.header("cookie", &cookies.join("; "));
        }
        if let Some(body) = body {
            call = call.raw("application/x-www-form-urlencoded", body);
        }
        let answer = call.send().await;
        for set in answer.headers.get_all(header::SET_COOKIE) {
            let set = set.to_str().unwrap();
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            assert!(
                name.starts_with("__Host-") && set.contains("; Path=/; Secure; HttpOnly; SameSite=Lax")
                    || name == "__Host-dev",
                "{set}"
            );
            if set.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    /// Sends a form as it stands on a page.
    async fn submit(&mut self, page: &str, action: &str, fields: &[(&str, &str)]) -> Answer {
        let shown = self.get(page).await;
        self.send_form(action, &form_token(&shown), fields).await
    }

    async fn send_form(&mut self, action: &str, token: &str, fields: &[(&str, &str)]) -> Answer {
        let mut pairs = vec![format!("form_token={}", encoded(token))];
        pairs.extend(
            fields
                .iter()
                .map(|(name, value)| format!("{name}={}", encoded(value))),
        );
        self.send(Method::POST, action, Some(pairs.join("&"))).await
    }

    async fn log_in(&mut self, email: &str, password: &str) -> Answer {
        let fields = [("email", email), ("password", password)];
        self.submit("/account/log-in", "/account/log-in", &fields).await
    }

    /// Whether the page of a person opens.
    async fn is_in(&mut self) -> bool {
        self.get("/account").await.status == 200
    }
}

fn encoded(text: &str) -> String {
    let bytes = text.bytes();
    bytes.map(|byte| format!("%{byte:02X}")).collect()
}

fn html(answer: &Answer) -> String {
    assert_eq!(answer.headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    String::from_utf8(answer.bytes.to_vec()).unwrap()
}

/// The value of the first hidden field of this name.
#[track_caller]
fn hidden(html: &str, name: &str) -> String {
    let mark = format!("name=\"{name}\" value=\"");
    let (_, rest) = html
        .split_once(&mark)
        .unwrap_or_else(|| panic!("no {name} in {html}"));
    rest.split('"').next().unwrap().to_owned()
}

fn form_token(page: &Answer) -> String {
    hidden(&html(page), "form_token")
}

/// Where an answer leads.
#[track_caller]
fn target(answer: &Answer) -> &str {
    answer.assert_status(303);
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    answer.headers[header::LOCATION].to_str().unwrap()
}

/// Somebody who has registered on the page, and his address.
async fn registered(bank: &TestBank, name: &str) -> String {
    let email = format!("{name}@example.com");
    let fields = [
        ("email", email.as_str()),
        ("full_name", "Ada <Example> & Co"),
        ("password", PASSWORD),
    ];
    let mut browser = Browser::new(bank);
    let answer = browser
        .submit("/account/register", "/account/register", &fields)
        .await;
    assert_eq!(target(&answer), "/account/log-in?said=registered");
    email
}

/// A browser that has signed in.
async fn signed_in<'b>(bank: &'b TestBank, email: &str) -> Browser<'b> {
    let mut browser = Browser::new(bank);
    let answer = browser.log_in(email, PASSWORD).await;
    assert_eq!(target(&answer), "/account", "{answer:?}");
    browser
}

/// Tokens of the API for the same person.
async fn access_token(bank: &TestBank, email: &str) -> String {
    let login = bank.login(email, PASSWORD).await;
    login.assert_status(200).text("access_token")
}
