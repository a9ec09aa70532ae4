//! The shipped policies, in each environment: every route lets the right request through and no other.

use crate::world::{Request, World, denial, permit, plan, shipped, shipped_with, status};
use policy::{Action, Count, RouteAuth, Served, compile};
use std::{collections::BTreeSet, time::Duration};

const ENVIRONMENTS: [&str; 3] = ["development", "test", "production"];

/// Name, method, an example path, the scopes it needs (`None`: anyone may), where it leads.
type Expected = (
    &'static str,
    &'static str,
    &'static str,
    Option<&'static [&'static str]>,
    &'static str,
);

const ROUTES: [Expected; 95] = [
    ("register", "POST", "/api/v1/auth/register", None, "core"),
    ("login", "POST", "/api/v1/auth/login", None, "core"),
    (
        "complete_login",
        "POST",
        "/api/v1/auth/login/factor",
        None,
        "core",
    ),
    (
        "begin_passkey_login",
        "POST",
        "/api/v1/auth/passkey",
        None,
        "core",
    ),
    (
        "complete_passkey_login",
        "POST",
        "/api/v1/auth/passkey/finish",
        None,
        "core",
    ),
    ("refresh", "POST", "/api/v1/auth/refresh", None, "core"),
    ("verify_email", "POST", "/api/v1/auth/email/verify", None, "core"),
    (
        "resend_verification",
        "POST",
        "/api/v1/auth/email/resend",
        None,
        "core",
    ),
    ("keep_email", "POST", "/api/v1/auth/email/keep", None, "core"),
    (
        "forgot_password",
        "POST",
        "/api/v1/auth/password/forgot",
        None,
        "core",
    ),
    (
        "reset_password",
        "POST",
        "/api/v1/auth/password/reset",
        None,
        "core",
    ),
    ("send_unlock", "POST", "/api/v1/auth/unlock/send", None, "core"),
    ("unlock", "POST", "/api/v1/auth/unlock", None, "core"),
    ("list_devices", "GET", "/api/v1/me/devices", Some(&[]), "core"),
    (
        "remove_device",
        "DELETE",
        "/api/v1/me/devices/dev_01kafpwz0zfmx9tprc5xqgyf0h",
        Some(&["devices:write"]),
        "core",
    ),
    ("list_factors", "GET", "/api/v1/me/factors", Some(&[]), "core"),
    (
        "begin_totp",
        "POST",
        "/api/v1/me/factors/totp",
        Some(&["factors:write"]),
        "core",
    ),
    (
        "confirm_totp",
        "POST",
        "/api/v1/me/factors/totp/confirm",
        Some(&["factors:write"]),
        "core",
    ),
    (
        "remove_totp",
        "DELETE",
        "/api/v1/me/factors/totp",
        Some(&["factors:write"]),
        "core",
    ),
    (
        "renew_recovery_codes",
        "POST",
        "/api/v1/me/factors/recovery-codes",
        Some(&["factors:write"]),
        "core",
    ),
    (
        "begin_passkey",
        "POST",
        "/api/v1/me/factors/passkeys",
        Some(&["factors:write"]),
        "core",
    ),
    (
        "confirm_passkey",
        "POST",
        "/api/v1/me/factors/passkeys/confirm",
        Some(&["factors:write"]),
        "core",
    ),
    (
        "name_passkey",
        "PATCH",
        "/api/v1/me/factors/passkeys/pky_01kafpwz0zfmx9tprc5xqgyf0h",
        Some(&["factors:write"]),
        "core",
    ),
    (
        "remove_passkey",
        "DELETE",
        "/api/v1/me/factors/passkeys/pky_01kafpwz0zfmx9tprc5xqgyf0h",
        Some(&["factors:write"]),
        "core",
    ),
    (
        "begin_passkey_step_up",
        "POST",
        "/api/v1/me/step-up/passkey",
        Some(&["factors:write"]),
        "core",
    ),
    (
        "step_up",
        "POST",
        "/api/v1/me/step-up",
        Some(&["factors:write"]),
        "core",
    ),
    (
        "change_email",
        "POST",
        "/api/v1/me/email",
        Some(&["accounts:write"]),
        "core",
    ),
    ("logout", "POST", "/api/v1/auth/logout", Some(&[]), "core"),
    ("me", "GET", "/api/v1/me", Some(&[]), "core"),
    (
        "list_sessions",
        "GET",
        "/api/v1/me/sessions",
        Some(&["sessions:read"]),
        "core",
    ),
    (
        "end_sessions",
        "DELETE",
        "/api/v1/me/sessions",
        Some(&["sessions:write"]),
        "core",
    ),
    (
        "name_session",
        "PATCH",
        "/api/v1/me/sessions/ses_01kafpwz0zfmx9tprc5xqgyf0h",
        Some(&["sessions:write"]),
        "core",
    ),
    (
        "end_session",
        "DELETE",
        "/api/v1/me/sessions/ses_01kafpwz0zfmx9tprc5xqgyf0h",
        Some(&["sessions:write"]),
        "core",
    ),
    (
        "change_password",
        "POST",
        "/api/v1/me/password",
        Some(&["password:write"]),
        "core",
    ),
    (
        "list_accounts",
        "GET",
        "/api/v1/accounts",
        Some(&["accounts:read"]),
        "core",
    ),
    (
        "open_account",
        "POST",
        "/api/v1/accounts",
        Some(&["accounts:write"]),
        "core",
    ),
    (
        "read_account",
        "GET",
        "/api/v1/accounts/acc_01kafpwz0zfmx9tprc5xqgyf0h",
        Some(&["accounts:read"]),
        "core",
    ),
    (
        "list_entries",
        "GET",
        "/api/v1/accounts/acc_01kafpwz0zfmx9tprc5xqgyf0h/entries",
        Some(&["accounts:read"]),
        "core",
    ),
    (
        "deposit",
        "POST",
        "/api/v1/accounts/acc_01kafpwz0zfmx9tprc5xqgyf0h/deposits",
        Some(&["cash:write"]),
        "core",
    ),
    (
        "withdraw",
        "POST",
        "/api/v1/accounts/acc_01kafpwz0zfmx9tprc5xqgyf0h/withdrawals",
        Some(&["cash:write"]),
        "core",
    ),
    (
        "create_transfer",
        "POST",
        "/api/v1/transfers",
        Some(&["transfers:write"]),
        "core",
    ),
    (
        "list_transfers",
        "GET",
        "/api/v1/transfers",
        Some(&["transfers:read"]),
        "core",
    ),
    (
        "read_transfer",
        "GET",
        "/api/v1/transfers/txn_01kafpwz0zfmx9tprc5xqgyf0h",
        Some(&["transfers:read"]),
        "core",
    ),
    ("openapi", "GET", "/openapi.json", None, "core"),
    ("docs", "GET", "/docs", None, "core"),
    ("docs_styles", "GET", "/docs/swagger-ui.css", None, "core"),
    ("docs_script", "GET", "/docs/swagger-ui-bundle.js", None, "core"),
    ("docs_start", "GET", "/docs/start.js", None, "core"),
    ("docs_icon", "GET", "/docs/favicon-32x32.png", None, "core"),
    ("jwks", "GET", "/.well-known/jwks.json", None, "jwks"),
    ("live", "GET", "/health/live", None, "live"),
    ("ready", "GET", "/health/ready", None, "ready"),
    ("core_health", "GET", "/health", None, "core"),
    ("log_in_page", "GET", "/account/log-in", None, "pages"),
    ("log_in_form", "POST", "/account/log-in", None, "pages"),
    (
        "second_factor_page",
        "GET",
        "/account/second-factor",
        None,
        "pages",
    ),
    (
        "second_factor_form",
        "POST",
        "/account/second-factor",
        None,
        "pages",
    ),
    ("passkey_ask_form", "POST", "/account/passkey", None, "pages"),
    ("passkey_form", "POST", "/account/passkey/finish", None, "pages"),
    ("register_page", "GET", "/account/register", None, "pages"),
    ("register_form", "POST", "/account/register", None, "pages"),
    (
        "forgot_password_page",
        "GET",
        "/account/forgot-password",
        None,
        "pages",
    ),
    (
        "forgot_password_form",
        "POST",
        "/account/forgot-password",
        None,
        "pages",
    ),
    (
        "resend_verification_page",
        "GET",
        "/account/resend-verification",
        None,
        "pages",
    ),
    (
        "resend_verification_form",
        "POST",
        "/account/resend-verification",
        None,
        "pages",
    ),
    ("send_unlock_page", "GET", "/account/send-unlock", None, "pages"),
    ("send_unlock_form", "POST", "/account/send-unlock", None, "pages"),
    ("verify_email_page", "GET", "/account/verify-email", None, "pages"),
    (
        "verify_email_form",
        "POST",
        "/account/verify-email",
        None,
        "pages",
    ),
    ("unlock_page", "GET", "/account/unlock", None, "pages"),
    ("unlock_form", "POST", "/account/unlock", None, "pages"),
    ("keep_email_page", "GET", "/account/keep-email", None, "pages"),
    ("keep_email_form", "POST", "/account/keep-email", None, "pages"),
    (
        "reset_password_page",
        "GET",
        "/account/reset-password",
        None,
        "pages",
    ),
    (
        "reset_password_form",
        "POST",
        "/account/reset-password",
        None,
        "pages",
    ),
    ("account_page", "GET", "/account", None, "pages"),
    ("log_out_form", "POST", "/account/log-out", None, "pages"),
    (
        "name_session_form",
        "POST",
        "/account/sessions/name",
        None,
        "pages",
    ),
    ("end_session_form", "POST", "/account/sessions/end", None, "pages"),
    (
        "end_other_sessions_form",
        "POST",
        "/account/sessions/end-others",
        None,
        "pages",
    ),
    (
        "remove_device_form",
        "POST",
        "/account/devices/remove",
        None,
        "pages",
    ),
    ("password_page", "GET", "/account/password", None, "pages"),
    ("password_form", "POST", "/account/password", None, "pages"),
    (
        "authenticator_page",
        "GET",
        "/account/authenticator",
        None,
        "pages",
    ),
    (
        "authenticator_form",
        "POST",
        "/account/authenticator",
        None,
        "pages",
    ),
    (
        "first_code_form",
        "POST",
        "/account/authenticator/confirm",
        None,
        "pages",
    ),
    (
        "remove_authenticator_form",
        "POST",
        "/account/authenticator/remove",
        None,
        "pages",
    ),
    ("add_passkey_page", "GET", "/account/passkeys/add", None, "pages"),
    ("add_passkey_form", "POST", "/account/passkeys/add", None, "pages"),
    (
        "new_passkey_form",
        "POST",
        "/account/passkeys/finish",
        None,
        "pages",
    ),
    (
        "remove_passkey_form",
        "POST",
        "/account/passkeys/remove",
        None,
        "pages",
    ),
    ("language_form", "POST", "/account/language", None, "pages"),
    ("page_styles", "GET", "/account/assets/account.css", None, "pages"),
    ("page_script", "GET", "/account/assets/account.js", None, "pages"),
    ("page_icon", "GET", "/account/assets/icon.svg", None, "pages"),
];

