//! What unquoted text means: the core schema of YAML 1.2 (§10.3.2), where `yes` and `off` are text.

use super::Value;

/// Resolves text without quotes.
pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        number if is_number(number) => Value::Number(number.to_owned()),
        text => Value::Text(text.to_owned()),
    }
}

/// Whether any reader of YAML would take it for a number. What it is worth is decided where it is used.
fn is_number(text: &str) -> bool {
    let is_all = |digits: &str, is_digit: fn(&u8) -> bool| {
        !digits.is_empty() && digits.bytes().all(|byte| is_digit(&byte))
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return is_all(digits, u8::is_ascii_hexdigit);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return is_all(digits, |byte| (b'0'..=b'7').contains(byte));
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (
            mantissa,
            Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)),
        ),
        None => (unsigned, None),
    };
    let is_mantissa = match mantissa.split_once('.') {
        Some(("", fraction)) => is_all(fraction, u8::is_ascii_digit),
        Some((whole, "")) => is_all(whole, u8::is_ascii_digit),
        Some((whole, fraction)) => is_all(whole, u8::is_ascii_digit) && is_all(fraction, u8::is_ascii_digit),
        None => is_all(mantissa, u8::is_ascii_digit),
    };
    is_mantissa && exponent.is_none_or(|digits| is_all(digits, u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::{Value, resolve};

    #[test]
    fn numbers_are_those_of_the_core_schema() {
        for number in [
            "0", "-1", "+2", "010", "0o17", "0xFf", "1.5", ".5", "1.", "1e3", "-2.5E-3", ".inf", "-.INF",
            ".NaN",
        ] {
            assert!(matches!(resolve(number), Value::Number(_)), "{number}");
        }
        for text in [
            "1_000", "1:30", "0b1", "0o8", "0x", "1.2.3", "e3", "1e", "-", ".", "100/min", "-.nan", "١",
        ] {
            assert!(matches!(resolve(text), Value::Text(_)), "{text}");
        }
    }

    #[test]
    fn booleans_are_true_and_false() {
        for text in ["tRUE", "yes", "no", "on", "off", "y", "n"] {
            assert!(matches!(resolve(text), Value::Text(_)), "{text}");
        }
        assert!(matches!(resolve("true"), Value::Bool(true)));
        assert!(matches!(resolve("~"), Value::Null));
    }
}
