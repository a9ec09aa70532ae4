//! What a control plane may send that is wrong: each is refused with its word, changes nothing, and is not shown as applied.

use fleet::{Acknowledgement, Pointer, Position, Stage, Statement, Stream, TrustedKey, Version};
use keyring::{Algorithm, SigningKey};

use super::control_plane::{Blob, ControlPlane, DAY, content, patiently, pointer};
use super::{LONG, SHORT, member, position, rates, stricter};
use crate::gateway_process::{GatewayProcess, POLICY, now};

/// Another policy in every case, so that each envelope has a digest of its own.
fn next(fleet: &ControlPlane) -> Statement {
    fleet.next(Stream::Policy, &content(&stricter(), &[]))
}

/// Refused with this word; nothing else was told of it, and what was in force is.
async fn stays(fleet: &ControlPlane, gateway: &GatewayProcess, offered: &Pointer, code: &str) {
    assert_eq!(fleet.refused(offered).await, code);
    let stages = fleet.stages(offered);
    let is_before = |stage: &Stage| matches!(stage, Stage::Received | Stage::Refused);
    assert!(stages.iter().all(is_before), "{code}: {stages:?}");
    assert_eq!(rates(gateway).await, 200, "{code}");
    let counted = format!("portico_fleet_refusals_total{{code=\"{code}\",stream=\"policy\"}}");
    assert!(gateway.metric(&counted).await >= Some(1), "{code}");
}

type Change<'c> = &'c dyn Fn(&mut Statement);

fn changed(fleet: &ControlPlane, change: impl FnOnce(&mut Statement)) -> Pointer {
    let mut statement = next(fleet);
    change(&mut statement);
    fleet.offer(Stream::Policy, statement.position, &fleet.sealed(&statement))
}

#[tokio::test]
async fn what_is_for_somebody_else_or_another_time_is_refused() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    let cases: [(&str, Change<'_>); 10] = [
        ("wrong_target", &|it| it.target.fleet = "other".to_owned()),
        ("wrong_target", &|it| {
            it.target.environment = "production".to_owned();
        }),
        ("wrong_target", &|it| it.target.nodes = vec!["edge-2".to_owned()]),
        ("expired", &|it| it.expires_at = now().timestamp() - 1),
        ("time_to_come", &|it| it.created_at = now().timestamp() + 301),
        ("key_not_valid", &|it| it.created_at = now().timestamp() - 2 * DAY),
        ("unsupported", &|it| it.features = vec!["teleport".to_owned()]),
        ("unsupported", &|it| it.schema += 1),
        ("unsupported", &|it| it.min_version = Version(u64::MAX, 0, 0)),
        ("wrong_stream", &|it| it.stream = Stream::Keyset),
    ];
    for (code, change) in cases {
        let offered = changed(&fleet, change);
        stays(&fleet, &gateway, &offered, code).await;
    }
    let beat = fleet.beats("the first policy", |_| true).await;
    assert_eq!(position(&beat, Stream::Policy).as_deref(), Some("1.1"));
    // The control: the same, and for this gateway.
    let good = changed(&fleet, |it| it.target.nodes = vec!["edge-1".to_owned()]);
    fleet.told(&good, Stage::Active).await;
    assert_eq!(rates(&gateway).await, 401);
}

#[tokio::test]
async fn a_gateway_that_is_too_old_serves_its_last_good_policy_until_it_gets_one_that_it_can_read() {
    let fleet = ControlPlane::start(POLICY).await;
    let mut gateway = member(&fleet, SHORT).await;
    patiently(
        || "the first policy is proven".to_owned(),
        || {
            let is_proven =
                |told: &Acknowledgement| told.stream == Stream::Policy && told.stage == Stage::Healthy;
            std::future::ready(fleet.acknowledgements().iter().any(is_proven))
        },
    )
    .await;
    let too_new = changed(&fleet, |it| it.min_version = Version(u64::MAX, 0, 0));
    stays(&fleet, &gateway, &too_new, "unsupported").await;
    fleet.forget_acknowledgements();
    gateway.restart().await.unwrap();
    assert_eq!(rates(&gateway).await, 200, "from the disk");
    let told = fleet.told(&too_new, Stage::Refused).await;
    let why = told.objection.unwrap();
    assert!(
        why.code == "unsupported"
            && why
                .message
                .contains(&format!("version {}", Version(u64::MAX, 0, 0))),
        "{why:?}"
    );
    // The version of this build is not too new for it.
    let own = env!("CARGO_PKG_VERSION").parse().unwrap();
    let good = changed(&fleet, |it| it.min_version = own);
    fleet.told(&good, Stage::Active).await;
    assert_eq!(rates(&gateway).await, 401);
}

