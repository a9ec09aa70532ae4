//! What is stated: signed, once, in order, and believed by whoever follows the rules.

use fleet::{Stream, Trust};
use http::StatusCode;
use keyring::{Algorithm, KeySet, RevocationList, SigningKey};
use serde_json::json;
use sqlx::Row as _;

use super::super::nodes;
use super::super::publish::publish_due;
use super::{DAY, FLEET, Plane, signed_trust, signed_trust_for};
use crate::state::AppState;

async fn statements(plane: &Plane, stream: Stream) -> i64 {
    plane
        .number(&format!(
            "SELECT count(*) FROM control.statement WHERE stream = '{stream}'"
        ))
        .await
}

#[tokio::test]
async fn every_following_stream_is_stated_once_and_again_when_its_source_goes_on() {
    let plane = Plane::start().await;
    for _ in 0..3 {
        publish_due(&plane.state).await.unwrap();
    }
    for stream in [Stream::Keyset, Stream::Revocations, Stream::Blocks] {
        assert_eq!(statements(&plane, stream).await, 1, "{stream}");
        assert_eq!(plane.newest(stream).await.position.to_string(), "1.1");
    }
    let set: KeySet = serde_json::from_str(plane.newest(Stream::Keyset).await.content.get()).unwrap();
    assert!(set.validate().is_ok() && set.seq == 1, "{set:?}");

    plane.revoke("tok_1").await;
    publish_due(&plane.state).await.unwrap();
    let second = plane.newest(Stream::Revocations).await;
    let list: RevocationList = serde_json::from_str(second.content.get()).unwrap();
    assert!(
        second.position.to_string() == "1.2" && list.revocations.len() == 1,
        "{list:?}"
    );
    assert!(second.previous.is_some());
    assert_eq!(statements(&plane, Stream::Keyset).await, 1);

    plane
        .run("UPDATE control.signing_key SET published_at = published_at - interval '400 s' WHERE state = 'published'")
        .await;
    let (status, body) = plane.call("POST", "/internal/keys/rotate", None).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    publish_due(&plane.state).await.unwrap();
    let set: KeySet = serde_json::from_str(plane.newest(Stream::Keyset).await.content.get()).unwrap();
    assert_eq!((set.seq, set.keys.len()), (2, 3));

    plane.call("POST", "/internal/fleet/epoch", None).await;
    publish_due(&plane.state).await.unwrap();
    assert_eq!(plane.newest(Stream::Blocks).await.position.to_string(), "2.1");
}

#[tokio::test]
async fn a_stream_that_cannot_be_stated_keeps_no_other_back() {
    let plane = Plane::start().await;
    plane
        .run("ALTER TABLE control.revocation RENAME TO revocation_elsewhere")
        .await;
    assert!(publish_due(&plane.state).await.is_err(), "nothing is fresh by it");
    for (stream, stated) in [(Stream::Revocations, 0), (Stream::Blocks, 1), (Stream::Keyset, 1)] {
        assert_eq!(statements(&plane, stream).await, stated, "{stream}");
    }
    plane
        .run("ALTER TABLE control.revocation_elsewhere RENAME TO revocation")
        .await;
    publish_due(&plane.state).await.unwrap();
    assert_eq!(statements(&plane, Stream::Revocations).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_control_planes_state_no_position_twice_and_never_go_back() {
    let plane = Plane::start().await;
    let twins: Vec<AppState> = (0..3).map(|_| plane.twin()).collect();
    for round in 0..6 {
        let revoke = async {
            plane.revoke(&format!("tok_{round}")).await;
        };
        let publish = |state: AppState| async move { publish_due(&state).await };
        let (one, two, three, ()) = tokio::join!(
            publish(twins[0].clone()),
            publish(twins[1].clone()),
            publish(twins[2].clone()),
            revoke
        );
        for published in [one, two, three] {
            published.unwrap();
        }
    }
    publish_due(&plane.state).await.unwrap();
    let list: RevocationList =
        serde_json::from_str(plane.newest(Stream::Revocations).await.content.get()).unwrap();
    assert_eq!(list.revocations.len(), 6);
    let row = plane
        .row(
            "SELECT count(*), max(seq), bool_and(is_forward)
               FROM (SELECT seq, source_seq > lag(source_seq, 1, -1::bigint) OVER (ORDER BY epoch, seq) AS is_forward
                       FROM control.statement WHERE stream = 'revocations') AS stated",
        )
        .await;
    let (count, last, is_forward): (i64, i64, bool) = (row.get(0), row.get(1), row.get(2));
    assert_eq!(count, last, "no gap and no double");
    assert!(is_forward, "each states what is newer than the one before");
}

#[tokio::test]
async fn nothing_is_stated_before_the_roots_have_spoken_and_only_they_are_heard() {
    let plane = Plane::untrusted().await;
    assert!(!publish_due(&plane.state).await.unwrap());
    assert_eq!(plane.number("SELECT count(*) FROM control.statement").await, 0);
    let keys = plane.bundle_keys().await;
    let stranger = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let mut bent = plane.trust(1, &keys);
    let at = bent.len() / 3;
    bent[at] ^= 1;
    for (refused, why) in [
        (signed_trust(&stranger, FLEET, 1, &keys), "not by a root"),
        (
            signed_trust(&plane.root, "another", 1, &keys),
            "for another fleet",
        ),
        (bent, "not what was signed"),
        (b"{}".to_vec(), "no envelope"),
        (
            plane.trust(1, &[stranger.public().to_vec()]),
            "without the key that signs",
        ),
    ] {
        let (status, body) = plane.hand_over(refused).await;
        assert_eq!(
            (status, &body["type"]),
            (StatusCode::CONFLICT, &json!("urn:portico:problem:trust-refused")),
            "{why}"
        );
    }
    let second = plane.trust(2, &keys);
    assert_eq!(plane.hand_over(second.clone()).await.0, StatusCode::OK);
    assert_eq!(
        plane.hand_over(second.clone()).await.0,
        StatusCode::OK,
        "twice is once"
    );
    for replayed in [plane.trust(1, &keys), plane.trust(2, &keys[..1])] {
        assert_eq!(plane.hand_over(replayed).await.0, StatusCode::CONFLICT);
    }
    assert_eq!(plane.number("SELECT count(*) FROM control.trust").await, 1);
    publish_due(&plane.state).await.unwrap();
    assert_eq!(plane.number("SELECT count(*) FROM control.statement").await, 3);

    let (status, body) = plane.call_as("edge-1", "GET", "/fleet/v1/trust", None).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&second).unwrap(),
        body
    );
}

