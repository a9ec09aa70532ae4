//! A control plane that dies between any two statements.

use http::StatusCode;
use keyring::RingName;

use super::Plane;
use crate::signing_keys::complete;
use crate::signing_keys::retire::maintain_once;

/// A point between statements beyond the last one of every transition.
const BEYOND: i64 = 60;

impl Plane {
    /// Lets the connection of a control plane die before or after a statement that writes, when [`Plane::dies_at`] says so.
    pub(super) async fn may_die(&self) {
        self.run(
            "CREATE TABLE public.death (at bigint);
             CREATE SEQUENCE public.statement_count;
             CREATE FUNCTION public.die() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
             BEGIN
                 IF session_user = 'portico_control' AND nextval('public.statement_count') = (SELECT at FROM public.death) THEN
                     PERFORM pg_terminate_backend(pg_backend_pid());
                 END IF;
                 RETURN NULL;
             END $$;",
        )
        .await;
        for table in ["key_ring", "signing_key", "audit_event"] {
            for moment in ["BEFORE", "AFTER"] {
                self.run(&format!(
                    "CREATE TRIGGER a_death_{moment} {moment} INSERT OR UPDATE ON control.{table}
                         FOR EACH STATEMENT EXECUTE FUNCTION public.die()"
                ))
                .await;
            }
        }
    }

    /// The next transition dies at its `point`, counted from 1; at 0 it lives.
    pub(super) async fn dies_at(&self, point: i64) {
        self.run(&format!(
            "DELETE FROM public.death; INSERT INTO public.death VALUES ({point});
             SELECT setval('public.statement_count', 1, false)"
        ))
        .await;
    }

    /// Tries a request that dies at one point after the other, until it lives. Gives the number of points.
    async fn dies_everywhere(&self, path: &str) -> i64 {
        let before = self.picture().await;
        for point in 1..BEYOND {
            self.dies_at(point).await;
            let (status, _, body) = self.call("POST", path).await;
            if status == StatusCode::OK {
                self.dies_at(0).await;
                return point - 1;
            }
            assert_eq!(
                status,
                StatusCode::SERVICE_UNAVAILABLE,
                "{path} at {point}: {body}"
            );
            assert_eq!(self.picture().await, before, "{path} at {point}");
        }
        panic!("{path} has more than {BEYOND} points");
    }
}

#[tokio::test]
async fn whatever_the_database_says_in_the_middle_is_a_503_and_the_next_try_goes_through() {
    let plane = Plane::start().await;
    plane
        .run(
            "CREATE TABLE public.failure (code text);
             CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
             DECLARE
                 v_code text := (SELECT code FROM public.failure);
             BEGIN
                 IF v_code IS NOT NULL THEN RAISE EXCEPTION USING ERRCODE = v_code; END IF;
                 RETURN NULL;
             END $$;
             CREATE TRIGGER a_failure AFTER UPDATE ON control.key_ring FOR EACH STATEMENT EXECUTE FUNCTION public.fail();",
        )
        .await;
    plane.pass(330).await;
    let before = plane.picture().await;
    for (code, wanted) in [
        ("57P01", 503),
        ("57P02", 503),
        ("57P03", 503),
        ("57014", 503),
        ("08006", 503),
        ("53300", 503),
        ("26000", 503),
        ("25P02", 503),
        ("25P03", 503),
        ("40001", 503),
        ("40P01", 503),
        ("55P03", 503),
        ("22012", 500),
    ] {
        plane
            .run(&format!(
                "DELETE FROM public.failure; INSERT INTO public.failure VALUES ('{code}')"
            ))
            .await;
        let (status, headers, body) = plane.rotate().await;
        assert_eq!(status, wanted, "{code}: {body}");
        assert_eq!(
            headers.contains_key("retry-after"),
            wanted == 503,
            "{code}: {body}"
        );
        assert_eq!(plane.picture().await, before, "{code}");
    }
    plane.run("DELETE FROM public.failure").await;
    assert_eq!(plane.rotate().await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_death_between_any_two_statements_leaves_the_ring_as_it_was_and_the_next_try_goes_through() {
    let plane = Plane::start().await;
    plane.may_die().await;
    plane.pass(330).await;
    assert_eq!(plane.dies_everywhere("/internal/keys/rotate").await, 18);

    let kid = plane.kid("retiring").await;
    let path = format!("/internal/keys/reinstate?kid={kid}");
    assert_eq!(plane.dies_everywhere(&path).await, 6);
    plane.pass(330).await;
    assert_eq!(plane.dies_everywhere("/internal/keys/rotate").await, 10);

    let kid = plane.kid("published").await;
    let path = format!("/internal/keys/abort?kid={kid}");
    assert_eq!(plane.dies_everywhere(&path).await, 14);
    let kid = plane.kid("active").await;
    let path = format!("/internal/keys/revoke?kid={kid}");
    assert_eq!(plane.dies_everywhere(&path).await, 18);
    let kid = plane.kid("retiring").await;
    let path = format!("/internal/keys/revoke?kid={kid}");
    assert_eq!(plane.dies_everywhere(&path).await, 6);
}

#[tokio::test]
async fn maintenance_that_dies_anywhere_is_done_by_the_next_round() {
    let mut plane = Plane::without_a_ring().await;
    plane.may_die().await;
    plane.state.schedule.rotate_every_s = 800;
    complete_dying(&plane).await;
    plane.pass(330).await;
    assert_eq!(plane.rotate().await.0, StatusCode::OK);
    // The key of before is to be retired, and the calendar turns the ring.
    plane.pass(900).await;
    complete_dying(&plane).await;
    let body = plane.keys().await;
    assert_eq!(
        super::states(&body),
        ["active", "published", "retired", "retiring"],
        "{body}"
    );
    complete(&plane.state).await;
}

/// A round of maintenance that dies at every point there is, and then lives.
async fn complete_dying(plane: &Plane) {
    let mut deaths = 0;
    for point in 1..BEYOND {
        plane.dies_at(point).await;
        deaths += i64::from(maintain_once(&plane.state, RingName::Access, None).await.is_err());
    }
    plane.dies_at(0).await;
    assert!(deaths > 10, "{deaths}");
    maintain_once(&plane.state, RingName::Access, None).await.unwrap();
}
