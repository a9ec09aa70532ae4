//! What a header must not say (RFC 8725 §3.1 to §3.12).

use aws_lc_rs::error::Unspecified;
use serde_json::{Value, json};

use super::issuer::{base64url, input, token};
use super::{Attack, Issuer};

pub(super) fn attacks(issuer: &Issuer) -> Result<Vec<Attack>, Unspecified> {
    Ok([algorithms(issuer)?, members(issuer)?, names(issuer)?].concat())
}

/// What decides how the signature is checked.
#[expect(clippy::too_many_lines, reason = "one row for each attack")]
fn algorithms(issuer: &Issuer) -> Result<Vec<Attack>, Unspecified> {
    let (own, kid, public) = (issuer.algorithm(), issuer.kid.as_str(), issuer.key.public());
    let (pem, document) = (issuer.pem()?, issuer.key.document()?);
    let jwk = issuer.jwk().to_string();
    let mut attacks = Vec::new();
    for (name, secret) in [
        ("the raw public key", public),
        ("the SubjectPublicKeyInfo", &document),
        ("the PEM", pem.as_bytes()),
        ("the PEM without its last line break", pem.trim_end().as_bytes()),
        ("the JWK", jwk.as_bytes()),
        ("nothing", &[]),
    ] {
        let mac = issuer.authenticated("HS256", kid, secret);
        attacks.push(Attack::by_anybody(
            "J9",
            format!("HMAC with {name}"),
            mac,
            "algorithm",
        ));
    }
    let disguised = issuer.authenticated(own, kid, public);
    attacks.push(Attack::by_anybody(
        "J22",
        "an HMAC in the place of a signature",
        disguised,
        "signature",
    ));
    for alg in ["none", "None", "NONE", "nOnE"] {
        let signed = issuer.heading("alg", json!(alg))?;
        attacks.push(Attack::by_issuer(
            "J7",
            format!("alg {alg} with a signature"),
            signed,
            "algorithm",
        ));
        let unsigned = token(
            &input(&issuer.header_with("alg", json!(alg)), &issuer.payload()),
            &[],
        );
        attacks.push(Attack::by_anybody(
            "J7",
            format!("alg {alg} without one"),
            unsigned,
            "malformed",
        ));
        // A signature that is there, and that nobody would look at.
        let any = token(
            &input(&issuer.header_with("alg", json!(alg)), &issuer.payload()),
            b"x",
        );
        attacks.push(Attack::by_anybody(
            "J7",
            format!("alg {alg} with a letter"),
            any,
            "algorithm",
        ));
    }
    let others = [
        "", "eddsa", "Ed25519", "EdDSA", "HS256", "RS256", "RS512", "PS256", "ES256", "es256", "ES384",
        "ES256K", " ES256", "dir", "RSA1_5",
    ];
    for alg in others.into_iter().filter(|alg| *alg != own) {
        let signed = issuer.heading("alg", json!(alg))?;
        attacks.push(Attack::by_issuer(
            "J7",
            format!("alg `{alg}`"),
            signed,
            "algorithm",
        ));
    }
    for (name, value) in [
        ("a list of algorithms", json!([own])),
        ("an algorithm that is a number", json!(256)),
        ("no algorithm", Value::Null),
    ] {
        attacks.push(Attack::by_issuer(
            "J7",
            name,
            issuer.heading("alg", value)?,
            "algorithm",
        ));
    }
    Ok(attacks)
}

/// What a header says beside the algorithm and the key.
fn members(issuer: &Issuer) -> Result<Vec<Attack>, Unspecified> {
    let jwk = issuer.jwk();
    let url = |host: &str| json!(format!("https://{host}/keys"));
    let mut attacks = Vec::new();
    for (rule, name, member, value, reason) in [
        (
            "J10",
            "an unknown critical extension",
            "crit",
            json!(["policy"]),
            "critical",
        ),
        (
            "J10",
            "a known name as critical",
            "crit",
            json!(["exp"]),
            "critical",
        ),
        ("J10", "an empty crit", "crit", json!([]), "critical"),
        ("J10", "b64", "b64", json!(false), "critical"),
        ("J11", "an ID token", "typ", json!("JWT"), "type"),
        ("J11", "a refresh token", "typ", json!("rt+jwt"), "type"),
        ("J11", "a logout token", "typ", json!("logout+jwt"), "type"),
        ("J11", "no type", "typ", Value::Null, "type"),
        ("J12", "the issuer's key in the token", "jwk", jwk, "malformed"),
        (
            "J12",
            "jku to cloud metadata",
            "jku",
            json!("http://169.254.169.254/keys"),
            "malformed",
        ),
        ("J12", "x5u", "x5u", url("evil.example"), "malformed"),
        ("J12", "x5c", "x5c", json!(["MIIB"]), "malformed"),
        ("J12", "x5t", "x5t", json!("AAAA"), "malformed"),
        ("J13", "a token in a token", "cty", json!("JWT"), "type"),
        ("J13", "compression", "zip", json!("DEF"), "malformed"),
        ("J13", "encryption", "enc", json!("A256GCM"), "malformed"),
    ] {
        attacks.push(Attack::by_issuer(
            rule,
            name,
            issuer.heading(member, value)?,
            reason,
        ));
    }
    Ok(attacks)
}

/// What a `kid` must not be.
fn names(issuer: &Issuer) -> Result<Vec<Attack>, Unspecified> {
    let kid = issuer.kid.as_str();
    let mut attacks = Vec::new();
    for (name, value, reason) in [
        ("a path as kid", json!("../../../../dev/null"), "unknown_key"),
        ("SQL as kid", json!("x' UNION SELECT 'secret"), "malformed"),
        ("a command as kid", json!("x|/bin/true"), "malformed"),
        ("a null byte in kid", json!(format!("{kid}\0")), "malformed"),
        ("a huge kid", json!("k".repeat(4_000)), "malformed"),
        ("an empty kid", json!(""), "malformed"),
        ("a kid that is a number", json!(1), "malformed"),
        ("no kid", Value::Null, "malformed"),
        ("a kid that nobody has", json!("nobody"), "unknown_key"),
    ] {
        attacks.push(Attack::by_issuer(
            "J14",
            name,
            issuer.heading("kid", value)?,
            reason,
        ));
    }
    let empty = issuer.authenticated("HS256", "../../../../dev/null", &[]);
    attacks.push(Attack::by_anybody(
        "J14",
        "HMAC with the file that kid names",
        empty,
        "algorithm",
    ));
    let in_base64 = base64url(kid.as_bytes());
    let signed = issuer.heading("kid", json!(in_base64))?;
    attacks.push(Attack::by_issuer(
        "J14",
        "the kid in base64",
        signed,
        "unknown_key",
    ));
    Ok(attacks)
}
