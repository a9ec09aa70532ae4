//! What is revoked and blocked: told at once, once, bounded, and gone when its time is over.

use fleet::{StatedList, Stream};
use http::StatusCode;
use keyring::{Revocation, RevocationList};
use serde_json::{Value, json};
use sqlx::{Executor as _, Row as _};

use super::{Plane, request, router, send, until};
use crate::fleet::publish::publish_due;

/// The list that is stated now.
async fn stated(plane: &Plane, stream: Stream) -> RevocationList {
    assert!(publish_due(&plane.state).await.unwrap());
    told(plane, stream).await
}

/// The list that was stated last.
async fn told(plane: &Plane, stream: Stream) -> RevocationList {
    let statement = plane.newest(stream).await;
    let list: StatedList = serde_json::from_str(statement.content.get()).unwrap();
    plane.whole(&list).await
}

#[tokio::test(flavor = "multi_thread")]
async fn j41_a_change_is_stated_at_once_whoever_revoked() {
    let plane = Plane::start().await;
    let before = stated(&plane, Stream::Revocations).await;
    plane.follow();
    // Core-api revokes, with its own rights: only the database can have told this process.
    let core = plane.database.pool_as("portico_core");
    core.execute(
        "SELECT control.revoke('session', 'https://a.example', 'ses_1', NULL, now() + interval '10 min', 'log-out', 'core-api')",
    )
    .await
    .unwrap();
    until("it is stated", async || {
        told(&plane, Stream::Revocations).await.seq > before.seq
    })
    .await;
    let list = told(&plane, Stream::Revocations).await.revocations;
    assert!(
        matches!(list.as_slice(), [Revocation::Session { sid, .. }] if sid == "ses_1"),
        "{list:?}"
    );
    plane.state.shutdown.trigger();
}

