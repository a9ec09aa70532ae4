//! Public keys made ready for verification: parsed once, and an Ed25519 key with its multiples.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA512};
use aws_lc_rs::signature::ParsedPublicKey;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsBasepointTable};
use curve25519_dalek::traits::BasepointTable as _;
use curve25519_dalek::{EdwardsPoint, Scalar};

/// A public key that says whether a signature is its own.
#[derive(Debug)]
pub(crate) enum PreparedKey {
    Ed25519(Box<Ed25519Key>),
    Parsed(ParsedPublicKey),
}

impl PreparedKey {
    /// Whether the signature of this message is by this key.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => key.has_signed(message, signature),
            Self::Parsed(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

/// An Ed25519 key that verifies many signatures (ADR 0061).
///
/// Nearly all of a verification is `s·B − k·A`. Every library has the multiples of the base point `B` and doubles its way
/// up to those of `A` each time; the multiples of a key that is kept, 30 KiB, are computed once here.
pub(crate) struct Ed25519Key {
    encoded: [u8; 32],
    /// Multiples of `−A`.
    multiples: EdwardsBasepointTable,
}

impl Ed25519Key {
    /// `None` when the bytes are not the one encoding of a point (RFC 8032 §5.1.3), or are that of one of the eight by
    /// which everybody signs.
    pub(crate) fn new(encoded: [u8; 32]) -> Option<Self> {
        let point = CompressedEdwardsY(encoded).decompress()?;
        if point.compress().0 != encoded || point.is_small_order() {
            return None;
        }
        Some(Self {
            encoded,
            multiples: EdwardsBasepointTable::create(&-point),
        })
    }

    /// RFC 8032 §5.1.7 without the cofactor, and with the encodings compared, as aws-lc does it: `s` is below the order of
    /// the group, so that nobody makes a second signature of one, and `R` is the one encoding of `s·B − k·A`.
    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let Some((r, s)) = halves(signature) else {
            return false;
        };
        let Some(s) = Option::<Scalar>::from(Scalar::from_canonical_bytes(s)) else {
            return false;
        };
        let mut hash = Context::new(&SHA512);
        for part in [&r[..], &self.encoded, message] {
            hash.update(part);
        }
        let Ok(hash) = hash.finish().as_ref().try_into() else {
            return false;
        };
        let k = Scalar::from_bytes_mod_order_wide(&hash);
        let found = EdwardsPoint::mul_base(&s) + self.multiples.mul_base(&k);
        found.compress().0 == r
    }
}

impl fmt::Debug for Ed25519Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ed25519Key").finish_non_exhaustive()
    }
}

