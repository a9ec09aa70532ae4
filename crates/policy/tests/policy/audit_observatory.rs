//! What the MDN HTTP Observatory gives a header value, by the commit that `docs/policy-audit.md` names, and where the
//! audit gives less.

use crate::{audit::audited, audit_cases::edited, audit_spellings::with};
use policy::audit::Audit;

/// A value, and the result and the points that the Observatory gives it.
type Vector = (&'static str, &'static str, i32);

const CSP: &[Vector] = &[
    (
        "default-src 'none'; form-action 'none'",
        "csp-implemented-with-no-unsafe-default-src-none",
        10,
    ),
    (
        "default-src 'none'; form-action 'self'",
        "csp-implemented-with-no-unsafe-default-src-none",
        10,
    ),
    (
        "default-src; form-action",
        "csp-implemented-with-no-unsafe-default-src-none",
        10,
    ),
    (
        "default-src none; form-action 'none'",
        "csp-implemented-with-no-unsafe",
        5,
    ),
    (
        "default-src 'none'; object-src https://a.example; form-action 'none'",
        "csp-implemented-with-no-unsafe-default-src-none",
        10,
    ),
    ("default-src 'self'", "csp-implemented-with-no-unsafe", 5),
    (
        "default-src https://a.example;; ;script-src 'none'",
        "csp-implemented-with-no-unsafe",
        5,
    ),
    (
        "object-src 'none'; script-src 'sha256-abc' 'unsafe-inline'; style-src 'none'",
        "csp-implemented-with-no-unsafe",
        5,
    ),
    (
        "default-src 'self'; style-src 'unsafe-inline' 'sha512-abc'",
        "csp-implemented-with-no-unsafe",
        5,
    ),
    (
        "default-src 'none'; style-src 'unsafe-inline'",
        "csp-implemented-with-unsafe-inline-in-style-src-only",
        0,
    ),
    (
        "default-src 'none'; style-src *",
        "csp-implemented-with-unsafe-inline-in-style-src-only",
        0,
    ),
    (
        "default-src 'none'; style-src data:",
        "csp-implemented-with-unsafe-inline-in-style-src-only",
        0,
    ),
    (
        "object-src 'none'; script-src 'none'",
        "csp-implemented-with-unsafe-inline-in-style-src-only",
        0,
    ),
    (
        "default-src 'none'; img-src http://a.example",
        "csp-implemented-with-insecure-scheme-in-passive-content-only",
        -10,
    ),
    (
        "default-src 'self'; media-src ftp:",
        "csp-implemented-with-insecure-scheme-in-passive-content-only",
        -10,
    ),
    (
        "default-src 'none'; img-src http:; style-src 'unsafe-inline'",
        "csp-implemented-with-insecure-scheme-in-passive-content-only",
        -10,
    ),
    (
        "default-src 'none'; script-src 'unsafe-eval'",
        "csp-implemented-with-unsafe-eval",
        -10,
    ),
    (
        "default-src 'none'; style-src 'unsafe-eval'",
        "csp-implemented-with-unsafe-eval",
        -10,
    ),
    (
        "default-src 'none'; script-src 'wasm-unsafe-eval'; form-action 'none'",
        "csp-implemented-with-no-unsafe-default-src-none",
        10,
    ),
    (
        "default-src 'none'; script-src 'unsafe-eval'; img-src http:",
        "csp-implemented-with-unsafe-eval",
        -10,
    ),
    (
        "default-src http://a.example",
        "csp-implemented-with-insecure-scheme",
        -20,
    ),
    (
        "default-src 'none'; script-src ftp://a.example",
        "csp-implemented-with-insecure-scheme",
        -20,
    ),
    (
        "default-src 'none'; report-uri http://a.example",
        "csp-implemented-with-insecure-scheme",
        -20,
    ),
    (
        "default-src 'none'; form-action http://a.example",
        "csp-implemented-with-insecure-scheme",
        -20,
    ),
    (
        "script-src 'unsafe-inline'",
        "csp-implemented-with-unsafe-inline",
        -20,
    ),
    (
        "DEFAULT-SRC 'UNSAFE-INLINE'",
        "csp-implemented-with-unsafe-inline",
        -20,
    ),
    (
        "default-src 'none'; script-src data:",
        "csp-implemented-with-unsafe-inline",
        -20,
    ),
    ("script-src 'none'", "csp-implemented-with-unsafe-inline", -20),
    (
        "upgrade-insecure-requests",
        "csp-implemented-with-unsafe-inline",
        -20,
    ),
    ("default-src https:", "csp-implemented-with-unsafe-inline", -20),
    (
        "default-src 'none'; object-src http://*.*",
        "csp-implemented-with-unsafe-inline",
        -20,
    ),
    (
        "default-src 'none'; script-src 'strict-dynamic' 'sha256-abc' https: 'unsafe-inline'; form-action 'none'",
        "csp-implemented-with-no-unsafe-default-src-none",
        10,
    ),
    (
        "default-src 'none'; script-src 'strict-dynamic' 'sha256-abc' http://a.example; form-action 'none'",
        "csp-implemented-with-no-unsafe-default-src-none",
        10,
    ),
    (
        "default-src 'none'; script-src 'strict-dynamic' 'sha256-abc' data:; form-action 'none'",
        "csp-implemented-with-unsafe-inline",
        -20,
    ),
    (
        "default-src 'none'; script-src 'strict-dynamic'; form-action 'none'",
        "csp-header-invalid",
        -25,
    ),
    ("default-src 'self' 'strict-dynamic'", "csp-header-invalid", -25),
    (
        "default-src 'none'; default-src 'none'",
        "csp-header-invalid",
        -25,
    ),
    (
        "default-src 'none'; Img-Src 'self'; img-src 'self'",
        "csp-header-invalid",
        -25,
    ),
    (
        "default-src 'none'; report-uri /a; report-uri /b",
        "csp-implemented-but-duplicate-directives",
        0,
    ),
    (
        "default-src 'none'; img-src http:; report-to a; report-to b",
        "csp-implemented-but-duplicate-directives",
        0,
    ),
    (
        "default-src 'none'; script-src 'unsafe-eval'; report-to a; report-to b",
        "csp-implemented-with-unsafe-eval",
        -10,
    ),
    (
        "default-src *; report-to a; report-to b",
        "csp-implemented-with-unsafe-inline",
        -20,
    ),
    ("img-s", "csp-header-invalid", -25),
    ("default-src 'none',", "csp-header-invalid", -25),
    (", default-src 'none'", "csp-header-invalid", -25),
    (";;;;;;", "csp-not-implemented", -25),
    (
        "default-src 'none', form-action 'none'",
        "csp-implemented-with-no-unsafe-default-src-none",
        10,
    ),
    (
        "default-src 'none', default-src 'none'; form-action 'none'",
        "csp-implemented-with-no-unsafe-default-src-none",
        10,
    ),
    (
        "script-src *, script-src 'self'; object-src 'none'; style-src 'self'",
        "csp-implemented-with-no-unsafe",
        5,
    ),
    (
        "script-src 'self'; object-src 'none', script-src *; object-src *",
        "csp-implemented-with-unsafe-inline-in-style-src-only",
        0,
    ),
    (
        "default-src 'none'; script-src 'unsafe-inline', default-src 'none'",
        "csp-implemented-with-unsafe-inline",
        -20,
    ),
    (
        "default-src 'self', default-src 'self', default-src 'none'; form-action 'none'",
        "csp-implemented-with-no-unsafe",
        5,
    ),
    (
        "form-action http://a.example; default-src 'none', default-src 'none'",
        "csp-implemented-with-insecure-scheme",
        -20,
    ),
];

