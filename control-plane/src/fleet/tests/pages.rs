//! Lists in pages: what has not changed is stated by name, is there for whoever asks, and goes when nothing names it.

use fleet::{Digest, StatedList, Stream};
use http::StatusCode;
use keyring::Revocation;

use super::{Plane, until};
use crate::fleet::publish::publish_due;
use crate::fleet::store::{self, NewStatement};

/// Revokes this many tokens in one statement.
async fn revoke_many(plane: &Plane, count: u32) {
    plane
        .run(&format!(
            "SELECT control.revoke('token', 'https://a.example', 'tok_' || number, NULL, now() + interval '10 min', 'test', 'test')
               FROM generate_series(1, {count}) number"
        ))
        .await;
}

async fn stated(plane: &Plane) -> StatedList {
    assert!(publish_due(&plane.state).await.unwrap());
    serde_json::from_str(plane.newest(Stream::Revocations).await.content.get()).unwrap()
}

fn names(list: &StatedList) -> Vec<Digest> {
    list.pages.iter().map(|page| page.digest).collect()
}

#[tokio::test]
async fn one_more_entry_is_one_more_entry_in_the_statement_and_every_page_is_there() {
    let plane = Plane::start().await;
    revoke_many(&plane, 3_000).await;
    let first = stated(&plane).await;
    assert!(first.pages.len() > 3, "{} pages", first.pages.len());
    assert_eq!(plane.whole(&first).await.revocations.len(), 3_000);

    plane.revoke("one more").await;
    let second = stated(&plane).await;
    let new = names(&second)
        .iter()
        .filter(|page| !names(&first).contains(page))
        .count();
    assert!(new <= 1, "{new} pages are new");
    let list = plane.whole(&second).await;
    assert!(
        matches!(list.revocations.last(), Some(Revocation::Token { jti, .. }) if jti == "one more"),
        "{list:?}"
    );
    let pages = plane.number("SELECT count(*) FROM control.list_page").await;
    assert_eq!(usize::try_from(pages).unwrap(), second.pages.len());
    // Another control plane, which has nothing in memory, hands the same out; so does the file to begin with.
    let twin = Plane {
        state: plane.twin(),
        ..plane
    };
    assert_eq!(twin.whole(&second).await, list);
    twin.follow();
    let export = async || twin.call("GET", "/internal/fleet/export", None).await;
    until("it is told", async || export().await.0 == StatusCode::OK).await;
    let (_, exported) = export().await;
    let texts = exported["pages"].as_array().unwrap().iter();
    let exported: Vec<_> = texts
        .map(|text| Digest::of(text.as_str().unwrap().as_bytes()))
        .collect();
    assert_eq!(exported, names(&second));
    twin.state.shutdown.trigger();
}

#[tokio::test]
async fn a_page_goes_with_the_last_statement_that_names_it() {
    let plane = Plane::start().await;
    revoke_many(&plane, 3_000).await;
    let first = stated(&plane).await;
    plane
        .run("DELETE FROM control.revocation WHERE name = 'tok_5'")
        .await;
    let second = stated(&plane).await;
    let gone: Vec<_> = names(&first)
        .into_iter()
        .filter(|page| !names(&second).contains(page))
        .collect();
    assert!((1..8).contains(&gone.len()), "{gone:?}");
    for page in &gone {
        assert_eq!(
            plane.fetched(*page).await.0,
            StatusCode::OK,
            "a gateway may be about to fetch it"
        );
    }
    let newest = "(SELECT max(seq) FROM control.statement WHERE stream = 'revocations')";
    plane
        .run(&format!(
            "DELETE FROM control.statement WHERE stream = 'revocations' AND seq < {newest}"
        ))
        .await;
    let twin = Plane {
        state: plane.twin(),
        ..plane
    };
    for page in gone {
        assert_eq!(twin.fetched(page).await.0, StatusCode::NOT_FOUND);
    }
    assert_eq!(twin.whole(&second).await.revocations.len(), 2_999);
}

#[tokio::test]
async fn who_signed_and_then_stood_still_states_nothing_behind_the_newest_and_takes_no_page_from_it() {
    let plane = Plane::start().await;
    revoke_many(&plane, 3_000).await;
    stated(&plane).await;
    plane.revoke("one more").await;
    let newest = stated(&plane).await;
    plane
        .run("DELETE FROM control.statement WHERE stream = 'revocations' AND seq = 1")
        .await;
    let now = service_runtime::clock::Clock::system().now();
    let signed = |seq: i64| NewStatement {
        stream: Stream::Revocations.as_str(),
        epoch: 1,
        seq,
        digest: Digest::of(&seq.to_be_bytes()),
        source_seq: 1,
        keyid: "k".to_owned(),
        envelope: seq.to_be_bytes().to_vec(),
        change_id: "late".to_owned(),
        author: "late".to_owned(),
        approvers: Vec::new(),
        created_at: now,
        expires_at: now + chrono::TimeDelta::days(1),
        policy: None,
    };
    let mut conn = plane.state.db.acquire().await.unwrap();
    assert!(!store::insert_statement(&mut conn, &signed(1)).await.unwrap());
    assert!(store::insert_statement(&mut conn, &signed(3)).await.unwrap());
    assert_eq!(plane.whole(&newest).await.revocations.len(), 3_001);
}
