//! Changes of a limit: how many more get through, and who shares an allowance.

use super::{Risk, judge::Judgement, table};
use crate::describe::{Definition, Value};
use std::cmp::Ordering;

/// So many times as much is hardly a limit any more.
const RUNAWAY: u128 = 100;

/// Another `limit`.
pub(super) fn pace(limit: &Definition, (old, new): (&Value, &Value), subject: &str) -> Judgement {
    let (
        Value::Rate {
            limit: old_limit,
            period: old_period,
        },
        Value::Rate {
            limit: new_limit,
            period: new_period,
        },
    ) = (old, new)
    else {
        return Judgement::new(Risk::Medium, "another value");
    };
    let before = u128::from(*old_limit).saturating_mul(new_period.as_nanos());
    let after = u128::from(*new_limit).saturating_mul(old_period.as_nanos());
    let guesses = limit.text("count") == "failures";
    if before == after {
        return Judgement::new(Risk::Info, "the same pace, told to clients with another window");
    }
    if after < before {
        return Judgement::new(
            Risk::Low,
            format!("{subject}: more than {new} is refused with 429"),
        );
    }
    let times = times(before, after);
    if guesses {
        return Judgement::new(Risk::High, format!("guessing becomes {times} as fast"));
    }
    looser((before, after), format!("{subject}: {times} as many get through"))
}

/// Another `burst`.
pub(super) fn burst(limit: &Definition, (old, new): (&Value, &Value), subject: &str) -> Judgement {
    let (Value::Number(before), Value::Number(after)) = (old, new) else {
        return Judgement::new(Risk::Medium, "another value");
    };
    if after < before {
        return Judgement::new(
            Risk::Low,
            format!("{subject}: more than {new} at once are refused with 429"),
        );
    }
    if limit.text("count") == "failures" {
        return Judgement::new(Risk::High, format!("{new} guesses at {subject} may come at once"));
    }
    let sizes = (u128::from(*before), u128::from(*after));
    looser(sizes, format!("{subject}: {new} may come at once"))
}

fn looser((before, after): (u128, u128), words: String) -> Judgement {
    if after >= before.saturating_mul(RUNAWAY) {
        return Judgement::new(Risk::High, format!("{words}, which is hardly a limit"));
    }
    Judgement::new(Risk::Medium, words)
}

/// Whether a smaller size of the head leaves room for hardly any request: everybody is shut out.
pub(super) fn shuts_out(name: &str, values: (&Value, &Value)) -> bool {
    let least = match name {
        // A request line, a host, a token and what a browser adds.
        "limits.head" => 2_048,
        "limits.headers" => 4,
        "limits.target" => 192,
        _ => return false,
    };
    match values {
        (Value::Size(old), Value::Size(new)) | (Value::Number(old), Value::Number(new)) => {
            new < old && *new < least
        }
        _ => false,
    }
}

/// `10 times`, `1.5 times`; in tenths, without floating point.
fn times(before: u128, after: u128) -> String {
    let tenths = after.saturating_mul(10).checked_div(before).unwrap_or(u128::MAX);
    match (
        tenths.checked_div(10).unwrap_or_default(),
        tenths.checked_rem(10).unwrap_or_default(),
    ) {
        (1, 0) => "slightly more than once".to_owned(),
        (2, 0) => "twice".to_owned(),
        (whole, 0) => format!("{whole} times"),
        (whole, tenth) => format!("{whole}.{tenth} times"),
    }
}

/// Another answer to a store that is down, or the first one: a limit that is counted in no store has none.
pub(super) fn without_store(old: &Value, new: &Value, subject: &str) -> Judgement {
    const LOOSEST_FIRST: [&str; 3] = ["allow", "local", "deny"];
    // On the gateway alone it counts as it does without a store.
    let rank = |value: &Value| {
        let word = value.to_string();
        LOOSEST_FIRST.iter().position(|known| *known == word).unwrap_or(1)
    };
    let words = match new.to_string().as_str() {
        "allow" => "everything passes while the store is down",
        "deny" => "nothing passes while the store is down",
        "local" => "each gateway grants its part while the store is down",
        _ => "no store is asked any more",
    };
    let risk = match rank(new).cmp(&rank(old)) {
        Ordering::Less => Risk::High,
        Ordering::Equal => Risk::Info,
        Ordering::Greater => Risk::Low,
    };
    Judgement::new(risk, format!("{subject}: {words}"))
}

/// How many bits of an IPv6 address are one client, where a key counts by address.
fn address_bits(key: &str) -> Option<u8> {
    match key.strip_prefix("address")? {
        "" => Some(64),
        rest => rest.strip_prefix('/')?.parse().ok(),
    }
}

/// Another `key`.
pub(super) fn counted_by(old: &Value, new: &Value, subject: &str) -> Judgement {
    let (added, removed) = table::difference(old, new);
    if let ([more], [less]) = (added.as_slice(), removed.as_slice())
        && let (Some(after), Some(before)) = (address_bits(more), address_bits(less))
    {
        return if after < before {
            let words = format!(
                "{subject}: IPv6 addresses of one /{after} share one allowance, not only those of one /{before}"
            );
            Judgement::new(Risk::Low, words)
        } else {
            let words = format!(
                "{subject}: each IPv6 /{after} has an allowance of its own; until now a whole /{before} shared one"
            );
            Judgement::new(Risk::High, words)
        };
    }
    let mut said = Vec::new();
    if !added.is_empty() {
        said.push(format!(
            "whoever changes {} gets a fresh allowance",
            added.join(", ")
        ));
    }
    if !removed.is_empty() {
        said.push(format!(
            "requests with another {} share one allowance",
            removed.join(", ")
        ));
    }
    Judgement::new(Risk::High, format!("{subject}: {}", said.join("; ")))
}

/// Another `count`.
pub(super) fn counted(new: &Value, subject: &str) -> Judgement {
    if new.to_string() == "failures" {
        return Judgement::new(
            Risk::High,
            format!("{subject}: only refused credentials count; all else is not limited by it"),
        );
    }
    Judgement::new(
        Risk::Medium,
        format!("{subject}: every request counts, so that good ones use it up too"),
    )
}

#[cfg(test)]
mod tests {
    use super::times;

    #[test]
    fn a_ratio_is_told_in_tenths() {
        for (before, after, words) in [
            (5, 50, "10 times"),
            (2, 3, "1.5 times"),
            (3, 10, "3.3 times"),
            (1, 2, "twice"),
            (100, 101, "slightly more than once"),
        ] {
            assert_eq!(times(before, after), words);
        }
    }
}