const SNIFFING: &[Vector] = &[
    ("NoSniff", "x-content-type-options-nosniff", 0),
    ("nosniff, nosniff", "x-content-type-options-header-invalid", -5),
    ("sniff", "x-content-type-options-header-invalid", -5),
];

const REFERRER: &[Vector] = &[
    ("no-referrer", "referrer-policy-private", 5),
    ("Strict-Origin-When-Cross-Origin", "referrer-policy-private", 5),
    ("unsafe-url, strict-origin", "referrer-policy-private", 5),
    ("no-referrer, unsafe-url", "referrer-policy-unsafe", -5),
    ("no-referrer, later", "referrer-policy-private", 5),
    ("no-referrer-when-downgrade", "referrer-policy-unsafe", -5),
    ("whatever", "referrer-policy-header-invalid", -5),
];

const OPENER: &[Vector] = &[
    ("same-origin", "coop-implemented-with-same-origin", 10),
    (
        "same-origin-allow-popups",
        "coop-implemented-with-same-origin-allow-popups",
        10,
    ),
    (
        "noopener-allow-popups",
        "coop-implemented-with-noopener-allow-popups",
        10,
    ),
    ("unsafe-none", "coop-implemented-with-unsafe-none", 0),
    (
        "same-origin; report-to=\"a\"",
        "coop-implemented-with-same-origin",
        10,
    ),
    ("Same-Origin", "coop-header-invalid", -5),
    ("\"same-origin\"", "coop-header-invalid", -5),
    ("same-origin, same-origin", "coop-header-invalid", -5),
    ("same-origin;", "coop-header-invalid", -5),
];

