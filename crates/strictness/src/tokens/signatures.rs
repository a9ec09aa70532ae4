//! Signatures that are none.

use aws_lc_rs::error::Unspecified;
use serde_json::json;

use super::issuer::{input, token};
use super::{Algorithm, Attack, Issuer, Key};

/// The order of P-256 (SEC 2 §2.4.2).
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The order of the group of Ed25519, lowest byte first (RFC 8032 §5.1).
const ED25519_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

pub(super) fn attacks(issuer: &Issuer) -> Result<Vec<Attack>, Unspecified> {
    let mut attacks = strangers(issuer)?;
    attacks.extend(lengths(issuer)?);
    attacks.extend(match issuer.key {
        Key::Ed25519(_) => ed25519(issuer)?,
        Key::P256(_) => p256(issuer)?,
        Key::Rsa(_) => rsa(issuer)?,
    });
    Ok(attacks)
}

/// Signed with another key, which the token brings along or not.
fn strangers(issuer: &Issuer) -> Result<Vec<Attack>, Unspecified> {
    let key = Key::generate(issuer.key.algorithm())?;
    let stranger = |kid: &str| (kid.to_owned(), issuer.claims.clone(), issuer.now);
    let (kid, claims, now) = stranger("mine");
    let mine = Issuer::new(key, kid, claims, now);
    let forged = |member: &str, value| {
        let mut header = issuer.header();
        if let Some(members) = header.as_object_mut() {
            members.insert(member.to_owned(), value);
        }
        mine.signed(&header.to_string(), &issuer.payload())
    };
    let good = issuer.token()?;
    let other = issuer.claiming(&json!({"sub": "usr_mallory"}))?;
    let (words, _) = other.rsplit_once('.').unwrap_or_default();
    let (_, signature) = good.rsplit_once('.').unwrap_or_default();
    let own = json!(issuer.algorithm());
    Ok(vec![
        Attack::by_anybody("J14", "a key of my own", mine.token()?, "unknown_key"),
        Attack::by_anybody(
            "J14",
            "a key of my own under the issuer's name",
            forged("alg", own)?,
            "signature",
        ),
        Attack::by_anybody(
            "J12",
            "a key of my own, in the token",
            forged("jwk", mine.jwk())?,
            "malformed",
        ),
        Attack::by_anybody(
            "J12",
            "a key of my own, at jku",
            forged("jku", json!("https://evil.example/keys"))?,
            "malformed",
        ),
        Attack::by_anybody(
            "J12",
            "a key of my own, at x5u",
            forged("x5u", json!("https://evil.example/chain"))?,
            "malformed",
        ),
        Attack::by_anybody(
            "J12",
            "a key of my own, in x5c",
            forged("x5c", json!(["MIIB"]))?,
            "malformed",
        ),
        Attack::by_anybody(
            "J19",
            "the signature of another payload",
            format!("{words}.{signature}"),
            "signature",
        ),
    ])
}

/// Of any algorithm.
fn lengths(issuer: &Issuer) -> Result<Vec<Attack>, Unspecified> {
    let rule = match issuer.key.algorithm() {
        Algorithm::EdDSA => "J23",
        Algorithm::ES256 => "J20",
        Algorithm::RS256 => "J21",
    };
    let joined = |parts: &[&[u8]]| parts.concat();
    let zeros = |a: &[u8], b: &[u8]| vec![0; a.len() + b.len()];
    let ones = |a: &[u8], b: &[u8]| vec![0xff; a.len() + b.len()];
    let shorter = |a: &[u8], b: &[u8]| joined(&[a, b.split_last().map_or(b, |(_, rest)| rest)]);
    let flipped = |a: &[u8], b: &[u8]| {
        let mut bytes = joined(&[a, b]);
        if let Some(first) = bytes.first_mut() {
            *first ^= 1;
        }
        bytes
    };
    let attack = |name, token| Attack::by_anybody(rule, name, token, "signature");
    Ok(vec![
        attack("a signature of zeros", issuer.resigned(zeros)?),
        attack("a signature of ones", issuer.resigned(ones)?),
        attack("a byte that is zero", issuer.resigned(|_, _| vec![0])?),
        attack("a bit flipped", issuer.resigned(flipped)?),
        attack("a byte less", issuer.resigned(shorter)?),
        Attack::by_witness(
            rule,
            "a byte more",
            issuer.resigned(|a, b| joined(&[a, b, &[0]]))?,
            "signature",
        ),
        Attack::by_witness(
            rule,
            "a byte before",
            issuer.resigned(|a, b| joined(&[&[0], a, b]))?,
            "signature",
        ),
        Attack::by_witness(
            rule,
            "twice",
            issuer.resigned(|a, b| joined(&[a, b, a, b]))?,
            "signature",
        ),
    ])
}