/// A request of a route as the API describes it.
fn described(name: &str, method: &str, path: &str) -> Request {
    const ACCOUNT: &str = "acc_01kafpwz0zfmx9tprc5xqgyf0h";
    const CEREMONY: &str = "mZ1b0rWJ0kq3w1Vn4V0m8b7c6d5e4f3g2h1i0jKLMNO";
    let body = match name {
        "login" => r#"{"email":"a@b.example","password":"correct horse battery"}"#.to_owned(),
        "register" => {
            r#"{"email":"a@b.example","password":"correct horse battery","full_name":"Alice"}"#.to_owned()
        }
        "refresh" => r#"{"refresh_token":"rt_1"}"#.to_owned(),
        "verify_email" | "keep_email" | "unlock" => {
            r#"{"token":"mZ1b0rWJ0kq3w1Vn4V0m8b7c6d5e4f3g2h1i0jKLMNO"}"#.to_owned()
        }
        "resend_verification" | "forgot_password" | "send_unlock" => r#"{"email":"a@b.example"}"#.to_owned(),
        "reset_password" => {
            r#"{"token":"mZ1b0rWJ0kq3w1Vn4V0m8b7c6d5e4f3g2h1i0jKLMNO","password":"correct horse battery"}"#
                .to_owned()
        }
        "complete_login" => {
            r#"{"challenge":"mZ1b0rWJ0kq3w1Vn4V0m8b7c6d5e4f3g2h1i0jKLMNO","code":"287082"}"#.to_owned()
        }
        "begin_totp" => r#"{"password":"correct horse battery"}"#.to_owned(),
        "begin_passkey" => "{}".to_owned(),
        "confirm_passkey" => format!(
            r#"{{"ceremony":"{CEREMONY}","name":"My phone","credential":{{"id":"gB3X","rawId":"gB3X","type":"public-key",
                "response":{{"clientDataJSON":"e30","attestationObject":"oA","transports":["internal"]}},
                "clientExtensionResults":{{"credProps":{{"rk":true}}}},"authenticatorAttachment":"platform"}}}}"#
        ),
        "complete_passkey_login" => format!(
            r#"{{"ceremony":"{CEREMONY}","credential":{{"id":"gB3X","rawId":"gB3X","type":"public-key",
                "response":{{"clientDataJSON":"e30","authenticatorData":"AA","signature":"AA","userHandle":null}},
                "clientExtensionResults":{{}},"authenticatorAttachment":null}}}}"#
        ),
        "name_passkey" => r#"{"name":"My phone"}"#.to_owned(),
        "begin_passkey_step_up" => r#"{"method":"DELETE","path":"/api/v1/me/factors/totp"}"#.to_owned(),
        "confirm_totp" => r#"{"code":"287082"}"#.to_owned(),
        "step_up" => r#"{"method":"DELETE","path":"/api/v1/me/factors/totp","code":"287082"}"#.to_owned(),
        "change_email" => r#"{"email":"a@b.example","password":"correct horse battery"}"#.to_owned(),
        "name_session" => r#"{"name":"My phone"}"#.to_owned(),
        "change_password" => {
            r#"{"current_password":"correct horse battery","new_password":"a quartz lagoon at noon"}"#
                .to_owned()
        }
        "open_account" => r#"{"product":"savings","currency":"EUR"}"#.to_owned(),
        "deposit" | "withdraw" => r#"{"amount":1,"currency":"EUR"}"#.to_owned(),
        "create_transfer" => format!(
            r#"{{"from_account_id":"{ACCOUNT}","to_account_id":"{ACCOUNT}","amount":1,"currency":"EUR"}}"#
        ),
        "log_in_form" => "form_token=x&email=a%40b.example&password=x".to_owned(),
        form if form.ends_with("_form") => "form_token=x".to_owned(),
        _ => String::new(),
    };
    let content_type = if name.ends_with("_form") {
        "application/x-www-form-urlencoded"
    } else {
        "application/json"
    };
    Request::new(method, path)
        .header("content-type", content_type)
        .header("idempotency-key", "order-1")
        .body(&body)
}

