//! The token of a mail's ticket: 256 random bits, of which only the SHA-256 is stored.

use aws_lc_rs::{digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

const BYTES: usize = 32;

/// A token as a mail carries it.
pub(crate) struct MailToken(Zeroizing<[u8; BYTES]>);

impl MailToken {
    /// A new one; None when there is no randomness.
    pub(crate) fn generate() -> Option<Self> {
        let mut secret = Zeroizing::new([0_u8; BYTES]);
        rand::fill(secret.as_mut_slice()).ok()?;
        Some(Self(secret))
    }

    /// Reads a token; anything that is not exactly one is None.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let decoded = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
        Some(Self(Zeroizing::new(decoded.as_slice().try_into().ok()?)))
    }

    /// As it stands in a link.
    pub(crate) fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(self.0.as_slice()))
    }

    /// What the database knows of it.
    pub(crate) fn hash(&self) -> Vec<u8> {
        digest::digest(&digest::SHA256, self.0.as_slice())
            .as_ref()
            .to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_one_spelling() {
        let token = MailToken::generate().unwrap();
        let text = token.to_text();
        assert_eq!(text.len(), 43);
        assert_eq!(MailToken::parse(&text).unwrap().hash(), token.hash());
        let short: String = text.chars().skip(1).collect();
        for bad in [
            "",
            "x",
            &short,
            &format!("{}=", *text),
            &format!(" {}", *text),
            &format!("{short}/"),
        ] {
            assert!(MailToken::parse(bad).is_none(), "{bad}");
        }
    }
}
