//! What stands in templates: no script, no style, no text that a language does not have.

use std::collections::BTreeSet;

use crate::identity::pages::render::TEMPLATES;
use crate::languages::{Language, Texts};

/// Messages that templates ask for by a name that is put together: the parts before and after what varies.
const PUT_TOGETHER: [(&str, &[&str]); 4] = [
    (
        "what ~ \"-lead\"",
        &[
            "forgot-lead",
            "resend-lead",
            "send-unlock-lead",
            "verify-lead",
            "unlock-lead",
            "keep-lead",
        ],
    ),
    (
        "what ~ \"-button\"",
        &["verify-button", "unlock-button", "keep-button"],
    ),
    ("\"month-\" ~ at.month", &["month-1", "month-12"]),
    ("title", &[]),
];

/// Sources of this slice that name messages.
const HANDLERS: [&str; 12] = [
    include_str!("../log_in.rs"),
    include_str!("../second_factor.rs"),
    include_str!("../passkey.rs"),
    include_str!("../passkeys.rs"),
    include_str!("../register.rs"),
    include_str!("../mailed.rs"),
    include_str!("../reset.rs"),
    include_str!("../password.rs"),
    include_str!("../authenticator.rs"),
    include_str!("../security.rs"),
    include_str!("../visit.rs"),
    include_str!("../faults.rs"),
];

/// What is asked for with `t(…)`.
fn asked_for() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for (name, source) in TEMPLATES {
        let is_call = |at: &usize| {
            let before = source.split_at(*at).0.chars().next_back();
            before.is_some_and(|letter| !letter.is_ascii_alphanumeric())
        };
        let calls = source.match_indices("t(").map(|(at, _)| at).filter(is_call);
        for call in calls.map(|at| source.split_at(at + 2).1) {
            let end = call.find([',', ')']).unwrap();
            let asked = call.split_at(end).0.trim();
            match asked.strip_prefix('"').and_then(|asked| asked.strip_suffix('"')) {
                Some(key) if !key.contains('"') => {
                    keys.insert(key.to_owned());
                }
                _ => {
                    let known = PUT_TOGETHER.iter().find(|(form, _)| *form == asked);
                    let Some((_, named)) = known else {
                        assert!(["said"].contains(&asked), "{name}: {asked}");
                        continue;
                    };
                    keys.extend(named.iter().map(|key| (*key).to_owned()));
                }
            }
        }
    }
    keys
}

#[test]
fn no_page_asks_for_a_text_that_is_not_there() {
    let mut keys = asked_for();
    for source in HANDLERS {
        let quoted = source.split('"').skip(1).step_by(2);
        let named = quoted.filter(|text| {
            let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            (text.ends_with("-title") || text.starts_with("said-")) && text.bytes().all(is_name)
        });
        keys.extend(named.map(str::to_owned));
    }
    assert!(keys.len() > 90, "{}", keys.len());
    for language in Language::ALL {
        let texts = Texts::read(language).unwrap();
        let missing: Vec<_> = keys.iter().filter(|key| !texts.has(key)).collect();
        assert!(missing.is_empty(), "{}: {missing:?}", language.as_str());
    }
}

#[test]
fn pages_have_no_script_and_no_style_in_them_and_ask_nobody_else() {
    for (name, source) in TEMPLATES {
        for bad in [
            "<style",
            "style=",
            " onclick",
            " onsubmit",
            " onload",
            "javascript:",
            "http:",
            "https:",
            "|safe",
        ] {
            assert!(!source.contains(bad), "{name} has {bad}");
        }
        let scripts = source.matches("<script").count();
        assert_eq!(
            scripts,
            source
                .matches("<script src=\"{{ script }}\" defer></script>")
                .count()
        );
    }
}

#[test]
fn every_form_carries_the_token_and_goes_to_this_host() {
    for (name, source) in TEMPLATES {
        for form in source.split("<form").skip(1) {
            let form = form.split("</form>").next().unwrap();
            assert!(form.contains("method=\"post\""), "{name}: {form}");
            assert!(form.contains("{% include \"token.html\" %}"), "{name}: {form}");
            let action = form.split_once("action=\"").unwrap().1;
            assert!(
                action.starts_with("/account") || action.starts_with("{{ path }}\""),
                "{name}: {form}"
            );
        }
        // An input has a label, but for what nobody sees.
        for input in source.split("<input").skip(1) {
            let input = input.split('>').next().unwrap();
            if input.contains("type=\"hidden\"") || name == "form.html" {
                continue;
            }
            let id = input.split_once("id=\"").unwrap().1.split('"').next().unwrap();
            assert!(source.contains(&format!("for=\"{id}\"")), "{name}: {input}");
        }
    }
}

#[test]
fn passwords_are_hidden_and_password_managers_know_them() {
    let mut found = 0;
    for (name, source) in TEMPLATES {
        for field in source.split("{{ field(").skip(1) {
            let field = field.split("}}").next().unwrap();
            let is_password = field.contains("password\", t(");
            assert_eq!(
                is_password,
                field.contains("type=\"password\""),
                "{name}: {field}"
            );
            if is_password {
                found += 1;
                let known = ["current-password", "new-password"];
                let says = |known: &&str| field.contains(&format!("autocomplete=\"{known}\""));
                assert_eq!(
                    known.iter().filter(|known| says(known)).count(),
                    1,
                    "{name}: {field}"
                );
            }
        }
        assert!(!source.contains("paste"), "{name}");
    }
    assert!(found >= 7, "{found}");
    let script = include_str!("../assets/account.js");
    assert!(!script.contains("paste\"") && !script.contains("fetch("));
}
