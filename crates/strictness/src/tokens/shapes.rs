//! What is no compact token, or none in its one spelling (RFC 7515 §7.1, RFC 8725 §2.4).

use aws_lc_rs::error::Unspecified;
use serde_json::json;

use super::issuer::{base64url, input};
use super::{Attack, Issuer};

#[rustfmt::skip]
pub(super) fn attacks(issuer: &Issuer) -> Result<Vec<Attack>, Unspecified> {
    let good = issuer.token()?;
    let (input_part, signature) = good.rsplit_once('.').unwrap_or_default();
    let (header, payload) = input_part.split_once('.').unwrap_or_default();
    let json_form = json!({"payload": payload, "protected": header, "signature": signature}).to_string();
    let general = json!({"payload": payload, "signatures": [{"protected": header, "signature": signature}]}).to_string();
    let text = issuer.claims.to_string();
    let twice = |member: &str| format!("{},{member}}}", text.strip_suffix('}').unwrap_or_default());
    let claims = |payload: &[u8]| issuer.signed(&issuer.header().to_string(), payload);
    let header_text = issuer.header().to_string();
    let heading = |member: &str| issuer.signed(&header_text.replacen('{', &format!("{{{member},"), 1), text.as_bytes());
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let expiry = issuer.claim("exp").to_string();
    let not_utf8 = text.replacen("\"sub\":\"", "\"sub\":\"\u{1}", 1).into_bytes().into_iter()
        .map(|byte| if byte == 1 { 0xff } else { byte }).collect::<Vec<u8>>();
    let deep = format!("\"deep\":{}{}", "[".repeat(64), "]".repeat(64));
    Ok(vec![
        Attack::by_issuer("J2", "more than 8 KiB", issuer.signed(&format!("{header_text}{}", " ".repeat(6_500)), text.as_bytes())?, "malformed"),
        Attack::by_anybody("J3", "no signature", format!("{header}.{payload}."), "malformed"),
        Attack::by_anybody("J3", "two parts", format!("{header}.{payload}"), "malformed"),
        Attack::by_anybody("J3", "one part", header.to_owned(), "malformed"),
        Attack::by_anybody("J3", "two dots and nothing else", "..".to_owned(), "malformed"),
        Attack::by_anybody("J3", "no header", format!(".{payload}.{signature}"), "malformed"),
        Attack::by_anybody("J3", "an empty payload", format!("{header}..{signature}"), "malformed"),
        Attack::by_witness("J3", "four parts", format!("{good}.{signature}"), "malformed"),
        Attack::by_witness("J3", "a dot at the end", format!("{good}."), "malformed"),
        Attack::by_witness("J3", "padding", format!("{good}=="), "malformed"),
        Attack::by_witness("J3", "padding inside", format!("{header}=.{payload}.{signature}"), "malformed"),
        Attack::by_witness("J3", "a space inside", format!("{header}. {payload}.{signature}"), "malformed"),
        Attack::by_anybody("J3", "standard base64", format!("{header}.{payload}.+/{signature}"), "malformed"),
        Attack::by_witness("J3", "the signature in standard base64", format!("{input_part}.{}", in_standard_base64(signature)), "malformed"),
        Attack::by_witness("J4", "unused bits", with_unused_bit(&good), "malformed"),
        Attack::by_issuer("J5", "alg twice", heading("\"alg\":\"none\"")?, "malformed"),
        Attack::by_issuer("J5", "typ twice", heading("\"typ\":\"JWT\"")?, "malformed"),
        Attack::by_issuer("J5", "exp twice", claims(twice("\"exp\":9999999999").as_bytes())?, "malformed"),
        Attack::by_issuer("J5", "aud twice", claims(twice("\"aud\":\"core-api\"").as_bytes())?, "malformed"),
        Attack::by_issuer("J5", "sub twice, once escaped", claims(twice("\"\\u0073ub\":\"root\"").as_bytes())?, "malformed"),
        Attack::by_issuer("J5", "a member of a member twice", claims(twice("\"x\":{\"y\":1,\"y\":2}").as_bytes())?, "malformed"),
        Attack::by_issuer("J5", "exp as 1e400", claims(text.replace(&expiry, "1e400").as_bytes())?, "malformed"),
        Attack::by_issuer("J5", "UTF-16", claims(&utf16)?, "malformed"),
        Attack::by_issuer("J5", "no UTF-8", claims(&not_utf8)?, "malformed"),
        Attack::by_issuer("J5", "a byte order mark", claims(format!("\u{feff}{text}").as_bytes())?, "malformed"),
        Attack::by_issuer("J5", "bytes behind the object", claims(format!("{text} {{}}").as_bytes())?, "malformed"),
        Attack::by_issuer("J5", "an array", claims(format!("[{text}]").as_bytes())?, "malformed"),
        Attack::by_issuer("J5", "lists in lists", claims(twice(&deep).as_bytes())?, "malformed"),
        Attack::by_issuer("J5", "a comment", claims(format!("/**/{text}").as_bytes())?, "malformed"),
        Attack::by_witness("J6", "JSON serialisation", json_form, "malformed"),
        Attack::by_witness("J6", "general JSON serialisation", general, "malformed"),
        Attack::by_anybody("J6", "JSON in base64url", base64url(b"{\"payload\":\"e30\",\"signature\":\"\"}"), "malformed"),
        Attack::by_anybody("J6", "an encrypted token", format!("{header}.{payload}.{signature}.{payload}.{signature}"), "malformed"),
        Attack::by_anybody("J6", "header and payload that are no JSON", format!("{}.{signature}", input("x", b"y")), "malformed"),
    ])
}

/// The token with an unused bit of its last letter set.
fn with_unused_bit(token: &str) -> String {
    let mut letters: Vec<char> = token.chars().collect();
    // Letters whose unused bits are zero have a successor in the alphabet that differs in the lowest of them alone.
    let last = letters
        .pop()
        .and_then(|last| char::from_u32(u32::from(last).saturating_add(1)));
    letters.extend(last);
    letters.into_iter().collect()
}

/// The same bytes in the other alphabet of base64, with padding.
fn in_standard_base64(part: &str) -> String {
    let padding = "=".repeat((4 - part.len() % 4) % 4);
    format!("{}{padding}", part.replace('-', "+").replace('_', "/"))
}
