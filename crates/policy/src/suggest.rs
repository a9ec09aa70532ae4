//! "Did you mean": the nearest of the names that would be right.

/// The candidate nearest to `written`, when it is near enough to be a slip of the hand; else the one that is a word of
/// it, as other tools have it: `rate_limit` for `rate`.
pub(crate) fn nearest<'c>(written: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let written = written.to_lowercase();
    let most = written.chars().count().div_ceil(3).clamp(1, 4);
    let is_word =
        |candidate: &str| candidate.len() > 3 && written.split(['_', '-']).any(|word| word == candidate);
    // Behind every slip.
    const WORD: usize = usize::MAX;
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let is_near = written.len().abs_diff(candidate.len()) <= most.saturating_mul(4);
            let slips = is_near.then(|| distance(&written, &candidate.to_lowercase()));
            let slips = slips.filter(|slips| *slips <= most);
            Some((slips.or_else(|| is_word(candidate).then_some(WORD))?, candidate))
        })
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// Whether one slip of the hand makes the one word of the other.
pub(crate) fn is_one_slip(written: &str, meant: &str) -> bool {
    written.len().abs_diff(meant.len()) <= 1 && distance(written, meant) == 1
}

/// What may have been meant by a name that is none of `candidates`: `did you mean …?`, or all of them.
#[must_use]
pub fn fix(written: &str, candidates: &[&str]) -> String {
    match nearest(written, candidates.iter().copied()) {
        Some(candidate) => did_you_mean(written, candidate),
        None if candidates.is_empty() => "nothing is defined that could stand here".to_owned(),
        None => format!("one of: {}", candidates.join(", ")),
    }
}

/// The question; it names a letter that only looks like one of the language's.
pub(crate) fn did_you_mean(written: &str, candidate: &str) -> String {
    format!("did you mean `{candidate}`?{}", foreign_letter(written))
}

/// Names the first letter that is not ASCII and may only look like one, in brackets; empty when there is none.
pub(crate) fn foreign_letter(written: &str) -> String {
    let foreign = written.chars().find(|letter| !letter.is_ascii());
    foreign
        .map(|letter| format!(" (`{letter}` is U+{:04X})", u32::from(letter)))
        .unwrap_or_default()
}

/// Damerau-Levenshtein distance (adjacent letters swapped count as one slip).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    let mut last: Option<char> = None;
    for (row, from) in a.chars().enumerate() {
        let mut current = Vec::with_capacity(previous.len());
        current.push(row.saturating_add(1));
        for (column, to) in b.iter().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX);
            let next = column.saturating_add(1);
            let mut cost = at(&previous, column).saturating_add(usize::from(from != *to));
            cost = cost
                .min(at(&previous, next).saturating_add(1))
                .min(at(&current, column).saturating_add(1));
            let swapped = column
                .checked_sub(1)
                .filter(|before_column| last == Some(*to) && b.get(*before_column) == Some(&from));
            if let Some(before_column) = swapped {
                cost = cost.min(at(&before, before_column).saturating_add(1));
            }
            current.push(cost);
        }
        before = std::mem::replace(&mut previous, current);
        last = Some(from);
    }
    previous.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{distance, fix, nearest};

    #[test]
    fn counts_slips() {
        for (a, b, slips) in [
            ("", "", 0),
            ("auth", "auth", 0),
            ("auht", "auth", 1),
            ("burts", "burst", 1),
        ] {
            assert_eq!(distance(a, b), slips, "{a} {b}");
        }
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn names_the_nearest_and_nothing_far() {
        assert_eq!(
            nearest("on_store_dwon", ["limit", "on_store_down"]),
            Some("on_store_down")
        );
        assert_eq!(nearest("Burst", ["limit", "burst"]), Some("burst"));
        assert_eq!(nearest("zebra", ["limit", "burst"]), None);
        assert_eq!(nearest("rate_limit", ["limits", "rate"]), Some("rate"));
        assert_eq!(
            nearest("supports_credentials", ["origins", "credentials"]),
            Some("credentials")
        );
        assert_eq!(nearest("iterate_over", ["rate", "over"]), Some("over"));
        assert_eq!(fix("zebra", &["limit", "burst"]), "one of: limit, burst");
    }
}