const EMBEDDER: &[Vector] = &[
    ("require-corp", "coep-implemented-with-require-corp", 10),
    ("credentialless", "coep-implemented-with-credentialless", 10),
    ("unsafe-none", "coep-implemented-with-unsafe-none", 0),
    (
        "require-corp;report-to=\"a\"",
        "coep-implemented-with-require-corp",
        10,
    ),
    ("require-corp, require-corp", "coep-header-invalid", -5),
    ("REQUIRE-CORP", "coep-header-invalid", -5),
];

const RESOURCE: &[Vector] = &[
    ("same-origin", "corp-implemented-with-same-origin", 10),
    ("same-site", "corp-implemented-with-same-site", 10),
    ("cross-origin", "corp-implemented-with-cross-origin", 0),
    ("same-origin, same-origin", "corp-header-invalid", -5),
    ("same-origin; a", "corp-header-invalid", -5),
    ("none", "corp-header-invalid", -5),
];

const HSTS: &[Vector] = &[
    (
        "max-age=15552000",
        "hsts-implemented-max-age-at-least-six-months",
        0,
    ),
    (
        "MAX-AGE=15552000 ; includeSubDomains; preload",
        "hsts-implemented-max-age-at-least-six-months",
        0,
    ),
    (
        "max-age=15551999",
        "hsts-implemented-max-age-less-than-six-months",
        -10,
    ),
    ("max-age=0", "hsts-implemented-max-age-less-than-six-months", -10),
    ("includeSubDomains", "hsts-header-invalid", -20),
    ("max-age = 63072000", "hsts-header-invalid", -20),
    ("max-age=63072000, max-age=63072000", "hsts-header-invalid", -20),
    ("max-age=63072000; a=\"b,c\"", "hsts-header-invalid", -20),
    (
        "max-age=\"63072000\"",
        "hsts-implemented-max-age-at-least-six-months",
        0,
    ),
];

/// For answers with a Content-Security-Policy that does not say who may frame them.
const FRAMES: &[Vector] = &[
    ("deny", "x-frame-options-sameorigin-or-deny", 5),
    ("SameOrigin", "x-frame-options-sameorigin-or-deny", 5),
    (
        "ALLOW-FROM https://a.example",
        "x-frame-options-allow-from-origin",
        0,
    ),
    ("DENY, DENY", "x-frame-options-header-invalid", -20),
    ("none", "x-frame-options-header-invalid", -20),
];

