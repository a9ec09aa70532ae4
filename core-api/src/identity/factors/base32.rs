//! Base32 as people type it (RFC 4648 §6), without padding.

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Whole groups of five bytes; what is left over is the last letter's upper bits.
pub(super) fn encode(bytes: &[u8]) -> String {
    let (mut text, mut held, mut bits) = (String::new(), 0_u32, 0_u32);
    for byte in bytes {
        held = ((held << 8) | u32::from(*byte)) & 0xfff;
        bits = bits.saturating_add(8);
        while bits >= 5 {
            bits = bits.saturating_sub(5);
            text.push(letter(held >> bits));
        }
    }
    if bits > 0 {
        text.push(letter(held << 5_u32.saturating_sub(bits)));
    }
    text
}

fn letter(value: u32) -> char {
    let place = usize::try_from(value & 0x1f).unwrap_or_default();
    ALPHABET.get(place).copied().map_or('A', char::from)
}

/// Whether a character is a letter of the alphabet.
pub(super) fn is_letter(char: char) -> bool {
    matches!(char, 'A'..='Z' | '2'..='7')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_4648_section_10() {
        for (bytes, text) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert!(text.chars().all(is_letter));
        }
        assert_eq!(encode(&[0xff; 5]), "77777777");
        assert!(!is_letter('1') && !is_letter('a') && !is_letter('8'));
    }
}
