//! Telling in time that a certificate ends (TLS-5).

use chrono::{DateTime, TimeDelta, Utc};

/// When it is told: so many days before the end. For a certificate that lives shortly, so many parts of its life.
const STEPS: [(i64, i32); 3] = [(21, 3), (7, 6), (1, 12)];

/// How many of the steps a certificate has passed; one more when it has ended.
#[must_use]
pub fn stage(not_before: DateTime<Utc>, not_after: DateTime<Utc>, now: DateTime<Utc>) -> usize {
    let life = not_after.signed_duration_since(not_before);
    let left = not_after.signed_duration_since(now);
    let is_passed = |&&(days, part): &&(i64, i32)| left <= TimeDelta::days(days).min(life / part);
    let passed = STEPS.iter().filter(is_passed).count();
    passed.saturating_add(usize::from(left <= TimeDelta::zero()))
}

/// Says what a stage means, once: when it is new.
pub fn tell(name: &str, ends_at: DateTime<Utc>, stage: usize, now: DateTime<Utc>) {
    let not_after = ends_at.to_rfc3339();
    if stage > STEPS.len() {
        tracing::error!(
            certificate = name,
            not_after,
            "the certificate has expired: whoever is shown it refuses it"
        );
    } else if stage > 0 {
        let days = ends_at.signed_duration_since(now).num_days();
        tracing::warn!(
            certificate = name,
            not_after,
            days,
            "the certificate expires soon"
        );
    }
}