/// A header, a value, what the Observatory gives it, and what the audit does, for the reasons in the document.
type Stricter = (
    &'static str,
    &'static str,
    (&'static str, i32),
    (&'static str, i32),
);

const STRICTER: &[Stricter] = &[
    (
        "Content-Security-Policy",
        "default-src 'none'",
        ("csp-implemented-with-no-unsafe-default-src-none", 10),
        ("csp-implemented-with-no-unsafe", 5),
    ),
    (
        "Content-Security-Policy",
        "default-src 'none'; form-action https://a.example",
        ("csp-implemented-with-no-unsafe-default-src-none", 10),
        ("csp-implemented-with-no-unsafe", 5),
    ),
    (
        "Content-Security-Policy",
        "object-src 'none'; script-src 'nonce-abc' 'unsafe-inline'; style-src 'none'",
        ("csp-implemented-with-no-unsafe", 5),
        ("csp-implemented-with-unsafe-inline", -20),
    ),
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src *:443",
        ("csp-implemented-with-no-unsafe-default-src-none", 10),
        ("csp-implemented-with-unsafe-inline-in-style-src-only", 0),
    ),
    (
        "Content-Security-Policy",
        "default-src 'none'; img-src ws:",
        ("csp-implemented-with-no-unsafe-default-src-none", 10),
        (
            "csp-implemented-with-insecure-scheme-in-passive-content-only",
            -10,
        ),
    ),
    (
        "Content-Security-Policy",
        "default-src 'none'; connect-src ws://a.example; form-action 'none'",
        ("csp-implemented-with-no-unsafe-default-src-none", 10),
        ("csp-implemented-with-insecure-scheme", -20),
    ),
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src *:443; form-action 'none'",
        ("csp-implemented-with-no-unsafe-default-src-none", 10),
        ("csp-implemented-with-unsafe-inline", -20),
    ),
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src-elem *; form-action 'none'",
        ("csp-implemented-with-no-unsafe-default-src-none", 10),
        ("csp-implemented-with-unsafe-inline", -20),
    ),
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'strict-dynamic' 'nonce-abc'; form-action 'none'",
        ("csp-implemented-with-no-unsafe-default-src-none", 10),
        ("csp-implemented-with-unsafe-inline", -20),
    ),
    (
        "Content-Security-Policy",
        "default-src 'strict-dynamic' 'sha256-abc' *",
        ("csp-implemented-with-no-unsafe", 5),
        ("csp-implemented-with-unsafe-inline", -20),
    ),
    (
        "Content-Security-Policy",
        "img-src 'self', script-src *; object-src *",
        ("csp-implemented-with-unsafe-inline-in-style-src-only", 0),
        ("csp-implemented-with-unsafe-inline", -20),
    ),
    (
        "Content-Security-Policy",
        "default-src http:, default-src https:",
        ("csp-implemented-with-no-unsafe-default-src-none", 10),
        ("csp-implemented-with-unsafe-inline", -20),
    ),
    (
        "Cross-Origin-Resource-Policy",
        "Same-Origin",
        ("corp-implemented-with-same-origin", 10),
        ("corp-header-invalid", -5),
    ),
    (
        "Strict-Transport-Security",
        "max-age=\"5\"",
        ("hsts-implemented-max-age-at-least-six-months", 0),
        ("hsts-implemented-max-age-less-than-six-months", -10),
    ),
    (
        "Strict-Transport-Security",
        "max-age=",
        ("hsts-implemented-max-age-at-least-six-months", 0),
        ("hsts-header-invalid", -20),
    ),
    (
        "Strict-Transport-Security",
        "max-age=63072000x",
        ("hsts-implemented-max-age-at-least-six-months", 0),
        ("hsts-header-invalid", -20),
    ),
    (
        "Strict-Transport-Security",
        "max-age=63072000; max-age=63072000",
        ("hsts-implemented-max-age-at-least-six-months", 0),
        ("hsts-header-invalid", -20),
    ),
    (
        "Strict-Transport-Security",
        "max-age=-1",
        ("hsts-implemented-max-age-less-than-six-months", -10),
        ("hsts-header-invalid", -20),
    ),
    (
        "Strict-Transport-Security",
        "max-age=63072000; includeSubDomains=no",
        ("hsts-implemented-max-age-at-least-six-months", 0),
        ("hsts-header-invalid", -20),
    ),
    (
        "Content-Security-Policy",
        "default-src 'none'; report-uri http://a.example; report-uri /a",
        ("csp-implemented-but-duplicate-directives", 0),
        ("csp-implemented-with-insecure-scheme", -20),
    ),
];

fn given(audit: &Audit, header: &str) -> (&'static str, i32) {
    let tests = &audit.score.observatory[0].tests;
    let test = tests.iter().find(|test| header.eq_ignore_ascii_case(test.test));
    let test = test.expect("a test of this header");
    (test.result, test.modifier)
}

