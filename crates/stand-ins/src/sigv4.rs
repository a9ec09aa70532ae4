//! Signature Version 4 computed once more, from the request as it came and from AWS's text, not from the library.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;

use crate::Seen;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
        .as_ref()
        .to_vec()
}

/// Whether the request is signed with this secret key, for this service.
///
/// # Errors
/// Says why not.
pub fn check(seen: &Seen, key_id: &str, secret: &str, region: &str, service: &str) -> Result<(), String> {
    let authorization = seen.header("authorization").ok_or("no authorization")?;
    let rest = authorization
        .strip_prefix("AWS4-HMAC-SHA256 ")
        .ok_or("another algorithm")?;
    let part = |name: &str| {
        rest.split(',')
            .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
            .ok_or(format!("no {name}"))
    };
    let time = seen.header("x-amz-date").ok_or("no x-amz-date")?;
    let (day, _) = time.split_once('T').ok_or("no day in x-amz-date")?;
    let scope = format!("{day}/{region}/{service}/aws4_request");
    if part("Credential")? != format!("{key_id}/{scope}") {
        return Err(format!("credential {}", part("Credential")?));
    }
    let signed = part("SignedHeaders")?;
    for required in ["host", "x-amz-date", "x-amz-target", "content-type"] {
        if !signed.split(';').any(|name| name == required) {
            return Err(format!("{required} is not signed"));
        }
    }
    if seen.header("x-amz-security-token").is_some() && !signed.contains("x-amz-security-token") {
        return Err("the session token is not signed".to_owned());
    }
    let headers: String = signed
        .split(';')
        .map(|name| format!("{name}:{}\n", seen.header(name).unwrap_or("").trim()))
        .collect();
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    let canonical = format!(
        "{}\n{path}\n{query}\n{headers}\n{signed}\n{}",
        seen.method,
        hex(digest(&SHA256, &seen.body).as_ref())
    );
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
        hex(digest(&SHA256, canonical.as_bytes()).as_ref())
    );
    let key = [day, region, service, "aws4_request"]
        .iter()
        .fold(format!("AWS4{secret}").into_bytes(), |key, text| mac(&key, text));
    let expected = hex(&mac(&key, &to_sign));
    if part("Signature")? == expected {
        Ok(())
    } else {
        Err("the signature is another one".to_owned())
    }
}

/// “GET Vanilla” of AWS's own test suite: the computation above is the documented one.
#[test]
fn the_check_agrees_with_the_published_example() {
    let key = ["20150830", "us-east-1", "service", "aws4_request"].iter().fold(
        b"AWS4wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_vec(),
        |key, text| mac(&key, text),
    );
    let canonical = format!(
        "GET\n/\n\nhost:example.amazonaws.com\nx-amz-date:20150830T123600Z\n\nhost;x-amz-date\n{}",
        hex(digest(&SHA256, b"").as_ref())
    );
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/service/aws4_request\n{}",
        hex(digest(&SHA256, canonical.as_bytes()).as_ref())
    );
    assert_eq!(
        hex(&mac(&key, &to_sign)),
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    );
}
