//! One order at the authority, from its beginning or from where the last gateway was killed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use instant_acme::{
    Account, AuthorizationHandle, AuthorizationStatus, ChallengeType, Identifier, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use policy::{AcmeChallenge, Certificate};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use serde::{Deserialize, Serialize};

use super::challenges::{Answering, Record};
use super::{Fetcher, MAX_BYTES};
use crate::durable_file::{read_bounded, write_atomically};

/// How long the authority may take to look, and to issue.
const PATIENCE: Duration = Duration::from_mins(2);

/// An order that was begun.
#[derive(Debug, Serialize, Deserialize)]
struct Begun {
    url: String,
    hosts: Vec<String>,
    /// The certificate's key, as PEM.
    key: String,
}

/// What is shown to the authority until it has looked.
enum Proof<'f> {
    Answer(#[expect(dead_code, reason = "answers for as long as it lives")] Answering<'f>),
    Record(Record<'f>),
}

/// Fetches a certificate; key and chain as one PEM text.
///
/// # Errors
/// Whatever the authority refuses. An order that cannot come to anything is forgotten, so that the next attempt begins
/// another one.
pub(super) async fn fetch(
    fetcher: &Fetcher,
    account: &Account,
    certificate: &Certificate,
) -> anyhow::Result<String> {
    let (mut order, key) = take_up(&fetcher.directory, account, certificate).await?;
    let fetched = complete(fetcher, &mut order, &key, certificate).await;
    if fetched.is_err() && order.state().status == OrderStatus::Invalid {
        forget(&fetcher.directory, &certificate.name)?;
    }
    let chain = fetched?;
    Ok(format!("{}{chain}", key.serialize_pem()))
}

/// Forgets an order: it has ended.
///
/// # Errors
/// When the file cannot be removed.
pub(super) fn forget(directory: &Path, name: &str) -> anyhow::Result<()> {
    Ok(std::fs::remove_file(file(directory, name))?)
}

fn file(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.order.json"))
}

/// The order that was begun, or a new one. Its key is written with it, before the authority hears of the key.
async fn take_up(
    directory: &Path,
    account: &Account,
    certificate: &Certificate,
) -> anyhow::Result<(Order, KeyPair)> {
    let file = file(directory, &certificate.name);
    let begun = read_bounded(&file, MAX_BYTES).ok();
    let begun: Option<Begun> = begun.and_then(|begun| serde_json::from_slice(&begun).ok());
    if let Some(begun) = begun.filter(|begun| begun.hosts == certificate.hosts) {
        // One that the authority does not know any more, or has refused, is followed by a new one.
        match account.order(begun.url).await {
            Ok(mut order) => {
                if order.state().status != OrderStatus::Invalid {
                    return Ok((order, KeyPair::from_pem(&begun.key)?));
                }
            }
            Err(instant_acme::Error::Api(_)) => {}
            Err(error) => return Err(error).context("asking for an order that was begun"),
        }
    }
    let hosts: Vec<Identifier> = certificate.hosts.iter().map(|host| identifier(host)).collect();
    let key = KeyPair::generate()?;
    let order = account
        .new_order(&NewOrder::new(&hosts))
        .await
        .context("a new order")?;
    let begun = Begun {
        url: order.url().to_owned(),
        hosts: certificate.hosts.clone(),
        key: key.serialize_pem(),
    };
    write_atomically(&file, &serde_json::to_vec(&begun)?)?;
    Ok((order, key))
}

fn identifier(host: &str) -> Identifier {
    match host.parse() {
        Ok(address) => Identifier::Ip(address),
        Err(_) => Identifier::Dns(host.to_owned()),
    }
}

/// Takes an order to its end, from wherever it is; the chain.
async fn complete(
    fetcher: &Fetcher,
    order: &mut Order,
    key: &KeyPair,
    certificate: &Certificate,
) -> anyhow::Result<String> {
    let retries = RetryPolicy::new().timeout(PATIENCE);
    if order.state().status == OrderStatus::Pending {
        let mut proofs = Vec::new();
        let shown = show(fetcher, order, certificate, &mut proofs).await;
        let ready = match shown {
            Ok(()) => order
                .poll_ready(&retries)
                .await
                .context("the authority looks at the proofs"),
            Err(error) => Err(error),
        };
        for proof in &proofs {
            if let Proof::Record(record) = proof {
                record.clean_up().await;
            }
        }
        if ready? == OrderStatus::Invalid {
            bail!(
                "the authority did not accept the proofs: {}",
                refusal(order).await
            );
        }
    }
    if order.state().status == OrderStatus::Ready {
        let mut params = CertificateParams::new(certificate.hosts.clone())?;
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(key)?;
        order
            .finalize_csr(request.der())
            .await
            .context("the request for the certificate")?;
    }
    order
        .poll_certificate(&retries)
        .await
        .context("waiting for the certificate")
}

/// Shows a proof for every name that the authority does not trust yet.
async fn show<'f>(
    fetcher: &'f Fetcher,
    order: &mut Order,
    certificate: &Certificate,
    proofs: &mut Vec<Proof<'f>>,
) -> anyhow::Result<()> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let authorization = authorization.context("an authorization")?;
        match authorization.status {
            AuthorizationStatus::Valid => {}
            AuthorizationStatus::Pending => {
                prove(fetcher, authorization, certificate.acme, proofs).await?;
            }
            status => bail!("an authorization is {status:?}"),
        }
    }
    Ok(())
}

async fn prove<'f>(
    fetcher: &'f Fetcher,
    mut authorization: AuthorizationHandle<'_>,
    kind: Option<AcmeChallenge>,
    proofs: &mut Vec<Proof<'f>>,
) -> anyhow::Result<()> {
    let wanted = match kind {
        Some(AcmeChallenge::Dns01) => ChallengeType::Dns01,
        Some(AcmeChallenge::Http01) | None => ChallengeType::Http01,
    };
    let Some(mut challenge) = authorization.challenge(wanted) else {
        bail!("the authority does not offer the challenge");
    };
    let proof = challenge.key_authorization();
    if kind == Some(AcmeChallenge::Dns01) {
        let record = Record {
            hook: &fetcher.settings.acme.dns_hook,
            name: format!("_acme-challenge.{}", challenge.identifier()),
            value: proof.dns_value(),
        };
        let presented = record.present().await;
        proofs.push(Proof::Record(record));
        presented?;
    } else {
        let answering = fetcher.shared.challenges.answer(&challenge.token, proof.as_str());
        proofs.push(Proof::Answer(answering));
    }
    challenge
        .set_ready()
        .await
        .context("telling the authority to look")
}

/// Why the authority did not accept a proof, in its words.
async fn refusal(order: &mut Order) -> String {
    let mut words = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(authorization)) = authorizations.next().await {
        let errors = authorization
            .challenges
            .iter()
            .filter_map(|challenge| challenge.error.as_ref());
        words.extend(errors.map(ToString::to_string));
    }
    words.join("; ")
}
