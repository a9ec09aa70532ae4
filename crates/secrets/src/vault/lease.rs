//! What an engine of Vault lends for a time: a login of its own for everybody who asks.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Vault, said_no};
use crate::document::wipe;
use crate::{Fault, Fetched, Lease};

impl Vault {
    /// Asks an engine for something with a lease; `data` of the answer, as JSON.
    pub(crate) async fn lend(&self, mount: &str, path: &str) -> Result<Fetched, Fault> {
        let answer = self.ask(Method::GET, &format!("{mount}/{path}"), None).await?;
        if answer.status != StatusCode::OK {
            return Err(said_no(&answer));
        }
        let mut document = answer.json()?;
        let bytes = document
            .get("data")
            .filter(|data| data.is_object())
            .and_then(|data| serde_json::to_vec(data).ok())
            .map(Zeroizing::new);
        let lease = lease_of(&document);
        wipe(&mut document);
        match (bytes, lease) {
            (Some(bytes), Some(lease)) => Ok(Fetched {
                bytes,
                version: None,
                since: None,
                lease: Some(lease),
            }),
            _ => Err(Fault::Malformed(format!(
                "the answer has no lease: is `{mount}` an engine that lends, such as `database`?"
            ))),
        }
    }

    /// Asks for a lease to last as long again.
    pub(crate) async fn renew_lease(&self, lease: &Lease) -> Result<Lease, Fault> {
        let body = json!({"lease_id": lease.id, "increment": lease.seconds});
        let answer = self.ask(Method::POST, "sys/leases/renew", Some(&body)).await?;
        if answer.status != StatusCode::OK {
            return Err(said_no(&answer));
        }
        lease_of(&answer.json()?).ok_or_else(|| Fault::Malformed("the answer has no lease".to_owned()))
    }

    /// Gives a lease back: what was lent is good for nothing more.
    pub(crate) async fn end_lease(&self, lease: &Lease) -> Result<(), Fault> {
        let body = json!({"lease_id": lease.id});
        let answer = self.ask(Method::POST, "sys/leases/revoke", Some(&body)).await?;
        match answer.status {
            StatusCode::OK | StatusCode::NO_CONTENT => Ok(()),
            _ => Err(said_no(&answer)),
        }
    }
}

/// The lease of an answer; none where it has no end.
fn lease_of(document: &Value) -> Option<Lease> {
    let seconds = document.get("lease_duration")?.as_u64()?;
    let id = document.get("lease_id")?.as_str()?;
    (seconds > 0 && !id.is_empty()).then(|| Lease {
        id: id.to_owned(),
        seconds: u32::try_from(seconds).unwrap_or(u32::MAX),
        is_renewable: document
            .get("renewable")
            .and_then(Value::as_bool)
            .unwrap_or(false),
    })
}