#[tokio::test]
async fn what_was_in_force_before_is_not_taken_over_again() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    let old = next(&fleet);
    let (position, old) = (old.position, fleet.sealed(&old));
    let newer = fleet.state_policy(&format!("{POLICY}# newer\n"));
    fleet.told(&newer, Stage::Active).await;

    let replayed = fleet.offer(Stream::Policy, position, &old);
    stays(&fleet, &gateway, &replayed, "replayed").await;
    assert_eq!(
        fleet.stages(&replayed),
        [Stage::Refused],
        "no byte of it was fetched"
    );
    // Under another position, which the pointer alone claims.
    let ahead = Position { seq: 99, ..position };
    let claimed = fleet.offer(Stream::Policy, ahead, &old);
    stays(&fleet, &gateway, &claimed, "replayed").await;
    let mut other = next(&fleet);
    other.position.seq = 50;
    let claimed = fleet.offer(Stream::Policy, ahead, &fleet.sealed(&other));
    stays(&fleet, &gateway, &claimed, "other_position").await;
}

#[tokio::test]
async fn what_nobody_known_has_signed_is_refused() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    let retired = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let now = now().timestamp();
    fleet.trust(&[
        TrustedKey::new(fleet.bundle.public(), now - DAY, now + DAY),
        TrustedKey::new(retired.public(), now - 9 * DAY, now - 1),
    ]);

    let stranger = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let offer = |key: &SigningKey, change: &dyn Fn(&mut Statement)| {
        let mut statement = next(&fleet);
        change(&mut statement);
        fleet.offer(
            Stream::Policy,
            statement.position,
            &fleet.sealed_by(&statement, &[key]),
        )
    };
    let unsigned = offer(&stranger, &|_| ());
    stays(&fleet, &gateway, &unsigned, "unsigned").await;
    let by_retired = offer(&retired, &|_| ());
    stays(&fleet, &gateway, &by_retired, "key_not_valid").await;
    let antedated = offer(&retired, &|it| it.created_at = now - DAY);
    stays(&fleet, &gateway, &antedated, "key_not_valid").await;

    // One bit of the payload: base64 keeps its form, and the signature is not over it.
    let statement = next(&fleet);
    let sealed = fleet.sealed(&statement);
    let mut flipped = sealed.clone();
    let payload = b"\"payload\":\"";
    let at = sealed
        .windows(payload.len())
        .position(|it| it == payload)
        .unwrap()
        + 60;
    flipped[at] = if sealed[at] == b'A' { b'B' } else { b'A' };
    let flipped = fleet.offer(Stream::Policy, statement.position, &flipped);
    stays(&fleet, &gateway, &flipped, "bad_signature").await;

    let nothing = fleet.offer(Stream::Policy, next(&fleet).position, b"{}");
    stays(&fleet, &gateway, &nothing, "no_envelope").await;
}

#[tokio::test]
async fn bytes_that_are_not_the_ones_that_were_named_are_refused() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    let sealed = || {
        let statement = next(&fleet);
        (statement.position, fleet.sealed(&statement))
    };
    let (at, bytes) = sealed();
    let wrong_digest = pointer(Stream::Policy, at, &bytes);
    let mut other = bytes.clone();
    other[100] ^= 1;
    fleet.offer_as(&wrong_digest, Blob::Whole(other));
    stays(&fleet, &gateway, &wrong_digest, "wrong_digest").await;

    let (at, bytes) = sealed();
    let short = pointer(Stream::Policy, at, &bytes);
    fleet.offer_as(&short, Blob::Whole(bytes[..bytes.len() - 1].to_vec()));
    stays(&fleet, &gateway, &short, "truncated").await;

    let (at, bytes) = sealed();
    let huge = Pointer {
        bytes: 9 * 1024 * 1024,
        ..pointer(Stream::Policy, at, &bytes)
    };
    fleet.offer_as(&huge, Blob::Whole(bytes));
    stays(&fleet, &gateway, &huge, "too_large").await;

    // A connection that breaks may work the next time: told after some attempts, and taken over when it does.
    let (at, bytes) = sealed();
    let cut_off = pointer(Stream::Policy, at, &bytes);
    fleet.offer_as(&cut_off, Blob::CutOff(bytes.clone()));
    stays(&fleet, &gateway, &cut_off, "unavailable").await;
    fleet.offer_as(&cut_off, Blob::Whole(bytes));
    fleet.told(&cut_off, Stage::Active).await;
    assert_eq!(rates(&gateway).await, 401);
}

