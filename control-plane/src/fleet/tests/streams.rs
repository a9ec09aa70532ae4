//! What a gateway is told: what it lacks, then each change at once, and nothing when it was let out.

use std::time::Duration;

use axum::body::Body;
use fleet::{Digest, Pointer, Stream};
use http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::time::Instant;
use tower::ServiceExt as _;

use super::super::publish::publish_due;
use super::{DEADLINE, Plane, request, router, send};
use crate::state::AppState;

/// The stream of a gateway, as it reads it.
struct Heard {
    body: Body,
    text: String,
}

/// One thing that a stream says.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    Pointer(Pointer),
    Comment,
    End,
}

impl Heard {
    async fn open(state: &AppState, node: &str, have: &str) -> Self {
        let path = format!("/fleet/v1/stream?have={have}");
        let response = router(state)
            .oneshot(request("GET", &path, Some(node), None))
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        Self {
            body: response.into_body(),
            text: String::new(),
        }
    }

    async fn next(&mut self) -> Event {
        tokio::time::timeout(DEADLINE, self.read())
            .await
            .expect("something is said")
    }

    async fn read(&mut self) -> Event {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                if event.starts_with(':') {
                    return Event::Comment;
                }
                let data = event
                    .strip_prefix("event: pointer\ndata: ")
                    .unwrap_or_else(|| panic!("{event}"));
                return Event::Pointer(serde_json::from_str(data).unwrap());
            }
            match self.body.frame().await {
                Some(frame) => {
                    let data = frame.unwrap().into_data().unwrap();
                    self.text.push_str(std::str::from_utf8(&data).unwrap());
                }
                None => return Event::End,
            }
        }
    }

    /// The next pointer, whatever is said of living before it.
    async fn pointer(&mut self) -> Pointer {
        loop {
            match self.next().await {
                Event::Pointer(pointer) => return pointer,
                Event::Comment => {}
                Event::End => panic!("the stream is over"),
            }
        }
    }

    async fn end(&mut self) {
        while self.next().await != Event::End {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_told_what_it_lacks_and_then_each_change_at_once() {
    let plane = Plane::start().await;
    publish_due(&plane.state).await.unwrap();
    plane.follow();
    super::until("the board is read", async || {
        plane.state.fleet.board.borrow().is_fresh()
    })
    .await;

    let mut heard = Heard::open(&plane.state, "edge-1", "blocks:1.1,keyset:1.9").await;
    let first = heard.pointer().await;
    assert_eq!(
        (first.stream, first.position.to_string()),
        (Stream::Revocations, "1.1".to_owned())
    );
    // Another instance's operator: the database tells.
    let twin = plane.twin();
    let new = json!({"kind": "token", "issuer": "https://a.example", "name": "tok_1", "for_s": 60});
    let (status, _, body) = send(
        router(&twin),
        request("POST", "/internal/revocations", None, Some(new)),
    )
    .await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    let second = heard.pointer().await;
    assert_eq!(
        (second.stream, second.position.to_string()),
        (Stream::Revocations, "1.2".to_owned())
    );
    assert_eq!(
        heard.next().await,
        Event::Comment,
        "nothing of what it holds or is ahead of"
    );

    // The bytes are what was named.
    let path = format!("/fleet/v1/blobs/{}", second.digest);
    let response = router(&plane.state)
        .oneshot(request("GET", &path, Some("edge-1"), None))
        .await
        .unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    assert_eq!(Digest::of(&body), second.digest);
    assert_eq!(u64::try_from(body.len()).unwrap(), second.bytes);
    assert!(
        head.headers[header::CACHE_CONTROL]
            .to_str()
            .unwrap()
            .contains("immutable")
    );
    let etag = head.headers[header::ETAG].clone();
    let again = Request::get(&path)
        .header("x-node", "edge-1")
        .header(header::IF_NONE_MATCH, etag);
    let response = router(&plane.state)
        .oneshot(again.body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    for (path, status) in [
        ("/fleet/v1/blobs/00", StatusCode::NOT_FOUND),
        (
            "/fleet/v1/stream?have=routes:1.1",
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
    ] {
        assert_eq!(
            plane.call_as("edge-1", "GET", path, None).await.0,
            status,
            "{path}"
        );
    }

    plane.state.shutdown.trigger();
    heard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evicted_gateway_is_told_nothing_until_it_is_let_in_again() {
    let plane = Plane::start().await;
    publish_due(&plane.state).await.unwrap();
    plane.follow();
    super::until("the board is read", async || {
        plane.state.fleet.board.borrow().is_fresh()
    })
    .await;
    let (mut out, mut stays) = (
        Heard::open(&plane.state, "edge-1", "").await,
        Heard::open(&plane.state, "edge-2", "").await,
    );
    out.pointer().await;
    let evict = async |verb: &str| {
        let path = format!("/internal/fleet/nodes/edge-1/{verb}");
        plane.call("POST", &path, None).await
    };
    assert_eq!(evict("evict").await.0, StatusCode::NO_CONTENT);
    out.end().await;
    let heartbeat = super::reports::heartbeat();
    for (method, path, body) in [
        ("GET", "/fleet/v1/stream", None),
        ("GET", "/fleet/v1/trust", None),
        ("POST", "/fleet/v1/heartbeats", Some(heartbeat)),
    ] {
        let (status, body) = plane.call_as("edge-1", method, path, body).await;
        assert_eq!(
            (status, &body["type"]),
            (StatusCode::FORBIDDEN, &json!("urn:portico:problem:node-evicted")),
            "{path}"
        );
    }
    plane.revoke("tok_1").await;
    while stays.pointer().await.position.seq != 2 {}
    let unknown = plane
        .call("POST", "/internal/fleet/nodes/edge-9/evict", None)
        .await;
    assert_eq!(unknown.0, StatusCode::NOT_FOUND);

    assert_eq!(evict("admit").await.0, StatusCode::NO_CONTENT);
    super::until("the board knows it", async || {
        plane.state.fleet.board.borrow().pointers("edge-1").is_some()
    })
    .await;
    Heard::open(&plane.state, "edge-1", "").await.pointer().await;
    plane.state.shutdown.trigger();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_gateway_has_two_streams_a_third_ends_the_oldest_and_another_trust_ends_all() {
    let plane = Plane::start().await;
    plane.follow();
    super::until("the board is read", async || {
        plane.state.fleet.board.borrow().is_fresh()
    })
    .await;
    let mut first = Heard::open(&plane.state, "edge-1", "").await;
    first.pointer().await;
    let mut second = Heard::open(&plane.state, "edge-1", "").await;
    second.pointer().await;
    plane.revoke("tok_1").await;
    while first.pointer().await.position.seq != 2 {}
    while second.pointer().await.position.seq != 2 {}
    let mut third = Heard::open(&plane.state, "edge-1", "").await;
    third.pointer().await;
    first.end().await;
    assert_eq!(
        plane
            .hand_over(plane.trust(2, &plane.bundle_keys().await))
            .await
            .0,
        StatusCode::OK
    );
    second.end().await;
    third.end().await;
    drop((first, second, third));
    super::until("its place is given back", async || {
        plane.state.fleet.streams.lock().unwrap().is_empty()
    })
    .await;
    plane.state.shutdown.trigger();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_know_what_is_new_does_not_say_that_nothing_is() {
    // The roots have signed nothing: what is revoked cannot be stated.
    let plane = Plane::untrusted().await;
    plane.follow();
    plane.revoke("tok_1").await;
    plane.call_as("edge-2", "GET", "/fleet/v1/trust", None).await;
    plane
        .call("POST", "/internal/fleet/nodes/edge-2/evict", None)
        .await;
    super::until("the board is read", async || {
        plane.state.fleet.board.borrow().pointers("edge-2").is_none()
    })
    .await;
    let mut heard = Heard::open(&plane.state, "edge-1", "").await;
    let said = tokio::select! {
        biased;
        said = heard.read() => Some(said),
        () = super::until("two comments were due", { let begun = std::time::Instant::now(); async move || begun.elapsed().as_secs() >= 6 }) => None,
    };
    assert_eq!(said, None);
}

/// A gateway that dials in while the control plane starts must not stay stale for five seconds more. The time stands still
/// but for what is waited for.
#[tokio::test]
async fn the_first_comment_comes_as_soon_as_it_may_be_said() {
    let plane = Plane::start().await;
    let mut heard = Heard::open(&plane.state, "edge-1", "").await;
    tokio::time::pause();
    let begun = Instant::now();
    let early = tokio::time::timeout(Duration::from_secs(1), heard.read()).await;
    assert!(early.is_err(), "nobody has read the database yet: {early:?}");
    plane.state.fleet.board.send_if_modified(|board| {
        board.read_at = Some(Instant::now());
        false
    });
    assert_eq!(heard.next().await, Event::Comment);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(
        tokio::time::timeout(Duration::from_secs(3), heard.read())
            .await
            .ok(),
        None,
        "one every five seconds"
    );
    tokio::time::resume();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_told_to_whom_it_is_assigned_and_beside_it_what_is_only_to_be_tried() {
    let plane = Plane::start().await;
    plane
        .run(
            "INSERT INTO control.statement (stream, epoch, seq, digest, source_seq, keyid, envelope, change_id, author, expires_at)
             SELECT 'policy', 1, seq, sha256(seq::text::bytea), 0, 'k', 'x', 'c', 'a', now() + interval '1 day'
               FROM generate_series(1, 3) AS seq;
             UPDATE control.fleet SET policy_epoch = 1, policy_seq = 1;
             INSERT INTO control.node (name) VALUES ('edge-1'), ('edge-2');
             INSERT INTO control.node_stream (node, stream, assigned_epoch, assigned_seq, assigned_shadow, assigned_at)
             VALUES ('edge-1', 'policy', 1, 2, true, now()), ('edge-2', 'policy', 1, 3, false, now())",
        )
        .await;
    plane.follow();
    super::until("the board is read", async || {
        plane.state.fleet.board.borrow().is_fresh()
    })
    .await;
    let told = |node: &str| {
        let pointers = plane.state.fleet.board.borrow().pointers(node).unwrap();
        let policies = pointers.iter().filter(|pointer| pointer.stream == Stream::Policy);
        policies
            .map(|pointer| (pointer.position.seq, pointer.shadow))
            .collect::<Vec<_>>()
    };
    assert_eq!(told("edge-1"), [(1, false), (2, true)]);
    assert_eq!(told("edge-2"), [(3, false)]);
    assert_eq!(told("edge-3"), [(1, false)]);
    let mut heard = Heard::open(&plane.state, "edge-1", "policy:1.1").await;
    while !heard.pointer().await.shadow {}

    // It is called off: what is in force is named again, to this gateway alone.
    plane
        .run("UPDATE control.node_stream SET assigned_epoch = NULL, assigned_seq = NULL, assigned_shadow = false WHERE node = 'edge-1'")
        .await;
    let named = heard.pointer().await;
    assert_eq!((named.position.seq, named.shadow), (1, false));
    // Also to one that was away meanwhile.
    let mut heard = Heard::open(&plane.state, "edge-1", "policy:1.1").await;
    let named = heard.pointer().await;
    assert_eq!((named.position.seq, named.shadow), (1, false));
    plane.state.shutdown.trigger();
}
