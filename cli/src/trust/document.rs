//! The next trust document: the keys that the bundle ring has now, for a time.

use std::collections::HashMap;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use fleet::{Envelope, Trust, TrustedKey, to_be_signed};
use serde_json::Value;

use super::RootFile;
use crate::control_plane::{list, text};

/// How far clocks may differ, seconds.
const SKEW_S: i64 = 300;

/// The document that follows the one in force. A key that it names already keeps its first moment: what it signed before
/// must stay good. One that retires may sign until it has: who steals it later has nothing.
pub(crate) fn next(standing: &Value, now: DateTime<Utc>, days: u16) -> anyhow::Result<Trust> {
    let before: Option<Trust> = match standing.get("trust") {
        None | Some(Value::Null) => None,
        Some(trust) => Some(serde_json::from_value(trust.clone()).context("the document in force")?),
    };
    let fleet = standing.get("fleet").and_then(Value::as_str);
    let fleet = fleet.context("the settings of the control plane have no `fleet`")?;
    let known: HashMap<&str, i64> = before
        .iter()
        .flat_map(|before| &before.keys)
        .map(|key| (key.keyid.as_str(), key.not_before))
        .collect();
    let from = now.timestamp() - SKEW_S;
    let until = (now + TimeDelta::days(i64::from(days))).timestamp();
    let mut keys = Vec::new();
    for key in list(standing, "bundle_keys") {
        let public = URL_SAFE_NO_PAD
            .decode(text(key, "public"))
            .context("a key of the bundle ring")?;
        let sign_until = key.get("sign_until").and_then(Value::as_i64);
        let key = TrustedKey::new(&public, from, until.min(sign_until.unwrap_or(until)));
        let not_before = known.get(key.keyid.as_str()).copied().unwrap_or(from);
        if not_before <= key.not_after {
            keys.push(TrustedKey { not_before, ..key });
        }
    }
    Ok(Trust {
        version: standing.get("version").and_then(Value::as_u64).unwrap_or(0) + 1,
        fleet: fleet.to_owned(),
        created_at: now.timestamp(),
        keys,
    })
}

/// Signs a document.
pub(crate) fn sign(trust: &Trust, root: &RootFile) -> anyhow::Result<Envelope> {
    let payload = serde_json::to_vec(trust)?;
    Ok(Envelope {
        signatures: vec![root.sign(&to_be_signed(Trust::PAYLOAD_TYPE, &payload))?],
        payload_type: Trust::PAYLOAD_TYPE.to_owned(),
        payload,
    })
}

#[cfg(test)]
mod tests {
    use fleet::Roots;
    use keyring::{Algorithm, SigningKey};
    use serde_json::json;

    use super::*;

    #[test]
    fn the_next_document_keeps_the_first_moment_of_a_key_and_is_what_the_root_signs() {
        let (one, two) = (
            SigningKey::generate(Algorithm::EdDSA).unwrap(),
            SigningKey::generate(Algorithm::EdDSA).unwrap(),
        );
        let named = |key: &SigningKey| json!({"public": TrustedKey::new(key.public(), 0, 0).public});
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let first = next(
            &json!({"fleet": "bank", "trust": null, "bundle_keys": [named(&one)]}),
            now,
            90,
        )
        .unwrap();
        assert_eq!((first.version, first.keys.len()), (1, 1));

        let later = now + TimeDelta::days(30);
        let standing =
            json!({"fleet": "bank", "version": 1, "trust": first, "bundle_keys": [named(&one), named(&two)]});
        let second = next(&standing, later, 90).unwrap();
        assert_eq!(
            (second.version, second.keys[0].not_before),
            (2, first.keys[0].not_before)
        );
        assert_eq!(second.keys[1].not_before, later.timestamp() - SKEW_S);
        assert_eq!(
            second.keys[0].not_after,
            (later + TimeDelta::days(90)).timestamp()
        );

        let directory = tempfile::tempdir().unwrap();
        let root = RootFile::make(&directory.path().join("root.key")).unwrap();
        let roots = Roots::new([root.public().as_str()], 1).unwrap();
        let bytes = sign(&second, &root).unwrap().to_bytes();
        assert_eq!(roots.read(&bytes, "bank", 2).unwrap(), second);
        let mut retiring = named(&one);
        retiring["sign_until"] = json!(later.timestamp() + 60);
        let standing =
            json!({"fleet": "bank", "version": 2, "trust": second, "bundle_keys": [retiring, named(&two)]});
        let third = next(&standing, later, 90).unwrap();
        let times = |key: &TrustedKey| (key.not_before, key.not_after);
        assert_eq!(
            times(&third.keys[0]),
            (first.keys[0].not_before, later.timestamp() + 60),
            "what it signed stays good, and it signs until it has retired"
        );
        assert_eq!(third.keys[1].not_after, (later + TimeDelta::days(90)).timestamp());
        assert!(next(&json!({"fleet": null, "bundle_keys": []}), now, 1).is_err());
    }
}