#[tokio::test]
async fn a_key_that_the_roots_have_not_named_never_signs_for_gateways() {
    let plane = Plane::untrusted().await;
    let active: Vec<u8> = plane
        .row("SELECT public_key FROM control.signing_key WHERE ring = 'bundle' AND state = 'active'")
        .await
        .get(0);
    assert_eq!(plane.hand_over(plane.trust(1, &[active])).await.0, StatusCode::OK);
    plane
        .run("UPDATE control.signing_key SET published_at = published_at - interval '400 s' WHERE state = 'published'")
        .await;
    let rotate = || plane.call("POST", "/internal/keys/rotate?ring=bundle", None);
    let (status, body) = rotate().await;
    assert_eq!(
        (status, &body["type"]),
        (
            StatusCode::CONFLICT,
            &json!("urn:portico:problem:standby-untrusted")
        )
    );
    // Not in an emergency either: gateways would believe no further revocation.
    let kid: String = plane
        .row("SELECT kid FROM control.signing_key WHERE ring = 'bundle' AND state = 'active'")
        .await
        .get(0);
    let revocation = format!("/internal/keys/revoke?ring=bundle&kid={kid}");
    let (status, body) = plane.call("POST", &revocation, None).await;
    assert_eq!(
        (status, &body["type"]),
        (
            StatusCode::CONFLICT,
            &json!("urn:portico:problem:standby-untrusted")
        )
    );
    assert_eq!(
        plane
            .number("SELECT count(*) FROM control.signing_key WHERE state = 'revoked'")
            .await,
        0
    );

    let all = plane.bundle_keys().await;
    assert_eq!(plane.hand_over(plane.trust(2, &all)).await.0, StatusCode::OK);
    publish_due(&plane.state).await.unwrap();
    let (status, body) = rotate().await;
    assert_eq!(status, StatusCode::OK, "{body}");
    plane.revoke("tok_1").await;
    publish_due(&plane.state).await.unwrap();
    // Signed by the new key, and believed.
    assert_eq!(plane.newest(Stream::Revocations).await.position.seq, 2);
}

#[tokio::test]
async fn what_a_key_has_signed_that_is_trusted_no_more_is_signed_anew() {
    let plane = Plane::start().await;
    publish_due(&plane.state).await.unwrap();
    plane
        .run("UPDATE control.signing_key SET published_at = published_at - interval '400 s' WHERE state = 'published'")
        .await;
    let (status, _) = plane
        .call("POST", "/internal/keys/rotate?ring=bundle", None)
        .await;
    assert_eq!(status, StatusCode::OK);
    publish_due(&plane.state).await.unwrap();
    assert_eq!(
        plane.newest(Stream::Keyset).await.position.seq,
        1,
        "the old key is trusted still"
    );
    let row = plane
        .row("SELECT public_key FROM control.signing_key WHERE ring = 'bundle' AND state = 'active'")
        .await;
    let only: Vec<Vec<u8>> = vec![row.get(0)];
    assert_eq!(plane.hand_over(plane.trust(2, &only)).await.0, StatusCode::OK);
    publish_due(&plane.state).await.unwrap();
    assert_eq!(plane.newest(Stream::Keyset).await.position.seq, 2);
    let (_, standing) = plane.call("GET", "/internal/trust", None).await;
    let trust: Trust = serde_json::from_value(standing["trust"].clone()).unwrap();
    assert_eq!((trust.version, trust.keys.len()), (2, 1));
    let trusted = standing["bundle_keys"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|key| key["is_trusted"] == true);
    assert_eq!(trusted.count(), 1, "{standing}");
}