#[test]
fn every_shipped_route_has_its_cases_here() {
    for environment in ENVIRONMENTS {
        let plan = plan(&shipped(), environment);
        let shipped: BTreeSet<&str> = plan.routes().iter().map(|route| route.name.as_str()).collect();
        let expected: BTreeSet<&str> = ROUTES.iter().map(|(name, ..)| *name).collect();
        assert_eq!(shipped, expected, "{environment}");
    }
}

#[test]
fn every_route_lets_the_right_request_through() {
    for environment in ENVIRONMENTS {
        let plan = plan(&shipped(), environment);
        for (name, method, path, scopes, target) in ROUTES {
            let world = World::with_scopes(scopes.unwrap_or_default());
            let request = described(name, method, path).token("good");
            let permit = permit(request.ask(&plan, &world));
            assert_eq!(permit.route().name, name, "{environment} {method} {path}");
            assert_eq!(permit.canonical_path(), path);
            assert_eq!(permit.principal().is_some(), scopes.is_some(), "{name}");
            assert_eq!(permit.forwards_authorization(), scopes.is_some(), "{name}");
            let led = match permit.action() {
                Action::Upstream(upstream) => upstream.name.as_str(),
                Action::Serve(Served::Jwks) => "jwks",
                Action::Serve(Served::Live) => "live",
                Action::Serve(Served::Ready) => "ready",
            };
            assert_eq!(led, target, "{name}");
        }
    }
}

