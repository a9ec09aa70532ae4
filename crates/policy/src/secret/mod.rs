//! What looks like a secret in the text of a policy: findings neither quote nor repeat it.
//!
//! A policy holds secrets by reference only, so one that stands in it is a mistake, and whoever reads the finding (a
//! terminal, a build log, the log of the gateway) must not learn it. Better one line too many is hidden than one too few.

mod looks;

use looks::{in_words, says_secret_or_more};
pub(crate) use looks::{is_plain, says_secret};

/// What to write instead of a secret.
pub(crate) const BY_REFERENCE: &str =
    "secrets only by reference: take it out of the policy, and replace it by a new one where it is used";

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";

/// Bytes of a line that are looked at on each side of a place: more than any finding quotes.
const AROUND: usize = 1_024;

/// The pieces of a line, counted from 1, that look like secrets; of a long line, those around a column.
pub(crate) fn of_line(text: &str, line: u32, column: u32) -> Vec<&str> {
    let index = usize::try_from(line).ok().and_then(|line| line.checked_sub(1));
    let Some((index, own)) = index.and_then(|index| Some((index, text.lines().nth(index)?))) else {
        return Vec::new();
    };
    if continues_key_block(text, index) || continues_secret(text, index, own) {
        return vec![own.trim()];
    }
    let near = around(own, column);
    let mut pieces = in_words(near);
    // The line of a long flow mapping is cut behind its bracket.
    let open = if near.len() < own.len() {
        vec!['{']
    } else {
        Vec::new()
    };
    pieces.extend(under_names(near, open));
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// Of every line, whether something in it looks like a secret. One pass: a file can be all lines.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = bool> {
    let mut is_in_key = false;
    // The keys that the next line may belong to: their depth, and whether their name says secret.
    let mut above: Vec<(usize, bool)> = Vec::new();
    text.lines().map(move |line| {
        let was_in_key = is_in_key;
        if line.contains(BEGIN) || line.contains(END) {
            is_in_key = line.contains(BEGIN) && !line.contains(END);
        }
        if line.trim().is_empty() {
            return was_in_key;
        }
        let depth = depth(line);
        while above.last().is_some_and(|(outer, _)| *outer >= depth) {
            above.pop();
        }
        let is_under_secret = above.last().is_some_and(|(_, says)| *says);
        let name = line
            .trim_start()
            .split_once(':')
            .map(|(name, _)| name.trim_matches(['"', '\'']));
        above.push((depth, name.is_some_and(says_secret)));
        was_in_key
            || (is_under_secret && may_continue(line))
            || !in_words(line).is_empty()
            || under_names(line, Vec::new())
                .iter()
                .any(|piece| !piece.is_empty())
    })
}

fn depth(line: &str) -> usize {
    line.len().saturating_sub(line.trim_start().len())
}

/// Whether a line can be a value of its own, and not a key or a comment.
fn may_continue(line: &str) -> bool {
    let is_key = line.contains(": ") || line.trim_end().ends_with(':');
    depth(line) > 0 && !is_key && !line.trim_start().starts_with('#')
}

/// The part of a line around a column, counted from 1 in characters.
fn around(line: &str, column: u32) -> &str {
    if line.len() <= AROUND {
        return line;
    }
    let before = usize::try_from(column).unwrap_or(usize::MAX).saturating_sub(1);
    let at = if line.is_ascii() {
        before.min(line.len())
    } else {
        let mut letters = line.char_indices().map(|(at, _)| at);
        letters.nth(before).unwrap_or(line.len())
    };
    let start = line.floor_char_boundary(at.saturating_sub(AROUND));
    let end = line.ceil_char_boundary(at.saturating_add(AROUND).min(line.len()));
    line.get(start..end).unwrap_or_default()
}

/// The text with every secret left out: those that are known, and what looks like one.
pub(crate) fn left_out(text: &str, known: &[&str]) -> String {
    let mut told = text.to_owned();
    for piece in known {
        told = without(&told, piece);
    }
    let own: Vec<String> = in_words(&told).into_iter().map(str::to_owned).collect();
    own.iter().fold(told, |told, piece| without(&told, piece))
}

/// Replaces a piece where it is no part of a longer word, so that a secret of two letters leaves the sentence readable.
fn without(text: &str, piece: &str) -> String {
    const LONG: usize = 6;
    let mut told = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(piece).filter(|_| !piece.is_empty()) {
        let is_in_word = before.ends_with(char::is_alphanumeric) || after.starts_with(char::is_alphanumeric);
        // A value is told between quotes, or as a part of one.
        let ends = |letter: Option<char>| letter.is_none_or(char::is_whitespace);
        let is_loose = ends(before.chars().next_back()) && ends(after.chars().next());
        let is_of_sentence = is_loose && piece.bytes().all(|byte| byte.is_ascii_lowercase());
        told.push_str(before);
        told.push_str(if is_of_sentence || (is_in_word && piece.len() < LONG) {
            piece
        } else {
            "…"
        });
        rest = after;
    }
    told.push_str(rest);
    told
}