#[tokio::test]
async fn a_policy_that_does_not_compile_here_is_refused_with_its_place() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    let broken = POLICY.replace("upstream: core", "upstream: cor");
    let offered = fleet.state_policy(&broken);
    stays(&fleet, &gateway, &offered, "compile").await;
    let told = fleet.told(&offered, Stage::Refused).await.objection.unwrap();
    assert!(told.path.unwrap().starts_with("base.yaml:"));
    assert!(
        told.message.contains('P') && told.message.contains("cor"),
        "{}",
        told.message
    );

    // It needs what this gateway has not.
    let offered = fleet.state_policy(&format!("{POLICY}    extra: 1\n"));
    stays(&fleet, &gateway, &offered, "compile").await;
    let mut twice = content(POLICY, &[]);
    twice.files.push(twice.files[0].clone());
    let offered = fleet.state(Stream::Policy, &twice);
    stays(&fleet, &gateway, &offered, "malformed").await;
    let offered = fleet.state(
        Stream::Policy,
        &serde_json::json!({"files": [], "cases": [], "more": 1}),
    );
    stays(&fleet, &gateway, &offered, "malformed").await;
    let mut large = content(POLICY, &[]);
    for number in 0..9 {
        let text = "# ".repeat(128 * 1024 - 8);
        let name = format!("x{number}.yaml");
        large.files.push(fleet::PolicyFile { name, text });
    }
    let offered = fleet.state(Stream::Policy, &large);
    stays(&fleet, &gateway, &offered, "too_large").await;
}

#[tokio::test]
async fn a_key_that_the_roots_have_only_just_named_is_looked_up_by_itself() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    let now = now().timestamp();
    let fresh = SigningKey::generate(Algorithm::EdDSA).unwrap();
    fleet.trust(&[
        TrustedKey::new(fleet.bundle.public(), now - DAY, now + DAY),
        TrustedKey::new(fresh.public(), now - DAY, now + DAY),
    ]);
    let statement = next(&fleet);
    let offered = fleet.offer(
        Stream::Policy,
        statement.position,
        &fleet.sealed_by(&statement, &[&fresh]),
    );
    fleet.told(&offered, Stage::Active).await;
    assert_eq!(rates(&gateway).await, 401);
}

#[tokio::test]
async fn where_two_roots_must_sign_what_one_of_them_signs_is_worth_nothing() {
    let fleet = ControlPlane::start(POLICY).await;
    let key = || SigningKey::generate(Algorithm::EdDSA).unwrap();
    let (second, thief, next_key) = (key(), key(), key());
    let named =
        |key: &SigningKey| TrustedKey::new(key.public(), now().timestamp() - DAY, now().timestamp() + DAY);
    let keys = [named(&fleet.bundle), named(&next_key)];
    fleet.trust_by(&[&fleet.root, &second], &keys[..1]);
    let gateway = GatewayProcess::with(POLICY, |settings| {
        fleet.join(settings);
        let member = settings.fleet.as_mut().unwrap();
        member.roots.push(named(&second).public);
        member.root_threshold = 2;
    })
    .await;
    for one in [
        &[&fleet.root][..],
        &[&fleet.root, &fleet.root],
        &[&fleet.root, &thief],
    ] {
        fleet.trust_by(one, &keys);
        let statement = next(&fleet);
        let sealed = fleet.sealed_by(&statement, &[&next_key]);
        let offered = fleet.offer(Stream::Policy, statement.position, &sealed);
        stays(&fleet, &gateway, &offered, "unsigned").await;
    }
    fleet.trust_by(&[&second, &fleet.root], &keys);
    let statement = next(&fleet);
    let sealed = fleet.sealed_by(&statement, &[&next_key]);
    let offered = fleet.offer(Stream::Policy, statement.position, &sealed);
    fleet.told(&offered, Stage::Active).await;
}