/// `R` and `s` of a signature of 64 bytes.
fn halves(signature: &[u8]) -> Option<([u8; 32], [u8; 32])> {
    let (r, s) = signature.split_at_checked(32)?;
    Some((r.try_into().ok()?, s.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _};
    use curve25519_dalek::constants::EIGHT_TORSION;
    use proptest::prelude::*;

    use super::*;

    /// The order of the group, `2^252 + 27742317777372353535851937790883648493`, in little-endian bytes.
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];

    fn bytes(hex: &str) -> Vec<u8> {
        let digit = |digit: u8| char::from(digit).to_digit(16).unwrap();
        let pairs = hex.as_bytes().chunks(2);
        pairs
            .map(|pair| u8::try_from(digit(pair[0]) * 16 + digit(pair[1])).unwrap())
            .collect()
    }

    /// Our verdict, which must be that of aws-lc. A key that is no point is none to us, and verifies nothing with aws-lc.
    fn verdict(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let ours = Ed25519Key::new(public.try_into().unwrap());
        let ours = ours.is_some_and(|key| key.has_signed(message, signature));
        let peer = ParsedPublicKey::new(&ED25519, public);
        let peer = peer.is_ok_and(|key| key.verify_sig(message, signature).is_ok());
        assert_eq!(ours, peer, "{public:02x?} {message:02x?} {signature:02x?}");
        ours
    }

    #[test]
    fn the_signatures_of_rfc_8032_are_good_and_no_others() {
        // §7.1, tests 1 to 3.
        let vectors = [
            (
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                "",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                "72",
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            ),
            (
                "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
                "af82",
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
            ),
        ];
        for (public, message, signature) in vectors {
            let (public, message, signature) = (bytes(public), bytes(message), bytes(signature));
            assert!(verdict(&public, &message, &signature));
            for bit in 0..512 {
                let mut other = signature.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                assert!(!verdict(&public, &message, &other), "bit {bit}");
            }
            for length in 0..64 {
                assert!(!verdict(&public, &message, &signature[..length]));
            }
        }
    }

    #[test]
    fn a_signature_has_one_form() {
        let key = Ed25519KeyPair::generate().unwrap();
        let mut signature = key.sign(b"once").as_ref().to_vec();
        assert!(verdict(key.public_key().as_ref(), b"once", &signature));
        // s + L is s again to whoever reduces it.
        let mut carry = 0;
        for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            *byte = (sum & 0xff) as u8;
            carry = sum >> 8;
        }
        assert!(!verdict(key.public_key().as_ref(), b"once", &signature));
    }

    #[test]
    fn what_everybody_signs_with_and_second_encodings_are_no_keys() {
        for point in EIGHT_TORSION {
            assert!(Ed25519Key::new(point.compress().0).is_none());
        }
        // y = p + 3 and p + 4 for 3 and 4, as far as these are points, and 2^255 - 1 for 18.
        for low in 0xed..=0xff {
            for high in [0x7f, 0xff] {
                let mut encoded = [0xff; 32];
                (encoded[0], encoded[31]) = (low, high);
                assert!(!verdict(&encoded, b"", &[0; 64]));
                assert!(Ed25519Key::new(encoded).is_none());
            }
        }
    }

    /// Where verifiers of Ed25519 differ: a key, or `R`, that has a part of small order.
    #[test]
    fn points_with_a_part_of_small_order_are_judged_as_aws_lc_judges_them() {
        let (a, r) = (Scalar::from(7_u8), Scalar::from(11_u8));
        let mut verdicts = [0, 0];
        for [of_key, of_r] in [[0, 1], [1, 0], [1, 7], [4, 4], [2, 5], [0, 0]] {
            let public = (EdwardsPoint::mul_base(&a) + EIGHT_TORSION[of_key]).compress().0;
            let encoded = (EdwardsPoint::mul_base(&r) + EIGHT_TORSION[of_r]).compress().0;
            for message in 0..32_u8 {
                let mut hash = Context::new(&SHA512);
                for part in [&encoded[..], &public, &[message]] {
                    hash.update(part);
                }
                let k = Scalar::from_bytes_mod_order_wide(hash.finish().as_ref().try_into().unwrap());
                let signature = [encoded, (r + k * a).to_bytes()].concat();
                verdicts[usize::from(verdict(&public, &[message], &signature))] += 1;
            }
        }
        assert!(verdicts.iter().all(|count| *count > 32), "{verdicts:?}");
    }

    proptest! {
        #[test]
        fn every_verdict_is_that_of_aws_lc(
            seed: [u8; 32], message in proptest::collection::vec(any::<u8>(), 0..600),
            flip in proptest::option::of((0..4_usize, any::<prop::sample::Index>())),
        ) {
            let key = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
            let mut public = key.public_key().as_ref().to_vec();
            let mut signature = key.sign(&message).as_ref().to_vec();
            let mut message = message;
            let change = |bytes: &mut [u8], at: prop::sample::Index| {
                if !bytes.is_empty() {
                    let bit = at.index(bytes.len() * 8);
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            };
            let changed = match flip {
                None => false,
                Some((0, at)) => { change(&mut public, at); true }
                Some((1, at)) => { change(&mut signature[..32], at); true }
                Some((2, at)) => { change(&mut signature[32..], at); true }
                Some((_, at)) => { change(&mut message, at); !message.is_empty() }
            };
            prop_assert_eq!(verdict(&public, &message, &signature), !changed);
        }
    }
}