fn assert_each(header: &str, vectors: &[Vector]) {
    for (value, result, points) in vectors {
        let audit = audited(&with(header, value), "production");
        assert_eq!(given(&audit, header), (*result, *points), "{header}: {value}");
    }
}

#[test]
fn content_security_policies_have_the_result_that_the_observatory_publishes() {
    assert_each("Content-Security-Policy", CSP);
}

#[test]
fn other_headers_have_the_result_that_the_observatory_publishes() {
    for (header, vectors) in [
        ("X-Content-Type-Options", SNIFFING),
        ("Referrer-Policy", REFERRER),
        ("Cross-Origin-Opener-Policy", OPENER),
        ("Cross-Origin-Embedder-Policy", EMBEDDER),
        ("Cross-Origin-Resource-Policy", RESOURCE),
        ("Strict-Transport-Security", HSTS),
    ] {
        assert_each(header, vectors);
    }
}

#[test]
fn where_the_audit_differs_it_gives_fewer_points() {
    for (header, value, published, ours) in STRICTER {
        let audit = audited(&with(header, value), "production");
        assert_eq!(given(&audit, header), *ours, "{header}: {value}");
        assert!(ours.1 < published.1, "{header}: {value}");
    }
}

#[test]
fn a_header_that_is_missing_has_the_result_that_the_observatory_publishes() {
    for (header, result, points) in [
        ("Content-Security-Policy", "csp-not-implemented", -25),
        (
            "X-Content-Type-Options",
            "x-content-type-options-not-implemented",
            -5,
        ),
        ("Referrer-Policy", "referrer-policy-not-implemented", 0),
        ("Cross-Origin-Opener-Policy", "coop-not-implemented", 0),
        ("Cross-Origin-Embedder-Policy", "coep-not-implemented", 0),
        ("Cross-Origin-Resource-Policy", "corp-not-implemented", 0),
        ("Strict-Transport-Security", "hsts-not-implemented", -20),
    ] {
        let audit = audited(&renamed(header, "X-Other"), "production");
        assert_eq!(given(&audit, header), (result, points), "{header}");
    }
    let reports = renamed("Content-Security-Policy", "Content-Security-Policy-Report-Only");
    let reports = audited(&reports, "production");
    assert_eq!(
        given(&reports, "Content-Security-Policy"),
        ("csp-not-implemented-but-reporting-enabled", -25)
    );
}

/// The shipped bundle with another name for a header of the floor's profile.
fn renamed(header: &str, name: &str) -> Vec<policy::SourceFile> {
    edited(&[(
        "headers.yaml",
        &format!("      {header}: "),
        &format!("      {name}: "),
    )])
}

#[test]
fn frames_are_judged_by_the_policy_if_it_can_be_read_and_by_the_old_header_otherwise() {
    let frames = |old: &str, csp: &str| {
        let shipped = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
        let old = format!("X-Frame-Options: {old}");
        let edits = [
            ("headers.yaml", "X-Frame-Options: DENY", old.as_str()),
            ("headers.yaml", shipped, csp),
        ];
        given(&audited(&edited(&edits), "production"), "X-Frame-Options")
    };
    for (value, result, points) in FRAMES {
        assert_eq!(frames(value, "default-src 'none'"), (*result, *points), "{value}");
    }
    let by_policy = ("x-frame-options-implemented-via-csp", 5);
    for csp in [
        "frame-ancestors 'self'",
        "default-src 'none', frame-ancestors 'none'",
        "frame-ancestors; report-to a; report-to b",
        "script-src 'strict-dynamic'; frame-ancestors 'none'",
    ] {
        assert_eq!(frames("none", csp), by_policy, "{csp}");
    }
    for unreadable in [
        "frame-ancestors 'none'; frame-ancestors 'none'",
        "frame-ancestors 'none',",
    ] {
        let by_header = ("x-frame-options-header-invalid", -20);
        assert_eq!(frames("none", unreadable), by_header, "{unreadable}");
    }
    // The Observatory looks no further than at the name of the directive.
    let open = ("x-frame-options-not-implemented", -20);
    assert_eq!(frames("DENY", "frame-ancestors *"), open);
}
