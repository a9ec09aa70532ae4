//! PostgreSQL against the pure rules of `keyring::step`.

use http::StatusCode;
use keyring::{Bounds, Event, KeyState, Ring, RingName, RingRefusal, step};
use serde_json::Value;

use super::Plane;
use crate::signing_keys::retire::maintain_once;

const GATEWAY: &str = "edge-1";

/// A ring in the database, the same ring in the pure rules, and the key set that a gateway holds.
struct Both {
    plane: Plane,
    ring: Ring,
    now: i64,
    bounds: Bounds,
    held_seq: Option<u64>,
    deaths: u32,
}

/// The SQL does what the pure rules say, on schedules that were not chosen by hand.
#[tokio::test]
async fn the_database_and_the_pure_rules_agree() {
    let mut both = Both::start().await;
    let mut random = Random(0x5eed);
    let mut done = [0; 6];
    for round in 0..250 {
        // Waits are multiples of 10 s, bounds of 5 s: no event comes less than 5 s before a bound, so the time that the
        // test itself takes decides nothing.
        both.pass([10, 10, 50, 100, 350][random.below(5)]).await;
        // Every second transition may die between two of its statements.
        let point = [0, 1 + random.below(24)][random.below(2)];
        both.plane.dies_at(i64::try_from(point).unwrap()).await;
        let act = [0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 5, 5][random.below(12)];
        let did = match act {
            0 => both.rotate(round).await,
            1 => both.maintain().await,
            2 => both.end("reinstate", both.newest_retiring(random.below(3))).await,
            3 => both.end("revoke", random.below(5)).await,
            4 => both.end("abort", random.below(2)).await,
            _ => both.hear(random.below(4)).await,
        };
        done[act] += usize::from(did);
        both.compare(round).await;
    }
    assert!(
        done.iter().all(|times| *times > 2),
        "too little has happened: {done:?}"
    );
    let has_retired = |key: &keyring::RingKey| key.state == KeyState::Retired;
    assert!(both.ring.keys.iter().any(has_retired), "{:?}", both.ring);
}

/// A generator whose schedule is the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

impl Both {
    async fn start() -> Self {
        let mut plane = Plane::start().await;
        plane.state.bounds.rollback_window_s = 405;
        plane.may_die().await;
        let names = Event::Initialise {
            active: plane.kid("active").await,
            standby: plane.kid("published").await,
        };
        let bounds = plane.state.bounds;
        Self {
            ring: step(&Ring::default(), &names, 0, &bounds).unwrap(),
            plane,
            now: 0,
            bounds,
            held_seq: None,
            deaths: 0,
        }
    }

    /// Whether the control plane died in the middle of it: then nothing has happened.
    fn died(&mut self, status: StatusCode) -> bool {
        let died = status.is_server_error();
        self.deaths += u32::from(died);
        died
    }

    async fn pass(&mut self, seconds: i64) {
        self.plane.pass(seconds).await;
        self.now += seconds;
    }

    fn step(&mut self, event: &Event) -> Result<(), RingRefusal> {
        self.ring = step(&self.ring, event, self.now, &self.bounds)?;
        Ok(())
    }

    async fn rotate(&mut self, round: usize) -> bool {
        let (status, _, body) = self.plane.rotate().await;
        if self.died(status) {
            return false;
        }
        let event = Event::Rotate {
            standby: body["standby"].as_str().unwrap_or("refused").to_owned(),
            held_seq: self.held_seq,
        };
        match self.step(&event) {
            Ok(()) => assert_eq!(status, StatusCode::OK, "round {round}: {body}"),
            Err(RingRefusal::StandbyTooYoung { retry_after_s }) => {
                let told = body["retry_after"].as_i64().unwrap();
                let expected = retry_after_s - 5..=retry_after_s;
                assert!(expected.contains(&told), "round {round}: {body}");
            }
            Err(RingRefusal::GatewaysBehind { .. }) => {
                assert_eq!(body["gateways"][0], GATEWAY, "round {round}: {body}");
            }
            Err(refusal) => panic!("round {round}: {refusal}"),
        }
        status == StatusCode::OK
    }

