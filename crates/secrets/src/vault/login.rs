//! Tokens for Vault: got, kept, renewed, and got anew.

use std::path::Path;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Vault, said_no};
use crate::document::wipe;
use crate::{Fault, VaultAuth};

/// A token and how long it lives.
pub(super) struct Login {
    token: Zeroizing<String>,
    lease: Option<Lease>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// A token that ends.
#[derive(Debug, Clone, Copy)]
struct Lease {
    /// From when on it is renewed: two thirds of its life.
    renew_at: Instant,
    ends_at: Instant,
    is_renewable: bool,
}

impl Lease {
    /// Of `lease_duration` seconds; 0 is a token without an end.
    fn of(seconds: u64, is_renewable: bool) -> Option<Self> {
        let now = Instant::now();
        let life = Duration::from_secs(seconds);
        let early = life.checked_div(3)?.checked_mul(2)?;
        (seconds > 0).then_some(Self {
            renew_at: now.checked_add(early)?,
            ends_at: now.checked_add(life)?,
            is_renewable,
        })
    }
}

impl Vault {
    /// A token that works, as far as is known here.
    pub(super) async fn token(&self) -> Result<Zeroizing<String>, Fault> {
        let mut login = self.login.lock().await;
        if let Some(known) = login.as_mut() {
            let Some(lease) = known.lease.filter(|lease| Instant::now() >= lease.renew_at) else {
                return Ok(known.token.clone());
            };
            match self.renew(known, lease).await {
                Ok(()) => return Ok(known.token.clone()),
                // What still works is not given up because Vault does not answer.
                Err(fault) if fault.is_transient() && Instant::now() < lease.ends_at => {
                    return Ok(known.token.clone());
                }
                Err(_) => {}
            }
        }
        let new = self.log_in().await?;
        let token = new.token.clone();
        *login = Some(new);
        Ok(token)
    }

    /// A token in place of one that was refused. One log-in serves all who were refused together.
    pub(super) async fn token_after(&self, refused: &Zeroizing<String>) -> Result<Zeroizing<String>, Fault> {
        let mut login = self.login.lock().await;
        if let Some(known) = login.as_ref()
            && known.token != *refused
        {
            return Ok(known.token.clone());
        }
        let new = self.log_in().await?;
        let token = new.token.clone();
        *login = Some(new);
        Ok(token)
    }

    async fn renew(&self, login: &mut Login, lease: Lease) -> Result<(), Fault> {
        if !lease.is_renewable {
            return Err(Fault::Refused("the token cannot be renewed".to_owned()));
        }
        let answer = self
            .ask_as(
                Some(&login.token),
                Method::POST,
                "auth/token/renew-self",
                Some(&json!({})),
            )
            .await?;
        if answer.status != StatusCode::OK {
            return Err(said_no(&answer));
        }
        let mut body = answer.json()?;
        let renewed = lease_of(body.get("auth"));
        wipe(&mut body);
        login.lease = renewed;
        Ok(())
    }

    async fn log_in(&self) -> Result<Login, Fault> {
        let (mount, body) = match &self.auth {
            VaultAuth::TokenFile(file) => return self.take_token(file).await,
            VaultAuth::AppRole {
                mount,
                role_id_file,
                secret_id_file,
            } => (
                mount,
                json!({"role_id": *read(role_id_file)?, "secret_id": *read(secret_id_file)?}),
            ),
            VaultAuth::Kubernetes {
                mount,
                role,
                jwt_file,
            } => (mount, json!({"role": role, "jwt": *read(jwt_file)?})),
        };
        let mut body = body;
        let answer = self
            .ask_as(None, Method::POST, &format!("auth/{mount}/login"), Some(&body))
            .await;
        wipe(&mut body);
        let answer = answer?;
        if answer.status != StatusCode::OK {
            return Err(Fault::Refused(format!(
                "log-in at auth/{mount}: {}",
                said_no(&answer)
            )));
        }
        let mut body = answer.json()?;
        let auth = body.get("auth");
        let token = auth
            .and_then(|auth| auth.get("client_token"))
            .and_then(Value::as_str);
        let login = token.map(|token| Login {
            token: Zeroizing::new(token.to_owned()),
            lease: lease_of(auth),
        });
        wipe(&mut body);
        login.ok_or_else(|| Fault::Malformed(format!("log-in at auth/{mount}: the answer has no token")))
    }

    /// Takes the token of a file, and asks how long it lives.
    async fn take_token(&self, file: &Path) -> Result<Login, Fault> {
        let token = read(file)?;
        let answer = self
            .ask_as(Some(&token), Method::GET, "auth/token/lookup-self", None)
            .await?;
        if answer.status != StatusCode::OK {
            return Err(Fault::Refused(format!(
                "the token of {} is not good: {}",
                file.display(),
                said_no(&answer)
            )));
        }
        let body = answer.json()?;
        let seconds = body.pointer("/data/ttl").and_then(Value::as_u64).unwrap_or(0);
        let is_renewable = body
            .pointer("/data/renewable")
            .and_then(Value::as_bool)
            .unwrap_or(false);
        Ok(Login {
            token,
            lease: Lease::of(seconds, is_renewable),
        })
    }
}

fn lease_of(auth: Option<&Value>) -> Option<Lease> {
    let auth = auth?;
    let seconds = auth.get("lease_duration").and_then(Value::as_u64)?;
    let is_renewable = auth.get("renewable").and_then(Value::as_bool).unwrap_or(false);
    Lease::of(seconds, is_renewable)
}

fn read(file: &Path) -> Result<Zeroizing<String>, Fault> {
    let text = std::fs::read_to_string(file)
        .map(Zeroizing::new)
        .map_err(|error| Fault::Unconfigured(format!("{}: {error}", file.display())))?;
    let text = Zeroizing::new(text.trim().to_owned());
    if text.is_empty() {
        return Err(Fault::Unconfigured(format!("{} is empty", file.display())));
    }
    Ok(text)
}
