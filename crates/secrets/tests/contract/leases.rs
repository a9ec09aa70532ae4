//! Leases: when Vault is asked to have a login for longer, and when for another one.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use secrets::{ProviderSettings, Resolved, Source, resolve};
use serde_json::{Value, json};
use stand_ins::{Fake, Terms, Vault};
use tempfile::TempDir;

use crate::vault::{settings, token_file};

const REFERENCE: &str = "vault-lease://database/creds/core";

struct Lender {
    vault: Arc<Vault>,
    fake: Fake,
    resolved: Resolved,
    _folder: TempDir,
}

fn after(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap() + TimeDelta::seconds(seconds)
}

fn terms(is_renewable: bool, renewed: Option<u64>) -> Terms {
    Terms {
        seconds: 3_600,
        is_renewable,
        renewed,
    }
}

impl Lender {
    /// A login is lent for an hour, at the moment 0.
    async fn start(terms: Terms) -> Self {
        let folder = TempDir::new().unwrap();
        let (vault, fake) = Vault::start().await;
        vault.leases.set(terms);
        let providers = ProviderSettings {
            vault: Some(settings(&fake, token_file(folder.path()))),
            ..ProviderSettings::default()
        };
        let wanted = [(REFERENCE.to_owned(), vec!["core-api: database.url".to_owned()])];
        let resolved = tokio::task::spawn_blocking(move || resolve(&wanted.into(), &providers, after(0)))
            .await
            .unwrap();
        assert_eq!(resolved.faults().collect::<Vec<_>>(), []);
        Self {
            vault,
            fake,
            resolved,
            _folder: folder,
        }
    }

    /// Of all that was asked since the last look, this came first.
    fn was_asked(&self, target: &str, body: &Value) {
        let asked = self.fake.seen();
        let first = asked.first().expect("nothing was asked");
        assert_eq!((first.method.as_str(), first.target.as_str()), ("POST", target));
        assert_eq!(&first.json(), body);
    }

    fn source(&self) -> &Arc<Source> {
        self.resolved.sources().next().unwrap()
    }

    /// The user that was lent last, and how often that was renewed.
    fn last(&self) -> (String, usize) {
        let lent = self.vault.leases.lent();
        let last = lent.last().unwrap();
        (last.user.clone(), last.renewals)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_renewed_after_a_third_of_it_and_another_login_is_lent_when_it_gets_short() {
    let lender = Lender::start(terms(true, Some(3_600))).await;
    let source = lender.source();
    let login = json!({"username": "v-core-0", "password": "lent-0"}).to_string();
    assert_eq!(source.text().unwrap().as_str(), login);
    assert_eq!(source.status().lent_until, Some(after(3_600)));
    assert_eq!(source.is_due_in(after(0)), Some(Duration::from_secs(1_200)));
    lender.fake.seen();

    assert_eq!(source.refresh(after(1_199)).await, Ok(false));
    assert_eq!(lender.fake.seen().len(), 0, "it is left alone");
    assert_eq!(source.refresh(after(1_200)).await, Ok(false));
    lender.was_asked(
        "/v1/sys/leases/renew",
        &json!({"lease_id": "database/creds/core/0", "increment": 3_600}),
    );
    assert_eq!(lender.last(), ("v-core-0".to_owned(), 1));
    assert_eq!(source.status().lent_until, Some(after(4_800)));

    // Its longest life comes near: half as long is taken, and less is not.
    lender.vault.leases.set(terms(true, Some(1_800)));
    assert_eq!(source.refresh(after(2_400)).await, Ok(false));
    assert_eq!(source.status().lent_until, Some(after(4_200)));
    lender.vault.leases.set(terms(true, Some(1_799)));
    let mut changes = source.follow();
    assert_eq!(source.refresh(after(3_000)).await, Ok(true));
    assert!(changes.has_changed().unwrap(), "whoever follows is told");
    changes.mark_unchanged();
    assert_eq!(lender.last(), ("v-core-1".to_owned(), 0));
    assert_eq!(source.status().lent_until, Some(after(6_600)));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_login_is_lent_where_a_lease_cannot_be_renewed_or_is_gone() {
    for (terms, due) in [(terms(false, None), 1_800), (terms(true, None), 1_200)] {
        let lender = Lender::start(terms).await;
        let source = lender.source();
        assert_eq!(source.refresh(after(due - 1)).await, Ok(false));
        assert_eq!(lender.last().0, "v-core-0");
        assert_eq!(source.refresh(after(due)).await, Ok(true));
        assert_eq!(lender.last().0, "v-core-1");
        assert_eq!(source.status().lent_until, Some(after(due + 3_600)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_vault_is_down_the_login_stays_and_it_is_asked_for_again_soon() {
    let lender = Lender::start(terms(true, Some(3_600))).await;
    let source = lender.source();
    lender.fake.set_down(true);
    let fault = source.refresh(after(1_200)).await.unwrap_err();
    assert!(fault.is_transient(), "{fault}");
    assert_eq!(source.is_due_in(after(1_201)), Some(Duration::from_secs(30)));
    assert!(source.text().unwrap().contains("v-core-0"));
    assert!(!source.status().is_stale(after(3_600)));
    assert!(source.status().is_stale(after(3_601)), "its lease has ended");
    lender.fake.set_down(false);
    assert_eq!(source.refresh(after(1_230)).await, Ok(false));
    assert_eq!(lender.last(), ("v-core-0".to_owned(), 1));
    assert_eq!(source.status().fault, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_lent_is_given_back_once() {
    let lender = Lender::start(terms(true, Some(3_600))).await;
    let source = lender.source();
    lender.fake.seen();
    assert_eq!(source.give_back().await, Ok(true));
    lender.was_asked(
        "/v1/sys/leases/revoke",
        &json!({"lease_id": "database/creds/core/0"}),
    );
    assert!(lender.vault.leases.lent()[0].is_given_back);
    assert_eq!(source.give_back().await, Ok(false));
    assert_eq!(lender.fake.seen().len(), 0);

    let lender = Lender::start(terms(true, Some(3_600))).await;
    lender.fake.set_down(true);
    let fault = lender.source().give_back().await.unwrap_err();
    assert!(fault.is_transient(), "{fault}");
}

/// Each login that is lent is a user of the database: not every refusal brings another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_refused_before_its_lease_ends_is_replaced_once_in_a_while() {
    let lender = Lender::start(terms(true, Some(3_600))).await;
    let source = lender.source();
    assert!(!source.lend_anew(after(4)).await);
    assert!(source.lend_anew(after(5)).await);
    assert!(!source.lend_anew(after(6)).await);
    assert_eq!(lender.vault.leases.lent().len(), 2);
    assert_eq!(
        source.candidates().await.len(),
        1,
        "the last one, and no other is asked for"
    );
    assert_eq!(lender.vault.leases.lent().len(), 2);
}
