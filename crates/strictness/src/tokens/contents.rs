//! Claims that are not those of a good token here and now (RFC 7519 §4.1, RFC 9068 §4).

use aws_lc_rs::error::Unspecified;
use serde_json::json;

use super::{Attack, Issuer};

pub(super) fn attacks(issuer: &Issuer) -> Result<Vec<Attack>, Unspecified> {
    Ok([times(issuer)?, places(issuer)?, persons(issuer)?].concat())
}

fn times(issuer: &Issuer) -> Result<Vec<Attack>, Unspecified> {
    let now = issuer.now;
    let tried = [
        ("J24", "expired", json!({"exp": now - 40}), "expired"),
        ("J24", "no exp", json!({"exp": null}), "claims"),
        ("J24", "exp as a text", json!({"exp": "9999999999"}), "claims"),
        (
            "J24",
            "exp as a fraction",
            json!({"exp": 9_999_999_999.5}),
            "claims",
        ),
        ("J24", "exp below zero", json!({"exp": -1}), "claims"),
        ("J24", "exp as a list", json!({"exp": [now + 60]}), "claims"),
        ("J25", "nbf to come", json!({"nbf": now + 100}), "not_yet_valid"),
        ("J25", "nbf as a text", json!({"nbf": "0"}), "claims"),
        (
            "J25",
            "iat to come",
            json!({"iat": now + 100, "exp": now + 160}),
            "issued_in_future",
        ),
        ("J25", "no iat", json!({"iat": null}), "claims"),
        ("J27", "a long life", json!({"exp": now + 100_000}), "lifetime"),
        (
            "J27",
            "a life that is none",
            json!({"iat": now, "exp": now}),
            "lifetime",
        ),
    ];
    tried
        .into_iter()
        .map(|(rule, name, changes, reason)| {
            Ok(Attack::by_issuer(rule, name, issuer.claiming(&changes)?, reason))
        })
        .collect()
}

fn places(issuer: &Issuer) -> Result<Vec<Attack>, Unspecified> {
    let named = issuer.claim("iss").as_str().unwrap_or_default();
    let audience = issuer.claim("aud").as_str().unwrap_or_default();
    let look_alike = named.replacen("example", "ex\u{430}mple", 1);
    let tried = [
        (
            "J28",
            "another issuer",
            json!({"iss": "https://evil.example"}),
            "issuer",
        ),
        (
            "J28",
            "a slash behind the issuer",
            json!({"iss": format!("{named}/")}),
            "issuer",
        ),
        ("J28", "a look-alike issuer", json!({"iss": look_alike}), "issuer"),
        ("J28", "a list of issuers", json!({"iss": [named]}), "issuer"),
        ("J28", "no issuer", json!({"iss": null}), "issuer"),
        ("J29", "another audience", json!({"aud": "payroll"}), "audience"),
        (
            "J29",
            "a longer audience",
            json!({"aud": format!("{audience}-2")}),
            "audience",
        ),
        (
            "J29",
            "audiences in one text",
            json!({"aud": format!("payroll {audience}")}),
            "audience",
        ),
        (
            "J29",
            "audiences with spaces",
            json!({"aud": [format!(" {audience}"), format!("{audience} ")]}),
            "audience",
        ),
        (
            "J29",
            "an audience that is no text",
            json!({"aud": [audience, 1]}),
            "audience",
        ),
        ("J29", "no audience", json!({"aud": null}), "audience"),
    ];
    tried
        .into_iter()
        .map(|(rule, name, changes, reason)| {
            Ok(Attack::by_issuer(rule, name, issuer.claiming(&changes)?, reason))
        })
        .collect()
}

fn persons(issuer: &Issuer) -> Result<Vec<Attack>, Unspecified> {
    let tried = [
        ("J30", "no subject", json!({"sub": null}), "claims"),
        (
            "J30",
            "a subject that ends a header",
            json!({"sub": "a\r\nx-auth-subject: root"}),
            "claims",
        ),
        ("J30", "a long subject", json!({"sub": "u".repeat(256)}), "claims"),
        ("J31", "no jti", json!({"jti": null}), "claims"),
        (
            "J32",
            "scopes as a list",
            json!({"scope": ["transfers:write"]}),
            "claims",
        ),
        (
            "J33",
            "bound to a key of DPoP",
            json!({"cnf": {"jkt": "x"}}),
            "binding",
        ),
        (
            "J33",
            "bound in two ways",
            json!({"cnf": {"jkt": "x", "x5t#S256": "A".repeat(43)}}),
            "binding",
        ),
        (
            "J33",
            "bound to no hash",
            json!({"cnf": {"x5t#S256": "A"}}),
            "binding",
        ),
        ("J33", "bound to nothing", json!({"cnf": {}}), "binding"),
        (
            "J33",
            "bound to a certificate that nobody shows",
            json!({"cnf": {"x5t#S256": "A".repeat(43)}}),
            "unproven",
        ),
        (
            "J33",
            "two clients",
            json!({"client_id": "app", "azp": "other"}),
            "claims",
        ),
    ];
    tried
        .into_iter()
        .map(|(rule, name, changes, reason)| {
            Ok(Attack::by_issuer(rule, name, issuer.claiming(&changes)?, reason))
        })
        .collect()
}
