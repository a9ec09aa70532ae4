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

/// The permissions of the profile `pages`.
const OF_PAGES: &str = "      Permissions-Policy: >-
        camera=(), geolocation=(), microphone=(), payment=(), usb=(), publickey-credentials-get=(self),
        publickey-credentials-create=(self)";

/// What every policy below says besides.
const CLOSED: &str = "base-uri 'none'; form-action 'none'";

/// The shipped bundle with another value in the profile of the floor.
pub(crate) fn with(header: &str, value: &str) -> Vec<SourceFile> {
    let start = format!("      {header}: ");
    let shipped = edited(&[]);
    let headers = shipped.iter().find(|file| file.name == "headers.yaml");
    let old = headers
        .and_then(|file| file.text.lines().find(|line| line.starts_with(&start)))
        .expect("a header of the floor's profile");
    let quoted = value.replace('\'', "''");
    let new = format!("{start}'{quoted}'");
    let mut edits = vec![("headers.yaml", old, new.as_str())];
    if header == PERMISSIONS {
        // Pages say more, and must not say less than the floor.
        edits.push(("headers.yaml", OF_PAGES, new.as_str()));
    }
    edited(&edits)
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
        (
            "A1004",
            CSP,
            framed("default-src 'none'; report-uri http://reports.example"),
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
        (
            CSP,
            framed("default-src 'none'; script-src 'strict-dynamic' 'sha384-abc' https: http:"),
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
