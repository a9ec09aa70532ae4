//! Recovery codes: for whoever has lost the second factor. Shown once; only their SHA-256 is kept.

use aws_lc_rs::{digest, rand};
use zeroize::Zeroizing;

use super::base32;

/// So many are given at once.
const COUNT: usize = 10;
/// 120 bits: more than the 112 that need no slow hash (NIST SP 800-63B §3.1.2.2, ASVS 5.0 §6.5.2).
const BYTES: usize = 15;
const LETTERS: usize = 24;
/// Letters between two dashes.
const GROUP: usize = 6;

/// The codes of a person, as they are shown, and what is kept of them.
#[derive(Default)]
pub(super) struct NewCodes {
    pub(super) texts: Vec<String>,
    pub(super) hashes: Vec<Vec<u8>>,
}

impl NewCodes {
    /// Ten new ones; None when there is no randomness.
    pub(super) fn generate() -> Option<Self> {
        let (mut texts, mut hashes) = (Vec::new(), Vec::new());
        for _ in 0..COUNT {
            let mut bytes = Zeroizing::new([0_u8; BYTES]);
            rand::fill(bytes.as_mut_slice()).ok()?;
            let letters = Zeroizing::new(base32::encode(bytes.as_slice()));
            hashes.push(hash(&letters));
            texts.push(grouped(&letters));
        }
        Some(Self { texts, hashes })
    }
}

fn grouped(letters: &str) -> String {
    let mut text = String::new();
    for (place, letter) in letters.chars().enumerate() {
        if place > 0 && place % GROUP == 0 {
            text.push('-');
        }
        text.push(letter);
    }
    text
}

/// What is kept of a code as somebody typed it: in any case, with dashes and spaces or without. None: it is no code.
pub(super) fn hash_of(typed: &str) -> Option<Vec<u8>> {
    let letters: String = typed
        .chars()
        .filter(|char| !matches!(char, ' ' | '-'))
        .map(|char| char.to_ascii_uppercase())
        .take(LETTERS + 1)
        .collect();
    let letters = Zeroizing::new(letters);
    let is_code = letters.len() == LETTERS && letters.chars().all(base32::is_letter);
    is_code.then(|| hash(&letters))
}

fn hash(letters: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, letters.as_bytes())
        .as_ref()
        .to_vec()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_code_is_found_however_it_is_typed() {
        let codes = NewCodes::generate().unwrap();
        assert_eq!(codes.hashes.iter().collect::<BTreeSet<_>>().len(), COUNT);
        for (text, hash) in codes.texts.iter().zip(&codes.hashes) {
            assert_eq!(text.len(), 27);
            for typed in [
                text.clone(),
                text.to_lowercase(),
                text.replace('-', " "),
                format!(" {}", text.replace('-', "")),
            ] {
                assert_eq!(hash_of(&typed).as_ref(), Some(hash), "{typed}");
            }
            for wrong in ["", &text.replace('-', "1"), &format!("{text}A"), &"é".repeat(12)] {
                assert_eq!(hash_of(wrong), None, "{wrong}");
            }
        }
    }
}
