//! Tests of the canonical path rules.

use super::{MOST_PARAMETERS, check_path, is_plain, is_unreserved, target, with_ascii_unescaped};
use proptest::prelude::*;

#[test]
fn canonical_paths_pass() {
    for path in [
        "/",
        "/api/v1/me",
        "/docs/",
        "/a.b/c..d/~e",
        "/a:b@c",
        "/%C3%A9",
        "/100!$&'()*+,=",
        "/a%20b",
    ] {
        assert_eq!(check_path(path), Ok(()), "{path}");
    }
}

#[test]
fn every_other_spelling_is_refused_pa2() {
    let paths = [
        "",
        "*",
        "api",
        "http://x/",
        "//",
        "/a//b",
        "/a//",
        "/.",
        "/..",
        "/a/./b",
        "/a/../b",
        "/%2e/x",
        "/%2E%2E/x",
        "/a%2fb",
        "/a%2Fb",
        "/a%5cb",
        "/a\\b",
        "/a%00",
        "/a%0a",
        "/a%1F",
        "/a%7f",
        "/a;x=1",
        "/a%",
        "/a%4",
        "/a%zz",
        "/a%252e",
        "/a%25",
        "/\u{e9}",
        "/a b",
        "/a#b",
        "/%C3",
        "/%C0%AF",
        "/%ED%A0%80",
        "/a\"",
        "/<",
        "/a|b",
        "/a\tb",
    ];
    for path in paths {
        assert!(check_path(path).is_err(), "{path}");
    }
}

#[test]
fn needless_and_lower_case_escapes_are_refused_pa3() {
    for path in ["/%6De", "/%6de", "/%7E", "/%c3%a9", "/a%2cb"] {
        assert_eq!(
            check_path(path).map_err(|fault| fault.rule),
            Err("language: path PA-3"),
            "{path}"
        );
    }
}

#[test]
fn the_query_is_split_off_and_checked() {
    let split = target("/a?b=%20&c[0]=/?").expect("fine");
    assert_eq!((split.path, split.query), ("/a", Some("b=%20&c[0]=/?")));
    assert_eq!(target("/a").expect("fine").query, None);
    assert_eq!(target("/a?").expect("fine").query, Some(""));
    for query in [
        "/a?\r\n",
        "/a?b c",
        "/a?%",
        "/a?%4",
        "/a?<x>",
        "/a?x#y",
        "/a?\u{e9}",
        "/a?%gg",
    ] {
        assert!(target(query).is_err(), "{query}");
    }
}

#[test]
fn pa6_a_query_has_so_many_parameters_and_no_more() {
    let with = |count: usize| format!("/a?{}", vec!["b=c"; count].join("&"));
    assert!(target(&with(MOST_PARAMETERS)).is_ok());
    let fault = target(&with(MOST_PARAMETERS + 1)).expect_err("one too many");
    assert_eq!(fault.rule, "language: path PA-6");
    assert!(target(&format!("/a?{}", "&".repeat(MOST_PARAMETERS))).is_err());
}

/// The normal form of RFC 3986 §6.2.2, and single slashes: another way to the same answer.
fn canonical(path: &str) -> Option<String> {
    let mut text = String::new();
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            let byte = u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?;
            if is_unreserved(byte) {
                text.push(char::from(byte));
            } else {
                text += &format!("%{byte:02X}");
            }
        } else if is_plain(byte) || byte == b'/' {
            text.push(char::from(byte));
        } else {
            text += &format!("%{byte:02X}");
        }
    }
    let mut segments: Vec<&str> = Vec::new();
    let parts: Vec<&str> = text.strip_prefix('/')?.split('/').collect();
    for (index, part) in parts.iter().enumerate() {
        match *part {
            "." => {}
            ".." => {
                segments.pop();
            }
            "" if index + 1 < parts.len() => {}
            part => segments.push(part),
        }
    }
    Some(format!("/{}", segments.join("/")))
}

#[test]
fn a_path_with_escapes_has_a_second_reading() {
    assert_eq!(
        with_ascii_unescaped("/a%3Ab/%C3%A9%20"),
        Some("/a:b/%C3%A9 ".to_owned())
    );
    assert_eq!(with_ascii_unescaped("/a:b/%C3%A9"), None);
    assert_eq!(with_ascii_unescaped("/a"), None);
}

proptest! {
    #[test]
    fn what_passes_is_its_own_canonical_form(path in "(/|//|[a-z.~%2eEfF5cC;é\\\\ ]|%[0-9A-Fa-f]{2}|\\.\\.){0,12}") {
        if check_path(&path).is_ok() {
            let once = canonical(&path);
            prop_assert_eq!(once.as_deref(), Some(path.as_str()));
            let twice = once.as_deref().and_then(canonical);
            prop_assert_eq!(twice, once);
        }
    }

    #[test]
    fn a_canonical_form_passes(segments in proptest::collection::vec("[a-zA-Z0-9é€ !:@~_-]{1,6}", 0..5)) {
        let path = format!("/{}", segments.join("/"));
        let canonical = canonical(&path).expect("no forbidden letters");
        prop_assert_eq!(check_path(&canonical), Ok(()));
    }

    #[test]
    fn any_text_is_answered(text in "\\PC{0,64}") {
        let _ = target(&text);
    }
}

#[test]
fn unreserved_is_what_rfc_3986_says() {
    let unreserved: String = (0..=255u8)
        .filter(|byte| is_unreserved(*byte))
        .map(char::from)
        .collect();
    assert_eq!(
        unreserved,
        "-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"
    );
}