/// Whether a line lies between the first and the last line of a key in PEM.
fn continues_key_block(text: &str, index: usize) -> bool {
    if !text.contains(BEGIN) {
        return false;
    }
    let above = text.lines().take(index);
    let last = above
        .filter(|line| line.contains(BEGIN) || line.contains(END))
        .last();
    last.is_some_and(|line| line.contains(BEGIN) && !line.contains(END))
}

/// Whether a line is the value of a key in a line above, whose name says that it is a secret.
fn continues_secret(text: &str, index: usize, own: &str) -> bool {
    if !may_continue(own) {
        return false;
    }
    let above = text
        .lines()
        .take(index)
        .filter(|line| !line.trim().is_empty() && depth(line) < depth(own))
        .last();
    let name = above.and_then(|line| line.trim_start().split_once(':'));
    name.is_some_and(|(name, _)| says_secret(name.trim_matches(['"', '\''])))
}

/// Values whose key says that they are secrets, in `key: value`, `key=value` and between brackets.
fn under_names(line: &str, mut open: Vec<char>) -> Vec<&str> {
    let mut pieces = Vec::new();
    for (index, letter) in line.char_indices() {
        match letter {
            '{' | '[' => open.push(letter),
            '}' | ']' => drop(open.pop()),
            ':' | '=' => {
                let (before, after) = line.split_at_checked(index).unwrap_or_default();
                let after = after.get(1..).unwrap_or_default();
                pieces.extend(value_under(before, letter, after, &open));
            }
            _ => {}
        }
    }
    pieces
}