#[test]
fn every_protected_route_refuses_no_token_a_bad_token_and_a_missing_scope() {
    for environment in ENVIRONMENTS {
        let plan = plan(&shipped(), environment);
        for (name, method, path, scopes, _) in ROUTES {
            let Some(scopes) = scopes else { continue };
            let world = World::with_scopes(&["unrelated", "accounts:read2", "accounts"]);
            let request = described(name, method, path);
            let refused = denial(request.ask(&plan, &world));
            assert_eq!(refused.kind.status(), 401, "{name}");
            assert!(
                refused.rule.key().ends_with(&format!("routes.{name}.auth")),
                "{}",
                refused.rule
            );
            assert!(
                refused
                    .rule
                    .file()
                    .is_some_and(|file| file.starts_with("routes/")),
                "{}",
                refused.rule
            );
            assert_eq!(
                status(&request.clone().token("forged").ask(&plan, &world)),
                401,
                "{name}"
            );
            let expected = if scopes.is_empty() { 200 } else { 403 };
            assert_eq!(
                status(&request.token("good").ask(&plan, &world)),
                expected,
                "{name}"
            );
        }
    }
}

#[test]
fn every_open_route_says_why_and_still_refuses() {
    for environment in ENVIRONMENTS {
        let plan = plan(&shipped(), environment);
        for (name, method, path, scopes, _) in ROUTES {
            if scopes.is_some() {
                continue;
            }
            let route = plan
                .routes()
                .iter()
                .find(|route| route.name == name)
                .expect("shipped");
            assert!(
                matches!(&route.auth, RouteAuth::Anyone { because } if because.len() > 10),
                "{name}"
            );
            let world = World::default();
            let ask = |request: Request| status(&request.body("{}").ask(&plan, &world));
            assert_eq!(ask(Request::new("DELETE", path)), 405, "{name}");
            assert_eq!(ask(Request::new(method, &format!("{path}/.."))), 400, "{name}");
            assert_eq!(
                ask(Request::new(method, path).host("evil.example")),
                421,
                "{name}"
            );
            let large = (route.limits.body + 1).to_string();
            let refusal = if method == "GET" { 400 } else { 413 };
            assert_eq!(
                ask(Request::new(method, path).header("content-length", &large)),
                refusal,
                "{name}"
            );
        }
    }
}

