//! Tokens that nobody issued, made from one that somebody did.

use anyhow::Context as _;
use aws_lc_rs::hmac;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Every way in which a token is forged, and the forgery.
pub(super) fn all(token: &str, public_key: &[u8]) -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut parts = token.split('.');
    let (header, payload, signature) = (
        parts.next().context("a token has a header")?,
        parts.next().context("a token has a payload")?,
        parts.next().context("a token has a signature")?,
    );
    let read =
        |part: &str| -> anyhow::Result<Value> { Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part)?)?) };
    let (head, claims) = (read(header)?, read(payload)?);
    let thief = Ed25519KeyPair::generate().ok().context("no randomness")?;
    let by_thief = |signed: &str| URL_SAFE_NO_PAD.encode(thief.sign(signed.as_bytes()));
    let by_secret = |signed: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, public_key);
        URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()))
    };
    let another_head = |name: &str, value: &str| with(&head, name, json!(value));
    let another_claim = |name: &str, value: Value| with(&claims, name, value);
    let unsigned = format!("{}.{payload}", another_head("alg", "none"));
    let symmetric = format!("{}.{payload}", another_head("alg", "HS256"));
    let original = format!("{header}.{payload}");
    let somebody_else = format!("{header}.{}", another_claim("sub", json!("usr_another")));
    let longer = format!("{header}.{}", another_claim("exp", json!(4_000_000_000_u64)));
    let more = format!(
        "{header}.{}",
        another_claim("scope", json!("accounts:read transfers:write cash:write"))
    );
    let retyped = format!("{}.{payload}", another_head("typ", "JWT"));
    let foreign_key = format!("{}.{payload}", another_head("kid", "of-the-thief"));
    Ok(vec![
        ("without an algorithm or a signature", format!("{unsigned}.")),
        ("without an algorithm", format!("{unsigned}.{signature}")),
        (
            "signed with the public key as a secret",
            format!("{symmetric}.{}", by_secret(&symmetric)),
        ),
        (
            "signed by a thief in the name of the real key",
            format!("{original}.{}", by_thief(&original)),
        ),
        (
            "signed by a thief with a key of his own",
            format!("{foreign_key}.{}", by_thief(&foreign_key)),
        ),
        (
            "for somebody else, with the old signature",
            format!("{somebody_else}.{signature}"),
        ),
        (
            "that lives longer, with the old signature",
            format!("{longer}.{signature}"),
        ),
        (
            "that may do more, with the old signature",
            format!("{more}.{signature}"),
        ),
        (
            "of another type, with the old signature",
            format!("{retyped}.{signature}"),
        ),
        ("without its signature", format!("{original}.")),
        ("cut to two parts", original.clone()),
        (
            "with a part too many",
            format!("{original}.{signature}.{signature}"),
        ),
        ("with padding", format!("{original}.{signature}==")),
    ])
}

/// The part of a token with one member changed.
fn with(part: &Value, name: &str, value: Value) -> String {
    let mut part = part.clone();
    if let Some(members) = part.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
    URL_SAFE_NO_PAD.encode(part.to_string())
}