fn value_under<'l>(before: &str, sign: char, after: &'l str, open: &[char]) -> Option<&'l str> {
    let name = before.trim_end();
    let name = name.strip_suffix(['"', '\'']).unwrap_or(name);
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
    let start = name.trim_end_matches(is_of_name).len();
    let name = name.get(start..).unwrap_or_default();
    // `cards-token:write` between brackets is a scope and no key.
    let is_key = sign == '=' || after.is_empty() || after.starts_with(char::is_whitespace);
    let is_glued_key = before.trim_start().len() == name.len() || open.last() == Some(&'{');
    if !(is_key || is_glued_key) || !says_secret_or_more(name) {
        return None;
    }
    let value = after.trim_start();
    let end = if open.is_empty() { " #" } else { "," };
    let value = value.split(end).next().unwrap_or_default();
    let value = if open.is_empty() {
        value
    } else {
        value.split('}').next().unwrap_or_default()
    };
    let value = value.trim_matches([' ', '"', '\'', '[', ']']);
    let is_no_value = value.starts_with('{') || value.starts_with(['>', '|']) && value.len() <= 3;
    (!is_no_value && !is_plain(name, value)).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::{left_out, lines, of_line};

    #[test]
    fn secrets_are_seen() {
        for (line, secret) in [
            ("address: http://admin:hunter2@127.0.0.1:80", "admin:hunter2"),
            ("address: admin:hunter2@127.0.0.1", "admin:hunter2"),
            ("issuer: https://bob@bank.example/x", "bob"),
            ("address: http://a:p/w@127.0.0.1", "a:p/w"),
            (
                "authorization: Bearer eyJhbGciOiJIUzI1NiJ9.e30.x",
                "eyJhbGciOiJIUzI1NiJ9.e30.x",
            ),
            ("authorization: \"Basic dTpwdw==\"", "dTpwdw=="),
            ("  client_secret: hunter2 # the one", "hunter2"),
            ("  client_secret:hunter2", "hunter2"),
            ("\"password\": \"hunter 2\"", "hunter 2"),
            ("{ a: 1, DB-PASSWORD: hunter2, b: 2 }", "hunter2"),
            ("password = hunter2", "hunter2"),
            (
                "keys: { kty: oct, k: GawgguFyGrWKav7AX4VKUg }",
                "GawgguFyGrWKav7AX4VKUg",
            ),
            ("keys: s3cr3t", "s3cr3t"),
            ("psk: kJ8sD2mQ9vX4zT7wB1nR", "kJ8sD2mQ9vX4zT7wB1nR"),
            ("label: kJ8sD2mQ9vX4zT7wB1nR", "kJ8sD2mQ9vX4zT7wB1nR"),
            ("# pw kJ8sD2mQ9vX4zT7wB1nR", "kJ8sD2mQ9vX4zT7wB1nR"),
            ("db_pass: hunter2", "hunter2"),
            ("passwort: Geheim!2026xyz", "Geheim!2026xyz"),
            ("dsn: hunter2", "hunter2"),
            ("token_url: https://bob:hunter2@idp.example/token", "bob:hunter2"),
            ("api_key: abc", "abc"),
            (
                concat!("set: { X: AK", "IAIOSFODNN7EXAMPLE }"),
                concat!("AK", "IAIOSFODNN7EXAMPLE"),
            ),
            (
                "a: wJalrXUtnFEMIbK7MDENGbPxRfiCYEXAMPLEKEY",
                "wJalrXUtnFEMIbK7MDENGbPxRfiCYEXAMPLEKEY",
            ),
            (
                "a: 3f786850e387550fdab836ed7e6dc881",
                "3f786850e387550fdab836ed7e6dc881",
            ),
            (
                concat!("certificate: \"-----BEGIN ", "PRIVATE KEY-----\\nMC4C\""),
                concat!("-----BEGIN ", "PRIVATE KEY-----\\nMC4C\""),
            ),
        ] {
            let found = of_line(line, 1, 1);
            assert!(found.contains(&secret), "{line}: {found:?}");
            let told = left_out(&format!("write `{line}`"), &found);
            assert!(!told.contains(secret), "{told}");
        }
    }

    #[test]
    fn what_a_policy_says_is_no_secret() {
        for line in [
            "issuer: https://api.bank.example",
            "keys: protico",
            "keys: file:../idp-2024.jwks.json",
            "per-address: { limit: 100/min, burst: 100, key: [adress] }",
            "      login-failures: { limit: 5/min, key: [address, body./email], count: failures }",
            "credentials: true",
            "authorization: forward",
            "scopes: [api-tokens:write, \"secrets:read\"]",
            "  refresh_token:",
            "  password_reset: { match: { method: POST, path: /api/v1/password/reset } }",
            "script-src 'sha256-4RS22DYeB7U14dra4KcQYxmwt5HkOInieXK1NUMBmQI='",
            "Strict-Transport-Security: max-age=63072000; includeSubDomains",
            "audiences: [0b3f5a2c-6f39-4b6a-9a1c-3f9f1d3a7c11]",
            "because: every bearer token is checked by the core",
            "match: { method: POST, path: \"/api/v1/accounts/{account_id}/access-tokens\" }",
            "# yaml-language-server: $schema=portico.schema.json",
            "token_service: [10.0.0.0/8]",
            "allow_credentials: true",
            "token_lifetime: 15min",
            "max_token_age: 3600",
            "private_key: /etc/portico/gateway.key",
            "key: [address/24]",
            "key: [ip/64, body./email]",
            "keys: https://login.microsoftonline.com/common/discovery/v2.0/keys",
            "token_endpoint: https://idp.example/oauth2/token",
            "passengers: 4a",
            "shopping: 12ab",
        ] {
            let found = of_line(line, 1, 1);
            assert!(found.is_empty(), "{line}: {found:?}");
        }
    }

    #[test]
    fn lines_that_belong_to_a_secret_above_are_hidden() {
        let text = "a: |\n  -----BEGIN KEY-----\n  MC4C\n  -----END KEY-----\n  after\npassword:\n  hunter2\n  refresh_token:\n    auth: none\n";
        let hidden: Vec<u32> = (1..=9)
            .filter(|line| !of_line(text, *line, 1).is_empty())
            .collect();
        assert_eq!(hidden, [2, 3, 4, 7]);
        let in_one_pass: Vec<bool> = lines(text).collect();
        let hidden = (1..)
            .zip(in_one_pass)
            .filter_map(|(line, is_hidden)| is_hidden.then_some(line));
        assert_eq!(hidden.collect::<Vec<u32>>(), [2, 3, 4, 7]);
    }

    #[test]
    fn of_a_long_line_the_part_around_the_place_is_looked_at() {
        let filler = "a: b, ".repeat(1_000);
        for filler in [filler.clone(), filler.replace('b', "ß")] {
            let line = format!("{filler}password: hunter2, {filler}");
            let column = u32::try_from(filler.chars().count()).expect("a column");
            assert!(of_line(&line, 1, column).contains(&"hunter2"));
            assert!(of_line(&line, 1, 1).is_empty());
        }
    }

    #[test]
    fn a_short_secret_does_not_take_the_sentence_with_it() {
        assert_eq!(left_out("`a` is not a size", &["a"]), "`…` is not a size");
        assert_eq!(
            left_out("a mapping of `hunter2x`", &["hunter2"]),
            "a mapping of `…x`"
        );
    }
}