#[test]
fn production_numbers_are_those_of_the_requirements() {
    let plan = plan(&shipped(), "production");
    let numbers = |name: &str| {
        let rates = plan
            .routes()
            .iter()
            .flat_map(|route| route.rates())
            .chain(&plan.floor().rate);
        let limit = rates
            .into_iter()
            .find(|limit| limit.name == name)
            .expect("a limit");
        (limit.limit, limit.period, limit.count)
    };
    let minute = Duration::from_mins(1);
    assert_eq!(numbers("per-address"), (100, minute, Count::Requests));
    assert_eq!(numbers("login-attempts"), (30, minute, Count::Requests));
    assert_eq!(numbers("login-failures"), (5, minute, Count::Failures));
    assert_eq!(
        numbers("registrations"),
        (3, Duration::from_hours(1), Count::Requests)
    );
}

#[test]
fn development_and_test_raise_request_limits_but_not_the_failure_limit() {
    for environment in ["development", "test"] {
        let plan = plan(&shipped(), environment);
        let login = plan
            .routes()
            .iter()
            .find(|route| route.name == "login")
            .expect("shipped");
        for limit in login.rates() {
            let expected = if limit.count == Count::Failures {
                5
            } else {
                100_000
            };
            assert!(
                limit.limit == 5 || limit.limit > expected,
                "{environment} {}",
                limit.name
            );
            assert_eq!(
                limit.limit == 5,
                limit.count == Count::Failures,
                "{environment} {}",
                limit.name
            );
        }
        // The line that decides is the overlay's.
        assert_eq!(
            plan.floor().rate[0].rule.file(),
            Some(format!("environments/{environment}.yaml").as_str())
        );
    }
}

#[test]
fn only_development_and_test_answer_to_loopback_names() {
    for (environment, expected) in [("development", 200), ("test", 200), ("production", 421)] {
        let plan = plan(&shipped(), environment);
        let request = Request::new("GET", "/health/live").host("localhost:8443");
        assert_eq!(
            status(&request.ask(&plan, &World::default())),
            expected,
            "{environment}"
        );
    }
}

#[test]
fn the_hash_names_the_bundle_and_the_environment() {
    let hash = |files: &[policy::SourceFile], environment| plan(files, environment).hash().to_owned();
    let files = shipped();
    let mut reordered = shipped();
    reordered.reverse();
    assert_eq!(hash(&files, "production"), hash(&reordered, "production"));
    assert_eq!(hash(&files, "production").len(), 64);
    assert_ne!(hash(&files, "production"), hash(&files, "development"));
    let other_overlay = shipped_with("environments/development.yaml", "one address", "one place");
    assert_eq!(
        hash(&files, "production"),
        hash(&other_overlay, "production"),
        "an overlay that is not applied"
    );
    assert_ne!(hash(&files, "development"), hash(&other_overlay, "development"));
    let changed = shipped_with("floor.yaml", "100/min", "101/min");
    assert_ne!(hash(&files, "production"), hash(&changed, "production"));
}

#[test]
fn names_and_files_may_come_in_any_order() {
    let mut files = shipped();
    files.reverse();
    assert!(compile(&files, "development").is_ok());
}

#[test]
fn the_document_is_the_one_that_is_published() {
    let published = std::fs::read_to_string(crate::world::shipped_folder().join("../docs/openapi.json"));
    let files = shipped();
    let document = files.iter().find(|file| file.name == "core-api.openapi.json");
    let document = document.map(|file| file.text.as_str());
    assert!(
        document == published.ok().as_deref(),
        "they differ: run make openapi"
    );
}
