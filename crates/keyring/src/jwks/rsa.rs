//! RSA keys of other issuers (J15).

use std::ops::RangeInclusive;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::signature::{ParsedPublicKey, RsaParameters, RsaPublicKeyComponents};

use crate::verification_key::PreparedKey;

/// Bits of a modulus: below, it can be factored; above, every token would cost too much (RFC 7518 §3.3).
const BITS: RangeInclusive<usize> = 2_048..=4_096;
/// Smallest public exponent. Below lie the attacks on small ones, and no issuer that is alive uses another.
const LEAST_EXPONENT: u64 = 65_537;
/// Bytes of a public exponent: more would only make each token cost more.
const MOST_EXPONENT_BYTES: usize = 4;

/// Primes by which a modulus of the faulty chips of CVE-2017-15361 (ROCA) gives itself away.
const ROCA_PRIMES: [u32; 17] = [
    11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157,
];
/// What their prime factors are powers of, modulo each of these primes.
const ROCA_GENERATOR: u32 = 65_537;

/// A key of its modulus and exponent, both big-endian and without leading zeros (RFC 7518 §2, `Base64urlUInt`).
pub(super) fn parse(parameters: &'static RsaParameters, n: &[u8], e: &[u8]) -> Option<PreparedKey> {
    if !is_modulus(n) || !is_exponent(e) {
        return None;
    }
    let der: PublicKeyX509Der<'_> = RsaPublicKeyComponents { n, e }.as_der().ok()?;
    let key = ParsedPublicKey::new(parameters, der.as_ref()).ok()?;
    Some(PreparedKey::Parsed(key))
}

fn is_modulus(n: &[u8]) -> bool {
    let (Some(first), Some(last)) = (n.first(), n.last()) else {
        return false;
    };
    let zeros = usize::try_from(first.leading_zeros()).unwrap_or(usize::MAX);
    let bits = n.len().saturating_mul(8).saturating_sub(zeros);
    let is_odd = last & 1 == 1;
    *first != 0 && is_odd && BITS.contains(&bits) && !is_of_roca(n)
}

fn is_exponent(e: &[u8]) -> bool {
    let is_canonical = e.first().is_some_and(|first| *first != 0);
    let value = e
        .iter()
        .fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
    is_canonical && e.len() <= MOST_EXPONENT_BYTES && value >= LEAST_EXPONENT && value & 1 == 1
}

/// Whether a modulus has the fingerprint of ROCA: modulo each prime it is a power of the generator (Nemec et al., "The
/// Return of Coppersmith's Attack", §2.2). Another modulus has it by chance once in 2^27.
fn is_of_roca(n: &[u8]) -> bool {
    ROCA_PRIMES.iter().all(|prime| {
        let rest = n
            .iter()
            .fold(0, |rest, byte| ((rest << 8) | u32::from(*byte)) % prime);
        let step = ROCA_GENERATOR % prime;
        let mut power = 1;
        // The powers come round to 1 within `prime` steps.
        (0..*prime).any(|_| {
            let is_power = power == rest;
            power = (power * step) % prime;
            is_power
        })
    })
}

#[cfg(test)]
pub(super) mod tests {
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair};

    use super::*;

    const E: [u8; 3] = [1, 0, 1];

    /// The modulus in the `RSAPublicKey` (RFC 8017 §A.1.1) of a key whose exponent is 65537.
    pub(in crate::jwks) fn modulus_of(pair: &RsaKeyPair) -> Vec<u8> {
        let der = pair.public_key().as_ref();
        // A sequence and an integer, each with a length of two bytes, and a zero that makes it positive.
        let n = der.strip_suffix(&[0x02, 3, 1, 0, 1]).unwrap()[9..].to_vec();
        assert_eq!(n.len(), pair.public_modulus_len());
        n
    }

    fn modulus() -> Vec<u8> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        modulus_of(&pair)
    }

    fn is_key(n: &[u8], e: &[u8]) -> bool {
        parse(&RSA_PKCS1_2048_8192_SHA256, n, e).is_some()
    }

    #[test]
    fn j15_a_modulus_is_odd_long_enough_and_written_in_one_way() {
        let good = modulus();
        assert!(is_key(&good, &E));
        let mut even = good.clone();
        *even.last_mut().unwrap() &= 0xfe;
        let mut short = good.clone();
        short[0] &= 0x7f;
        let long = [&good[..], &good, &[1]].concat();
        for bad in [
            &even,
            &short,
            &long,
            &[&[0], &good[..]].concat(),
            &good[1..].to_vec(),
            &Vec::new(),
        ] {
            assert!(!is_key(bad, &E), "{} bytes", bad.len());
        }
    }

    #[test]
    fn j15_an_exponent_is_odd_and_no_small_one() {
        let good = modulus();
        for bad in [
            &[][..],
            &[1],
            &[3],
            &[0xff, 0xff],
            &[1, 0, 0],
            &[0, 1, 0, 1],
            &[1, 0, 0, 0, 1],
        ] {
            assert!(!is_key(&good, bad), "{bad:?}");
        }
        assert!(is_key(&good, &[1, 0, 3]));
    }

    #[test]
    fn j15_moduli_of_roca_are_told_by_their_fingerprint() {
        // A power of the generator modulo the product of all these primes, as the chips made their factors.
        let product: u128 = ROCA_PRIMES.iter().map(|prime| u128::from(*prime)).product();
        let mut power = 1_u128;
        for _ in 0..1_000 {
            power = power * u128::from(ROCA_GENERATOR) % product;
            assert!(is_of_roca(&power.to_be_bytes()), "{power}");
            assert!(!is_of_roca(&(power + 1).to_be_bytes()), "{power} and one more");
        }
        assert!((0..20).all(|_| !is_of_roca(&modulus())));
    }
}
