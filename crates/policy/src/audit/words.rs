//! What the words of a path say about its route, whatever their case and however they are joined.

use crate::plan::Route;
use http::Method;

/// Words behind which credentials are tried.
const LOG_IN: [&str; 22] = [
    "2fa",
    "authenticate",
    "authentication",
    "login",
    "logins",
    "logon",
    "mfa",
    "otp",
    "passcode",
    "passwd",
    "password",
    "passwords",
    "pin",
    "session",
    "sessions",
    "signin",
    "signon",
    "sso",
    "token",
    "tokens",
    "totp",
    "webauthn",
];

/// The same, where two words are joined without a sign of it: `userlogin`, `resetpassword`.
const LOG_IN_JOINED: [&str; 5] = ["authenticate", "login", "logon", "password", "signin"];

/// The same in two words.
const LOG_IN_TWO: [[&str; 2]; 4] = [["log", "in"], ["log", "on"], ["sign", "in"], ["sign", "on"]];

/// Ending one's own session needs no more than the session.
const LOG_OUT: [&str; 4] = ["logoff", "logout", "signoff", "signout"];
const LOG_OUT_TWO: [[&str; 2]; 4] = [["log", "off"], ["log", "out"], ["sign", "off"], ["sign", "out"]];

/// Words behind which somebody becomes a customer, who has no token yet.
const REGISTRATION: [&str; 7] = [
    "customers",
    "members",
    "register",
    "registration",
    "registrations",
    "signup",
    "users",
];
const REGISTRATION_TWO: [[&str; 2]; 1] = [["sign", "up"]];

/// Words behind which operators sit.
const OPERATIONS: [&str; 12] = [
    "actuator",
    "admin",
    "administrator",
    "console",
    "debug",
    "heapdump",
    "internal",
    "jolokia",
    "metrics",
    "pprof",
    "prometheus",
    "superadmin",
];

/// The same, where they are a whole part of the path: in other words they are ordinary.
const OPERATIONS_ALONE: [&str; 6] = [".env", ".git", "env", "git", "management", "trace"];

impl Route {
    /// Whether credentials are tried there.
    pub(super) fn is_log_in(&self) -> bool {
        let is_joined = |word: &String| {
            let mut joined = LOG_IN_JOINED.iter();
            joined.any(|end| word.starts_with(end) || word.ends_with(end))
        };
        self.method == Method::POST
            && self.written_parts().any(|part| {
                let words = words(part);
                has(&words, &LOG_IN, &LOG_IN_TWO) || words.iter().any(is_joined)
            })
    }

    /// Whether it ends a session.
    pub(super) fn is_log_out(&self) -> bool {
        self.written_parts()
            .any(|part| has(&words(part), &LOG_OUT, &LOG_OUT_TWO))
    }

    /// Whether somebody becomes a customer there.
    pub(super) fn is_registration(&self) -> bool {
        let last = self.written_parts().last().unwrap_or_default();
        self.method == Method::POST && has(&words(last), &REGISTRATION, &REGISTRATION_TWO)
    }

    /// Whether it leads to what operators use.
    pub(super) fn is_operations(&self) -> bool {
        self.written_parts().any(|part| {
            OPERATIONS_ALONE.contains(&part.to_ascii_lowercase().as_str())
                || has(&words(part), &OPERATIONS, &[])
        })
    }

    /// The parts of its path that are no parameters.
    fn written_parts(&self) -> impl Iterator<Item = &str> {
        self.path.split('/').filter(|part| !part.starts_with('{'))
    }
}

fn has(words: &[String], single: &[&str], double: &[[&str; 2]]) -> bool {
    let is_pair = |pair: &[String]| double.iter().any(|two| pair == two);
    words.iter().any(|word| single.contains(&word.as_str())) || words.windows(2).any(is_pair)
}

/// `resetPassword`, `reset-password` and `Reset_Password` are two words each, in lower case.
fn words(part: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_small = false;
    for letter in part.chars() {
        if !letter.is_ascii_alphanumeric() || (was_small && letter.is_ascii_uppercase()) {
            words.push(String::new());
        }
        was_small = letter.is_ascii_lowercase() || letter.is_ascii_digit();
        if let Some(word) = words.last_mut().filter(|_| letter.is_ascii_alphanumeric()) {
            word.push(letter.to_ascii_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn words_are_found_however_they_are_joined() {
        for part in [
            "resetPassword",
            "reset-password",
            "Reset_Password",
            "reset.password-",
            "RESET:PASSWORD",
        ] {
            assert_eq!(words(part), ["reset", "password"], "{part}");
        }
        assert_eq!(words("LOGIN"), ["login"]);
        assert_eq!(words("oauth2Token"), ["oauth2", "token"]);
        assert!(words("").is_empty());
    }
}