fn p256(issuer: &Issuer) -> Result<Vec<Attack>, Unspecified> {
    let one = {
        let mut one = [0; 32];
        if let Some(last) = one.last_mut() {
            *last = 1;
        }
        one
    };
    let attack = |name, token| Attack::by_anybody("J20", name, token, "signature");
    Ok(vec![
        attack("r is zero", issuer.resigned(|_, s| [&[0; 32], s].concat())?),
        attack("s is zero", issuer.resigned(|r, _| [r, &[0; 32]].concat())?),
        attack("r and s are one", issuer.resigned(|_, _| [one, one].concat())?),
        attack("r and s swapped", issuer.resigned(|r, s| [s, r].concat())?),
        attack(
            "r is the order",
            issuer.resigned(|_, s| [&P256_ORDER, s].concat())?,
        ),
        attack(
            "s is the order",
            issuer.resigned(|r, _| [r, &P256_ORDER].concat())?,
        ),
        attack(
            "r and s are the order",
            issuer.resigned(|_, _| [P256_ORDER, P256_ORDER].concat())?,
        ),
        attack(
            "r is zero and s the order",
            issuer.resigned(|_, _| [[0; 32], P256_ORDER].concat())?,
        ),
        Attack::by_witness("J20", "DER", issuer.resigned(in_der)?, "signature"),
        attack(
            "zeros in DER",
            issuer.resigned(|_, _| vec![0x30, 6, 2, 1, 0, 2, 1, 0])?,
        ),
    ])
}

/// `ECDSA-Sig-Value` (RFC 3279 §2.2.3), as other protocols have it.
fn in_der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let start = bytes.iter().position(|byte| *byte != 0).unwrap_or_default();
        let bytes = bytes.get(start..).unwrap_or_default();
        let sign: &[u8] = if bytes.first().is_some_and(|byte| *byte > 0x7f) {
            &[0]
        } else {
            &[]
        };
        let length = u8::try_from(sign.len() + bytes.len()).unwrap_or_default();
        [&[2, length], sign, bytes].concat()
    };
    let both = [integer(r), integer(s)].concat();
    [
        &[0x30, u8::try_from(both.len()).unwrap_or_default()],
        both.as_slice(),
    ]
    .concat()
}

fn ed25519(issuer: &Issuer) -> Result<Vec<Attack>, Unspecified> {
    let identity = {
        let mut point = [0; 32];
        if let Some(first) = point.first_mut() {
            *first = 1;
        }
        point
    };
    let attack = |name, token| Attack::by_anybody("J23", name, token, "signature");
    Ok(vec![
        attack("S is zero", issuer.resigned(|r, _| [r, &[0; 32]].concat())?),
        attack(
            "R is the identity, S zero",
            issuer.resigned(|_, _| [identity, [0; 32]].concat())?,
        ),
        attack("R and S swapped", issuer.resigned(|r, s| [s, r].concat())?),
        Attack::by_witness(
            "J23",
            "S above the order",
            issuer.resigned(|r, s| [r, &above_the_order(s)].concat())?,
            "signature",
        ),
    ])
}

/// The same number to whoever does not look at its size.
fn above_the_order(number: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let digits = number.iter().zip(ED25519_ORDER).map(|(digit, order)| {
        let [low, high] = (u16::from(*digit) + u16::from(order) + carry).to_le_bytes();
        carry = u16::from(high);
        low
    });
    digits.collect()
}

fn rsa(issuer: &Issuer) -> Result<Vec<Attack>, Unspecified> {
    let words = input(&issuer.header().to_string(), &issuer.payload());
    let pss = issuer.key.sign_with_pss(words.as_bytes())?.unwrap_or_default();
    let one = |a: &[u8], b: &[u8]| {
        let mut number = vec![0; a.len() + b.len()];
        if let Some(last) = number.last_mut() {
            *last = 1;
        }
        number
    };
    Ok(vec![
        Attack::by_issuer("J21", "the other padding", token(&words, &pss), "signature"),
        Attack::by_anybody("J21", "the number one", issuer.resigned(one)?, "signature"),
    ])
}
