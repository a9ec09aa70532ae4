//! A control plane that states keys and what is revoked; and the tokens that its keys sign.

use std::path::Path;
use std::sync::Mutex;

use fleet::Stream;
use gateway::settings::FleetSettings;
use keyring::{Algorithm, KeySet, KeyState, Revocation, RevocationList, SigningKey};
use serde_json::{Value, json};

use crate::gateway_process::now;
use crate::stated::ControlPlane;

pub(crate) struct KeyService {
    pub(crate) key: SigningKey,
    pub(crate) fleet: ControlPlane,
    set: Mutex<KeySet>,
}

/// Claims that are good at [`now`], with these members replaced; `null` takes one away.
pub(crate) fn claims(changes: &Value) -> Value {
    let now = now().timestamp();
    let mut claims = json!({
        "iss": "https://api.bank.example", "aud": "core-api", "sub": "usr_alice", "sid": "ses_1", "tid": "ten_1",
        "jti": "jti_1", "iat": now - 60, "exp": now + 540, "scope": "accounts:read transfers:write",
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

impl KeyService {
    pub(crate) fn start(path: &Path) -> Self {
        let key = SigningKey::generate(Algorithm::EdDSA).unwrap();
        let set = KeySet {
            seq: 1,
            keys: vec![key.public_key(KeyState::Active)],
            revoked_kids: Vec::new(),
        };
        let service = Self {
            key,
            fleet: ControlPlane::on_socket(path),
            set: Mutex::new(set),
        };
        service.publish(|_| ());
        service.revoke(Vec::new());
        service
    }

    /// What makes a gateway hear of it.
    pub(crate) fn membership(&self) -> FleetSettings {
        self.fleet.membership()
    }

    /// A good token.
    pub(crate) fn token(&self) -> String {
        self.token_with(&json!({}))
    }

    /// A token with some claims changed.
    pub(crate) fn token_with(&self, changes: &Value) -> String {
        self.key.sign(&claims(changes)).unwrap()
    }

    /// Publishes another set; `seq` is set to the next number.
    pub(crate) fn publish(&self, change: impl FnOnce(&mut KeySet)) {
        let mut set = self.set.lock().unwrap();
        change(&mut set);
        set.seq += 1;
        self.fleet.state(Stream::Keyset, &*set);
    }

    /// Publishes other lists of what is revoked and blocked.
    pub(crate) fn revoke(&self, revocations: Vec<Revocation>) {
        let is_network =
            |entry: &Revocation| matches!(entry, Revocation::Network { .. } | Revocation::SignIn { .. });
        let (blocks, revocations) = revocations.into_iter().partition(is_network);
        for (stream, revocations) in [(Stream::Revocations, revocations), (Stream::Blocks, blocks)] {
            self.fleet.state(stream, &RevocationList { seq: 1, revocations });
        }
    }

    /// The control plane is gone.
    pub(crate) fn kill(&mut self) {
        self.fleet.kill();
    }

    pub(crate) fn revive(&mut self) {
        self.fleet.revive();
    }
}
