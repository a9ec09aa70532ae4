//! Header values in every spelling: what browsers take for weak is found and costs its mark; what they do not is left.

use crate::{audit::audited, audit_cases::edited};
use policy::{
    SourceFile,
    audit::{Audit, AuditSeverity},
};

const CSP: &str = "Content-Security-Policy";
const HSTS: &str = "Strict-Transport-Security";
const PERMISSIONS: &str = "Permissions-Policy";
const OPENER: &str = "Cross-Origin-Opener-Policy";
const EMBEDDER: &str = "Cross-Origin-Embedder-Policy";

/// What every policy below says besides.
const CLOSED: &str = "base-uri 'none'; form-action 'none'";

/// The shipped bundle with another value in the profile of the floor.
fn with(header: &str, value: &str) -> Vec<SourceFile> {
    let start = format!("      {header}: ");
    let shipped = edited(&[]);
    let headers = shipped.iter().find(|file| file.name == "headers.yaml");
    let old = headers
        .and_then(|file| file.text.lines().find(|line| line.starts_with(&start)))
        .expect("a header of the floor's profile");
    let quoted = value.replace('\'', "''");
    edited(&[("headers.yaml", old, &format!("{start}'{quoted}'"))])
}

fn found(audit: &Audit, header: &str) -> Vec<&'static str> {
    let key = format!("headers.api.set.{header}");
    let about = audit
        .open(AuditSeverity::Low)
        .filter(|finding| finding.key == key);
    about.map(|finding| finding.rule.id).collect()
}

#[test]
fn weak_spellings_are_found_and_cost_their_mark() {
    let csp = |more: &str| format!("{more}; {CLOSED}");
    let framed = |more: &str| csp(&format!("{more}; frame-ancestors 'none'"));
    let rest = "geolocation=(), microphone=(), payment=(), usb=()";
    let cases = [
        ("A1002", CSP, framed("default-src 'none'; script-src-elem *")),
        (
            "A1002",
            CSP,
            framed("default-src 'none'; script-src-attr 'unsafe-inline'"),
        ),
        (
            "A1002",
            CSP,
            framed("default-src 'none'; script-src *:443; object-src *:*"),
        ),
        ("A1002", CSP, framed("default-src 'none'; object-src *:*")),
        (
            "A1002",
            CSP,
            framed("default-src 'none'; script-src https://*:443/app/"),
        ),
        ("A1002", CSP, framed("default-src 'none'; script-src *.com")),
        (
            "A1002",
            CSP,
            framed("default-src 'none'; script-src 'unsafe-inline' 'sharp'"),
        ),
        ("A1005", CSP, csp("default-src 'none'; frame-ancestors *:443")),
        (
            "A1005",
            CSP,
            csp("default-src 'none'; frame-ancestors https://*.net"),
        ),
        ("A1022", CSP, framed("default-src none")),
        ("A1022", CSP, csp("default-src 'none'; frame-ancestors none")),
        ("A1022", CSP, framed("default-src 'none'; script-src \"self\"")),
        ("A1016", PERMISSIONS, "banana".to_owned()),
        ("A1016", PERMISSIONS, "banana=()".to_owned()),
        ("A1016", PERMISSIONS, format!("camera=(*), {rest}")),
        (
            "A1016",
            PERMISSIONS,
            format!("camera=(self \"https://evil.example\"), {rest}"),
        ),
        ("A1016", PERMISSIONS, format!("camera=*;report-to=x, {rest}")),
        ("A1016", PERMISSIONS, format!("camera 'none', {rest}")),
        ("A1010", HSTS, "max-age=0; includeSubDomains".to_owned()),
        (
            "A1010",
            HSTS,
            "max-age=63072000; includeSubDomains; max-age=0".to_owned(),
        ),
        ("A1017", OPENER, "same-origin same-origin".to_owned()),
        ("A1017", OPENER, "\"same-origin\"".to_owned()),
        ("A1017", EMBEDDER, "REQUIRE-CORP".to_owned()),
    ];
    for (rule, header, value) in cases {
        let audit = audited(&with(header, &value), "production");
        assert_eq!(found(&audit, header), [rule], "{header}: {value}");
        let score = &audit.score;
        assert_eq!(score.secure_headers[0].met(), 11, "{header}: {value}");
        assert_ne!(score.grade.grade, "A+", "{header}: {value}");
    }
}

#[test]
fn near_misses_are_left_alone_and_keep_every_mark() {
    let framed = |more: &str| format!("{more}; {CLOSED}; frame-ancestors 'none'");
    let rest = "geolocation=(), microphone=(), payment=(), usb=()";
    let cases = [
        (
            CSP,
            framed("default-src 'none'; script-src-elem 'self'; script-src-attr 'none'"),
        ),
        (
            CSP,
            framed("default-src 'none'; script-src https://*.bank.example:443"),
        ),
        (
            CSP,
            framed("default-src 'none'; script-src 'unsafe-inline' 'sha384-abc'"),
        ),
        (CSP, framed("default-src 'none'; img-src *")),
        (CSP, framed("default-src none.example")),
        (CSP, framed("DEFAULT-SRC 'NONE'; report-to none")),
        (CSP, format!("default-src *, {}", framed("default-src 'none'"))),
        (CSP, format!("{}, default-src *", framed("default-src 'none'"))),
        (PERMISSIONS, format!("camera=(self), {rest}")),
        (PERMISSIONS, format!("camera=self, {rest}, fullscreen=()")),
        (PERMISSIONS, format!("camera=();report-to=x,{rest}")),
        (
            HSTS,
            "MAX-AGE=\"31536000\" ; includesubdomains; preload".to_owned(),
        ),
        (OPENER, "same-origin; report-to=\"a\"".to_owned()),
        (EMBEDDER, "credentialless;report-to=\"a\"".to_owned()),
    ];
    for (header, value) in cases {
        let audit = audited(&with(header, &value), "production");
        assert_eq!(found(&audit, header), Vec::<&str>::new(), "{header}: {value}");
        assert_eq!(audit.score.secure_headers[0].met(), 12, "{header}: {value}");
        assert_eq!(audit.score.grade.grade, "A+", "{header}: {value}");
    }
}