#[tokio::test]
async fn revoking_twice_is_once_the_wider_counts_and_it_can_be_taken_back() {
    let plane = Plane::start().await;
    let revoke = |for_s: u32, issued_until: Option<i64>| {
        let mut new = json!({"kind": "subject", "issuer": "https://a.example", "name": "usr_1", "for_s": for_s, "reason": "stolen"});
        if let Some(moment) = issued_until {
            new["issued_until"] = moment.into();
        }
        plane.call("POST", "/internal/revocations", Some(new))
    };
    let (_, first) = revoke(600, Some(1_000)).await;
    let (_, narrower) = revoke(300, Some(900)).await;
    assert_eq!(narrower, first, "nothing new was said");
    let (_, wider) = revoke(300, None).await;
    assert_eq!(wider["id"], first["id"]);
    assert!(wider["seq"].as_u64() > first["seq"].as_u64());

    let (_, entries) = plane.call("GET", "/internal/revocations/entries", None).await;
    let [entry] = entries["revocations"].as_array().unwrap().as_slice() else {
        panic!("{entries}")
    };
    assert_eq!(
        (&entry["author"], &entry["reason"]),
        (&json!("operator:ada"), &json!("stolen"))
    );
    let told = stated(&plane, Stream::Revocations).await;
    let Revocation::Subject {
        issued_until, until, ..
    } = told.revocations[0].clone()
    else {
        panic!("{told:?}")
    };
    assert!(issued_until > 1_000 && until > issued_until + 500, "{told:?}");

    let path = format!("/internal/revocations/{}", first["id"]);
    assert_eq!(plane.call("DELETE", &path, None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(plane.call("DELETE", &path, None).await.0, StatusCode::NOT_FOUND);
    let told = stated(&plane, Stream::Revocations).await;
    assert!(told.revocations.is_empty() && told.seq > wider["seq"].as_u64().unwrap());
    let events = "SELECT count(*) FROM control.fleet_event WHERE action LIKE 'revocation.%' AND actor = 'operator:ada'";
    assert_eq!(plane.number(events).await, 4);
}

#[tokio::test]
async fn networks_are_blocked_for_a_time_and_taken_back() {
    let plane = Plane::start().await;
    let block = |network: &str, for_s: u32| {
        plane.call(
            "POST",
            "/internal/blocks",
            Some(json!({"network": network, "for_s": for_s})),
        )
    };
    assert_eq!(block("203.0.113.0/24", 600).await.0, StatusCode::CREATED);
    assert_eq!(block("2001:db8::/32", 600).await.0, StatusCode::CREATED);
    assert_eq!(block("2001:db8::/32", 900).await.0, StatusCode::CREATED);
    for (network, for_s) in [("0.0.0.0/0", 600), ("203.0.113.1/24", 600), ("203.0.113.0/24", 0)] {
        assert_eq!(
            block(network, for_s).await.0,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{network}"
        );
    }
    let told = stated(&plane, Stream::Blocks).await.revocations;
    assert!(
        told.iter()
            .any(|entry| matches!(entry, Revocation::Network { prefix: 32, .. })),
        "{told:?}"
    );
    assert_eq!(told.len(), 2, "{told:?}");
    let remove = "/internal/blocks?network=203.0.113.0/24";
    assert_eq!(plane.call("DELETE", remove, None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(plane.call("DELETE", remove, None).await.0, StatusCode::NOT_FOUND);
    let (_, blocks) = plane.call("GET", "/internal/blocks", None).await;
    assert_eq!(blocks["blocks"].as_array().unwrap().len(), 1, "{blocks}");
}

#[tokio::test]
async fn a_list_is_bounded_and_what_has_ended_makes_room() {
    let plane = Plane::start().await;
    plane.run("UPDATE control.denial_list SET most_entries = 2").await;
    plane.revoke("tok_1").await;
    let last = plane.revoke("tok_2").await["seq"].as_u64().unwrap();
    let third = json!({"kind": "token", "issuer": "https://a.example", "name": "tok_3", "for_s": 600});
    let (status, body) = plane.call("POST", "/internal/revocations", Some(third)).await;
    assert_eq!(
        (status, &body["type"]),
        (StatusCode::CONFLICT, &json!("urn:portico:problem:list-full"))
    );

    plane
        .run("UPDATE control.revocation SET until = until - interval '1 hour' WHERE name = 'tok_1'")
        .await;
    super::super::denials::sweep(&mut plane.state.db.acquire().await.unwrap())
        .await
        .unwrap();
    let told = stated(&plane, Stream::Revocations).await;
    assert!(told.revocations.len() == 1 && told.seq > last, "{told:?}");
    plane.revoke("tok_3").await;
}

impl Plane {
    /// So many revocations by core-api or whoever else; each is `512 + 512` bytes long, and twice that as JSON.
    async fn fill_with_long_names(&self, numbers: std::ops::Range<i64>) {
        let longest = r#"repeat('"', 512), lpad(number::text, 512, '"')"#;
        self.run(&format!(
            "INSERT INTO control.revocation (kind, issuer, name, issued_until, until, reason, author)
             SELECT 'client', {longest}, clock_timestamp(), clock_timestamp() + interval '366 days', '', 'x'
               FROM generate_series({}, {}) number",
            numbers.start,
            numbers.end - 1
        ))
        .await;
    }

    /// What the list would take in an envelope if it had no pages.
    async fn size_of_list(&self, stream: Stream) -> i64 {
        self.number(&format!(
            "SELECT octet_length(envelope)
                    + coalesce((SELECT sum(octet_length(content)) FROM control.list_page WHERE stream = '{stream}'), 0) * 4 / 3
               FROM control.statement WHERE stream = '{stream}' ORDER BY seq DESC LIMIT 1"
        ))
        .await
    }

    async fn revoke_named(&self, issuer: &str, name: &str) -> (StatusCode, Value) {
        let new = json!({"kind": "session", "issuer": issuer, "name": name, "for_s": 600});
        self.call("POST", "/internal/revocations", Some(new)).await
    }
}

#[tokio::test]
async fn the_longest_names_fill_a_list_before_it_is_too_large_to_be_stated() {
    let plane = Plane::start().await;
    // 2,160 bytes each by the count of the database, with four digits.
    plane.fill_with_long_names(1_000..3_777).await;
    let stated_list = stated(&plane, Stream::Revocations).await;
    assert_eq!(stated_list.revocations.len(), 2_777);
    let bytes = plane.size_of_list(Stream::Revocations).await;
    let most = i64::try_from(fleet::MAX_ENVELOPE_BYTES).unwrap();
    assert!((most * 9 / 10..most).contains(&bytes), "{bytes}");

    let long = "\"".repeat(512);
    let (status, body) = plane.revoke_named(&long, &long).await;
    assert_eq!(
        (status, &body["type"]),
        (StatusCode::CONFLICT, &json!("urn:portico:problem:list-full"))
    );
    assert!(
        body["detail"]
            .as_str()
            .unwrap()
            .contains("larger than gateways read"),
        "{body}"
    );
    // What is short still fits, and what goes makes room.
    let (status, body) = plane.revoke_named("https://a.example", "ses_1").await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    plane
        .run("DELETE FROM control.revocation WHERE name LIKE '%1000'")
        .await;
    assert_eq!(plane.revoke_named(&long, &long).await.0, StatusCode::CREATED);
    assert_eq!(
        plane.revoke_named(&long, &"\"".repeat(256)).await.0,
        StatusCode::CONFLICT
    );
    let counted = "SELECT bytes FROM control.denial_list WHERE list = 'revocations'";
    let really = "SELECT sum(control.stated_bytes(issuer, name))::bigint FROM control.revocation";
    assert_eq!(plane.number(counted).await, plane.number(really).await);
    let told = stated(&plane, Stream::Revocations).await;
    let json = i64::try_from(serde_json::to_vec(&told.revocations).unwrap().len()).unwrap();
    assert!(
        plane.number(counted).await >= json,
        "no entry is larger than it counts"
    );
}

#[tokio::test]
async fn both_lists_are_stated_whole_at_their_bounds() {
    let plane = Plane::start().await;
    plane
        .run(
            "INSERT INTO control.revocation (kind, issuer, name, until, reason, author)
             SELECT 'token', rpad('https://issuer.example/', 40, 'x'), lpad(number::text, 244, 'n'),
                    clock_timestamp() + interval '366 days', '', 'x' FROM generate_series(1, 15000) number;
             INSERT INTO control.block (network, until, reason, author)
             SELECT ('2001:db8:ffff:ffff:ffff:ffff:ffff:' || to_hex(number))::cidr, clock_timestamp() + interval '366 days', '', 'x'
               FROM generate_series(1, 5000) number",
        )
        .await;
    let full =
        "SELECT count(*) FROM control.denial_list WHERE entries = most_entries AND bytes <= most_bytes";
    assert_eq!(plane.number(full).await, 2);
    assert_eq!(
        stated(&plane, Stream::Revocations).await.revocations.len(),
        15_000
    );
    assert_eq!(stated(&plane, Stream::Blocks).await.revocations.len(), 5_000);
    for stream in [Stream::Revocations, Stream::Blocks] {
        let bytes = plane.size_of_list(stream).await;
        assert!(
            bytes < i64::try_from(fleet::MAX_ENVELOPE_BYTES).unwrap(),
            "{stream}: {bytes}"
        );
    }
    let (status, body) = plane.revoke_named("https://a.example", "ses_1").await;
    assert_eq!(status, StatusCode::CONFLICT, "{body}");
    let block = json!({"network": "203.0.113.0/24", "for_s": 600});
    let (status, body) = plane.call("POST", "/internal/blocks", Some(block)).await;
    assert_eq!(
        (status, &body["type"]),
        (StatusCode::CONFLICT, &json!("urn:portico:problem:list-full"))
    );
}

#[tokio::test]
async fn half_of_the_size_is_kept_for_what_operators_revoke() {
    let plane = Plane::start().await;
    let core = plane.database.pool_as("portico_core");
    let mut told = Vec::new();
    for more in [1_000..2_388_i64, 2_388..2_390] {
        plane.fill_with_long_names(more).await;
        let row = core
            .fetch_one(
                "SELECT control.revoke_ended_session('https://a.example', gen_random_uuid()::text, 600)",
            )
            .await
            .unwrap();
        told.push(row.get::<bool, _>(0));
    }
    assert_eq!(told, [true, false]);
}

#[tokio::test]
async fn core_api_may_revoke_and_nothing_else() {
    let plane = Plane::start().await;
    let core = plane.database.pool_as("portico_core");
    for refused in [
        "SELECT * FROM control.revocation",
        "DELETE FROM control.revocation",
        "INSERT INTO control.block (network, until, reason, author) VALUES ('203.0.113.0/24', now(), '', 'x')",
        "UPDATE control.denial_list SET seq = 0",
        "SELECT * FROM control.statement",
    ] {
        let error = core.execute(refused).await.unwrap_err().to_string();
        assert!(error.contains("permission denied"), "{refused}: {error}");
    }
    let control = plane.database.pool_as("portico_control");
    let error = control
        .execute("UPDATE control.denial_list SET seq = 0")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("permission denied"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused() {
    let plane = Plane::start().await;
    let token = |change: Value| {
        let mut new = json!({"kind": "token", "issuer": "https://a.example", "name": "tok_1", "for_s": 600});
        new.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        new
    };
    for (change, status) in [
        (json!({"kind": "everything"}), 400),
        (json!({"extra": 1}), 400),
        (json!({"name": ""}), 422),
        (json!({"issuer": "x".repeat(513)}), 422),
        (json!({"for_s": 0}), 422),
        (json!({"for_s": 40_000_000}), 422),
        (json!({"issued_until": 5}), 422),
        (
            json!({"kind": "subject", "issued_until": 99_999_999_999_i64}),
            422,
        ),
    ] {
        let request = request("POST", "/internal/revocations", None, Some(token(change.clone())));
        let (found, headers, body) = send(router(&plane.state), request).await;
        assert_eq!(found.as_u16(), status, "{change}: {body}");
        assert_eq!(headers["content-type"], problem::CONTENT_TYPE, "{change}");
    }
    let told = stated(&plane, Stream::Revocations).await;
    assert!(told.revocations.is_empty());
}
