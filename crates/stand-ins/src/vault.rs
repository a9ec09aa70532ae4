//! A whole Vault: secrets at `kv`, keys at `transit`, and logins for a time at `database`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::boxes::text;
use crate::transit::said_no;
use crate::{Fake, Seen, TOKEN, Transit};

/// The Vault.
#[derive(Debug, Default)]
pub struct Vault {
    transit: Transit,
    /// What the database engine lends.
    pub leases: Leases,
    secrets: Mutex<BTreeMap<String, (u32, String)>>,
}

/// The database engine: each question for `database/creds/ROLE` is answered with a login of its own, and a lease.
#[derive(Debug, Default)]
pub struct Leases {
    terms: Mutex<Terms>,
    lent: Mutex<Vec<Lent>>,
}

/// How the engine lends.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms {
    /// For how long, seconds.
    pub seconds: u64,
    /// Whether a lease says that it can be renewed.
    pub is_renewable: bool,
    /// For how long a renewal is granted, seconds; none when it is refused.
    pub renewed: Option<u64>,
}

/// A login that was lent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lent {
    /// Its lease.
    pub id: String,
    /// The user.
    pub user: String,
    /// How often it was renewed.
    pub renewals: usize,
    /// Whether it was given back.
    pub is_given_back: bool,
}

impl Vault {
    /// A Vault, and the server that speaks for it.
    pub async fn start() -> (Arc<Self>, Fake) {
        let vault = Arc::new(Self::default());
        let answering = vault.clone();
        let fake = Fake::https(move |seen| answering.answer(seen)).await;
        (vault, fake)
    }

    /// Keeps a secret; its reference.
    pub fn keep(&self, name: &str, secret: &str) -> String {
        let mut secrets = self.secrets.lock().unwrap();
        let kept = secrets.entry(name.to_owned()).or_default();
        *kept = (kept.0 + 1, secret.to_owned());
        format!("vault://kv/{name}#value")
    }

    fn answer(&self, seen: &Seen) -> (u16, String) {
        if seen.header("x-vault-token") != Some(TOKEN) {
            return said_no(403, "permission denied");
        }
        let target = seen.target.as_str();
        if let Some(name) = target.strip_prefix("/v1/kv/data/") {
            return self.secret(name);
        }
        match (seen.method.as_str(), target.strip_prefix("/v1/database/creds/")) {
            ("GET", Some(role)) => self.leases.lend(role),
            (_, Some(_)) => said_no(405, "unsupported operation"),
            ("POST", None) if target == "/v1/sys/leases/renew" => self.leases.renew(&seen.json()),
            ("POST", None) if target == "/v1/sys/leases/revoke" => self.leases.take_back(&seen.json()),
            _ => self.transit.answer(seen),
        }
    }

    fn secret(&self, name: &str) -> (u16, String) {
        match self.secrets.lock().unwrap().get(name) {
            Some((version, value)) => {
                let metadata =
                    json!({"version": version, "created_time": "2026-03-01T10:00:00Z", "destroyed": false});
                let body = json!({"data": {"data": {"value": value}, "metadata": metadata}});
                (200, body.to_string())
            }
            None => said_no(404, "no such secret"),
        }
    }
}

impl Leases {
    /// From now on, it lends so.
    pub fn set(&self, terms: Terms) {
        *self.terms.lock().unwrap() = terms;
    }

    /// The user and password that it lends as the so manieth of a role, from 0: somebody must make them.
    #[must_use]
    pub fn login(role: &str, number: usize) -> (String, String) {
        (format!("v-{role}-{number}"), format!("lent-{number}"))
    }

    /// Everything that was lent, the oldest first.
    #[must_use]
    pub fn lent(&self) -> Vec<Lent> {
        self.lent.lock().unwrap().clone()
    }

    fn lend(&self, role: &str) -> (u16, String) {
        let (terms, mut lent) = (*self.terms.lock().unwrap(), self.lent.lock().unwrap());
        let (user, password) = Self::login(role, lent.len());
        let id = format!("database/creds/{role}/{}", lent.len());
        let answer = json!({
            "lease_id": id, "lease_duration": terms.seconds, "renewable": terms.is_renewable,
            "data": {"username": user, "password": password},
        });
        lent.push(Lent {
            id,
            user,
            renewals: 0,
            is_given_back: false,
        });
        (200, answer.to_string())
    }

    fn take_back(&self, body: &Value) -> (u16, String) {
        let mut lent = self.lent.lock().unwrap();
        match lent.iter_mut().find(|lent| lent.id == text(body, "lease_id")) {
            Some(lent) => {
                lent.is_given_back = true;
                (204, String::new())
            }
            None => said_no(400, "lease not found"),
        }
    }

    fn renew(&self, body: &Value) -> (u16, String) {
        let (terms, mut lent) = (*self.terms.lock().unwrap(), self.lent.lock().unwrap());
        let known = lent.iter_mut().find(|lent| lent.id == text(body, "lease_id"));
        match (known, terms.renewed) {
            (None, _) => said_no(400, "lease not found"),
            (Some(_), None) => said_no(400, "lease is not renewable"),
            (Some(lent), Some(seconds)) => {
                assert!(body["increment"].as_u64().unwrap() > 0, "{body}");
                lent.renewals += 1;
                let answer = json!({"lease_id": lent.id, "lease_duration": seconds, "renewable": true});
                (200, answer.to_string())
            }
        }
    }
}
