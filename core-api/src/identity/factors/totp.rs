//! TOTP (RFC 6238) over HOTP (RFC 4226): SHA-1, six digits, 30 seconds, as every authenticator knows it.

use aws_lc_rs::{constant_time, hmac, rand};
use zeroize::Zeroizing;

use super::base32;

/// RFC 4226 §4 R6 recommends 160 bits.
const SECRET_BYTES: usize = 20;
/// RFC 6238 §5.2.
const STEP_MS: i64 = 30_000;
const DIGITS: usize = 6;
/// Steps before and after the present one whose codes are taken, for clocks that differ (RFC 6238 §6).
const WINDOW: i64 = 1;

/// A shared secret. It prints nothing.
pub(super) struct Secret(Zeroizing<[u8; SECRET_BYTES]>);

/// Six digits as somebody typed them.
pub(super) struct Code([u8; DIGITS]);

impl Secret {
    /// A new one; None when there is no randomness.
    pub(super) fn generate() -> Option<Self> {
        let mut bytes = Zeroizing::new([0_u8; SECRET_BYTES]);
        rand::fill(bytes.as_mut_slice()).ok()?;
        Some(Self(bytes))
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(Zeroizing::new(bytes.try_into().ok()?)))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// As people type it into their authenticator.
    pub(super) fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(base32::encode(self.as_bytes()))
    }

    /// What a QR code shows to an authenticator (Key URI Format). The numbers are those that it assumes, too.
    pub(super) fn to_uri(&self, bank: &str, account: &str) -> Zeroizing<String> {
        let (bank, account, secret) = (escape(bank), escape(account), self.to_text());
        Zeroizing::new(format!(
            "otpauth://totp/{bank}:{account}?secret={}&issuer={bank}&algorithm=SHA1&digits={DIGITS}&period=30",
            secret.as_str()
        ))
    }

    /// The time step whose code this is, among the present one and its neighbours; the latest, should it be that of two. All of
    /// them are compared, whichever it is.
    pub(super) fn step_of(&self, code: &Code, now_ms: i64) -> Option<i64> {
        let present = now_ms.checked_div_euclid(STEP_MS)?;
        let steps = present.checked_sub(WINDOW)?..=present.checked_add(WINDOW)?;
        steps.filter(|step| *step > 0).fold(None, |found, step| {
            let is_it = constant_time::verify_slices_are_equal(&self.code(step), &code.0).is_ok();
            if is_it { Some(step) } else { found }
        })
    }

    /// HOTP with the step as the counter (RFC 4226 §5.3).
    fn code(&self, step: i64) -> [u8; DIGITS] {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, self.as_bytes());
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let offset = usize::from(tag.as_ref().last().copied().unwrap_or_default() & 0xf);
        let four = tag.as_ref().iter().skip(offset).take(4);
        let mut number = four.fold(0_u32, |number, byte| (number << 8) | u32::from(*byte)) & 0x7fff_ffff;
        let mut digits = [b'0'; DIGITS];
        for digit in digits.iter_mut().rev() {
            *digit = b'0'.saturating_add(u8::try_from(number % 10).unwrap_or_default());
            number /= 10;
        }
        digits
    }

    /// The code of a moment.
    #[cfg(test)]
    pub(super) fn code_at(&self, now_ms: i64) -> String {
        String::from_utf8(self.code(now_ms.div_euclid(STEP_MS)).to_vec()).unwrap()
    }
}

impl Code {
    /// Reads six ASCII digits; authenticators show a gap in the middle.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
        let digits: [u8; DIGITS] = digits.try_into().ok()?;
        digits.iter().all(u8::is_ascii_digit).then_some(Self(digits))
    }
}

/// RFC 3986 §2.1, for all but unreserved characters.
fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secret() -> Secret {
        Secret::from_bytes(b"12345678901234567890").unwrap()
    }

    #[test]
    fn rfc_4226_appendix_d() {
        let codes = [
            "755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871",
            "520489",
        ];
        for (count, code) in codes.into_iter().enumerate() {
            assert_eq!(secret().code(i64::try_from(count).unwrap()), code.as_bytes());
        }
    }

    #[test]
    fn rfc_6238_appendix_b_with_six_of_its_eight_digits() {
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(secret().code_at(seconds * 1_000), code);
        }
    }

    #[test]
    fn codes_of_the_neighbours_are_taken_and_no_others() {
        let at = |step: i64| Code::parse(&secret().code_at(step * STEP_MS)).unwrap();
        let now = 1_000 * STEP_MS + 29_999;
        for (step, found) in [
            (998, None),
            (999, Some(999)),
            (1_000, Some(1_000)),
            (1_001, Some(1_001)),
            (1_002, None),
        ] {
            assert_eq!(secret().step_of(&at(step), now), found);
        }
    }

    #[test]
    fn the_uri_is_one_that_authenticators_read() {
        assert_eq!(
            secret().to_uri("The Bank & Co", "zoë@example.com").as_str(),
            "otpauth://totp/The%20Bank%20%26%20Co:zo%C3%AB%40example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
             &issuer=The%20Bank%20%26%20Co&algorithm=SHA1&digits=6&period=30"
        );
    }

    proptest! {
        #[test]
        fn no_text_and_no_clock_is_too_strange(text in ".{0,12}", now_ms in any::<i64>()) {
            if let Some(code) = Code::parse(&text) {
                secret().step_of(&code, now_ms);
                prop_assert_eq!(text.bytes().filter(u8::is_ascii_digit).count(), DIGITS);
            }
        }

        #[test]
        fn a_code_is_found_at_its_own_step(bytes in any::<[u8; 20]>(), now_ms in 60_000_i64..4_000_000_000_000) {
            let secret = Secret::from_bytes(&bytes).unwrap();
            let code = Code::parse(&secret.code_at(now_ms)).unwrap();
            let found = secret.step_of(&code, now_ms).unwrap();
            prop_assert!(found >= now_ms / STEP_MS);
        }
    }
}