    async fn maintain(&mut self) -> bool {
        let first = maintain_once(&self.plane.state, RingName::Access, None).await;
        let done = match first {
            Ok(done) => done,
            Err(_) => {
                // Whatever it had finished, the next round does the rest.
                self.deaths += 1;
                self.plane.dies_at(0).await;
                maintain_once(&self.plane.state, RingName::Access, None)
                    .await
                    .unwrap()
            }
        };
        self.step(&Event::Retire).unwrap();
        self.step(&Event::Purge).unwrap();
        let called_back = self
            .ring
            .successor()
            .is_some_and(|key| key.reinstated_at.is_some());
        let event = Event::Rotate {
            standby: "not used up".to_owned(),
            held_seq: self.held_seq,
        };
        let turned = called_back && self.step(&event).is_ok();
        assert_eq!(done.activated.is_some(), turned);
        true
    }

    /// How many keys are newer than the newest one that retires; without one, or at 0, any number.
    fn newest_retiring(&self, number: usize) -> usize {
        let retires = |key: &keyring::RingKey| key.state == KeyState::Retiring;
        let newest = self.ring.keys.iter().rev().position(retires);
        newest.filter(|_| number > 0).unwrap_or(number)
    }

    /// Reinstates, revokes or aborts the newest key but `number`.
    async fn end(&mut self, verb: &str, number: usize) -> bool {
        let kid = self.ring.keys.iter().rev().nth(number).or(self.ring.keys.first());
        let kid = kid.unwrap().kid.clone();
        let path = format!("/internal/keys/{verb}?kid={kid}");
        let (status, _, body) = self.plane.call("POST", &path).await;
        if self.died(status) {
            return false;
        }
        let standby = body["standby"].as_str().unwrap_or("refused").to_owned();
        let before = self.ring.clone();
        let event = match verb {
            "reinstate" => Event::Reinstate { kid },
            "revoke" => Event::Revoke { kid, standby },
            _ => Event::Abort { kid, standby },
        };
        // Doing it again is no error over HTTP.
        let is_repeated = status == StatusCode::OK && body["changed"] == false;
        match self.step(&event) {
            Ok(()) => assert_eq!(status, StatusCode::OK, "{event:?}: {body}"),
            Err(refusal) => assert!(
                status == StatusCode::CONFLICT || is_repeated,
                "{event:?}: {refusal}: {body}"
            ),
        }
        self.ring != before
    }

    /// The gateway takes the key set over, is silent, or is there with what it had.
    async fn hear(&mut self, number: usize) -> bool {
        if number == 0 {
            self.plane.gateway_falls_silent(GATEWAY).await;
            self.held_seq = None;
            return false;
        }
        let seq = self.ring.seq;
        self.plane
            .gateway(GATEWAY, Some(i64::try_from(seq).unwrap()))
            .await;
        self.held_seq = Some(seq);
        true
    }

    async fn compare(&self, round: usize) {
        let body = self.plane.keys().await;
        let mut found: Vec<_> = body["keys"].as_array().unwrap().iter().map(found).collect();
        let mut expected: Vec<_> = self
            .ring
            .keys
            .iter()
            .map(|key| {
                let published_seq = key.published_seq;
                (
                    key.kid.clone(),
                    key.state.to_string(),
                    key.has_private,
                    published_seq,
                )
            })
            .collect();
        found.sort();
        expected.sort();
        assert_eq!(
            (found, body["seq"].as_u64()),
            (expected, Some(self.ring.seq)),
            "round {round}"
        );
    }
}

fn found(key: &Value) -> (String, String, bool, Option<u64>) {
    let text = |name: &str| key[name].as_str().unwrap().to_owned();
    let has_private = key["has_private_part"].as_bool().unwrap();
    (
        text("kid"),
        text("state"),
        has_private,
        key["published_seq"].as_u64(),
    )
}