/// Who steals a key that has retired must not find gateways that believe it.
#[tokio::test]
async fn a_document_that_trusts_a_key_for_longer_than_it_signs_is_told_until_there_is_another() {
    let plane = Plane::start().await;
    let all = plane.bundle_keys().await;
    assert_eq!(plane.hand_over(plane.trust(2, &all)).await.0, StatusCode::OK);
    let told = async || {
        let (_, standing) = plane.call("GET", "/internal/trust", None).await;
        let (_, fleet) = plane.call("GET", "/internal/fleet", None).await;
        let keys = fleet["trusted_too_long"].as_array().unwrap().len();
        (standing["needs_another"].as_bool().unwrap(), keys)
    };
    assert_eq!(told().await, (false, 0));
    plane
        .run("UPDATE control.signing_key SET published_at = published_at - interval '400 s' WHERE state = 'published'")
        .await;
    let (status, _) = plane
        .call("POST", "/internal/keys/rotate?ring=bundle", None)
        .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(told().await, (true, 1), "one retires, and a new one is not named");
    plane
        .run("UPDATE control.signing_key SET state = 'retired', retired_at = now(), sealed_private_key = NULL, wrapped_data_key = NULL WHERE state = 'retiring'")
        .await;
    assert_eq!(told().await, (true, 1), "it has retired");
    let row = plane
        .row("SELECT array_agg(public_key) FROM control.signing_key WHERE ring = 'bundle' AND state IN ('active', 'published')")
        .await;
    let named: Vec<Vec<u8>> = row.get(0);
    assert_eq!(plane.hand_over(plane.trust(3, &named)).await.0, StatusCode::OK);
    assert_eq!(told().await, (false, 0));
}

/// Nothing is stated any more once it is over: whoever looks hears of it two weeks before, and when it is over.
#[tokio::test]
async fn that_the_trust_document_ends_is_told_two_weeks_before() {
    let plane = Plane::start().await;
    let keys = plane.bundle_keys().await;
    let mut version = 1;
    let mut ends_soon = async |seconds: i64| {
        version += 1;
        let document = signed_trust_for(seconds, &plane.root, FLEET, version, &keys);
        assert_eq!(plane.hand_over(document).await.0, StatusCode::OK);
        let (_, standing) = plane.call("GET", "/internal/trust", None).await;
        let (_, fleet) = plane.call("GET", "/internal/fleet", None).await;
        let until = standing["trust"]["keys"][0]["not_after"].clone();
        assert_eq!(fleet["trust_until"], until, "{fleet}");
        let told = nodes::view(&plane.state).await.unwrap().trust_ends_in_s();
        let key = standing["bundle_keys"][0]["ends_soon"].as_bool().unwrap();
        assert_eq!(key, told.is_some());
        key
    };
    assert!(!ends_soon(15 * DAY).await);
    assert!(ends_soon(13 * DAY).await);
    assert!(ends_soon(60).await);
}

#[tokio::test]
async fn statements_that_were_replaced_long_ago_are_taken_away_and_policies_never() {
    let plane = Plane::start().await;
    publish_due(&plane.state).await.unwrap();
    for name in ["a", "b"] {
        plane.revoke(name).await;
        publish_due(&plane.state).await.unwrap();
    }
    let copy = |seq: i64, age: &str| {
        format!(
            "INSERT INTO control.statement (stream, epoch, seq, digest, source_seq, keyid, envelope, change_id, author, created_at, expires_at)
             SELECT 'blocks', 1, {seq}, sha256('{seq}'), 0, 'k', 'x', 'c', 'a', now() - interval '{age}', now() + interval '1 day'"
        )
    };
    plane.run(&copy(2, "20 min")).await;
    plane.run(&copy(3, "3 min")).await;
    plane.run(&copy(4, "1 min")).await;
    super::super::store::prune(&mut plane.state.db.acquire().await.unwrap())
        .await
        .unwrap();
    let row = plane
        .row("SELECT array_agg(seq ORDER BY seq) FROM control.statement WHERE stream = 'blocks'")
        .await;
    assert_eq!(row.get::<Vec<i64>, _>(0), [3, 4], "3 was replaced a minute ago");
    assert_eq!(
        statements(&plane, Stream::Revocations).await,
        3,
        "all of them are young"
    );
}