/// Header, value, result, and points as the document lists them.
type Vector = (&'static str, &'static str, &'static str, i32);

const VECTORS: [Vector; 33] = [
    (
        CSP,
        "default-src 'none'; form-action 'none'",
        "csp-implemented-with-no-unsafe-default-src-none",
        10,
    ),
    (
        CSP,
        "default-src 'none'; form-action 'self'",
        "csp-implemented-with-no-unsafe-default-src-none",
        10,
    ),
    (CSP, "default-src 'none'", "csp-implemented-with-no-unsafe", 5),
    (
        CSP,
        "default-src none; form-action 'none'",
        "csp-implemented-with-no-unsafe",
        5,
    ),
    (
        CSP,
        "default-src https://mozilla.org;;; ;;;script-src 'none'",
        "csp-implemented-with-no-unsafe",
        5,
    ),
    (
        CSP,
        "default-src 'none'; style-src 'unsafe-inline'",
        "csp-implemented-with-unsafe-inline-in-style-src-only",
        0,
    ),
    (
        CSP,
        "default-src 'none'; style-src *",
        "csp-implemented-with-unsafe-inline-in-style-src-only",
        0,
    ),
    (
        CSP,
        "default-src 'none'; style-src data:",
        "csp-implemented-with-unsafe-inline-in-style-src-only",
        0,
    ),
    (
        CSP,
        "default-src 'none'; img-src http://mozilla.org",
        "csp-implemented-with-insecure-scheme-in-passive-content-only",
        -10,
    ),
    (
        CSP,
        "default-src 'self'; media-src ftp:",
        "csp-implemented-with-insecure-scheme-in-passive-content-only",
        -10,
    ),
    (
        CSP,
        "default-src 'none'; script-src 'unsafe-eval'",
        "csp-implemented-with-unsafe-eval",
        -10,
    ),
    (
        CSP,
        "default-src http://mozilla.org",
        "csp-implemented-with-insecure-scheme",
        -20,
    ),
    (
        CSP,
        "default-src 'none'; script-src ftp://mozilla.org",
        "csp-implemented-with-insecure-scheme",
        -20,
    ),
    (
        CSP,
        "script-src 'unsafe-inline'",
        "csp-implemented-with-unsafe-inline",
        -20,
    ),
    (
        CSP,
        "DEFAULT-SRC 'UNSAFE-INLINE'",
        "csp-implemented-with-unsafe-inline",
        -20,
    ),
    (
        CSP,
        "default-src 'none'; script-src data:",
        "csp-implemented-with-unsafe-inline",
        -20,
    ),
    (
        CSP,
        "script-src 'none'",
        "csp-implemented-with-unsafe-inline",
        -20,
    ),
    (
        CSP,
        "upgrade-insecure-requests",
        "csp-implemented-with-unsafe-inline",
        -20,
    ),
    (
        CSP,
        "default-src https:",
        "csp-implemented-with-unsafe-inline",
        -20,
    ),
    (
        CSP,
        "default-src 'none'; default-src 'none'",
        "csp-implemented-but-duplicate-directives",
        -25,
    ),
    (
        CSP,
        "default-src 'none', form-action 'none'",
        "csp-implemented-with-no-unsafe-default-src-none",
        10,
    ),
    (OPENER, "same-origin; report-to=\"a\"", "implemented", 10),
    (OPENER, "noopener-allow-popups", "implemented", 10),
    (OPENER, "unsafe-none; report-to=\"a\"", "implemented-and-open", 0),
    (OPENER, "Same-Origin", "header-invalid", -5),
    (EMBEDDER, "credentialless", "implemented", 10),
    (EMBEDDER, "require-corp, require-corp", "header-invalid", -5),
    (
        "Referrer-Policy",
        "unsafe-url, strict-origin",
        "referrer-policy-private",
        5,
    ),
    (
        "Referrer-Policy",
        "no-referrer, unsafe-url",
        "referrer-policy-unsafe",
        -5,
    ),
    (
        "Referrer-Policy",
        "whatever",
        "referrer-policy-header-invalid",
        -5,
    ),
    (
        HSTS,
        "max-age=15552000",
        "hsts-implemented-max-age-at-least-six-months",
        0,
    ),
    (
        HSTS,
        "max-age=15551999",
        "hsts-implemented-max-age-less-than-six-months",
        -10,
    ),
    (
        HSTS,
        "max-age=15552000; max-age=15552000",
        "hsts-header-invalid",
        -20,
    ),
];

#[test]
fn the_observatory_gives_each_value_its_result() {
    for (header, value, result, points) in VECTORS {
        let audit = audited(&with(header, value), "production");
        let tests = &audit.score.observatory[0].tests;
        let test = tests.iter().find(|test| header.eq_ignore_ascii_case(test.test));
        let test = test.expect("a test of this header");
        assert_eq!(
            (test.result, test.modifier),
            (result, points),
            "{header}: {value}"
        );
    }
}
